"""What some layers return in each pass of an optimization, with gradients."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from captum_proto._utils.errors import InputError
from captum_proto.capture.channels import channel_axis
from captum_proto.capture.hooks import Hook, forward_hooks
from captum_proto.capture.layout import Layout, find_layouts
from captum_proto.capture.selection import Layer, find_output


class LayerRecorder:
    r"""
    Records what some layers return, with gradients, batch first and in their own shapes: for objectives that look into a network.

    An output is copied inside the hook, before a later in-place layer can change it. A copy of the network that is made while recording
    records too: that is how a network with folded batch normalizations is watched.

    Args:
        forward_func (Callable): The model, or a function that refers to it.
        layers (iterable of str or nn.Module): Dotted names or modules of the model. Names are those of :func:`capture`: ``"relu#1"`` is the
            second call of a layer, ``"lstm[0]"`` the first tensor of a tuple. Without ``#k``, of several calls in one pass the last.

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
        self._calls: dict[Layer, int] = {}
        self._kept: dict[Layer, Any] = {}
        self._edges: dict[Layer, GradientEdge] = {}
        self._taken_edges: dict[Layer, GradientEdge] = {}
        self._layouts: dict[Layer, Layout | str] = {}
        self._forward_func = forward_func
        self._outputs: dict[Layer, tuple[nn.Module, int | None, tuple[str, ...]]] = {}
        for layer in dict.fromkeys(layers):
            _, module, call, path = find_output(forward_func, layer)
            self._outputs[layer] = module, call, path
            self._hooks.append((module, _keeping(self._calls, self._kept, self._edges, layer, call, path)))
        self.planned = not self._outputs

    def plan(self, forward: Callable[[Tensor], Any], image: Tensor) -> None:
        """
        Watch a few small passes, to tell where each image is in what the layers return, as :class:`Capture` does.

        Without it, the first axis is taken for the batch. With it, ``take`` puts the batch first, wherever it was; windows or views that
        shared its axis come second: (N, windows, …).

        Args:
            forward (Callable): Runs the network on a batch of images.
            image (Tensor): One image, (1, ...).
        """
        modules = {str(number): module for number, (module, _, _) in enumerate(self._outputs.values())}
        found = find_layouts(self._forward_func, forward, image, modules)
        for number, (layer, (_, call, path)) in enumerate(self._outputs.items()):
            calls = {
                key[1]: layout
                for key, layout in found.items()
                if key[0] == str(number) and tuple(map(str, key[2])) == path
            }
            last = max(calls, default=0) if call is None else call
            if last in calls:
                self._layouts[layer] = calls[last]
        self.clear()
        self.planned = True

    @contextlib.contextmanager
    def recording(self) -> Iterator[None]:
        """Record for the length of the block."""
        try:
            with forward_hooks(self._hooks):
                yield
        finally:
            self.clear()
            self._taken_edges.clear()

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
        taken: dict[Layer, Tensor] = {}
        kept, self._taken_edges = dict(self._kept), dict(self._edges)
        self.clear()
        for layer in self._outputs:
            value, layout = kept.get(layer), self._layouts.get(layer)
            images = _batch_first(value, layout, batch)
            if images is None:
                got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
                got = "nothing, for it did not run" if value is None else got
                got += f" ({layout})" if isinstance(layout, str) else ""
                name = f'layer "{layer}"' if isinstance(layer, str) else f"the {type(layer).__name__} given as a layer"
                raise InputError(
                    f"{name} returned {got}; expected a tensor with one entry for each of the {batch} images: choose another layer."
                )
            taken[layer] = images
        return taken

    def gradient(self, layer: Layer, scores: Tensor, weights: Tensor, batch: int, create_graph: bool = False) -> Tensor:
        """
        The gradient of weighted scores with respect to what a layer returned in the pass that was taken last, as it was returned.

        Args:
            layer (str or nn.Module): One of the layers.
            scores (Tensor): What that pass led to, any shape.
            weights (Tensor): Of the same shape: the gradient is that of ``(scores * weights).sum()``.
            batch (int): How many images there were.
            create_graph (bool, optional): Whether the gradient has a gradient itself; the pass's graph stays either way. Default: False

        Returns:
            Tensor: (N, ...), batch first, as :meth:`take` gives what the layer returned; zero where scores do not depend on it.

        Raises:
            ValueError: If what the layer returned has no gradient.
        """
        if layer not in self._taken_edges:
            raise InputError(
                f'what "{layer}" returned has no gradient with respect to the images; choose another layer, or a model that is '
                "differentiable up to it."
            )
        (found,) = torch.autograd.grad(
            scores,
            self._taken_edges[layer],
            weights,
            retain_graph=True,
            create_graph=create_graph,
            materialize_grads=True,
        )
        gradient = _batch_first(found, self._layouts.get(layer), batch)
        assert gradient is not None  # it has the shape of what was taken
        return gradient

    def channel_axis(self, layer: Layer, value: Tensor) -> int:
        """Which axis of what a layer returned, as :meth:`take` gives it, holds its channels."""
        return channel_axis(self._outputs[layer][0], tuple(value.shape))


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
    layer: Layer,
    call: int | None,
    path: tuple[str, ...],
) -> Hook:
    """A plain function: what is copied along with a network would record into copies of these dictionaries."""

    def keep(_module: nn.Module, _inputs: tuple[Any, ...], output: Any) -> None:
        index = calls[layer] = calls.get(layer, -1) + 1
        if call is not None and call != index:
            return
        for key in path:
            output = _item(output, key)
        kept[layer] = output.clone() if isinstance(output, Tensor) else output
        if isinstance(output, Tensor) and output.requires_grad:
            edges[layer] = get_gradient_edge(
                output
            )  # where it is in the graph before a later in-place layer changes it

    return keep


def _item(value: Any, key: str) -> Any:
    """What a tuple or dict holds under a key, as names spell it."""
    if isinstance(value, Mapping):
        return next((item for name, item in value.items() if str(name) == key), None)
    if isinstance(value, (tuple, list)) and key.isdigit() and int(key) < len(value):
        return value[int(key)]
    return None


__all__ = ["LayerRecorder"]
