"""The one warning where PyTorch does native kernels' work for want of a module, and when there is none."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import captum_proto
from captum_proto import ops
from captum_proto.ops import _native, _slow_path, _twin

REASON = "captum_proto._C was not built: there was no compiler. `pip install --no-build-isolation .` builds it."
LARGE = torch.zeros(2, _slow_path.LARGE // 2)


@pytest.fixture(autouse=True)
def left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if both modules had been left out of the installation, and nothing had been said of it."""
    monkeypatch.setattr(_slow_path, "_given", set())
    monkeypatch.setattr(_native, "_left_out_silently", {"cpu", "cuda"})
    monkeypatch.setattr(_native, "_status", {device: {"native": False, "reason": REASON} for device in ("cpu", "cuda")})


high_frequency_loss = _slow_path.watched(_twin.high_frequency_loss)
rank = _slow_path.watched(_twin.rank)


def test_the_first_large_input_is_warned_of_once_at_the_line_of_the_caller() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        rank(LARGE[:, 1:])  # one value less
        assert caught == []
        line = sys._getframe().f_lineno + 1
        rank(LARGE)
        rank(LARGE)
    assert [each.category for each in caught] == [ops.SlowPathWarning]
    assert (caught[0].filename, caught[0].lineno) == (__file__, line)
    assert REASON in str(caught[0].message)
    assert "65,536 values on the CPU" in str(caught[0].message)


def test_a_tensor_on_cuda_of_any_size_is_warned_of_once_more() -> None:
    with warnings.catch_warnings(record=True) as caught, FakeTensorMode():  # which has tensors of CUDA where no GPU is
        warnings.simplefilter("always")
        for device in ("meta", "cuda", "cuda"):
            high_frequency_loss(torch.empty(1, 1, 2, 2, device=device), 1)
    assert ["on CUDA" in str(each.message) for each in caught] == [True]
    with pytest.warns(ops.SlowPathWarning, match="on the CPU"):
        rank(LARGE)


@pytest.mark.filterwarnings("ignore::captum_proto.ops.SlowPathWarning")
def test_what_a_filter_drops_is_said_later() -> None:
    """Commands try their input out with warnings ignored, and then run."""
    rank(LARGE)
    with pytest.warns(ops.SlowPathWarning):
        rank(LARGE)


@pytest.mark.filterwarnings("error::captum_proto.ops.SlowPathWarning")
def test_it_can_be_made_an_error() -> None:
    with pytest.raises(ops.SlowPathWarning):
        rank(LARGE)
    rank(LARGE)


def test_of_many_threads_one_warns() -> None:
    barrier = threading.Barrier(16)

    def work() -> None:
        barrier.wait()
        high_frequency_loss(LARGE.view(1, 1, 2, -1), 1)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        threads = [threading.Thread(target=work) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [each.category for each in caught] == [ops.SlowPathWarning]


@pytest.mark.parametrize("silently", [set(), {"cuda"}])
def test_there_is_none_where_it_was_asked_for_or_said_already(
    monkeypatch: pytest.MonkeyPatch, silently: set[str]
) -> None:
    monkeypatch.setattr(_native, "_left_out_silently", silently)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rank(LARGE)


PROGRAM = """
import sys, torch
# An editable installation would lend its own modules.
sys.meta_path[:] = [finder for finder in sys.meta_path if not finder.__module__.startswith("__editable__")]
from captum_proto import ops
x = torch.zeros(2, 40000, requires_grad=True)
ops.rank(x[:, :100])
ops.SpearmanReference(x)
ops.high_frequency_loss(x.view(1, 2, 200, 200)).sum().backward()
"""


@pytest.mark.parametrize("native", ["", "0"])
def test_an_installation_without_modules_warns_in_a_process_of_its_own(tmp_path: Path, native: str) -> None:
    built = shutil.ignore_patterns("*.so", "*.pyd", "__pycache__")
    shutil.copytree(captum_proto.__path__[0], tmp_path / "captum_proto", ignore=built)
    (tmp_path / "captum_proto" / "_left_out.json").write_text('{"cpu": "there was no compiler."}')
    script = tmp_path / "script.py"
    script.write_text(PROGRAM)
    environment = {**os.environ, "CAPTUM_PROTO_NATIVE": native, "PYTHONPATH": str(tmp_path)}
    result = subprocess.run(
        [sys.executable, script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    if native == "0":
        assert result.stderr == ""
    else:
        assert result.stderr.count("SlowPathWarning") == 1
        assert f"{script}:8: SlowPathWarning" in result.stderr
        assert "there was no compiler. `pip install --no-build-isolation .`" in result.stderr
