"""A table like those of censuses, whose classes follow a rule that is known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from captum_proto._utils.checks import check_int
from captum_proto._utils.errors import InputError
from captum_proto.data.table import Value

#: The columns that the rule reads; the others tell nothing of the class beyond what they have to do with these.
RULE_COLUMNS = ("education_years", "marital_status", "capital_gain")
INCOMES = ["at most 50K", "more than 50K"]
_OCCUPATIONS = ["craft", "service", "clerical", "sales", "technical", "managerial", "professional"]


def income_rule(row: Mapping[str, Value]) -> int:
    """
    The class of a row: 1, more than 50K, for the married with at least 13 years of education, and for a capital gain above 7000.

    Args:
        row (mapping): With the columns of :func:`planted_income`.

    Examples::

        >>> income_rule({"education_years": 14, "marital_status": "married", "capital_gain": 0.0})
        1
    """
    education, gain = row["education_years"], row["capital_gain"]
    assert isinstance(education, (int, float))
    assert isinstance(gain, (int, float))
    return int((education >= 13 and row["marital_status"] == "married") or gain > 7000)


def planted_income(rows: int = 3000, seed: int = 0, noise: float = 0.03) -> tuple[dict[str, list[Any]], list[int]]:
    """
    Rows of people who are not: numbers, categories and missing values with the ranges and some of the dependencies of a census, and a class
    that follows :func:`income_rule`, apart from some that are flipped.

    Older people are married more often, educated people are managers and professionals more often, and work more hours. Sex, and whether
    the working class is known, have nothing to do with the class.

    Args:
        rows (int, optional): How many. Default: 3000
        seed (int, optional): Of all that is drawn. Default: 0
        noise (float, optional): The share of classes that are flipped. Default: 0.03

    Returns:
        tuple[dict, list[int]]: The columns by name, and the class of each row.

    Raises:
        ValueError: If an argument is out of its range.

    Examples::

        >>> table, labels = planted_income(200)
        >>> sorted(table)[:4], len(labels)
        (['age', 'capital_gain', 'education_years', 'hours_per_week'], 200)
    """
    count = check_int(rows, "rows", 1)
    if not 0 <= noise < 0.5:
        raise InputError(f"noise is {noise}; expected a share of at least 0 and less than one half.")
    draw = np.random.default_rng(check_int(seed, "seed", 0))
    age = draw.gamma(6, 4, count).clip(0, 73).round() + 17
    education = draw.normal(11, 3, count).round().clip(1, 16)
    married = draw.random(count) < 0.75 / (1 + np.exp(-(age - 30) / 5))
    single = np.where(draw.random(count) < ((age - 17) / 60).clip(0, 0.8), "divorced", "never married")
    level = (education / 16 * len(_OCCUPATIONS) + draw.normal(-1, 1.5, count)).round().clip(0, len(_OCCUPATIONS) - 1)
    hours = (40 + 0.6 * (education - 11) + draw.normal(0, 10, count)).round().clip(1, 99)
    gain = np.where(draw.random(count) < 0.12, draw.gamma(2, 3500, count).clip(0, 20000).round(), 0.0)
    employers = ["private", "self-employed", "government", None]
    working = [employers[i] for i in draw.choice(4, count, p=[0.7, 0.12, 0.12, 0.06])]
    table = {
        "age": age.tolist(),
        "education_years": education.tolist(),
        "hours_per_week": hours.tolist(),
        "capital_gain": gain.tolist(),
        "working_class": working,
        "marital_status": np.where(married, "married", single).tolist(),
        "occupation": [_OCCUPATIONS[int(each)] for each in level],
        "sex": draw.choice(["female", "male"], count).tolist(),
    }
    labels = [income_rule({name: values[i] for name, values in table.items()}) for i in range(count)]
    flipped = draw.random(count) < noise
    return table, [label ^ int(flip) for label, flip in zip(labels, flipped, strict=True)]


__all__ = ["INCOMES", "RULE_COLUMNS", "income_rule", "planted_income"]
