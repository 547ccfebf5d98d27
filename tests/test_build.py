"""
Building: with and without PyTorch, without a compiler, with a module that does not compile. The kernels' own sources are stood in for
by empty ones, as it is the way there that is tested; every run of the other tests uses what the real ones were built into.
"""

from __future__ import annotations

import importlib.machinery
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
#: What follows a module's name where it serves one Python, and where it serves all from 3.10 on.
SUFFIX = importlib.machinery.EXTENSION_SUFFIXES[0]
LIMITED_API = not sysconfig.get_config_var("Py_GIL_DISABLED") and os.name != "nt"
BUILT_SUFFIX = ".abi3.so" if LIMITED_API else SUFFIX
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
    built = shutil.ignore_patterns("*.so", "*.pyd", "_left_out.json", "__pycache__")
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
            start_new_session=True,  # without a terminal to speak to beside its output
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
    assert name.endswith("-0_slow_pure_python-py3-none-any.whl")
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
    assert "slow" not in name
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
    for key in ("compiler", "cpp_standard", "limited_api", "built_with_torch", "oldest_torch", "capability"):
        assert f"'{key}'" in shown.stdout


needs_limited_api = pytest.mark.skipif(not LIMITED_API, reason="this Python has no limited API, or no name for it")


@needs_setuptools
@needs_limited_api
def test_one_module_and_one_wheel_serve_every_python(
    setup: Callable[..., subprocess.CompletedProcess[str]], tree: Path
) -> None:
    result = setup("bdist_wheel", CAPTUM_PROTO_BUILD="cpu")
    assert result.returncode == 0, result.stderr
    name, contents = wheel_in(tree)
    assert "-cp310-abi3-" in name
    assert native_modules(contents) == ["captum_proto/_C.abi3.so"]


@needs_setuptools
@needs_limited_api
@pytest.mark.skipif(not shutil.which("nvcc") or torch.version.cuda is None, reason="needs nvcc and a PyTorch with CUDA")
def test_the_cuda_module_has_its_version_of_cuda_in_its_name(
    setup: Callable[..., subprocess.CompletedProcess[str]], tree: Path
) -> None:
    for source in (tree / "csrc" / "cuda").glob("*.cu"):
        source.write_text("")
    result = setup("build_ext", "--inplace", CAPTUM_PROTO_BUILD="cuda", TORCH_CUDA_ARCH_LIST="8.0")
    if "their major versions have to agree" in result.stderr:
        pytest.skip("nvcc is of another CUDA than PyTorch")
    assert result.returncode == 0, result.stderr
    name = f"_C_cuda{str(torch.version.cuda).partition('.')[0]}"
    assert (tree / "captum_proto" / f"{name}.abi3.so").exists()
    assert not (tree / "captum_proto" / "_left_out.json").exists()
    program = f"import torch, captum_proto.{name} as module; print(module.__file__, module.build_info())"
    shown = subprocess.run([sys.executable, "-c", program], cwd=tree, capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr
    assert str(tree / "captum_proto") in shown.stdout
    assert "'limited_api': '3.10'" in shown.stdout
    assert "'architectures': ['8.0']" in shown.stdout


@needs_setuptools
@needs_limited_api
def test_a_module_of_an_earlier_version_makes_way_for_the_one_that_is_built(
    setup: Callable[..., subprocess.CompletedProcess[str]], tree: Path
) -> None:
    """Python prefers the name that is its own."""
    old, other = (tree / "captum_proto" / f"{stem}{SUFFIX}" for stem in ("_C", "_Cousin"))
    for path in (old, other):
        path.write_bytes(b"garbage")
    result = setup("build_ext", "--inplace", CAPTUM_PROTO_BUILD="cpu")
    assert result.returncode == 0, result.stderr
    assert f"removing {old.name}" in result.stderr
    assert not old.exists()
    assert other.exists()
    assert (tree / "captum_proto" / "_C.abi3.so").exists()


@needs_setuptools
def test_a_module_that_does_not_compile_is_left_out_or_an_error(
    setup: Callable[..., subprocess.CompletedProcess[str]], tree: Path
) -> None:
    (tree / "csrc" / "cpu" / "rows.cpp").write_text("#error this is not the compiler's day\n")
    (tree / "csrc" / "module.cpp").write_text("")
    result = setup("bdist_wheel", FORCE_CUDA="0")
    assert result.returncode == 0, result.stderr
    assert "WARNING: captum_proto._C failed to build" in result.stderr
    name, contents = wheel_in(tree)
    assert name.endswith("-0_slow_pure_python-py3-none-any.whl")
    assert native_modules(contents) == []
    assert {"captum_proto/__init__.py", "captum_proto/_left_out.json"} <= set(contents)
    assert setup("build_ext", CAPTUM_PROTO_BUILD="cpu").returncode != 0


@needs_setuptools
@pytest.mark.skipif(not shutil.which("nvcc") or torch.version.cuda is None, reason="needs nvcc and a PyTorch with CUDA")
@pytest.mark.parametrize(("broken", "left"), [("cpu/rows.cpp", "_C_cuda{cuda}"), ("cuda/rows.cu", "_C")])
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
    left = left.format(cuda=str(torch.version.cuda).partition(".")[0])
    assert native_modules(wheel_in(tree)[1]) == [f"captum_proto/{left}{BUILT_SUFFIX}"]


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


@needs_setuptools
def test_the_terminal_is_told_what_is_left_out_while_pip_hides_what_is_printed(tree: Path, no_torch: str) -> None:
    pty = pytest.importorskip("pty", reason="needs pseudo-terminals")
    controller, terminal = pty.openpty()
    program = (  # setup.py with a terminal of its own, and its output elsewhere, as pip has it
        "import fcntl, os, runpy, sys, termios\n"
        "os.setsid()\n"
        f"fcntl.ioctl({terminal}, termios.TIOCSCTTY, 0)\n"
        "sys.argv = ['setup.py', '-q', 'bdist_wheel']\n"
        "runpy.run_path('setup.py', run_name='__main__')\n"
    )
    environment = {**os.environ, "PYTHONPATH": no_torch, "CAPTUM_PROTO_BUILD": "auto"}
    command = [sys.executable, "-c", program]
    try:
        result = subprocess.run(
            command, cwd=tree, env=environment, capture_output=True, text=True, check=False, pass_fds=[terminal]
        )
        os.set_blocking(controller, False)
        said = os.read(controller, 65536).decode()
    finally:
        os.close(controller)
        os.close(terminal)
    assert result.returncode == 0, result.stderr
    assert said.count("captum_proto: the native CPU module is left out") == 1
    assert "`pip install --no-build-isolation .`" in said


@needs_setuptools
def test_what_is_left_out_is_recorded_with_the_reason_and_forgotten_when_it_is_built(
    setup: Callable[..., subprocess.CompletedProcess[str]], tree: Path, no_torch: str
) -> None:
    assert setup("bdist_wheel", PYTHONPATH=no_torch).returncode == 0
    (wheel,) = (tree / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        reasons = json.loads(archive.read("captum_proto/_left_out.json"))
    assert "PyTorch cannot be imported" in reasons["cpu"]
    record = tree / "captum_proto" / "_left_out.json"
    assert not record.exists()  # a wheel's is the wheel's own
    assert setup("build_ext", "--inplace", CAPTUM_PROTO_BUILD="cpu").returncode == 0
    assert list(json.loads(record.read_text())) == ["cuda"]
