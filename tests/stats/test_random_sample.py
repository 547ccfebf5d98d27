"""A random sample that streams: the same rows however they come, and each row as likely as the next."""

from __future__ import annotations

import pytest
import torch
from scipy import stats

from captum_proto.stats.random_sample import RandomSample, random_keys


def test_batches_and_order_of_merging_make_no_difference() -> None:
    rows, payload = torch.rand(50, 3), torch.randint(0, 9, (50, 3))
    whole = RandomSample(7, seed=3)
    whole.update(rows, torch.arange(50), payload)
    parts = []
    for begin, end in ((0, 4), (4, 31), (31, 50)):
        part = RandomSample(7, seed=3)
        part.update(rows[begin:end], torch.arange(begin, end), payload[begin:end])
        again = RandomSample(1)
        again.load_state_dict(part.state_dict())
        parts.append(again)
    merged = RandomSample(7, seed=3)
    for part in (parts[2], parts[0], parts[1]):
        merged.merge(part)
    assert merged.count == 50
    for mine, other in zip(merged.compute(), whole.compute(), strict=True):
        assert torch.equal(mine, other)
    scores, indices, places = whole.compute()
    assert torch.equal(scores, rows[indices].T)
    assert torch.equal(places, payload[indices].T)
    assert torch.equal(indices, indices.sort().values)


def test_each_row_is_as_likely_as_the_next() -> None:
    drawn = torch.zeros(40)
    for seed in range(1000):
        drawn[random_keys(torch.arange(40), seed).argsort()[:8]] += 1
    assert stats.chisquare(drawn.numpy()).pvalue > 0.001
    assert len(random_keys(torch.arange(100_000), 0).unique()) == 100_000


def test_what_does_not_fit_is_refused() -> None:
    sample = RandomSample(2)
    with pytest.raises(RuntimeError, match="there were no rows to draw from; call update first"):
        sample.compute()
    sample.update(torch.rand(3, 2), torch.arange(3))
    with pytest.raises(ValueError, match="there are 4 units, before them 2; give rows of one layer"):
        sample.update(torch.rand(3, 4), torch.arange(3, 6))
    with pytest.raises(ValueError, match="a sample of 2 with seed 0 cannot take one of 2 with seed 1"):
        sample.merge(RandomSample(2, seed=1))
