"""The sheet of prototypes."""

from __future__ import annotations

import math

import pytest
import torch

from captum_proto import PrototypeGeneration, Prototypes
from captum_proto.report.views.prototypes import prototype_sheet, unmeasured_trust, what_prototypes_are


def test_the_sheet_labels_each_prototype() -> None:
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    prototypes = PrototypeGeneration(model).generate(list(range(7)), (1, 8, 8), steps=2, warmup_steps=0)
    figure = prototype_sheet(prototypes, [f"class {i}" for i in range(7)])
    titles = [axis.get_title() for axis in figure.axes if axis.get_title()]
    assert [title.splitlines()[0] for title in titles] == [f"class {i}" for i in range(7)]
    assert f"p = {float(prototypes.probabilities[4]):.3f}" in titles[4]
    assert f"transformed {float(prototypes.transformed_probabilities[4]):.3f}" in titles[4]
    assert figure.get_size_inches()[0] * 120 > 500


def test_without_a_transform_the_sheet_expects_nothing_under_it() -> None:
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    prototypes = PrototypeGeneration(model).generate(3, (1, 8, 8), steps=2, warmup_steps=0, transform=None)
    (axis,) = prototype_sheet(prototypes, ["class 3"]).axes
    assert axis.get_title() == f"class 3\np = {float(prototypes.probabilities[0]):.3f}"


@pytest.mark.parametrize(
    ("probabilities", "said", "never"),
    [
        ([0.9, 0.8], ["2 prototypes of 2 classes", "alone is reached by noise"], ["below one half", "no class probability"]),
        ([0.9, 0.1], ["1 of 2 has a class probability below one half", "alone is reached by noise"], ["have"]),
        ([0.2, 0.1], ["2 of 2 have a class probability below one half"], ["a high probability"]),
        ([math.nan, 0.9], ["1 of 2 has no class probability", "a high probability"], ["below one half"]),
        ([0.5], ["1 prototype of 1 class:", "a high probability"], ["below one half"]),
    ],
)  # fmt: skip
def test_what_is_said_of_prototypes_follows_from_their_probabilities(
    probabilities: list[float], said: list[str], never: list[str]
) -> None:
    count = len(probabilities)
    values = [torch.tensor(probabilities, dtype=torch.float64)] * 4
    prototypes = Prototypes(torch.zeros(count, 1, 8, 8), [(i,) for i in range(count)], [0] * count, *values, {}, {})
    text = f"{what_prototypes_are(count, len(set(prototypes.target)))} {unmeasured_trust(prototypes)}"
    for words in said:
        assert words in text
    for words in never:
        assert words not in text
