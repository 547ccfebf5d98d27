"""Failures by cause: against SciPy's intervals and tests, and an agent whose fate is known."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from captum_proto.metrics import EpisodeEnds, compare_failures, failure_table, play_levels
from captum_proto.testing import SideScroller

CAUSES = ("coin", "saw", "time")


def ends_of(ends: list[int]) -> EpisodeEnds:
    return EpisodeEnds(torch.arange(len(ends)), torch.tensor(ends), torch.full((len(ends),), 9), CAUSES)


class Runner(nn.Module):
    """Runs to the right and never jumps."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.tensor([0.0, 0.0, 1.0, 0.0, 0.0, 0.0]))

    def forward(self, observations: Tensor) -> Tensor:
        return self.bias.expand(len(observations), -1)


def test_rates_have_wilsons_intervals() -> None:
    share = ends_of([0] * 90 + [1] * 7 + [2] * 3).rate("saw")
    expected = stats.binomtest(7, 100).proportion_ci(method="wilson")
    assert (share.value, share.low, share.high) == pytest.approx((0.07, expected.low, expected.high))


def test_changes_are_tested_on_the_same_levels() -> None:
    before, after = ends_of([0] * 90 + [1] * 5 + [2] * 5), ends_of([0] * 60 + [1] * 30 + [1] * 5 + [2] * 5)
    saw, late = compare_failures(before, after)
    assert (saw.only_before, saw.only_after, saw.within) == (0, 30, False)
    assert saw.ratio == pytest.approx(7.0)
    assert saw.p_value == pytest.approx(stats.binomtest(0, 30).pvalue)
    assert (late.p_value, late.within, late.ratio) == (1.0, True, 1.0)
    assert saw.q_value == pytest.approx(2 * saw.p_value)
    assert "35.00" in failure_table({"before": before, "after": after})


def test_nothing_before_is_infinitely_more_often() -> None:
    change = compare_failures(ends_of([0] * 10), ends_of([0] * 5 + [1] * 5))[0]
    assert change.ratio == float("inf")


def test_who_only_runs_dies_at_the_first_obstacle_that_kills() -> None:
    found = play_levels(Runner(), SideScroller, range(12), at_once=8)
    again = play_levels(Runner(), SideScroller, [11, 3], at_once=2)
    assert found.ends[[11, 3]].tolist() == again.ends.tolist()
    assert found.steps[[11, 3]].tolist() == again.steps.tolist()
    from captum_proto.testing.side_scroller.levels import make_levels

    for number, kinds in zip(found.levels.tolist(), make_levels(range(12)).kinds.tolist(), strict=True):
        first = next((kind for kind in kinds if kind), 0)
        expected = {0: "coin", 1: "saw", 2: "enemy_left", 3: "enemy_right", 4: "time"}[first]
        assert found.causes[int(found.ends[number])] == expected


def test_saved_and_loaded(tmp_path: Path) -> None:
    found = ends_of([0, 1, 2])
    found.save(tmp_path / "ends.safetensors")
    loaded = EpisodeEnds.load(tmp_path / "ends.safetensors")
    assert loaded.causes == CAUSES
    assert torch.equal(loaded.ends, found.ends)


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="no levels"):
        play_levels(Runner(), SideScroller, [])
    with pytest.raises(ValueError, match="expected logits"):
        play_levels(lambda x: x.flatten(1), SideScroller, [1])
    with pytest.raises(ValueError, match="did not end"):
        play_levels(Runner(), SideScroller, [1], most_steps=2)
    with pytest.raises(ValueError, match="same levels"):
        compare_failures(ends_of([0, 0]), ends_of([0]))
    with pytest.raises(ValueError, match="rain"):
        ends_of([0]).rate("rain")
