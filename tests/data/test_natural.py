"""Images of a target and of other classes, in one way for files and for digits."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from PIL import Image

from captum_proto.data import ImageCollection, ImageGeometry, LabeledImages, TensorCollection, digits_images
from captum_proto.data.natural import NaturalImages, natural_split, spaced_images

SCANS = ImageGeometry((1, 8, 8))
GEOMETRY = ImageGeometry((1, 6, 6), 1.0)


def joined(images) -> torch.Tensor:
    return images if isinstance(images, torch.Tensor) else torch.cat(list(images))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six images of class 0, three of class 1, two of class 4; the gray of each says which it is."""
    for index, label in enumerate([0] * 6 + [1] * 3 + [4] * 2):
        Image.new("L", (6, 6), 20 * index).save(tmp_path / f"{label}_{index:02}.png")
    return tmp_path


def grays(images) -> list[int]:
    return (joined(images)[:, 0, 0, 0] * 255 / 20).round().int().tolist()


def test_photographs_of_a_target_and_of_others(folder: Path) -> None:
    collection = ImageCollection.discover(folder)
    natural = NaturalImages(str(folder), GEOMETRY, seed=3)
    images = natural.of((1,))
    assert grays(images.same) == [6, 7, 8]
    drawn = collection.except_([1], limit=3, seed=3)
    assert grays(images.other) == grays(drawn.batches_for(GEOMETRY))
    assert natural.listed((1,)) == [{"file": str(p), "sha256": d} for p, d in collection.of(1).listed()]
    assert len(joined(NaturalImages(collection, GEOMETRY, limit=2).of((0,)).same)) == 2
    assert len(joined(NaturalImages(collection, GEOMETRY, others=1).of((0,)).other)) == 1
    assert len(joined(natural.of((0,)).other)) == 5  # there are no more
    assert len(joined(natural.elsewhere((0,), 4))) == 4
    assert len(joined(natural.elsewhere((0,), 40))) == 5


def test_parts_are_the_whole(folder: Path) -> None:
    (folder / "0_03.png").write_text("not a picture")
    for source in (str(folder), TensorCollection(torch.rand(11, 1, 6, 6), torch.tensor([0] * 6 + [1] * 3 + [4] * 2))):
        natural = NaturalImages(source, GEOMETRY, seed=3, others=5, batch_size=2, workers=0)
        assert natural.sizes((0,)) == (6, 5)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the file that cannot be read
            whole = natural.afresh().of((0,))
            expected = joined(whole.same), joined(whole.other)
            parts = [natural.afresh().part((0,), first, 3) for first in (0, 3, 6)]
            same = [batch for part in parts for batch in part.same]
            other = [batch for part in parts for batch in part.other]
        assert torch.equal(torch.cat(same), expected[0])
        assert torch.equal(torch.cat(other), expected[1])
    part = NaturalImages(str(folder), GEOMETRY, workers=0).part((0,), 3, 1)
    with pytest.warns(UserWarning, match="1 of 1 images cannot be read"):
        assert list(part.same) == []  # which is no error of a part
    assert "0_03.png" in part.failures()[0]


def test_of_a_superclass_the_classes_that_are_there(folder: Path) -> None:
    natural = NaturalImages(str(folder), GEOMETRY)
    assert grays(natural.of((1, 2, 3, 4)).same) == [6, 7, 8, 9, 10]
    for missing in ((2,), (2, 3)):
        with pytest.raises(ValueError, match="there are no images of class"):
            natural.of(missing)


def test_files_that_cannot_be_read_are_told(folder: Path) -> None:
    (folder / "1_06.png").write_text("not a picture")
    natural = NaturalImages(str(folder), GEOMETRY)
    images = natural.of((1,))
    assert images.failures() == []
    with pytest.warns(UserWarning, match="1 of 3 images"):
        list(images.same)
    assert images.failures() == [f'The image "{folder / "1_06.png"}" was skipped: not an image that Pillow can read.']


