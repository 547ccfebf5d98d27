"""Finds and loads the native modules, and remembers what became of them."""

from __future__ import annotations

import copy
import importlib
import importlib.util
import os
import warnings
from typing import Any

import torch

from captum_proto.ops._architectures import check_when_initialized

#: Which module holds the kernels of which device.
_MODULES = {"cpu": "captum_proto._C", "cuda": "captum_proto._C_cuda"}

_HOW_TO_BUILD = "`pip install --no-build-isolation .` in a checkout of captum_proto builds it."

_status: dict[str, dict[str, Any]] = {}


def load() -> None:
    """
    Imports the native modules that are there, which register their kernels as they load. Called once, when ``captum_proto.ops`` is.

    A module that is missing is remembered with the reason, see :func:`backend`. One that is there and does not load gives a warning;
    PyTorch takes over its work. ``CAPTUM_PROTO_NATIVE=0`` in the environment leaves all of them alone.
    """
    for device, name in _MODULES.items():
        if device not in _status:
            _status[device] = _load(device, name)


def _load(device: str, name: str) -> dict[str, Any]:
    if os.environ.get("CAPTUM_PROTO_NATIVE", "").strip() == "0":
        return _absent("switched off by CAPTUM_PROTO_NATIVE=0.")
    if device == "cuda" and torch.version.cuda is None:
        return _absent(f"PyTorch {torch.__version__} is built without CUDA.")
    if importlib.util.find_spec(name) is None:
        return _absent(f"{name} was not built. {_HOW_TO_BUILD}")
    try:
        info: dict[str, Any] = importlib.import_module(name).build_info()
    except Exception as error:  # whatever a broken module raises, the twin works without it
        reason = f"{name} does not load: {error}. It may have been built for another PyTorch or Python. {_HOW_TO_BUILD}"
        warnings.warn(f"{reason} Until then PyTorch does its work, more slowly.", RuntimeWarning, stacklevel=2)
        return _absent(reason)
    status = {"native": True, "reason": None, **info}
    if device == "cuda":
        status["uncovered_devices"] = []
        check_when_initialized(info["architectures"], status["uncovered_devices"])
    return status


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

            and where they do, how their module was built: ``compiler``, ``cpp_standard``, ``built_with_torch`` and ``oldest_torch``,
            the version from which on it runs; for ``cpu`` the ``capability`` that the kernels use of this processor, ``"avx512"``,
            ``"avx2"`` or ``"default"``; for ``cuda`` the version of ``nvcc``, the list of ``architectures`` compiled for, and
            ``uncovered_devices``: GPUs that none of these serves, where PyTorch does the work. They are known once CUDA is initialized,
            and empty before.

    Examples::

        >>> backend()["cpu"]["native"]
        True
    """
    return {"torch": torch.__version__, **copy.deepcopy(_status)}
