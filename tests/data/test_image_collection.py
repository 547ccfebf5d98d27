"""Images found by class, and read as the model's own evaluation reads them."""

from __future__ import annotations

import pickle
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models import Inception_V3_Weights, ResNet18_Weights, Swin_T_Weights

from captum_proto._utils.errors import UnreadableImageError
from captum_proto.data import ImageCollection, batches, digits_images, load_image
from captum_proto.data.class_tables import imagenet_wnids

NAMES = ["tench", "great white shark", "house finch", "crane", "crane", "goldfish"]
WNIDS = ["n01440764", "n01484850", "n01532829", "n02012849", "n03126707", "n01443537"]


def picture(path: Path, value: int = 0, size: tuple[int, int] = (12, 10), mode: str = "RGB") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value if mode == "L" else (value,) * 3).save(path)
    return path


def photograph(size: tuple[int, int]) -> Image.Image:
    """Noise over a gradient: any other filter, size or crop changes its pixels."""
    values = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3))
    values[..., 0] = np.linspace(0, 255, size[0])[None]
    return Image.fromarray(values.astype(np.uint8))


def table(folder: Path, wnids: list[str] = WNIDS, names: list[str] = NAMES) -> None:
    rows = [f"{index},{wnid},{name}" for index, (wnid, name) in enumerate(zip(wnids, names, strict=True))]
    (folder / "classes.csv").write_text("\n".join(["index,wnid,name", *rows]) + "\n")


def mapping(images: ImageCollection) -> dict[str, int]:
    return {path.name: label for path, label in zip(images.paths, images.labels, strict=True)}


# Reading.


@pytest.mark.parametrize("size", [(341, 256), (256, 341), (500, 333), (90, 90), (224, 224)])
@pytest.mark.parametrize("weights", [ResNet18_Weights.DEFAULT, Inception_V3_Weights.DEFAULT, Swin_T_Weights.DEFAULT])
def test_pixels_are_those_of_torchvisions_evaluation(tmp_path: Path, size: tuple[int, int], weights) -> None:
    image = photograph(size)
    image.save(tmp_path / "a.png")
    reference = weights.transforms()
    normalized = reference(image)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (reference.mean, reference.std))
    side = reference.crop_size[0]
    ours = load_image(
        tmp_path / "a.png", (3, side, side), reference.resize_size[0] / side, reference.interpolation.value
    )
    torch.testing.assert_close((ours - mean) / std, normalized, rtol=0, atol=1e-6)
    assert ours.dtype == torch.float32


@pytest.mark.parametrize(("size", "shape"), [((40, 20), (3, 8, 30)), ((20, 40), (3, 30, 8)), ((9, 33), (1, 7, 5))])
def test_oblong_images_fill_the_whole_crop(tmp_path: Path, size: tuple[int, int], shape: tuple[int, int, int]) -> None:
    image = load_image(picture(tmp_path / "a.png", 255, size), shape)
    assert image.shape == shape
    assert bool((image == 1).all())


def test_gray_and_color(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), (255, 0, 0)).save(tmp_path / "red.png")
    gray = load_image(tmp_path / "red.png", (1, 8, 8), 1)
    assert gray.unique().tolist() == pytest.approx([76 / 255])  # ITU-R 601-2
    color = load_image(picture(tmp_path / "gray.png", 51, mode="L"), (3, 8, 8), 1)
    assert color.shape == (3, 8, 8)
    assert color.unique().tolist() == pytest.approx([0.2])


@pytest.mark.parametrize("mode", ["RGBA", "CMYK", "P", "1"])
def test_other_modes_become_color(tmp_path: Path, mode: str) -> None:
    Image.new("RGB", (8, 8), "white").convert(mode).save(tmp_path / "a.tiff")
    assert load_image(tmp_path / "a.tiff", (3, 8, 8), 1).unique().tolist() == [1.0]


def test_sixteen_bits_are_scaled_not_cut_off(tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 8), 257 * 200, np.uint16)).save(tmp_path / "a.png")
    assert load_image(tmp_path / "a.png", (1, 8, 8), 1).unique().tolist() == pytest.approx([200 / 255])


