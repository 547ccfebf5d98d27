"""The code in the tutorials runs, from the first block to the last, and gives what the text around it says."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from networks import seeded
from torch import nn

from captum_proto import optim

DOCS = Path(__file__).parents[1] / "docs"
#: What stands in the left column of the tables: names of Lucent's modules.
_OLD = re.compile(r"``(objectives|param|transform|render)\.(\w+)")
#: A class or a function that is named in the right column, such as ``ChannelActivation("layer2", 12)``.
_NEW = re.compile(r"``([A-Z]\w+|visualize|feature_visualization_transform)\b")


class TwoLayers(nn.Module):
    """A network with a layer that is called as in the tutorials."""

    def __init__(self) -> None:
        super().__init__()
        self.layer1 = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU())
        self.layer2 = nn.Sequential(nn.Conv2d(6, 8, 3, padding=1), nn.ReLU())
        self.head = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.head(self.layer2(self.layer1(x)).mean((2, 3)))
        return y


def blocks(page: str) -> list[str]:
    """The Python of a page, block by block."""
    found, lines = [], (DOCS / page).read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        if line.strip() == ".. code-block:: python":
            block = []
            for inner in lines[number + 2 :]:
                if inner.strip() and not inner.startswith("   "):
                    break
                block.append(inner[3:])
            found.append("\n".join(block))
    return found


def test_from_lucent_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {
        "model": seeded(TwoLayers).eval(),
        "preprocess": lambda images: (images - 0.5) / 0.25,
        "image_shape": (3, 24, 24),
        "photograph": torch.rand(1, 3, 24, 24),
    }
    given = blocks("from_lucent.rst")
    assert len(given) >= 5
    for number, block in enumerate(given):
        exec(compile(block, f"from_lucent.rst, block {number}", "exec"), names)
        if number == 0:
            assert names["pictures"].images.shape == (8, 3, 24, 24)
            assert (tmp_path / "layer2.safetensors").exists()
        if "attempts" in block:
            assert names["pictures"].attempts.shape == (2, 3)
            assert names["pictures"].history["activation"].shape == (4, 2)
    assert set(names["dream"].snapshots) == {2}


def test_sanity_checks_run(capsys: pytest.CaptureFixture[str]) -> None:
    layers = (nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
    names: dict[str, Any] = {"model": seeded(lambda: nn.Sequential(*layers)).eval(), "inputs": torch.rand(4, 1, 8, 8)}
    given = blocks("sanity_checks.rst")
    assert given
    for number, block in enumerate(given):
        exec(compile(block, f"sanity_checks.rst, block {number}", "exec"), names)
    told = capsys.readouterr().out
    assert "edges fails" in told
    assert names["results"]["smooth"].mean("spearman", "none").value == 1


def test_circuits_runs(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    given = blocks("circuits.rst")
    assert len(given) == 3
    for number, block in enumerate(given):
        exec(compile(block, f"circuits.rst, block {number}", "exec"), names)
    assert names["curves"].preferred[1] == (90.0, 6.0)
    assert names["curves"].at(1, 270) == 0
    assert float(names["lines"].peak[1]) < 0.5 * float(names["curves"].peak[1])
    assert "[0, 2, 4, 6]" in capsys.readouterr().out


def test_what_the_tables_name_is_there() -> None:
    text = (DOCS / "from_lucent.rst").read_text(encoding="utf-8")
    missing = {name for name in _NEW.findall(text) if not hasattr(optim, name) and name not in ("Loss",)}
    assert not missing
    assert len(set(_NEW.findall(text))) > 20


def test_what_the_tables_name_of_lucent_is_there() -> None:
    pytest.importorskip("lucent.optvis.param", reason="the extra [bench] brings Lucent")
    text = (DOCS / "from_lucent.rst").read_text(encoding="utf-8")
    for module, name in set(_OLD.findall(text)):
        assert hasattr(importlib.import_module(f"lucent.optvis.{module}"), name), f"{module}.{name}"


@pytest.mark.parametrize(("page", "least"), [("tabular.rst", 5), ("texts.rst", 3)])
def test_tutorials_of_inputs_that_are_no_images_run(page: str, least: int) -> None:
    names: dict[str, Any] = {}
    given = blocks(page)
    assert len(given) >= least
    for number, block in enumerate(given):
        exec(compile(block, f"{page}, block {number}", "exec"), names)
    if page == "tabular.rst":
        rules = [names["income_rule"](row) for row in names["income"].columns.decode(names["prototypes"].images)]
        assert sum(rules[2:]) >= sum(rules[:2])
        assert all(
            old["sex"] == new["sex"] and old["age"] <= new["age"]
            for old, new in zip(names["before"], names["after"], strict=True)
        )
    else:
        assert names["found"].conditions == ["prototype", "same_class", "other_class", "shuffled sentence"]
        assert all(len(text.split()) == 8 for text in names["words"].decode(names["fluent"].images))


def test_agents_runs() -> None:
    names: dict[str, Any] = {}
    for number, block in enumerate(blocks("agents.rst")):
        exec(compile(block, f"agents.rst, block {number}", "exec"), names)
    assert float(names["path"].completeness_error.max()) < 1e-5
    assert float(names["cosines"].min()) > 0.99
    changed = (names["after"] - names["before"])[:, [0, 2, 3]]
    assert not names["after"][:, 1].any()
    assert float(changed.abs().max()) < 1e-6
    assert len(names["ends"].ends) == 16