def test_digits_are_drawn_as_any_images() -> None:
    pytest.importorskip("sklearn")
    natural = NaturalImages("digits", SCANS, limit=12, seed=5)
    images = natural.of((3,))
    others = [digit for digit in range(10) if digit != 3]
    assert torch.equal(joined(images.same), digits_images(classes=[3], limit=12, seed=5).images)
    assert torch.equal(joined(images.other), digits_images(classes=others, limit=12, seed=5).images)
    elsewhere = natural.elsewhere((3,), 7)
    assert torch.equal(joined(elsewhere), digits_images(classes=others, limit=7, seed=6).images)
    assert [row["file"] for row in natural.listed((3,))] == [f"digits {place}" for place in range(12)]
    assert natural.skipped == []
    nine = NaturalImages("digits", SCANS).of(tuple(range(9)))
    assert len(joined(nine.other)) < len(joined(nine.same))  # there are no more
    with pytest.raises(ValueError, match=r'"digits" are images of shape \(1, 8, 8\), but image_shape is \(3, 6, 6\)'):
        NaturalImages("digits", ImageGeometry((3, 6, 6))).of((3,))


def test_images_that_are_spaced_evenly() -> None:
    images = torch.arange(23.0).view(23, 1, 1, 1)
    labels = torch.cat([torch.zeros(4), torch.full((19,), 7)]).long()
    same, other = spaced_images(LabeledImages(images, labels), (0,))
    assert (same.flatten().tolist(), other.flatten().tolist()) == ([0, 1, 2, 3], [4, 9, 14, 19])
    same, other = spaced_images(LabeledImages(images, labels), (0,), limit=3, full=True)
    assert (same.flatten().tolist(), other.flatten().tolist()) == ([0, 1, 2], [4, 10, 16])
    assert len(spaced_images(LabeledImages(images, labels), (7,))[1]) == 4
    with pytest.raises(ValueError, match=r"0 images of target \[1\]; path similarity needs at least two"):
        spaced_images(LabeledImages(images, labels), (1,))
    with pytest.raises(ValueError, match=r"no images of other classes than \[0, 7\]"):
        spaced_images(LabeledImages(images, labels), (0, 7))


def test_photographs_are_parted_into_every_second(folder: Path) -> None:
    parted = natural_split(str(folder), GEOMETRY, None, [(0,), (1, 4)], limit=2)
    assert (grays(parted.training), parted.training_labels.tolist()) == ([0, 2, 4, 6, 8, 10], [0, 0, 0, 1, 1, 4])
    assert (grays(parted.held_out), parted.labels.tolist()) == ([1, 3, 5, 7, 9], [0, 0, 0, 1, 4])
    assert {target: grays(images) for target, images in parted.same.items()} == {(0,): [0, 1], (1, 4): [6, 7]}
    assert {target: grays(images) for target, images in parted.other.items()} == {(0,): [6, 8], (1, 4): [0, 3]}


def test_digits_are_parted_as_scikit_learns_are() -> None:
    pytest.importorskip("sklearn")
    parted = natural_split("digits", SCANS, None, [(3,)])
    training, held_out = digits_images("training"), digits_images("held_out")
    assert torch.equal(parted.training, training.images)
    assert torch.equal(parted.training_labels, training.labels)
    assert torch.equal(parted.held_out, held_out.images)
    assert torch.equal(parted.labels, held_out.labels)
    same = digits_images(classes=[3])
    assert torch.equal(parted.same[3,], same.images)
    others = [digit for digit in range(10) if digit != 3]
    assert torch.equal(parted.other[3,], digits_images(classes=others, limit=len(same.labels) // 9).images)


def test_a_collection_may_be_given() -> None:
    images = TensorCollection(torch.rand(6, 1, 6, 6), torch.arange(6) % 3)
    assert len(joined(NaturalImages(images, GEOMETRY).of((2,)).same)) == 2
