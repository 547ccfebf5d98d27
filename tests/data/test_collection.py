"""Images in memory as a collection: the same parts, draws and batches as of files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from captum_proto.data import ImageCollection, ImageGeometry, TensorCollection, digits_collection, digits_images

GEOMETRY = ImageGeometry((1, 6, 6), 1.0)


@pytest.fixture
def both(tmp_path: Path) -> tuple[ImageCollection, TensorCollection]:
    """The same twelve images of three classes, as files and in memory."""
    for index in range(12):
        Image.new("L", (6, 6), 20 * index).save(tmp_path / f"{index // 4}_{index:02}.png")
    files = ImageCollection.discover(tmp_path, ["ape", "bee", "cat"])
    images = (20 * torch.arange(12) / 255).view(12, 1, 1, 1).expand(12, 1, 6, 6)
    return files, TensorCollection(images, torch.arange(12) // 4, ["ape", "bee", "cat"])


def test_files_and_tensors_are_chosen_drawn_and_read_alike(both) -> None:
    files, tensors = both
    for part in (
        lambda images: images,
        lambda images: images.of([0, 2]),
        lambda images: images.of(1, limit=3, seed=4),
        lambda images: images.except_([1], limit=5, seed=2).of(0, limit=2),
    ):
        ours, theirs = part(files), part(tensors)
        assert (ours.labels, ours.classes, ours.counts) == (theirs.labels, theirs.classes, theirs.counts)
        for one_pass in range(2):
            pairs = list(zip(ours.batches_for(GEOMETRY, 2), theirs.batches_for(GEOMETRY, 2), strict=True))
            assert len(pairs) == len(theirs.batches_for(GEOMETRY, 2)), one_pass
            assert all(torch.allclose(read, kept) for read, kept in pairs)
        read = ours.read(GEOMETRY)
        assert torch.allclose(read.images, theirs.read(GEOMETRY).images)
        assert read.labels.tolist() == theirs.labels


def test_files_and_tensors_refuse_alike(both) -> None:
    for images in both:
        with pytest.raises(ValueError, match=r"no images of class 3 in .*; it has images of the classes 2, 1, 0"):
            images.of(3)
        with pytest.raises(
            ValueError, match=r"there are 4 images of class 1 \(bee\) in .* limit asks for 5; lower limit"
        ):
            images.of(1, limit=5)
        with pytest.raises(ValueError, match="of other classes than classes 0"):
            images.except_([0, 1, 2])
        with pytest.raises(ValueError, match="batch_size is 0"):
            images.batches_for(GEOMETRY, 0)


def test_tensors_are_not_resized() -> None:
    images = TensorCollection(torch.rand(3, 1, 6, 6), torch.arange(3), name="scans")
    with pytest.raises(ValueError, match=r'"scans" are images of shape \(1, 6, 6\), but image_shape is \(3, 9, 9\)'):
        images.batches((3, 9, 9))
    with pytest.raises(ValueError, match=r"labels \(2,\); expected images \(N, C, H, W\)"):
        TensorCollection(torch.rand(3, 1, 6, 6), torch.arange(2))


def test_lists_name_every_image_and_its_content(both) -> None:
    files, tensors = both
    assert [name for name, _ in files.of(1).listed()] == [str(path) for path in files.of(1).paths]
    assert [name for name, _ in tensors.of(1).listed()] == [f"images {place}" for place in range(4)]
    assert len({digest for _, digest in tensors.listed()}) == 12


def test_digits_are_a_collection_like_any_other() -> None:
    pytest.importorskip("sklearn")
    scans = digits_collection("training")
    assert (len(scans), scans.classes) == (1352, list(range(10)))
    images, labels = digits_images("training", classes=[1, 7], limit=20, seed=2)
    drawn = scans.of([1, 7], limit=20, seed=2)
    assert torch.equal(torch.cat(list(drawn.batches((1, 8, 8), 6))), images)
    assert drawn.labels == labels.tolist()
    assert drawn.skipped == []
