"""A plan of what to read during a forward pass, and every layer's output read after it."""

from __future__ import annotations

import contextlib
import copy
import functools
import math
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from captum._utils.common import _format_additional_forward_args
from torch import Tensor, nn

from captum_proto._utils.batches import rows_of
from captum_proto._utils.checks import callers_level, nearest
from captum_proto._utils.errors import InputError
from captum_proto._utils.halving import Halving, Once
from captum_proto._utils.model import Loan, device_of, dtype_told
from captum_proto._utils.modes import in_plain_modes
from captum_proto._utils.pipeline import Pipeline
from captum_proto._utils.scripted import check_readable, is_scripted
from captum_proto.capture.hooks import hooked, in_numbers, tensors_in
from captum_proto.capture.layout import Layout, find_layouts
from captum_proto.capture.selection import LayerSelection, select_by_entry

_REPEATS = ("last", "first", "all")
_ALIASES = ("value", "reference")


@dataclass(frozen=True, kw_only=True)
class LayerOutput(Layout):
    """
    One tensor that one call of a layer returns.

    Attributes:
        name (str): ``layer``, then ``#k`` for call k > 0 where all calls are kept, then ``[key]`` for each step into a tuple or dict.
        layer (str): The dotted name of the module.
        call (int): Which call of the layer in a forward pass, from 0.
        path (tuple): Keys from the layer's return value to the tensor; () where it returned the tensor itself.
        shape (tuple[int, ...]): Of one image, batch axis left out; what shares that axis, such as windows or views, comes first.
        batch_axis (int): Where the batch is.
        outer (int): Into how many blocks, each with rows of every image, the batch axis is parted: 1 where all rows of an image lie
            together, as windows do in Swin; 2 of what comes after ``torch.cat([x, x.flip(3)])``.
        dtype (torch.dtype): Of the tensor.
    """

    name: str
    layer: str
    call: int
    path: tuple[Any, ...]


