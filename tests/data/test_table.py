"""Columns of a table: rows as numbers and back, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.compose import ColumnTransformer
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from captum_proto._utils.errors import InputError, InputTypeError
from captum_proto.data import Categorical, Continuous, TableColumns

TABLE = {"age": [20, 35, 50, 41], "sex": ["male", "female", "female", "male"], "height": [1.5, 1.75, 1.65, 1.9]}


def test_rows_are_encoded_as_scikit_learn_does() -> None:
    columns = TableColumns.infer(TABLE)
    values = np.array(list(zip(*TABLE.values(), strict=True)), dtype=object)
    peer = ColumnTransformer(
        [
            ("age", StandardScaler(), [0]),
            ("sex", OneHotEncoder(sparse_output=False), [1]),
            ("height", StandardScaler(), [2]),
        ]
    ).fit_transform(values)
    np.testing.assert_allclose(columns.encode(TABLE), peer.astype(float), atol=1e-6)
    assert columns.features == ["age", "sex = female", "sex = male", "height"]
    assert columns.slices["sex"] == slice(1, 3)


def test_rows_come_back() -> None:
    columns = TableColumns.infer(TABLE)
    rows = columns.decode(columns.encode(TABLE))
    assert rows[1]["age"] == 35
    assert isinstance(rows[1]["age"], int)
    assert rows[1]["height"] == pytest.approx(1.75)
    assert columns.encode(rows).equal(columns.encode(TABLE))
    again = TableColumns.from_settings(columns.settings())
    assert again.settings() == columns.settings()


def test_missing_values_have_numbers_of_their_own() -> None:
    table = {"age": [20, None, 40, math.nan], "sex": ["male", None, "female", "female"]}
    columns = TableColumns.infer(table)
    encoded = columns.encode(table)
    assert columns.features == ["age", "age is missing", "sex = female", "sex = male", "sex is missing"]
    assert encoded[:, 1].tolist() == [0, 1, 0, 1]
    assert encoded[1, 0] == 0  # imputed by the mean
    assert encoded[1].tolist()[2:] == [0, 0, 1]
    assert columns.decode(encoded)[1] == {"age": None, "sex": None}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TableColumns.infer({"age": [3, 3, 3]}), 'column "age" has one value, 3; leave it out'),
        (lambda: TableColumns.infer({"sex": ["male"] * 3}), 'column "sex" has one value, male; leave it out'),
        (lambda: TableColumns.infer({"age": [None, None]}), 'column "age" has no value; leave it out'),
        (lambda: Continuous("age", 5, 1), "has bounds 5 and 1; expected the least first"),
        (lambda: Continuous("age", 0, math.inf), "expected finite numbers"),
        (lambda: Continuous("age", 0.2, 0.8, whole=True), "no whole number between 0.2 and 0.8"),
        (lambda: Continuous("age", 0, 1, scale=0), "has scale 0; expected a positive number"),
        (lambda: Categorical("sex", ["male", "male"]), "has a category twice"),
        (lambda: TableColumns([]), "columns is empty"),
        (lambda: TableColumns([Continuous("age", 0, 1)] * 2), 'two columns are called "age"'),
        (lambda: TableColumns.infer(TABLE).encode([{"age": 20, "sex": "male"}]), 'row 0 has no "height"'),
        (lambda: TableColumns.infer(TABLE).encode({"age": [20]}), 'the table has no column "sex"; it has age'),
        (
            lambda: TableColumns.infer(TABLE).encode([{**{k: v[0] for k, v in TABLE.items()}, "age": 90}]),
            "has 90; expected 20 to 50",
        ),
        (
            lambda: TableColumns.infer(TABLE).encode([{**{k: v[0] for k, v in TABLE.items()}, "age": None}]),
            "has a missing value",
        ),
        (
            lambda: TableColumns.infer(TABLE).encode([{**{k: v[0] for k, v in TABLE.items()}, "sex": "mal"}]),
            'did you mean "male"',
        ),
        (lambda: TableColumns.infer(TABLE).check(torch.zeros(2, 3)), r"has shape \(2, 3\); expected \(N, 4\)"),
        (lambda: TableColumns.infer(TABLE).check(torch.tensor([[9.0, 0, 1, 0]])), 'in column "age"; expected 20 to 50'),
        (
            lambda: TableColumns.infer(TABLE).check(torch.tensor([[0.0, 1, 1, 0]])),
            'no weights of categories in column "sex"',
        ),
        (lambda: TableColumns.infer(TABLE).column("hight"), 'did you mean "height"'),
    ],
)
def test_what_cannot_be_used_is_a_sentence(make, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()


def test_wrong_types_are_told() -> None:
    with pytest.raises(InputTypeError, match="columns has a str"):
        TableColumns(["age"])  # type: ignore[list-item]
    with pytest.raises(InputTypeError, match="column \"age\" has 'old'; expected a number"):
        TableColumns.infer(TABLE).encode([{"age": "old", "sex": "male", "height": 1.6}])
