"""Images as users have them."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from captum_proto._utils.batches import image_batches

IMAGES = torch.rand(7, 3, 2, 2)


@pytest.mark.parametrize(
    ("images", "sizes"),
    [
        (IMAGES, [3, 3, 1]),
        ([IMAGES[:5], IMAGES[5:]], [5, 2]),
        (iter([IMAGES]), [7]),
        ([[IMAGES, torch.arange(7)]], [7]),
        ([(IMAGES,)], [7]),
        (DataLoader(TensorDataset(IMAGES, torch.arange(7)), batch_size=4), [4, 3]),
        (DataLoader(IMAGES, batch_size=2), [2, 2, 2, 1]),
    ],
    ids=["tensor", "list", "iterator", "pairs in lists", "tuples", "loader of pairs", "loader"],
)
def test_every_kind_gives_the_same_images(images, sizes):
    batches = list(image_batches(images, 3, (0, 1), "images"))
    assert [len(batch) for batch in batches] == sizes
    assert torch.equal(torch.cat(batches), IMAGES)


def test_batches_are_taken_one_at_a_time():
    taken = []

    def source():
        for i in range(3):
            taken.append(i)
            yield IMAGES

    batches = image_batches(source(), 3, None, "images")
    next(batches)
    assert taken == [0]


@pytest.mark.parametrize("images", ["folder", b"bytes", 5, None])
def test_what_is_no_collection_of_images(images):
    with pytest.raises(TypeError, match=f"photos is a {type(images).__name__}; expected a tensor"):
        next(image_batches(images, 3, None, "photos"))


@pytest.mark.parametrize("images", [[], iter(())])
def test_no_images_at_all(images):
    with pytest.raises(ValueError, match="photos is empty; give at least one batch"):
        next(image_batches(images, 3, None, "photos"))


def test_a_batch_that_is_no_tensor():
    with pytest.raises(TypeError, match="photos is a dict; expected a float tensor"):
        next(image_batches([{"image": IMAGES}], 3, None, "photos"))
