"""Small models, images, and a guard that watches a model while the library uses it."""

from __future__ import annotations

import contextlib
import json
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from networks import SmallCNN, seeded
from torch import Tensor, nn

#: Tests write thousands of small files, and lose nothing in a power cut; those of what is on the disk wait for it.
os.environ.setdefault("CAPTUM_PROTO_FSYNC", "0")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests that take minutes run where they are asked for: ``make test-long``."""
    if "long" in str(config.getoption("markexpr")):
        return
    skip = pytest.mark.skip(reason="takes minutes: make test-long")
    for item in items:
        if item.get_closest_marker("long") is not None:
            item.add_marker(skip)


@pytest.fixture(autouse=True)
def same_numbers_every_time() -> Iterator[None]:
    """Every test begins with the same random numbers, and leaves as many threads as it found: sums depend on both."""
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    yield
    assert torch.get_num_threads() == threads, "the test, or what it called, changed PyTorch's number of threads"


@pytest.fixture(scope="session")
def make_cnn() -> Callable[..., SmallCNN]:
    def make(channels: int = 3, classes: int = 5, seed: int = 0, dtype: torch.dtype = torch.float32) -> SmallCNN:
        model: SmallCNN = seeded(lambda: SmallCNN(channels, classes), seed)
        with torch.no_grad():  # running statistics other than 0 and 1, so that evaluation mode shows
            model.stem[1].running_mean.copy_(torch.linspace(-0.2, 0.2, 6))
            model.stem[1].running_var.copy_(torch.linspace(0.3, 0.6, 6))
        return model.to(dtype).eval()

    return make


@pytest.fixture(scope="session")
def make_images() -> Callable[..., Tensor]:
    """Images that are smooth, as photographs are, and all different."""

    def make(count: int, shape: tuple[int, int, int] = (3, 12, 12), seed: int = 0) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        coarse = torch.rand(count, shape[0], 4, 4, generator=generator)
        return nn.functional.interpolate(coarse, shape[1:], mode="bilinear", align_corners=False).clamp(0, 1)

    return make


def _hooks(module: nn.Module) -> dict[str, list[int]]:
    names = [name for name in vars(module) if "hook" in name and hasattr(vars(module)[name], "items")]
    return {name: [id(hook) for hook in vars(module)[name].values()] for name in names}


def _state(model: nn.Module) -> dict[str, Any]:
    return {
        "modes": {name: module.training for name, module in model.named_modules()},
        "hooks": {name: _hooks(module) for name, module in model.named_modules()},
        "requires_grad": {name: p.requires_grad for name, p in model.named_parameters()},
        "grad objects": {name: None if p.grad is None else id(p.grad) for name, p in model.named_parameters()},
        "grad versions": {name: None if p.grad is None else p.grad._version for name, p in model.named_parameters()},
        "versions": {
            name: None if t.is_inference() else t._version for name, t in model.state_dict(keep_vars=True).items()
        },
        "dtypes": {name: t.dtype for name, t in model.state_dict().items()},
        "PyTorch's generator": torch.get_rng_state().tolist(),
        "NumPy's generator": [str(part) for part in np.random.get_state()],  # noqa: NPY002  # the global one is what is watched
        "Python's generator": random.getstate(),
        "modes of PyTorch": (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_autocast_enabled()),
    }


@contextlib.contextmanager
def _untouched(model: nn.Module) -> Iterator[None]:
    before = _state(model)
    values = {name: t.clone() for name, t in model.state_dict().items()}
    grads = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    try:
        yield
    finally:
        after = _state(model)
        for what in before:
            assert after[what] == before[what], f"{what} changed"
        for name, value in values.items():
            assert torch.equal(model.state_dict()[name], value), f"{name} changed"
        for name, grad in grads.items():
            assert torch.equal(dict(model.named_parameters())[name].grad, grad), f"the gradient of {name} changed"


@pytest.fixture(scope="session")
def untouched() -> Callable[[nn.Module], contextlib.AbstractContextManager[None]]:
    """A context in which a model's every mode, flag, gradient, hook and value must stay, and the global generators with them."""
    return _untouched


@pytest.fixture(scope="session")
def lived_in() -> Callable[[nn.Module], nn.Module]:
    """A model as found in the middle of someone's work: modes mixed, some weights frozen, some gradients, a hook of its own."""

    def live(model: nn.Module) -> nn.Module:
        modules = list(model.modules())
        model.train()
        modules[len(modules) // 2].training = False
        modules[-1].training = False
        for i, parameter in enumerate(model.parameters()):
            parameter.requires_grad_(i % 3 != 1)
            if i % 2 == 0:
                parameter.grad = torch.full_like(parameter, 0.125 * (i + 1))
        modules[1].register_forward_hook(lambda *_: None)
        modules[-1].register_forward_pre_hook(lambda *_: None)
        return model

    return live


@pytest.fixture
def results_of_an_earlier_run() -> Callable[[Path, str], Callable[[], None]]:
    """Put what looks like the results of a finished command into a folder; what comes back checks that they are all still there."""

    def put(folder: Path, command: str) -> Callable[[], None]:
        record = {
            "task": "part",
            "index": 0,
            "inputs": {},
            "needs": {},
            "files": {"part.csv": {"bytes": 1, "sha256": ""}},
        }
        files = {
            "settings.json": json.dumps({"command": command, "summary_files": ["summary.csv"]}),
            "tasks/part.json": json.dumps({**record, "warnings": []}),
            **dict.fromkeys(("part.csv", "summary.csv", "page.json", "report.html"), "x"),
        }
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)

        def check() -> None:
            there = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
            assert {name: path.read_text() for name, path in there.items()} == files

        return check

    return put
