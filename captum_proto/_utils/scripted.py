"""Modules of ``torch.jit``, which nobody can look into."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from captum_proto._utils.errors import InputError


def is_scripted(module: Any) -> bool:
    """Whether a module was made by ``torch.jit.script``, ``trace``, ``freeze`` or ``load``."""
    return isinstance(module, torch.jit.ScriptModule)


def kind_of(module: nn.Module) -> str:
    """The class of a module; of one of ``torch.jit``, that of what it was made from."""
    return getattr(module, "original_name", None) or type(module).__name__


def check_readable(module: nn.Module) -> None:
    """
    See that hooks on a module are called.

    Raises:
        InputError: If it was made by ``torch.jit``. A scripted module takes no hooks; a traced one takes them, and never calls them.
    """
    if is_scripted(module):
        raise InputError(
            f"the {kind_of(module)} to look into was made by torch.jit, which runs without hooks, so what its layers return can be neither "
            "read nor changed; give the model that it was made from."
        )


__all__ = ["check_readable", "is_scripted", "kind_of"]
