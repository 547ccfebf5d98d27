"""Data sets of others, written here in their own formats: what is read is what was drawn."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from captum_proto._utils.errors import InputError, MissingFileError, UnreadableImageError
from captum_proto.concept import ADE20K, Broden, CocoDataset, Concept, ConceptDataset

SHAPE = (12, 16)


def photograph(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", SHAPE[::-1], "gray").save(path)


def numbers(path: Path, values: np.ndarray, encoded: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(encoded(values).astype(np.uint8)).save(path)


def red_and_green(values: np.ndarray) -> np.ndarray:
    return np.stack([values % 256, values // 256, np.zeros_like(values)], 2)


def tens(values: np.ndarray) -> np.ndarray:
    return np.stack([values // 256 * 10, values % 256, np.arange(values.size).reshape(values.shape) % 7], 2)


def table(path: Path, rows: list[dict[str, object]]) -> None:
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def names(dataset: ConceptDataset, index: int) -> list[list[list[str]]]:
    """The name of each pixel in each map."""
    listed = ["", *map(str, dataset.concepts)]
    return [[[listed[label] for label in row] for row in each] for each in dataset.checked_labels(index).maps]


@pytest.fixture
def broden(tmp_path: Path) -> Path:
    """Two images: one with objects and two maps of parts, one with a scene and textures of the whole."""
    objects = np.zeros(SHAPE, dtype=int)
    objects[2:5, 3:9], objects[8:, :] = 300, 2
    parts = [np.where(objects == 300, 2, 0), np.where(objects == 2, 5, 0)]
    numbers(tmp_path / "images" / "a" / "object.png", objects, red_and_green)
    for place, each in enumerate(parts):
        numbers(tmp_path / "images" / "a" / f"part{place}.png", each, red_and_green)
    for name in ("a/one.jpg", "b/two.jpg"):
        photograph(tmp_path / "images" / name)
    size = {"ih": 12, "iw": 16, "sh": 12, "sw": 16}
    one = {"object": "a/object.png", "part": "a/part0.png;a/part1.png", "scene": "", "texture": ""}
    two = {"object": "", "part": "", "scene": "7", "texture": "8;9"}
    table(
        tmp_path / "index.csv",
        [
            {"image": "a/one.jpg", "split": "train", **size, **one},
            {"image": "b/two.jpg", "split": "val", **size, **two},
        ],
    )
    labels = {
        2: ("wheel", "object(1);part(1)"),
        5: ("rim", "part(1)"),
        7: ("street-s", "scene(1)"),
        8: ("dotted", "texture(1)"),
        9: ("striped", "texture(1)"),
        300: ("car", "object(2)"),
    }
    rows: list[dict[str, object]] = [
        {"number": number, "name": name, "category": category, "frequency": 1, "coverage": 0.5, "syns": name}
        for number, (name, category) in labels.items()
    ]
    table(tmp_path / "label.csv", rows)
    return tmp_path


def test_broden(broden: Path) -> None:
    dataset = Broden(broden)
    assert len(dataset) == 2
    assert Concept("wheel", "object") in dataset.concepts
    assert Concept("wheel", "part") in dataset.concepts
    objects, first, second = names(dataset, 0)
    assert (objects[3][4], objects[9][0], objects[0][0]) == ("car (object)", "wheel (object)", "")
    assert (first[3][4], first[9][0]) == ("wheel (part)", "")
    assert (second[3][4], second[9][0]) == ("", "rim (part)")
    whole = [str(dataset.concepts[label - 1]) for label in dataset.checked_labels(1).whole]
    assert whole == ["street-s (scene)", "dotted (texture)", "striped (texture)"]
    assert dataset.image(1, (6, 8)).shape == (3, 6, 8)
    assert dataset.name(1) == "b/two.jpg"


def test_parts_of_broden(broden: Path) -> None:
    textures = Broden(broden, categories=["texture"])  # as in NetDissect, without the images that have none
    assert (len(textures), textures.name(0)) == (1, "b/two.jpg")
    assert [each.name for each in textures.concepts] == ["dotted", "striped"]
    assert len(Broden(broden, split="train")) == 1
    with pytest.raises(InputError, match='has no category "textures"; expected some of object, part, scene, texture'):
        Broden(broden, categories=["textures"])
    with pytest.raises(InputError, match=r"has no images of the split 'test'; it has \['train', 'val'\]"):
        Broden(broden, split="test")
    before = Broden(broden).digest()
    (broden / "images" / "a" / "part0.png").unlink()
    assert Broden(broden).digest() != before
    with pytest.raises(UnreadableImageError, match="No such file"):
        Broden(broden).labels(0)


def test_broden_whose_files_do_not_belong_together(broden: Path) -> None:
    numbers(broden / "images" / "a" / "object.png", np.full(SHAPE, 4), red_and_green)
    with pytest.raises(InputError, match=r"a/one\.jpg of .* has the label number 4, which label\.csv does not list"):
        Broden(broden).labels(0)
    numbers(broden / "images" / "a" / "object.png", np.full(SHAPE, 999), red_and_green)
    with pytest.raises(InputError, match="has the label number 999"):
        Broden(broden).labels(0)
    (broden / "label.csv").unlink()
    with pytest.raises(MissingFileError, match=r"label\.csv\"; give the folder of Broden"):
        Broden(broden)


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    for name in ("one.jpg", "two.jpg"):
        photograph(tmp_path / "images" / name)
    listed = [
        {"id": 10 + i, "file_name": f"{name}.jpg", "height": 12, "width": 16} for i, name in enumerate(("one", "two"))
    ]
    square = [[2, 3, 8, 3, 8, 9, 2, 9]]  # x, y: columns 2 to 7, rows 3 to 8
    runs = {"size": [12, 16], "counts": [12 * 4, 12 * 2, 12 * 10]}  # by columns: the fifth and the sixth
    annotations = [
        {"image_id": 10, "category_id": 3, "segmentation": square, "iscrowd": 0},
        {"image_id": 10, "category_id": 5, "segmentation": runs, "iscrowd": 1},
        {"image_id": 10, "category_id": 3, "segmentation": [[12, 0, 14, 0, 14, 2, 12, 2]], "iscrowd": 0},
    ]
    categories = [
        {"id": 3, "name": "cat", "supercategory": "animal"},
        {"id": 5, "name": "fence", "supercategory": "outdoor"},
    ]
    content = {"images": listed, "annotations": annotations, "categories": categories}
    (tmp_path / "instances.json").write_text(json.dumps(content))
    captions = {"annotations": [{"image_id": 11, "caption": "nothing"}, {"image_id": 99, "caption": "elsewhere"}]}
    (tmp_path / "captions.json").write_text(json.dumps(captions))
    return tmp_path


def test_coco(coco: Path) -> None:
    pytest.importorskip("pycocotools")
    dataset = CocoDataset(coco / "images", coco / "instances.json", coco / "captions.json")
    cats, fences = names(dataset, 0)
    cat = np.array(cats) == "cat (object)"
    assert cat[3:9, 2:8].all()
    assert cat[0:2, 12:14].all()
    assert cat.sum() == 36 + 4
    assert (np.array(fences) == "fence (object)").nonzero()[1].tolist() == [4, 5] * 12
    assert dataset.checked_labels(1).maps == []
    assert (dataset.labels(0).captions, dataset.labels(1).captions) == ([], ["nothing"])
    grouped = CocoDataset(coco / "images", coco / "instances.json", category="supercategory")
    assert [str(each) for each in grouped.concepts] == ["cat (animal)", "fence (outdoor)"]
    assert dataset.image(0, (4, 4)).shape == (3, 4, 4)


def test_coco_that_does_not_belong_together(coco: Path) -> None:
    pytest.importorskip("pycocotools")
    path = coco / "instances.json"
    whole = json.loads(path.read_text())

    def changed(**changes: object) -> CocoDataset:
        path.write_text(json.dumps(whole | {"annotations": [whole["annotations"][0] | changes]}))
        return CocoDataset(coco / "images", path)

    with pytest.raises(InputError, match="has an annotation of category 4, which it does not list"):
        changed(category_id=4)
    with pytest.raises(InputError, match="has an annotation of image 4"):
        changed(image_id=4)
    with pytest.raises(
        InputError, match=r"instances\.json\" is damaged: .*a mask is not of the 12 x 16 pixels of its image"
    ):
        changed(segmentation={"size": [3, 3], "counts": "09"}).labels(0)
    with pytest.raises(MissingFileError, match="give a JSON file as COCO has them"):
        CocoDataset(coco, coco / "none.json")
    path.write_text("[")
    with pytest.raises(ValueError, match="damaged"):
        CocoDataset(coco, path)


def test_coco_without_its_tools(coco: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pycocotools", None)
    monkeypatch.setitem(__import__("sys").modules, "pycocotools.mask", None)
    with pytest.raises(InputError, match="need pycocotools; install it: pip install pycocotools"):
        CocoDataset(coco / "images", coco / "instances.json")


def test_the_scene_parsing_benchmark(tmp_path: Path) -> None:
    photograph(tmp_path / "images" / "validation" / "ADE_val_00000001.jpg")
    values = np.zeros(SHAPE, dtype=int)
    values[:4], values[4:6] = 1, 2
    numbers(tmp_path / "annotations" / "validation" / "ADE_val_00000001.png", values, lambda each: each)
    (tmp_path / "objectInfo150.txt").write_text(
        "Idx\tRatio\tTrain\tVal\tName\n1\t0.15\t11664\t1172\twall\n2\t0.11\t6046\t612\tbuilding, edifice\n"
    )
    (tmp_path / "sceneCategories.txt").write_text("ADE_val_00000001 street\nADE_train_00000001 beach\n")
    dataset = ADE20K(tmp_path)
    assert [str(each) for each in dataset.concepts] == ["wall (object)", "building (object)", "street (scene)"]
    (found,) = names(dataset, 0)
    assert (found[0][0], found[5][0], found[6][0]) == ("wall (object)", "building (object)", "")
    assert dataset.checked_labels(0).whole == [3]
    numbers(tmp_path / "annotations" / "validation" / "ADE_val_00000001.png", np.full(SHAPE, 3), lambda each: each)
    with pytest.raises(InputError, match=r"ADE_val_00000001\.png of .* has the object 3; there are 2 of them"):
        dataset.labels(0)
    with pytest.raises(MissingFileError, match='has no images in "images/training"'):
        ADE20K(tmp_path, "training")
    with pytest.raises(MissingFileError, match=r"holds neither objectInfo150\.txt"):
        ADE20K(tmp_path / "images")


def test_the_full_ade20k(tmp_path: Path) -> None:
    folder = tmp_path / "images" / "training" / "a" / "abbey"
    photograph(folder / "ADE_train_00000001.jpg")
    objects, parts = np.zeros(SHAPE, dtype=int), np.zeros(SHAPE, dtype=int)
    objects[:6], parts[:2] = 300, 2
    numbers(folder / "ADE_train_00000001_seg.png", objects, tens)
    numbers(folder / "ADE_train_00000001_parts_1.png", parts, tens)
    listed = [f"thing {number}" for number in range(1, 301)]
    listed[299], listed[1], listed[4] = "door, gate", "knob", "door"
    index = {
        "filename": np.array(["ADE_train_00000001.jpg"], dtype=object),
        "scene": np.array(["abbey"], dtype=object),
        "objectnames": np.array(listed, dtype=object),
    }
    savemat(tmp_path / "index_ade20k.mat", {"index": index})
    dataset = ADE20K(tmp_path, "training")
    seen, parted = names(dataset, 0)
    assert (seen[0][0], seen[6][0], parted[1][3], parted[2][0]) == ("door (object)", "", "knob (part)", "")
    assert [str(dataset.concepts[label - 1]) for label in dataset.checked_labels(0).whole] == ["abbey (scene)"]
    assert sum(each == Concept("door", "object") for each in dataset.concepts) == 1  # that two numbers have
    assert dataset.name(0) == "ADE_train_00000001.jpg"
    (folder / "ADE_train_00000001_seg.png").write_bytes(b"no picture")
    with pytest.raises(UnreadableImageError, match="ADE_train_00000001_seg"):
        dataset.labels(0)
