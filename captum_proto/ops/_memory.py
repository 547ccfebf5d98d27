"""Memory that a native kernel could not have, as the exception that PyTorch has for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

#: How the sentence begins: ``kOutOfMemory`` of ``csrc/tensors.h``; a test keeps the two equal.
OUT_OF_MEMORY = "captum_proto: out of memory: "


def called(operator: Callable[..., Any], *arguments: Any) -> Any:
    """
    An operator's result.

    Raises:
        torch.OutOfMemoryError: If there is no memory for it on the GPU, in a sentence that says how much was asked for.
    """
    if torch.compiler.is_compiling():
        return operator(*arguments)
    try:
        return operator(*arguments)
    except RuntimeError as error:
        _, beginning, sentence = str(error).partition(OUT_OF_MEMORY)
        if not beginning:
            raise
        raise torch.OutOfMemoryError(f"CUDA out of memory: {sentence}") from error


__all__ = ["OUT_OF_MEMORY", "called"]
