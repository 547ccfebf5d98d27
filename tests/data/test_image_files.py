"""Which files of a folder are images, and which way up they are."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from captum_proto._utils.errors import InputError
from captum_proto.data import ImageCollection, ImageGeometry, load_image
from captum_proto.data.labels import following_links


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (12, 10)).save(path)
    return path


# Links.


@pytest.mark.skipif(os.name == "nt", reason="links of POSIX")
@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize("leads_to", ["itself", "nowhere", "the folder", "above"])
def test_links_that_lead_nowhere_or_back(tmp_path: Path, leads_to: str, flat: bool) -> None:
    root = tmp_path / "images"
    for name in ("0_a.png", "1_a.png") if flat else ("0/a.png", "1/a.png"):
        picture(root / name)
    for link in ("loop", "0_loop.png") if flat else ("loop", "0/loop.png"):
        target = {"itself": root / link, "nowhere": root / "gone", "the folder": root, "above": tmp_path}[leads_to]
        (root / link).symlink_to(target)
    images = ImageCollection.discover(root)
    nothing = {"itself": True, "nowhere": True}.get(leads_to, False)
    assert [path.name for path in images.paths].count("0_loop.png" if flat else "loop.png") == nothing
    assert images.classes == [0, 1]
    assert [digest for path, digest in images.listed() if "loop" in path] == ["unreadable"] * nothing
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert len(images.read(ImageGeometry((3, 8, 8))).images) == 2
    assert len(images.skipped) == nothing
    assert len(images) == 2


@pytest.mark.skipif(os.name == "nt", reason="links of POSIX")
def test_a_link_to_a_folder_elsewhere_is_a_class_where_links_are_followed(tmp_path: Path) -> None:
    picture(tmp_path / "elsewhere" / "a.png")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "3").symlink_to(tmp_path / "elsewhere")
    assert ImageCollection.discover(tmp_path / "images", follow_links=True).labels == [3]
    with following_links(True):
        assert ImageCollection.discover(tmp_path / "images").labels == [3]
        with pytest.raises(InputError, match="holds no images of its own, but 1 links that lead out of it"):
            ImageCollection.discover(tmp_path / "images", follow_links=False)
    with pytest.raises(
        InputError, match=r'such as "3"; if you trust them, pass follow_links=True \(captum-proto --follow-links'
    ):
        ImageCollection.discover(tmp_path / "images")


@pytest.mark.skipif(os.name == "nt", reason="links of POSIX")
@pytest.mark.parametrize("place", ["0/link.png", "link.png", "0_link.png", "7", "val"])
def test_links_out_of_a_folder_are_skipped_and_named(tmp_path: Path, place: str) -> None:
    root, private = tmp_path / "images", tmp_path / "private"
    picture(private / "1" / "secret.png")
    for name in ("0/a.png", "1/a.png") if "_" not in place else ("0_a.png", "1_a.png"):
        picture(root / name)
    (root / place).symlink_to(private / "1" / "secret.png" if place.endswith("png") else private)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        images = ImageCollection.discover(root)
    assert [path.name for path in images.paths] == ["0_a.png", "1_a.png"] if "_" in place else ["a.png", "a.png"]
    assert "secret" not in str(images.listed())
    assert all(path.is_relative_to(root) for path in images.paths)
    if place != "val":  # a split of others is as if it were not there
        assert [path.name for path, reason in images.skipped if "leads out of the folder" in reason] == [
            Path(place).name
        ]
        assert any("lie outside of it" in str(each.message) for each in caught)
    inside = [path for path, _ in ImageCollection.discover(root, follow_links=True).files]
    assert place == "link.png" or any(
        "secret" in os.path.realpath(path) for path in inside
    )  # that one lies beside the classes
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        one = ImageCollection.one_class(root)
    assert not any("secret" in os.path.realpath(path) for path in one.paths)
    assert place in ("7", "val") or any("lead out of it" in str(each.message) for each in caught)


@pytest.mark.skipif(os.name == "nt", reason="links of POSIX")
def test_links_within_a_folder_are_followed(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "0" / "a.png")
    (tmp_path / "images" / "1").mkdir()
    (tmp_path / "images" / "1" / "b.png").symlink_to("../0/a.png")
    (tmp_path / "given").symlink_to(tmp_path / "images")  # the folder itself may be given by a link
    assert ImageCollection.discover(tmp_path / "given").labels == [0, 1]


# Formats.


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of formats that Pillow will drop
def test_every_format_that_pillow_reads_is_read(tmp_path: Path) -> None:
    """Whatever Pillow writes and opens again under an ending of its own is an image here, in a flat folder and in a class's."""
    read = set()
    for ending, kind in Image.registered_extensions().items():
        path = tmp_path / f"0_{ending[1:]}{ending}"
        try:
            Image.new("RGB", (16, 16), "red").save(path, format=kind)
            with Image.open(path) as image:
                image.load()
        except (OSError, KeyError, ValueError, SystemError):  # what this Pillow cannot do
            path.unlink(missing_ok=True)
            continue
        if kind == "EPS":  # a program, which Ghostscript would run
            path.unlink()
        else:
            read.add(path.name)
    assert {"0_png.png", "0_tga.tga", "0_jp2.jp2", "0_ico.ico"} <= read
    (tmp_path / "0_table.h5").write_bytes(b"no picture")
    (tmp_path / "0_text.pdf").write_bytes(b"no picture")
    images = ImageCollection.discover(tmp_path)
    assert {path.name for path in images.paths} == read
    assert len(images.read(ImageGeometry((3, 8, 8))).images) == len(read)
    assert {path.name for path in ImageCollection.one_class(tmp_path).paths} == read


