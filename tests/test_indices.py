"""Wherever a class, a step, a seed or a count is taken, NumPy's and PyTorch's whole numbers do what Python's do."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from networks import SmallCNN, seeded
from torch import Tensor

from captum_proto import PathSimilarity, PrototypeGeneration, Prototypes
from captum_proto._utils.checks import as_int
from captum_proto._utils.targets import occurrence_seeds, parse_targets
from captum_proto.data import TensorCollection
from captum_proto.experiments.sweep.grid import Sweep
from captum_proto.metrics import compare_groups, pairwise_similarity
from captum_proto.optim import InputOptimization, RandomAffine
from captum_proto.optim.loss import ClassLogit, GramDiversity, HighFrequency
from captum_proto.runs.provenance import plain
from captum_proto.training import PrototypeFilmstrip

KINDS: dict[str, Callable[[int], Any]] = {
    "numpy.int64": np.int64,
    "numpy.uint8": np.uint8,
    "tensor": torch.tensor,
    "array": np.array,
}
SEQUENCES: dict[str, Callable[[list[int]], Any]] = {
    "tensor": torch.tensor,
    "array": np.array,
    "list of int64": lambda values: [np.int64(value) for value in values],
    "list of tensors": lambda values: [torch.tensor(value) for value in values],
    "list of arrays": lambda values: [np.array(value) for value in values],
}
SHAPE = (3, 8, 8)
MODEL = seeded(SmallCNN).eval()
IMAGES = torch.rand(4, *SHAPE, generator=torch.Generator().manual_seed(0))
LOGITS = {"a": 3 * torch.eye(5).repeat(2, 1), "b": torch.ones(9, 5)}
COLLECTION = TensorCollection(IMAGES, torch.tensor([0, 1, 2, 1]))
FEW = {"steps": 2, "warmup_steps": 0, "evaluation_draws": 0}


def generate(target: Any, shape: Any = SHAPE, **options: Any) -> Prototypes:
    return PrototypeGeneration(MODEL).generate(target, shape, **{**FEW, **options})


@pytest.fixture(scope="module")
def prototypes() -> Prototypes:
    return generate([1, [0, 2], 3])


@pytest.fixture(scope="module")
def similarity() -> PathSimilarity:
    return PathSimilarity(MODEL, "head").fit(IMAGES)


def told(prototypes: Prototypes) -> tuple[Any, ...]:
    """What was made and all that is recorded of it, which must be what JSON can hold."""
    recorded = {name: value for name, value in prototypes.settings.items() if name != "versions"}
    values = [prototypes.images.tolist(), prototypes.target, prototypes.seeds]
    return (
        json.loads(json.dumps(recorded)),
        values,
        {step: kept.tolist() for step, kept in prototypes.snapshots.items()},
    )


def compared(similarity: PathSimilarity, **options: Any) -> tuple[Any, ...]:
    report = similarity.compare(IMAGES[:2], IMAGES, IMAGES, **{"ascent_steps": 2, **options})
    return json.dumps(report.settings), {name: values.tolist() for name, values in report.l1.items()}


def groups(target: Any, **options: Any) -> tuple[Any, ...]:
    found = compare_groups(LOGITS, target, **{"resamples": 9, **options})
    return json.dumps(found.settings), found.classes, found.subgroups


def optimized(loss: Any, count: Any, shape: Any) -> list[Any]:
    optimization = InputOptimization(MODEL, loss, steps=2)
    return optimization.optimize(shape, count=count, seed=1, snapshot_steps=[1]).images.tolist()


ONE = {
    "a target": lambda number: told(generate(number(1))),
    "targets": lambda number: told(generate([number(1), [number(0), number(2)]])),
    "a seed": lambda number: told(generate(1, seed=number(5))),
    "seeds": lambda number: told(generate([1, 1], seed=[number(5), number(7)])),
    "a shape": lambda number: told(generate(1, (number(3), number(8), number(8)))),
    "steps": lambda number: told(generate(1, steps=number(1), warmup_steps=number(1))),
    "draws": lambda number: told(generate(1, evaluation_draws=number(1), high_frequency_power=number(2))),
    "a batch size": lambda number: told(generate([1, 2], batch_size=number(1))),
    "snapshots": lambda number: told(generate(1, snapshot_steps=[number(0), number(1)])),
    "an axis": lambda number: told(generate([1, 1], diversity=GramDiversity("block", number(1)))),
    "a range": lambda number: told(generate(1, transform=RandomAffine(number(20)))),
    "a weight": lambda number: told(generate(1, high_frequency_weight=number(2), lr=number(1))),
    "a loss": lambda number: ClassLogit([number(1), [number(2)]]).targets,
    "rows": lambda number: optimized(HighFrequency(), number(2), SHAPE),
    "a shape of rows": lambda number: optimized(HighFrequency(), 1, [number(3), number(8), number(8)]),
    "images of a class": lambda number: COLLECTION.of(number(1)).labels,
    "images of classes": lambda number: COLLECTION.of([number(1), number(2)]).labels,
    "images but of a class": lambda number: COLLECTION.except_(number(1)).labels,
    "a draw": lambda number: COLLECTION.of(1, number(1), number(3)).labeled.images.tolist(),
    "a group's class": lambda number: groups(number(1), also=[number(2), [number(3), number(4)]]),
    "a group's superclass": lambda number: groups([number(1), number(2)]),
    "a bootstrap": lambda number: groups(1, resamples=number(9), seed=number(3)),
    "an axis of channels": lambda number: pairwise_similarity(IMAGES, MODEL, "block", channel_axis=number(1)).gram[
        "block"
    ],
    "images at a time": lambda number: (
        PathSimilarity(MODEL, "head", batch_size=number(3)).fit(IMAGES).reference.sums[0]
    ),
    "a record": lambda number: json.dumps(plain({"seed": number(3), "seeds": [number(1)]})),
    "a sweep": lambda number: json.dumps(Sweep(["digits"], ["1"], [number(0), number(1)]).to_json()),
}


def same(a: Any, b: Any) -> bool:
    return torch.equal(a, b) if isinstance(a, Tensor) else a == b


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("what", ONE)
def test_one_number(what, kind):
    assert same(ONE[what](KINDS[kind]), ONE[what](int))


@pytest.mark.parametrize("kind", KINDS)
def test_prototypes_of_a_class(prototypes, kind):
    number = KINDS[kind]
    assert told(prototypes.of(number(3))) == told(prototypes.of(3))
    assert told(prototypes.of([number(2), number(0), number(2)])) == told(prototypes.of((0, 2)))
    assert prototypes.of(3).target == [(3,)]
    assert prototypes.of({0, 2}).target == [(0, 2)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_comparison(similarity, kind):
    number = KINDS[kind]
    numbers = {"control_count": 3, "ascent_steps": 1, "seed": 4, "target": 1}
    assert compared(similarity, **{name: number(value) for name, value in numbers.items()}) == compared(
        similarity, **numbers
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_filmstrip(tmp_path, kind):
    number = KINDS[kind]
    film = PrototypeFilmstrip(
        number(1), [number(side) for side in SHAPE], tmp_path, every=number(2), seed=number(0), scale=number(1), **FEW
    )
    assert [film(MODEL, number(step)) is None for step in range(3)] == [False, True, False]
    assert list(film.frames) == [0, 2]
    assert all(type(step) is int for step in film.frames)


@pytest.mark.parametrize("kind", SEQUENCES)
def test_several_numbers(prototypes, similarity, kind):
    numbers = SEQUENCES[kind]
    assert parse_targets([numbers([2, 0]), 1]) == [(0, 2), (1,)]
    assert parse_targets(numbers([2, 0])) == [(2,), (0,)]
    assert occurrence_seeds([(1,), (1,)], numbers([3, 9])) == [3, 9]
    assert told(prototypes.of(numbers([2, 0]))) == told(prototypes.of([0, 2]))
    assert COLLECTION.of(numbers([0, 2])).labels == [0, 2]
    assert groups(numbers([2, 1]), also=[numbers([3, 4])]) == groups([1, 2], also=[[3, 4]])
    assert told(generate(1, snapshot_steps=numbers([0, 2]))) == told(generate(1, snapshot_steps=[0, 2]))
    assert compared(similarity, target=numbers([1, 4])) == compared(similarity, target=[1, 4])


@pytest.mark.parametrize(
    "value", [1.0, np.float64(1), torch.tensor(1.0), "1", None, True, np.True_, torch.tensor(True), [1], np.array([1])]
)
def test_what_is_no_whole_number(prototypes, value):
    assert as_int(value) is None
    if not isinstance(value, (list, np.ndarray)):
        with pytest.raises(TypeError):
            prototypes.of(value)
        with pytest.raises(TypeError):
            parse_targets(value)
