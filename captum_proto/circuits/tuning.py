"""Tuning curves: how a unit's response to a synthetic stimulus goes with its orientation, and with its radius or the like."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from captum_proto._utils.checks import as_int, check_int, nearest
from captum_proto._utils.errors import InputError
from captum_proto._utils.files import alike, intact, load_tensors, save_tensors
from captum_proto.capture import Layer, channel_axis, find_output
from captum_proto.circuits.stimuli import SECOND, stimulus_named
from captum_proto.models import LayerActivations, NamedModel

_KIND = "tuning curve"
#: What of a unit's map counts as its response.
POOLS = ("center", "max", "middle")
#: So far apart are orientations where nothing else is asked for.
STEP = 15


@dataclass(frozen=True)
class Tuning:
    r"""
    A unit's responses to a stimulus of several orientations, and of several radii or the like.

    Attributes:
        responses (Tensor): (U, S, O): of each unit, at each second quantity, at each orientation.
        blank (Tensor): (U,), the responses to the background alone, from which responses are counted.
        stimulus (str): Its name.
        orientations (list[float]): O, in degrees.
        values (list[float]): S, of the second quantity; a single one where there is none.
        units (list[int]): U channels.
        layer (str): Of the units.
        settings (dict): The stimulus's other arguments, as JSON can hold them.
    """

    responses: Tensor
    blank: Tensor
    stimulus: str
    orientations: list[float]
    values: list[float]
    units: list[int]
    layer: str
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def raised(self) -> Tensor:
        """(U, S, O), responses less those to the background alone."""
        return self.responses - self.blank.view(-1, 1, 1)

    @property
    def peak(self) -> Tensor:
        """(U,), the greatest of them; below zero where nothing raises the unit."""
        return self.raised.flatten(1).amax(1)

    @property
    def preferred(self) -> list[tuple[float, float]]:
        """Of each unit, the orientation and the second quantity of its greatest response."""
        found = []
        for each in self.responses.flatten(1).argmax(1).tolist():
            second, place = divmod(each, len(self.orientations))
            found.append((self.orientations[place], self.values[second]))
        return found

    def at(self, row: int, orientation: float) -> float:
        """
        The response of a unit, less that to the background, at an orientation and its preferred second quantity.

        Args:
            row (int): Of the unit.
            orientation (float): In degrees; of the orientations that were shown the nearest counts.
        """
        second = self.values.index(self.preferred[row][1])
        place = min(range(len(self.orientations)), key=lambda n: abs(turned(self.orientations[n] - orientation)))
        return float(self.raised[row, second, place])

    def half_width(self, row: int) -> float:
        """
        How many degrees from its preferred orientation a unit's response has fallen to half, the mean of both sides; NaN where it does not.

        Between orientations that were shown, the response is taken for a line.
        """
        if not float(self.peak[row]) > 0:
            return math.nan
        best, second = self.preferred[row]
        curve = self.raised[row, self.values.index(second)].tolist()
        order = sorted(range(len(curve)), key=lambda n: turned(self.orientations[n] - best, 0.0))
        around = [(turned(self.orientations[n] - best, 0.0), curve[n]) for n in order]
        half = float(self.peak[row]) / 2
        sides = [_falls_to(half, [*side, (360.0, around[0][1])]) for side in (around, _mirrored(around))]
        return math.nan if any(math.isnan(side) for side in sides) else sum(sides) / 2

    def of(self, unit: int) -> Tuning:
        """
        That of one unit.

        Raises:
            ValueError: If it is none of them.
        """
        if as_int(unit) not in self.units:
            raise InputError(f"unit is {unit}, but the tuning curves are of {self.units}; give one of these.")
        row = [self.units.index(unit)]
        return replace(self, responses=self.responses[row], blank=self.blank[row], units=[unit])

    def save(self, path: str | os.PathLike[str], overwrite: bool = False) -> None:
        """
        Write everything to one safetensors file.

        Raises:
            FileExistsError: If the file exists and ``overwrite`` is False.
        """
        described = {name: value for name, value in vars(self).items() if name not in ("responses", "blank")}
        save_tensors(path, _KIND, {"responses": self.responses, "blank": self.blank}, described, overwrite)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Tuning:
        """
        Read what :meth:`save` wrote, onto the CPU.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is damaged or holds something else.
        """
        tensors, metadata = load_tensors(path, _KIND)
        with intact(path, _KIND):
            loaded = cls(
                tensors["responses"],
                tensors["blank"],
                str(metadata["stimulus"]),
                list(metadata["orientations"]),
                list(metadata["values"]),
                list(metadata["units"]),
                str(metadata["layer"]),
                dict(metadata["settings"]),
            )
            units, values, orientations = loaded.responses.shape
            alike("units", units, len(loaded.units), len(loaded.blank))
            alike("orientations", orientations, len(loaded.orientations))
            alike("values", values, len(loaded.values))
            return loaded


class TuningCurve:
    """
    How units of a layer respond to synthetic stimuli of all orientations.

    Args:
        forward_func (NamedModel or nn.Module): The model. It comes back as it was.
        layer (str or nn.Module): As :func:`~captum_proto.capture.capture` names it.
        unit (int or sequence of int, optional): Channels. Default: None, all
        image_size (int, optional): The side of the stimuli, in pixels. Default: None, that of the named model's images; of another model
            224
        preprocess (Callable, optional): From images in [0, 1] to what the model takes. Default: None, the named model's own
        pool (str, optional): What of a unit's map counts: "center", the greatest response in the middle half of it along each axis, where
            stimuli look all the same and no border of the image is near; "max", the greatest of all; "middle", that of the middle position.
            Default: "center"
        channels (int, optional): Of the images: 3 or 1. Default: None, those of the named model; of another model 3
        batch_size (int, optional): Images at a time. Default: 32

    Raises:
        ValueError: If there is no such layer, or an argument is out of its range.

    Examples::

        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 5), torch.nn.ReLU())
        >>> found = TuningCurve(model, "1", unit=[0, 2], image_size=32).orientation("curve", radii=[6.0, 12.0])
        >>> found.responses.shape, len(found.preferred)
        (torch.Size([2, 2, 24]), 2)
    """

    def __init__(
        self,
        forward_func: NamedModel | nn.Module,
        layer: Layer,
        unit: int | Sequence[int] | None = None,
        image_size: int | None = None,
        preprocess: Callable[[Tensor], Tensor] | None = None,
        *,
        pool: str = "center",
        channels: int | None = None,
        batch_size: int = 32,
    ) -> None:
        named = forward_func if isinstance(forward_func, NamedModel) else None
        if pool not in POOLS:
            raise InputError(f'pool is "{pool}"{nearest(str(pool), POOLS) or "; expected center, max or middle."}')
        shape = (3, 224, 224) if named is None else named.image_shape
        self.size = check_int(min(shape[1:]) if image_size is None else image_size, "image_size", 2)
        self.channels = check_int(shape[0] if channels is None else channels, "channels", 1)
        if self.channels not in (1, 3):
            raise InputError(f"the images have {self.channels} channels; stimuli are drawn with 1 or 3.")
        self.pool, self.batch_size = pool, check_int(batch_size, "batch_size", 1)
        model = forward_func.model if isinstance(forward_func, NamedModel) else forward_func
        preprocess = preprocess if preprocess is not None or named is None else named.preprocess
        self._activations = _Maps(model, layer, preprocess, batch_size=batch_size)
        self.layer = find_output(model, layer)[0]
        single = as_int(unit)
        self._units = None if unit is None else [single] if single is not None else list(unit)  # type: ignore[arg-type]

    def orientation(
        self,
        stimulus: str = "curve",
        orientations: Sequence[float] | None = None,
        radii: Sequence[float] | None = None,
        **style: Any,
    ) -> Tuning:
        """
        The responses to a stimulus of several orientations.

        Args:
            stimulus (str, optional): "curve", "line", "corner", "edge" or "high_low_frequency"; see :mod:`~captum_proto.circuits.stimuli`.
                Default: "curve"
            orientations (sequence of float, optional): In degrees. Default: None, every 15
            radii (sequence of float, optional): Of curves in pixels; of "high_low_frequency" the ratios of periods, and of "corner" the
                angles. Default: None, an eighth of the image's side and half and twice of it; ratios 2 and 4; an angle of 90
            **style: Further arguments of the stimulus.

        Returns:
            Tuning: Of all units.

        Raises:
            ValueError: If there is no such stimulus or unit, or an argument is out of its range.
        """
        draw = stimulus_named(stimulus)
        if radii is not None and stimulus not in SECOND:
            raise InputError(f'radii were given for the stimulus "{stimulus}", which has none; leave them out.')
        angles = [float(angle) for angle in (range(0, 360, STEP) if orientations is None else orientations)]
        values = [float(value) for value in (self._default(stimulus) if radii is None else radii)]
        if not angles or not values:
            raise InputError("orientations and radii must hold at least one number each.")
        second = SECOND.get(stimulus)
        given = [{} if second is None else {second: value} for value in values]
        images = [draw(angle, size=self.size, **arguments, **style) for arguments in given for angle in angles]
        background = style.get("background", 0.0)
        blank = torch.as_tensor(background, dtype=torch.float32).flatten().expand(3).view(3, 1, 1)
        if stimulus == "high_low_frequency":  # without its pattern, it is as light as its mean
            blank = torch.full_like(blank, 0.5)
        found = self.responses(torch.stack([*images, blank.expand(3, self.size, self.size)]))
        units = self.chosen(found.shape[1])
        responses = found[:-1, units].T.reshape(len(units), len(values), len(angles))
        settings = {"size": self.size, "pool": self.pool, **{name: _plain(value) for name, value in style.items()}}
        return Tuning(responses, found[-1, units], stimulus, angles, values, units, self.layer, settings)

    def responses(self, images: Tensor) -> Tensor:
        """
        What of each unit's map counts, on some images.

        Args:
            images (Tensor): (N, 3, H, W), in [0, 1].

        Returns:
            Tensor: (N, C), of all units of the layer.
        """
        images = images if self.channels == 3 else images.mean(1, keepdim=True)
        return pooled_maps(self._activations(images), self._activations.shape, self.pool)

    def chosen(self, count: int) -> list[int]:
        """The units that were asked for, of so many."""
        if self._units is None:
            return list(range(count))
        wrong = [unit for unit in self._units if as_int(unit) is None or not 0 <= unit < count]
        if wrong or not self._units:
            raise InputError(f'unit is {wrong or self._units}; layer "{self.layer}" has units 0 to {count - 1}.')
        return self._units

    def _default(self, stimulus: str) -> list[float]:
        if stimulus == "curve":
            return [self.size / 16, self.size / 8, self.size / 4]
        return {"high_low_frequency": [2.0, 4.0], "corner": [90.0]}.get(stimulus, [0.0])


class _Maps(LayerActivations):
    """A layer's activations, and how many positions it has along each axis."""

    shape: tuple[int, ...] = ()

    def __call__(self, images: Tensor) -> Tensor:
        values = super().__call__(images)
        assert self._plan is not None  # the call made it
        output = self._plan.outputs[-1]
        axis = channel_axis(find_output(self.model, output.name)[1], (1, *output.shape))
        sizes = [side for place, side in enumerate(output.shape, 1) if place != axis]
        self.shape = tuple(sizes)
        return values