@pytest.mark.parametrize("ending", [".avif", ".heic", ".heif", ".jxl", ".tga"])
def test_what_this_pillow_cannot_read_is_counted(tmp_path: Path, ending: str) -> None:
    picture(tmp_path / "0_a.png")
    (tmp_path / f"0_b{ending.upper()}").write_bytes(b"not what its name says")
    images = ImageCollection.discover(tmp_path)
    with pytest.warns(UserWarning, match="1 of 2 images cannot be read"):
        assert len(images.read(ImageGeometry((3, 8, 8))).images) == 1
    assert [path.name for path, _ in images.skipped] == [f"0_b{ending.upper()}"]


# A camera's orientation.

#: By EXIF's number, what has to be done to the stored pixels (H, W) to have the image upright.
UPRIGHT = {
    1: lambda pixels: pixels,
    2: np.fliplr,
    3: lambda pixels: np.rot90(pixels, 2),
    4: np.flipud,
    5: np.transpose,
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: np.transpose(np.rot90(pixels, 2)),
    8: lambda pixels: np.rot90(pixels, 1),
}


def turned(path: Path, orientation: int) -> np.ndarray:
    pixels = np.arange(48, dtype=np.uint8).reshape(6, 8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, exif=exif)
    return pixels


@pytest.mark.parametrize("ending", ["png", "webp"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_an_image_is_turned_if_that_is_asked_for(tmp_path: Path, orientation: int, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    if ending == "webp":
        exif = Image.Exif()
        exif[0x0112] = orientation
        stored = np.arange(48, dtype=np.uint8).reshape(6, 8)
        Image.fromarray(np.stack([stored] * 3, 2)).save(path, exif=exif, lossless=True)
    else:
        stored = turned(path, orientation)
    upright = UPRIGHT[orientation](stored)
    as_stored = load_image(path, (1, 6, 8), 1)
    assert (as_stored[0] * 255).round().int().tolist() == stored.tolist()
    image = load_image(path, (1, *upright.shape), 1, exif_orientation=True)
    assert (image[0] * 255).round().int().tolist() == upright.tolist()


def test_a_folder_with_turned_images_is_said_once(tmp_path: Path) -> None:
    for place, orientation in enumerate((1, 6, 8, 0, 9)):
        turned(tmp_path / f"0_{place}.png", orientation)
    images = ImageCollection.discover(tmp_path)
    with pytest.warns(UserWarning, match=r"2 of 5 images in .* are stored turned or mirrored.*exif_orientation=True"):
        list(images.of(0).batches((1, 6, 8)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        list(images.batches((1, 6, 8)))  # what is known is not said again
        list(ImageCollection.discover(tmp_path).batches((1, 6, 8), exif_orientation=True))
        list(images.batches_for(ImageGeometry((1, 6, 8), exif_orientation=True), workers=2))


def test_damaged_exif_does_no_harm(tmp_path: Path) -> None:
    Image.new("L", (8, 8), 51).save(tmp_path / "0_a.png", exif=b"Exif\x00\x00no exif at all")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (batch,) = ImageCollection.discover(tmp_path).batches((1, 8, 8))
    assert batch.unique().tolist() == pytest.approx([0.2])
