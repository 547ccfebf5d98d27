"""
Synthetic stimuli: curves, lines, corners, edges, and borders between fine and coarse patterns, of any orientation.

Every stimulus passes through the middle of its image, and its orientation is the direction of its normal there: of a curve the direction in
which it bulges, away from its center; of a corner that in which it points; of an edge that which is away from its dark side. Directions are
in degrees, counterclockwise from the right. So a curve, the line along it and the corner in its place have the same orientation. The shapes
are those with which Cammarata et al., "Curve Detectors" (Distill 2020) probe units: a corner of 90 degrees that is rounded by a radius, of
which the circle is drawn exactly here, with an antialiased border.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from captum_proto._utils.checks import check_int, nearest
from captum_proto._utils.errors import InputError

#: How a shape is shown: its outline, or all that lies within.
STYLES = ("line", "fill")


def curve(
    orientation: float,
    radius: float,
    size: int = 224,
    *,
    angular_width: float = 90.0,
    style: str = "line",
    width: float = 3.0,
    foreground: float | Sequence[float] = 1.0,
    background: float | Sequence[float] = 0.0,
    window: float | None = None,
) -> Tensor:
    r"""
    A rounded corner: an arc of a circle, with which two straight lines go on.

    Args:
        orientation (float): In which direction it bulges, in degrees, counterclockwise from the right.
        radius (float): Of the circle, in pixels; at 0 it is a sharp corner.
        size (int, optional): Of the image, in pixels. Default: 224
        angular_width (float, optional): By how many degrees the arc turns, between 0 and 180. Default: 90.0
        style (str, optional): "line", its outline; "fill", all that lies within. Default: "line"
        width (float, optional): Of the outline, in pixels. Default: 3.0
        foreground, background (float or sequence of float, optional): Colors in [0, 1], one value, or one for each channel. Default: 1.0
            and 0.0
        window (float, optional): How far from the middle it is seen, in pixels; beyond, it fades into the background. Default: None

    Returns:
        Tensor: (3, size, size).

    Raises:
        ValueError: If an argument is out of its range.

    Examples::

        >>> bulging_up = curve(90, radius=16, size=64)
        >>> bool(bulging_up[0, 32, 32] > 0.9), float(bulging_up[0, 2, 32])
        (True, 0.0)
    """
    check_number(radius, "radius", 0.0)
    if not 0 < angular_width < 180:
        raise InputError(f"angular_width is {angular_width}; expected degrees between 0 and 180.")
    half = math.radians(angular_width) / 2

    def distance(across: Tensor, along: Tensor) -> Tensor:
        """From the border, negative within: that of a sharp corner around the circle's center, less the radius."""
        outwards, side = across + radius, along.abs()
        from_line = outwards * math.cos(half) + side * math.sin(half)
        in_arc = side * math.cos(half) <= outwards * math.sin(half)
        return torch.where(in_arc & (outwards >= 0), (outwards.square() + side.square()).sqrt(), from_line) - radius

    return _drawn(distance, orientation, size, style, width, foreground, background, window)


def corner(orientation: float, size: int = 224, *, angle: float = 90.0, **style: object) -> Tensor:
    """
    A sharp corner.

    Args:
        orientation (float): In which direction it points, as in :func:`curve`.
        size (int, optional): Of the image. Default: 224
        angle (float, optional): Between its two lines, in degrees, between 0 and 180. Default: 90.0
        **style: As in :func:`curve`.

    Returns:
        Tensor: (3, size, size).

    Examples::

        >>> corner(0, size=32)[0, 16, 16].item() > 0.9
        True
    """
    return curve(orientation, 0.0, size, angular_width=180.0 - angle, **style)  # type: ignore[arg-type]


def line(
    orientation: float,
    size: int = 224,
    *,
    width: float = 3.0,
    foreground: float | Sequence[float] = 1.0,
    background: float | Sequence[float] = 0.0,
    window: float | None = None,
) -> Tensor:
    """
    A straight line.

    Args:
        orientation (float): Of its normal: the line along the middle of the curve of the same orientation.
        size, width, foreground, background, window: As in :func:`curve`.

    Returns:
        Tensor: (3, size, size).

    Examples::

        >>> level = line(90, size=32)
        >>> bool((level[0, 16] > 0.9).all()), float(level[0, 4].max())
        (True, 0.0)
    """
    return _drawn(lambda across, _: across, orientation, size, "line", width, foreground, background, window)


def edge(
    orientation: float,
    size: int = 224,
    *,
    foreground: float | Sequence[float] = 1.0,
    background: float | Sequence[float] = 0.0,
    window: float | None = None,
) -> Tensor:
    """
    A straight edge: the foreground on one side, the background on the other.

    Args:
        orientation (float): The direction away from the foreground.
        size, foreground, background, window: As in :func:`curve`.

    Returns:
        Tensor: (3, size, size).

    Examples::

        >>> left = edge(0, size=32)[0]
        >>> float(left[:, :15].min()), float(left[:, 17:].max())
        (1.0, 0.0)
    """
    return _drawn(lambda across, _: across, orientation, size, "fill", 0.0, foreground, background, window)