def pooled_maps(values: Tensor, shape: tuple[int, ...], pool: str) -> Tensor:
    """
    Of each unit's map, what counts.

    Args:
        values (Tensor): (N, C, P).
        shape (tuple[int, ...]): Of the map, P positions in all.
        pool (str): "center", "max" or "middle".

    Returns:
        Tensor: (N, C).
    """
    if pool == "max" or not shape:
        return values.amax(2)
    maps = values.reshape(*values.shape[:2], *shape)
    for axis, side in enumerate(shape, 2):
        begin, length = (side // 2, 1) if pool == "middle" else (side // 4, max(1, math.ceil(side / 2)))
        maps = maps.narrow(axis, begin, length)
    return maps.flatten(2).amax(2)


def turned(angle: float, low: float = -180.0) -> float:
    """An angle in degrees, between ``low`` and a full turn more."""
    return (angle - low) % 360 + low


def _mirrored(around: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    return [around[0], *((360 - angle, value) for angle, value in reversed(around[1:]))]


def _falls_to(half: float, points: Sequence[tuple[float, float]]) -> float:
    for (before, high), (after, low) in itertools.pairwise(points):
        if low <= half:
            return before + (after - before) * (high - half) / (high - low)
    return math.nan


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, (tuple, list)) else value


__all__ = ["POOLS", "STEP", "Tuning", "TuningCurve", "pooled_maps", "turned"]
