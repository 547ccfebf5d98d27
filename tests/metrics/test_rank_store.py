"""Ranks of many classes in a memory-mapped file: the same numbers, whatever the file is of is known, and memory stays flat."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from captum_proto import PathSimilarity
from captum_proto._utils.errors import InputError
from captum_proto._utils.memory import Gauge
from captum_proto.metrics import NearestClass, SortedSimilarity

SHAPE = (3, 8, 8)


def fitted(model: nn.Module, make_images: Callable[..., Tensor], folder: Path, classes: int = 5) -> dict[str, Any]:
    found: dict[str, Any] = {}
    folder.mkdir(exist_ok=True)
    for number in range(classes):
        name = folder / f"{number}.safetensors"
        PathSimilarity(model).fit(make_images(3, SHAPE, number)).save(name, overwrite=True)
        found[str(number)] = PathSimilarity(model).load(name)
    return found


def test_the_numbers_are_those_without_a_store(make_cnn, make_images, tmp_path):
    similarities = fitted(make_cnn(), make_images, tmp_path)
    images, store = make_images(6, SHAPE, 2), tmp_path / "ranks.safetensors"
    expected = NearestClass(similarities).evaluate(images, "2")
    for _ in range(2):  # made, and read
        found = NearestClass(similarities, store=store).evaluate(images, "2")
        assert torch.equal(found.values, expected.values)
    assert found.left_out.sum() == 3


def test_some_layers(make_cnn, make_images, tmp_path):
    similarities = fitted(make_cnn(), make_images, tmp_path)
    images, store = make_images(6, SHAPE, 9), tmp_path / "ranks.safetensors"
    expected = NearestClass(similarities, ["relu", "head"]).evaluate(images, "2")
    found = NearestClass(similarities, ["relu", "head"], store).evaluate(images, "2")
    assert torch.equal(found.values, expected.values)
    with pytest.raises(InputError, match="holds the ranks of other classes, references or layers"):
        NearestClass(similarities, store=store)


def test_a_store_of_something_else(make_cnn, make_images, tmp_path):
    similarities, store = fitted(make_cnn(), make_images, tmp_path), tmp_path / "ranks.safetensors"
    NearestClass(similarities, store=store)
    fewer = {name: similarities[name] for name in "012"}
    others = fitted(make_cnn(seed=1), make_images, tmp_path / "others")
    for given in (fewer, others, dict(reversed(similarities.items()))):
        with pytest.raises(InputError, match="holds the ranks of other classes"):
            NearestClass(given, store=store)
    with pytest.raises(InputError, match="is damaged: it cannot be read as a rank store"):
        NearestClass(similarities, store=tmp_path / "0.safetensors")
    store.write_bytes(store.read_bytes()[:-8])
    with pytest.raises(ValueError, match="damaged"):
        NearestClass(similarities, store=store)
    model, double, images = make_cnn(), make_cnn(dtype=torch.float64), make_images(3, SHAPE)
    of_channels = {name: SortedSimilarity(model).fit(images) for name in "ab"}
    with pytest.raises(InputError, match="ranks, which SortedSimilarity does not have"):
        NearestClass(of_channels, store=store)
    of_double = {name: PathSimilarity(double).fit(images) for name in "ab"}
    with pytest.raises(InputError, match="not in float64"):
        NearestClass(of_double, store=store)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is measured where Linux tells it")
def test_memory_does_not_grow_with_the_classes(make_images, tmp_path):
    """Of 40 classes with 10 layers: ranks take 40 MB in memory, and none with a store."""
    model = nn.Sequential(nn.Upsample(scale_factor=19), *[nn.Sigmoid() for _ in range(9)])
    values = 3 * 152 * 152
    PathSimilarity(model).fit(make_images(2, SHAPE)).save(tmp_path / "one.safetensors")
    similarities = {str(number): PathSimilarity(model).load(tmp_path / "one.safetensors") for number in range(40)}
    gauge, taken = Gauge(torch.device("cpu")), {}
    for store in (tmp_path / "ranks.safetensors", None):
        before = gauge.held
        nearest = NearestClass(similarities, store=store)
        nearest.evaluate(make_images(2, SHAPE, 5), "3")
        taken[store] = gauge.held - before
        del nearest
    assert taken[None] > 0.8 * 40 * 10 * 4 * values
    assert taken[tmp_path / "ranks.safetensors"] < 0.4 * 40 * 10 * 4 * values