def high_low_frequency(
    orientation: float,
    ratio: float = 4.0,
    size: int = 224,
    *,
    period: float = 6.0,
    phase: float = 0.0,
    foreground: float | Sequence[float] = 1.0,
    background: float | Sequence[float] = 0.0,
    window: float | None = None,
) -> Tensor:
    r"""
    A border between a fine and a coarse pattern, each a product of two waves, along and across the border, of the same contrast.

    What Schubert et al., "High-Low Frequency Detectors" (Distill 2021), probe units with: their border is between frequencies alone.

    Args:
        orientation (float): The direction away from the coarse pattern, into the fine one.
        ratio (float, optional): How many times the fine pattern's period the coarse one's is, at least 1. Default: 4.0
        size (int, optional): Of the image. Default: 224
        period (float, optional): Of the fine pattern, in pixels, at least 2. Default: 6.0
        phase (float, optional): Of both patterns, in degrees. Default: 0.0
        foreground, background, window: As in :func:`curve`: the lightest and the darkest color of the patterns; what is beyond the window
            has their mean.

    Returns:
        Tensor: (3, size, size).

    Examples::

        >>> right = high_low_frequency(0, 4.0, size=64, period=4.0)[0]
        >>> bool(right[:, 40:].diff(dim=1).abs().mean() > 2 * right[:, :24].diff(dim=1).abs().mean())
        True
    """
    check_number(ratio, "ratio", 1.0)
    check_number(period, "period", 2.0)
    across, along = _coordinates(orientation, size)

    def pattern(length: float) -> Tensor:
        shift = math.radians(phase)
        turns = 2 * math.pi / length
        return 0.5 + 0.5 * (turns * across + shift).sin() * (turns * along + shift).cos()

    fine = (across + 0.5).clamp(0, 1)  # the border is antialiased
    values = fine * pattern(period) + (1 - fine) * pattern(period * ratio)
    seen = _window(size, window)
    return _colored(seen * values + (1 - seen) * 0.5, foreground, background)


#: By name, with one second quantity: of curves the radius, of high-low frequency borders the ratio of periods.
STIMULI: dict[str, Callable[..., Tensor]] = {
    "curve": curve,
    "line": line,
    "corner": corner,
    "edge": edge,
    "high_low_frequency": high_low_frequency,
}
#: What the second axis of a tuning curve is, where there is one.
SECOND = {"curve": "radius", "high_low_frequency": "ratio", "corner": "angle"}


def stimulus_named(name: str) -> Callable[..., Tensor]:
    """
    The function that draws a stimulus.

    Raises:
        ValueError: If there is none of that name.
    """
    if name not in STIMULI:
        hint = nearest(str(name), STIMULI) or f"; expected one of {', '.join(STIMULI)}."
        raise InputError(f'there is no stimulus "{name}"{hint}')
    return STIMULI[name]


def check_number(value: float, name: str, least: float) -> float:
    """A finite number of at least ``least``, or a sentence."""
    if not isinstance(value, (int, float)) or not least <= float(value) < math.inf:
        raise InputError(f"{name} is {value}; expected a finite number, at least {least:g}.")
    return float(value)


def _coordinates(orientation: float, size: int) -> tuple[Tensor, Tensor]:
    """Of each pixel, how far it is from the middle in the direction of the orientation, and how far to the left of that."""
    side = check_int(size, "size", 2)
    turn = math.radians(float(orientation))
    right = torch.arange(side, dtype=torch.float64) - side // 2
    up = -right.view(-1, 1)
    right = right.view(1, -1)
    return right * math.cos(turn) + up * math.sin(turn), up * math.cos(turn) - right * math.sin(turn)


def _drawn(
    distance: Callable[[Tensor, Tensor], Tensor],
    orientation: float,
    size: int,
    style: str,
    width: float,
    foreground: float | Sequence[float],
    background: float | Sequence[float],
    window: float | None,
) -> Tensor:
    """An image of a shape, of which the distance from its border is known: covered pixels have the color of the foreground."""
    if style not in STYLES:
        raise InputError(f'style is "{style}"{nearest(str(style), STYLES) or "; expected line or fill."}')
    far = distance(*_coordinates(orientation, size))
    if style == "line":
        check_number(width, "width", 0.1)
        covered = (width / 2 + 0.5 - far.abs()).clamp(0, 1) * min(1.0, width)
    else:
        covered = (0.5 - far).clamp(0, 1)
    return _colored(covered * _window(size, window), foreground, background)


def _window(size: int, window: float | None) -> Tensor:
    """One within a radius, and over a third of it fading to nothing."""
    if window is None:
        return torch.ones(size, size, dtype=torch.float64)
    check_number(window, "window", 1.0)
    across, along = _coordinates(0.0, size)
    far = (across.square() + along.square()).sqrt()
    return ((window - far) / max(1.0, window / 3) + 0.5).clamp(0, 1)


def _colored(covered: Tensor, foreground: float | Sequence[float], background: float | Sequence[float]) -> Tensor:
    front, back = (_color(color, name) for color, name in ((foreground, "foreground"), (background, "background")))
    return back + (front - back) * covered.float()


def _color(color: float | Sequence[float], name: str) -> Tensor:
    values = torch.as_tensor(color, dtype=torch.float32).flatten()
    if len(values) not in (1, 3) or not bool(((values >= 0) & (values <= 1)).all()):
        raise InputError(f"{name} is {color}; expected one value in [0, 1], or three.")
    return values.expand(3).view(3, 1, 1)


__all__ = [
    "SECOND",
    "STIMULI",
    "STYLES",
    "check_number",
    "corner",
    "curve",
    "edge",
    "high_low_frequency",
    "line",
    "stimulus_named",
]
