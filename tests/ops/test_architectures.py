"""Which GPUs the CUDA module has code for, without a GPU: PyTorch's questions to devices are answered by stubs."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import setuptools
import torch

from captum_proto import ops
from captum_proto.ops import _architectures, _twin
from captum_proto.ops._architectures import Architecture, covers

ROOT = Path(__file__).resolve().parents[2]

A100, A40, ORIN, L4, H100, B200, RTX50 = (8, 0), (8, 6), (8, 7), (8, 9), (9, 0), (10, 0), (12, 0)


@pytest.mark.parametrize(
    ("architecture", "runs", "does_not"),
    [
        ("8.0", [A100, A40, L4], [(7, 5), ORIN, H100, RTX50]),
        ("8.6", [A40, L4], [A100, H100]),
        ("8.7", [ORIN], [A100, L4, H100]),
        ("8.0+PTX", [A100, A40, ORIN, L4, H100, B200, RTX50], [(7, 5)]),
        ("9.0", [H100], [L4, B200]),
        ("9.0a", [H100], [L4, B200, RTX50]),
        ("9.0a+PTX", [H100], [L4, B200, RTX50]),
        ("10.0f", [B200, (10, 3)], [H100, (11, 0), RTX50]),
        ("10.0f+PTX", [B200, (10, 3)], [RTX50]),
        ("12.0+PTX", [RTX50, (12, 1), (13, 0)], [H100, B200]),
    ],
)
def test_what_an_architecture_runs_on(
    architecture: str, runs: list[tuple[int, int]], does_not: list[tuple[int, int]]
) -> None:
    assert [device for device in (*runs, *does_not) if covers([architecture], device)] == runs


def test_one_of_several_architectures_is_enough() -> None:
    assert covers(["8.0", "9.0a"], H100)
    assert covers(["8.0", "9.0a"], A40)
    assert not covers(["8.0", "9.0a"], B200)
    assert not covers([], A100)


def test_of_a_name_nothing_is_claimed() -> None:
    assert Architecture.parsed("Ampere") is None
    assert covers(["Ampere"], RTX50)


def stub_devices(monkeypatch: pytest.MonkeyPatch, *capabilities: tuple[int, int]) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(capabilities))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: capabilities[index])
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"GPU number {index}")


@pytest.fixture
def routed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[int]]]:
    """The keys and GPUs that would have been routed to the twin."""
    calls: list[tuple[str, list[int]]] = []

    def record(key: str, without_code: object) -> None:
        assert callable(without_code)
        calls.append((key, [index for index in range(4) if without_code(torch.device("cuda", index))]))

    monkeypatch.setattr(_architectures, "route_to_twin", record)
    return calls


def test_one_warning_names_the_gpus_without_code_and_the_command(
    monkeypatch: pytest.MonkeyPatch, routed: list[tuple[str, list[int]]]
) -> None:
    stub_devices(monkeypatch, A40, H100, A40, B200)
    uncovered: list[str] = []
    with pytest.warns(RuntimeWarning) as caught:
        _architectures._check(["8.0", "9.0a"], uncovered)
    assert len(caught) == 1
    message = str(caught[0].message)
    assert "8.0, 9.0a" in message
    assert "no code for cuda:3 (GPU number 3, compute capability 10.0)" in message
    assert (
        'TORCH_CUDA_ARCH_LIST="8.6;9.0;10.0" pip install --no-build-isolation --no-deps --force-reinstall .' in message
    )
    assert uncovered == ["cuda:3"]
    assert routed == [("CUDA", [3])]


def test_nothing_is_said_or_routed_where_every_gpu_is_covered(
    monkeypatch: pytest.MonkeyPatch, routed: list[tuple[str, list[int]]]
) -> None:
    stub_devices(monkeypatch, A40, H100)
    uncovered: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _architectures._check(["8.0+PTX"], uncovered)
    assert uncovered == []
    assert routed == []


#: With a CUDA module and a GPU that is not there: importing asks the GPU nothing, and PyTorch's initialization compares.
LAZILY = """
import sys, types, warnings, torch
asked = []
def capability(index):
    asked.append(index)
    return (9, 0)
def initialize():
    raise AssertionError("importing initialized CUDA")
