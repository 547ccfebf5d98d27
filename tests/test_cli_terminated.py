"""The command line under SIGTERM: it ends soon, says how to go on, and nothing that was finished is lost."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from captum_proto.cli import main
from captum_proto.optim import descent
from captum_proto.runs.contents import SNAPSHOTS

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked here")
COMMAND = [
    "generate",
    "--model",
    "digits",
    "--target",
    "3",
    "--warmup-steps",
    "0",
    "--no-progress",
    "--batch-size",
    "1",
]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def code_of(arguments: list[str], patch: Callable[[], None], wait_for: Callable[[], bool], group: bool = False) -> int:
    """The exit code of the command line in a process that is asked to terminate when something is there."""
    child = os.fork()
    if child == 0:
        code = 99
        try:
            if group:
                os.setpgid(0, 0)
            patch()
            code = main(arguments)
        finally:
            os._exit(code)
    begin = time.monotonic()
    while not wait_for() and time.monotonic() - begin < 300:
        time.sleep(0.01)
    assert wait_for()
    (os.killpg if group else os.kill)(child, signal.SIGTERM)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def slow(seconds: float) -> Callable[[], None]:
    """Let every step take its time."""

    def patch() -> None:
        take = descent.Descent._take

        def slowly(self: Any, *args: Any) -> bool:
            time.sleep(seconds)
            return take(self, *args)

        descent.Descent._take = slowly  # type: ignore[method-assign]  # in a process of its own

    return patch


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_in_the_middle_of_an_optimization(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out, whole = tmp_path / "out", tmp_path / "whole"
    command = [*COMMAND, "--steps", "30", "--snapshot-every", "4"]
    snapshots = out / SNAPSHOTS / "batches" / "00000"
    code = code_of([*command, "--out", str(out)], slow(0.05), lambda: any(snapshots.glob("*.safetensors")))
    assert code == 143
    said = capfd.readouterr().err
    assert said.splitlines()[-1] == (
        "captum-proto: terminated; what was finished is on disk, --resume goes on from there"
    )
    assert main(["verify", str(out)]) == 1
    steps: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        take = descent.Descent._take

        def counted(self: Any, phase: Any, step: int, *args: Any) -> bool:
            steps.append(step)
            return take(self, phase, step, *args)

        patch.setattr(descent.Descent, "_take", counted)
        assert main([*command, "--out", str(out), "--resume"]) == 0
    assert steps[-1] == 29
    assert min(step for step in steps if step) >= 4  # those of the rehearsal aside
    assert main([*command, "--out", str(whole)]) == 0
    assert contents(out) == contents(whole)


def test_while_a_data_loader_is_at_work(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Its processes are asked together with the one that waits for them, as a shell or a scheduler does."""
    mark = tmp_path / "mark"

    def patch() -> None:
        def forever(self: Any, *args: Any) -> bool:
            loader = DataLoader(list(range(10**6)), num_workers=2)  # type: ignore[arg-type]  # a list is a data set
            for _ in loader:
                mark.touch()
            raise AssertionError("it ended")

        descent.Descent._take = forever  # type: ignore[method-assign]  # in a process of its own

    code = code_of([*COMMAND, "--steps", "3", "--out", str(tmp_path / "out")], patch, mark.exists, group=True)
    assert code == 143
    assert "captum-proto: terminated" in capfd.readouterr().err
