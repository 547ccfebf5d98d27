"""
Building and loading: without PyTorch, without a compiler, with a module missing or broken. The kernels' own sources are stood in for
by empty ones, as it is the way there that is tested; every run of the other tests uses what the real ones were built into.
"""

from __future__ import annotations

import importlib.machinery
import os
import shutil
import subprocess
import sys
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from captum_proto import ops
from captum_proto.ops import _native

ROOT = Path(__file__).resolve().parents[1]
SUFFIX = importlib.machinery.EXTENSION_SUFFIXES[0]
#: What is installed beside Python: what the HTML page is made of.
TEMPLATES = {f"captum_proto/report/templates/report.{kind}" for kind in ("html", "css", "js")}
TEMPLATES |= {
    f"captum_proto/report/templates/blocks/{kind}.html"
    for kind in ("curves", "files", "macros", "paragraphs", "pictures", "table", "verdicts")
}
#: The list of ImageNet's classes.
TEMPLATES |= {"captum_proto/data/imagenet_wnids.txt"}

needs_setuptools = pytest.mark.skipif(
    not shutil.which("c++") or not (ROOT / "setup.py").exists(), reason="needs a compiler and the source tree"
)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The source tree without what was built in it, and with kernels that compile in no time."""
    copy = tmp_path / "tree"
    copy.mkdir()
    built = shutil.ignore_patterns("*.so", "*.pyd", "__pycache__")
    for name in ("captum_proto", "csrc", "tests"):
        shutil.copytree(ROOT / name, copy / name, ignore=built)
    for name in ("setup.py", "pyproject.toml", "MANIFEST.in", "LICENSE", "README.md"):
        shutil.copy(ROOT / name, copy / name)
    for source in (copy / "csrc" / "cpu").glob("*.cpp"):
        source.write_text("")
    return copy


@pytest.fixture
def setup(tree: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        names = ("CAPTUM_PROTO_BUILD", "FORCE_CUDA", "CUDA_HOME", "CUDA_PATH", "TORCH_CUDA_ARCH_LIST", "CC", "CXX")
        inherited = {name: value for name, value in os.environ.items() if name not in names}
        return subprocess.run(
            [sys.executable, "setup.py", "-q", *arguments],
            cwd=tree,
            env={**inherited, **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture
def no_torch(tmp_path: Path) -> str:
    """A path that hides PyTorch, as pip's build isolation does."""
    folder = tmp_path / "no_torch"
    (folder / "torch").mkdir(parents=True)
    (folder / "torch" / "__init__.py").write_text("raise ImportError('No module named torch')")
    return str(folder)


