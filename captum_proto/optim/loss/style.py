"""A term that gives a picture the textures of a given image: Gram matrices of a layer."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from captum_proto._utils.constants import beside
from captum_proto._utils.errors import InputError, InputTypeError
from captum_proto._utils.targets import Target
from captum_proto.capture import Layer, channels_first
from captum_proto.optim.loss.direction import digest_of
from captum_proto.optim.loss.objective import Outputs, named
from captum_proto.optim.loss.unit import LayerLoss


def gram(values: Tensor) -> Tensor:
    """
    How channels occur together: the mean over positions of their products.

    Args:
        values (Tensor): (N, C, \\*positions).

    Returns:
        Tensor: (N, C, C).

    Examples::

        >>> gram(torch.tensor([[[1.0, 2.0], [0.0, 4.0]]]))
        tensor([[[2.5000, 4.0000],
                 [4.0000, 8.0000]]])
    """
    features = values.unsqueeze(-1).flatten(2)
    return features @ features.mT / features.shape[2]


class Style(LayerLoss):
    r"""
    How far the Gram matrix of a layer is from that of a given image: minimized.

    .. math::
        L_i = \frac{1}{C^2} \sum_{c, d} \lvert G_{cd}(x_i) - G_{cd}(s_i) \rvert^{power}
        \qquad G_{cd}(x) = \frac{1}{P} \sum_p a_{c, p}(x)\, a_{d, p}(x)

    Of Gatys, Ecker and Bethge, "Image Style Transfer Using Convolutional Neural Networks" (CVPR 2016, section 2.2), with the mean over
    positions in place of their sum, so that the image may be of another size; Lucid takes absolute differences, ``power=1``. Several layers
    are a sum: ``Style("a", s["a"]) + Style("b", s["b"])``. It records "style_loss".

    Args:
        layer (str or nn.Module): The layer, as :func:`~captum_proto.capture.capture` names it.
        reference (Tensor): (N, ...), what it returned for one image each row, in its own shape, as ``capture(model, images, layer)[layer]``
            gives it. One image is the style of all rows.
        power (int, optional): 2 for squared differences, 1 for absolute ones. Default: 2
        channel_axis (int, optional): Which axis of the layer's output holds its channels. Default: None, told from the layer

    Raises:
        ValueError: If the reference is not finite, or has other channels than the layer.

    Examples::

        >>> from captum_proto.capture import capture
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU())
        >>> painting = capture(model, torch.rand(1, 3, 24, 24), "1")["1"]
        >>> InputOptimization(model, Style("1", painting), steps=2).optimize((3, 16, 16), count=2).images.shape
        torch.Size([2, 3, 16, 16])
    """

    terms = ("style_loss",)
    of_rows = ("reference",)

    def __init__(self, layer: Layer, reference: Tensor, power: int = 2, channel_axis: int | None = None) -> None:
        super().__init__(layer, channel_axis)
        if not isinstance(reference, Tensor) or not reference.is_floating_point() or reference.dim() < 2:
            raise InputTypeError(
                "reference is no floating point tensor (N, ...); expected what the layer returned for N images."
            )
        if not len(reference) or not bool(reference.isfinite().all()):
            raise InputError("reference is empty, or holds NaN or infinity; expected finite activations.")
        if power not in (1, 2):
            raise InputError(f"power is {power!r}; expected 1 or 2.")
        self.reference, self.power = reference.detach(), power
        digests: list[Target] = [(digest_of(row),) for row in self.reference]
        self._digests = [digest[0] for digest in digests]
        if len(digests) > 1:
            self.targets = digests

    def rows(self, rows: range) -> LayerLoss:
        return self if self.targets is None else super().rows(rows)

    def unit(self, row: int) -> None:
        return None

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "power": self.power, "references": self._digests}

    def _gram(self, outputs: Outputs) -> Tensor:
        axis = outputs.channel_axis(self.layer, self.channel_axis)
        return gram(channels_first(beside(self.reference, outputs[self.layer]), axis))

    def check(self, outputs: Outputs) -> None:
        count, shape = self.units(outputs).shape[1], tuple(self.reference.shape)
        if len(shape) != outputs[self.layer].dim() or self._gram(outputs).shape[1] != count:
            raise InputError(
                f"reference has shape {shape} for {named(self.layer)}, which returns {tuple(outputs[self.layer].shape)}; expected as many "
                "axes and channels."
            )

    def __call__(self, outputs: Outputs, images: Tensor) -> Tensor:
        apart = (gram(self.units(outputs)) - self._gram(outputs)).flatten(1)
        return outputs.record("style_loss", (apart.square() if self.power == 2 else apart.abs()).mean(1))


__all__ = ["Style", "gram"]
