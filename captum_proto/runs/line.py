"""The store by which the processes of a group have found each other: a name for what they say in it, and signs of life."""

from __future__ import annotations

import atexit
import os
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import torch
from torch import distributed

from captum_proto._utils.errors import CaptumProtoError, StateError

#: After how many seconds without a sign of life a process counts as lost: in the environment, or this.
SILENT = "CAPTUM_PROTO_SILENT_SECONDS"
_SILENT_SECONDS = 60.0
#: How often a process gives a sign of life, and how long the store may take to answer, in seconds.
_SIGN, _ANSWER = 2.0, 60.0
_line: Line | None = None


class Line:
    """
    What the processes of the default group have in common as long as it lasts.

    The first gives the others a name under which they speak in the store, since there may be words of a group before in it. That is the one
    thing for which all wait for all.

    Raises:
        StateError: If the others do not answer within the group's time limit.
    """

    def __init__(self) -> None:
        # Not at the top: a PyTorch without torch.distributed lacks this module.
        from torch.distributed.distributed_c10d import PrefixStore, _get_default_store

        self.group = distributed.group.WORLD
        device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
        name = torch.tensor([secrets.randbits(62)], device=device)
        try:
            distributed.broadcast(name, 0)
        except RuntimeError as error:
            raise StateError(
                f"the other processes do not answer ({reason_of(error)}); let all of them call carry_out together."
            ) from error
        # A connection of its own, with a time limit for each word on a network that was cut; the group's own may have hours.
        store = _get_default_store().clone()
        store.set_timeout(timedelta(seconds=_ANSWER))
        self.store: Any = PrefixStore(f"captum_proto/{int(name)}", store)
        self.runs = 0
        self._rank = distributed.get_rank()
        #: By rank, the last sign of life and when it was first seen.
        self._heard: dict[int, tuple[int, float]] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._give_signs, daemon=True)
        self._thread.start()
        atexit.register(self.close)  # a thread that is in a call of C++ when Python ends takes the process down

    def is_silent(self, rank: int) -> bool:
        """Whether a process has given no sign of life for as long as this one has looked for it."""
        sign, now = int(self.store.add(f"alive/{rank}", 0)), time.monotonic()
        if self._heard.get(rank, (-1, 0.0))[0] != sign:
            self._heard[rank] = sign, now
        return now - self._heard[rank][1] > float(os.environ.get(SILENT, _SILENT_SECONDS))

    def close(self) -> None:
        """Give no more signs of life."""
        self._stopped.set()
        self._thread.join(_SIGN)
        atexit.unregister(self.close)

    def _give_signs(self) -> None:
        with suppress(RuntimeError):  # the store is gone: the thread at work finds that out, and says so
            while not self._stopped.wait(_SIGN) and distributed.is_initialized():
                self.store.add(f"alive/{self._rank}", 1)


def line_of_group() -> Line:
    """That of the default group, begun by its processes together."""
    global _line
    if _line is None or _line.group is not distributed.group.WORLD:
        hang_up()
        _line = Line()
    return _line


def hang_up() -> None:
    """End the line, if there is one, before its group ends."""
    global _line
    if _line is not None:
        _line.close()
        _line = None


def reason_of(error: Exception) -> str:
    """What torch.distributed says of an error, without the addresses of its functions."""
    return " ".join(str(error).split()).partition(". Exception raised from")[0].rstrip(".")


@contextmanager
def reachable() -> Iterator[None]:
    """
    Speak with the others in the block.

    Raises:
        StateError: If they cannot be reached.
    """
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, CaptumProtoError):
            raise
        raise StateError(
            f"the other processes cannot be reached any more ({reason_of(error)}); what was finished is on disk, --resume goes on from "
            "there."
        ) from error


__all__ = ["SILENT", "Line", "hang_up", "line_of_group", "reachable", "reason_of"]
