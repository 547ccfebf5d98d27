"""
Weights made by hand, put in the place of a unit's own: whether what was said of how it computes would do what it does.

The last check of Cammarata et al., "Curve Circuits" (Distill 2021), who wrote curve detectors anew; here weights are put into the network.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from scipy.optimize import least_squares
from torch import Tensor, nn

from captum_proto._utils.checks import check_int
from captum_proto._utils.errors import InputError, StateError
from captum_proto._utils.model import borrowed
from captum_proto._utils.pipeline import Pipeline
from captum_proto.capture import changed_output, channel_axis, channels_first, find_output
from captum_proto.circuits.stimuli import check_number
from captum_proto.circuits.tuning import Tuning
from captum_proto.circuits.weights import ExpandedWeights
from captum_proto.models import NamedModel


def line_preferences(tuning: Tuning) -> Tensor:
    r"""
    Which lines units respond to, as complex numbers: the sum of responses, each in the direction of twice its orientation.

    .. math::
        z = \frac{\sum_\phi r(\phi)\, e^{2 i \phi}}{\sum_\phi r(\phi)}

    with r the positive part of the response to a line whose normal has the orientation :math:`\phi`, less that to the background. Its size
    is between 0, for a unit that responds to all lines alike, and 1, for one that responds to a single orientation.

    Args:
        tuning (Tuning): To the stimulus "line".

    Returns:
        Tensor: (U,), complex128; 0 for units that no line raises.

    Raises:
        ValueError: If it is of another stimulus.

    Examples::

        >>> responses = torch.tensor([[[1.0, 0.0, 1.0, 0.0]]])
        >>> level = Tuning(responses, torch.zeros(1), "line", [0.0, 90.0, 180.0, 270.0], [0.0], [0], "conv")
        >>> line_preferences(level).real.tolist()
        [1.0]
    """
    if tuning.stimulus != "line":
        raise InputError(f'the tuning is to the stimulus "{tuning.stimulus}"; measure that to "line".')
    responses = tuning.raised[:, 0].clamp(min=0).double()
    turns = torch.tensor([2 * math.radians(angle) for angle in tuning.orientations], dtype=torch.float64)
    total = responses.sum(1)
    found = (responses * torch.polar(torch.ones_like(turns), turns)).sum(1) / total.clamp(min=1e-30)
    return torch.where(total > 0, found, torch.zeros_like(found))


def curve_weights(
    preferences: Tensor, side: int, orientation: float, radius: float, spread: float = 1.0, arc: float = 90.0
) -> Tensor:
    r"""
    The weights that a curve detector should have, written down: lines along an arc excite, lines across it and beside it inhibit.

    .. math::
        W_i(\delta) = \mathrm{Re}\bigl(\bar z_i\, e^{2 i \psi(\delta)}\bigr) \left(1 - \frac{d^2}{s^2}\right) e^{-d^2 / 2 s^2} g(\delta)

    with z the preferred line of unit i (:func:`line_preferences`), :math:`\psi` the direction from the circle's center, d how far from the
    circle a position is, and g a Gaussian over the angle along the arc. Of unit norm.

    Args:
        preferences (Tensor): (I,), complex.
        side (int): Of the kernel, in positions of the earlier layer, odd: the arc passes through its middle.
        orientation (float): In which direction the arc bulges, in degrees, as of :func:`~captum_proto.circuits.stimuli.curve`.
        radius (float): In positions of the earlier layer, above 0.
        spread (float, optional): s, in positions. Default: 1.0
        arc (float, optional): How long the arc is, in degrees: two standard deviations to either side. Default: 90.0

    Returns:
        Tensor: (I, side, side), float32.

    Raises:
        ValueError: If the side is even, so that no position is in the middle, or an argument is out of its range.

    Examples::

        >>> weights = curve_weights(torch.tensor([1.0 + 0j, -1.0 + 0j]), 5, orientation=0, radius=4.0)
        >>> weights.shape, bool(weights[0, 2, 2] > 0 > weights[1, 2, 2])
        (torch.Size([2, 5, 5]), True)
    """
    pattern = curve_pattern(side, orientation, radius, spread, arc)
    weights = (preferences.to(torch.complex128).conj().view(-1, 1, 1) * pattern).real
    norm = float(weights.norm())
    if not norm:
        raise InputError(
            "no unit of the earlier layer prefers a line, so there is nothing to make a curve of; choose another layer."
        )
    return (weights / norm).float()


def curve_pattern(side: int, orientation: float, radius: float, spread: float = 1.0, arc: float = 90.0) -> Tensor:
    r"""
    What :func:`curve_weights` has in common for all units: how much, and for which lines, each position counts.

    Args:
        side, orientation, radius, spread, arc: As there.

    Returns:
        Tensor: (side, side), complex128: the weight of a unit is the real part of it times its conjugate preference.

    Raises:
        ValueError: As there.
    """
    count = check_int(side, "side", 1)
    if not count % 2:
        raise InputError(
            f"side is {count}: an even kernel has no position in its middle, through which the arc could pass; give an odd one."
        )
    check_number(radius, "radius", 1e-6)
    check_number(spread, "spread", 1e-6)
    turn = math.radians(orientation)
    right = torch.arange(count, dtype=torch.float64) - count // 2
    up = -right.view(-1, 1)
    out_right, out_up = right.view(1, -1) + radius * math.cos(turn), up + radius * math.sin(turn)
    direction = torch.atan2(out_up.expand(count, count), out_right.expand(count, count))
    far = (out_right.square() + out_up.square()).sqrt() - radius
    along = torch.remainder(direction - turn + math.pi, 2 * math.pi) - math.pi
    hat = (1 - (far / spread).square()) * (-0.5 * (far / spread).square()).exp()
    window = (-0.5 * (along / math.radians(arc / 4)).square()).exp()
    return torch.polar(torch.ones_like(direction), 2 * direction) * hat * window


def odd_square(weights: ExpandedWeights) -> int:
    """
    The side of a receptive field that has a position in its middle.

    Raises:
        ValueError: If it is even or not square.
    """
    height, width = weights.weights.shape[2:]
    if height != width or not height % 2:
        raise InputError(
            f'the receptive field of "{weights.to_layer}" in "{weights.from_layer}" is {height} x {width}; weights by hand need one '
            "that is square and odd, with a position in its middle: choose another pair of layers."
        )
    return int(height)


class PutBack:
    r"""
    A unit that is computed from an earlier layer by other weights than its own: :math:`g \cdot (W * a) + c`, above zero where the unit is.

    Args:
        forward_func (NamedModel or nn.Module): The model. It comes back as it was.
        expanded (ExpandedWeights): Of the unit: where its receptive field is.
        unit (int): Of the later layer.
        weights (Tensor): (I, h, w), of the earlier layer's units that ``expanded`` is of.
        preprocess (Callable, optional): From images to what the model takes. Default: None, the named model's own

    Attributes:
        gain, offset (float, optional): g and c, after :meth:`fit`.

    Raises:
        ValueError: If the weights are of another shape than the unit's own.

    Examples::

        >>> from captum_proto.circuits import expanded_weights
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 4, 3), torch.nn.ReLU())
        >>> images = torch.rand(6, 3, 16, 16)
        >>> own = expanded_weights(model, "1", "3", (3, 16, 16))
        >>> again = PutBack(model, own, 2, own.of(2)).fit(images)
        >>> with again.in_place():
        ...     replaced = model(images)
        >>> bool((replaced - model(images)).abs().max() < 1e-3)
        True
    """

    def __init__(
        self,
        forward_func: NamedModel | nn.Module,
        expanded: ExpandedWeights,
        unit: int,
        weights: Tensor,
        preprocess: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        named = forward_func if isinstance(forward_func, NamedModel) else None
        self._model: nn.Module = named.model if named is not None else forward_func  # type: ignore[assignment]
        self._pipeline = Pipeline(
            self._model, preprocess if preprocess is not None or named is None else named.preprocess
        )
        own = expanded.of(unit)
        if weights.shape != own.shape:
            raise InputError(
                f"weights have shape {tuple(weights.shape)}; expected {tuple(own.shape)}, as the unit's own have."
            )
        self._expanded, self._unit, self._weights = expanded, int(unit), weights.detach()
        self.gain: float | None = None
        self.offset = 0.0
        self._positive = False

    def fit(self, images: Tensor, batch_size: int = 32) -> PutBack:
        """
        Find the gain and the offset by which the weights come closest to the unit itself, in squares over all positions.

        Args:
            images (Tensor): (N, C, H, W). What is reported should be measured on others.
            batch_size (int, optional): Images at a time. Default: 32

        Returns:
            PutBack: Itself.
        """
        return self.fit_maps(*self.maps(images, batch_size))

    def maps(self, images: Tensor, batch_size: int = 32) -> tuple[Tensor, Tensor]:
        """
        What weights are put back from, and what the unit itself gives: the same for all weights of it.

        Args:
            images (Tensor): (N, C, H, W).
            batch_size (int, optional): Images at a time. Default: 32

        Returns:
            tuple[Tensor, Tensor]: The earlier layer's maps, (N, I, H', W'), and those of the unit, (N, H'', W''), on the CPU.
        """
        earlier: list[Tensor] = []
        own: list[Tensor] = []

        def look(before: Tensor, output: Tensor) -> None:
            earlier.append(before.detach().clone().cpu())
            own.append(output[:, self._unit].detach().clone().cpu())

        with self._watched(look), torch.no_grad(), borrowed(self._model):
            for batch in torch.split(images, check_int(batch_size, "batch_size", 1)):
                self._pipeline(batch.to(self._pipeline.device, self._pipeline.image_dtype))
        return torch.cat(earlier), torch.cat(own)

    def fit_maps(self, earlier: Tensor, own: Tensor) -> PutBack:
        """As :meth:`fit`, from what :meth:`maps` gave."""
        made, wanted = (part.double().flatten().numpy() for part in (self._convolved(earlier), own))
        self._positive = bool(wanted.min() >= 0)
        spread = float(made.var())
        gain = float(((made - made.mean()) * (wanted - wanted.mean())).mean() / spread) if spread else 0.0
        start = np.array([gain, wanted.mean() - gain * made.mean()])
        on = wanted > 0
        if self._positive and on.any() and spread:
            # Where few positions are above zero the line through all is no good beginning; that through these is another.
            line = np.polyfit(made[on], wanted[on], 1) if on.sum() > 1 and made[on].var() else start

            def residual(values: Any) -> Any:
                return np.maximum(values[0] * made + values[1], 0) - wanted

            def slopes(values: Any) -> Any:
                above = (values[0] * made + values[1] > 0).astype(float)
                return np.stack([above * made, above], 1)

            tried = [least_squares(residual, begin, jac=slopes) for begin in (start, np.array(line))]
            start = min(tried, key=lambda each: float(each.cost)).x
        self.gain, self.offset = float(start[0]), float(start[1])
        return self

    def of_maps(self, earlier: Tensor) -> Tensor:
        """
        The unit's maps as the weights have them, from the earlier layer's.

        Args:
            earlier (Tensor): (N, I, H', W').

        Returns:
            Tensor: (N, H'', W'').

        Raises:
            RuntimeError: If it was not fitted.
        """
        if self.gain is None:
            raise StateError("the gain of the weights is not known; call fit with some images first.")
        value = self.gain * self._convolved(earlier) + self.offset
        return value.clamp(min=0) if self._positive else value

    def in_place(self) -> contextlib.AbstractContextManager[None]:
        """
        The network with the unit computed so, for the length of a block.

        Raises:
            RuntimeError: If it was not fitted.
        """
        if self.gain is None:
            raise StateError("the gain of the weights is not known; call fit with some images first.")

        def change(before: Tensor, output: Tensor) -> Tensor:
            changed = output.clone()
            changed[:, self._unit] = self.of_maps(before)
            return changed

        return self._watched(change)

    @contextlib.contextmanager
    def _watched(self, change: Callable[[Tensor, Tensor], Tensor | None]) -> Iterator[None]:
        """Give a function the maps of the earlier and the later layer in each pass, and the network what it returns for the latter."""
        expanded, kept = self._expanded, list[Tensor]()

        def keep(output: Tensor) -> None:
            maps = channels_first(output, self._axis(expanded.from_layer, output))
            kept[:] = [maps[:, expanded.from_units].clone()]

        def at_end(output: Tensor) -> Tensor | None:
            axis = self._axis(expanded.to_layer, output)
            found = change(kept[0], channels_first(output, axis))
            return None if found is None else found.movedim(1, axis)

        with (
            changed_output(self._model, expanded.from_layer, keep),
            changed_output(self._model, expanded.to_layer, at_end),
        ):
            yield

    def _axis(self, layer: str, output: Tensor) -> int:
        return channel_axis(find_output(self._model, layer)[1], tuple(output.shape))

    def _convolved(self, maps: Tensor) -> Tensor:
        """(N, H', W'), with zeros beyond the border."""
        expanded = self._expanded
        around: list[int] = []
        for axis in (1, 0):  # as F.pad has them, the last axis first
            begin = expanded.box[axis] - expanded.position[axis] * expanded.stride[axis]
            last = (expanded.to_shape[axis] - 1) * expanded.stride[axis] + begin + expanded.weights.shape[2 + axis]
            around += [-begin, last - expanded.from_shape[axis]]
        padded = nn.functional.pad(maps, around)
        weights = self._weights.to(maps.device, maps.dtype).unsqueeze(0)
        found: Tensor = nn.functional.conv2d(padded, weights, stride=expanded.stride)[:, 0]
        return found


def correlation(first: Tensor, second: Tensor) -> float:
    """Pearson's correlation of two tensors of a size; NaN where one is the same everywhere."""
    a, b = (values.double().flatten() - values.double().mean() for values in (first, second))
    size = float(a.norm() * b.norm())
    return float((a * b).sum()) / size if size > 0 else math.nan


