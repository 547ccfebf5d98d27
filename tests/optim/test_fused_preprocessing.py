"""The warp and the normalization of one step are one operator where they can be, and the same either way."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torchvision import transforms
from torchvision.transforms import v2

from captum_proto import PrototypeGeneration, ops
from captum_proto.optim import RandomAffine, RandomStream

MEAN, STD = [0.4, 0.5, 0.6], [0.2, 0.3, 0.25]


class Own(RandomAffine):
    """Not RandomAffine itself: who overrides its call wants it called."""

    def __call__(self, images: Tensor, random: RandomStream) -> Tensor:
        return super().__call__(images, random)


@pytest.mark.parametrize(
    "normalize", [transforms.Normalize(MEAN, STD), v2.Normalize(MEAN, STD), v2.Normalize([0.5], [0.3])]
)
@pytest.mark.parametrize(("fill", "noise"), [(0.0, 0.0), (0.7, 0.0), ("reflect", 0.0), ("reflect", 0.05)])
def test_fused_or_not_the_prototypes_are_the_same(make_cnn, normalize, fill, noise, monkeypatch):
    model, calls = make_cnn().double(), []
    sample = ops.affine_sample

    def counted(*args, **options):
        calls.append(options.get("mean") is not None)
        return sample(*args, **options)

    monkeypatch.setattr(ops, "affine_sample", counted)
    made = []
    for preprocess, transform in (
        (normalize, RandomAffine),
        (nn.Sequential(normalize), RandomAffine),
        (normalize, Own),
    ):
        calls.clear()
        made.append(
            PrototypeGeneration(model, preprocess).generate(
                [0, 2],
                (3, 12, 12),
                steps=6,
                warmup_steps=2,
                noise=noise,
                transform=transform(180, translate=(0.5, 0.5), scale=(0.7, 1.3), fill=fill),
            )
        )
        assert calls
        assert all(calls) == (preprocess is normalize and transform is RandomAffine)
    for other in made[1:]:
        torch.testing.assert_close(other.images, made[0].images, atol=1e-9, rtol=0)
        torch.testing.assert_close(other.transformed_logits, made[0].transformed_logits, atol=1e-9, rtol=1e-9)
