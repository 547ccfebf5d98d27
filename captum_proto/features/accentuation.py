"""What a unit sees in a given image: the image, changed until the unit sees more of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from captum_proto._utils.checks import check_images, check_int, type_name
from captum_proto._utils.errors import InputError, InputTypeError
from captum_proto._utils.files import alike, intact, load_tensors, save_tensors
from captum_proto._utils.modes import in_plain_modes
from captum_proto._utils.targets import Target, occurrence_seeds
from captum_proto.capture import Layer
from captum_proto.optim import (
    CONTROL,
    ChannelActivation,
    FeatureDistance,
    FFTImage,
    InputOptimization,
    Loss,
    OptimizationSettings,
    Outputs,
    RandomResizedCrop,
    RandomStream,
    prototype_keys,
)
from captum_proto.optim.forward import ForwardPass
from captum_proto.optim.gradient import gradients_of
from captum_proto.optim.loss import Rows

#: Points on the way from an image to its accentuation at which gradients are looked at.
POINTS = 16


@dataclass
class Accentuations:
    """
    Images in which units see more of what they see, and how much that is.

    Attributes:
        images (Tensor): (N, C, H, W), accentuated.
        start (Tensor): (N, C, H, W), as they were given.
        before, after (Tensor): (N,), the objective of the images as given and accentuated, larger for more, without the transform.
        distances (Tensor): (N,), how far they went in the layer that keeps them: see :class:`~captum_proto.optim.FeatureDistance`.
        attributions (Tensor): (N, H, W), which pixels' changes made the objective rise: gradients, integrated along the straight way from
            start to image, times the change. They sum to ``after - before``, as far as the points that are summed over suffice.
        sensitivities (Tensor): (N, H, W), the mean absolute gradient on that way: where the unit looks, changed or not.
        seeds (list[int]): Of each image.
        settings (dict): The objective and every choice, as JSON can hold it.
    """

    images: Tensor
    start: Tensor
    before: Tensor
    after: Tensor
    distances: Tensor
    attributions: Tensor
    sensitivities: Tensor
    seeds: list[int]
    settings: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def differences(self) -> Tensor:
        """(N, H, W): how far each pixel moved, the mean over its channels."""
        return (self.images - self.start).abs().mean(1)

    def masks(self, percentile: float = 95.0, sigma: float = 2.0) -> Tensor:
        """
        Where the unit looks, as an alpha channel.

        Args:
            percentile (float, optional): Sensitivities above it count as much as it does. Default: 95
            sigma (float, optional): Of the Gaussian that smooths them, in pixels. Default: 2

        Returns:
            Tensor: (N, 1, H, W), from 0 to 1.

        Raises:
            ValueError: If ``percentile`` is not in (0, 100], or ``sigma`` is not positive.
        """
        if not 0 < percentile <= 100 or not sigma > 0:
            raise InputError(
                f"percentile is {percentile} and sigma is {sigma}; expected one in (0, 100], and a positive one."
            )
        from torchvision.transforms.v2 import functional

        most = self.sensitivities.flatten(1).quantile(percentile / 100, dim=1).view(-1, 1, 1)
        shares = (self.sensitivities / most.clamp(min=torch.finfo(most.dtype).tiny)).clamp(max=1).unsqueeze(1)
        size = min(2 * int(3 * sigma) + 1, 2 * ((min(shares.shape[-2:]) - 1) // 2) + 1)
        smooth = functional.gaussian_blur(shares, [size, size], [sigma, sigma])
        return smooth / smooth.amax(dim=(1, 2, 3), keepdim=True).clamp(min=torch.finfo(most.dtype).tiny)

    def save(self, path: str | os.PathLike[str], overwrite: bool = False) -> None:
        """
        Write everything to one safetensors file.

        Raises:
            FileExistsError: If the file exists and ``overwrite`` is False.
        """
        tensors = {name: getattr(self, name) for name in _TENSORS}
        save_tensors(path, "accentuations", tensors, {"seeds": self.seeds, "settings": self.settings}, overwrite)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Accentuations:
        """
        Read what :meth:`save` wrote, onto the CPU.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is damaged or holds something else.
        """
        tensors, metadata = load_tensors(path, "accentuations")
        with intact(path, "accentuations file"):
            loaded = cls(
                **{name: tensors[name] for name in _TENSORS},
                seeds=list(metadata["seeds"]),
                settings=dict(metadata["settings"]),
            )
            alike("accentuations", *(len(getattr(loaded, name)) for name in (*_TENSORS, "seeds")))
        return loaded


_TENSORS = ("images", "start", "before", "after", "distances", "attributions", "sensitivities")


class FeatureAccentuation:
    r"""
    Change an image until a unit sees more in it, and keep what it is: what the unit responds to there is what has become clearer.

    .. math::
        \max_z \; a(T x) - \lambda\, r\, \frac{\lVert f_l(T x) - f_l(T x_0) \rVert}{\lVert f_l(T x_0) \rVert}, \qquad x = x(z)

    from :math:`x_0`, the given image, in Fourier coefficients z; T draws a crop of both, the same. r puts the two terms on one scale: how
    large the gradient of a by the coefficients is at the start, against that of the distance after one step of the ascent alone. Hamblin,
    Fel, Saha, Konkle and Alvarez, "Feature Accentuation: Revealing 'What' Features Respond to in Natural Images" (arXiv:2402.10039).

    ``-ChannelActivation(...)`` as the objective gives what the unit would rather not see. Any objective's pictures are to be compared with
    those of another unit and with those of :math:`\lambda = 0`: see :meth:`with_controls`.

    Args:
        forward_func (Callable): The model, as in :class:`~captum_proto.optim.InputOptimization`.
        layer (str or nn.Module): The layer that keeps the image: an early one, before that of the unit.
        preprocess (Callable, optional): From images in their range to what the model takes. Default: None
        strength (float, optional): :math:`\lambda`. Default: 1
        **choices: Fields of :class:`~captum_proto.optim.OptimizationSettings` that differ from the paper's: 100 steps of lr 0.05,
            :class:`~captum_proto.optim.FFTImage`, :class:`~captum_proto.optim.RandomResizedCrop`. One crop a step, where the paper takes
            sixteen: more steps are as good.

    Raises:
        TypeError, ValueError: If ``strength`` is negative or a setting is out of its range.

    Examples::

        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 4, 3))
        >>> accentuation = FeatureAccentuation(model, "0", steps=4)
        >>> made = accentuation.accentuate(torch.rand(2, 3, 32, 32), ChannelActivation("2", [1, 3]))
        >>> made.images.shape, made.attributions.shape
        (torch.Size([2, 3, 32, 32]), torch.Size([2, 32, 32]))
    """

    def __init__(
        self,
        forward_func: Callable[..., Any],
        layer: Layer,
        preprocess: Callable[[Tensor], Tensor] | None = None,
        *,
        strength: float = 1.0,
        **choices: Any,
    ) -> None:
        if not 0 <= strength < float("inf"):
            raise InputError(f"strength is {strength!r}; expected a finite number of at least 0.")
        defaults: dict[str, Any] = {
            "steps": 100,
            "parametrization": FFTImage(),
            "transform": RandomResizedCrop((0.5, 1.0)),
        }
        self.settings = OptimizationSettings(**{**defaults, **choices})
        if self.settings.parametrization.draws:
            raise InputError(
                "the parametrization has an alpha channel, and a given image has none; choose another, such as FFTImage()."
            )
        self.forward_func, self.layer, self.preprocess, self.strength = forward_func, layer, preprocess, float(strength)

    @in_plain_modes
    def accentuate(
        self,
        images: Tensor,
        loss: Loss,
        *,
        seed: int | Sequence[int] = 0,
        batch_size: int = 16,
        show_progress: bool = False,
    ) -> Accentuations:
        """
        Accentuate images.

        Args:
            images (Tensor): (N, C, H, W), in ``value_range``.
            loss (Loss): What is minimized, one target for each image or the same for all: ``ChannelActivation("layer3", [5, 7])``.
            seed (int or sequence of int, optional): The first seed of each target, or one for each image. Default: 0
            batch_size (int, optional): How many at a time. Default: 16
            show_progress (bool, optional): Whether to show a progress bar. Default: False

        Returns:
            Accentuations: In the order of the images.

        Raises:
            TypeError, ValueError: If images are none, or there are not as many as the loss has targets.
        """
        return self._accentuated(images, loss, loss, self.strength, seed, batch_size, show_progress)

    def with_controls(
        self,
        images: Tensor,
        loss: Loss,
        other: Loss | None = None,
        *,
        seed: int | Sequence[int] = 0,
        batch_size: int = 16,
        show_progress: bool = False,
    ) -> dict[str, Accentuations]:
        """
        Accentuate images, and do the same twice more, otherwise: what is left of a picture's meaning is what these do not show.

        Args:
            images, loss, seed, batch_size, show_progress: As in :meth:`accentuate`.
            other (Loss, optional): The objective of another unit, one target for each image. Default: None, for a
                :class:`~captum_proto.optim.ChannelActivation` another channel of its layer, drawn for each image

        Returns:
            dict[str, Accentuations]: "accentuated"; "other unit": for ``other``; "nothing kept": with strength 0. In all of them
            ``before``, ``after`` and maps are of ``loss``.

        Raises:
            TypeError: If ``other`` is missing and ``loss`` is of another type.
        """
        if other is None:
            if type(loss) is not ChannelActivation:
                raise InputTypeError(
                    f"other is missing, and for a {type_name(loss)} no other unit can be drawn; give the objective of one."
                )
            other = self._other_channels(images, loss, seed)
        choices = {
            "accentuated": (loss, self.strength),
            "other unit": (other, self.strength),
            "nothing kept": (loss, 0.0),
        }
        return {
            name: self._accentuated(images, minimized, loss, strength, seed, batch_size, show_progress)
            for name, (minimized, strength) in choices.items()
        }

    def _other_channels(self, images: Tensor, loss: ChannelActivation, seed: int | Sequence[int]) -> ChannelActivation:
        """Another channel of the same layer for each row, from the row's own random numbers."""
        optimization = InputOptimization(self.forward_func, loss, self.preprocess, self.settings)
        targets = loss.targets or []
        keys = prototype_keys(occurrence_seeds(targets, seed), targets)
        with torch.no_grad():
            outputs = _Passes(optimization, loss, Rows(range(1), targets[:1], keys[:1])).outputs(images[:1])
        count = outputs.units(loss.layers[0], loss.channel_axis).shape[1]
        if count < 2:
            raise InputError(f'layer "{loss.layers[0]}" has a single channel, and no other can be drawn; give other.')
        drawn = (RandomStream(keys, CONTROL).uniform(1)[:, 0] * (count - 1)).long().tolist()
        others = [number + (number >= channel) for number, channel in zip(drawn, loss.channels, strict=True)]
        return ChannelActivation(loss.layers[0], others, loss.channel_axis)

    def _accentuated(
        self,
        images: Tensor,
        minimized: Loss,
        judged: Loss,
        strength: float,
        seed: int | Sequence[int],
        batch_size: int,
        show_progress: bool,
    ) -> Accentuations:
        images = check_images(images, self.settings.value_range)
        size = check_int(batch_size, "batch_size", 1)
        targets: list[Target] = [()] * len(images) if minimized.targets is None else minimized.targets
        if len(targets) != len(images):
            raise InputError(
                f"the loss has {len(targets)} targets for {len(images)} images; give one for each, or one loss at a time."
            )
        seeds = occurrence_seeds(targets, seed)
        parts = []
        with tqdm(
            total=len(images) * self.settings.steps, desc="images", unit="step", disable=not show_progress
        ) as progress:
            for begin in range(0, len(images), size):
                rows = range(begin, min(begin + size, len(images)))
                given = images[rows.start : rows.stop]
                losses = minimized.rows(rows), judged.rows(rows)
                parts.append(self._batch(given, *losses, strength, seeds[rows.start : rows.stop], rows, progress))
        recorded = {"loss": minimized.settings(), "layer": str(self.layer), "strength": strength}
        return Accentuations(
            **{name: torch.cat([part[name] for part in parts]) for name in _TENSORS},
            seeds=seeds,
            settings=recorded | self.settings.to_json(),
        )

    def _batch(
        self,
        given: Tensor,
        minimized: Loss,
        judged: Loss,
        strength: float,
        seeds: list[int],
        rows: range,
        progress: Any,
    ) -> dict[str, Tensor]:
        distance = FeatureDistance(self.layer, given)
        kept: Loss = minimized
        if strength:
            balance = self._balance(given, minimized, distance, seeds)
            kept = minimized + _PerRow(distance, strength * balance)
        optimization = InputOptimization(self.forward_func, kept, self.preprocess, self.settings)
        result = optimization.optimize(start=given, seed=seeds, numbers=rows, progress=progress)
        passes = _Passes(optimization, judged + distance, result.rows)
        start = given.to(result.images)
        before, after = (passes.value(judged, each) for each in (start, result.images))
        attributions, sensitivities = passes.along(judged, start, result.images)
        return {
            "images": result.images,
            "start": start,
            "before": -before,
            "after": -after,
            "distances": passes.value(distance, result.images),
            "attributions": -attributions,
            "sensitivities": sensitivities,
        }

    def _balance(self, given: Tensor, minimized: Loss, distance: FeatureDistance, seeds: list[int]) -> Tensor:
        """(N,): how much larger the objective's gradient is than the distance's, which at the start itself has none."""
        optimization = InputOptimization(self.forward_func, minimized, self.preprocess, self.settings)
        targets: list[Target] = minimized.targets or [()] * len(given)
        keys = prototype_keys(seeds, targets).to(optimization.pipeline.device)
        passes = _Passes(optimization, minimized + distance, Rows(range(len(given)), targets, keys))
        inputs = self.settings.parametrization.for_images(tuple(given.shape[1:]), self.settings.value_range)
        parameters = inputs.parameters_of(given.to(keys.device, optimization.pipeline.image_dtype))
        gradients = passes.by_parameters(minimized, inputs.render, parameters)
        stepped = {name: value - self.settings.lr * gradients[name].sign() for name, value in parameters.items()}
        others = passes.by_parameters(distance, inputs.render, stepped)
        sums = [sum(each.abs().flatten(1).sum(1) for each in found.values()) for found in (gradients, others)]
        wanted, opposed = (torch.as_tensor(each) for each in sums)
        return torch.where(opposed > 0, wanted / opposed, 0.0)


