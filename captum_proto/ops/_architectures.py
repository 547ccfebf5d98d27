"""
Which GPUs the native CUDA module has code for; the others get the PyTorch twin.

A kernel that was not compiled for a GPU's architecture fails when it is launched, "no kernel image is available for execution on the
device", in the middle of somebody's work. So what the module was compiled for is compared with the GPUs that are there, before its first
kernel runs. The GPUs are not asked while ``captum_proto`` is imported, which would initialize CUDA in a process that may not want it, or
that forks later, but when PyTorch initializes it.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch

from captum_proto.ops import _twin
from captum_proto.ops._schemas import NAMESPACE, SCHEMAS

Capability = tuple[int, int]

#: Boards of their own kind (TX1, TX2, Xavier, Orin): binary code runs on none of them but that which was compiled for it.
_BOARDS = {(5, 3), (6, 2), (7, 2), (8, 7)}

#: Routes that are in place; they last as long as the process.
_routes: list[torch.library.Library] = []


@dataclass(frozen=True)
class Architecture:
    """
    One entry of ``TORCH_CUDA_ARCH_LIST``.

    Args:
        capability (tuple[int, int]): The compute capability, such as (8, 6).
        variant (str): "a", whose code runs on this capability alone; "f", on this one and later ones of its major version; or "".
        ptx (bool): Whether PTX is there as well, which the driver compiles for later GPUs.
    """

    capability: Capability
    variant: str
    ptx: bool

    @classmethod
    def parsed(cls, text: str) -> Architecture | None:
        """What an entry says; None for one that is not a number, such as the names that PyTorch knows ("Ampere")."""
        match = re.fullmatch(r"(\d+)\.(\d)([af]?)(\+PTX)?", text.strip())
        return match and cls((int(match[1]), int(match[2])), match[3], match[4] is not None)

    def runs_on(self, device: Capability) -> bool:
        """Whether a GPU of a compute capability runs this code."""
        if device == self.capability:
            return True
        if self.variant == "a" or device < self.capability:
            return False
        if device[0] == self.capability[0] and not _BOARDS & {device, self.capability}:
            return True  # binary code serves later minor versions
        return self.ptx and self.variant == ""


def covers(architectures: Iterable[str], device: Capability) -> bool:
    """
    Whether a GPU has code among what was compiled.

    Args:
        architectures (iterable of str): As ``TORCH_CUDA_ARCH_LIST`` writes them: "8.0", "9.0a", "12.0+PTX". Where one is a name instead of
            a number, nothing is known, and the answer is yes.
        device (tuple[int, int]): The GPU's compute capability.

    Examples::

        >>> covers(["8.0"], (8, 6)), covers(["8.0"], (9, 0)), covers(["8.0+PTX"], (9, 0)), covers(["9.0a"], (10, 0))
        (True, False, True, False)
    """
    compiled = [Architecture.parsed(text) for text in architectures]
    return any(each is None or each.runs_on(device) for each in compiled)


def uncovered_devices(architectures: Iterable[str]) -> dict[int, Capability]:
    """The visible GPUs without code, by their index, with their compute capabilities. Initializes CUDA."""
    compiled = list(architectures)
    visible = {index: torch.cuda.get_device_capability(index) for index in range(torch.cuda.device_count())}
    return {index: capability for index, capability in visible.items() if not covers(compiled, capability)}


def check_when_initialized(architectures: Iterable[str], uncovered: list[str]) -> None:
    """
    Have every visible GPU compared with ``architectures`` as soon as PyTorch initializes CUDA, or now if it has. GPUs without code get the
    twin, and one warning says which they are and how to rebuild.

    Args:
        architectures (iterable of str): What the module was compiled for.
        uncovered (list[str]): Gets the GPUs without code, as "cuda:1".
    """
    compiled = list(architectures)
    # PyTorch compares its own kernels with the GPUs by the same means.
    torch.cuda._lazy_call(lambda: _check(compiled, uncovered))  # type: ignore[no-untyped-call]


def _check(compiled: list[str], uncovered: list[str]) -> None:
    without = uncovered_devices(compiled)
    if not without:
        return
    uncovered[:] = [f"cuda:{index}" for index in without]
    route_to_twin("CUDA", lambda device: device.index in without)
    named = [
        f"cuda:{index} ({torch.cuda.get_device_name(index)}, compute capability {major}.{minor})"
        for index, (major, minor) in without.items()
    ]
    visible = {torch.cuda.get_device_capability(index) for index in range(torch.cuda.device_count())}
    wanted = ";".join(f"{major}.{minor}" for major, minor in sorted(visible))
    warnings.warn(
        f"captum_proto's CUDA module was compiled for the architectures {', '.join(compiled)} and has no code for {' and '.join(named)}: "
        f'PyTorch does its work there, more slowly. TORCH_CUDA_ARCH_LIST="{wanted}" pip install --no-build-isolation --no-deps '
        "--force-reinstall . in a checkout of captum_proto builds it for every GPU that is visible now.",
        RuntimeWarning,
        stacklevel=2,
    )


def route_to_twin(key: str, without_code: Callable[[torch.device], bool]) -> None:
    """
    Have the operators' native kernels ask first whether the tensors' device has code for them, and where not call the twin.

    Args:
        key (str): The kernels' dispatch key: "CUDA".
        without_code (Callable): Whether a device has none.
    """
    library = torch.library.Library(NAMESPACE, "IMPL")  # type: ignore[no-untyped-call]
    for name in SCHEMAS:
        # The twin is the kernel of every device; one of this key alone is native.
        if torch._C._dispatch_has_kernel_for_dispatch_key(f"{NAMESPACE}::{name}", key):
            choice = _choice(name, key, without_code)
            library.impl(name, choice, key, with_keyset=True)  # type: ignore[no-untyped-call]
    _routes.append(library)


def _choice(name: str, key: str, without_code: Callable[[torch.device], bool]) -> Callable[..., Any]:
    kernel = torch.library.get_kernel(f"{NAMESPACE}::{name}", key)

    def choose(keys: Any, first: torch.Tensor, *arguments: Any) -> Any:
        if without_code(first.device):
            return getattr(_twin, name)(first, *arguments)
        return kernel.call_boxed(keys, first, *arguments)

    return choose


__all__ = ["Architecture", "check_when_initialized", "covers", "route_to_twin", "uncovered_devices"]
