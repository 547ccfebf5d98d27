"""Grad-CAM as it is meant, by Captum: only what speaks for the class, as large as the image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from captum.attr import Attribution, LayerAttribution, LayerGradCam
from captum.log import log_usage
from torch import Tensor, nn

from captum_proto._utils.batches import Images
from captum_proto._utils.errors import InputError, InputTypeError
from captum_proto._utils.model import borrowed
from captum_proto.capture import Capture, Layer, find_layer


class GradCam(Attribution):
    r"""
    Grad-CAM (Selvaraju et al., "Grad-CAM", ICCV 2017): where a layer has what speaks for a class.

    .. math::
        L = \operatorname{ReLU}\Bigl(\sum_k \alpha_k A_k\Bigr)
        \qquad \alpha_k = \frac{1}{Z} \sum_{i, j} \frac{\partial h_t}{\partial A_{k, ij}}

    It is Captum's :class:`~captum.attr.LayerGradCam`, with the two things that are easily left out: the ReLU, which Captum does not apply
    unless asked to, and the interpolation to the size of the image. The model is frozen and in evaluation mode meanwhile.

    Args:
        forward_func (Callable): The model, or a function or object that refers to it.
        layer (str, nn.Module or sequence of these): By name or as a module; of several, a map of each. Of several calls in a
            pass, the last.

    Raises:
        ValueError: If the model has no such layer.

    Examples::

        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(8 * 36, 5)).eval()
        >>> maps = GradCam(model, "1").attribute(torch.rand(2, 3, 8, 8), target=[0, 4])
        >>> maps.shape, bool((maps >= 0).all())
        (torch.Size([2, 1, 8, 8]), True)
    """

    def __init__(self, forward_func: Callable[..., Any], layer: Layer | Sequence[Layer]) -> None:
        super().__init__(forward_func)
        self._single = isinstance(layer, (str, nn.Module))
        asked: Sequence[Layer] = [layer] if isinstance(layer, (str, nn.Module)) else list(layer)
        if not asked:
            raise InputError("layer is empty; name at least one.")
        self.layers = [find_layer(forward_func, each)[1] for each in asked]

    @log_usage()
    def attribute(
        self,
        inputs: Tensor,
        target: Any = None,
        additional_forward_args: Any = None,
        *,
        relu_attributions: bool = True,
        counterfactual: bool = False,
        interpolate_mode: str | None = "bilinear",
    ) -> Tensor | tuple[Tensor, ...]:
        r"""
        Maps of a class.

        Args:
            inputs (Tensor): (N, C, H, W), as the model takes them.
            target (TargetType, optional): As Captum's. Default: None
            additional_forward_args (any, optional): Further arguments of the model. Default: None
            relu_attributions (bool, optional): Whether only what speaks for the class is kept; else what speaks against it is negative.
                Default: True
            counterfactual (bool, optional): Whether what speaks against the class is shown instead: the gradient is negated (section 3.3 of
                the paper). Default: False
            interpolate_mode (str, optional): As that of ``torch.nn.functional.interpolate``; None: maps as large as the layer's.
                Default: "bilinear"

        Returns:
            Tensor: (N, 1, H, W); of several layers a tuple.

        Raises:
            ValueError: If a layer returns no maps.
        """
        if not isinstance(inputs, Tensor) or inputs.dim() != 4:
            raise InputTypeError("inputs are no images; expected a tensor (N, C, H, W).")
        found = []
        with borrowed(self.forward_func):
            for layer in self.layers:
                maps = LayerGradCam(self.forward_func, layer).attribute(inputs, target, additional_forward_args)
                if not isinstance(maps, Tensor) or maps.dim() != 4 or len(maps) != len(inputs):
                    raise InputError(
                        f"the layer, a {type(layer).__name__}, returns no maps (N, C, H, W); choose one that does, such as the last "
                        "convolution."
                    )
                maps = -maps if counterfactual else maps
                maps = torch.relu(maps) if relu_attributions else maps
                if interpolate_mode is not None:
                    maps = LayerAttribution.interpolate(maps, inputs.shape[2:], interpolate_mode)
                found.append(maps.detach())
        return found[0] if self._single else tuple(found)


def last_map(model: nn.Module, inputs: Images, preprocess: Callable[[Tensor], Tensor] | None = None) -> str:
    """
    The last layer of a network that returns maps of more than one position: where Grad-CAM is usually taken.

    Args:
        model (nn.Module): The network.
        inputs (Tensor): At least one, (N, C, H, W).
        preprocess (Callable, optional): From these to what the network takes. Default: None

    Returns:
        str: The layer's name.

    Raises:
        ValueError: If there is none.

    Examples::

        >>> last_map(torchvision.models.resnet18(), torch.rand(1, 3, 64, 64))
        'layer4'
    """
    if not isinstance(inputs, Tensor):
        raise InputTypeError(f"inputs is a {type(inputs).__name__}; expected a tensor (N, C, H, W).")

    def forward(batch: Tensor) -> Any:
        return model(batch.clone() if preprocess is None else preprocess(batch.clone()))

    plan = Capture(model, forward, inputs[:1])
    maps = [
        output.layer
        for output in plan.outputs
        if not output.path and len(output.shape) == 3 and output.shape[1] * output.shape[2] > 1
    ]
    if not maps:
        raise InputError("no layer of the model returns maps (N, C, H, W) of more than one position; name one.")
    return maps[-1]


__all__ = ["GradCam", "last_map"]
