"""An input of one's own is one short class: no other file knows of it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from captum_proto import PrototypeGeneration
from captum_proto.optim import InputOptimization, Loss, Parametrization


class CoarseAndDetail(Parametrization):
    """A low-resolution image that is enlarged, and faint detail upon it: two tensors."""

    def start(self, random, shape) -> dict[str, Tensor]:
        channels, *_ = shape
        coarse = random.uniform(channels * 16, *self.value_range).view(-1, channels, 4, 4)
        return {"coarse": coarse, "detail": random.uniform(math.prod(shape), -0.1, 0.1).view(-1, *shape)}

    def render(self, parameters) -> Tensor:
        coarse = nn.functional.interpolate(parameters["coarse"], self.shape[1:], mode="nearest")
        return (coarse + parameters["detail"]).clamp(*self.value_range)

    def project(self, parameters) -> None:
        parameters["coarse"].clamp_(*self.value_range)
        parameters["detail"].clamp_(-0.1, 0.1)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_every_tensor_of_it_is_optimized_and_projected(make_cnn, dtype):
    options = {
        "steps": 25,
        "warmup_steps": 3,
        "warmup_tolerance": 1e-6,
        "high_frequency_weight": 0.0,
        "transform": None,
    }
    generation, own = PrototypeGeneration(make_cnn(dtype=dtype)), CoarseAndDetail()
    made = generation.generate([1, 2], (3, 16, 16), parametrization=own, value_range=(-1.0, 1.0), **options)
    assert bool((made.history["logit"][-1] > made.history["logit"][0]).all())
    assert made.settings["parametrization"] == {"name": "CoarseAndDetail"}
    assert -1 <= float(made.images.min()) < float(made.images.max()) <= 1
    blocks = (
        made.images.unfold(2, 4, 4).unfold(3, 4, 4).flatten(4)
    )  # what differs within an enlarged pixel is the detail
    spread = blocks.amax(-1) - blocks.amin(-1)
    assert 0.05 < float(spread.max()) <= 0.2 + 1e-6
    alone = generation.generate([2], (3, 16, 16), parametrization=own, value_range=(-1.0, 1.0), **options)
    torch.testing.assert_close(alone.images[0], made.images[1], rtol=0, atol=1e-9 if dtype == torch.float64 else 0.1)
    with pytest.raises(ValueError, match="CoarseAndDetail cannot start from given images"):
        generation.generate(1, start=made.images[:1] / 2 + 0.5, parametrization=own, **options)


def test_a_parameter_that_has_no_say_stays_where_it_was():
    class Spare(CoarseAndDetail):
        def render(self, parameters) -> Tensor:
            return nn.functional.interpolate(parameters["coarse"], self.shape[1:], mode="nearest")

    class Brightness(Loss):
        def __call__(self, outputs, images: Tensor) -> Tensor:
            return -outputs.output.mean(1)

    result = InputOptimization(nn.Flatten(), Brightness(), parametrization=Spare(), steps=40).optimize(
        (1, 8, 8), count=2
    )
    assert torch.equal(result.images, torch.ones(2, 1, 8, 8))
