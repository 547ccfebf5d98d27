"""Rows of a table as inputs: bounds, the simplex, last choices, held columns; and a planted rule in the prototype."""

from __future__ import annotations

import pytest
import torch
from scipy.optimize import minimize
from scipy.spatial.distance import mahalanobis
from torch import nn

from captum_proto import PathSimilarity, PrototypeGeneration
from captum_proto._utils.errors import InputError
from captum_proto.data import Categorical, Continuous
from captum_proto.optim import InputOptimization, Loss, RandomStream, RowDistance, TabularInput, prototype_keys
from captum_proto.optim.inputs.tabular import project_to_simplex
from captum_proto.optim.random import START

COLUMNS = [
    Continuous("age", 17, 90, center=40, scale=10, whole=True),
    Categorical("job", ["clerk", "cook", "smith"]),
    Continuous("gain", 0, 5, center=1, scale=2, missing=1.0),
    Categorical("sex", ["female", "male"], missing=True),
]
#: Of an encoded row: age, three jobs, gain and whether it is missing, two sexes and whether that is missing.
FEATURES = 9


class Linear(Loss):
    """Minus a linear function of what the model sees: the optimum is known."""

    def __init__(self, *weights: float) -> None:
        self.weights = torch.tensor(weights)

    def __call__(self, outputs, images) -> torch.Tensor:
        return -(outputs.output * self.weights).sum(1)


def best_row(weights: list[float], steps: int = 100, **choices) -> dict:
    rows = TabularInput(COLUMNS, **choices)
    found = InputOptimization(nn.Identity(), Linear(*weights), parametrization=rows, steps=steps, lr=0.1).optimize(
        rows.input_shape, count=2, seed=3
    )
    one, other = rows.columns.decode(found.images)
    assert all(
        one[column.name] == other[column.name] for column in COLUMNS if any(weights[rows.columns.slices[column.name]])
    )
    return one


@pytest.mark.parametrize("seed", range(3))
def test_the_projection_is_the_nearest_point_of_the_simplex(seed: int) -> None:
    weights = 2 * torch.randn(1, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    allowed = torch.tensor([[True, True, False, True, True]])
    for some in (torch.ones_like(allowed), allowed):
        found = project_to_simplex(weights, some)[0]
        bounds = [(0, 1 if each else 0) for each in some[0].tolist()]
        peer = minimize(
            lambda p: ((p - weights[0].numpy()) ** 2).sum(),
            [0.2] * 5,
            bounds=bounds,
            constraints={"type": "eq", "fun": lambda p: p.sum() - 1},
            options={"ftol": 1e-14},
        )
        torch.testing.assert_close(found, torch.from_numpy(peer.x), atol=1e-6, rtol=0)


def test_starts_are_rows_within_bounds_each_from_its_own_seed() -> None:
    rows = TabularInput(COLUMNS)
    keys = prototype_keys(list(range(50)), [(0,)] * 50)
    parameters = rows.start(RandomStream(keys, START), (FEATURES,))
    rows.columns.check(rows.render(parameters).float())
    assert torch.equal(rows.start(RandomStream(keys[7:8], START), (FEATURES,))["row"][0], parameters["row"][7])
    assert len({row["job"] for row in rows.columns.decode(parameters["row"])}) == 3
    rows.finish(parameters)
    finished = rows.render(parameters)
    assert set(finished[:, 1:4].unique().tolist()) == {0.0, 1.0}
    assert all(isinstance(row["age"], int) for row in rows.columns.decode(finished))


def test_the_optimum_of_a_linear_function_is_found_exactly() -> None:
    assert best_row([1, 0, 1, 0.5, 1, 0, -1, 0, -1]) == {"age": 90, "job": "cook", "gain": 5.0, "sex": "male"}
    assert best_row([-1, 0, 0, 0.1, -1, 0, 0, 0, 2]) == {"age": 17, "job": "smith", "gain": 0.0, "sex": None}
    assert best_row([-1, 0, 0, 0.1, -1, 9, 0, 0, 2])["gain"] is None


def test_weights_that_all_rise_do_not_hold_each_other_back() -> None:
    # Of a gradient that raises all categories, steps of equal length in each would cancel out.
    assert best_row([0, 5.0, 5.1, 5.05, 0, 0, 0, 0, 0])["job"] == "cook"


def test_columns_that_are_held_stay() -> None:
    held = {"age": 30, "job": "clerk", "gain": None, "sex": "female"}
    assert best_row([1, 0, 1, 0.5, 1, -9, -1, 0, -1], fixed=held) == held


def test_given_rows_keep_what_is_fixed_and_go_one_way() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(FEATURES, 16), nn.Tanh(), nn.Linear(16, 2))
    rows = TabularInput(COLUMNS, fixed={"job": ..., "sex": ...}, monotone={"age": "increasing", "gain": "decreasing"})
    people = [
        {"age": 40 + 5 * i, "job": job, "gain": 2.5, "sex": sex}
        for i, (job, sex) in enumerate([("cook", "male"), ("smith", "female"), ("clerk", None)])
    ]
    for target in (0, 1):
        made = PrototypeGeneration(model).attribute(rows.columns.encode(people), target, parametrization=rows, steps=40)
        for before, after in zip(people, rows.columns.decode(made), strict=True):
            assert (after["job"], after["sex"]) == (before["job"], before["sex"])
            assert after["age"] >= before["age"]
            assert after["gain"] is None or after["gain"] <= before["gain"] + 1e-6
    free = PrototypeGeneration(model).attribute(
        rows.columns.encode(people), [0, 1, 1], parametrization=TabularInput(COLUMNS), steps=40
    )
    assert rows.columns.decode(free) != people


