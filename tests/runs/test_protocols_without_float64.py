"""Every protocol with its models on a device without float64: what it writes is what it writes of models on the CPU."""

from __future__ import annotations

import warnings
from pathlib import Path

import protocols
import pytest
import torch
from matplotlib.figure import Figure
from no_float64 import DEVICE, NoFloat64
from PIL import Image
from protocols import PROTOCOLS
from safetensors.torch import load_file

from captum_proto.models import NamedModel
from captum_proto.runs.tasks import carry_out

#: Those that run no model, or that of their own on the CPU alone.
ELSEWHERE = (
    "agent",
    "blind",
    "blind-scores",
    "generate-tabular",
    "generate-text",
    "planted-bias",
    "planted-trojans",
    "quality-pairs",
)


@pytest.fixture(autouse=True)
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take nearly all the time."""
    monkeypatch.setattr(Figure, "savefig", lambda _, path, **__: Image.new("L", (4, 4)).save(path, format="png"))


def _tensors(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors that a run wrote, by file and name."""
    found = {}
    for path in sorted(folder.rglob("*.safetensors")):
        for name, value in load_file(path).items():
            found[f"{path.relative_to(folder)}: {name}"] = value
    return found


#: The others take minutes together.
ALWAYS = ("generate", "evaluate", "examples", "dissect", "atlas")


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(name, marks=[] if name in ALWAYS else [pytest.mark.long])
        for name in PROTOCOLS
        if name not in ELSEWHERE
    ],
)
def test_a_protocol_writes_the_same(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = [tmp_path / "cpu", tmp_path / "device"]
    network = protocols._network

    def there(name: str, seed: int) -> NamedModel:
        named = network(name, seed)
        named.model.to(DEVICE)
        return named

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the picture that cannot be read
        carry_out(PROTOCOLS[command](tmp_path), folders[0])
        monkeypatch.setattr(protocols, "_network", there)
        with NoFloat64():
            carry_out(PROTOCOLS[command](tmp_path), folders[1])
    expected, found = map(_tensors, folders)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(
            found[name], value, rtol=1e-4, atol=1e-5, equal_nan=True, msg=lambda text, name=name: f"{name}: {text}"
        )