@pytest.mark.parametrize("kind", ["rotation flag", "animation", "transparent palette"])
def test_what_files_say_beside_their_pixels_is_read_as_torchvision_reads_it(tmp_path: Path, kind: str) -> None:
    image, path = photograph((20, 12)), tmp_path / "a.png"
    if kind == "rotation flag":
        exif = Image.Exif()
        exif[0x0112] = 6  # turned by a quarter
        image.save(path, exif=exif)
    elif kind == "animation":
        path = tmp_path / "a.gif"
        image.save(path, save_all=True, append_images=[Image.new("RGB", image.size)])
    else:
        image.quantize(4).save(path, transparency=bytes([0, 128, 255, 255]))
    with warnings.catch_warnings(), Image.open(path) as file:
        warnings.simplefilter("ignore")
        expected = np.asarray(file.convert("RGB")).transpose(2, 0, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read = load_image(path, (3, 12, 20), 1)
    np.testing.assert_array_equal((read * 255).round().numpy(), expected)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.full((8, 8), 70000, np.int32), "integers from 70000 to 70000, which have no known white"),
        (np.full((8, 8), 0.5, np.float32), "floating-point values, which have no known white"),
    ],
)
def test_pixels_without_a_known_white_are_refused(tmp_path: Path, values: np.ndarray, message: str) -> None:
    Image.fromarray(values).save(tmp_path / "a.tiff")
    with pytest.raises(ValueError, match=message):
        load_image(tmp_path / "a.tiff", (1, 8, 8), 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image_shape": (2, 8, 8)}, "C = 1"),
        ({"image_shape": (8, 8)}, "C, H, W"),
        ({"image_shape": (3, 0, 8)}, "positive"),
        ({"resize_ratio": 0.5}, "1 or more"),
        ({"interpolation": "bicubi"}, 'did you mean "bicubic"'),
        ({"batch_size": 0}, "at least 1"),
        ({"workers": -1}, "workers is -1"),
    ],
)
def test_wrong_arguments_of_batches(tmp_path: Path, arguments: dict, message: str) -> None:
    images = ImageCollection([picture(tmp_path / "a.png")], [0])
    with pytest.raises(ValueError, match=message):
        images.batches(**{"image_shape": (3, 8, 8), **arguments})


def test_load_image_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no file"):
        load_image(tmp_path / "a.png", (3, 8, 8))
    (tmp_path / "a.png").write_text("text")
    with pytest.raises(
        UnreadableImageError, match=r'a.png" cannot be read: not an image that Pillow can read\.'
    ) as caught:
        load_image(tmp_path / "a.png", (3, 8, 8))
    assert caught.value.reason == "not an image that Pillow can read"
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)  # as a process hands it over
    picture(tmp_path / "b.png", size=(1, 900))
    with pytest.raises(ValueError, match="1 x 900 pixels"):
        load_image(tmp_path / "b.png", (3, 8, 8))


# Discovery.


def test_flat_folder_with_indices_and_wnids(tmp_path: Path) -> None:
    for name in ("0002_n01532829", "5_other", "0-b c"):
        picture(tmp_path / f"{name}.JPEG")
    images = ImageCollection.discover(tmp_path)
    assert mapping(images) == {"0-b c.JPEG": 0, "0002_n01532829.JPEG": 2, "5_other.JPEG": 5}
    assert images.classes == [0, 2, 5]
    assert images.counts == {0: 1, 2: 1, 5: 1}


def test_flat_folder_with_wnids_and_a_table(tmp_path: Path) -> None:
    table(tmp_path)
    for name in ("n01532829_4711", "n01440764_12", "photo_n01443537"):
        picture(tmp_path / f"{name}.jpg")
    images = ImageCollection.discover(tmp_path)
    assert mapping(images) == {"n01440764_12.jpg": 0, "n01532829_4711.jpg": 2, "photo_n01443537.jpg": 5}
    assert images.class_names == NAMES


def test_flat_folder_with_class_names(tmp_path: Path) -> None:
    for name in ("house_finch_01", "House-Finch (2)", "tench", "great white shark.7"):
        picture(tmp_path / f"{name}.png")
    images = ImageCollection.discover(tmp_path, NAMES)
    assert sorted(images.labels) == [0, 1, 2, 2]


