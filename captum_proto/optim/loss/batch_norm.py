"""What the batch normalizations of a network remember of its training images: running means and variances of their inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from captum_proto._utils.errors import InputError
from captum_proto._utils.model import borrowed, modules_of, named_modules, unwrapped
from captum_proto._utils.pipeline import Pipeline
from captum_proto._utils.scripted import check_readable
from captum_proto.capture import Layer, find_layer, forward_hooks
from captum_proto.capture.inputs import INPUT
from captum_proto.optim.loss.natural_units import in_full


@dataclass(frozen=True)
class RunningStatistics:
    """
    What one batch normalization remembers.

    Attributes:
        mean (Tensor): (C,), float64, of its input's channels over the training images.
        variance (Tensor): (C,), float64.
        eps (float): What it adds to the variance.
    """

    mean: Tensor
    variance: Tensor
    eps: float

    @property
    def deviation(self) -> Tensor:
        """(C,): the square root of variance and ``eps``, by which it divides."""
        return (self.variance + self.eps).sqrt()


def running_statistics(
    forward_func: Callable[..., Any],
    layers: Iterable[Layer] | None = None,
    image_shape: tuple[int, ...] | None = None,
    preprocess: Callable[[Tensor], Tensor] | None = None,
) -> dict[str, RunningStatistics]:
    """
    The running statistics of a network's batch normalizations, by the name of the layer, in the order in which they are registered.

    Args:
        forward_func (Callable): The model, or a function that refers to it.
        layers (iterable of str or nn.Module, optional): Some of them. Default: None, all that have running statistics
        image_shape (tuple[int, ...], optional): Of an image: those that do not run on one, as in auxiliary heads, are left out where
            ``layers`` is None. Default: None, all count
        preprocess (Callable, optional): From such images to what ``forward_func`` takes. Default: None

    Raises:
        ValueError: If there is none, or a layer that was named is none or has no running statistics.
    """
    if layers is not None:
        given = [layers] if isinstance(layers, (str, nn.Module)) else list(layers)
        if not given:
            raise InputError(
                "layers is empty; name at least one batch normalization, or leave layers out for all of them."
            )
        found = dict(find_layer(forward_func, layer) for layer in given)
        for name, module in found.items():
            if not _is_batch_norm(module):
                raise InputError(
                    f'layer "{name}" is a {type(module).__name__} and no batch normalization, so it has no running statistics; name batch '
                    "normalizations, or leave layers out for all of them."
                )
            if not _has_statistics(module):
                raise InputError(
                    f'the batch normalization "{name}" keeps no running statistics (track_running_stats=False); leave it out of layers.'
                )
        return {name: _statistics_of(module) for name, module in found.items()}
    norms: dict[str, nn.Module] = {}
    for owner in modules_of(forward_func):
        for name, module in named_modules(owner):
            if name and _is_batch_norm(module):
                norms.setdefault(
                    name, module
                )  # of several modules in a function, a name is a layer of the first that has it
    if not norms:
        for owner in modules_of(forward_func):
            for _, module in named_modules(owner):
                check_readable(module)
        raise InputError(
            "the model has no batch normalization, which is what remembers the statistics of natural images; leave natural statistics out, "
            "or match activations measured on images of your own: MatchActivations."
        )
    kept = {name: module for name, module in norms.items() if _has_statistics(module)}
    if not kept:
        raise InputError(
            f"the {len(norms)} batch normalizations of the model keep no running statistics (track_running_stats=False): they remember "
            "nothing of natural images; leave natural statistics out, or match activations measured on images of your own: "
            "MatchActivations."
        )
    if image_shape is not None:
        ran = _ran(forward_func, kept, image_shape, preprocess)
        kept = {name: module for name, module in kept.items() if name in ran}
        if not kept:
            raise InputError("none of the model's batch normalizations runs on an image; leave natural statistics out.")
    return {name: _statistics_of(module) for name, module in kept.items()}


def _is_batch_norm(module: nn.Module) -> bool:
    # torchvision's and detectron2's FrozenBatchNorm2d, whose statistics are constants, derive from nn.Module alone.
    return isinstance(module, nn.modules.batchnorm._BatchNorm) or "BatchNorm" in type(module).__name__


def _has_statistics(module: nn.Module) -> bool:
    return all(isinstance(getattr(module, name, None), Tensor) for name in ("running_mean", "running_var"))


def _statistics_of(module: nn.Module) -> RunningStatistics:
    mean, variance = (getattr(module, name).detach().cpu().double().clone() for name in ("running_mean", "running_var"))
    return RunningStatistics(mean, variance, float(getattr(module, "eps", 0.0)))


def _ran(
    forward_func: Callable[..., Any],
    modules: dict[str, nn.Module],
    image_shape: tuple[int, ...],
    preprocess: Callable[[Tensor], Tensor] | None,
) -> set[str]:
    """Which of some layers run on a blank image."""
    pipeline, ran = Pipeline(forward_func, preprocess), set()

    def hook_of(name: str) -> Callable[..., None]:
        return lambda *_: ran.add(name)

    image = torch.zeros(1, *image_shape, dtype=pipeline.image_dtype, device=pipeline.device)
    hooks = ((unwrapped(module), hook_of(name)) for name, module in modules.items())
    with torch.no_grad(), borrowed(forward_func), forward_hooks(hooks):
        pipeline(image)
    return ran


def input_of(name: str) -> str:
    """What goes into a layer, as losses and recorders name it."""
    return name + INPUT


def own_statistics(units: Tensor, correction: int = 1) -> tuple[Tensor, Tensor | None]:
    """
    Mean and variance of each picture's channels over its own positions.

    Args:
        units (Tensor): ``(N, C, *positions)``.
        correction (int, optional): 1 for the unbiased variance, as running variances are of; 0 for the plain one. Default: 1

    Returns:
        tuple[Tensor, Tensor or None]: (N, C) each, in at least float32. There is no variance where there is a single position.
    """
    values = in_full(units).unsqueeze(-1).flatten(2)
    if values.shape[2] < 2:
        return values.mean(2), None
    variance, mean = torch.var_mean(values, 2, correction=correction)
    return mean, variance


__all__ = ["RunningStatistics", "input_of", "own_statistics", "running_statistics"]
