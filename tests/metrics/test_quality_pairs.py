"""Figures over all ordered pairs of networks: each class counts once, and nothing is lost or counted twice."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import stats

from captum_proto._utils.errors import InputError
from captum_proto.metrics.quality import METHOD, NATURAL, Figure, QualityRow, QualityTable, figure, whole_figure
from captum_proto.metrics.quality_pairs import ALL_PAIRS, pairs_table
from captum_proto.metrics.quality_tests import quality_tests
from captum_proto.stats.intervals import Estimate

MODELS, CLASSES, SEEDS = ["a", "b", "c"], [f"class {i}" for i in range(12)], 3
RANDOM = np.random.default_rng(0)


def by_class(shares: np.ndarray) -> dict[str, list[float]]:
    return {name: [float(value) for value in values] for name, values in zip(CLASSES, shares, strict=True)}


def table(model: str, notes: list[str] | None = None) -> QualityTable:
    rows = []
    for name, kind, chance, count in (("mine", METHOD, 0.7, SEEDS), (NATURAL, NATURAL, 0.8, 1)):
        figures: list[Figure] = [figure("own_p", by_class(RANDOM.random((12, count))))]
        for verifier in MODELS:
            if verifier != model:
                figures.append(figure("top1", by_class((RANDOM.random((12, count)) < chance) * 1.0), verifier))
                figures.append(figure("retrieval", by_class(RANDOM.integers(1, 9, (12, count)) * 1.0), verifier))
                figures.append(whole_figure("relative", Estimate(0.5, 0.4, 0.6), verifier))
        rows.append(QualityRow.of(name, kind, figures))
    return QualityTable("held out", CLASSES, rows, notes or [])


@pytest.fixture
def tables() -> dict[str, QualityTable]:
    return {model: table(model) for model in MODELS}


def test_shares_over_all_pairs_are_means_over_classes_with_wilsons_interval(tables: dict[str, QualityTable]) -> None:
    found = pairs_table(tables).rows[0].figures["top1@all pairs"]
    values = np.array(
        [
            [
                value
                for verifier in MODELS
                if verifier != model
                for value in rows.figures[f"top1@{verifier}"].values[name]
            ]
            for name in CLASSES
            for model, rows in ((model, each.rows[0]) for model, each in tables.items())
        ]
    )
    assert found.pictures == values.size == 12 * 6 * SEEDS
    assert found.estimate.value == pytest.approx(values.mean())
    # As many trials as classes, whatever the number of pairs.
    wilson = stats.binomtest(6, 12).proportion_ci(method="wilson")
    width = found.estimate.high - found.estimate.low
    assert width == pytest.approx(wilson.high - wilson.low, rel=0.15)


def test_r_over_all_pairs(tables: dict[str, QualityTable]) -> None:
    pairs = pairs_table(tables)
    mine, natural = (row.figures["top1@all pairs"].estimate.value for row in pairs.rows)
    relative = pairs.rows[0].figures["relative@all pairs"].estimate
    assert relative.value == pytest.approx(mine / natural)
    assert relative.low < relative.value < relative.high
    assert pairs.rows[1].figures["relative@all pairs"].estimate.value == 1.0


def test_each_pair_has_its_own_top1_and_r(tables: dict[str, QualityTable]) -> None:
    figures = pairs_table(tables).rows[0].figures
    for model in MODELS:
        for verifier in MODELS:
            key = f"{model} → {verifier}"
            assert (f"top1@{key}" in figures) == (f"relative@{key}" in figures) == (model != verifier)
            if model != verifier:
                own = tables[model].rows[0].figures[f"top1@{verifier}"]
                assert dataclasses.replace(own, verifier=key) == figures[f"top1@{key}"]
    assert not any(key.startswith("retrieval") and ALL_PAIRS not in key for key in figures)


def test_ranks_are_medians_and_what_has_no_verifier_is_over_models(tables: dict[str, QualityTable]) -> None:
    figures = pairs_table(tables).rows[0].figures
    ranks = [
        np.median(
            [v for m in MODELS for o in MODELS if m != o for v in tables[m].rows[0].figures[f"retrieval@{o}"].values[c]]
        )
        for c in CLASSES
    ]
    assert figures["retrieval@all pairs"].estimate.value == np.median(ranks)
    own = [tables[model].rows[0].figures["own_p"].estimate.value for model in MODELS]
    assert figures["own_p"].estimate.value == pytest.approx(np.mean(own))


def test_tests_and_text_are_made_of_it_as_of_any_table(tables: dict[str, QualityTable]) -> None:
    pairs = pairs_table(tables)
    assert {each.classes for each in quality_tests(pairs)} == {12}
    text = pairs.table()
    for words in ("R, all pairs", "top-1, a → b", "rank, all pairs"):
        assert words in text
    assert QualityTable.from_json(pairs.to_json()).table() == text


def test_notes_say_of_which_model_they_are() -> None:
    tables = {model: table(model, ["of all", *([f"of {model}"] if model == "b" else [])]) for model in MODELS}
    assert pairs_table(tables).notes == ["of all", "b: of b"]


def test_tables_that_do_not_belong_together(tables: dict[str, QualityTable]) -> None:
    with pytest.raises(InputError, match="there is 1 table; give those of at least two models"):
        pairs_table({"a": tables["a"]})
    other = dataclasses.replace(tables["b"], classes=[*CLASSES[:-1], "fox"])
    with pytest.raises(InputError, match=r'the classes of a and b in "held out" differ, such as in "(fox|class 11)"'):
        pairs_table({"a": tables["a"], "b": other})
    other = dataclasses.replace(tables["b"], rows=tables["b"].rows[::-1])
    with pytest.raises(InputError, match='the pictures of a and b in "held out" are in another order'):
        pairs_table({"a": tables["a"], "b": other})
