"""
What does a class look like to a model, and can that picture be trusted? Prototype Generation and path similarity, beside Captum.

Names are imported when they are first asked for, so ``from captum_proto import ops`` needs PyTorch alone.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from captum_proto import ops
    from captum_proto._utils.errors import CaptumProtoError
    from captum_proto._utils.memory import memory_budget
    from captum_proto.attr import PRESETS, PrototypeGeneration, Prototypes
    from captum_proto.capture import capture
    from captum_proto.metrics import (  # type: ignore[no-redef]  # mypy has met a module named path_similarity
        PathComparison,
        PathReference,
        PathScores,
        PathSimilarity,
        path_similarity,
    )
    from captum_proto.optim import RandomAffine

__all__ = [
    "PRESETS",
    "CaptumProtoError",
    "PathComparison",
    "PathReference",
    "PathScores",
    "PathSimilarity",
    "PrototypeGeneration",
    "Prototypes",
    "RandomAffine",
    "capture",
    "memory_budget",
    "ops",
    "path_similarity",
]

#: The module from which each public name comes.
_HOMES = {
    "CaptumProtoError": "captum_proto._utils.errors",
    "PRESETS": "captum_proto.attr",
    "PathComparison": "captum_proto.metrics",
    "PathReference": "captum_proto.metrics",
    "PathScores": "captum_proto.metrics",
    "PathSimilarity": "captum_proto.metrics",
    "PrototypeGeneration": "captum_proto.attr",
    "Prototypes": "captum_proto.attr",
    "RandomAffine": "captum_proto.optim",
    "capture": "captum_proto.capture",
    "memory_budget": "captum_proto._utils.memory",
    "path_similarity": "captum_proto.metrics",
}
#: Subpackages that need no import statement of their own.
_ROOMS = ("attr", "metrics", "ops", "optim")


if not TYPE_CHECKING:  # or type checkers would believe in any name

    def __getattr__(name: str) -> Any:
        if name in _HOMES:
            value = getattr(import_module(_HOMES[name]), name)
        elif name in _ROOMS:
            value = import_module(f"captum_proto.{name}")
        else:
            raise AttributeError(f"module 'captum_proto' has no attribute {name!r}")
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_ROOMS})


class _Package(ModuleType):
    """A package in which ``capture`` is always the function: Python would put the module of that name in its place on import."""

    def __setattr__(self, name: str, value: Any) -> None:
        hides_public_name = isinstance(value, ModuleType) and _HOMES.get(name) == value.__name__
        if not hides_public_name:
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
