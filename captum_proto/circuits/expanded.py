"""Expanded weights: what a convolution between two layers of a network, however far apart, would have as its kernel."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from captum_proto._utils.checks import as_int, check_images, check_int
from captum_proto._utils.errors import CaptumProtoError, InputError, InputTypeError
from captum_proto._utils.memory import is_out_of_memory
from captum_proto._utils.model import borrowed, named_modules, unwrapped
from captum_proto._utils.modes import in_plain_modes
from captum_proto._utils.pipeline import Pipeline
from captum_proto._utils.scripted import is_scripted
from captum_proto.capture import (
    Capture,
    Layer,
    LayerOutput,
    changed_output,
    channel_axis,
    channels_first,
    find_output,
    forward_hooks,
    gradients_told,
)
from captum_proto.capture.selection import layer_of
from captum_proto.circuits.linear import GateValues, LinearNetwork
from captum_proto.circuits.weights import ExpandedWeights
from captum_proto.models import NamedModel

#: Of a model that does not say, and of what size the maps between two layers are does not matter.
_SIDE = 224
#: Images of a part of the size are multiples of so many pixels, and have so many positions more around the receptive field.
_STEP, _MARGIN = 32, 3
#: By how much what the weights predict may differ from what the network does, as a share of it, in float32.
_ROUNDING = 1e-3


class _Reached(BaseException):
    """The later layer has returned. No Exception, which a model may catch as a failure of its own."""


@in_plain_modes
def expanded_weights(
    forward_func: NamedModel | nn.Module,
    from_layer: Layer,
    to_layer: Layer,
    image_shape: Sequence[int] | None = None,
    *,
    units: Sequence[int] | int | None = None,
    from_units: Sequence[int] | int | None = None,
    position: Sequence[int] | None = None,
    preprocess: Callable[[Tensor], Tensor] | None = None,
    frozen_at: Tensor | None = None,
    batch_size: int = 64,
) -> ExpandedWeights:
    r"""
    Weights between the units of two layers, adjacent or not: the Jacobian of the nearest linear network.

    .. math::
        W_{o,i}(\delta) = \frac{\partial b_o(p)}{\partial a_i(s p + \delta)}

    with a the earlier layer's maps, b the later one's, p a position of it and s the stride between them. What is not linear between the two
    is replaced by the nearest linear map: activation functions such as ReLU, ReLU6 and SiLU by the identity, max pooling by average
    pooling; batch normalization is in evaluation mode. All units share one pass back through the network, in batches, and the receptive
    field is found. Of Voss et al., "Visualizing Weights" (Distill 2021). The result is checked: on random activations the linear network
    must give what the weights predict.

    Two things that depend on the earlier layer and are multiplied, as in a squeeze-and-excitation or an attention, have no linear map
    near them. They are refused, or, with an image given as ``frozen_at``, gates (sigmoid, hard sigmoid, softmax) keep the values that
    they have on it. Layer and group normalizations are refused.

    Args:
        forward_func (NamedModel or nn.Module): The model. It comes back as it was.
        from_layer (str or nn.Module): The earlier layer, as :func:`~captum_proto.capture.capture` names it, with maps (N, C, H, W), or
            vectors (N, C), which count as maps of one position.
        to_layer (str or nn.Module): The later layer.
        image_shape (sequence of int, optional): (C, H, W) of the images that the maps are of. Default: None, the named model's own; of
            another model as many channels as its first convolution takes, 224 x 224
        units (int or sequence of int, optional): Channels of the later layer. Default: None, all
        from_units (int or sequence of int, optional): Channels of the earlier layer. Default: None, all
        position (sequence of int, optional): Of the later layer's map, (row, column). Default: None, the middle, ``n // 2`` along each axis
        preprocess (Callable, optional): From images to what the model takes. Default: None, the named model's own
        frozen_at (Tensor, optional): One image (C, H, W), in [0, 1], on which gates have their values. Default: None
        batch_size (int, optional): Units at a time. Default: 64

    Returns:
        ExpandedWeights: On the CPU, float32, or float64 where the model is.

    Raises:
        ValueError: If there is no such layer, unit or position, nothing leads from the one layer to the other, or what lies between has no
            linear map near it.

    Examples::

        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 4, 3), torch.nn.MaxPool2d(2))
        >>> found = expanded_weights(model, "0", "3", (3, 16, 16))
        >>> found.weights.shape, found.box, found.stride
        (torch.Size([4, 8, 4, 4]), (6, 6, 10, 10), (2, 2))
    """
    linear = LinearizedNetwork(forward_func, from_layer, to_layer, image_shape, preprocess, frozen_at)
    chosen = _chosen(units, linear.to_channels, linear.to_name)
    sources = _chosen(from_units, linear.from_channels, linear.from_name)
    place = _place(position, linear.to_shape, linear.to_name)
    return linear.weights(chosen, sources, place, check_int(batch_size, "batch_size", 1))


class LinearizedNetwork:
    """
    What lies between two layers of a network, made linear.

    Args:
        forward_func, from_layer, to_layer, image_shape, preprocess, frozen_at: As in :func:`expanded_weights`.

    Attributes:
        from_name, to_name (str): Of the layers.
        from_channels, to_channels (int): How many units they have.
        from_shape, to_shape (tuple[int, int]): How many positions.
    """

    def __init__(
        self,
        forward_func: NamedModel | nn.Module,
        from_layer: Layer,
        to_layer: Layer,
        image_shape: Sequence[int] | None = None,
        preprocess: Callable[[Tensor], Tensor] | None = None,
        frozen_at: Tensor | None = None,
    ) -> None:
        named = forward_func if isinstance(forward_func, NamedModel) else None
        model = named.model if named is not None else forward_func
        if not isinstance(model, nn.Module):
            raise InputTypeError(
                f"forward_func is a {type(model).__name__}; expected a torch.nn.Module or a NamedModel."
            )
        self._model = unwrapped(model)
        # Not the wrapper: code compiled for it calls no hooks of the model in it.
        self._pipeline = Pipeline(
            self._model, preprocess if preprocess is not None or named is None else named.preprocess
        )
        shape = _image_shape(image_shape, named, self._model)
        generator = torch.Generator().manual_seed(0)
        image = torch.rand(1, *shape, generator=generator) if frozen_at is None else _single(frozen_at, shape)
        self._image = image.to(self._pipeline.device, self._pipeline.image_dtype)
        self._from, self._to = self._found(from_layer, to_layer)
        self.from_name, self.to_name = self._from.name, self._to.name
        self._from_axis, self.from_channels, self.from_shape = self._layout(self._from)
        self._to_axis, self.to_channels, self.to_shape = self._layout(self._to)
        self._gates: list[Tensor] | None = None
        if frozen_at is not None:
            with borrowed(self._model), torch.no_grad(), GateValues() as kept:
                self._pipeline(self._image)
            self._gates = kept.values

    def _found(self, *layers: Layer) -> list[LayerOutput]:
        """What of a pass is meant by each of some layers: without "#k", its last call."""
        wanted = [find_output(self._model, layer) for layer in layers]
        modules = {layer_of(name, call, path): module for name, module, call, path in wanted}
        try:
            plan = Capture(self._model, self._pipeline, self._image, modules, "all")
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            raise InputError(
                f"the model cannot be run on an image of shape {tuple(self._image.shape[1:])} ({error}); give its image_shape."
            ) from error
        found = []
        for name, _, call, path in wanted:
            layer = layer_of(name, call, path)
            fitting = [each for each in plan.outputs if each.layer == layer and tuple(map(str, each.path)) == path]
            of_call = [each for each in fitting if call is None or each.call == call]
            if not of_call:
                raise InputError(f'layer "{name}" is not among what the model returned: {", ".join(plan.names)}.')
            found.append(max(of_call, key=lambda each: each.call))
        return found

    def _layout(self, output: LayerOutput) -> tuple[int, int, tuple[int, int]]:
        """Of a layer's output the axis of channels, how many there are, and how many positions."""
        shape = (1, *output.shape)
        if output.batch_axis != 0 or output.outer != 1 or len(shape) not in (2, 4):
            raise InputError(
                f'layer "{output.name}" returns {tuple(output.shape)} for an image; expanded weights are of maps (C, H, W) or vectors (C,).'
            )
        axis = channel_axis(find_output(self._model, output.layer)[1], shape) if len(shape) == 4 else 1
        sizes = channels_first(torch.empty(shape, device="meta"), axis).shape
        return axis, sizes[1], (sizes[2], sizes[3]) if len(shape) == 4 else (1, 1)

    def run(self, source: Tensor) -> Tensor:
        """
        The later layer's maps from the earlier layer's, through the linear network.

        Args:
            source (Tensor): (1, C, H, W).

        Returns:
            Tensor: (1, C', H', W'), with its graph.
        """
        return self._passed(lambda output, axis: _as_output(source, output, axis))

    def path(self) -> None:
        """
        See that something leads from the one layer to the other.

        Raises:
            ValueError: If nothing does, or what lies between has no linear map near it.
        """
        if not self.run(self._start()).requires_grad:
            raise self._no_path()

    def _start(self) -> Tensor:
        """Random activations of the earlier layer, which need a gradient."""
        generator = torch.Generator().manual_seed(1)
        values = torch.randn(1, self.from_channels, *self.from_shape, generator=generator)
        return values.to(self._pipeline.device, self._pipeline.dtype).requires_grad_()

    def _passed(self, replace: Callable[[Tensor, int], Tensor]) -> Tensor:
        """Run the network to the later layer, with the earlier layer's output replaced, and keep what comes of it."""
        kept: list[Tensor] = []
        running: list[str] = []
        names = {id(module): name for name, module in named_modules(self._model)}

        def at_end(output: Tensor) -> None:
            kept.append(channels_first(output, self._to_axis) if output.dim() == 4 else output[:, :, None, None])
            raise _Reached

        def enter(module: nn.Module, _inputs: Any, _named: Any) -> None:
            running.append(names.get(id(module), ""))

        def leave(_module: nn.Module, _inputs: Any, _output: Any) -> None:
            if running:
                running.pop()

        modules = [module for module in self._model.modules() if not is_scripted(module)]
        with (
            borrowed(self._model),
            gradients_told(self._model),
            torch.enable_grad(),
            forward_hooks([(module, leave) for module in modules], [(module, enter) for module in modules]),
            changed_output(self._model, _call_of(self._from), lambda output: replace(output, self._from_axis)),
            changed_output(self._model, _call_of(self._to), at_end),
            LinearNetwork(self._gates, lambda: running[-1] if running else ""),
            contextlib.suppress(_Reached),
        ):
            self._pipeline(self._image)
        if not kept:
            raise InputError(
                f'layer "{self.to_name}" did not run this time; expanded weights need a model of one path.'
            )
        return kept[0]

    def weights(
        self, units: list[int], from_units: list[int], position: tuple[int, int], batch_size: int
    ) -> ExpandedWeights:
        """
        The weights of some units at a position, cropped to their receptive field, and checked.

        Raises:
            ValueError: If nothing leads from the one layer to the other, or the network between them is not linear.
        """
        source = self._start()
        output = self.run(source)
        if not output.requires_grad:
            raise self._no_path()
        values = output[0, units, position[0], position[1]]
        box = self._box(values, source)
        if box is None:
            raise self._no_path()
        weights = self._from_small(units, box, batch_size)
        if weights is None or not self._error(weights, values, source, units, position, box) < _ROUNDING:
            weights = self._cut(values, source, box, batch_size)
            self._check(weights, values, source, units, position, box)
        stride = self._stride(output, source, units, position, box)
        kept = weights[:, from_units].cpu()
        names = self.from_name, self.to_name
        return ExpandedWeights(kept, *names, from_units, units, position, box, self.from_shape, self.to_shape, stride)

    def _cut(self, values: Tensor, source: Tensor, box: tuple[int, int, int, int], batch_size: int) -> Tensor:
        """The gradient of some values, in a box, (O, C, h, w)."""
        top, left, bottom, right = box
        parts = [
            _jacobian(values[begin : begin + batch_size], source)[:, :, top:bottom, left:right]
            for begin in range(0, len(values), batch_size)
        ]
        return torch.cat(parts)

    def _from_small(self, units: list[int], box: tuple[int, int, int, int], batch_size: int) -> Tensor | None:
        """
        The weights from an image hardly larger than the receptive field, which is much less work; None where that is none, or cannot be.

        Away from borders a convolutional network is the same everywhere. Whether this one is, is seen from the whole image afterwards.
        """
        top, left, bottom, right = box
        inside = top > 0 and left > 0 and bottom < self.from_shape[0] and right < self.from_shape[1]
        sides = [
            _STEP * -(-side * (field + 2 * _MARGIN) // (have * _STEP))
            for side, field, have in zip(
                self._image.shape[2:], (bottom - top, right - left), self.from_shape, strict=True
            )
        ]
        if not inside or self._gates is not None or 4 * math.prod(sides) > 3 * math.prod(self._image.shape[2:]):
            return None
        shape = (self._image.shape[1], *sides)
        try:
            small = LinearizedNetwork(self._model, self._from.name, self._to.name, shape, self._pipeline.preprocess)
        except (CaptumProtoError, RuntimeError):
            return None  # a network of one size alone
        source = small._start()
        output = small.run(source)
        values = output[0, units, small.to_shape[0] // 2, small.to_shape[1] // 2]
        found = small._box(values, source) if values.requires_grad else None
        if found is None or (found[2] - found[0], found[3] - found[1]) != (bottom - top, right - left):
            return None
        return small._cut(values, source, found, batch_size)

    def _box(self, values: Tensor, source: Tensor) -> tuple[int, int, int, int] | None:
        """The positions that some values depend on; None where there are none."""
        generator = torch.Generator().manual_seed(2)
        weights = 0.5 + torch.rand(len(values), generator=generator).to(
            values
        )  # of different size: nothing cancels out
        (gradient,) = torch.autograd.grad(values, source, weights, retain_graph=True, allow_unused=True)
        if gradient is None or not bool((gradient != 0).any()):
            return None
        there = (gradient[0] != 0).any(0)
        rows, columns = there.any(1).nonzero().flatten().tolist(), there.any(0).nonzero().flatten().tolist()
        return rows[0], columns[0], rows[-1] + 1, columns[-1] + 1

    def _stride(
        self,
        output: Tensor,
        source: Tensor,
        units: list[int],
        position: tuple[int, int],
        box: tuple[int, int, int, int],
    ) -> tuple[int, int]:
        """By how much the field of the next position is farther on."""
        # A step towards the middle of the map along both axes, where nothing is cut off.
        steps = [
            0 if side == 1 else 1 if place + 1 < side else -1
            for place, side in zip(position, self.to_shape, strict=True)
        ]
        if not any(steps):
            return 1, 1
        place = [position[axis] + steps[axis] for axis in (0, 1)]
        other = self._box(output[0, units, place[0], place[1]], source) or box
        strides = [
            max(steps[axis] * (other[axis + n] - box[axis + n]) for n in (0, 2)) if steps[axis] else 1
            for axis in (0, 1)
        ]
        return strides[0], strides[1]

    def _check(
        self,
        weights: Tensor,
        values: Tensor,
        source: Tensor,
        units: list[int],
        position: tuple[int, int],
        box: tuple[int, int, int, int],
    ) -> None:
        """See that the network does on other activations what the weights predict."""
        error = self._error(weights, values, source, units, position, box)
        if not error < _ROUNDING and self._pipeline.dtype in (torch.float16, torch.bfloat16):
            raise InputError(
                f'the network between "{self.from_name}" and "{self.to_name}" is off by {error:.1%} of a linear one, which may be the '
                f"rounding of its {str(self._pipeline.dtype).removeprefix('torch.')} weights; give it in float32: model.float()."
            )
        if not error < _ROUNDING:
            raise InputError(
                f'the network between "{self.from_name}" and "{self.to_name}" is not linear without its activation functions (off by '
                f"{error:.1%}); {self._culprit()}choose layers between which there are convolutions, linear layers, poolings, batch "
                "normalizations and activation functions that PyTorch knows."
            )

    def _error(
        self,
        weights: Tensor,
        values: Tensor,
        source: Tensor,
        units: list[int],
        position: tuple[int, int],
        box: tuple[int, int, int, int],
    ) -> float:
        """How far from what the network does on other activations that is which the weights predict, as a share of it."""
        top, left, bottom, right = box
        generator = torch.Generator().manual_seed(3)
        other = 3 * torch.randn(source.shape, generator=generator).to(source)
        found = self.run(other.requires_grad_()).detach()[0, units, position[0], position[1]]
        moved = (other - source).detach()[0, :, top:bottom, left:right]
        predicted = torch.einsum("oiyx,iyx->o", weights, moved)
        scale = float(found.abs().max() + values.detach().abs().max()) or 1.0
        return float((found - values.detach() - predicted).abs().max()) / scale

    def _culprit(self) -> str:
        """Which layer between the two is not linear, as a sentence's beginning; empty where it is none of the modules."""
        outputs: list[dict[str, tuple[Tensor, Tensor]]] = []
        leaves = [
            (name, module)
            for name, module in named_modules(self._model)
            if not is_scripted(module) and not list(module.children())
        ]
        zero = torch.zeros_like(self._start())
        for source in (zero, self._start().detach(), 2 * self._start().detach()):
            seen: dict[str, tuple[Tensor, Tensor]] = {}

            def keep(name: str, seen: dict[str, tuple[Tensor, Tensor]] = seen) -> Callable[..., None]:
                def hook(_module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
                    if inputs and isinstance(inputs[0], Tensor) and isinstance(output, Tensor):
                        seen.setdefault(name, (inputs[0].detach().clone(), output.detach().clone()))

                return hook

            with forward_hooks([(module, keep(name)) for name, module in leaves]):
                self.run(source.requires_grad_())
            outputs.append(seen)
        for name in outputs[0]:
            if all(name in each for each in outputs):
                given, made = ([each[name][n] for each in outputs] for n in (0, 1))
                if _bend(given) < _ROUNDING < _bend(made):
                    return f'layer "{name}" is not; '
        return ""

    def _no_path(self) -> InputError:
        return InputError(
            f'no path leads from "{self.from_name}" to "{self.to_name}": no unit there depends on any here; choose a later layer, or an '
            "earlier one to begin from."
        )


def _bend(values: Sequence[Tensor]) -> float:
    """How far values at 0, r and 2 r are from a line, as a share of their size."""
    zero, once, twice = values
    scale = float((twice - zero).abs().max())
    return float((twice - 2 * once + zero).abs().max()) / scale if scale else 0.0


def _jacobian(values: Tensor, source: Tensor) -> Tensor:
    """(O, C, H, W), the gradient of each value; at once, or one by one where code of the model's own has no batched gradient."""
    ones = torch.eye(len(values), dtype=values.dtype, device=values.device)
    try:
        (found,) = torch.autograd.grad(values, source, ones, retain_graph=True, is_grads_batched=True)
    except RuntimeError:
        rows = [torch.autograd.grad(values, source, one, retain_graph=True)[0] for one in ones]
        found = torch.stack(rows)
    return found[:, 0]


def _as_output(source: Tensor, output: Tensor, axis: int) -> Tensor:
    """Maps (1, C, H, W) as the layer would return them; a copy, which later layers may change in place."""
    if output.dim() == 2:
        return source[:, :, 0, 0].to(output.dtype).clone()
    return source.movedim(1, axis).to(output.dtype).clone()


def _call_of(output: LayerOutput) -> str:
    return f"{output.layer}#{output.call}" + "".join(f"[{key}]" for key in output.path)


def _image_shape(given: Sequence[int] | None, named: NamedModel | None, model: nn.Module) -> tuple[int, ...]:
    if given is None and named is not None:
        return named.image_shape
    if given is None:
        first = next((module for module in model.modules() if isinstance(module, nn.Conv2d)), None)
        return (first.in_channels if first is not None else 3, _SIDE, _SIDE)
    shape = tuple(check_int(side, "a side of image_shape", 1) for side in given)
    if len(shape) != 3:
        raise InputError(f"image_shape is {shape}; expected (C, H, W).")
    return shape


def _single(image: Any, shape: tuple[int, ...]) -> Tensor:
    """An image as a batch of one."""
    batch = check_images(
        image.unsqueeze(0) if isinstance(image, Tensor) and image.dim() == 3 else image, None, "frozen_at"
    )
    if tuple(batch.shape) != (1, *shape):
        raise InputError(f"frozen_at has shape {tuple(batch.shape)}; expected one image of shape {shape}.")
    return batch.detach()


def _chosen(units: Sequence[int] | int | None, count: int, layer: str) -> list[int]:
    if units is None:
        return list(range(count))
    single = as_int(units)
    given = [single] if single is not None else [as_int(unit) for unit in units]  # type: ignore[union-attr]
    found = [unit for unit in given if unit is not None]
    if not given or len(found) < len(given) or len(set(found)) < len(found):
        raise InputError(f"units are {units!r}; expected channels, counted from 0, each once.")
    if not all(0 <= unit < count for unit in found):
        raise InputError(f'unit is {max(found, key=abs)}; layer "{layer}" has units 0 to {count - 1}.')
    return found


def _place(position: Sequence[int] | None, shape: tuple[int, int], layer: str) -> tuple[int, int]:
    if position is None:
        return shape[0] // 2, shape[1] // 2
    given = [as_int(each) for each in position]
    if len(given) != 2 or any(each is None or not 0 <= each < side for each, side in zip(given, shape, strict=False)):
        raise InputError(
            f'position is {tuple(position)}, but layer "{layer}" has {shape[0]} x {shape[1]} positions, counted from 0.'
        )
    return given[0], given[1]  # type: ignore[return-value]  # neither is None


__all__ = ["LinearizedNetwork", "expanded_weights"]