def test_the_longest_class_name_wins(tmp_path: Path) -> None:
    picture(tmp_path / "green_mamba_1.png")
    assert ImageCollection.discover(tmp_path, ["green", "green mamba"]).labels == [1]


def test_digits_in_file_names_are_no_class_names(tmp_path: Path) -> None:
    picture(tmp_path / "3_1.png")
    assert ImageCollection.discover(tmp_path, [str(digit) for digit in range(10)]).labels == [3]


def test_synonyms_after_commas_name_the_class_too(tmp_path: Path) -> None:
    picture(tmp_path / "Tinca tinca" / "a.png")
    assert ImageCollection.discover(tmp_path, ["goldfish, Carassius auratus", "tench, Tinca tinca"]).labels == [1]


@pytest.mark.parametrize("name", ["0003_n01532829", "0003_house_finch"])
def test_names_that_contradict_themselves_are_refused(tmp_path: Path, name: str) -> None:
    table(tmp_path)
    picture(tmp_path / f"{name}.png")
    with pytest.raises(ValueError, match=r"class 3 by its number and class 2"):
        ImageCollection.discover(tmp_path)


def test_an_index_decides_between_classes_of_one_name(tmp_path: Path) -> None:
    picture(tmp_path / "0004_crane.png")
    assert ImageCollection.discover(tmp_path, NAMES).labels == [4]
    picture(tmp_path / "crane_1.png")
    with pytest.raises(ValueError, match=r"names the classes 3, 4 alike"):
        ImageCollection.discover(tmp_path, NAMES)


@pytest.mark.parametrize("parts", [(), ("val",), ("train",)])
def test_imagenet_tree_with_a_table(tmp_path: Path, parts: tuple[str, ...]) -> None:
    table(tmp_path)
    for wnid in WNIDS[:2]:
        picture(tmp_path.joinpath(*parts) / wnid / "ILSVRC2012_val_1.JPEG", 1)
        picture(tmp_path.joinpath(*parts) / wnid / "images" / "deeper.JPEG", 1)
    assert ImageCollection.discover(tmp_path).labels == [0, 0, 1, 1]
    assert ImageCollection.discover(tmp_path.joinpath(*parts)).labels == [0, 0, 1, 1]


def test_splits(tmp_path: Path) -> None:
    table(tmp_path)
    picture(tmp_path / "val" / WNIDS[3] / "v.png")
    picture(tmp_path / "train" / WNIDS[3] / "t.png")
    assert ImageCollection.discover(tmp_path).paths[0].name == "v.png"
    assert ImageCollection.discover(tmp_path, split="train").paths[0].name == "t.png"
    with pytest.raises(ValueError, match=r'no split "test" .* it has val, train'):
        ImageCollection.discover(tmp_path, split="test")


def test_classes_named_train_and_val_are_classes(tmp_path: Path) -> None:
    for name in ("bus", "car", "train"):
        picture(tmp_path / name / "1.png")
    assert ImageCollection.discover(tmp_path).classes == [0, 1, 2]


def test_sorted_wnids_are_the_classes_only_if_all_are_there(tmp_path: Path) -> None:
    for wnid in WNIDS:
        picture(tmp_path / wnid / "1.png")
    order = [sorted(WNIDS).index(path.parent.name) for path in ImageCollection.discover(tmp_path, ["x"] * 6).paths]
    assert order == [0, 1, 2, 3, 4, 5]
    with pytest.raises(ValueError, match=r"names 6 of the model's 7 classes by wnid .*put a classes.csv"):
        ImageCollection.discover(tmp_path, ["x"] * 7)
    with pytest.raises(ValueError, match=r"pass such a table with --class-table FILE"):
        ImageCollection.discover(tmp_path)


def test_a_thousand_sorted_wnids_need_no_table(tmp_path: Path) -> None:
    for index in range(1000):
        (tmp_path / f"n{10000000 + 7 * index}").mkdir()
    picture(tmp_path / "n10000021" / "1.png")
    assert ImageCollection.discover(tmp_path).labels == [3]


