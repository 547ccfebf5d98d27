"""The terms of the objective against SciPy and NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.special import logsumexp, softmax

from captum_proto._utils.targets import target_mask
from captum_proto.optim.loss import (
    class_probability,
    class_score,
    default_high_frequency_weight,
    probability_variance,
)

logits_of = arrays.arrays(
    np.float64, st.tuples(st.integers(1, 4), st.integers(1, 9)), elements=st.floats(-60, 60, width=32)
)


def mask_of(targets: list[tuple[int, ...]], classes: int) -> torch.Tensor:
    return target_mask(targets, classes, torch.device("cpu"))


@settings(deadline=None)
@given(logits_of, st.randoms(use_true_random=False))
def test_scores_and_probabilities_of_targets(logits, random):
    n, k = logits.shape
    targets = [tuple(sorted(random.sample(range(k), random.randint(1, k)))) for _ in range(n)]
    mask = mask_of(targets, k)
    score = class_score(torch.from_numpy(logits), mask).numpy()
    probability = class_probability(torch.from_numpy(logits), mask).numpy()
    variance = probability_variance(torch.from_numpy(logits)).numpy()
    for i, target in enumerate(targets):
        chosen = list(target)
        outcomes = logits[i] if k > 1 else np.append(logits[i], 0)  # a single class, or its absence
        np.testing.assert_allclose(score[i], logsumexp(logits[i, chosen]), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(probability[i], softmax(outcomes)[chosen].sum(), rtol=1e-12, atol=1e-300)
        # The score of a target is its part of the softmax: log p = score - log Z.
        np.testing.assert_allclose(np.log(probability[i]), score[i] - logsumexp(outcomes), rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(variance[i], np.var(softmax(outcomes)), rtol=1e-9, atol=1e-16)
        assert -1e-16 <= variance[i] <= (len(outcomes) - 1) / len(outcomes) ** 2 + 1e-12


def test_the_score_of_a_single_class_is_its_logit_to_the_last_bit():
    logits = torch.randn(50, 20) * 30
    targets = torch.arange(50) % 20
    score = class_score(logits, mask_of([(int(t),) for t in targets], 20))
    assert torch.equal(score, logits.gather(1, targets.unsqueeze(1)).squeeze(1))


def test_only_the_targets_own_logits_get_a_gradient():
    logits = torch.randn(1, 5, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(class_score(logits, mask_of([(1, 3)], 5)).sum(), logits)
    expected = np.zeros(5)
    expected[[1, 3]] = softmax(logits.detach().numpy()[0, [1, 3]])
    np.testing.assert_allclose(gradient[0].numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_extremes_of_the_variance(classes):
    equal = torch.full((1, classes), 7.0, dtype=torch.float64)
    certain = torch.zeros(1, classes, dtype=torch.float64)
    certain[0, 0] = 1e4
    assert float(probability_variance(equal)) < 1e-30
    assert float(probability_variance(certain)) == pytest.approx((classes - 1) / classes**2, abs=1e-15)


def test_a_single_logit_is_compared_with_the_absence_of_its_class():
    logits = torch.tensor([[0.0], [3.0], [-3.0], [1e4]], dtype=torch.float64)
    p = torch.sigmoid(logits[:, 0])
    assert torch.allclose(class_probability(logits, mask_of([(0,)] * 4, 1)), p, rtol=1e-12)
    assert torch.allclose(probability_variance(logits), (p - 0.5) ** 2, rtol=1e-12)  # of p and 1 - p
    assert torch.equal(class_score(logits, mask_of([(0,)] * 4, 1)), logits[:, 0])


def test_derivatives():
    logits = torch.randn(3, 6, dtype=torch.float64, requires_grad=True)
    mask = mask_of([(0,), (1, 2), (0, 3, 5)], 6)
    assert torch.autograd.gradcheck(lambda x: class_score(x, mask), logits)
    assert torch.autograd.gradcheck(lambda x: class_probability(x, mask), logits)
    assert torch.autograd.gradcheck(probability_variance, logits)


def test_the_default_weight_pulls_each_pixel_alike_at_every_size():
    assert default_high_frequency_weight((3, 224, 224)) == pytest.approx(1000)
    # The loss is a mean over about C·H·W pairs in each direction, so weight over that number is the pull on a pixel.
    pulls = [default_high_frequency_weight(s) / (s[0] * s[1] * s[2]) for s in [(1, 8, 8), (3, 224, 224), (5, 30, 512)]]
    assert max(pulls) == pytest.approx(min(pulls))
