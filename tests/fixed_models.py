"""Models that PyTorch has fixed: scripted, traced, frozen, exported, quantized, in half precision and with weights in float8."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from networks import SmallCNN, seeded
from torch import Tensor, nn


def small() -> SmallCNN:
    """The plain network that all of these are made from."""
    return seeded(SmallCNN).eval()


def made(make: Callable[..., Any], *arguments: Any) -> Any:
    """What a function of PyTorch's makes, its deprecations left unsaid; skips where this PyTorch has it no more."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return make(*arguments)
        except (AttributeError, ImportError) as error:
            pytest.skip(f"this PyTorch does not have it: {error}")


def scripted(model: nn.Module, images: Tensor) -> Any:
    return torch.jit.script(model)


def traced(model: nn.Module, images: Tensor) -> Any:
    return torch.jit.trace(model, images[:2])


def frozen(model: nn.Module, images: Tensor) -> Any:
    return torch.jit.freeze(torch.jit.script(model))


def exported(model: nn.Module, images: Tensor) -> Any:
    dynamic = ({0: torch.export.Dim.DYNAMIC},)
    return torch.export.export(model, (images,), dynamic_shapes=dynamic).module()


def dynamic(model: nn.Module, images: Tensor) -> Any:
    """Its linear layer with weights in int8; what goes in and comes out are floats."""
    return torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)


class Quantizable(nn.Module):
    """:class:`networks.SmallCNN` as eager quantization wants it written."""

    def __init__(self, model: SmallCNN) -> None:
        super().__init__()
        self.quant, self.dequant = torch.ao.quantization.QuantStub(), torch.ao.quantization.DeQuantStub()
        self.stem, self.block, self.dropout, self.head = model.stem, model.block, model.dropout, model.head
        self.relu, self.sum = nn.ReLU(), torch.ao.nn.quantized.FloatFunctional()

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.stem(self.quant(x)))
        y = self.sum.add(self.block(x), x)
        y = nn.functional.adaptive_avg_pool2d(self.relu(y), 4)
        return self.dequant(self.head(self.dropout(y.flatten(1))))


def static(model: SmallCNN, images: Tensor) -> Any:
    """All of it in int8, by eager quantization."""
    network = Quantizable(model).eval()
    network.qconfig = torch.ao.quantization.get_default_qconfig(torch.backends.quantized.engine)
    prepared = torch.ao.quantization.prepare(network)
    prepared(images)
    return torch.ao.quantization.convert(prepared)


def fx(model: SmallCNN, images: Tensor) -> Any:
    """All of it in int8, by quantization of the graph."""
    from torch.ao.quantization import quantize_fx

    mapping = torch.ao.quantization.get_default_qconfig_mapping(torch.backends.quantized.engine)
    prepared = quantize_fx.prepare_fx(model, mapping, (images,))
    prepared(images)
    return quantize_fx.convert_fx(prepared)


class _Float8Conv2d(nn.Conv2d):
    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return super()._conv_forward(x, weight.to(x.dtype), bias)


class _Float8Linear(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.weight.to(x.dtype), self.bias)


def float8(model: nn.Module, images: Tensor) -> Any:
    """Weights kept in float8, and computed with in the dtype of the images."""
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.__class__ = _Float8Conv2d if isinstance(module, nn.Conv2d) else _Float8Linear
            module.weight = nn.Parameter(module.weight.detach().to(torch.float8_e4m3fn), requires_grad=False)
    return model


def rounded(model: nn.Module) -> nn.Module:
    """In float32, with weights rounded as :func:`float8` rounds them."""
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.weight.data = module.weight.data.to(torch.float8_e4m3fn).float()
    return model


class Unrecognized(nn.Module):
    """A layer that runs another one which nobody finds: an iterator refers to it."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self._layer = itertools.repeat(layer)

    def forward(self, x: Tensor) -> Tensor:
        return next(self._layer)(x)


class _Given(nn.Module):
    """A layer that gets what another one got, and returns what that returned."""

    def forward(self, x: Tensor, returned: Tensor) -> Tensor:
        return returned


class _GivenBatchNorm(_Given):
    """The same of a batch normalization, with its statistics."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.eps = norm.eps
        for name in ("running_mean", "running_var"):
            self.register_buffer(name, getattr(norm, name).clone())


class Twin(nn.Module):
    """
    A float model that runs a quantized one, with a layer for each of its own, which returns what that returned, dequantized.

    What looks at layers sees in it what it should see in the quantized one. It is written with PyTorch's hooks and nothing of the package.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._model = itertools.repeat(model)
        self._names = [name for name, module in model.named_modules() if name and "_packed_params" not in name]
        for name in self._names:
            parent, _, last = name.rpartition(".")
            layer = model.get_submodule(name)
            given = _GivenBatchNorm(layer) if isinstance(layer, nn.modules.batchnorm._BatchNorm) else _Given()
            self.get_submodule(parent).add_module(last, given)

    def forward(self, x: Tensor) -> Tensor:
        model = next(self._model)

        def hook_of(name: str) -> Callable[..., None]:
            def hook(_module: nn.Module, inputs: Any, output: Tensor) -> None:
                values = [each.dequantize() if each.is_quantized else each for each in (inputs[0], output)]
                self.get_submodule(name)(*values)

            return hook

        handles = [model.get_submodule(name).register_forward_hook(hook_of(name)) for name in self._names]
        try:
            return model(x)
        finally:
            for handle in handles:
                handle.remove()