class Capture:
    r"""
    A plan of what to read during a model's forward pass, made by watching it run on one image and on two.

    Two runs tell which axis of each output is the batch's, and so which outputs belong to an image at all. Where windows, views or steps
    of a sequence share that axis, runs on other images, made from the one given, tell from the values whose row is whose.

    Args:
        model (nn.Module): Where the layers are.
        forward (Callable): Runs the model on a batch of images, with whatever preprocessing belongs to it.
        images (Tensor): At least one image, (N, ...), of the size to come.
        layers (LayerSelection, optional): As in :func:`select_layers`. Default: None, all
        repeat (str, optional): Which call counts where a layer runs several times per forward pass: "last" (Captum's habit, and what the
            paper's counts come from), "first" or "all". Default: "last"
        alias (str, optional): "value" reads each output inside its hook, when it is what the layer returned; "reference" reads it after
            the forward pass, in-place changes by later layers included, as a hook that keeps a reference would. Default: "value"

    Attributes:
        outputs (list[LayerOutput]): What is read, in the order in which the layers return: a container after its last child.
        skipped (dict[str, str]): What is not, and why.

    Raises:
        ValueError: If a layer asked for by name is not there or does not run, or nothing is left to read. A pattern leaves out those of
            its layers that do not run, and is refused where none does.
    """

    def __init__(
        self,
        model: nn.Module,
        forward: Callable[[Tensor], Any],
        images: Tensor,
        layers: LayerSelection = None,
        repeat: str = "last",
        alias: str = "value",
    ) -> None:
        if repeat not in _REPEATS:
            raise InputError(
                f'repeat is "{repeat}"{nearest(str(repeat), _REPEATS)}; expected "last", "first" or "all".'
            )
        if alias not in _ALIASES:
            raise InputError(f'alias is "{alias}"{nearest(str(alias), _ALIASES)}; expected "value" or "reference".')
        self.model = model
        self.forward = forward
        self.repeat = repeat
        self.alias = alias
        self._entries = select_by_entry(model, layers)
        asked = {name: module for _, modules in self._entries for name, module in modules.items()}
        self.modules = _readable(model, asked, {entry for entry, _ in self._entries})
        self.skipped = {name: "was made by torch.jit" for name in asked if name not in self.modules}
        self._loan = Loan(model)
        self.image_shape = tuple(images.shape[1:])
        self.outputs = self._plan(images[:1])
        self._index = {(o.layer, o.call, o.path): i for i, o in enumerate(self.outputs)}

    def with_forward(self, forward: Callable[[Tensor], Any]) -> Capture:
        """The same plan for the same model, run in another way: with other arguments."""
        other = copy.copy(self)
        other.forward = forward
        return other

    def of_rows(self, rows: slice, total: int) -> Capture:
        """The same plan for some rows of a batch."""
        return self.with_forward(self.forward.of_rows(rows, total)) if isinstance(self.forward, Pipeline) else self

    @property
    def names(self) -> list[str]:
        """The names of what is read."""
        return [output.name for output in self.outputs]

    @contextlib.contextmanager
    def _pass(self, on_return: Callable[[str, int, Any], None]) -> Iterator[None]:
        """The model frozen and to oneself for a forward pass, and watched."""
        loan = self._loan
        with loan.frozen(), loan.turn(), loan.own_buffers(), hooked(self.modules, on_return):
            yield

    def _plan(self, image: Tensor) -> list[LayerOutput]:
        layouts = find_layouts(self.model, self.forward, image, self.modules)
        calls: dict[str, int] = {}
        for name, call, _ in layouts:
            calls[name] = max(calls.get(name, 0), call + 1)
        self._check_that_they_ran(calls)
        self.skipped |= {name: "did not run" for name in self.modules if name not in calls}
        outputs = []
        for (layer, call, path), layout in layouts.items():
            if self.repeat != "all" and call != (0 if self.repeat == "first" else calls[layer] - 1):
                continue
            name = layer + (f"#{call}" if self.repeat == "all" and call else "") + "".join(f"[{key}]" for key in path)
            if isinstance(layout, str):
                self.skipped[name] = layout
            else:
                outputs.append(LayerOutput(**vars(layout), name=name, layer=layer, call=call, path=path))
        if not outputs:
            reasons = "; ".join(f"{name}: {why}" for name, why in list(self.skipped.items())[:3])
            raise InputError(
                f"none of the {len(self.modules)} layers gave a floating-point tensor per image ({reasons})."
            )
        return outputs

    def _check_that_they_ran(self, calls: dict[str, int]) -> None:
        """Raise where of what was asked for nothing ran: a pattern may stand for layers that do not, a name stands for one that should."""
        for entry, modules in self._entries:
            if not modules or calls.keys() & modules.keys():
                continue
            what = f'layer "{entry}" did not run'
            if entry not in modules:
                what = f'none of the {len(modules)} layers that "{entry}" stands for ran'
            example = f', e.g. "{next(iter(calls))}"' if calls else ""
            raise InputError(f"{what} in the forward pass; choose one that does{example}.")

    def run(self, images: Tensor, consume: Callable[[int, Tensor], None], gradients: bool = False) -> Any:
        """
        Run the model once and hand each planned output to ``consume(index, output)``, in its own shape, while it is hot.

        Nothing is kept: with ``alias="value"`` an output is gone when ``consume`` returns.

        Args:
            images (Tensor): (N, ...), as planned for.
            consume (Callable): Called with the index into ``outputs`` and the output, batch first: (N, …). It must not keep the
                tensor without a copy: a later in-place layer may change it.
            gradients (bool, optional): Whether outputs, and copies of them, have gradients with respect to the images. Default: False

        Returns:
            any: What ``forward`` returned.

        Raises:
            ValueError: If the images are of another size than planned for, or the model took another path through its layers.
        """
        if tuple(images.shape[1:]) != self.image_shape:
            raise InputError(
                f"the images have shape {tuple(images.shape[1:])}, the reference was made from {self.image_shape}; resize them first."
            )
        pending: list[tuple[int, Tensor]] = []
        heard = set()

        def on_return(name: str, call: int, value: Any) -> None:
            for path, leaf in tensors_in(value):
                index = self._index.get((name, call, path))
                if index is None:
                    continue
                heard.add(index)
                if self.alias == "reference":
                    pending.append((index, leaf))
                else:
                    consume(index, self._images(index, in_numbers(leaf), len(images)))

        with torch.set_grad_enabled(gradients), self._pass(on_return):
            result = self.forward(images)
            for index, leaf in pending:
                consume(index, self._images(index, in_numbers(leaf), len(images)))
        if len(heard) != len(self.outputs):
            lost = next(name for i, name in enumerate(self.names) if i not in heard)
            raise InputError(
                f'layer "{lost}" did not run this time; path similarity needs a model that takes one path for all images.'
            )
        return result

    def _images(self, index: int, value: Tensor, batch: int) -> Tensor:
        output = self.outputs[index]
        if value.numel() != batch * math.prod(output.shape):
            raise InputError(
                f'layer "{output.name}" returned shape {tuple(value.shape)} for {batch} images, where one of the planned gives '
                f"{output.shape}; choose layers whose shape does not depend on the image."
            )
        return output.images(value, batch)

    def run_in_parts(
        self,
        images: Tensor,
        halving: Halving,
        consume: Callable[[int, Tensor, slice], Iterable[Callable[[], None]] | None],
    ) -> list[Any]:
        """
        As :meth:`run`, without gradients, in parts of the batch as large as memory allows.

        Args:
            images (Tensor): (N, ...), as planned for.
            halving (Halving): Of the loop over batches.
            consume (Callable): Called with the index into ``outputs``, the output of a part, and which rows of the batch that is. It is
                not called again for rows that it has taken, so it has to be all or nothing where memory runs out; or it returns steps
                that each are, and are taken once.

        Returns:
            list: What ``forward`` returned for each part.
        """
        once = Once()

        def work(rows: slice) -> Any:
            def take(index: int, output: Tensor) -> None:
                def all_steps() -> None:
                    for number, step in enumerate(consume(index, output, rows) or ()):
                        once((index, number), rows, step)

                once(index, rows, all_steps)

            return self.of_rows(rows, len(images)).run(images[rows], take)

        return halving.whole(len(images), work)

    def stream(self, images: Tensor, consume: Callable[[int, Tensor], None]) -> Any:
        """As :meth:`run`, without gradients, with each output as one flat row per image: ``consume(index, rows)``, rows being (N, D)."""
        return self.run(images, lambda index, output: consume(index, output.reshape(len(images), -1)))


