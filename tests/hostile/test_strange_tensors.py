"""
The operators on tensors that nobody would make but could: what the PyTorch twin gives, or one clear error; never a crash.

They run in processes of their own, one with native code and one without. Under AddressSanitizer the kernels themselves are tried by
tests/native and by tests/reliability/kernels.py; here it is what stands before them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

PROGRAM = Path(__file__).with_name("strange_tensors.py")
KINDS = [
    "empty",
    "expanded",
    "overlapping",
    "beginning within their storage",
    "misaligned",
    "permuted",
    "of strange values",
    "of other types",
    "huge by strides",
    "without values",
    "sparse or quantized",
    "conjugated or negated",
    "with a gradient",
    "of other dimensions",
]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """With native code, and without."""
    found = []
    for native in ("1", "0"):
        path = tmp_path_factory.mktemp("strange") / "results.pt"
        environment = os.environ | {"CAPTUM_PROTO_NATIVE": native, "OMP_NUM_THREADS": "1"}
        environment["PYTHONPATH"] = os.pathsep.join([str(PROGRAM.parents[2]), os.environ.get("PYTHONPATH", "")])
        command = [sys.executable, str(PROGRAM), str(path)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)
        assert done.returncode == 0, f"exit code {done.returncode} at {done.stdout[-200:]}\n{done.stderr[-3000:]}"
        found.append(torch.load(path, weights_only=True))
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_strange_tensors(kind: str, results: list[dict[str, Any]]) -> None:
    native, plain = (each[kind] for each in results)
    assert native.keys() == plain.keys()
    for name, found in native.items():
        expected = plain[name]
        assert isinstance(found, str) == isinstance(expected, str), (
            f"{name}: {found} with native code, {expected} without"
        )
        if isinstance(found, str):
            assert found.partition(": ")[2].strip(), name
            continue
        for one, other in zip(found, expected, strict=True):
            assert (one.shape, one.dtype, one.device) == (other.shape, other.dtype, other.device), name
            if one.device.type == "cpu":
                torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6, equal_nan=True, msg=f"{name} differs")


def test_all_kinds_are_tried(results: list[dict[str, Any]]) -> None:
    assert list(results[0]) == KINDS
