"""All that the package does with a model, in all that a model may be in: the same, or refused with a sentence."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from entry_points import ENTRIES, SHAPE, differences
from networks import SmallCNN, seeded
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel


@pytest.fixture(scope="module", autouse=True)
def _one_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A process group of this process alone, which DistributedDataParallel needs."""
    file = tmp_path_factory.mktemp("group") / "file"
    distributed.init_process_group("gloo", init_method=f"file://{file}", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@contextlib.contextmanager
def _deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


Wrap = Callable[[nn.Module], Any]
#: What becomes of the model, and what the call is made in.
CIRCUMSTANCES: dict[str, tuple[Wrap, Callable[[], contextlib.AbstractContextManager[Any]]]] = {
    "inference_mode": (lambda m: m, torch.inference_mode),
    "no_grad": (lambda m: m, torch.no_grad),
    "autocast": (lambda m: m, lambda: torch.autocast("cpu", torch.bfloat16)),
    "deterministic algorithms": (lambda m: m, _deterministic),
    "DataParallel": (nn.DataParallel, contextlib.nullcontext),
    "DistributedDataParallel": (DistributedDataParallel, contextlib.nullcontext),
    "torch.compile": (lambda m: torch.compile(m, backend="eager"), contextlib.nullcontext),
}
#: The user's own passes, which are made as the user has them.
OWN = ("ablate_units", "project_out")


@pytest.mark.parametrize("entry", ENTRIES)
def test_everything_everywhere(entry: str, make_images: Callable[..., Tensor]) -> None:
    images, wrong = make_images(8, SHAPE), {}
    expected = ENTRIES[entry](seeded(SmallCNN).eval(), images)
    for circumstance, (wrap, context) in CIRCUMSTANCES.items():
        if entry in OWN and circumstance == "autocast":
            continue
        model = wrap(seeded(SmallCNN).eval())
        with warnings.catch_warnings(), context():
            warnings.simplefilter("ignore")
            found = ENTRIES[entry](model, images)
        if difference := differences(found, expected):
            wrong[circumstance] = difference
    assert not wrong


def test_images_made_in_inference_mode_are_images(make_images: Callable[..., Tensor]) -> None:
    """They come to what takes gradients as copies, also in lists."""
    images = make_images(8, SHAPE)
    with torch.inference_mode():
        same = images.clone()
    for entry in (
        "SemanticDictionary",
        "PathSimilarity.evaluate",
        "LayerActivationPath",
        "PrototypeGeneration.attribute",
    ):
        found, expected = (ENTRIES[entry](seeded(SmallCNN).eval(), each) for each in (same, images))
        assert differences(found, expected) == "", entry
