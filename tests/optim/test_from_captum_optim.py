"""The page for those who come from captum.optim: what it shows runs, and what it names is there."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest

from captum_proto import optim

PAGE = Path(__file__).parents[2] / "docs" / "from_captum_optim.rst"


@pytest.mark.filterwarnings("ignore:.*gradient through the model was exactly zero")
def test_what_the_page_shows_runs() -> None:
    example = doctest.DocTestParser().get_doctest(PAGE.read_text(encoding="utf-8"), {}, PAGE.name, str(PAGE), 0)
    assert len(example.examples) > 25
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    runner.run(example, out=report.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(report)


def test_what_the_table_names_is_there() -> None:
    rows = re.findall(r"\n   \* - .*?\n     - (.*?)\n     -", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    named = {name for row in rows for name in re.findall(r"``([A-Z]\w+)", row)}
    assert len(named) >= 15
    assert named <= set(optim.__all__)


def test_every_objective_of_captum_optim_has_a_row() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for name in [
        "LayerActivation",
        "ChannelActivation",
        "NeuronActivation",
        "DeepDream",
        "TotalVariation",
        "L1",
        "L2",
        "Diversity",
        "ActivationInterpolation",
        "Alignment",
        "Direction",
        "NeuronDirection",
        "AngledNeuronDirection",
        "TensorDirection",
        "ActivationWeights",
        "VectorLoss",
        "FacetLoss",
        "sum_loss_list",
    ]:
        assert re.search(rf"\* - .*``{name}\b", page), name
