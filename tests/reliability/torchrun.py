"""Faults under torchrun itself: workers killed on one machine, and a host that is cut off from another, as two network namespaces."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "runs"))
from faults import Fault, Seen
from together import Steps, made, snapshot

from captum_proto.runs.contents import is_finished
from captum_proto.runs.line import SILENT
from captum_proto.runs.tasks import carry_out

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
#: A small job of the command line: 3 classes, 6 tasks.
COMMAND = [
    *("evaluate", "--model", "digits", "--images", "digits", "--target", "3", "--target", "4", "--target", "8"),
    *("--count", "1", "--steps", "60", "--warmup-steps", "1", "--limit", "6", "--controls", "gray", "--layers", "leaf"),
    *("--ascent-steps", "2", "--no-progress"),
]
#: Nobody waits longer for what is said to end, in seconds.
LIMIT = 400


def paths() -> dict[str, str]:
    """Where other processes find the package and the tests' own modules."""
    own = (str(ROOT), str(ROOT / "tests" / "runs"), os.environ.get("PYTHONPATH"))
    return {"PYTHONPATH": os.pathsep.join(filter(None, own)), "OMP_NUM_THREADS": "1"}


def environment() -> dict[str, str]:
    """One thread a process, so that all round alike; no addresses of C++ functions in torchrun's messages, which take seconds to find."""
    return {**os.environ, **paths(), "TORCH_DISABLE_ADDR2LINE": "1"}


def torchrun(*options: str) -> list[str]:
    """The command that begins a group."""
    return [sys.executable, "-m", "torch.distributed.run", *options]


def workers_of(agent: int) -> list[int]:
    """The processes that an agent of torchrun has begun, in the order of their ranks."""
    with contextlib.suppress(OSError):
        return sorted(map(int, Path(f"/proc/{agent}/task/{agent}/children").read_text().split()))
    return []


def wait_for(what: Callable[[], bool], process: subprocess.Popen[str]) -> bool:
    """Wait until something is the case; False where a process ends before."""
    end = time.monotonic() + LIMIT
    while not what():
        if process.poll() is not None or time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def records(out: Path) -> dict[str, int]:
    return {path.relative_to(out).as_posix(): path.stat().st_mtime_ns for path in out.rglob("tasks/**/*.json")}


def kill_a_worker(folder: Path, after: int, rank: int, expected: dict[str, bytes]) -> tuple[int, int, str]:
    """
    Kill a worker of ``torchrun --max-restarts`` when so many tasks are finished.

    Returns:
        int, int, str: How many results were lost, with which code torchrun ended, and what it printed.
    """
    out = folder / "out"
    command = torchrun("--standalone", "--nproc-per-node", "2", "--max-restarts", "2", "-m", "captum_proto", *COMMAND)
    with (folder / "said").open("w") as said:
        agent = subprocess.Popen([*command, "--out", str(out)], env=environment(), stdout=said, stderr=said, text=True)
        assert wait_for(lambda: len(records(out)) >= after and len(workers_of(agent.pid)) == 2, agent)
        worker = workers_of(agent.pid)[rank]
        before = records(out)
        os.kill(worker, signal.SIGKILL)
        code = agent.wait(LIMIT)
    now = records(out)
    lost = sum(now.get(name) != when for name, when in before.items())
    lost += snapshot(out) != expected
    return lost, code, (folder / "said").read_text(errors="replace")


