"""An objective of one's own is one short class: no other file knows of it."""

from __future__ import annotations

import torch
from networks import seeded
from torch import Tensor, nn

from captum_proto.optim import HighFrequency, InputOptimization, Loss, RandomAffine


class MeanUnit(Loss):
    """The mean activation of one unit of a layer a row, negated."""

    def __init__(self, layer: str, units: list[int], axis: int) -> None:
        self.layers, self.units, self.axis = (layer,), units, axis
        self.targets = [(unit,) for unit in units]

    def rows(self, rows: range) -> MeanUnit:
        return MeanUnit(self.layers[0], self.units[rows.start : rows.stop], self.axis)

    def __call__(self, outputs, images: Tensor) -> Tensor:
        means = outputs[self.layers[0]].movedim(self.axis, 1).flatten(2).mean(2)
        return -outputs.record("activation", means[range(len(self.units)), self.units])


def test_channels_of_a_convolution_are_one_batch_and_each_is_what_it_would_be_alone(make_cnn):
    loss, options = MeanUnit("block", [0, 3, 3], axis=1), {"steps": 40, "transform": RandomAffine(20)}
    model = make_cnn(dtype=torch.float64)
    result = InputOptimization(model, loss + 0.1 * HighFrequency(), **options).optimize((3, 8, 8))
    history = result.history["activation"]
    assert bool((history[-1] > history[0] + 0.05).all())
    torch.testing.assert_close(result.history["loss"], 0.1 * result.history["high_frequency_loss"] - history)
    assert not torch.equal(result.images[1], result.images[2])  # the same unit from another seed
    alone = InputOptimization(model, loss.rows(range(2, 3)) + 0.1 * HighFrequency(), **options)
    torch.testing.assert_close(alone.optimize((3, 8, 8), seed=1).images[0], result.images[2], rtol=0, atol=1e-9)


def test_units_of_a_transformers_tokens():
    def vision_transformer() -> nn.Module:
        block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        return nn.Sequential(
            nn.Unflatten(2, (4, 2)), nn.Flatten(3), nn.Flatten(1, 2), nn.Linear(16, 8), block, Pooled()
        )

    model = seeded(
        vision_transformer
    ).double()  # rows of pixels are tokens: (N, tokens, channels), and no logits at the end
    result = InputOptimization(model, MeanUnit("4.linear1", [2, 9], axis=2), steps=30).optimize((3, 8, 8), seed=[7, 7])
    history = result.history["activation"]
    assert bool((history[-1] > history[0] + 0.05).all())
    assert result.images.shape == (2, 3, 8, 8)


class Pooled(nn.Module):
    def forward(self, tokens: Tensor) -> dict[str, Tensor]:
        return {"features": tokens.mean(1)}
