"""A term that keeps neighbors in a batch alike, for pictures that are to be compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from captum_proto._utils.checks import check_int
from captum_proto._utils.errors import InputError
from captum_proto._utils.targets import Target
from captum_proto.capture import Layer
from captum_proto.optim.loss.objective import Outputs
from captum_proto.optim.loss.unit import LayerLoss


class Alignment(LayerLoss):
    r"""
    How far a row's layer is from its neighbors' in the batch: minimized, so that what they have in common stays where it is.

    .. math::
        L_i = \sum_{0 < |i - j| \le d} \frac{1}{\beta^{|i - j|}} \operatorname{mean}\bigl(a(x_i) - a(x_j)\bigr)^2

    Of Olah, Mordvintsev and Schubert, "Feature Visualization" (Distill 2017); Lucid's ``alignment``, captum.optim's ``Alignment``, with
    d = 4 and β = 2. Rows are in the order of the loss's targets. What a row sees of its neighbors is where they stand at this step, as
    constants, so its gradient is that of its own loss, and that of Lucid's, which counts each pair once. It records "alignment_loss".

    Args:
        layer (str or nn.Module): The layer, as :func:`~captum_proto.capture.capture` names it.
        decay (float, optional): β, by how much less each further neighbor counts. Default: 2
        distance (int, optional): d, how far neighbors go. Default: 4

    Raises:
        ValueError: If ``decay`` is not positive, ``distance`` is less than 1, or a batch has a single row.
    """

    terms = ("alignment_loss",)

    def __init__(self, layer: Layer, decay: float = 2.0, distance: int = 4) -> None:
        super().__init__(layer)
        if not 0 < decay < float("inf"):
            raise InputError(f"decay is {decay}; expected a positive number.")
        self.decay, self.distance = float(decay), check_int(distance, "distance", 1)

    def unit(self, row: int) -> None:
        return None  # it is a regularizer: the other terms say what the row is of

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "decay": self.decay, "distance": self.distance}

    def check_batches(self, targets: Sequence[Target], batch_size: int | None) -> None:
        size = batch_size or len(targets)
        if len(targets) < 2 or size < len(targets):
            raise InputError(
                f"alignment is between the {len(targets)} rows of one batch; pass at least two rows and a batch_size that holds them all, "
                "or leave Alignment out."
            )

    def __call__(self, outputs: Outputs, images: Tensor) -> Tensor:
        values = outputs[self.layer].flatten(1)
        loss = values.new_zeros(len(values))
        for distance in range(1, min(self.distance, len(values) - 1) + 1):
            head, tail = values[:-distance], values[distance:]
            of_head = (head - tail.detach()).square().mean(1)
            of_tail = (tail - head.detach()).square().mean(1)
            both = nn.functional.pad(of_head, (0, distance)) + nn.functional.pad(of_tail, (distance, 0))
            loss = loss + both / self.decay**distance
        return outputs.record("alignment_loss", loss)


__all__ = ["Alignment"]