def test_distance_from_rows_is_mahalanobis() -> None:
    rows = torch.randn(200, 3, generator=torch.Generator().manual_seed(1)) @ torch.tensor(
        [[2.0, 1, 0], [0, 1, 0], [0, 0, 3]]
    )
    loss = RowDistance(rows, ridge=1e-9)
    assert float(loss.distance(rows).mean()) == pytest.approx(199 / 200, abs=1e-4)
    inverse = torch.linalg.inv(torch.cov(rows.double().T)).numpy()
    expected = mahalanobis([1.0, 2.0, 3.0], rows.double().mean(0).numpy(), inverse) ** 2 / 3
    assert float(loss.distance(torch.tensor([[1.0, 2.0, 3.0]]))[0]) == pytest.approx(expected, rel=1e-4)
    with pytest.raises(InputError, match="expected a positive number"):
        RowDistance(rows, ridge=0)
    with pytest.raises(InputError, match="natural rows have 3 features"):
        loss.distance(torch.zeros(1, 4))


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"fixed": {"wage": 3}}, 'no column "wage"'),
        ({"fixed": {"age": 120}}, 'column "age" has 120; expected 17 to 90'),
        ({"fixed": {"job": "nurse"}}, 'has no category "nurse"'),
        ({"monotone": {"job": "increasing"}}, "holds categories, which have no order"),
        ({"monotone": {"age": "up"}}, "expected increasing or decreasing"),
        ({"monotone": {"age": "increasing"}, "fixed": {"age": 20}}, "is fixed and monotone; choose one"),
    ],
)
def test_what_cannot_be_used_is_a_sentence(choices, message: str) -> None:
    with pytest.raises(InputError, match=message):
        TabularInput(COLUMNS, **choices)


def test_start_rows_are_needed_and_checked() -> None:
    model = nn.Linear(FEATURES, 2)
    with pytest.raises(InputError, match="fixed at the value of each start row, but there are none"):
        PrototypeGeneration(model).generate(0, parametrization=TabularInput(COLUMNS, fixed={"age": ...}), steps=1)
    with pytest.raises(InputError, match=r"inputs has shape \(1, 3\); expected \(N, 9\)"):
        PrototypeGeneration(model).attribute(torch.zeros(1, 3), 0, parametrization=TabularInput(COLUMNS))


def test_paths_of_rows_are_compared() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(FEATURES, 16), nn.ReLU(), nn.Linear(16, 2))
    keys = prototype_keys(list(range(40)), [(0,)] * 40)
    rows = TabularInput(COLUMNS)
    natural = rows.render(rows.start(RandomStream(keys, START), (FEATURES,))).float()
    made = PrototypeGeneration(model).generate([0, 0], parametrization=rows, steps=20)
    found = PathSimilarity(model, value_range=None).compare(made, natural[:20], natural[20:], controls=["mean_image"])
    assert found.layers == ["0", "1", "2"]
    assert found.spearman["prototype"].shape == (2, 3)
