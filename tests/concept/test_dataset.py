"""Concept data sets: labels that are in order or told, resizing without mixing, folders that come back as they were written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from captum_proto._utils.errors import InputError, MissingFileError, OccupiedError, UnreadableImageError
from captum_proto.concept import (
    Concept,
    ConceptDataset,
    ConceptFolder,
    ImageLevelConcepts,
    Labels,
    SegmentedImages,
    Selected,
    write_concept_folder,
)
from captum_proto.testing import ShapeDataset


class Given(ConceptDataset):
    """One image, with given labels."""

    def __init__(self, labels: Labels, concepts: int = 3) -> None:
        self.concepts, self.where = [Concept(f"thing {place}", "object") for place in range(concepts)], "the given"
        self.given = labels

    def __len__(self) -> int:
        return 1

    def image(self, index: int, size: tuple[int, int]) -> torch.Tensor:
        return torch.zeros(3, *size)

    def labels(self, index: int) -> Labels:
        return self.given

    def digest(self) -> str:
        return "given"


def test_maps_are_resized_to_labels_that_are_there() -> None:
    labels = Labels([np.arange(1, 7, dtype=np.int16).reshape(2, 3)])
    (doubled,) = labels.resized((4, 6))
    assert doubled.tolist() == np.kron(labels.maps[0], np.ones((2, 2))).tolist()
    (half,) = Labels([doubled]).resized((2, 3))
    assert half.tolist() == labels.maps[0].tolist()
    (odd,) = labels.resized((3, 2))  # centers at 1/3, 1, 5/3 rows and at 3/4, 9/4 columns
    assert odd.tolist() == [[1, 3], [4, 6], [4, 6]]
    (same,) = labels.resized((2, 3))
    assert same is labels.maps[0]


def test_a_pixel_counts_once_for_a_concept_and_once_for_each_of_several() -> None:
    first = np.array([[1, 1], [0, 2]], dtype=np.int16)
    second = np.array([[1, 2], [2, 2]], dtype=np.int16)
    counts = Labels([first, second, first], whole=[3, 3]).counts(3, (2, 2))
    expected = [np.any([each == label for each in (first, second)], axis=0).sum() for label in (1, 2)]
    assert counts.tolist() == [*expected, 4]


def test_labels_that_are_in_no_order_are_told() -> None:
    for wrong, sentence in (
        (Labels([np.full((2, 2), 4, dtype=np.int16)]), "image 0 of the given has the label 4; there are 3 concepts"),
        (Labels([np.full((2, 2), -1, dtype=np.int16)]), "has the label -1"),
        (Labels(whole=[0]), "has the label -1"),
        (Labels(whole=[4]), "has the label 4"),
        (Labels([np.zeros((2, 2), dtype=np.int64)]), r"shape \(2, 2\) and type int64; expected \(h, w\) in int16"),
        (Labels([np.zeros(4, dtype=np.int16)]), r"shape \(4,\)"),
    ):
        with pytest.raises(InputError, match=sentence):
            Given(wrong).checked_labels(0)
    fine = Labels([np.array([[0, 3]], dtype=np.int16)], [1])
    assert Given(fine).checked_labels(0) is fine


def test_a_label_by_name() -> None:
    dataset = ShapeDataset(1)
    assert dataset.concepts[dataset.label("ring") - 1] == Concept("ring", "object")
    with pytest.raises(InputError, match='there is no concept "rong"; did you mean "ring"'):
        dataset.label("rong")
    with pytest.raises(InputError, match='there is no concept "ring" in the category color'):
        dataset.label("ring", "color")
    dataset.concepts = [Concept("orange", "color"), Concept("orange", "object")]
    with pytest.raises(InputError, match=r'"orange" is a concept of several categories \(color, object\)'):
        dataset.label("orange")
    assert dataset.label("orange", "object") == 2


def test_categories_are_in_brodens_order() -> None:
    dataset = ShapeDataset(1)
    assert dataset.categories == ["object", "part", "scene", "texture", "color"]
    assert dataset.category_of[0] == -1
    assert [dataset.categories[place] for place in dataset.category_of[1:]] == [
        each.category for each in dataset.concepts
    ]


def test_image_level_concepts(tmp_path: Path) -> None:
    Image.new("RGB", (30, 20), "red").save(tmp_path / "red.png")
    dataset = ImageLevelConcepts([tmp_path / "red.png", torch.rand(3, 8, 8)], [["dog", "animal", "dog"], []])
    assert dataset.checked_labels(0).whole == [1, 2]
    assert dataset.checked_labels(1).whole == []
    assert dataset.image(0, (4, 5)).shape == (3, 4, 5)
    assert dataset.image(0, (4, 5))[:, 0, 0].tolist() == [1, 0, 0]
    assert next(iter(dataset.image_batches((8, 8)))).shape == (2, 3, 8, 8)
    assert dataset.labels(0).counts(2, (3, 3)).tolist() == [9, 9]
    with pytest.raises(InputError, match="there are 1 images and labels of 0"):
        ImageLevelConcepts([torch.rand(3, 8, 8)], [])
    with pytest.raises(InputError, match="the images has no concepts"):
        ImageLevelConcepts([torch.rand(3, 8, 8)], [[]])


def test_a_segmenter_labels_images() -> None:
    images = [torch.rand(3, 8, 8) for _ in range(2)]
    concepts = [Concept("light", "color"), Concept("left", "part")]

    def segmenter(image: torch.Tensor) -> torch.Tensor:
        left = torch.arange(image.shape[2]).expand(image.shape[1:]) < 4
        return torch.stack([(image.mean(0) > 0.5).int(), 2 * left.int()])

    dataset = SegmentedImages(images, segmenter, concepts, (8, 8), "thresholds")
    light, left = dataset.checked_labels(1).maps
    assert light.tolist() == (images[1].mean(0) > 0.5).int().tolist()
    assert (left == 2).sum() == 32
    other = SegmentedImages(images, segmenter, concepts, (8, 8), "others")
    assert dataset.digest() != other.digest()
    for given, sentence in (
        (lambda image: image, "the segmenter gave shape .* and type float32"),
        (lambda image: torch.full((8, 8), 3), "has the label 3; there are 2 concepts"),
        (lambda image: torch.zeros(8), r"shape \(8,\)"),
    ):
        with pytest.raises(InputError, match=sentence):
            SegmentedImages(images, given, concepts, (8, 8)).labels(0)


def test_concepts_that_cannot_be_told_apart() -> None:
    for concepts, sentence in (
        ([], "has no concepts"),
        ([Concept("a", "object")] * 2, r"has the concept a \(object\) twice"),
        ([Concept(" ", "object")], "without a name"),
        ([Concept(str(i), "object") for i in range(2**15)], "at most 32767"),
    ):
        with pytest.raises(InputError, match=sentence):
            SegmentedImages([], lambda image: image, concepts, (8, 8))


def test_a_folder_gives_back_what_was_written(tmp_path: Path) -> None:
    dataset = ShapeDataset(4, size=40, seed=2)
    write_concept_folder(dataset, tmp_path / "shapes", (40, 40))
    again = ConceptFolder(tmp_path / "shapes")
    assert (len(again), again.concepts) == (4, dataset.concepts)
    for index in range(4):
        ours, theirs = dataset.labels(index), again.checked_labels(index)
        assert [each.tolist() for each in ours.maps] == [each.tolist() for each in theirs.maps]
        assert (ours.whole, ours.captions) == (theirs.whole, theirs.captions)
        torch.testing.assert_close(
            again.image(index, (40, 40)), dataset.image(index, (40, 40)), atol=0.501 / 255, rtol=0
        )
    assert again.name(2) == "images/000002.png"
    write_concept_folder(Selected(again, [3]), tmp_path / "one", (20, 20))
    assert ConceptFolder(tmp_path / "one").image(0, (20, 20)).shape == (3, 20, 20)
    with pytest.raises(OccupiedError, match="holds a concept data set"):
        write_concept_folder(dataset, tmp_path / "shapes", (40, 40))
    before = again.digest()
    write_concept_folder(dataset, tmp_path / "shapes", (40, 40), overwrite=True)
    again = ConceptFolder(tmp_path / "shapes")
    assert again.digest() == before
    (tmp_path / "shapes" / "labels" / "000001_0.png").write_bytes(b"")
    assert again.digest() != before


def test_a_folder_half_written_is_none(tmp_path: Path) -> None:
    class Failing(ShapeDataset):
        def image(self, index: int, size: tuple[int, int]) -> torch.Tensor:
            if index == 2:
                raise InputError("the disk is full.")
            return super().image(index, size)

    with pytest.raises(InputError, match="the disk is full"):
        write_concept_folder(Failing(4, size=32), tmp_path / "half", (32, 32))
    with pytest.raises(
        MissingFileError, match=r"holds no concepts\.json: it is no concept data set, or was not written"
    ):
        ConceptFolder(tmp_path / "half")
    with pytest.raises(MissingFileError, match="is not there"):
        ConceptFolder(tmp_path / "nowhere")


def test_damaged_folders(tmp_path: Path) -> None:
    write_concept_folder(ShapeDataset(1, size=32), tmp_path, (32, 32))
    listed = tmp_path / "concepts.json"
    whole = json.loads(listed.read_text())

    def damaged(**changes: object) -> ConceptFolder:
        listed.write_text(json.dumps(whole | {"images": [whole["images"][0] | changes]}))
        return ConceptFolder(tmp_path)

    with pytest.raises(InputError, match=r'names "\.\./x\.png", which is not in it'):
        damaged(maps=["../x.png"])
    with pytest.raises(InputError, match=r'an image of .* has "label"; expected some of image, maps'):
        damaged(label=3)
    with pytest.raises(UnreadableImageError, match="No such file"):
        damaged(maps=["labels/none.png"]).labels(0)
    Image.fromarray(np.full((4, 4), 200, dtype=np.uint8)).save(tmp_path / "labels" / "many.png")
    with pytest.raises(InputError, match="has the label 200; there are 32 concepts"):
        damaged(maps=["labels/many.png"]).labels(0)
    Image.new("CMYK", (4, 4)).save(tmp_path / "labels" / "cmyk.tiff")
    with pytest.raises(UnreadableImageError, match="pixels of mode CMYK, which are no labels"):
        damaged(maps=["labels/cmyk.tiff"]).labels(0)
    listed.write_text("{")
    with pytest.raises(ValueError, match="damaged"):
        ConceptFolder(tmp_path)
