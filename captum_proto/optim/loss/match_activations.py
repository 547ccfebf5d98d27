"""A loss that asks for the activations of natural images of a class: their distribution in each channel, and where they are."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from captum_proto._utils.errors import InputError, InputTypeError
from captum_proto._utils.targets import Target, parse_targets
from captum_proto.optim.loss.natural_activations import NaturalActivations
from captum_proto.optim.loss.natural_units import in_full, layer_weights
from captum_proto.optim.loss.objective import Loss, Outputs, named


class MatchActivations(Loss):
    r"""
    How far a picture's activations are, channel by channel, from those of natural images of its class: sort matching.

    .. math::
        L_i = \sum_l \frac{w_l}{v_l} \frac{1}{C P} \sum_{c, p} \bigl(a_{l,c,(p)}(x_i) - q_{l,c,p}\bigr)^2
        + \lambda \bigl(a_{l,c,p}(x_i) - \mu_{l,c,p}\bigr)^2

    with :math:`a_{(p)}` the p-th smallest activation of a channel over its positions, q the mean over natural images of what they have in
    that place, which is their mean quantile function, μ their mean at each position, and v the variance of the layer's activations.
    The first term is the squared 2-Wasserstein distance of two distributions on a line. It does not look at where in the picture
    something is, so no picture has to be the blurred mean of all; the second term does.

    Of Görgün, Schiele and Fischer, "VITAL: More Understandable Feature Visualization through Distribution Alignment and Relevant
    Information Flow" (arXiv:2503.22399, section 3.1), whose loss it is with ``scaled=False``, each picture by itself. That the sum is
    divided by v gives layers of large and of small activations the same say. The pictures are seen under the transform of the step. It
    has seen natural images: what it makes is another claim than a prototype from the model alone, and may be judged only by images that
    were not measured (:meth:`NaturalActivations.saw`). It records "match_loss", and with λ "exact_loss", the second sum without λ.

    Args:
        reference (NaturalActivations): Of natural images of each target.
        target (TargetType or nested list): As in :class:`ClassLogit`, one for each row.
        weights (sequence of float, optional): One for each layer of the reference; only their proportions count. Default: None, all the
            same
        exact_weight (float, optional): λ, at least 0. Default: 0
        scaled (bool, optional): Whether each layer's sum is divided by v. Default: True

    Raises:
        TypeError: If ``reference`` is something else.
        ValueError: If it has no images of a target, or weights do not fit.

    Examples::

        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(8 * 36, 10))
        >>> natural = NaturalActivations.measured(model, {3: torch.rand(4, 3, 8, 8), 7: torch.rand(5, 3, 8, 8)}, ["1"])
        >>> objective = ClassLogit([3, 7, 7]) + 10 * MatchActivations(natural, [3, 7, 7])
        >>> InputOptimization(model, objective, steps=2).optimize((3, 8, 8)).images.shape
        torch.Size([3, 3, 8, 8])
    """

    of_classes = True

    def __init__(
        self,
        reference: NaturalActivations,
        target: Any,
        weights: Sequence[float] | None = None,
        exact_weight: float = 0.0,
        scaled: bool = True,
    ) -> None:
        if not isinstance(reference, NaturalActivations):
            raise InputTypeError(
                f"reference is a {type(reference).__name__}; expected NaturalActivations, as NaturalActivations.measured(model, {{class: "
                "images}) gives them."
            )
        if not 0 <= exact_weight < float("inf"):
            raise InputError(f"exact_weight is {exact_weight!r}; expected a finite number of at least 0.")
        self.targets: list[Target] | None = parse_targets(target)
        self.reference, self.layers = reference.of(self.targets), tuple(reference.layers)
        self.weights, self.scaled = layer_weights(reference.layers, weights), bool(scaled)
        self.exact_weight = float(exact_weight)
        self.terms = ("match_loss", "exact_loss") if self.exact_weight else ("match_loss",)
        self._ready: dict[tuple[Any, ...], tuple[Tensor, Tensor, Tensor]] = {}

    def rows(self, rows: range) -> MatchActivations:
        part = copy.copy(self)
        assert self.targets is not None
        part.targets, part._ready = self.targets[rows.start : rows.stop], {}
        return part

    def _of_rows(self, number: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """For each row the layer's quantiles (N, C, P), its means and its scale (N,), in the dtype and on the device of its values."""
        key = number, like.device, like.dtype
        if key not in self._ready:
            assert self.targets is not None
            rows, reference = self.reference.rows(self.targets), self.reference
            scales = reference.scales[rows, number] if self.scaled else torch.ones(len(rows))
            scales = torch.where(scales > 0, scales, 1.0)  # a layer that is the same for all images
            parts = (reference.quantiles[number][rows], reference.means[number][rows], scales)
            quantiles, means, scales = (part.to(like.device, like.dtype) for part in parts)
            self._ready[key] = quantiles, means, scales
        return self._ready[key]

    def check(self, outputs: Outputs) -> None:
        for number, layer in enumerate(self.layers):
            shape, wanted = tuple(outputs.units(layer).shape[1:]), tuple(self.reference.means[number].shape[1:])
            wanted = wanted[:1] if len(shape) == 1 else wanted
            if shape[:1] != wanted[:1] or (self.exact_weight and shape != wanted):
                raise InputError(
                    f"{named(layer)} returns {shape} for a picture and returned {wanted} for natural images; measure them with this model"
                    + (", at the size of the picture." if self.exact_weight else ".")
                )

    def __call__(self, outputs: Outputs, images: Tensor) -> Tensor:
        matched: Tensor | float = 0.0
        exact: Tensor | float = 0.0
        for number, (layer, weight) in enumerate(zip(self.layers, self.weights, strict=True)):
            values = in_full(outputs.units(layer)).unsqueeze(-1).flatten(2)
            quantiles, means, scale = self._of_rows(number, values)
            apart = values.sort(2).values - _at_positions(quantiles, values.shape[2])
            matched = matched + weight * apart.square().mean((1, 2)) / scale
            if self.exact_weight:
                exact = exact + weight * (values - means.flatten(2)).square().mean((1, 2)) / scale
        assert isinstance(matched, Tensor)  # there is a layer
        outputs.record("match_loss", matched)
        if not isinstance(exact, Tensor):
            return matched
        return matched + self.exact_weight * outputs.record("exact_loss", exact)

    def settings(self) -> dict[str, Any]:
        return {
            "name": "MatchActivations",
            "reference": self.reference.settings(),
            "weights": self.weights,
            "exact_weight": self.exact_weight,
            "scaled": self.scaled,
        }

    def __repr__(self) -> str:
        return f"MatchActivations({self.reference!r}, exact_weight={self.exact_weight:g}, scaled={self.scaled})"


def _at_positions(quantiles: Tensor, count: int) -> Tensor:
    """A quantile function (N, C, P) at as many places as a picture of another size has positions, linearly between."""
    if quantiles.shape[2] == count:
        return quantiles
    return torch.nn.functional.interpolate(quantiles, count, mode="linear", align_corners=False)


__all__ = ["MatchActivations"]
