"""P-values that units share: uniform where there is nothing, exact in a closed case, small where something is."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import kstest

from captum_proto._utils.errors import InputError
from captum_proto.stats.draws import pooled_p_values


def test_they_are_uniform_where_there_is_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    scale, middle = torch.rand(400, 1, generator=generator) * 50 + 1, torch.rand(400, 1, generator=generator) * 1e3
    drawn = middle + scale * torch.randn(20, 400, 1, generator=generator)
    found = middle + scale * torch.randn(400, 1, generator=generator)
    p = pooled_p_values(found, drawn, 1e-6)
    assert kstest(p.flatten().numpy(), "uniform").pvalue > 0.01
    assert kstest(pooled_p_values(found + scale, drawn, 1e-6).flatten().numpy(), "uniform").pvalue < 1e-6


def test_they_are_the_rank_among_all_draws_about_their_own() -> None:
    drawn = torch.tensor([[0.0], [2.0], [4.0]]).unsqueeze(
        2
    )  # of one unit: means of the others 3, 2 and 1, deviations √2, √8, √2
    null = [(0 - 3) / (2 + 1) ** 0.5, 0.0, (4 - 1) / (2 + 1) ** 0.5]
    deviation = (4.0 + 1) ** 0.5  # of 0, 2 and 4, and a count
    for value in (-9.0, 1.0, 2.0, 5.8, 6.0, 9.0):
        expected = (1 + sum(each >= (value - 2) / deviation for each in null)) / 4
        assert float(pooled_p_values(torch.tensor([[value]]), drawn)[0, 0]) == expected


def test_what_never_changes_is_not_certain() -> None:
    drawn = torch.full((5, 3, 1), 7.0)
    p = pooled_p_values(torch.tensor([[7.0], [6.0], [8.0]]), drawn)
    assert p.flatten().tolist() == [1.0, 1.0, 1 / 16]


def test_bad_input() -> None:
    with pytest.raises(InputError, match="there are 2 draws; expected at least 3"):
        pooled_p_values(torch.zeros(4, 1), torch.zeros(2, 4, 1))
    with pytest.raises(InputError, match=r"draws of shape \(3, 5, 1\) for \(4, 1\) figures"):
        pooled_p_values(torch.zeros(4, 1), torch.zeros(3, 5, 1))