class _PerRow(Loss):
    """A loss with a weight for each row."""

    def __init__(self, loss: Loss, weights: Tensor) -> None:
        self.loss, self.weights = loss, weights
        self.layers, self.targets, self.terms = loss.layers, loss.targets, loss.terms

    def __call__(self, outputs: Outputs, images: Tensor) -> Tensor:
        return self.weights * self.loss(outputs, images)

    def rows(self, rows: range) -> Loss:
        return _PerRow(self.loss.rows(rows), self.weights[rows.start : rows.stop])

    def state_dict(self) -> dict[str, Tensor]:
        return self.loss.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.loss.load_state_dict(state)

    def settings(self) -> dict[str, Any]:
        return {"name": "PerRow", "loss": self.loss.settings(), "weights": self.weights.tolist()}


class _Passes:
    """Single passes of images without the transform, for values and gradients of a loss."""

    def __init__(self, optimization: InputOptimization, loss: Loss, rows: Rows) -> None:
        settings = replace(optimization.settings, transform=None)
        self.forward = ForwardPass(optimization.pipeline, settings, rows, loss.layers)
        self.device, self.dtype = optimization.pipeline.device, optimization.pipeline.image_dtype

    def outputs(self, images: Tensor) -> Outputs:
        with self.forward.loan.frozen(), self.forward.turn():
            return self.forward(images.to(self.device, self.dtype), None)

    @torch.no_grad()
    def value(self, loss: Loss, images: Tensor) -> Tensor:
        with self.forward.loan.frozen(), self.forward.turn():
            return loss(self.forward(images, None), images)

    @torch.enable_grad()
    def by_parameters(
        self, loss: Loss, render: Callable[[dict[str, Tensor]], Tensor], parameters: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """The gradient of each row's loss by its parameters."""
        leaves = {name: value.detach().clone().requires_grad_(True) for name, value in parameters.items()}
        with self.forward.loan.frozen(), self.forward.turn():
            images = render(leaves)
            value = loss(self.forward(images, None), images)
            gradients = gradients_of(value.sum(), list(leaves.values()))
        return {
            name: torch.zeros_like(leaf) if gradient is None else gradient
            for (name, leaf), gradient in zip(leaves.items(), gradients, strict=True)
        }

    def along(self, loss: Loss, start: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
        """Of the straight way from start to end: the mean gradient times the way, and the mean absolute gradient, over channels."""
        signed, absolute = torch.zeros_like(start), torch.zeros_like(start)
        for point in range(POINTS):
            between = start + (point + 0.5) / POINTS * (end - start)
            gradient = self.by_parameters(loss, lambda leaves: leaves["images"], {"images": between})["images"]
            signed += gradient / POINTS
            absolute += gradient.abs() / POINTS
        return (signed * (end - start)).sum(1), absolute.mean(1)


__all__ = ["Accentuations", "FeatureAccentuation"]
