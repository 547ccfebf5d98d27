"""The regularizers of DeepInversion (arXiv:1912.08795), of each picture by itself: what prototypes are compared with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from captum_proto._utils.checks import check_images
from captum_proto._utils.errors import InputError
from captum_proto.capture import Layer
from captum_proto.optim.loss.batch_norm import input_of, own_statistics, running_statistics
from captum_proto.optim.loss.natural_units import in_full
from captum_proto.optim.loss.objective import Loss, Outputs, named

#: The weights of the published code for torchvision's ResNet-50: "r_feature" of the command in its README, "first_bn_multiplier", "tv_l2"
#: and "l2" of ``imagenet_inversion.py``.
FEATURE_WEIGHT, FIRST_LAYER_WEIGHT, TOTAL_VARIATION_WEIGHT, L2_WEIGHT = 0.01, 10.0, 1e-4, 1e-5


class FeatureDistribution(Loss):
    r"""
    The feature regularizer of DeepInversion: running means and variances of batch normalizations against those of a picture.

    .. math::
        L_i = \sum_l w_l \bigl(\lVert m_l(x_i) - \mu_l \rVert_2 + \lVert v_l(x_i) - \sigma^2_l \rVert_2\bigr)

    Of Yin et al., "Dreaming to Distill: Data-free Knowledge Transfer via DeepInversion" (arXiv:1912.08795, equation 4), as the published
    code has it with a batch of one picture: norms are not squared, variances are plain ones, and the first layer counts ten times. With
    more pictures the code takes the statistics of the batch, which makes them depend on each other; :class:`NaturalStatistics` is the
    same idea in units of the running deviations. It records "feature_distribution".

    Args:
        forward_func (Callable): The model, or a function that refers to it.
        layers (sequence of str or nn.Module, optional): Some of its batch normalizations. Default: None, all that keep running statistics
        first_weight (float, optional): w of the first of them; of the others it is 1. Default: 10
        image_shape, preprocess (optional): As in :class:`NaturalStatistics`. Default: None

    Raises:
        ValueError: As :class:`NaturalStatistics` does.

    Examples::

        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.ReLU())
        >>> loss = ChannelActivation("2", [1, 3]) + 0.01 * FeatureDistribution(model)
        >>> InputOptimization(model, loss, steps=2).optimize((3, 8, 8)).images.shape
        torch.Size([2, 3, 8, 8])
    """

    terms = ("feature_distribution",)

    def __init__(
        self,
        forward_func: Callable[..., Any],
        layers: Sequence[Layer] | None = None,
        first_weight: float = FIRST_LAYER_WEIGHT,
        *,
        image_shape: tuple[int, ...] | None = None,
        preprocess: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        if not 0 <= first_weight < float("inf"):
            raise InputError(f"first_weight is {first_weight!r}; expected a finite number of at least 0.")
        self._running = running_statistics(forward_func, layers, image_shape, preprocess)
        self.names, self.first_weight = list(self._running), float(first_weight)
        self.layers = tuple(input_of(name) for name in self.names)
        self._ready: dict[tuple[Any, ...], tuple[Tensor, Tensor]] = {}

    def check(self, outputs: Outputs) -> None:
        for name, layer in zip(self.names, self.layers, strict=True):
            shape, channels = tuple(outputs.units(layer).shape), len(self._running[name].mean)
            if len(shape) < 3 or shape[1] != channels:
                raise InputError(
                    f"what goes into {named(layer)} has shape {shape}; expected {channels} channels at several positions: leave it out of "
                    "layers."
                )

    def __call__(self, outputs: Outputs, images: Tensor) -> Tensor:
        total: Tensor | None = None
        for number, (name, layer) in enumerate(zip(self.names, self.layers, strict=True)):
            mean, variance = own_statistics(outputs.units(layer), correction=0)
            assert variance is not None  # looked at above
            running_mean, running_variance = self._like(name, mean)
            value = torch.linalg.vector_norm(mean - running_mean, dim=1)
            value = value + torch.linalg.vector_norm(variance - running_variance, dim=1)
            value = value if number else self.first_weight * value
            total = value if total is None else total + value
        assert total is not None  # there is a layer
        return outputs.record("feature_distribution", total)

    def _like(self, name: str, values: Tensor) -> tuple[Tensor, Tensor]:
        key = name, values.device, values.dtype
        if key not in self._ready:
            running = self._running[name]
            mean, variance = (each.to(values.device, values.dtype) for each in (running.mean, running.variance))
            self._ready[key] = mean, variance
        return self._ready[key]

    def settings(self) -> dict[str, Any]:
        return {"name": "FeatureDistribution", "layers": self.names, "first_weight": self.first_weight}

    def __repr__(self) -> str:
        return f"FeatureDistribution({len(self.names)} batch normalizations, first_weight={self.first_weight:g})"


class ImagePrior(Loss):
    r"""
    The image prior of DeepInversion: total variation and norm of a picture as the network gets it, without the transform.

    .. math::
        L_i = \alpha_{tv} \sum_\Delta \lVert \Delta P(x_i) \rVert_2 + \alpha_{l2} \lVert P(x_i) \rVert_2

    with P the preprocessing and Δ the differences of neighbors in four directions: across, down, and both diagonals. Of Yin et al.,
    "Dreaming to Distill" (arXiv:1912.08795, equation 3), with the weights of the published code. There the prior is of the shifted
    picture, which differs in what lies along its seam alone. It records "image_prior".

    Args:
        preprocess (Callable, optional): P, differentiable. Default: None, images as they are
        total_variation (float, optional): Its weight, at least 0. Default: 1e-4
        l2 (float, optional): Weight of the norm, at least 0. Default: 1e-5

    Raises:
        ValueError: If a weight is negative, or images have no height and width.

    Examples::

        >>> objective = ClassLogit([3, 7]) + ImagePrior(torchvision.transforms.Normalize([0.5], [0.25]))
    """

    terms = ("image_prior",)

    def __init__(
        self,
        preprocess: Callable[[Tensor], Tensor] | None = None,
        total_variation: float = TOTAL_VARIATION_WEIGHT,
        l2: float = L2_WEIGHT,
    ) -> None:
        for name, weight in (("total_variation", total_variation), ("l2", l2)):
            if not 0 <= weight < float("inf"):
                raise InputError(f"{name} is {weight!r}; expected a finite number of at least 0.")
        self.preprocess, self.total_variation, self.l2 = preprocess, float(total_variation), float(l2)

    def __call__(self, outputs: Outputs, images: Tensor) -> Tensor:
        seen = in_full(images if self.preprocess is None else self.preprocess(images.clone()))
        if seen.dim() != 4:
            check_images(seen, None, "what preprocess returns")
        neighbors = (
            seen[..., :-1] - seen[..., 1:],
            seen[..., :-1, :] - seen[..., 1:, :],
            seen[..., 1:, :-1] - seen[..., :-1, 1:],
            seen[..., :-1, :-1] - seen[..., 1:, 1:],
        )
        variation = sum(_norm(each) for each in neighbors)
        return outputs.record("image_prior", self.total_variation * variation + self.l2 * _norm(seen))

    def settings(self) -> dict[str, Any]:
        return {"name": "ImagePrior", "total_variation": self.total_variation, "l2": self.l2}

    def __repr__(self) -> str:
        return f"ImagePrior(total_variation={self.total_variation:g}, l2={self.l2:g})"


def _norm(values: Tensor) -> Tensor:
    return torch.linalg.vector_norm(values.flatten(1), dim=1)


def deep_inversion_regularizer(
    forward_func: Callable[..., Any],
    image_shape: tuple[int, ...] | None = None,
    preprocess: Callable[[Tensor], Tensor] | None = None,
    feature_weight: float = FEATURE_WEIGHT,
) -> Loss:
    """
    All that DeepInversion adds to the loss of a class, with the weights of its published code for ResNet-50 (arXiv:1912.08795).

    The feature regularizer is in the units of a network's activations and their squares, so its weight does not carry over to other
    networks: the published log of ResNet-50 begins at 320 and ends at 11, while photographs by themselves have about 11,000 in
    EfficientNet-Lite0. There ``feature_weight`` is to be smaller in proportion.

    Args:
        forward_func (Callable): The model, or a function that refers to it.
        image_shape, preprocess (optional): As in :class:`NaturalStatistics`. Default: None
        feature_weight (float, optional): Weight of the feature regularizer. Default: 0.01

    Returns:
        Loss: ``feature_weight * FeatureDistribution(forward_func) + ImagePrior(preprocess)``.

    Raises:
        ValueError: If the model has no batch normalization with running statistics.

    Examples::

        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.ReLU())
        >>> deep_inversion_regularizer(model).terms
        ('feature_distribution', 'image_prior')
    """
    features = FeatureDistribution(forward_func, image_shape=image_shape, preprocess=preprocess)
    return feature_weight * features + ImagePrior(preprocess)


__all__ = ["FeatureDistribution", "ImagePrior", "deep_inversion_regularizer"]