def _readable(model: nn.Module, asked: dict[str, nn.Module], by_name: set[str]) -> dict[str, nn.Module]:
    """Of the layers asked for those that can be looked into: a pattern may stand for others too, a name stands for one that should."""
    found = {name: module for name, module in asked.items() if not is_scripted(module)}
    if not found:
        check_readable(next(iter(asked.values()), model))
    for name in by_name & asked.keys():
        check_readable(asked[name])
    if lost := [name for name in asked if name not in found]:
        warnings.warn(
            f'{len(lost)} of {len(asked)} layers, such as "{lost[0]}", were made by torch.jit, so what they return cannot be read; they '
            "are left out: name the layers to look at, or give the model that these were made from.",
            stacklevel=callers_level(),
        )
    return found


@dataclass
class PreviousOutput:
    """
    The layer output that came last, to tell whether the next is the very same: a container returns the tensor of its last child.

    Holding the tensor keeps its memory from being given to another one, so an equal address means an equal tensor; its version tells
    whether it was changed in place since.
    """

    index: int = -1
    rows: Tensor | None = field(default=None, repr=False)
    version: int = -1

    def is_same(self, rows: Tensor) -> bool:
        return (
            self.rows is not None
            and not rows.is_inference()  # these count no versions
            and rows.data_ptr() == self.rows.data_ptr()
            and rows.shape == self.rows.shape
            and rows.stride() == self.rows.stride()
            and rows._version == self.version
        )

    def set(self, index: int, rows: Tensor) -> None:
        self.index, self.rows, self.version = index, rows, -1 if rows.is_inference() else rows._version


@in_plain_modes
def capture(
    model: nn.Module,
    images: Tensor,
    layers: LayerSelection = None,
    *,
    preprocess: Callable[[Tensor], Tensor] | None = None,
    additional_forward_args: Any = None,
    repeat: str = "last",
    alias: str = "value",
    gradients: bool = False,
) -> dict[str, Tensor]:
    r"""
    Every layer's output for a batch of images, from one forward pass (after some small ones that tell where the batch axis is).

    Args:
        model (nn.Module): The model. It is frozen and in evaluation mode for the duration, and comes back as it was.
        images (Tensor): Shape (N, ...).
        layers (LayerSelection, optional): As in :func:`select_layers`. Default: None, every module but the root
        preprocess (Callable, optional): Applied to ``images`` first. Default: None
        additional_forward_args (any, optional): Further arguments of the model, as in Captum. Default: None
        repeat (str, optional): "last", "first" or "all" calls of a layer that runs several times; with "all", the k-th further call of
            ``relu`` is named ``relu#k``. Default: "last"
        alias (str, optional): "value": what each layer returned. "reference": what became of it by the end of the pass. Default: "value"
        gradients (bool, optional): Whether the outputs have gradients with respect to ``images``. Default: False

    Returns:
        dict[str, Tensor]: By name, in the order in which the layers return; copies, batch axis first. A layer that returns a tuple or dict
        has one entry for each floating-point tensor in it, ``lstm[0]``. Other outputs are left out.

    Raises:
        ValueError: If a layer asked for is not there or does not run; of those a pattern stands for, if none does.

    Examples::

        >>> model = torchvision.models.resnet18()
        >>> activations = capture(model, torch.rand(2, 3, 224, 224), ["layer4", "fc"])
        >>> {name: tuple(value.shape) for name, value in activations.items()}
        {'layer4': (2, 512, 7, 7), 'fc': (2, 1000)}
    """
    arguments = _format_additional_forward_args(additional_forward_args) or ()

    def of_arguments(arguments: tuple[Any, ...], batch: Tensor) -> Any:
        batch = batch.clone()  # the model or its preprocessing may work in place
        batch = batch if preprocess is None else preprocess(batch)
        with dtype_told(model, batch):
            return model(batch, *arguments)

    def of_rows(rows: slice) -> dict[str, Tensor]:
        kept: dict[str, Tensor] = {}

        def keep(index: int, output: Tensor) -> None:
            kept[plan.outputs[index].name] = output.clone(memory_format=torch.contiguous_format)

        forward = functools.partial(of_arguments, rows_of(arguments, rows, len(images)))
        plan.with_forward(forward).run(images[rows], keep, gradients)
        return kept

    plan = Capture(model, functools.partial(of_arguments, arguments), images, layers, repeat, alias)
    if gradients:  # which are of one pass
        return of_rows(slice(0, len(images)))
    parts = Halving(device_of(model)).whole(len(images), of_rows)
    return parts[0] if len(parts) == 1 else {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


__all__ = ["Capture", "LayerOutput", "PreviousOutput", "capture"]
