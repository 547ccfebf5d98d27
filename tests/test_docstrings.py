"""The examples in the docstrings run, and show what they say."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from collections.abc import Mapping

import pytest
import torch
import torchvision
from networks import seeded
from torch import nn

import captum_proto
from captum_proto import optim
from captum_proto.models import registry
from captum_proto.optim.random import START, TRANSFORM

# What the examples take as given: the imports of a reader, and objects that the text around them speaks of.
ROOMS = (
    "capture",
    "attr",
    "optim",
    "metrics",
    "features",
    "ops",
    "training",
    "data",
    "models",
    "stats",
    "testing",
    "concept",
    "circuits",
    "edit",
    "report",
    "_utils",
)


def names_of_examples() -> dict[str, doctest.DocTest]:
    finder = doctest.DocTestFinder(exclude_empty=True)
    found: dict[str, doctest.DocTest] = {}
    for module in pkgutil.walk_packages(captum_proto.__path__, "captum_proto."):
        if module.name.split(".")[1] in ROOMS:
            for example in finder.find(importlib.import_module(module.name), module.name):
                if example.examples:
                    found[example.name] = example
    return found


EXAMPLES = names_of_examples()


class OnlyWhatIsShown(doctest.OutputChecker):
    """An example that shows no output may print what it likes."""

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        return not want or super().check_output(want, got, optionflags)


@pytest.fixture(scope="module")
def at_hand() -> dict[str, object]:
    model = seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 10))).eval()
    natural = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    similarity = captum_proto.PathSimilarity(model)
    return {
        "torch": torch,
        "torchvision": torchvision,
        "similarity": similarity,
        "prototypes": natural[:1],
        "same_class": natural,
        "other_class": 1 - natural,
        "START": START,
        "TRANSFORM": TRANSFORM,
        **{name: getattr(room, name) for room in (captum_proto, optim) for name in room.__all__},
    }


@pytest.mark.parametrize("name", EXAMPLES)
def test_example(name, at_hand, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_families", list(registry._families))  # an example registers a family of its own
    example = EXAMPLES[name]
    example.globs = {**at_hand, **example.globs}
    runner = doctest.DocTestRunner(OnlyWhatIsShown(), optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    report: list[str] = []
    runner.run(example, out=report.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(report)


def test_every_public_name_is_documented_and_has_an_example():
    assert len(EXAMPLES) >= 18
    for name in captum_proto.__all__:
        thing = getattr(captum_proto, name)
        assert thing.__doc__ or isinstance(thing, Mapping), name  # a mapping is documented where it is written
    for name in (
        "PrototypeGeneration",
        "PathSimilarity",
        "PathComparison",
        "RandomAffine",
        "capture",
        "path_similarity",
    ):
        thing = getattr(captum_proto, name)
        assert f"{thing.__module__}.{name}" in EXAMPLES, name
    for name in captum_proto.ops.__all__:
        thing = getattr(captum_proto.ops, name)
        assert thing.__doc__, name
