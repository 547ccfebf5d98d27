"""
States of what takes long within a task, kept until the task is finished: a run that was killed goes on from the last of them.

What takes long asks :func:`next_place` for a file of its own: the n-th to ask within a task gets the n-th, and gets it again after a
resume. A file says what its state depends on, and holds the digest of all of it; one that is damaged or of something else is told of and
left aside. It is no result, nobody records it, and it goes when the task is finished.
"""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from torch import Tensor

from captum_proto._utils.checks import callers_level, check_int
from captum_proto._utils.errors import CaptumProtoError, InputError
from captum_proto._utils.files import load_tensors, save_tensors, tensor_sha256
from captum_proto.runs.files import digest_of

_KIND = "snapshot"
#: Of the number by which a place is called.
_DIGITS = 5


class Snapshot:
    r"""
    Where the state of an optimization is kept while it is at work, and how often: one that was killed goes on from there, and ends in the
    same images, bit for bit on the same device.

    A snapshot holds parameters, the optimizer's state, losses' own states, the history and, where something drew from them, the states of
    PyTorch's random generators. It is used by the same call alone: after any other, with other settings, another model or other versions,
    it is left aside with a warning, and so is a damaged one. When the call returns, its snapshots are gone.

    Not to be confused with ``snapshot_steps``, which keeps pictures.

    Args:
        folder (str or Path): Where to keep them: a folder for this alone.
        every (int, optional): After how many steps, warm-up included. 0: keep none, but go on from what is there. Default: 64

    Raises:
        ValueError: If ``every`` is less than 0.

    Examples::

        >>> import tempfile
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
        >>> folder = Path(tempfile.mkdtemp()) / "snapshot"
        >>> made = PrototypeGeneration(model).generate(3, (1, 8, 8), steps=8, snapshot=Snapshot(folder, every=4))
        >>> folder.exists()
        False
    """

    def __init__(self, folder: str | Path, every: int = 64) -> None:
        self.folder, self.every = Path(folder), check_int(every, "every", 0)
        self._asked = 0

    def __repr__(self) -> str:
        return f'Snapshot("{self.folder}", every={self.every})'

    @contextlib.contextmanager
    def used(self) -> Iterator[None]:
        """
        Give what takes long in the block its places here. Where the block raises they stay, unless what was given cannot be used, which it
        could not be the next time either.
        """
        self._asked = 0
        token = _in_use.set(self)
        try:
            yield
        except InputError:
            self.clear()
            raise
        finally:
            _in_use.reset(token)

    def clear(self) -> None:
        """Remove all of them, and the folder if nothing else is in it."""
        for path in self.folder.glob(f"{'[0-9]' * _DIGITS}.safetensors"):
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.folder.rmdir()

    def next_place(self) -> Place:
        """For the next that takes long."""
        self._asked += 1
        return Place(self.folder / f"{self._asked - 1:0{_DIGITS}d}.safetensors", self.every)


class Place:
    """
    The file of one state.

    Args:
        path (Path): Where it is.
        every (int): After how many steps to keep a state; 0 for never.
    """

    def __init__(self, path: Path, every: int) -> None:
        self.path, self.every = path, every

    @property
    def wanted(self) -> bool:
        """Whether there is a state to go on from, or one is to be kept."""
        return self.every > 0 or self.path.exists()

    def keep(self, depends_on: Mapping[str, Any], tensors: dict[str, Tensor], state: Mapping[str, Any]) -> None:
        """
        Keep a state in place of an earlier one.

        Args:
            depends_on (mapping): All that it depends on, as JSON can hold it.
            tensors (dict[str, Tensor]): Of the state.
            state (mapping): What else there is, as JSON can hold it.

        Raises:
            WriteError: If it cannot be written.
        """
        described = {"depends_on": dict(depends_on), "state": json.loads(json.dumps(state))}
        described["digest"] = _digest(tensors, described)
        save_tensors(self.path, _KIND, tensors, described, overwrite=True, passing=True)

    def kept(self, depends_on: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """
        The state that is kept; None where there is none.

        Args:
            depends_on (mapping): All that it is to depend on.

        Warns:
            UserWarning: If there is one that is damaged, or depends on something else.
        """
        if not self.path.exists():
            return None
        try:
            tensors, described = load_tensors(self.path, _KIND)
            digest = described.pop("digest", None)
            described.pop("kind", None)
            if digest != _digest(tensors, described):
                raise InputError("its content is not what was written")
            before, state = dict(described["depends_on"]), dict(described["state"])
        except (CaptumProtoError, LookupError, TypeError, ValueError) as error:
            self._told(f"is damaged ({' '.join(str(error).split()).rstrip('.')})")
            return None
        now = json.loads(json.dumps(dict(depends_on)))
        if before != now:
            names = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
            self._told(f"is of something else ({', '.join(names)} differ{'s' if len(names) == 1 else ''})")
            return None
        return tensors, state

    def _told(self, what: str) -> None:
        warnings.warn(
            f'the snapshot "{self.path}" {what}; the optimization begins anew.',
            SnapshotWarning,
            stacklevel=callers_level(),
        )


class SnapshotWarning(UserWarning):
    """A snapshot cannot be used: of the machine, not of a result, so no record of a task notes it."""


#: Where what takes long keeps its states, if anywhere.
_in_use: ContextVar[Snapshot | None] = ContextVar("captum_proto snapshots", default=None)
#: After how many steps the runs of a process keep states of their tasks.
_every: ContextVar[int] = ContextVar("captum_proto steps between snapshots", default=0)


@contextlib.contextmanager
def kept_every(steps: int | None) -> Iterator[None]:
    """
    Keep states of what the tasks of runs in the block take long for.

    Args:
        steps (int, optional): After how many steps, 0 for never; None: as it is outside of the block.
    """
    token = _every.set(_every.get() if steps is None else check_int(steps, "snapshot_every", 0))
    try:
        yield
    finally:
        _every.reset(token)


def of_task(folder: Path) -> Snapshot:
    """Where the states of a task of a run are."""
    return Snapshot(folder, _every.get())


def next_place() -> Place | None:
    """The file for the state of what takes long and begins now; None where none is to be kept."""
    snapshot = _in_use.get()
    return None if snapshot is None else snapshot.next_place()


def _digest(tensors: Mapping[str, Tensor], described: Mapping[str, Any]) -> str:
    names = sorted(tensors)
    kinds = [[name, str(tensors[name].dtype), list(tensors[name].shape)] for name in names]
    return digest_of([kinds, tensor_sha256(*(tensors[name] for name in names)), dict(described)])


__all__ = ["Place", "Snapshot", "SnapshotWarning", "kept_every", "next_place", "of_task"]
