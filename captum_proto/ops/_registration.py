"""
Everything ``torch.library`` has to know of the operators beyond their schemas: the twin as the kernel of every device, shapes for
tracing, and derivatives. Native modules add faster kernels for CPU and CUDA on top.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from captum_proto.ops import _twin
from captum_proto.ops._schemas import NAMESPACE, SCHEMAS

# CompositeExplicitAutograd is the dispatcher's word for "any device that has no kernel of its own".
for name in SCHEMAS:
    torch.library.impl(f"{NAMESPACE}::{name}", "CompositeExplicitAutograd", getattr(_twin, name))


@torch.library.register_fake(f"{NAMESPACE}::high_frequency_loss")
def _(images: Tensor, power: int) -> Tensor:
    return images.new_empty(images.shape[0], dtype=_twin.accumulation_dtype(images.dtype))


@torch.library.register_fake(f"{NAMESPACE}::high_frequency_loss_backward")
def _(grad_output: Tensor, images: Tensor, power: int) -> Tensor:
    return torch.empty_like(images)


@torch.library.register_fake(f"{NAMESPACE}::doubled_rank")
def _(x: Tensor) -> Tensor:
    return x.new_empty(x.shape, dtype=torch.int32)


@torch.library.register_fake(f"{NAMESPACE}::rank")
def _(x: Tensor) -> Tensor:
    return x.new_empty(x.shape, dtype=torch.float64)


@torch.library.register_fake(f"{NAMESPACE}::spearman")
def _(x: Tensor, doubled_ranks: Tensor) -> Tensor:
    return x.new_empty(x.shape[0], dtype=torch.float64)


@torch.library.register_fake(f"{NAMESPACE}::path_distance")
def _(x: Tensor, mean: Tensor, doubled_ranks: Tensor) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape[0], dtype=torch.float64), x.new_empty(x.shape[0], dtype=torch.float64)


@torch.library.register_fake(f"{NAMESPACE}::accumulate")
def _(sums: Tensor, rows: Tensor) -> None:
    return None


def _setup_context(ctx: Any, inputs: tuple[Tensor, int], output: Tensor) -> None:
    images, power = inputs
    ctx.save_for_backward(images)
    ctx.power = power


def _backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None]:
    (images,) = ctx.saved_tensors
    return torch.ops.captum_proto.high_frequency_loss_backward(grad_output, images, ctx.power), None


def _no_second_derivative(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
    raise RuntimeError(
        "high_frequency_loss can be differentiated once; leave out create_graph=True, or take differences with torch.diff instead."
    )


torch.library.register_autograd(f"{NAMESPACE}::high_frequency_loss", _backward, setup_context=_setup_context)
torch.library.register_autograd(f"{NAMESPACE}::high_frequency_loss_backward", _no_second_derivative)