class TwoHosts:
    """
    Two hosts that reach each other by a cable that can be cut: network namespaces of this machine, so that they share a folder.

    Args:
        name (str): By which to tell them from those of others.
    """

    def __init__(self, name: str) -> None:
        self.names = [f"{name}a", f"{name}b"]
        self.devices = [f"{name}va", f"{name}vb"]
        self.addresses = ["10.213.7.1", "10.213.7.2"]

    @staticmethod
    def possible() -> str | None:
        """Why there can be none here; None if there can."""
        if not hasattr(os, "geteuid") or os.geteuid() or shutil.which("ip") is None:
            return "needs root and the command ip"
        probe = f"cp{os.getpid()}"
        if subprocess.run(["ip", "netns", "add", probe], capture_output=True).returncode:
            return "this machine makes no network namespaces"
        subprocess.run(["ip", "netns", "del", probe], check=True)
        return None

    def __enter__(self) -> TwoHosts:
        for name in self.names:
            _ip("netns", "add", name)
        (a, b), (va, vb) = self.names, self.devices
        _ip("link", "add", va, "netns", a, "type", "veth", "peer", "name", vb, "netns", b)
        for name, device, address in zip(self.names, self.devices, self.addresses, strict=True):
            _ip("-n", name, "addr", "add", f"{address}/24", "dev", device)
            _ip("-n", name, "link", "set", "lo", "up")
            _ip("-n", name, "link", "set", device, "up")
        return self

    def __exit__(self, *_: object) -> None:
        for name in self.names:
            _ip("netns", "del", name)

    def begin(self, host: int, command: list[str], said: Path) -> subprocess.Popen[str]:
        """Begin ``torchrun`` on a host; either may be there alone."""
        options = torchrun(
            *("--nnodes", "1:2", "--nproc-per-node", "1", "--max-restarts", "3", "--rdzv-backend", "c10d"),
            *("--rdzv-endpoint", f"{self.addresses[0]}:29417", "--rdzv-id", self.names[0]),
            *("--local-addr", self.addresses[host]),
            *("--rdzv-conf", f"is_host={str(not host).lower()},read_timeout=20,last_call_timeout=4,join_timeout=60"),
        )
        given = {**environment(), "GLOO_SOCKET_IFNAME": self.devices[host], SILENT: "10"}
        with said.open("w") as file:
            return subprocess.Popen(
                ["ip", "netns", "exec", self.names[host], *options, *command],
                env=given,
                stdout=file,
                stderr=file,
                text=True,
                start_new_session=True,
            )

    def cut(self) -> None:
        """Pull the cable."""
        _ip("-n", self.names[1], "link", "set", self.devices[1], "down")


def cut_off(folder: Path, expected: dict[str, bytes], tasks: int, resume: Callable[[], object]) -> tuple[int, str]:
    """
    Cut the second of two hosts off when a quarter of the tasks is finished.

    Args:
        folder (Path): To work in.
        expected (dict[str, bytes]): The files of a run without a fault.
        tasks (int): How many the run has.
        resume (Callable): Goes on with the run where torchrun gave it up.

    Returns:
        int, str: How many results were lost, and how the run ended.
    """
    log, out = folder / "log", folder / "out"
    job = [str(HERE / "steps_job.py"), str(log), str(tasks), "0.5", str(out)]
    with TwoHosts(f"cp{os.getpid() % 10_000}") as hosts:
        agents = [hosts.begin(host, job, folder / f"said-{host}") for host in range(2)]
        try:
            assert wait_for(lambda: len(records(out)) >= tasks // 4 and log.exists(), agents[0]), (
                folder / "said-0"
            ).read_text()
            hosts.cut()
            before, begun = records(out), time.monotonic()
            # torchrun itself goes on for minutes, to say goodbye to the agent on the other host.
            ended = wait_for(lambda: (out / "settings.json").exists() and is_finished(out), agents[0])
            seconds = time.monotonic() - begun
        finally:
            for agent in agents:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(agent.pid, signal.SIGKILL)
                agent.wait()
    twice = sum(times > 1 for times in made(log).values())
    seen = f"the run ends {seconds:.0f} s after the cut, {twice or 'no'} task begun by both hosts"
    if not ended:
        resume()
        seen = f"the other host ends with {agents[0].returncode}; --resume goes on"
    now = records(out)
    lost = sum(now.get(name) != when for name, when in before.items())
    return lost + (snapshot(out) != expected), seen


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


def faults(scratch: Path) -> Iterator[Fault]:
    """What is injected where torchrun itself supervises."""
    scratch.mkdir(parents=True)
    alone = scratch / "alone"
    subprocess.run(
        [sys.executable, "-m", "captum_proto", *COMMAND, "--out", str(alone)],
        env=environment(),
        check=True,
        capture_output=True,
    )
    expected, random_ = snapshot(alone), random.Random(3)
    lost, seen = 0, Seen()
    for number in range(3):
        folder = scratch / f"killed-{number}"
        folder.mkdir()
        gone, code, printed = kill_a_worker(folder, random_.randrange(5), number % 2, expected)
        lost += gone
        seen.add(code, printed, folder)
    yield Fault("torchrun evaluate: a worker is killed (SIGKILL)", 3, lost, str(seen))
    name = "one of two hosts is cut off from the network"
    if reason := TwoHosts.possible():
        print(f"{name}: not injected, {reason}")
        return
    folder, tasks = scratch / "hosts", 24
    folder.mkdir()
    carry_out(Steps(folder / "log-alone", tasks), folder / "alone")
    gone, said = cut_off(
        folder,
        snapshot(folder / "alone"),
        tasks,
        lambda: carry_out(Steps(folder / "log", tasks), folder / "out", resume=True),
    )
    yield Fault(name, 1, gone, said)
