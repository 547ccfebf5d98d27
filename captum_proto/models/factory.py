"""Models that a function in a Python file of the user returns."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import re
import sys
import types
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from captum_proto._utils.checks import nearest
from captum_proto._utils.errors import InputError, InputTypeError, MissingFileError
from captum_proto.models.checkpoints import few
from captum_proto.models.named import NamedModel, checked_shape
from captum_proto.models.registry import Request, register

_FACTORY = re.compile(r"(?P<file>.+\.py):(?P<factory>[^\W\d]\w*)")


@contextlib.contextmanager
def _user_module(path: Path) -> Iterator[types.ModuleType]:
    """Run a Python file of the user as a module that can import its neighbors; it stays imported unless the block raises."""
    name = f"captum_proto_user_{hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:12]}"
    specification = importlib.util.spec_from_file_location(name, path)
    if specification is None or specification.loader is None:
        raise InputError(f'"{path}" cannot be imported; give a Python file.')
    module = importlib.util.module_from_spec(specification)
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)
    sys.modules[name] = module  # dataclasses and typing look their module up
    try:
        specification.loader.exec_module(module)
        yield module
    except BaseException:
        sys.modules.pop(name, None)
        raise
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(folder)


def factory_file(name: str) -> Path:
    """
    The Python file of a factory.

    Args:
        name (str): FILE.py:FACTORY.

    Raises:
        InputError: If it names no function.
        MissingFileError: If there is no such file.
    """
    match = _FACTORY.fullmatch(name)
    if match is None:
        what = (
            "names a Python file but no function in it" if name.endswith(".py") else "is no function in a Python file"
        )
        raise InputError(f'"{name}" {what}; give FILE.py:FACTORY.')
    path = Path(match["file"])
    if not path.is_file():
        raise MissingFileError(f'there is no file "{path}"; give FILE.py:FACTORY, a Python file and a function in it.')
    return path


def call_factory(name: str) -> Any:
    """
    What a function in a Python file returns, called without arguments.

    Args:
        name (str): FILE.py:FACTORY.

    Raises:
        InputError: If the file holds no such function, or cannot be imported.
        MissingFileError: If there is no such file.
    """
    path, function = factory_file(name), name.rpartition(":")[2]
    with _user_module(path) as module:
        make = getattr(module, function, None)
        if not callable(make):
            functions = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
            raise InputError(
                f'"{path}" has no function "{function}"; it has {few(functions, 8) or "none"}'
                f"{nearest(function, functions) or '.'}"
            )
        return make()


@register(rf"{_FACTORY.pattern}|.*\.py", shown="FILE.py:FACTORY", foreign=True)
def factory(request: Request) -> NamedModel:
    """What a function in a Python file returns, with the weights of a checkpoint if there is one."""
    request.refuse(num_classes=request.num_classes)
    made = call_factory(request.name)
    named = _from_factory(made, request)
    if request.checkpoint is not None:
        named.settings["weights"] = request.load_checkpoint(named.model, request.checkpoint, can_resize=False)
    else:
        named.settings.setdefault("weights", f"from {request.name} (seed {request.seed})")
    return named


def _from_factory(made: Any, request: Request) -> NamedModel:
    """What a user's factory returned, as a NamedModel."""
    if isinstance(made, NamedModel):
        return replace(
            made, image_shape=request.image_shape or checked_shape(made.image_shape), settings=dict(made.settings)
        )
    model, preprocess = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not isinstance(model, nn.Module) or not (preprocess is None or callable(preprocess)):
        got = f"({', '.join(type(part).__name__ for part in made)})" if isinstance(made, tuple) else type(made).__name__
        raise InputTypeError(
            f'"{request.name}" returned {got}; expected a torch.nn.Module, a pair (module, preprocess), or a NamedModel.'
        )
    shape = request.image_shape or getattr(model, "image_shape", None)
    if shape is None:
        raise InputError(
            f'"{request.name}" does not say how large its images are; pass image_shape=(C, H, W), or give the module an attribute '
            "image_shape."
        )
    names = getattr(model, "class_names", None)
    return NamedModel(
        request.name, model, preprocess, checked_shape(shape), None if names is None else [str(name) for name in names]
    )
