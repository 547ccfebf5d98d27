"""One facet of a unit: what it responds to, as far as it is of a kind that a linear probe knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from captum_proto._utils.checks import plain_int
from captum_proto._utils.constants import beside
from captum_proto._utils.errors import InputError
from captum_proto._utils.targets import Target
from captum_proto.capture import Layer
from captum_proto.optim.loss.direction import digest_of, directions_of
from captum_proto.optim.loss.objective import Loss, Outputs, named


class FacetLoss(Loss):
    r"""
    A direction of a layer, and how much of it comes from the channels of an earlier layer that a probe takes for a facet; negated:
    maximized.

    .. math::
        L_i = -\Bigl(f_i(x_i) + s \sum_{c, q} w_{i, c}\, g_{c, q}(x_i)\,
        \max\Bigl(0, \frac{\partial f_i}{\partial g_{c, q}}\Bigr)\Bigr)
        \qquad f_i(x) = \frac{1}{P} \sum_p v_i \cdot a_p(x)

    with g the facet's layer, w the weights of a linear probe on it, such as a logistic regression that tells faces from other images, and
    the gradient taken for a constant. Of Goh et al., "Multimodal Neurons in Artificial Neural Networks" (Distill 2021), "Faceted feature
    visualization", where the text leaves out the maximum that the published code has. captum.optim's ``FacetLoss`` has the second term
    alone, to be added to another loss: ``alone=True``. It records "activation", which is f, and "facet", the second term without s.

    Args:
        layer (str or nn.Module): The layer of the unit, as :func:`~captum_proto.capture.capture` names it.
        direction (Tensor): v: (C,), or (N, C) for one direction each row; of a channel, one 1 among zeros.
        facet_layer (str or nn.Module): An earlier layer.
        facet_weights (Tensor): w: (D,), or (N, D) for one probe each row.
        strength (float or sequence of float, optional): s, how much the facet counts; one for all rows, or one for each. Default: 1
        alone (bool, optional): Whether the first term is left out. Default: False
        channel_axis (int, optional): Which axis of both layers' outputs holds their channels. Default: None, told from the layers

    Raises:
        ValueError: If directions or weights have another length than their layer has channels, or the facet's layer does not come
            before the unit's.

    Examples::

        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 4, 3))
        >>> unit, probe = torch.eye(4)[2], random_directions(2, 8)
        >>> InputOptimization(model, FacetLoss("2", unit, "1", probe), steps=2).optimize((3, 8, 8)).images.shape
        torch.Size([2, 3, 8, 8])
    """

    terms = ("activation", "facet")
    between_layers = True

    def __init__(
        self,
        layer: Layer,
        direction: Any,
        facet_layer: Layer,
        facet_weights: Any,
        strength: float | Sequence[float] | Tensor = 1.0,
        alone: bool = False,
        channel_axis: int | None = None,
    ) -> None:
        self.layers = (layer, facet_layer)
        directions, weights = directions_of(direction), directions_of(facet_weights)
        given = strength.detach().cpu() if isinstance(strength, Tensor) else strength
        strengths = torch.as_tensor(given, dtype=torch.float64).reshape(-1)
        counts = {len(directions), len(weights), len(strengths)}
        rows = max(counts)
        if counts - {1, rows} or not bool(strengths.isfinite().all()):
            raise InputError(
                f"{len(directions)} directions, {len(weights)} facet_weights and strength {strength} were given; expected one of each, or "
                "as many as of the others, and finite numbers."
            )
        self.directions, self.facet_weights = directions.expand(rows, -1), weights.expand(rows, -1)
        self.strength, self.alone, self.channel_axis = strengths.expand(rows), bool(alone), plain_int(channel_axis)
        pairs = zip(self.directions, self.facet_weights, strict=True)
        self.targets: list[Target] = [(digest_of(each), digest_of(facet)) for each, facet in pairs]

    def rows(self, rows: range) -> FacetLoss:
        (layer, facet_layer), part = self.layers, slice(rows.start, rows.stop)
        return FacetLoss(
            layer,
            self.directions[part],
            facet_layer,
            self.facet_weights[part],
            self.strength[part],
            self.alone,
            self.channel_axis,
        )

    def unit(self, row: int) -> str:
        return f"the direction of row {row} in {named(self.layers[0])}"

    def settings(self) -> dict[str, Any]:
        return {
            "name": type(self).__name__,
            "layer": str(self.layers[0]),
            "facet_layer": str(self.layers[1]),
            "strength": self.strength.tolist(),
            "alone": self.alone,
            "directions": [list(target) for target in self.targets],
        }

    def check(self, outputs: Outputs) -> None:
        for layer, name, given in zip(
            self.layers, ("directions", "facet_weights"), (self.directions, self.facet_weights), strict=True
        ):
            count = outputs.units(layer, self.channel_axis).shape[1]
            if given.shape[1] != count:
                raise InputError(
                    f"{name} have {given.shape[1]} entries; expected {count}, one for each channel of {named(layer)}."
                )

    def __call__(self, outputs: Outputs, images: Tensor) -> Tensor:
        layer, facet_layer = self.layers
        with torch.enable_grad():
            values = outputs.units(layer, self.channel_axis).unsqueeze(-1).flatten(2)
            activation = torch.einsum("ncp,nc->np", values, beside(self.directions, values)).mean(1)
            gradient = outputs.gradient(activation.sum(), facet_layer)
        axis = outputs.channel_axis(facet_layer, self.channel_axis)
        facet = (outputs[facet_layer] * gradient.clamp(min=0)).movedim(axis, 1).unsqueeze(-1).flatten(2).sum(2)
        facet = outputs.record("facet", (facet * beside(self.facet_weights, facet)).sum(1))
        outputs.record("activation", activation)
        facet = beside(self.strength, facet) * facet
        return -facet if self.alone else -(activation + facet)


__all__ = ["FacetLoss"]
