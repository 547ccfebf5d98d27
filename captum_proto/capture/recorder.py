"""What some layers return in each pass of an optimization, with gradients."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from captum_proto._utils.errors import InputError
from captum_proto._utils.model import modules_of
from captum_proto._utils.wrappers import inner_name
from captum_proto.capture.channels import Place, channel_axes, channel_axis
from captum_proto.capture.hooks import Hook, InputHook, forward_hooks, in_numbers
from captum_proto.capture.inputs import attention_of, before_projection, split
from captum_proto.capture.layout import Layout, find_layouts
from captum_proto.capture.selection import Layer, find_output, layer_of


class _Recorded(BaseException):
    """All that was to be recorded is. No Exception, which a model may catch as a failure of its own."""


@dataclass
class _Watched:
    """One layer that is recorded: its module, which call of it, the keys from there, and whether its input is what counts."""

    module: nn.Module
    call: int | None
    path: tuple[str, ...]
    is_input: bool
    attention: nn.Module | None = None

    def hooks(
        self, keep: Callable[[Any], Any]
    ) -> tuple[list[tuple[nn.Module, Hook]], list[tuple[nn.Module, InputHook]]]:
        """The hooks that hand what it returned to ``keep``, and put what that gives, if anything, into its place."""
        if self.attention is not None:
            before, after = before_projection(keep)
            return [(self.attention, after)], [(self.attention, before)]
        if self.is_input:
            return [], [(self.module, lambda _module, given, named: keep((*given, *named.values())[0]))]
        return [(self.module, lambda _module, given, output: keep(output))], []


@dataclass
class Source:
    """
    Where in the graph of gradients a layer's output is that :meth:`LayerRecorder.take` gave.

    Attributes:
        edge (GradientEdge or None): Where the layer returned it, before a later in-place layer could change it; None without gradients.
        layout (Layout, str or None): Where each image is in it.
        batch (int): How many images there were.
    """

    edge: GradientEdge | None
    layout: Layout | str | None
    batch: int

    def gradient(self, of: Tensor, weights: Tensor | None = None, create_graph: bool = False) -> Tensor | None:
        """
        The gradient of later values with respect to the output. The graph stays.

        Args:
            of (Tensor): What the same pass led to.
            weights (Tensor, optional): Of its shape: the gradient is that of ``(of * weights).sum()``. Default: None, of a single value
            create_graph (bool, optional): Whether the gradient has a gradient itself. Default: False

        Returns:
            Tensor or None: (N, ...), batch first, as the output was given; None where the values do not depend on it.
        """
        if self.edge is None:
            return None
        (gradient,) = torch.autograd.grad(
            of, self.edge, weights, retain_graph=True, create_graph=create_graph, allow_unused=True
        )
        return _batch_first(gradient, self.layout, self.batch)


class LayerRecorder:
    r"""
    Records what some layers return, with gradients, batch first and in their own shapes: for objectives that look into a network.

    An output is copied inside the hook, before a later in-place layer can change it. A copy of the network that is made while recording
    records too: that is how a network with folded batch normalizations is watched.

    Args:
        forward_func (Callable): The model, or a function that refers to it.
        layers (iterable of str or nn.Module): Dotted names or modules of the model. Names are those of :func:`capture`: ``"relu#1"`` is the
            second call of a layer, ``"lstm[0]"`` the first tensor of a tuple. Without ``#k``, of several calls in one pass the last.
            ``"blocks.0.attn.proj@input"`` is what goes into a layer, its first argument: of an attention's output projection, what the
            heads return, side by side. ``nn.MultiheadAttention`` and torchvision's Swin use the weights of that layer without running it;
            their attention is then run once more in each pass, without it.

    Attributes:
        planned (bool): Whether it is known where each image is in what the layers return: after :meth:`plan`, or where there are none.

    Raises:
        ValueError: If the model has no such layer.

    Examples::

        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(inplace=True))
        >>> recorder = LayerRecorder(model, ["0"])
        >>> with recorder.recording():
        ...     output = model(torch.randn(2, 4, requires_grad=True))
        ...     before = recorder.take(2)["0"]
        >>> before.shape, before.requires_grad, bool((before.relu() == output).all())
        (torch.Size([2, 3]), True, True)
    """

    def __init__(self, forward_func: Callable[..., Any], layers: Iterable[Layer]) -> None:
        self._hooks: list[tuple[nn.Module, Hook]] = []
        self._input_hooks: list[tuple[nn.Module, InputHook]] = []
        self._calls: dict[Layer, int] = {}
        self._kept: dict[Layer, Any] = {}
        self._edges: dict[Layer, GradientEdge] = {}
        self._seen: dict[Layer, int] = {}
        self._goals: dict[Layer, int] = {}
        self._layouts: dict[Layer, Layout | str] = {}
        self._axes: dict[Layer, int] = {}
        self._forward_func = forward_func
        self._watched: dict[Layer, _Watched] = {}
        for layer in dict.fromkeys(layers):
            plain, is_input = split(layer)
            name, module, call, path = find_output(forward_func, plain)
            if is_input and path:
                raise InputError(f'layer "{layer}" is no input of a layer; leave the brackets out.')
            attention = attention_of(forward_func, layer_of(name, call, path)) if is_input else None
            watched = self._watched[layer] = _Watched(module, call, path, is_input, attention)
            after, before = watched.hooks(
                _keeping(self._calls, self._kept, self._edges, self._goals, layer, call, path)
            )
            self._hooks += after
            self._input_hooks += before
        self.planned = not self._watched

    def plan(self, forward: Callable[[Tensor], Any], image: Tensor) -> None:
        """
        Watch a few small passes, to tell where each image is in what the layers return, as :class:`Capture` does, and where its channels
        are.

        Without it, the first axis is taken for the batch. With it, ``take`` puts the batch first, wherever it was; windows or views that
        shared its axis come second: (N, windows, …).

        Args:
            forward (Callable): Runs the network on a batch of images.
            image (Tensor): One image, (1, ...).
        """
        modules = {str(number): watched.module for number, watched in enumerate(self._watched.values())}
        found = find_layouts(self._forward_func, forward, image, modules, self._watching)
        axes = channel_axes(self._forward_func, forward, image, list(modules.values()))
        for number, (layer, watched) in enumerate(self._watched.items()):
            calls = {
                key[1]: layout
                for key, layout in found.items()
                if key[0] == str(number) and tuple(map(str, key[2])) == watched.path
            }
            last = max(calls, default=0) if watched.call is None else watched.call
            if last not in calls:
                continue
            layout = self._layouts[layer] = calls[last]
            axis = None if watched.is_input else _axis_at(axes[watched.module], last, watched.path)
            if axis is not None and isinstance(layout, Layout) and axis[0] != layout.batch_axis:
                # Counted from the end, where neither the batch, moved to the front, nor windows, which come second, make a difference.
                self._axes[layer] = axis[0] + (axis[0] < layout.batch_axis) - axis[1]
        self.clear()
        self.planned = True

    @contextlib.contextmanager
    def _watching(self, _modules: Any, on_return: Callable[[str, int, Any], None]) -> Iterator[None]:
        """As :func:`hooked`, of what the recorder watches: inputs too."""
        calls = [0] * len(self._watched)

        def keep_of(number: int) -> Callable[[Any], None]:
            def keep(value: Any) -> None:
                calls[number] += 1
                on_return(str(number), calls[number] - 1, value)

            return keep

        each = [watched.hooks(keep_of(number)) for number, watched in enumerate(self._watched.values())]
        with forward_hooks(
            (hook for after, _ in each for hook in after), (hook for _, before in each for hook in before)
        ):
            yield

    @contextlib.contextmanager
    def recording(self) -> Iterator[None]:
        """Record for the length of the block."""
        try:
            with forward_hooks(self._hooks, self._input_hooks):
                yield
        finally:
            self.clear()

    @property
    def may_end_early(self) -> bool:
        """Whether it is known, from a pass that went to its end, after which call of each layer all is recorded."""
        if not self._watched or set(self._seen) != set(self._watched) or self._is_wrapped:
            return False
        # The last of several calls is known as such only when the pass has ended: the next one may have more.
        return all(watched.call is not None or self._seen[layer] == 0 for layer, watched in self._watched.items())

    @cached_property
    def _is_wrapped(self) -> bool:
        """Whether a part of the model is compiled or parallel: what a hook raises there does not come out as it went in."""
        owners = modules_of(self._forward_func)
        return any(inner_name(module) is not None for owner in owners for module in owner.modules())

    def run_until_recorded(self, forward: Callable[[], Any]) -> None:
        """
        Run a network no farther than the last layer that is recorded, where :attr:`may_end_early`.

        Args:
            forward (Callable): Runs it once, while :meth:`recording`.
        """
        self._goals.update((layer, watched.call or 0) for layer, watched in self._watched.items())
        try:
            with contextlib.suppress(_Recorded):
                forward()
        finally:
            self._goals.clear()  # a checkpointed part runs once more for its gradients, then to its end

    def clear(self) -> None:
        """Forget what was recorded: the next pass begins."""
        self._calls.clear()
        self._kept.clear()
        self._edges.clear()

    def take(self, batch: int) -> dict[Layer, Tensor]:
        """
        What the layers returned in the last pass; the recorder forgets it.

        Args:
            batch (int): How many images there were.

        Returns:
            dict[str or nn.Module, Tensor]: (N, ...) by the name or module that was asked for; see :meth:`plan`.

        Raises:
            ValueError: If a layer did not run, or returned no tensor with one entry for each image.
        """
        return {layer: value for layer, (value, _) in self.take_with_sources(batch).items()}

    def take_with_sources(self, batch: int) -> dict[Layer, tuple[Tensor, Source]]:
        """As :meth:`take`, each with what it was made of: see :class:`Source`."""
        taken: dict[Layer, tuple[Tensor, Source]] = {}
        kept, edges, self._seen = dict(self._kept), dict(self._edges), dict(self._calls)
        self.clear()
        for layer in self._watched:
            value, layout = kept.get(layer), self._layouts.get(layer)
            images = _batch_first(value, layout, batch)
            if images is None or not isinstance(value, Tensor):
                got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
                got = "nothing, for it did not run" if value is None else got
                got += f" ({layout})" if isinstance(layout, str) else ""
                name = f'layer "{layer}"' if isinstance(layer, str) else f"the {type(layer).__name__} given as a layer"
                raise InputError(
                    f"{name} returned {got}; expected a tensor with one entry for each of the {batch} images: choose another layer."
                )
            taken[layer] = images, Source(edges.get(layer), layout, batch)
        return taken

    def channel_axis(self, layer: Layer, value: Tensor) -> int:
        """Which axis of what a layer returned, as :meth:`take` gives it, holds its channels."""
        watched = self._watched[layer]
        if layer in self._axes:
            return value.dim() + self._axes[layer]
        if watched.is_input and isinstance(watched.module, nn.Linear):
            return value.dim() - 1
        return channel_axis(watched.module, tuple(value.shape))


def _axis_at(axes: dict[Place, tuple[int, int]], call: int, path: tuple[str, ...]) -> tuple[int, int] | None:
    return next((axis for (at, keys), axis in axes.items() if at == call and tuple(map(str, keys)) == path), None)


def _batch_first(value: Any, layout: Layout | str | None, batch: int) -> Tensor | None:
    """What a layer returned, with one entry for each image; None where it has not, or a plan says that it never has."""
    if not isinstance(value, Tensor) or isinstance(layout, str):
        return None
    if layout is not None:
        if value.numel() != batch * math.prod(layout.shape):
            return None
        value = layout.images(value, batch)
    return value if value.dim() >= 2 and len(value) == batch else None


def _keeping(
    calls: dict[Layer, int],
    kept: dict[Layer, Any],
    edges: dict[Layer, GradientEdge],
    goals: dict[Layer, int],
    layer: Layer,
    call: int | None,
    path: tuple[str, ...],
) -> Callable[[Any], None]:
    """A plain function: what is copied along with a network would record into copies of these dictionaries."""

    def keep(output: Any) -> None:
        index = calls[layer] = calls.get(layer, -1) + 1
        if call is None or call == index:
            for key in path:
                output = _item(output, key)
            output = in_numbers(output)
            kept[layer] = output.clone() if isinstance(output, Tensor) else output
            if isinstance(output, Tensor) and output.requires_grad:
                edges[layer] = get_gradient_edge(output)
        if goals and all(calls.get(each, -1) >= goal for each, goal in goals.items()):
            raise _Recorded

    return keep


def _item(value: Any, key: str) -> Any:
    """What a tuple or dict holds under a key, as names spell it."""
    if isinstance(value, Mapping):
        return next((item for name, item in value.items() if str(name) == key), None)
    if isinstance(value, (tuple, list)) and key.isdigit() and int(key) < len(value):
        return value[int(key)]
    return None


__all__ = ["LayerRecorder", "Source"]