@pytest.mark.parametrize("name", ["LOC_synset_mapping.txt", "synset_words.txt"])
def test_tables_of_imagenet(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(
        "".join(f"{wnid} {word}, of some kind\n" for wnid, word in zip(WNIDS, NAMES, strict=True))
    )
    picture(tmp_path / "val" / WNIDS[5] / "1.png")
    assert ImageCollection.discover(tmp_path).labels == [5]


def test_wnids_argument_goes_before_the_table(tmp_path: Path) -> None:
    table(tmp_path)
    picture(tmp_path / WNIDS[0] / "1.png")
    assert ImageCollection.discover(tmp_path, wnids=WNIDS[::-1]).labels == [5]
    with pytest.raises(ValueError, match="a wnid twice"):
        ImageCollection.discover(tmp_path, wnids=["n01440764"] * 2)
    with pytest.raises(ValueError, match="n01440764, which wnids does not list"):
        ImageCollection.discover(tmp_path, wnids=WNIDS[1:])


def test_imagenets_wnids_are_known_without_timm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    for wnid in ("n01532829", "n03372029"):
        picture(tmp_path / wnid / "1.png")
    assert ImageCollection.discover(tmp_path, ["x"] * 1000).labels == [12, 558]
    picture(tmp_path / "n00000001" / "1.png")
    with pytest.raises(ValueError, match=r"n00000001, which the list of ImageNet's 1000 classes does not list; remove"):
        ImageCollection.discover(tmp_path, ["x"] * 1000)


def test_the_list_of_imagenets_wnids_is_timms() -> None:
    data = pytest.importorskip("timm.data")
    assert list(imagenet_wnids()) == data.ImageNetInfo("imagenet-1k").label_names()


@pytest.mark.parametrize(
    "table",
    ["index,wnid,name\n4,n01532829,finch\n2,n03372029,flute\n", "n9\nx\n", "n03372029 flute\nn01532829 finch\n"],
)
def test_a_table_that_is_given_goes_before_those_beside_the_images(tmp_path: Path, table: str) -> None:
    for wnid in ("n01532829", "n03372029"):
        picture(tmp_path / "images" / wnid / "1.png")
    (tmp_path / "images" / "classes.csv").write_text("index,wnid\n0,n01532829\n1,n03372029\n")
    (tmp_path / "mine.txt").write_text(table)
    if table.startswith("n9"):
        with pytest.raises(ValueError, match=r"mine.txt\" has the columns n9; expected index"):
            ImageCollection.discover(tmp_path / "images", class_table=tmp_path / "mine.txt")
        return
    expected = [2, 4] if "index" in table else [0, 1]
    images = ImageCollection.discover(tmp_path / "images", ["x"] * 7, class_table=tmp_path / "mine.txt")
    assert images.labels == expected
    assert images.paths[0].parent.name == "n03372029"
    with pytest.raises(FileNotFoundError, match=r'no table of classes ".*none"'):
        ImageCollection.discover(tmp_path / "images", class_table=tmp_path / "none")


@pytest.mark.parametrize("file", ["{}/a.png", "{}_a.png", "00{}/a.png", "00{}_a.png"])
def test_where_classes_are_named_by_numbers_a_number_is_a_name(tmp_path: Path, file: str) -> None:
    for number in (0, 1, 2):
        picture(tmp_path / file.format(number))
    images = ImageCollection.discover(tmp_path, ["1", "2", "0"])
    assert images.labels == [0, 1, 2]
    assert [path.relative_to(tmp_path).as_posix() for path in images.paths] == [file.format(n) for n in (1, 2, 0)]
    with pytest.raises(ValueError, match=r'no class "0": the classes are named by numbers, 1 to 3'):
        ImageCollection.discover(tmp_path, ["1", "2", "3"])
    assert ImageCollection.discover(tmp_path, ["1", "cat", "2"]).labels == [0, 0, 2]  # what is no name is an index


@pytest.mark.parametrize("files", [["0_a.png", "3_b.png"], ["n01440764_a.png"], ["house_finch_a.png"]])
def test_a_folder_beside_files_that_carry_classes_is_no_class(tmp_path: Path, files: list[str]) -> None:
    table(tmp_path)
    for file in files:
        picture(tmp_path / file)
    alone = ImageCollection.discover(tmp_path, NAMES).labels
    picture(tmp_path / "thumbnails" / "c.png")
    for names in (NAMES, None):
        with pytest.warns(UserWarning, match=r"c.png \(it lies in a folder that no class is called after\)"):
            assert ImageCollection.discover(tmp_path, names).labels == alone
    picture(tmp_path / "goldfish" / "d.png")
    with pytest.raises(ValueError, match=r'the folder "thumbnails" .* is named after no known class'):
        ImageCollection.discover(tmp_path, NAMES)


def test_folders_named_by_index_name_or_order(tmp_path: Path) -> None:
    for name in ("10", "002"):
        picture(tmp_path / "by index" / name / "1.png")
    assert ImageCollection.discover(tmp_path / "by index").labels == [2, 10]
    for name in ("House_Finch", "goldfish"):
        picture(tmp_path / "by name" / name / "1.png")
    assert ImageCollection.discover(tmp_path / "by name", NAMES).labels == [2, 5]
    for name in ("zebra", "ape"):
        picture(tmp_path / "by order" / name / "1.png")
    (tmp_path / "by order" / "bee").mkdir()
    images = ImageCollection.discover(tmp_path / "by order")
    assert [(path.parent.name, label) for path, label in zip(images.paths, images.labels, strict=True)] == [
        ("ape", 0),
        ("zebra", 2),
    ]
    assert images.class_names == ["ape", "bee", "zebra"]


def test_a_folder_of_no_known_class_is_refused_with_the_nearest(tmp_path: Path) -> None:
    picture(tmp_path / "gold fish" / "1.png")
    with pytest.raises(ValueError, match=r'named after no known class.*did you mean "goldfish"'):
        ImageCollection.discover(tmp_path, NAMES)


@pytest.mark.parametrize("name", ["6_a.png", "6/a.png"])
def test_indices_beyond_the_model_are_refused(tmp_path: Path, name: str) -> None:
    picture(tmp_path / name)
    with pytest.raises(ValueError, match=r"class 6, but the model has 6 classes, 0 to 5"):
        ImageCollection.discover(tmp_path, NAMES)


def test_images_outside_the_layout_are_named(tmp_path: Path) -> None:
    picture(tmp_path / "0_a.png")
    picture(tmp_path / "holiday.png")
    (tmp_path / "notes.txt").write_text("no image")
    picture(tmp_path / ".hidden.png")
    with pytest.warns(UserWarning, match=r"1 images .* holiday.png \(its name carries no class\)"):
        images = ImageCollection.discover(tmp_path)
    assert [(path.name, reason) for path, reason in images.skipped] == [("holiday.png", "its name carries no class")]
    picture(tmp_path / "tree" / "0" / "a.png")
    picture(tmp_path / "tree" / "stray.png")
    with pytest.warns(UserWarning, match="stray.png"):
        assert len(ImageCollection.discover(tmp_path / "tree")) == 1


def test_what_systems_leave_beside_images_is_no_class(tmp_path: Path) -> None:
    for place in ("ape", "bee", "__MACOSX/ape", ".thumbnails", "bee/.thumbnails"):
        picture(tmp_path / place / "1.png")
        picture(tmp_path / place / "._1.png")
    images = ImageCollection.discover(tmp_path)
    assert (images.labels, images.class_names) == ([0, 1], ["ape", "bee"])
    assert images.skipped == []


def test_folders_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        ImageCollection.discover(tmp_path / "none")
    with pytest.raises(NotADirectoryError, match="is a file"):
        ImageCollection.discover(picture(tmp_path / "x" / "a.png"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"holds no images; expected .* \.jpeg"):
        ImageCollection.discover(tmp_path / "empty")
    with pytest.raises(ValueError, match=r"no file name .* carries a class \(a.png\); expected"):
        ImageCollection.discover(tmp_path / "x")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "has the columns a, b; expected index"),
        ("", "an empty file"),
        ("index,name\none,tench\n", 'line 2: index is "one"'),
        ("index,wnid\n1,n01440764\n2,n01440764\n", "two indices"),
    ],
)
def test_broken_tables(tmp_path: Path, text: str, message: str) -> None:
    picture(tmp_path / "0_a.png")
    (tmp_path / "classes.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        ImageCollection.discover(tmp_path)


def test_paths_and_labels_must_match(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="2 paths and 1 labels"):
        ImageCollection(["a", "b"], [0])
    with pytest.raises(ValueError, match="0 paths"):
        ImageCollection([], [])


# Choosing.


@pytest.fixture
def twelve(tmp_path: Path) -> ImageCollection:
    for index in range(12):
        picture(tmp_path / f"{index % 3}_{index:02}.png", 10 * index)
    return ImageCollection.discover(tmp_path, ["ape", "bee", "cat", "dog"])


def test_of_and_except(twelve: ImageCollection) -> None:
    assert set(twelve.of([1]).labels) == {1}
    assert set(twelve.of(1).labels) == {1}
    assert twelve.of({0, 2}).counts == {0: 4, 2: 4}
    assert twelve.except_([1]).paths == twelve.of([0, 2]).paths
    assert twelve.except_([]).paths == twelve.paths
    assert set(twelve.paths) == set(twelve.of([1]).paths) | set(twelve.except_([1]).paths)
    assert twelve.of([1]).class_names == ["ape", "bee", "cat", "dog"]


def test_draws_are_seeded_nested_and_leave_the_callers_numbers_alone(twelve: ImageCollection) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    five = twelve.except_([], limit=5, seed=3).paths
    assert len(set(five)) == 5
    assert five == twelve.except_([], limit=5, seed=3).paths
    assert set(five) < set(twelve.except_([], limit=8, seed=3).paths)
    assert len({tuple(twelve.except_([], limit=5, seed=seed).paths) for seed in range(5)}) > 1
    assert five == sorted(five, key=twelve.paths.index)
    assert torch.equal(before, torch.get_rng_state())


def test_choices_that_cannot_be_met(twelve: ImageCollection) -> None:
    with pytest.raises(ValueError, match=r"no images of class 3 \(dog\) .* classes 2, 1, 0"):
        twelve.of([0, 3])
    with pytest.raises(ValueError, match="no images of no class"):
        twelve.of([])
    with pytest.raises(ValueError, match=r"there are 4 images of class 1 \(bee\) .* limit asks for 5; lower limit"):
        twelve.of([1], limit=5)
    with pytest.raises(ValueError, match="limit is 0"):
        twelve.of([1], limit=0)
    with pytest.raises(ValueError, match=r"of other classes than classes 0 \(ape\), 1 \(bee\), 2 \(cat\)"):
        twelve.except_([0, 1, 2])
    with pytest.raises(TypeError, match="expected class indices"):
        twelve.of("bee")  # type: ignore[arg-type]


# Batches.


@pytest.mark.parametrize("workers", [0, 3])
def test_batches_hold_every_image_once_in_order_on_every_pass(twelve: ImageCollection, workers: int) -> None:
    batches = twelve.batches((3, 6, 6), batch_size=5, workers=workers)
    assert len(batches) == 3
    for _ in range(2):
        passed = list(batches)
        assert [batch.shape for batch in passed] == [(5, 3, 6, 6), (5, 3, 6, 6), (2, 3, 6, 6)]
        values = torch.cat(passed)[:, 0, 0, 0] * 255 / 10
        assert values.round().int().tolist() == [int(path.stem[2:]) for path in twelve.paths]
        assert [batch.dtype for batch in passed] == [torch.float32] * 3
    items = list(batches.items())
    assert [label for item in items for label in item.labels] == twelve.labels
    assert [path for item in items for path in item.paths] == twelve.paths


def test_workers_read_two_batches_ahead_and_stop_when_nobody_asks_for_more(
    twelve: ImageCollection, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    read_image = batches.read_image

    def recorded(path: str, geometry: Any) -> Any:
        read.append(path)
        return read_image(path, geometry)

    monkeypatch.setattr(batches, "read_image", recorded)
    passed = iter(twelve.batches((3, 6, 6), batch_size=2, workers=1))
    next(passed)
    deadline = time.monotonic() + 10
    while len(read) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert 4 <= len(read) <= 6
    passed.close()  # type: ignore[attr-defined]
    assert len(read) <= 6
    assert not [thread for thread in threading.enumerate() if "captum_proto images" in thread.name]


@pytest.mark.parametrize("workers", [0, 2])
def test_unreadable_files_are_skipped_named_and_warned_of_once(twelve: ImageCollection, workers: int) -> None:
    truncated, text, gone = (twelve.paths[place] for place in (1, 4, 9))
    photograph((64, 64)).save(truncated)
    truncated.write_bytes(truncated.read_bytes()[:2000])
    text.write_text("not a picture")
    gone.unlink()
    chosen = twelve.except_([])
    batches = chosen.batches((3, 6, 6), batch_size=4, workers=workers)
    with pytest.warns(
        UserWarning, match=r"3 of 12 images cannot be read and are skipped: .*truncated.*; \.skipped"
    ) as seen:
        sizes = [len(batch) for batch in batches]
    assert len(seen) == 1
    assert sizes == [4, 4, 1]
    assert [path for path, _ in chosen.skipped] == [truncated, text, gone]
    assert "truncated" in chosen.skipped[0][1]
    assert chosen.skipped[1][1] == "not an image that Pillow can read"
    assert chosen.skipped[2][1] == "No such file or directory"
    assert len(chosen) == len(chosen.paths) == len(chosen.labels) == 9
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.cat(list(batches)).shape[0] == 9
        assert torch.cat(list(twelve.batches((3, 6, 6)))).shape[0] == 9
    assert twelve.of([0]).skipped == [(path, why) for path, why in chosen.skipped if path.name.startswith("0")]


def test_a_pass_that_is_left_early_still_warns(twelve: ImageCollection) -> None:
    twelve.paths[0].write_text("not a picture")
    passed = iter(twelve.batches((3, 6, 6), batch_size=2))
    next(passed)
    with pytest.warns(UserWarning, match="1 of 12"):
        passed.close()  # type: ignore[attr-defined]


def test_unreadable_files_do_not_change_what_is_drawn(twelve: ImageCollection) -> None:
    drawn = twelve.except_([], limit=4).paths
    twelve.paths[0].write_text("not a picture")
    with pytest.warns(UserWarning, match="1 of 12"):
        list(twelve.batches((3, 6, 6)))
    assert set(twelve.except_([], limit=4).paths) <= set(drawn)


def test_a_collection_without_a_readable_image_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "0_a.png").write_text("not a picture")
    batches = ImageCollection.discover(tmp_path).batches((3, 8, 8))
    with pytest.warns(UserWarning, match="1 of 1 images"), pytest.raises(ValueError, match="none of the 1 images"):
        list(batches)
    with pytest.raises(ValueError, match="none of the 1 images"):
        list(batches)


def test_images_are_read_batch_by_batch(twelve: ImageCollection, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    read_image = batches.read_image
    monkeypatch.setattr(batches, "read_image", lambda path, geometry: read.append(path) or read_image(path, geometry))
    passed = iter(twelve.batches((3, 6, 6), batch_size=5))
    next(passed)
    assert len(read) == 5


# Digits.


def test_digits_are_parted_by_class_without_overlap() -> None:
    pytest.importorskip("sklearn")
    held_out, training, both = (digits_images(split) for split in ("held_out", "training", "all"))
    assert (len(held_out.labels), len(training.labels), len(both.labels)) == (445, 1352, 1797)
    assert both.images.shape == (1797, 1, 8, 8)
    assert (float(both.images.min()), float(both.images.max())) == (0, 1)
    rows = {tuple(row) for row in training.images.flatten(1).tolist()}
    assert not any(tuple(row) in rows for row in held_out.images.flatten(1).tolist())
    assert set(held_out.labels.bincount().tolist()) <= {43, 44, 45}


def test_digits_by_class_and_their_errors() -> None:
    pytest.importorskip("sklearn")
    images, labels = digits_images(classes=[1, 7], limit=20, seed=2)
    assert set(labels.tolist()) == {1, 7}
    assert torch.equal(images, digits_images(classes=[7, 1], limit=20, seed=2).images)
    assert not torch.equal(images, digits_images(classes=[7, 1], limit=20, seed=3).images)
    with pytest.raises(ValueError, match="split is"):
        digits_images("validation")
    with pytest.raises(ValueError, match=r"no images of class 10 in \"digits\"; it has images of the classes 9, 8, 7"):
        digits_images(classes=[10])
    with pytest.raises(ValueError, match="limit asks for 500"):
        digits_images(classes=[1], limit=500)
