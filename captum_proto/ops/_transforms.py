"""Functions that PyTorch transforms, by ``torch.func`` or in forward-mode differentiation: there the twins do the work."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd import forward_ad

#: PyTorch's own question, which has no public name; where it has none at all, transforms end in PyTorch's own errors, as they come.
_transforms_active: Callable[[], bool] = getattr(torch._C, "_are_functorch_transforms_active", lambda: False)


def is_transformed(images: Tensor) -> bool:
    """
    Whether a function of images is being transformed: by ``torch.func.grad``, ``vmap`` and the like, or differentiated forward.

    An operator with a derivative of its own is refused by the first, and to the last has no tangent: the result would be 0.
    """
    if torch.compiler.is_compiling():
        return False
    dual = forward_ad.unpack_dual(images)  # type: ignore[no-untyped-call]
    return _transforms_active() or dual.tangent is not None


__all__ = ["is_transformed"]
