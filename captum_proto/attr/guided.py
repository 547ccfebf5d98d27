"""A network whose rectifiers are all of the kind that Captum's guided backpropagation changes."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from captum_proto._utils.errors import InputError


class _Capped(nn.Module):
    """ReLU6 as a ReLU that Captum finds, and a cap, which lets no gradient through above."""

    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return torch.clamp(self.relu(x), max=6.0)


def with_plain_relus(model: nn.Module) -> nn.Module:
    r"""
    A copy of a network, with the same parameters, whose ReLU6 are made of a ReLU and a cap.

    Captum's ``GuidedBackprop``, ``Deconvolution`` and ``GuidedGradCam`` change the gradient of ``nn.ReLU`` modules alone. On a network with
    others, such as EfficientNet-Lite with its ReLU6, they change nothing and return the plain gradient without a word. The copy computes
    the same to the last bit and shares its parameters and buffers with the network, so that what is done to their values is seen in both.

    Args:
        model (nn.Module): The network. In-place rectifiers are none in the copy: a gradient cannot be changed there.

    Returns:
        nn.Module: The copy.

    Raises:
        ValueError: If there is no rectifier among its modules: what is called as a function cannot be found.

    Examples::

        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU6(), torch.nn.Linear(8, 2)).eval()
        >>> copied = with_plain_relus(model)
        >>> x = 9 * torch.randn(5, 4)
        >>> torch.equal(copied(x), model(x)), copied[0].weight is model[0].weight
        (True, True)
    """
    shared: dict[int, object] = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    copied = copy.deepcopy(model, shared)
    found = 0
    for parent in list(copied.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.ReLU):
                child.inplace = False
                found += 1
            elif isinstance(child, nn.ReLU6):
                setattr(parent, name, _Capped())
                found += 1
    if not found:
        raise InputError(
            "the model has no ReLU or ReLU6 among its modules, so that guided backpropagation would be the plain gradient; choose another "
            "method, or have the model call its rectifiers as modules."
        )
    return copied


__all__ = ["with_plain_relus"]
