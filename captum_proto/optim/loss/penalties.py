"""Penalties of feature visualization: of images as they are, or of what a layer makes of them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from captum_proto._utils.checks import check_int
from captum_proto._utils.errors import InputError
from captum_proto.capture import Layer
from captum_proto.optim.loss.objective import Loss, Outputs


class Penalty(Loss):
    """
    A value of each row's image, or of a layer's output for it; a subclass implements :meth:`penalty`.

    Args:
        layer (str or nn.Module, optional): Whose output, as :func:`~captum_proto.capture.capture` names it. Default: None, of the images
            themselves, without the transform
    """

    def __init__(self, layer: Layer | None = None) -> None:
        self.layers = () if layer is None else (layer,)

    def __call__(self, outputs: Outputs, images: Tensor) -> Tensor:
        values = outputs[self.layers[0]] if self.layers else images
        values = (
            values if values.dtype == torch.float64 else values.float()
        )  # sums of squares leave half precision's range
        return outputs.record(self.terms[0], self.penalty(values))

    @abstractmethod
    def penalty(self, values: Tensor) -> Tensor:
        """Of values (N, ...): (N,), each of its own row."""

    def settings(self) -> dict[str, Any]:
        settings: dict[str, Any] = {"name": type(self).__name__}
        return settings | ({"layer": str(self.layers[0])} if self.layers else {})


def _pictures(values: Tensor, penalty: Penalty) -> Tensor:
    """Values that have a height and a width."""
    if values.dim() != 4:
        raise InputError(
            f"{type(penalty).__name__} got values of shape {tuple(values.shape)}; expected (N, C, H, W): images, or a layer with a height "
            "and a width."
        )
    return values


class L1(Penalty):
    r"""
    How far values are from a constant, in sum.

    .. math::
        L_i = \sum_j |x_{i,j} - c|

    Of Olah, Mordvintsev and Schubert, "Feature Visualization" (Distill 2017), whose weight is 0.05 with c = 0.5. It records "l1".

    Args:
        constant (float, optional): c. Default: 0.5, gray
        layer (str or nn.Module, optional): Whose output is looked at. Default: None, the images

    Examples::

        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU())
        >>> loss = ChannelActivation("0", [1, 2]) + 0.05 * L1() + 0.25 * TotalVariation() + Blur()
        >>> sorted(InputOptimization(model, loss, steps=2).optimize((3, 8, 8)).history)
        ['activation', 'blur', 'l1', 'loss', 'total_variation']
    """

    terms = ("l1",)

    def __init__(self, constant: float = 0.5, layer: Layer | None = None) -> None:
        super().__init__(layer)
        self.constant = float(constant)

    def penalty(self, values: Tensor) -> Tensor:
        return (values - self.constant).abs().flatten(1).sum(1)

    def settings(self) -> dict[str, Any]:
        return super().settings() | {"constant": self.constant}


class L2(Penalty):
    r"""
    The Euclidean distance of values from a constant.

    .. math::
        L_i = \sqrt{\epsilon + \sum_j (x_{i,j} - c)^2}

    As Lucid has it. It records "l2".

    Args:
        constant (float, optional): c. Default: 0.5, gray
        epsilon (float, optional): Keeps the gradient finite at c itself. Default: 1e-6
        layer (str or nn.Module, optional): Whose output is looked at. Default: None, the images

    Raises:
        ValueError: If ``epsilon`` is not positive.

    Examples::

        >>> objective = ClassLogit([3, 7]) + 0.1 * L2()
    """

    terms = ("l2",)

    def __init__(self, constant: float = 0.5, epsilon: float = 1e-6, layer: Layer | None = None) -> None:
        super().__init__(layer)
        if not epsilon > 0:
            raise InputError(f"epsilon is {epsilon}; expected a positive number.")
        self.constant, self.epsilon = float(constant), float(epsilon)

    def penalty(self, values: Tensor) -> Tensor:
        return (self.epsilon + (values - self.constant).square().flatten(1).sum(1)).sqrt()

    def settings(self) -> dict[str, Any]:
        return super().settings() | {"constant": self.constant, "epsilon": self.epsilon}


class TotalVariation(Penalty):
    r"""
    The absolute differences of neighboring pixels, in sum.

    .. math::
        L_i = \sum_{c,y,x} |x_{c,y+1,x} - x_{c,y,x}| + |x_{c,y,x+1} - x_{c,y,x}|

    Of Mahendran and Vedaldi, "Understanding Deep Image Representations by Inverting Them" (arXiv:1412.0035), anisotropic with power 1 as
    Lucid has it, whose weight is 0.25. :class:`HighFrequency` is the same of means. It records "total_variation".

    Args:
        layer (str or nn.Module, optional): Whose output is looked at, one with a height and a width. Default: None, the images

    Examples::

        >>> objective = ClassLogit([3, 7]) + 0.25 * TotalVariation()
    """

    terms = ("total_variation",)

    def penalty(self, values: Tensor) -> Tensor:
        values = _pictures(values, self)
        return sum(values.diff(dim=axis).abs().flatten(1).sum(1) for axis in (2, 3))  # type: ignore[return-value]


class Blur(Penalty):
    r"""
    How far images are from what a blur makes of them, which counts as constant: each step goes a little towards the blurred image.

    .. math::
        L_i = \tfrac12 \sum_j \bigl(x_{i,j} - \operatorname{sg}(\operatorname{blur} x_i)_j\bigr)^2

    The blur is a mean over 3 x 3 pixels, of which the middle counts twice; beyond the border there is nothing. Of Lucid, with weight 1. It
    records "blur".

    Args:
        layer (str or nn.Module, optional): Whose output is looked at, one with a height and a width. Default: None, the images

    Examples::

        >>> objective = ClassLogit([3, 7]) + Blur()
    """

    terms = ("blur",)

    def penalty(self, values: Tensor) -> Tensor:
        values = _pictures(values, self)
        return 0.5 * (values - _blurred(values, 3).detach()).square().flatten(1).sum(1)


class BoundaryComplexity(Penalty):
    r"""
    What goes on in a frame along the border of images.

    .. math::
        L_i = \sum_{j \in \text{frame}} \bigl(\operatorname{blur}(x_i)_j - x_{i,j}\bigr)^2 + 0.8\,(x_{i,j} - C)^2

    The blur is over 5 x 5 pixels, of which the inner 3 x 3 count twice. Of Lucid, for pictures that are to fade into a background. It
    records "boundary_complexity".

    Args:
        width (int, optional): Of the frame, in pixels. Default: 20
        constant (float, optional): C. Default: 0.5, gray
        layer (str or nn.Module, optional): Whose output is looked at, one with a height and a width. Default: None, the images

    Raises:
        ValueError: If ``width`` is less than 1.

    Examples::

        >>> objective = ClassLogit([3, 7]) + 0.1 * BoundaryComplexity(width=12)
    """

    terms = ("boundary_complexity",)

    def __init__(self, width: int = 20, constant: float = 0.5, layer: Layer | None = None) -> None:
        super().__init__(layer)
        self.width, self.constant = check_int(width, "width", 1), float(constant)

    def penalty(self, values: Tensor) -> Tensor:
        values = _pictures(values, self)
        each = (_blurred(values, 5) - values).square() + 0.8 * (values - self.constant).square()
        height, width = values.shape[-2:]
        inside = (
            slice(self.width, max(height - self.width, self.width)),
            slice(self.width, max(width - self.width, self.width)),
        )
        frame = torch.ones(height, width, dtype=values.dtype, device=values.device)
        frame[inside].fill_(0)  # not assigned: the host's number would be copied to the device
        return (each * frame).flatten(1).sum(1)

    def settings(self) -> dict[str, Any]:
        return super().settings() | {"width": self.width, "constant": self.constant}


def _blurred(values: Tensor, size: int) -> Tensor:
    """The weighted mean over ``size`` x ``size`` pixels, of which the outermost count half; over those that there are."""
    channels = values.shape[1]
    kernel = torch.full((1, 1, size, size), 0.5, dtype=values.dtype, device=values.device)
    kernel[..., 1:-1, 1:-1].fill_(1.0)
    weights = torch.nn.functional.conv2d(torch.ones_like(values[:1, :1]), kernel, padding=size // 2)
    each = torch.nn.functional.conv2d(values, kernel.expand(channels, 1, -1, -1), padding=size // 2, groups=channels)
    return each / weights


class MeanAlpha(Loss):
    """
    The mean of the alpha channel: what :class:`~captum_proto.optim.AlphaImage` shows is to be no more than it takes.

    Of Mordvintsev, Pezzotti, Schubert and Olah, "Differentiable Image Parameterizations" (Distill 2018). It records "mean_alpha".

    Raises:
        ValueError: If the images have no alpha channel.

    Examples::

        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU())
        >>> optimization = InputOptimization(model, ChannelActivation("0", 1) + MeanAlpha(), parametrization=AlphaImage(), steps=2)
        >>> optimization.optimize((3, 16, 16)).images.shape
        torch.Size([1, 4, 16, 16])
    """

    terms = ("mean_alpha",)

    def __call__(self, outputs: Outputs, images: Tensor) -> Tensor:
        return outputs.record("mean_alpha", mean_alpha(images))


class Transparent(Loss):
    r"""
    An objective that counts as much as a picture is transparent.

    .. math::
        L_i = \bigl(1 - \operatorname{mean}(\alpha_i)\bigr) \, L^{objective}_i

    Of "Differentiable Image Parameterizations" (Distill 2018): unlike a sum with :class:`MeanAlpha` it needs no weight that suits how large
    activations are. It is meant for objectives that become negative, as those of activations that are to be large do.

    Args:
        objective (Loss): What is minimized.

    Examples::

        >>> objective = Transparent(ChannelActivation("layer3", range(8)))
        >>> objective.terms
        ('activation', 'mean_alpha')
    """

    def __init__(self, objective: Loss) -> None:
        self.objective = objective
        self.layers, self.targets = objective.layers, objective.targets
        self.terms = (*objective.terms, "mean_alpha")

    def rows(self, rows: range) -> Loss:
        return Transparent(self.objective.rows(rows))

    def check(self, outputs: Outputs) -> None:
        self.objective.check(outputs)

    def state_dict(self) -> dict[str, Tensor]:
        return self.objective.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.objective.load_state_dict(state)

    def settings(self) -> dict[str, Any]:
        return {"name": "Transparent", "objective": self.objective.settings()}

    def __call__(self, outputs: Outputs, images: Tensor) -> Tensor:
        value = self.objective(outputs, images)
        return value * (1 - outputs.record("mean_alpha", mean_alpha(images)))


def mean_alpha(images: Tensor) -> Tensor:
    """
    The mean of each image's alpha channel, (N,).

    Raises:
        ValueError: If images (N, C, H, W) have none.
    """
    if images.dim() != 4 or images.shape[1] not in (2, 4):
        raise InputError(
            f"images have shape {tuple(images.shape)}, without an alpha channel; choose the parametrization AlphaImage, which has one."
        )
    return images[:, -1].flatten(1).mean(1)


__all__ = [
    "L1",
    "L2",
    "Blur",
    "BoundaryComplexity",
    "MeanAlpha",
    "Penalty",
    "TotalVariation",
    "Transparent",
    "mean_alpha",
]
