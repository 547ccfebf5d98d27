"""
Everything ``torch.library`` has to know of the operators beyond their schemas: the twin as the kernel of every device, shapes for
tracing, and derivatives. Native modules add faster kernels for CPU and CUDA on top.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import torch
from torch import Tensor

from captum_proto.ops import _slow_path, _twin
from captum_proto.ops._memory import called
from captum_proto.ops._schemas import NAMESPACE, SCHEMAS

# CompositeExplicitAutograd is the dispatcher's word for "any device that has no kernel of its own".
for name in SCHEMAS:
    torch.library.impl(f"{NAMESPACE}::{name}", "CompositeExplicitAutograd", _slow_path.watched(getattr(_twin, name)))


@torch.library.register_fake(f"{NAMESPACE}::high_frequency_loss")
def _(images: Tensor, power: int) -> Tensor:
    return images.new_empty(images.shape[0], dtype=_twin.accumulation_dtype(images.dtype))


@torch.library.register_fake(f"{NAMESPACE}::high_frequency_loss_backward")
def _(grad_output: Tensor, images: Tensor, power: int) -> Tensor:
    return torch.empty_like(images)


@torch.library.register_fake(f"{NAMESPACE}::affine_sample")
def _(
    images: Tensor, matrix: Tensor, scale: Tensor, shift: Tensor, fill: float, channels_last: bool, border: int = 0
) -> Tensor:
    return torch.empty_like(images, memory_format=_twin.memory_format(channels_last))


@torch.library.register_fake(f"{NAMESPACE}::affine_sample_backward")
def _(grad_output: Tensor, matrix: Tensor, scale: Tensor, channels_last: bool, border: int = 0) -> Tensor:
    return torch.empty_like(grad_output, memory_format=_twin.memory_format(channels_last))


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


@torch.library.register_fake(f"{NAMESPACE}::unit_summary")
def _(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    shape, wide = values.shape[:2], _twin.accumulation_dtype(values.dtype)
    return (
        values.new_empty(shape, dtype=wide),
        values.new_empty(shape, dtype=torch.int64),
        values.new_empty(shape, dtype=wide),
    )


for name in ("top_k", "radix_histogram", "radix_select"):
    torch.library.register_fake(f"{NAMESPACE}::{name}", lambda *arguments: None)


@torch.library.register_fake(f"{NAMESPACE}::unit_concept_counts")
def _(counts: Tensor, activations: Tensor, thresholds: Tensor, labels: Tensor, align_corners: bool) -> Tensor:
    return activations.new_empty(activations.shape[:2], dtype=torch.int64)


@torch.library.register_fake(f"{NAMESPACE}::packed_counts")
def _(a: Tensor, b: Tensor) -> Tensor:
    return a.new_empty((a.shape[0], b.shape[0]))


def _setup_loss(ctx: Any, inputs: tuple[Tensor, int], output: Tensor) -> None:
    images, power = inputs
    ctx.save_for_backward(images)
    ctx.power = power


def _loss_backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None]:
    (images,) = ctx.saved_tensors
    return called(torch.ops.captum_proto.high_frequency_loss_backward, grad_output, images, ctx.power), None


def _setup_sample(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor, Tensor, float, bool, int], output: Tensor) -> None:
    images, matrix, scale, *_, ctx.border = inputs
    ctx.save_for_backward(matrix, scale)
    # The gradient lies as the images do, if they lie in one of two usual ways.
    ctx.channels_last = not images.is_contiguous() and images.is_contiguous(memory_format=torch.channels_last)


def _sample_backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None, None, None, None, None, None]:
    matrix, scale = ctx.saved_tensors
    gradient = called(
        torch.ops.captum_proto.affine_sample_backward, grad_output, matrix, scale, ctx.channels_last, ctx.border
    )
    return gradient, None, None, None, None, None, None


def _refuse_second_derivative(name: str, instead: str) -> Callable[[Any, Tensor], NoReturn]:
    def refuse(ctx: Any, grad: Tensor) -> NoReturn:
        raise RuntimeError(f"{name} can be differentiated once; leave out create_graph=True{instead}.")

    return refuse


for name, setup, backward, instead in (
    ("high_frequency_loss", _setup_loss, _loss_backward, ", or take differences with torch.diff instead"),
    ("affine_sample", _setup_sample, _sample_backward, ""),
):
    torch.library.register_autograd(f"{NAMESPACE}::{name}", backward, setup_context=setup)
    torch.library.register_autograd(f"{NAMESPACE}::{name}_backward", _refuse_second_derivative(name, instead))
