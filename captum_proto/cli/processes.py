"""A command as one of several processes: under torchrun, or as one job of an array."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator
from datetime import timedelta
from typing import TextIO

import torch
from torch import distributed

from captum_proto._utils.errors import CaptumProtoError, InputError
from captum_proto.runs.contents import check_free
from captum_proto.runs.group import (
    Group,
    OtherProcessError,
    Share,
    ShareIsMade,
    group_set_up,
    tasks_only,
    times_restarted,
)
from captum_proto.runs.line import hang_up, reason_of

#: Which share of a run to make, for a job array whose script cannot change the command.
SHARE = "CAPTUM_PROTO_SHARD"
#: How many seconds the processes wait for each other at the beginning; no other wait has an end.
START = "CAPTUM_PROTO_START_SECONDS"
_START_SECONDS = 600.0


class Processes:
    """
    What a command needs to know of the other processes that run it.

    Attributes:
        speaks (bool): Whether this process prints what it does: of a group the first.
    """

    def __init__(self) -> None:
        self.speaks = not (_in_group() and int(os.environ["RANK"]) > 0)
        self._group: Group | None = None
        self._stderr: TextIO = sys.stderr

    @contextlib.contextmanager
    def quiet(self) -> Iterator[None]:
        """Print nothing in the block, unless this process is the one that does."""
        if self.speaks:
            yield
            return
        with (
            open(os.devnull, "w", encoding="utf-8") as nowhere,
            contextlib.redirect_stdout(nowhere),
            contextlib.redirect_stderr(nowhere),
        ):
            yield

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """
        Set up the default group that torchrun's variables describe, if they do and nobody has, for the length of the block.

        Raises:
            InputError: If the processes do not find each other.
        """
        if not _in_group() or distributed.is_initialized():
            yield
            return
        _set_up()
        try:
            self._group = group_set_up()
            with tasks_only():
                yield
        except BaseException as error:
            self.reports(error)
            raise
        finally:
            hang_up()
            distributed.destroy_process_group()

    def reports(self, error: BaseException) -> bool:
        """Whether an error is this process's to show: of a group, the first that fails shows its own, and no other."""
        if isinstance(error, (OtherProcessError, ShareIsMade)):
            return False
        return self._group is None or self._group.fail(error)


def share_of(args: argparse.Namespace) -> Share | None:
    """The share of a run that a command is to make: of ``--shard``, or of the environment."""
    text = getattr(args, "shard", None) or os.environ.get(SHARE)
    return Share.parse(text) if text else None


def check_folder(args: argparse.Namespace) -> None:
    """
    See that a command may write to its folder, before anything takes time.

    Raises:
        CaptumProtoError: If it may not.
    """
    if _in_group() and int(os.environ["RANK"]) > 0:
        return  # the first sees to it, and may have begun by now
    # What a group that is begun again may go on with, is seen when the settings are known.
    resume = args.resume or share_of(args) is not None or (_in_group() and times_restarted() > 0)
    check_free(args.out, args.command, overwrite=args.overwrite, resume=resume)


def said_of_share(share: ShareIsMade) -> str:
    """What a job says that has made its share."""
    left = share.count - share.finished
    then = "the same command with --resume and without a shard writes the summary"
    if left:
        return f"{share.finished} of {share.count} tasks are finished; {left} are with other shares: when these are made, {then}"
    return f"all {share.count} tasks are finished; {then}"


def _in_group() -> bool:
    """Whether the environment says, as torchrun does, that this is one of several processes."""
    return "RANK" in os.environ and int(os.environ.get("WORLD_SIZE") or 1) > 1 and distributed.is_available()


def _set_up() -> None:
    # Not at the top: a PyTorch without torch.distributed lacks these.
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    backend = "gloo"
    if torch.cuda.is_available():
        # What is called "cuda" is the process's own device, and the same name is recorded wherever a task is made.
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)) % torch.cuda.device_count())
        if distributed.is_nccl_available():
            backend = "cpu:gloo,cuda:nccl"
    try:
        limit = timedelta(seconds=float(os.environ.get(START, _START_SECONDS)))
        store, rank, size = next(rendezvous("env://", timeout=limit))
        store.set_timeout(limit)
        # torchrun keeps one store as long as it lasts, with the addresses of processes that are dead, which a group that is begun again
        # would read. How often it was begun, and its size, tell one from another.
        named = PrefixStore(f"captum_proto/{times_restarted()}-of-{size}", store)
        distributed.init_process_group(backend, store=named, rank=rank, world_size=size, timeout=limit)
    except (RuntimeError, ValueError) as error:
        if isinstance(error, CaptumProtoError):
            raise
        raise InputError(
            f"process {os.environ['RANK']} of {os.environ['WORLD_SIZE']} does not find the others ({reason_of(error)}); start all of them, "
            "or set MASTER_ADDR and MASTER_PORT to where the first is."
        ) from error


__all__ = ["SHARE", "START", "Processes", "check_folder", "said_of_share", "share_of"]
