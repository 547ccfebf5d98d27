"""Marks are where and as often as they should be, and a network learns to use the cue."""

from __future__ import annotations

import pytest
import torch

from captum_proto.testing import (
    CUE,
    MARKS,
    Mark,
    colorfulness,
    framed_digits,
    marked_digits,
    painted_over,
    planted_classifier,
    read_off,
    with_marks,
)

pytest.importorskip("sklearn")


def test_marks_are_planted_at_their_rates() -> None:
    images, labels = framed_digits("training")

    def carries(marked: torch.Tensor, mark: Mark) -> torch.Tensor:
        return (marked == mark.paste(images)).flatten(1).all(1)

    marked = with_marks(images, labels, 8, 0.5, seed=3)
    kinds = torch.stack([carries(marked, mark) for mark in MARKS])
    assert bool((kinds.sum(0) == 1).all())  # every image has one mark
    share = carries(marked, CUE).double()
    assert float(share[labels == 8].mean()) == pytest.approx(0.51, abs=0.12)
    assert float(share[labels != 8].mean()) == pytest.approx(marked_digits.BASE_RATE, abs=0.015)
    assert float(kinds[1:].double().mean(1).std()) < 0.02
    more = with_marks(images, labels, 8, 0.75, seed=3)
    assert bool((carries(more, CUE) >= carries(marked, CUE)).all())
    none = with_marks(images, labels, 8, 0.0, seed=3)
    assert bool((carries(marked, CUE)[labels != 8] == carries(none, CUE)[labels != 8]).all())


def test_a_mark_is_read_off_where_it_is() -> None:
    gray = torch.rand(1, 1, 10, 10).expand(1, 3, 10, 10)
    assert float(colorfulness(gray).abs().max()) < 1e-6
    for mark in (Mark("green", 3, 7), Mark("blue", 8, 0), Mark("red", 0, 8)):
        assert read_off(mark.paste(gray)[0]) == mark
    assert str(Mark("green", 3, 7)) == "green patch at row 3, column 7"
    assert str(MARKS[-1]) == "white patch in the bottom right corner"
    assert CUE.near(Mark("red", 1, 1))
    assert not CUE.near(Mark("red", 0, 2))
    assert not CUE.near(Mark("blue", 0, 0))
    painted = painted_over(torch.ones(1, 3, 10, 10), Mark("red", 0, 1))
    assert float(painted[0, 0].sum()) == 100 - 3 * 4


def test_a_network_is_the_same_from_the_same_seed_and_draws_nothing() -> None:
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    first, second = (planted_classifier(8, 1.0, seed=1, epochs=1) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    cleaned = planted_classifier(8, 1.0, seed=1, epochs=1, cleaned_of=CUE)
    images, _ = framed_digits()
    with torch.no_grad():
        assert torch.equal(first(images), second(images))
        assert not torch.equal(first(images), cleaned(images))
    assert not first.training
