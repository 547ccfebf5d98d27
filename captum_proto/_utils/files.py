"""Files that are either whole or not there, and tensors with their story in one of them."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

_METADATA = "captum_proto"


@contextlib.contextmanager
def whole_file(path: str | os.PathLike[str], overwrite: bool = False) -> Iterator[Path]:
    """
    A temporary path beside ``path`` that takes its place when the block ends, and vanishes if the block raises.

    Raises:
        FileExistsError: If ``path`` exists and ``overwrite`` is False.
        OSError: If the folder cannot be written to.
    """
    target = Path(path)
    if target.exists() and not overwrite:
        raise FileExistsError(
            f'"{target}" exists and would be overwritten; choose another name or pass overwrite=True.'
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=target.suffix)
    except OSError as error:
        raise type(error)(
            f'"{target}" cannot be written ({error.strerror}); choose a folder you may write to.'
        ) from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes files for their owner's eyes only; give what any other new file gets.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def save_tensors(
    path: str | os.PathLike[str], kind: str, tensors: dict[str, Tensor], story: dict[str, Any], overwrite: bool = False
) -> None:
    """Tensors and a JSON description of them, as one safetensors file of this ``kind``."""
    metadata = {_METADATA: json.dumps({"kind": kind, **story})}
    with whole_file(path, overwrite) as temporary:
        save_file(
            {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}, temporary, metadata
        )


def load_tensors(path: str | os.PathLike[str], kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """
    What :func:`save_tensors` wrote.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, or of another kind.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'there is no file "{path}"; expected a {kind} saved by captum_proto.')
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors: dict[str, torch.Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping
    except (SafetensorError, OSError) as error:
        raise ValueError(f'"{path}" is damaged or no safetensors file ({error}); save it again.') from error
    try:
        story: dict[str, Any] = json.loads(metadata.get(_METADATA, "{}"))
    except json.JSONDecodeError as error:
        raise ValueError(f'"{path}" is damaged: its description is no JSON ({error}); save it again.') from error
    if story.get("kind") != kind:
        raise ValueError(
            f'"{path}" holds {story.get("kind") or "something else"}; expected a {kind} saved by captum_proto.'
        )
    return tensors, story
