"""The command line under torchrun itself: one process's files, one process's words, and faults that torchrun sees to."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from together import Steps, snapshot

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "reliability"))
import torchrun

from captum_proto.cli import main
from captum_proto.cli.processes import SHARE
from captum_proto.runs.group import Share, ShareIsMade
from captum_proto.runs.tasks import carry_out

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="torchrun is tried on Unix")
JOB = ["generate", "--model", "digits", "--steps", "3", "--warmup-steps", "1", "--batch-size", "1", "--no-progress"]
TARGETS = ["--target", "3", "--target", "4", "--target", "8"]


def under_torchrun(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = torchrun.torchrun("--standalone", "--nproc-per-node", "2", "-m", "captum_proto", *arguments)
    return subprocess.run(command, env=torchrun.environment(), capture_output=True, text=True, timeout=torchrun.LIMIT)


@pytest.mark.slow
def test_two_processes_are_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*JOB, *TARGETS, "--out", str(tmp_path / "alone")]) == 0
    alone = capsys.readouterr()
    done = under_torchrun(*JOB, *TARGETS, "--out", str(tmp_path / "two"))
    assert done.returncode == 0, done.stderr
    assert snapshot(tmp_path / "two") == snapshot(tmp_path / "alone")
    assert done.stdout.splitlines()[:-1] == alone.out.splitlines()[:-1]  # the last names the folder
    assert done.stderr.count("model: digits") == 1


@pytest.mark.slow
def test_an_error_is_said_once(tmp_path: Path) -> None:
    done = under_torchrun(*JOB, "--target", "eleven", "--out", str(tmp_path / "out"))
    assert done.returncode == 1
    assert done.stderr.count("captum-proto: error:") == 1
    assert "captum_proto/cli" not in done.stderr  # no traceback of ours
    usage = under_torchrun("generate", "--no-such-option")
    assert usage.stderr.count("usage: captum-proto") == 1


def test_a_job_array(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    job, out = [*JOB, *TARGETS], ["--out", str(tmp_path / "shares")]
    assert main([*job, "--out", str(tmp_path / "alone")]) == 0
    capsys.readouterr()
    assert main([*job, *out, "--shard", "2/3"]) == 0
    assert capsys.readouterr().out == (
        "all 3 tasks are finished; the same command with --resume and without a shard writes the summary\n"
    )
    monkeypatch.setenv(SHARE, "1/3")
    assert main([*job, *out]) == 0
    monkeypatch.setenv(SHARE, "4/3")
    assert main([*job, *out]) == 1
    assert 'error: share is "4/3"; expected a number and how many there are' in capsys.readouterr().err
    monkeypatch.delenv(SHARE)
    assert main([*job, *out, "--resume"]) == 0
    assert snapshot(tmp_path / "shares") == snapshot(tmp_path / "alone")


def test_a_process_that_does_not_find_the_others_says_so(tmp_path: Path) -> None:
    given = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "captum_proto", *JOB, "--target", "3", "--out", str(tmp_path / "out")],
        env={**torchrun.environment(), **given, "CAPTUM_PROTO_START_SECONDS": "1"},
        capture_output=True,
        text=True,
        timeout=torchrun.LIMIT,
    )
    assert done.returncode == 1
    assert "captum-proto: error: process 1 of 2 does not find the others (" in done.stderr
    assert "start all of them, or set MASTER_ADDR and MASTER_PORT to where the first is." in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.long
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_worker_costs_its_task(rank: int, tmp_path: Path) -> None:
    assert main([*torchrun.COMMAND, "--out", str(tmp_path / "alone")]) == 0
    lost, seen = torchrun.kill_a_worker(tmp_path, 2, rank, snapshot(tmp_path / "alone"))
    assert lost == 0
    assert seen.endswith("ends with 0")


@pytest.mark.long
@pytest.mark.skipif(torchrun.TwoHosts.possible() is not None, reason="needs root and network namespaces")
def test_a_host_is_cut_off(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        carry_out(Steps(tmp_path / "log-alone", 24), tmp_path / "alone")

        def resume() -> None:
            carry_out(Steps(tmp_path / "log", 24), tmp_path / "out", resume=True)

        lost, _ = torchrun.cut_off(tmp_path, snapshot(tmp_path / "alone"), 24, resume)
    assert lost == 0


@pytest.mark.slow
def test_ray_makes_shares(tmp_path: Path) -> None:
    ray = pytest.importorskip("ray", reason="the optional engine is not installed")
    folder, tests = tmp_path / "out", str(Path(__file__).parent)

    def work(number: int) -> int:
        sys.path.insert(0, tests)
        try:
            carry_out(Steps(tmp_path / "log", seconds=0.1), folder, share=Share(number, 2))
        except ShareIsMade as share:
            return share.finished
        return -1

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env={"env_vars": torchrun.paths()})
        try:
            remote = ray.remote(work)
            assert max(ray.get([remote.remote(number) for number in (1, 2)])) == 10
        finally:
            ray.shutdown()
        carry_out(Steps(tmp_path / "log"), folder, resume=True)
        carry_out(Steps(tmp_path / "log-alone"), tmp_path / "alone")
    assert snapshot(folder) == snapshot(tmp_path / "alone")
