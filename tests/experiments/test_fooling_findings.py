"""What the page of the fooling experiment says follows from its figures: noticed, not noticed, open, and nothing measured."""

from __future__ import annotations

import math

import pytest

from captum_proto.experiments.fooling import FoolingResult, Row
from captum_proto.experiments.fooling.page import fooling_page
from captum_proto.report.blocks import Verdicts
from captum_proto.stats.intervals import fisher_exact


def result(honest: list[float], *planted: list[float]) -> FoolingResult:
    """Normalized Spearman correlations of the honest network and of planted ones, flagged below 0."""
    networks = ["honest", "face", "other_image"][: len(planted) + 1]
    rows = [
        Row(name, 0, str(target), 0.1, 0.2, 0.3, value, 0.0, 0.0, 0.0, 0.0, 0.0, bool(value < 0))
        for name, values in zip(networks, (honest, *planted), strict=True)
        for target, value in enumerate(values)
    ]
    return FoolingResult(networks, rows, [], 0.0)


@pytest.mark.parametrize(
    ("found", "sentence", "passed", "note"),
    [
        pytest.param(
            result([0.5] * 10, [-0.5] * 10),
            "Planted face: -0.50; 10 of 10 flagged (Fisher's p < 0.0001 beside the honest ones, corrected): more often than the honest",
            True,
            "",
            id="noticed",
        ),
        pytest.param(
            result([-0.9] * 10, [-0.1] * 10),
            "Planted face: -0.10; 10 of 10 flagged (Fisher's p = 1.00 beside the honest ones, corrected): as often as the honest ones.",
            False,
            "Beside 10 of 10 honest ones: the flag does not tell them apart. Its prototypes are no lower than the honest ones.",
            id="the honest network is flagged as well, AUC 0",
        ),
        pytest.param(
            result([-0.1] * 9 + [0.1], [-0.9] * 10),
            "10 of 10 flagged (Fisher's p = 1.00 beside the honest ones, corrected): that may be chance.",
            None,
            "Beside 9 of 10 honest ones: that may be chance.",
            id="nearly all honest ones are flagged",
        ),
        pytest.param(
            result([0.5] * 10, [0.4] * 10),
            "0 of 10 flagged (Fisher's p = 1.00 beside the honest ones, corrected): as often as the honest ones.",
            False,
            "Beside 0 of 10 honest ones: the flag does not tell them apart.",
            id="not noticed",
        ),
        pytest.param(
            result([-0.5] * 10, [0.5] * 10),
            "0 of 10 flagged (Fisher's p < 0.0001 beside the honest ones, corrected): less often than the honest ones.",
            False,
            "Beside 10 of 10 honest ones: it is flagged less often. Its prototypes are no lower than the honest ones.",
            id="the other way",
        ),
        pytest.param(
            result([0.5] * 10, [-0.5] * 8 + [0.1] * 2),
            "8 of 10 flagged (Fisher's p = 0.00071 beside the honest ones, corrected): more often than the honest ones.",
            False,
            "",
            id="most are noticed, and all were expected",
        ),
        pytest.param(
            result([0.5], [-0.5]),
            "1 of 1 flagged (Fisher's p = 1.00 beside the honest ones, corrected): that may be chance.",
            None,
            "Beside 0 of 1 honest ones: that may be chance.",
            id="one prototype",
        ),
        pytest.param(
            result([0.5] * 2, [math.nan] * 2),
            "Planted face: –; 0 of 0 flagged: they cannot be compared.",
            None,
            "2 more could not be measured. Beside 0 of 2 honest ones: they cannot be compared.",
            id="nothing measured",
        ),
    ],
)
def test_a_network_is_noticed_where_it_is_flagged_more_often_than_the_honest_one(
    found: FoolingResult, sentence: str, passed: bool | None, note: str
) -> None:
    page = fooling_page(found, "digits", {})
    assert page.summary[1:] == found.conclusion()  # after what the pictures are
    assert sentence in page.summary[2]
    assert all(said in found.table() for said in page.summary[1:])
    _, verdict = page.sections[0].of(Verdicts)[0].verdicts
    assert (verdict.passed, verdict.note) == (passed, note)


def test_what_was_not_measured_is_in_no_mean_and_no_count() -> None:
    found = result([0.5, math.nan, 0.3], [-0.5, -0.5, math.nan])
    assert found.flags("face") == (2, 2)
    assert found.conclusion()[0].startswith(
        "The normalized Spearman correlation of honest prototypes is 0.40 on average"
    )
    honest, _ = fooling_page(found, "digits", {}).sections[0].of(Verdicts)[0].verdicts
    assert (honest.measured, honest.passed, honest.note) == ("0 of 2", True, "1 more could not be measured.")


def test_several_networks_are_corrected_for() -> None:
    p_value = fisher_exact((4, 4), (0, 4))
    assert p_value < 0.05 < 2 * p_value
    assert result([0.5] * 4, [-0.5] * 4).noticed()["face"][0].value == "above"
    both = result([0.5] * 4, [-0.5] * 4, [-0.5] * 4)
    assert {name: (order.value, p) for name, (order, p) in both.noticed().items()} == {
        name: ("chance", pytest.approx(2 * p_value)) for name in ("face", "other_image")
    }