def wheel_in(tree: Path) -> tuple[str, list[str]]:
    (wheel,) = (tree / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return wheel.name, archive.namelist()


def native_modules(names: list[str]) -> list[str]:
    return [name for name in names if name.endswith((".so", ".pyd"))]


def sources() -> set[str]:
    csrc = ROOT / "csrc"
    return {path.relative_to(csrc).as_posix() for path in csrc.rglob("*") if path.is_file()}


@needs_setuptools
def test_without_pytorch_the_wheel_is_pure_python_and_says_so(
    setup: Callable[..., subprocess.CompletedProcess[str]], tree: Path, no_torch: str
) -> None:
    result = setup("bdist_wheel", PYTHONPATH=no_torch)
    assert result.returncode == 0, result.stderr
    assert "pure Python" in result.stderr
    assert "--no-build-isolation" in result.stderr
    name, contents = wheel_in(tree)
    assert name.endswith("py3-none-any.whl")
    assert native_modules(contents) == []
    assert {f"captum_proto/_csrc/{source}" for source in sources()} <= set(contents)
    assert set(contents) >= TEMPLATES


@needs_setuptools
@pytest.mark.parametrize("choice", ["cpu", "cuda"])
def test_what_is_required_and_cannot_be_built_is_an_error(
    setup: Callable[..., subprocess.CompletedProcess[str]], no_torch: str, choice: str
) -> None:
    result = setup("build_ext", PYTHONPATH=no_torch, CAPTUM_PROTO_BUILD=choice)
    assert result.returncode != 0
    assert "cannot build the native" in result.stderr
    assert "Traceback" not in result.stderr


@needs_setuptools
def test_build_0_builds_nothing_and_other_words_are_refused(
    setup: Callable[..., subprocess.CompletedProcess[str]], tree: Path
) -> None:
    assert setup("bdist_wheel", CAPTUM_PROTO_BUILD="0").returncode == 0
    name, contents = wheel_in(tree)
    assert name.endswith("py3-none-any.whl")
    assert native_modules(contents) == []
    refused = setup("bdist_wheel", CAPTUM_PROTO_BUILD="gpu")
    assert refused.returncode != 0
    assert "expected auto, 0, cpu or cuda" in refused.stderr


@needs_setuptools
def test_the_source_distribution_has_what_a_build_needs(
    setup: Callable[..., subprocess.CompletedProcess[str]], tree: Path
) -> None:
    (tree / "captum_proto" / f"_C{SUFFIX}").write_bytes(b"built in place, and not to be shipped")
    assert setup("sdist", CAPTUM_PROTO_BUILD="0").returncode == 0
    (archive,) = (tree / "dist").glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    assert {f"csrc/{source}" for source in sources()} <= names
    assert {"setup.py", "pyproject.toml", "LICENSE", "README.md", "captum_proto/ops/_native.py"} <= names
    assert names >= TEMPLATES
    assert native_modules(list(names)) == []


@needs_setuptools
def test_a_module_is_built_loads_and_says_how_it_was_built(
    setup: Callable[..., subprocess.CompletedProcess[str]], tree: Path
) -> None:
    result = setup("build_ext", "--inplace", CAPTUM_PROTO_BUILD="cpu")
    assert result.returncode == 0, result.stderr
    program = "import torch, captum_proto._C as module; print(module.__file__, module.build_info())"
    shown = subprocess.run([sys.executable, "-c", program], cwd=tree, capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr
    assert str(tree / "captum_proto") in shown.stdout
    for key in ("compiler", "cpp_standard", "built_with_torch", "oldest_torch", "capability"):
        assert f"'{key}'" in shown.stdout


@needs_setuptools
def test_a_module_that_does_not_compile_is_left_out_or_an_error(
    setup: Callable[..., subprocess.CompletedProcess[str]], tree: Path
) -> None:
    (tree / "csrc" / "cpu" / "rows.cpp").write_text("#error this is not the compiler's day\n")
    (tree / "csrc" / "module.cpp").write_text("")
    result = setup("bdist_wheel", FORCE_CUDA="0")
    assert result.returncode == 0, result.stderr
    assert "WARNING: captum_proto._C failed to build" in result.stderr
    assert native_modules(wheel_in(tree)[1]) == []
    assert setup("build_ext", CAPTUM_PROTO_BUILD="cpu").returncode != 0


@needs_setuptools
@pytest.mark.skipif(not shutil.which("nvcc") or torch.version.cuda is None, reason="needs nvcc and a PyTorch with CUDA")
@pytest.mark.parametrize(("broken", "left"), [("cpu/rows.cpp", "_C_cuda"), ("cuda/rows.cu", "_C")])
def test_one_module_failing_leaves_the_other(
    setup: Callable[..., subprocess.CompletedProcess[str]], tree: Path, broken: str, left: str
) -> None:
    for source in (tree / "csrc").rglob("*.c*"):
        if source.suffix in (".cpp", ".cu"):
            source.write_text("#error today not\n" if source == tree / "csrc" / broken else "")
    result = setup("bdist_wheel", TORCH_CUDA_ARCH_LIST="8.0")
    assert result.returncode == 0, result.stderr
    if "not building the native CUDA module" in result.stderr:
        pytest.skip("nvcc is of another CUDA than PyTorch")
    assert native_modules(wheel_in(tree)[1]) == [f"captum_proto/{left}{SUFFIX}"]


@needs_setuptools
def test_without_a_compiler_the_package_is_still_installed(
    setup: Callable[..., subprocess.CompletedProcess[str]], tree: Path
) -> None:
    result = setup("bdist_wheel", FORCE_CUDA="0", CC="/nowhere/cc", CXX="/nowhere/c++")
    assert result.returncode == 0, result.stderr
    assert "WARNING: captum_proto._C failed to build" in result.stderr
    assert native_modules(wheel_in(tree)[1]) == []


@pytest.mark.skipif(
    torch.version.cuda is None or os.name == "nt", reason="needs a PyTorch with CUDA, and shell scripts"
)
def test_a_wrapped_nvcc_leads_to_its_toolkit_and_has_to_be_of_pytorchs_cuda(
    setup: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    toolkit, wrapper = tmp_path / "toolkit", tmp_path / "wrapper" / "bin" / "nvcc"
    for folder in (toolkit / "bin", toolkit / "include", wrapper.parent):
        folder.mkdir(parents=True)
    (toolkit / "include" / "cuda_runtime.h").touch()
    nvcc = toolkit / "bin" / "nvcc"
    nvcc.write_text(
        "#!/bin/sh\n"
        f'case "$*" in *-dryrun*) echo "#\\$ _HERE_={toolkit / "bin"}" >&2;; *) echo "release 1.5, V1.5.0";; esac\n'
    )
    wrapper.write_text(f'#!/bin/sh\nexec "{nvcc}" "$@"\n')
    nvcc.chmod(0o755)
    wrapper.chmod(0o755)
    path = f"{wrapper.parent}{os.pathsep}{os.environ['PATH']}"
    result = setup("build_ext", CAPTUM_PROTO_BUILD="cuda", PATH=path)
    assert result.returncode != 0
    assert "nvcc is of CUDA 1.5 and PyTorch of CUDA" in result.stderr


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
    return folder


@pytest.mark.parametrize("broken", [b"", b"This is not a shared library.", b"\x7fELF and then nothing more"])
def test_garbage_in_place_of_a_module_gives_one_warning(package: Path, broken: bytes) -> None:
    (package / f"_C{SUFFIX}").write_bytes(broken)
    with pytest.warns(RuntimeWarning, match="--no-build-isolation") as caught:
        status = _native._load("cpu", f"{package.name}._C")
    assert len(caught) == 1
    assert status["native"] is False
    assert "does not load" in status["reason"]


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


def test_native_0_leaves_modules_alone(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (package / "_C.py").write_text("raise AssertionError('imported')")
    monkeypatch.setenv("CAPTUM_PROTO_NATIVE", "0")
    assert "CAPTUM_PROTO_NATIVE=0" in _native._load("cpu", f"{package.name}._C")["reason"]


def test_cuda_is_not_tried_where_pytorch_has_none(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (package / "_C_cuda.py").write_text("raise AssertionError('imported')")
    monkeypatch.setattr(torch.version, "cuda", None)
    assert "built without CUDA" in _native._load("cuda", f"{package.name}._C_cuda")["reason"]


def test_the_library_works_with_garbage_in_place_of_both_modules(tree: Path) -> None:
    for name in ("_C", "_C_cuda"):
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
    if backend["cuda"]["native"]:
        assert isinstance(backend["cuda"]["architectures"], list)