def weights_by_orientation(
    own: Tensor,
    preferences: Tensor,
    orientations: Sequence[float],
    radii: Sequence[float],
    spread: float = 1.0,
    arc: float = 90.0,
) -> Tensor:
    """
    How well a unit's own weights agree with those that a curve detector should have, by orientation and radius.

    Args:
        own (Tensor): (I, h, w), its expanded weights; h and w the same, and odd.
        preferences (Tensor): (..., I), complex, of :func:`line_preferences`: of one set of earlier units, or of several orders of them.
        orientations (sequence of float): In degrees.
        radii (sequence of float): In positions of the earlier layer.
        spread, arc (float, optional): As in :func:`curve_weights`. Default: 1.0 and 90.0

    Returns:
        Tensor: (..., R, O), the cosine of own weights and :func:`curve_weights`, float64; 0 where either is nothing.

    Examples::

        >>> lines = torch.tensor([1.0 + 0j, -1.0 + 0j])
        >>> found = weights_by_orientation(curve_weights(lines, 7, 90, 4.0), lines, [0, 90, 180], [4.0])
        >>> found[0, 1].item() > 0.999, found[0].argmax().item()
        (True, 1)
    """
    patterns = torch.stack(
        [
            torch.stack([curve_pattern(own.shape[-1], angle, radius, spread, arc) for angle in orientations])
            for radius in radii
        ]
    )
    chosen = preferences.to(torch.complex128)
    weights = own.to(torch.complex128)
    products = torch.einsum("ihw,rohw->roi", weights, patterns)
    dots = torch.einsum("...i,roi->...ro", chosen.conj(), products).real
    # The square of a real part, summed: half of the squared size, and half of the real part of the square.
    sizes = chosen.abs().square().sum(-1)[..., None, None] * patterns.abs().square().sum((2, 3))
    squares = (chosen.conj().square().sum(-1)[..., None, None] * patterns.square().sum((2, 3))).real
    norms = ((sizes + squares) / 2).clamp(min=0).sqrt() * own.double().norm()
    return torch.where(norms > 0, dots / norms.clamp(min=1e-30), torch.zeros_like(dots))


__all__ = [
    "PutBack",
    "correlation",
    "curve_pattern",
    "curve_weights",
    "line_preferences",
    "odd_square",
    "weights_by_orientation",
]
