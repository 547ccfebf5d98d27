"""
A network as an optimization runs it: the same function of its input, laid out so that a step costs less.

Two things are done, each of them only where it is shown on the images at hand that the output stays the same up to rounding. Batch
normalizations in evaluation mode are scalings by constants, and go into the weights of the layers before them, in a copy, as borders of
zeros go into the convolutions after them. And convolutions read their channels side by side (``channels_last``), as the fastest kernels of
CPUs and of half precision want them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from captum_proto._utils.memory import is_out_of_memory
from captum_proto._utils.model import borrowed, modules_of, unwrapped
from captum_proto._utils.pipeline import Pipeline
from captum_proto.capture.hooks import forward_hooks, in_numbers, tensors_in
from captum_proto.ops.double import double

_LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
#: How far apart logits may be, relative to the largest: the rounding of another order of sums, amplified by the depth of a network.
_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-3, torch.bfloat16: 1e-1, torch.float16: 2e-2}


@dataclass(frozen=True)
class Arrangement:
    """
    How a network is run, as a result should record it.

    Attributes:
        forward_func (Callable): The network or its copy.
        channels_last (bool): Whether it is given its images in channels_last.
        folded (int): How many batch normalizations went into other layers.
        paddings (int): How many paddings with zeros went into the convolutions after them.
        reason (str, optional): Why something asked for was not done.
    """

    forward_func: Callable[..., Any]
    channels_last: bool = False
    folded: int = 0
    reason: str | None = None
    paddings: int = 0

    @property
    def copied(self) -> bool:
        """Whether the network is a copy."""
        return self.folded + self.paddings > 0

    def settings(self) -> dict[str, Any]:
        return {
            "folded_batch_norms": self.folded,
            "folded_paddings": self.paddings,
            "channels_last": self.channels_last,
            "reason": self.reason,
        }

    def applied_to(self, pipeline: Pipeline) -> Pipeline:
        """The pipeline with its network so arranged."""
        return pipeline.with_network(self.forward_func, self.channels_last)


def arrange(
    pipeline: Pipeline, prepared: Tensor, fold_batch_norm: bool = True, channels_last: bool | None = None
) -> Arrangement:
    """
    Find the cheapest arrangement of a pipeline's network that gives the same output.

    Args:
        pipeline (Pipeline): The model and its preprocessing; the network in evaluation mode.
        prepared (Tensor): Preprocessed images (N, ...) on which outputs are compared.
        fold_batch_norm (bool, optional): Whether to fold, paddings too. Only modules are: what a function does between them nobody knows.
            Default: True
        channels_last (bool, optional): Whether to give the network its images in channels_last. None: where it has two-dimensional
            convolutions and runs on a CPU or in half precision. Default: None

    Returns:
        Arrangement: In the end the network as it is, if all else changes its output.
    """
    modules = [module for owner in modules_of(pipeline.forward_func) for module in owner.modules()]
    half = pipeline.autocast is not None or pipeline.dtype in (torch.float16, torch.bfloat16)
    if channels_last is None:
        channels_last = any(isinstance(m, nn.Conv2d) for m in modules) and (pipeline.device.type == "cpu" or half)
    plain = Arrangement(pipeline.forward_func)
    wanted, reason = plain, None
    if fold_batch_norm and any(type(module) in (*_BATCH_NORMS, nn.ZeroPad2d) for module in modules):
        try:
            wanted = _folded(pipeline, prepared)
        except Exception as error:  # what a network's own code raises when it is copied is anyone's guess
            if is_out_of_memory(error):
                raise
            reason = f"the network cannot be copied: {error}"
    if channels_last:
        wanted = replace(wanted, channels_last=True)
    if not (wanted.copied or wanted.channels_last):
        return replace(plain, reason=reason)
    expected = _run(pipeline, prepared)
    candidates = [
        wanted,
        replace(wanted, channels_last=False),
        replace(plain, channels_last=channels_last),
    ]
    for candidate in {(id(each.forward_func), each.channels_last): each for each in candidates}.values():
        if not (candidate.copied or candidate.channels_last):
            continue
        try:
            same = _same(_run(candidate.applied_to(pipeline), prepared), expected, pipeline)
        except RuntimeError as error:  # .view() of an activation, which channels_last does not allow
            if is_out_of_memory(error):
                raise
            reason = f"channels_last does not suit the network: {error}".splitlines()[0]
            continue
        if same:
            return replace(candidate, reason=reason)
        reason = "the output changed"
    return replace(plain, reason=reason)


def check_arrangement(arrangement: Arrangement, pipeline: Pipeline, images: Tensor, expected: Any) -> bool:
    """Whether the arranged network still gives the ``expected`` output: a network may take other ways for other images."""
    return _same(_run(arrangement.applied_to(pipeline), pipeline.prepare(images)), expected, pipeline)


def _run(pipeline: Pipeline, prepared: Tensor) -> Any:
    with torch.no_grad(), borrowed(pipeline.forward_func):
        return pipeline.run(prepared.clone())  # a copy: a network may work in place


def _same(output: Any, expected: Any, pipeline: Pipeline) -> bool:
    """Whether every floating-point tensor of two outputs is the same up to rounding, and there is one."""
    tolerance = _TOLERANCE[pipeline.autocast or pipeline.dtype]
    values, wanted = (
        [leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.is_floating_point()]
        for leaves in ([in_numbers(leaf) for _, leaf in tensors_in(each)] for each in (output, expected))
    )
    return len(values) == len(wanted) > 0 and all(
        value.shape == want.shape and bool((value - want).abs().max() <= tolerance * want.abs().max().clamp(min=1e-3))
        for value, want in zip(values, wanted, strict=True)
    )


def _folded(pipeline: Pipeline, prepared: Tensor) -> Arrangement:
    """
    A copy with fewer modules to run.

    In it every batch normalization whose input is the output of one layer, and runs once, is part of that layer; and every padding with
    as many zeros on either side is part of the convolution after it, or of the one that it is a child of (as where a network from
    TensorFlow is rebuilt with padding "same").
    """
    if not isinstance(pipeline.forward_func, nn.Module):
        return Arrangement(pipeline.forward_func)
    network = _copied(pipeline.forward_func)
    parents = {child: (parent, name) for parent in network.modules() for name, child in parent.named_children()}
    calls: dict[nn.Module, int] = {}
    producer: dict[int, tuple[nn.Module, Tensor]] = {}  # with the tensor, so that its address is not given to another
    pairs: list[tuple[nn.Module, nn.Module]] = []
    padded: list[tuple[nn.Module, nn.Module]] = []

    def watch(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        calls[module] = calls.get(module, 0) + 1
        if isinstance(module, nn.Conv2d) and len(inputs) == 1:
            padded.extend((pad, module) for pad in module.children() if type(pad) is nn.ZeroPad2d)
            if id(inputs[0]) in producer and type(producer[id(inputs[0])][0]) is nn.ZeroPad2d:
                padded.append((producer[id(inputs[0])][0], module))
        if isinstance(module, (*_LAYERS, nn.ZeroPad2d)) and isinstance(output, Tensor):
            producer[id(output)] = (module, output)
        elif type(module) in _BATCH_NORMS and len(inputs) == 1 and id(inputs[0]) in producer:
            layer, _ = producer[id(inputs[0])]
            if isinstance(layer, _LAYERS):
                pairs.append((layer, module))

    watched = [m for m in network.modules() if isinstance(m, (*_LAYERS, nn.ZeroPad2d)) or type(m) in _BATCH_NORMS]
    with torch.no_grad(), borrowed(network), forward_hooks((module, watch) for module in watched):
        pipeline.with_network(network, False).run(prepared.clone())
    folded = 0
    for layer, norm in pairs:
        if calls[layer] == calls[norm] == 1 and norm in parents and _fold(layer, norm):
            parent, name = parents[norm]
            setattr(parent, name, nn.Identity())
            folded += 1
    paddings = 0
    for pad, layer in padded:
        if calls.get(pad) == calls[layer] == 1 and pad in parents and _pad_itself(pad, layer):
            parent, name = parents[pad]
            setattr(parent, name, nn.Identity())
            paddings += 1
    for module in network.modules():
        module.training = False
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    return Arrangement(network if folded + paddings else pipeline.forward_func, folded=folded, paddings=paddings)


def _copied(network: nn.Module) -> nn.Module:
    """A copy without wrappers: one of torch.compile's would be compiled again, one of DistributedDataParallel's talk to other processes."""
    copies: dict[int, Any] = {}
    for module in reversed(list(network.modules())):  # the innermost first
        if unwrapped(module) is not module:
            copies[id(module)] = copy.deepcopy(unwrapped(module), copies)
    made: nn.Module = copy.deepcopy(unwrapped(network), copies)
    return made


def _pad_itself(pad: nn.Module, layer: nn.Module) -> bool:
    """Have a convolution add a border of zeros itself; False if it adds one already, or sides differ, which it cannot."""
    left, right, top, bottom = pad.padding  # type: ignore[misc]
    if pad._forward_hooks or pad._forward_pre_hooks or layer._forward_pre_hooks or layer.padding_mode != "zeros":
        return False  # someone watches, or its own border would be of another kind
    if (left, top) != (right, bottom) or min(left, top) < 0 or layer.padding not in ((0, 0), "valid"):
        return False
    layer.padding = (top, left)  # type: ignore[assignment]
    return True


@torch.no_grad()
def _fold(layer: nn.Module, norm: nn.Module) -> bool:
    """Put the scaling and shift of a batch normalization into a layer's weights; False if either is not as it should be."""
    weight, bias, mean, variance = layer.weight, layer.bias, norm.running_mean, norm.running_var
    hooked = layer._forward_hooks or layer._forward_pre_hooks or norm._forward_hooks or norm._forward_pre_hooks
    if mean is None or variance is None or hooked or not isinstance(weight, nn.Parameter) or len(weight) != len(mean):  # type: ignore[arg-type]
        return False  # statistics of the batch, someone watching, a weight that is computed from others
    if weight.dtype not in _TOLERANCE:
        return False  # float8, in which scaled weights are others
    # In float64, unlike torch.nn.utils.fusion, whose weights are rounded more than once: of EfficientNet-Lite0's logits the error is half.
    scale = (double(variance) + norm.eps).rsqrt()  # type: ignore[arg-type, operator]
    if norm.weight is not None:
        scale = scale * double(norm.weight)  # type: ignore[arg-type]
    shift = -double(mean) * scale  # type: ignore[arg-type]
    if norm.bias is not None:
        shift = shift + double(norm.bias)  # type: ignore[arg-type]
    if bias is not None:
        shift = shift + double(bias) * scale  # type: ignore[arg-type]
    layer.weight = nn.Parameter((double(weight) * scale.view(-1, *[1] * (weight.dim() - 1))).to(weight))
    layer.bias = nn.Parameter(shift.to(weight))
    return True
