"""Ranks of many classes in a memory-mapped file: the same numbers, whatever the file is of is known, and memory stays flat."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from captum_proto import PathSimilarity
from captum_proto._utils.errors import InputError
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


#: In a process of its own: what others have allocated and freed before decides whether freed memory goes back to the system.
GROWTH = """
import sys
from pathlib import Path
import torch
from torch import nn
from captum_proto import PathSimilarity
from captum_proto._utils.memory import Gauge
from captum_proto.metrics import NearestClass

folder = Path(sys.argv[1])
model = nn.Sequential(nn.Upsample(scale_factor=19), *[nn.Sigmoid() for _ in range(9)])
PathSimilarity(model).fit(torch.rand(2, 3, 8, 8)).save(folder / "one.safetensors")
gauge, images = Gauge(torch.device("cpu")), torch.rand(2, 3, 8, 8)
before = gauge.held
similarities = {str(number): PathSimilarity(model).load(folder / "one.safetensors") for number in range(40)}
print(gauge.held - before)
for store in (folder / "ranks.safetensors", None):
    before = gauge.held
    nearest = NearestClass(similarities, store=store)
    nearest.evaluate(images, "3")
    print(gauge.held - before)
    del nearest
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is measured where Linux tells it")
def test_memory_does_not_grow_with_the_classes(tmp_path: Path) -> None:
    """Of 40 classes with 10 layers: sums stay in their files, ranks take 110 MB in memory, and none with a store."""
    given = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "131072", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", GROWTH, str(tmp_path)], env=given, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    loaded, with_store, without = map(int, done.stdout.split())
    ranks = 40 * 10 * 4 * 3 * 152 * 152
    assert loaded < 0.1 * 2 * ranks
    assert without > 0.8 * ranks
    assert with_store < 0.4 * ranks
