"""How far images have gone from others, in what a layer makes of them."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor

from captum_proto._utils.errors import InputTypeError
from captum_proto.capture import Layer
from captum_proto.optim.loss.objective import Loss, Outputs


class FeatureDistance(Loss):
    r"""
    The distance of a layer's output from that for a given image, as a share of how large that is.

    .. math::
        L_i = \frac{\lVert f_l(T x_i) - f_l(T x^0_i) \rVert_2}{\lVert f_l(T x^0_i) \rVert_2}

    Both images are seen under the same draws of the transform T: a crop is compared with the same crop. What keeps an image what it is in
    Hamblin et al., "Feature Accentuation: Revealing 'What' Features Respond to in Natural Images" (arXiv:2402.10039). It records
    "feature_distance".

    Args:
        layer (str or nn.Module): The layer, as :func:`~captum_proto.capture.capture` names it.
        images (Tensor): (N, ...), one for each row, in the input range.

    Raises:
        TypeError: If ``images`` are no tensor of floating point numbers.

    Examples::

        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 4, 3))
        >>> images = torch.rand(2, 3, 16, 16)
        >>> loss = ChannelActivation("2", [1, 3]) + 2 * FeatureDistance("0", images)
        >>> result = InputOptimization(model, loss, steps=2, transform=RandomResizedCrop()).optimize(start=images)
    """

    terms = ("feature_distance",)

    def __init__(self, layer: Layer, images: Tensor) -> None:
        if not isinstance(images, Tensor) or not images.is_floating_point():
            raise InputTypeError(
                f"images are a {type(images).__name__}; expected a tensor of floating point numbers (N, C, H, W)."
            )
        self.layers, self.images = (layer,), images.detach()

    def rows(self, rows: range) -> Loss:
        return FeatureDistance(self.layers[0], self.images[rows.start : rows.stop])

    def settings(self) -> dict[str, Any]:
        content = self.images.cpu().double().contiguous().numpy().tobytes()
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        return {"name": "FeatureDistance", "layer": str(self.layers[0]), "images": digest}

    def __call__(self, outputs: Outputs, images: Tensor) -> Tensor:
        values = outputs[self.layers[0]].flatten(1)
        given = outputs.beside(self.images)[self.layers[0]].flatten(1)
        if values.dtype not in (torch.float32, torch.float64):
            values, given = values.float(), given.float()
        size = torch.linalg.vector_norm(given, dim=1).clamp(min=torch.finfo(given.dtype).tiny)
        return outputs.record("feature_distance", torch.linalg.vector_norm(values - given, dim=1) / size)


__all__ = ["FeatureDistance"]
