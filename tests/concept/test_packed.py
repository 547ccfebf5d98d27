"""Masks of one bit a pixel: what goes in comes out, empty masks take nothing, and damage is told."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from captum_proto._utils.errors import InputError, MissingFileError, OccupiedError
from captum_proto.concept import PackedMasks, Selected, packed
from captum_proto.concept.packed import ones, packed_labels, unpacked
from captum_proto.testing import ShapeDataset

SIZE = (30, 25)


@pytest.fixture(scope="module")
def shapes() -> ShapeDataset:
    return ShapeDataset(20, size=40, seed=5)


@pytest.fixture
def masks(shapes: ShapeDataset, tmp_path: Path) -> PackedMasks:
    return PackedMasks.pack(shapes, tmp_path / "masks", SIZE)


@settings(max_examples=40, deadline=None)
@given(arrays.arrays(bool, st.tuples(st.integers(0, 3), st.integers(1, 13), st.integers(1, 13))))
def test_bits_are_pixels_in_their_order(given_masks: np.ndarray) -> None:
    found = packed.packed(given_masks)
    count, height, width = given_masks.shape
    assert found.shape == (count, -(-height * width // 64))
    for mask, words in zip(given_masks, found, strict=True):
        number = sum(int(word) << (64 * place) for place, word in enumerate(words))
        assert [number >> place & 1 for place in range(height * width)] == mask.ravel().astype(int).tolist()
        assert number >> (height * width) == 0
    assert np.array_equal(unpacked(found, (height, width)), given_masks)
    assert ones(found).tolist() == given_masks.sum((1, 2)).tolist()


def test_every_mask_is_that_of_the_data_set(shapes: ShapeDataset, masks: PackedMasks) -> None:
    areas = np.zeros(len(shapes.concepts) + 1, dtype=int)
    for index in range(len(shapes)):
        labels = shapes.labels(index)
        resized = labels.resized(SIZE)
        there = []
        for label in range(1, len(shapes.concepts) + 1):
            expected = np.any([each == label for each in resized], axis=0) | (label in labels.whole)
            assert np.array_equal(masks.mask(index, label), expected)
            areas[label] += expected.sum()
            there += [label] if expected.any() else []
        assert masks.of_image(index)[0].tolist() == there
    assert masks.areas.tolist() == areas.tolist()
    assert (
        masks.areas[1:].tolist() == sum(shapes.labels(i).counts(len(shapes.concepts), SIZE) for i in range(20)).tolist()
    )
    assert masks.image_counts.sum() == len(masks)
    assert (masks.pixels, masks.concepts, masks.digest) == (20 * 750, shapes.concepts, shapes.digest())


@pytest.mark.parametrize("words", [1, 100, 10**6])
def test_blocks_are_all_masks_in_order(masks: PackedMasks, words: int) -> None:
    images = 0
    for places, first, labels, found in masks.blocks(words):
        assert places.start == images
        assert len(first) == len(places) + 1
        for place, index in enumerate(places):
            expected = masks.of_image(index)
            part = slice(first[place], first[place + 1])
            assert np.array_equal(labels[part], expected[0])
            assert np.array_equal(found[part], expected[1])
        images = places.stop
    assert images == 20


def test_counts_without_the_function_of_numpy_2(masks: PackedMasks, monkeypatch: pytest.MonkeyPatch) -> None:
    _, found = masks.of_image(3)
    expected = ones(found).tolist()
    monkeypatch.delattr(np, "bitwise_count", raising=False)
    assert ones(found).tolist() == expected


def test_images_without_labels(shapes: ShapeDataset, tmp_path: Path) -> None:
    class Bare(ShapeDataset):
        def labels(self, index: int):  # type: ignore[no-untyped-def]
            found = super().labels(index)
            return type(found)() if index != 1 else found

    bare = PackedMasks.pack(Bare(3, size=40), tmp_path / "bare", SIZE)
    assert bare.of_image(0)[0].tolist() == []
    assert bare.of_image(1)[0].tolist() != []
    none = PackedMasks.pack(Selected(Bare(3, size=40), [0, 2]), tmp_path / "none", SIZE)
    assert (len(none), none.areas.sum(), none.mask(1, 1).any()) == (0, 0, False)


def test_masks_are_mapped_and_not_read(masks: PackedMasks) -> None:
    _, found = masks.of_image(0)
    assert isinstance(found, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        found[0, 0] = 1


def test_damage_is_told(shapes: ShapeDataset, masks: PackedMasks) -> None:
    folder = masks.folder
    PackedMasks(folder, verify=True)
    with pytest.raises(OccupiedError, match="holds masks"):
        PackedMasks.pack(shapes, folder, SIZE)
    bits = bytearray((folder / "masks.bits").read_bytes())
    bits[100] ^= 4
    (folder / "masks.bits").write_bytes(bits)
    PackedMasks(folder)
    with pytest.raises(InputError, match=r"masks\.bits\" is damaged: its SHA-256 sum is another"):
        PackedMasks(folder, verify=True)
    (folder / "masks.bits").write_bytes(bits[:-8])
    with pytest.raises(ValueError, match="bytes; expected"):
        PackedMasks(folder)
    content = json.loads((folder / "masks.json").read_text())
    (folder / "masks.json").write_text(json.dumps(content | {"version": 9}))
    with pytest.raises(ValueError, match="is of version 9, and this package reads 1"):
        PackedMasks(folder)
    assert PackedMasks.pack(shapes, folder, SIZE, overwrite=True).areas.tolist() == masks.areas.tolist()


def test_a_run_that_was_interrupted_left_no_masks(tmp_path: Path) -> None:
    class Failing(ShapeDataset):
        def labels(self, index: int):  # type: ignore[no-untyped-def]
            if index == 2:
                raise KeyboardInterrupt
            return super().labels(index)

    with pytest.raises(KeyboardInterrupt):
        PackedMasks.pack(Failing(4, size=32), tmp_path, SIZE)
    with pytest.raises(MissingFileError, match=r"has no masks\.json: there are no masks, or they were not written"):
        PackedMasks(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_bad_places(masks: PackedMasks) -> None:
    for index, label, sentence in ((20, 1, "there is no image 20; there are 20"), (0, 0, "label is 0")):
        with pytest.raises(InputError, match=sentence):
            masks.mask(index, label)


def test_labels_of_the_whole_and_of_pixels_are_one_mask(shapes: ShapeDataset) -> None:
    labels = shapes.labels(0)
    label = int(labels.maps[0].max())
    both = type(labels)(labels.maps, [label])
    found, masks = packed_labels(both, SIZE)
    assert unpacked(masks[found == label], SIZE).all()


def test_what_was_looked_at_is_let_go_and_read_again(masks: PackedMasks) -> None:
    labels, words = masks.of_image(1)
    before = np.array(words)
    masks.release()
    assert np.array_equal(words, before)  # of the file, whether or not it is in memory
    assert np.array_equal(masks.of_image(1)[1], before)
    assert len(labels)
