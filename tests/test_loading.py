"""Loading the native modules: one missing, broken, left out, or of another CUDA than PyTorch's; and what is said of it."""

from __future__ import annotations

import importlib.machinery
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import warnings
from pathlib import Path

import pytest
import torch

import captum_proto
from captum_proto import ops
from captum_proto.ops import _native

SUFFIX = importlib.machinery.EXTENSION_SUFFIXES[0]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An importable package for broken modules."""
    folder = (
        tmp_path / f"broken_modules_of_{tmp_path.name}"
    )  # a name for each test, as Python remembers what it has imported
    folder.mkdir()
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv("CAPTUM_PROTO_NATIVE", raising=False)
    monkeypatch.setattr(_native, "_left_out_silently", set())
    return folder


@pytest.mark.parametrize("broken", [b"", b"This is not a shared library.", b"\x7fELF and then nothing more"])
def test_garbage_in_place_of_a_module_gives_one_warning(package: Path, broken: bytes) -> None:
    (package / f"_C{SUFFIX}").write_bytes(broken)
    with pytest.warns(RuntimeWarning, match="--no-build-isolation") as caught:
        status = _native._load("cpu", f"{package.name}._C")
    assert len(caught) == 1
    assert status["native"] is False
    assert "does not load" in status["reason"]
    assert _native._left_out_silently == set()  # it has been said


def test_a_module_that_raises_gives_one_warning(package: Path) -> None:
    (package / "_C.py").write_text("raise OSError('undefined symbol: of_another_pytorch')")
    with pytest.warns(RuntimeWarning, match="of_another_pytorch"):
        assert _native._load("cpu", f"{package.name}._C")["native"] is False


def test_a_missing_module_gives_no_warning(package: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        status = _native._load("cpu", f"{package.name}._C")
    assert status["native"] is False
    assert "was not built" in status["reason"]
    assert _native._left_out_silently == {"cpu"}


def test_a_missing_module_is_given_the_reason_that_the_installation_wrote_down(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = package / "_left_out.json"
    monkeypatch.setattr(_native, "_LEFT_OUT", record)
    name = f"{package.name}._C"
    record.write_text(json.dumps({"cpu": "there was no compiler."}))
    assert f"{name} was not built: there was no compiler. `pip install" in _native._load("cpu", name)["reason"]
    record.write_text(json.dumps({"cpu": "use `pip install --no-build-isolation .` in a checkout."}))  # which is enough
    assert _native._load("cpu", name)["reason"].count("pip install") == 1
    for other in ('{"cuda": "there was no nvcc."}', "[]", "not JSON", '{"cpu": 3}'):
        record.write_text(other)
        assert f"{name} was not built. `pip install" in _native._load("cpu", name)["reason"]


def test_native_0_leaves_modules_alone(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (package / "_C.py").write_text("raise AssertionError('imported')")
    monkeypatch.setenv("CAPTUM_PROTO_NATIVE", "0")
    assert "CAPTUM_PROTO_NATIVE=0" in _native._load("cpu", f"{package.name}._C")["reason"]
    assert _native._left_out_silently == set()  # it was asked for


def test_cuda_is_not_tried_where_pytorch_has_none(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_C_cuda", "_C_cuda13"):
        (package / f"{name}.py").write_text("raise AssertionError('imported')")
    monkeypatch.setattr(torch.version, "cuda", None)
    name = _native.module_name("cuda").replace("captum_proto", package.name)
    assert "built without CUDA" in _native._load("cuda", name)["reason"]


def test_cuda_modules_lie_side_by_side_and_pytorchs_is_taken(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = "def build_info(): return {'architectures': ['All'], 'nvcc': '12.4'}"
    for major, text in (("12", info), ("13", "raise AssertionError('imported')")):
        (package / f"_C_cuda{major}.py").write_text(text)
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    name = _native.module_name("cuda")
    assert name == "captum_proto._C_cuda12"
    status = _native._load("cuda", name.replace("captum_proto", package.name))
    assert status["native"] is True
    assert status["module"] == f"{package.name}._C_cuda12"
    assert status["nvcc"] == "12.4"


def test_where_there_are_modules_of_another_cuda_alone_it_is_said_which(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (package / "_C_cuda13.py").write_text("raise AssertionError('imported')")
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    reason = _native._load("cuda", f"{package.name}._C_cuda12")["reason"]
    assert "of CUDA 12.8, and what is there is _C_cuda13." in reason
    assert "_C_cuda13" not in _native._load("cpu", f"{package.name}._C")["reason"]


def test_the_library_works_with_garbage_in_place_of_both_modules(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    built = shutil.ignore_patterns("*.so", "*.pyd", "__pycache__")
    shutil.copytree(captum_proto.__path__[0], tree / "captum_proto", ignore=built)
    for name in ("_C", f"_C_cuda{str(torch.version.cuda).partition('.')[0]}"):
        (tree / "captum_proto" / f"{name}{SUFFIX}").write_bytes(b"garbage")
    program = (
        "import torch; from captum_proto import ops; print(ops.__file__, ops.backend());"
        "print(ops.rank(torch.tensor([[0.3, 0.1, 0.3]])).tolist())"
    )
    environment = {name: value for name, value in os.environ.items() if name != "CAPTUM_PROTO_NATIVE"}
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert str(tree) in result.stdout
    assert "[[2.5, 1.0, 2.5]]" in result.stdout
    assert result.stderr.count("captum_proto._C does not load") == 1


def test_backend_says_what_is_native_or_why_not() -> None:
    backend = ops.backend()
    assert backend["torch"] == torch.__version__
    for device in ("cpu", "cuda"):
        status = backend[device]
        assert isinstance(status["native"], bool)
        assert (status["reason"] is None) == status["native"]
        if status["native"]:
            assert status["compiler"]
            assert status["oldest_torch"] == "2.10"
            assert status["limited_api"] == ("3.10" if not sysconfig.get_config_var("Py_GIL_DISABLED") else None)
            assert status["module"] == _native.module_name(device)
    if backend["cuda"]["native"]:
        assert isinstance(backend["cuda"]["architectures"], list)
