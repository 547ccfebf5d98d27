"""A loss that asks for the statistics of natural images, which a network's batch normalizations remember: it needs no data."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from captum_proto._utils.batches import Images
from captum_proto._utils.errors import InputError
from captum_proto._utils.files import image_digest, intact, load_tensors, save_tensors
from captum_proto.capture import Layer
from captum_proto.ops.double import double
from captum_proto.optim.loss.batch_norm import RunningStatistics, input_of, own_statistics, running_statistics
from captum_proto.optim.loss.natural_units import NaturalUnits, layer_weights, with_first
from captum_proto.optim.loss.objective import Loss, Outputs, named
from captum_proto.stats.moments import Moments

_KIND = "natural statistics"


@dataclass(frozen=True)
class _Wanted:
    """Of one layer, each (C,): what mean and deviation of a channel are to be, the unit of distances, and which ones cost nothing."""

    mean: Tensor
    deviation: Tensor
    scale: Tensor
    mean_tolerance: Tensor
    deviation_tolerance: Tensor
    eps: float

    @classmethod
    def of(cls, statistics: RunningStatistics) -> _Wanted:
        deviation, nothing = statistics.deviation, torch.zeros_like(statistics.mean)
        return cls(statistics.mean, deviation, deviation, nothing, nothing, statistics.eps)

    def like(self, values: Tensor) -> _Wanted:
        tensors = {name: value.to(values.device, values.dtype) for name, value in vars(self).items() if name != "eps"}
        return replace(self, **tensors)


class NaturalStatistics(Loss):
    r"""
    How far a picture's channels are, in mean and deviation, from what batch normalizations remember of natural images.

    .. math::
        L_i = \sum_l w_l \frac{1}{C} \sum_c \left|\frac{m_{l,c}(x_i) - \mu_{l,c}}{\sigma_{l,c}}\right|^{power}
        + \left|\frac{s_{l,c}(x_i) - \sigma_{l,c}}{\sigma_{l,c}}\right|^{power}

    with m and s the mean and the deviation of channel c over the positions of the picture itself, in the input of batch normalization l,
    and μ and σ its running mean and deviation. It needs no data. After DeepInversion (Yin et al., "Dreaming to Distill: Data-free
    Knowledge Transfer via DeepInversion", arXiv:1912.08795, section 3.2), with two differences: statistics there are of a whole batch of
    pictures, here of each picture by itself, so that a prototype does not depend on its batch; and distances there are of the network's
    own units, here of the running deviation. For the published form see :class:`FeatureDistribution`.

    A single natural image is itself some way from the running statistics, which are of many. :meth:`measured` therefore asks for no more
    than natural images have: what they differ by among themselves counts as no distance.

    The pictures are seen as the network sees them, under the transform of the step, in the same pass as all else. A transform that brings
    in what no natural image has, such as black corners, moves the statistics too: give it to :meth:`measured` as well. Batch
    normalizations that the loss looks into are not folded into the layers before them, which costs some time; their statistics are read
    when the loss is made. It records "natural_statistics".

    Args:
        forward_func (Callable): The model, or a function that refers to it.
        layers (sequence of str or nn.Module, optional): Some of its batch normalizations. Default: None, all that keep running statistics
        weights (sequence of float, optional): One for each layer; only their proportions count. Default: None, all the same
        power (int, optional): 1 for absolute differences, 2 for squared ones. Default: 1
        image_shape (tuple[int, ...], optional): (C, H, W): batch normalizations that do not run on such an image, as those of auxiliary
            heads, are left out. Default: None, all of ``layers`` must run
        preprocess (Callable, optional): With ``image_shape``: from such images to what ``forward_func`` takes. Default: None

    Attributes:
        seen (dict or None): Of :meth:`measured`: how many images there were, the digest of each, and one of all.

    Raises:
        ValueError: If the model has no batch normalization or none with running statistics, a layer is none, or weights do not fit.

    Examples::

        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.ReLU())
        >>> loss = ChannelActivation("2", [1, 3]) + 0.1 * NaturalStatistics(model)
        >>> sorted(InputOptimization(model, loss, steps=2).optimize((3, 8, 8)).history)
        ['activation', 'loss', 'natural_statistics']
    """

    terms = ("natural_statistics",)

    def __init__(
        self,
        forward_func: Callable[..., Any],
        layers: Sequence[Layer] | None = None,
        weights: Sequence[float] | None = None,
        power: int = 1,
        *,
        image_shape: tuple[int, ...] | None = None,
        preprocess: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        if power not in (1, 2):
            raise InputError(f"power is {power!r}; expected 1 or 2.")
        statistics = running_statistics(forward_func, layers, image_shape, preprocess)
        self.names = list(statistics)
        self.layers = tuple(input_of(name) for name in self.names)
        self.weights, self.power = layer_weights(self.names, weights), int(power)
        self._wanted: dict[Layer, _Wanted] = {input_of(name): _Wanted.of(each) for name, each in statistics.items()}
        self._ready: dict[tuple[Any, ...], _Wanted] = {}
        self.seen: dict[str, Any] | None = None

    @classmethod
    def measured(
        cls,
        forward_func: Callable[..., Any],
        images: Images,
        layers: Sequence[Layer] | None = None,
        weights: Sequence[float] | None = None,
        power: int = 1,
        *,
        tolerance: float = 1.0,
        preprocess: Callable[[Tensor], Tensor] | None = None,
        transform: Any = None,
        value_range: tuple[float, float] = (0.0, 1.0),
        batch_size: int = 32,
    ) -> NaturalStatistics:
        r"""
        The same loss against natural images one by one, and only as far as a picture is farther out than they are.

        Mean and deviation of each channel are compared with their means over the images, and what is within ``tolerance`` standard
        deviations, over the images, costs nothing. The unit remains the running deviation.

        Args:
            forward_func, layers, weights, power: As in the constructor.
            images (Tensor or iterable): Natural images (N, C, H, W), or batches of them; of any classes, at least two.
            tolerance (float, optional): At least 0. Default: 1
            preprocess (Callable, optional): From images to what ``forward_func`` takes. Default: None
            transform (Transform or Callable, optional): Through which the images are seen, drawn anew for each. Default: None
            value_range (tuple[float, float], optional): The range of a pixel. Default: (0, 1)
            batch_size (int, optional): Images at a time, of a tensor. Default: 32

        Raises:
            ValueError: As the constructor does, or if there are fewer than two images, or ``tolerance`` is negative.

        Examples::

            >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.ReLU())
            >>> photographs = torch.rand(6, 3, 16, 16)
            >>> NaturalStatistics.measured(model, photographs).settings()["images"]["count"]
            6
        """
        if not 0 <= tolerance < float("inf"):
            raise InputError(f"tolerance is {tolerance!r}; expected a finite number of at least 0.")
        image, batches = with_first(images, batch_size, value_range)
        loss = cls(forward_func, layers, weights, power, image_shape=tuple(image.shape[1:]), preprocess=preprocess)
        moments: dict[Layer, Moments] = {layer: Moments() for layer in loss.layers}
        digests: list[str] = []

        def take(batch: Tensor, units: Mapping[Layer, Tensor]) -> Iterator[Callable[[], None]]:
            yield lambda: digests.extend(list(map(image_digest, batch)))
            for layer in loss.layers:

                def add(layer: Layer = layer) -> None:
                    loss._check_channels(layer, units[layer].shape)
                    # From the running ones, so that the difference of their mean squares loses nothing.
                    far = torch.stack(loss._far(layer, double(units[layer])), 1)
                    moments[layer].update(torch.stack([far, far.square()], 1))

                yield add

        natural = NaturalUnits(forward_func, loss.layers, preprocess, transform, value_range, batch_size)
        count = natural.run(batches, take)
        if count < 2:
            raise InputError(f"{count} image was given; expected at least two, of which the spread can be told.")
        loss._wanted = {layer: loss._within(layer, moments[layer], tolerance) for layer in loss.layers}
        loss._ready = {}
        digest = hashlib.sha256(" ".join(digests).encode()).hexdigest()
        loss.seen = {"count": count, "digest": f"sha256:{digest}", "tolerance": float(tolerance), "images": digests}
        return loss

    def save(self, path: str | os.PathLike[str], overwrite: bool = False) -> None:
        """
        Write what is asked of each layer to one safetensors file: of :meth:`measured`, what took a pass over the images.

        Args:
            path (path): The file, by custom ``….safetensors``.
            overwrite (bool, optional): Whether an existing file may be replaced. Default: False

        Raises:
            FileExistsError: If the file exists and ``overwrite`` is False.
            OSError: If it cannot be written.
        """
        tensors = {
            f"{part}.{number}": value
            for number, layer in enumerate(self.layers)
            for part, value in vars(self._wanted[layer]).items()
            if part != "eps"
        }
        metadata = {"layers": self.names, "weights": self.weights, "power": self.power, "seen": self.seen}
        save_tensors(path, _KIND, tensors, metadata, overwrite)

    @classmethod
    def load(cls, forward_func: Callable[..., Any], path: str | os.PathLike[str]) -> NaturalStatistics:
        """
        The loss that :meth:`save` wrote, for the same model.

        Args:
            forward_func (Callable): The model, or a function that refers to it.
            path (path): The file.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is damaged or holds something else, or is of another model: of other layers, or with other running statistics.
        """
        tensors, metadata = load_tensors(path, _KIND)
        with intact(path, f"file of {_KIND}"):
            loss = cls(forward_func, metadata["layers"], metadata["weights"], metadata["power"])
            for number, (name, layer) in enumerate(zip(loss.names, loss.layers, strict=True)):
                parts: dict[str, Any] = {
                    part: tensors[f"{part}.{number}"] for part in vars(loss._wanted[layer]) if part != "eps"
                }
                if not torch.equal(parts["scale"], loss._wanted[layer].scale.cpu()):
                    raise InputError(
                        f'"{path}" holds {_KIND} of a model whose batch normalization "{name}" remembers others; measure with this one.'
                    )
                loss._wanted[layer] = replace(loss._wanted[layer], **parts)
            loss.seen = metadata["seen"]
        return loss

    def _within(self, layer: Layer, moments: Moments, tolerance: float) -> _Wanted:
        first, second = moments.compute().cpu().unbind(0)
        spread = ((second - first.square()).clamp(min=0) * moments.count / (moments.count - 1)).sqrt()
        wanted = self._wanted[layer]
        return replace(
            wanted,
            mean=wanted.mean + first[0],
            deviation=wanted.deviation + first[1],
            mean_tolerance=tolerance * spread[0],
            deviation_tolerance=tolerance * spread[1],
        )

    def _far(self, layer: Layer, units: Tensor) -> tuple[Tensor, Tensor]:
        """By how much each picture's means and deviations are above those wanted: (N, C) each; 0 for what has no deviation."""
        mean, variance = own_statistics(units)
        wanted = self._wanted_like(layer, mean)
        if variance is None:
            return mean - wanted.mean, torch.zeros_like(mean)
        return mean - wanted.mean, (variance + wanted.eps).sqrt() - wanted.deviation

    def _wanted_like(self, layer: Layer, values: Tensor) -> _Wanted:
        key = layer, values.device, values.dtype
        if key not in self._ready:
            self._ready[key] = self._wanted[layer].like(values)
        return self._ready[key]

    def _check_channels(self, layer: Layer, shape: torch.Size) -> None:
        channels = len(self._wanted[layer].mean)
        if len(shape) < 2 or shape[1] != channels:
            raise InputError(
                f"what goes into {named(layer)} has shape {tuple(shape)}, and its batch normalization {channels} channels; leave it out of "
                "layers."
            )

    def check(self, outputs: Outputs) -> None:
        for layer in self.layers:
            self._check_channels(layer, outputs.units(layer).shape)

    def __call__(self, outputs: Outputs, images: Tensor) -> Tensor:
        total: Tensor | None = None
        for layer, weight in zip(self.layers, self.weights, strict=True):
            mean, deviation = self._far(layer, outputs.units(layer))
            wanted = self._wanted_like(layer, mean)
            apart = [
                (far.abs() - tolerance).clamp(min=0) / wanted.scale
                for far, tolerance in ((mean, wanted.mean_tolerance), (deviation, wanted.deviation_tolerance))
            ]
            of_mean, of_deviation = ((each if self.power == 1 else each.square()).mean(1) for each in apart)
            value = of_mean + of_deviation
            total = weight * value if total is None else total + weight * value
        assert total is not None  # there is a layer
        return outputs.record("natural_statistics", total)

    def settings(self) -> dict[str, Any]:
        settings = {"name": "NaturalStatistics", "layers": self.names, "weights": self.weights, "power": self.power}
        return settings if self.seen is None else {**settings, "images": self.seen}

    def __repr__(self) -> str:
        of = "running statistics" if self.seen is None else f"{self.seen['count']} images"
        return f"NaturalStatistics({len(self.names)} batch normalizations, {of}, power={self.power})"


__all__ = ["NaturalStatistics"]