torch._C._cuda_init = initialize
torch.version.cuda = torch.version.cuda or "13.0"
torch._C._cuda_getDeviceCount = lambda: 1
torch.cuda._cudart = object()
torch.cuda.get_device_capability, torch.cuda.device_count = capability, lambda: 1
torch.cuda.get_device_name = lambda index: "a GPU"
torch.cuda._queued_calls.clear()  # PyTorch's own questions
module = types.ModuleType("captum_proto._C_cuda" + torch.version.cuda.partition(".")[0])
module.__spec__ = types.SimpleNamespace(name=module.__name__)
module.build_info = lambda: {"architectures": ["8.0"]}
sys.modules[module.__name__] = module
from captum_proto import ops
assert not asked and not torch.cuda.is_initialized(), asked
assert ops.backend()["cuda"]["native"] and ops.backend()["cuda"]["uncovered_devices"] == []
torch._C._cuda_init = lambda: None
torch.cuda._lazy_seed_tracker.get_calls = lambda: []
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    torch.cuda.init()
assert asked, "nothing was compared"
assert [str(each.message) for each in caught if "has no code for cuda:0 (a GPU" in str(each.message)], caught
assert ops.backend()["cuda"]["uncovered_devices"] == ["cuda:0"]
"""


def test_importing_asks_no_gpu_and_initializing_cuda_compares_them() -> None:
    result = subprocess.run([sys.executable, "-c", LAZILY], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.fixture
def without_code(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bool]]:
    """Native kernels that ask, with the CPU in the place of a GPU, and a twin that tells that it was called."""
    answer = [True]
    monkeypatch.setattr(_architectures, "_routes", [])
    _architectures.route_to_twin("CPU", lambda device: answer[0] and device.type == "cpu")
    yield answer
    for library in _architectures._routes:
        library._destroy()


@pytest.mark.skipif(not ops.backend()["cpu"]["native"], reason="only the twin is here")
def test_tensors_of_a_device_without_code_take_the_twin(
    monkeypatch: pytest.MonkeyPatch, without_code: list[bool]
) -> None:
    taken: list[str] = []

    def telling(name: str) -> object:
        function = getattr(_twin, name)

        def call(*arguments: object) -> object:
            taken.append(name)
            return function(*arguments)

        return call

    for name in ("doubled_rank", "path_distance", "high_frequency_loss", "high_frequency_loss_backward", "accumulate"):
        monkeypatch.setattr(_twin, name, telling(name))

    def everything() -> list[torch.Tensor]:
        x = torch.randn(3, 500, generator=torch.Generator().manual_seed(0))
        images = x.view(1, 3, 20, 25).clone().requires_grad_()
        sums = torch.zeros(500, dtype=torch.float64)
        ops.accumulate(sums, x)
        loss = ops.high_frequency_loss(images)
        loss.sum().backward()
        assert images.grad is not None
        return [*ops.path_distance(x, x[0]), loss.detach(), images.grad, sums]

    by_twin = everything()
    assert sorted(taken) == [
        "accumulate", "doubled_rank", "high_frequency_loss", "high_frequency_loss_backward", "path_distance",
    ]  # fmt: skip
    taken.clear()
    without_code[0] = False
    natively = everything()
    assert taken == []
    for a, b in zip(by_twin, natively, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.skipif(not ops.backend()["cpu"]["native"], reason="only the twin is here")
def test_the_choice_passes_pytorchs_checks_of_operators(without_code: list[bool]) -> None:
    for without_code[0] in (True, False):
        torch.library.opcheck(torch.ops.captum_proto.rank.default, (torch.randn(3, 50),))
        images = torch.randn(1, 3, 8, 8, requires_grad=True)
        torch.library.opcheck(torch.ops.captum_proto.high_frequency_loss.default, (images, 1))


def default_architectures(monkeypatch: pytest.MonkeyPatch, nvcc: Path, known: str) -> list[str]:
    """What setup.py compiles for where no GPU is in sight and nvcc knows some architectures."""
    nvcc.write_text("#!/bin/sh\n" + "".join(f"echo compute_{name}\n" for name in known.split()))
    nvcc.chmod(0o755)
    monkeypatch.setattr(setuptools, "setup", lambda **options: None)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setenv("CAPTUM_PROTO_BUILD", "0")
    monkeypatch.delenv("TORCH_CUDA_ARCH_LIST", raising=False)
    spec = importlib.util.spec_from_file_location("setup_of_captum_proto", ROOT / "setup.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return str(module.cuda_architectures(str(nvcc))).split(";")


@pytest.mark.skipif(not (ROOT / "setup.py").exists() or sys.platform == "win32", reason="needs the source tree")
def test_default_architectures(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    defaults = default_architectures(monkeypatch, tmp_path / "nvcc", "75 80 86 87 89 90 100 103 110 120 121")
    assert defaults == ["7.5", "8.0", "8.9", "9.0", "10.0", "12.0+PTX"]
    for device in ((7, 5), A100, A40, L4, H100, B200, (10, 3), RTX50, (12, 1), (13, 0)):
        assert covers(defaults, device)
    older = default_architectures(monkeypatch, tmp_path / "nvcc", "50 60 70 75 80 86 89 90")
    assert older == ["7.5", "8.0", "8.9", "9.0+PTX"]
