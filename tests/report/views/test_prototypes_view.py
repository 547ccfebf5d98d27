"""The sheet of prototypes."""

from __future__ import annotations

import torch

from captum_proto import PrototypeGeneration
from captum_proto.report.views.prototypes import prototype_sheet


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
