"""
Using a model that is somebody else's: frozen for a while, by one thread at a time, and given back as it was.

What is frozen is counted: of several uses at once, the last to end gives the flags back. None of them waits. A forward pass does: it has
the modules to itself, and no pass of another thread changes what it reads. Nothing of this is kept in the modules, so they can be copied
and pickled as ever.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from captum_proto._utils.errors import StateError
from captum_proto._utils.references import reachable
from captum_proto._utils.wrappers import COMPILED, inner_name

_ABSENT = object()


@dataclass
class _Flag:
    """An attribute that is another one while a model is frozen."""

    owner: Any
    name: str
    before: Any
    uses: int = 0

    def restore(self) -> None:
        if self.before is _ABSENT:
            delattr(self.owner, self.name)
        else:
            setattr(self.owner, self.name, self.before)


#: Guards all that follows; whoever waits for a model waits for this.
_monitor = threading.Condition()
#: By the owner's address and the attribute's name.
_flags: dict[tuple[int, str], _Flag] = {}
#: The thread whose pass a module is in, by the module's address.
_holders: dict[int, int] = {}
#: The modules that a thread waits for.
_waiting: dict[int, list[int]] = {}
#: How many passes have turned compilation off, and what turns it on again.
_eager_passes = 0
_compiling_again = contextlib.ExitStack()


class Loan:
    """
    All modules that a forward function reaches, to be frozen, used and given back.

    Args:
        forward_func (Callable): The model, or whatever refers to it: see :func:`~captum_proto._utils.references.reachable`.
    """

    def __init__(self, forward_func: Callable[..., Any]) -> None:
        found = list(reachable(forward_func))
        self.modules = [value for value in found if isinstance(value, nn.Module)]
        self._compiled = any(_is_compiled(value) for value in found)
        #: Those whose buffers a pass may change: PyTorch's own make no new ones.
        self._changeable = [
            module
            for module in self.modules
            if len(module._buffers) or not type(module).__module__.startswith("torch.nn.modules.")
        ]

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """
        Evaluation mode, and no gradients into parameters, for the length of a block.

        Flags are set and restored module by module and parameter by parameter, not through ``eval()`` and ``train()``: models override
        those, and a model may hold a mixture of both modes. ``DataParallel`` and ``DistributedDataParallel`` pass on what they are given.
        """
        taken: list[tuple[int, str]] = []
        try:
            with _monitor:
                for owner, name, value in self._frozen_flags():
                    key = id(owner), name
                    if key not in _flags:
                        before = vars(owner).get(name, _ABSENT) if name == "forward" else getattr(owner, name)
                        _flags[key] = _Flag(owner, name, before)
                    _flags[key].uses += 1
                    taken.append(key)
                    setattr(owner, name, value)
            yield
        finally:
            with _monitor:
                for key in reversed(taken):
                    flag = _flags[key]
                    flag.uses -= 1
                    if not flag.uses:
                        del _flags[key]
                        flag.restore()

    def _frozen_flags(self) -> Iterator[tuple[Any, str, Any]]:
        for module in self.modules:
            inner = inner_name(module)
            # The mode of a compiled module is that of the module in it; torch.jit.freeze leaves none.
            if inner != COMPILED and hasattr(module, "training"):
                yield module, "training", False
                if inner is not None:
                    yield module, "forward", getattr(module, inner).__call__
        for module in self.modules:
            for parameter in module.parameters(recurse=False):
                # Those made under inference_mode record no gradient anyway, and PyTorch would not let us give them their flag back.
                if not parameter.is_inference() and (
                    parameter.requires_grad or (id(parameter), "requires_grad") in _flags
                ):
                    yield parameter, "requires_grad", False

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """
        The modules to oneself for the length of a block, and nothing in them compiled.

        A second thread waits. One that already has a turn with other modules and would wait for ever is told.

        Raises:
            RuntimeError: If the thread waited for one that waits for it.
        """
        me, keys = threading.get_ident(), [id(module) for module in self.modules]
        taken: list[int] = []
        try:
            with _monitor:
                _wait(me, keys)
                taken += [key for key in keys if key not in _holders]  # the others are in a turn of this thread
                _holders.update(dict.fromkeys(taken, me))
            with _nothing_compiled() if self._compiled else contextlib.nullcontext():
                yield
        finally:
            with _monitor:
                for key in taken:
                    del _holders[key]
                _monitor.notify_all()

    @contextlib.contextmanager
    def own_buffers(self) -> Iterator[None]:
        """
        Buffers that are copies for the length of a block: what a forward pass does to them is gone with it.

        A module that put others in their place or changed them gets its other attributes back too: what it remembers of a buffer, such as
        the size of a grid, belongs to it.
        """
        copies: dict[int, Tensor] = {}
        given = [(module, dict(module._buffers.items()), _attributes(module)) for module in self._changeable]
        try:
            for module, buffers, _ in given:
                for name, buffer in buffers.items():
                    if buffer is not None and not is_lazy(buffer):
                        # Without its history, which is none of an image's. A buffer that two modules hold stays one.
                        if id(buffer) not in copies:
                            copies[id(buffer)] = buffer.detach().clone()
                        module._buffers[name] = copies[id(buffer)]
            yield
        finally:
            for module, buffers, attributes in given:
                _restore(module, buffers, attributes, copies)


def _is_compiled(value: Any) -> bool:
    if isinstance(value, nn.Module):
        return inner_name(value) == COMPILED or vars(value).get("_compiled_call_impl") is not None
    return "_torchdynamo_orig_callable" in getattr(value, "__dict__", ())


@contextlib.contextmanager
def _nothing_compiled() -> Iterator[None]:
    """
    Run what torch.compile was given as it came: compiled code would not call hooks, would round otherwise, and would be compiled again
    for a frozen model. PyTorch has one such switch for all threads.
    """
    global _eager_passes
    with _monitor:
        if not _eager_passes:
            _compiling_again.enter_context(torch.compiler.set_stance("force_eager"))
        _eager_passes += 1
    try:
        yield
    finally:
        with _monitor:
            _eager_passes -= 1
            if not _eager_passes:
                _compiling_again.close()


def _wait(me: int, keys: list[int]) -> None:
    """Let other threads end their turns with these modules."""
    _waiting[me] = keys
    try:
        while _blockers(me):
            if _waits_for_itself(me):
                raise StateError(
                    "two threads each use a model and wait for the one that the other uses; let each use one model at a time."
                )
            _monitor.wait()
    finally:
        del _waiting[me]


def _blockers(thread: int) -> set[int]:
    """The threads that have a turn with what a thread waits for."""
    return {_holders[key] for key in _waiting.get(thread, ()) if _holders.get(key, thread) != thread}


def _waits_for_itself(thread: int) -> bool:
    """Whether who blocks a thread is blocked by it, through however many others."""
    blockers, reached = _blockers(thread), set[int]()
    while blockers - reached:
        reached |= blockers
        blockers = {other for blocker in blockers for other in _blockers(blocker)}
    return thread in reached


def _attributes(module: nn.Module) -> dict[str, Any]:
    return {} if isinstance(module, torch.jit.ScriptModule) else dict(vars(module))


def _restore(
    module: nn.Module, buffers: dict[str, Tensor | None], attributes: dict[str, Any], copies: dict[int, Tensor]
) -> None:
    """Give a module its buffers back, and its other attributes if its buffers are not the copies, or these were written to."""
    held = dict(module._buffers.items())
    untouched = held.keys() == buffers.keys() and all(
        held[name] is copies.get(id(buffer), buffer) and not _written_to(held[name]) for name, buffer in buffers.items()
    )
    for name in held.keys() - buffers.keys():
        del module._buffers[name]
    for name, buffer in buffers.items():
        module._buffers[name] = buffer
    if not untouched and attributes:
        for name in [name for name in vars(module) if name not in attributes]:
            del vars(module)[name]
        vars(module).update(attributes)


def _written_to(copy: Tensor | None) -> bool:
    return copy is not None and not copy.is_inference() and copy._version > 0


@contextlib.contextmanager
def borrowed(forward_func: Callable[..., Any]) -> Iterator[None]:
    """
    A model for a forward pass, or a few: frozen, by no other thread, and as it was afterwards, buffers included.

    Of a function, all modules that it reaches. Gradients are asked for with respect to the images only, so nothing reaches any weight's
    ``.grad`` either way. What another thread does with the model directly, nobody can keep from it.
    """
    loan = Loan(forward_func)
    with loan.frozen(), loan.turn(), loan.own_buffers():
        yield
