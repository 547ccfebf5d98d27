"""Finds and loads the native modules, and remembers what became of them."""

from __future__ import annotations

import copy
import importlib
import importlib.util
import json
import os
import pkgutil
import re
import warnings
from pathlib import Path
from typing import Any

import torch

from captum_proto.ops._architectures import check_when_initialized

_DEVICES = ("cpu", "cuda")

#: Where an installation has written down why it left out which module.
_LEFT_OUT = Path(__file__).resolve().parents[1] / "_left_out.json"

_HOW_TO_BUILD = "`pip install --no-build-isolation .` in a checkout of captum_proto builds it."

_status: dict[str, dict[str, Any]] = {}

#: The devices whose modules were left out of the installation without anything being said of it here.
_left_out_silently: set[str] = set()


def module_name(device: str) -> str:
    """The module with the kernels of a device: for CUDA that of PyTorch's version of it, beside which those of others may lie."""
    if device == "cpu":
        return "captum_proto._C"
    return f"captum_proto._C_cuda{(torch.version.cuda or '').partition('.')[0]}"


def load() -> None:
    """
    Imports the native modules that are there, which register their kernels as they load. Called once, when ``captum_proto.ops`` is.

    A module that is missing is remembered with the reason, see :func:`backend`. One that is there and does not load gives a warning;
    PyTorch takes over its work. ``CAPTUM_PROTO_NATIVE=0`` in the environment leaves all of them alone.
    """
    for device in _DEVICES:
        if device not in _status:
            _status[device] = _load(device, module_name(device))


def _load(device: str, name: str) -> dict[str, Any]:
    if os.environ.get("CAPTUM_PROTO_NATIVE", "").strip() == "0":
        return _absent("switched off by CAPTUM_PROTO_NATIVE=0.")
    if device == "cuda" and torch.version.cuda is None:
        return _absent(f"PyTorch {torch.__version__} is built without CUDA.")
    if importlib.util.find_spec(name) is None:
        _left_out_silently.add(device)
        why = _modules_of_other_cuda(name) or _why_left_out(device)
        return _absent(f"{name} was not built{why}" + ("" if "--no-build-isolation" in why else f" {_HOW_TO_BUILD}"))
    try:
        info: dict[str, Any] = importlib.import_module(name).build_info()
    except Exception as error:  # whatever a broken module raises, the twin works without it
        reason = f"{name} does not load: {error}. It may have been built for another PyTorch or Python. {_HOW_TO_BUILD}"
        warnings.warn(f"{reason} Until then PyTorch does its work, more slowly.", RuntimeWarning, stacklevel=2)
        return _absent(reason)
    status = {"native": True, "reason": None, "module": name, **info}
    if device == "cuda":
        status["uncovered_devices"] = []
        check_when_initialized(info["architectures"], status["uncovered_devices"])
    return status


def _modules_of_other_cuda(name: str) -> str:
    """The end of a sentence: which modules of other versions of CUDA lie where one is missing, if any do."""
    beside = pkgutil.iter_modules(importlib.import_module(name.rpartition(".")[0]).__path__)
    others = sorted({module.name for module in beside if re.fullmatch(r"_C_cuda\d+", module.name)})
    if not others or not re.search(r"_C_cuda\d+$", name):
        return ""
    return (
        f": PyTorch {torch.__version__} is of CUDA {torch.version.cuda}, and what is there is {' and '.join(others)}."
    )


def _why_left_out(device: str) -> str:
    """The end of a sentence: what the installation has left out a module for, where it is known, else a full stop."""
    try:
        reason = json.loads(_LEFT_OUT.read_text(encoding="utf-8")).get(device)
    except (OSError, ValueError, AttributeError):  # there is no such file, or it is another one
        reason = None
    return f": {reason}" if isinstance(reason, str) else "."


def left_out_silently(device: str) -> str | None:
    """Why there is no native module for a device, if nothing was said of it yet: it was left out when the package was installed."""
    return str(_status[device]["reason"]) if device in _left_out_silently else None


def _absent(reason: str) -> dict[str, Any]:
    return {"native": False, "reason": reason}


def backend() -> dict[str, Any]:
    """
    What is native here, or why not.

    Returns:
        dict: ``torch``, the version of PyTorch, and for each of ``cpu`` and ``cuda`` a dict with

            - **native** (*bool*): Whether the operators run native kernels on that device. If not, PyTorch does their work, and the
              results are the same.
            - **reason** (*str* or *None*): Why not.

            and where they do, which ``module`` holds them and how it was built: ``compiler``, ``cpp_standard``, ``built_with_torch`` and
            ``oldest_torch``, the version from which on it runs; ``limited_api``, the version of Python from which on it does, or None if
            that is only the one that it was built with; for ``cpu`` the ``capability`` that the kernels use of this processor,
            ``"avx512"``, ``"avx2"`` or ``"default"``; for ``cuda`` the version of ``nvcc``, the list of ``architectures`` compiled for,
            and ``uncovered_devices``: GPUs that none of these serves, where PyTorch does the work. They are known once CUDA is
            initialized, and empty before.

    Examples::

        >>> backend()["cpu"]["native"]
        True
    """
    return {"torch": torch.__version__, **copy.deepcopy(_status)}
