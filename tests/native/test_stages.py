"""The runner of the GPU's self-test, with stages planted that hang, fail, die, or leave others behind: no GPU is needed."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

CUDA = Path(__file__).resolve().parents[1] / "cuda"

pytestmark = pytest.mark.skipif(os.name == "nt", reason="process groups are POSIX's")


def _loaded(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, CUDA / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


stages = _loaded("stages")


def stage(name: str, program: str, seconds: float = 60.0, **options: Any) -> Any:
    return stages.Stage(name, [sys.executable, "-S", "-c", program], seconds, **options)


def results(folder: Path) -> dict[str, dict[str, Any]]:
    lines = (folder / "results.jsonl").read_text().splitlines()
    return {result["name"]: result for result in map(json.loads, lines)}


def outcomes(folder: Path) -> dict[str, str]:
    return {name: result["outcome"] for name, result in results(folder).items()}


def is_gone(process: int) -> bool:
    for _ in range(200):
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
        if Path(f"/proc/{process}/stat").exists() and ") Z " in Path(f"/proc/{process}/stat").read_text():
            return True  # dead, and not yet taken away by whoever adopted it
        time.sleep(0.02)
    return False


def test_a_stage_that_hangs_fails_or_dies_costs_only_itself(tmp_path: Path) -> None:
    begin = time.monotonic()
    status = stages.run_stages(
        [
            stage("good", "print('hello')"),
            stage("hangs", "import time; print('begun', flush=True); time.sleep(600)", seconds=1.0),
            stage("fails", "import sys; print('a reason'); sys.exit(3)"),
            stage("dies", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"),
            stage("absent", f"import sys; print('no such tool'); sys.exit({stages.NOT_HERE})"),
            stages.Stage("unknown", ["/nowhere/program"], 5.0),
            stage("needy", "raise AssertionError('was run')", needs=("good", "hangs")),
            stage("last", "import os; print(os.environ['OF_STAGE'])", environment={"OF_STAGE": "yes"}),
        ],
        tmp_path,
        total_seconds=300,
    )
    assert status == 1
    assert time.monotonic() - begin < 60
    assert outcomes(tmp_path) == {
        "good": "passed",
        "hangs": "timed out",
        "fails": "failed",
        "dies": "failed",
        "absent": "not here",
        "unknown": "failed",
        "needy": "left out",
        "last": "passed",
    }
    found = results(tmp_path)
    assert found["fails"]["reason"] == "ended with 3"
    assert found["dies"]["reason"] == "died of SIGSEGV"
    assert found["absent"]["reason"] == "no such tool"
    assert found["needy"]["reason"] == "needs hangs"
    assert (tmp_path / found["hangs"]["log"]).read_text() == "begun\n"
    assert (tmp_path / found["fails"]["log"]).read_text() == "a reason\n"
    assert (tmp_path / found["last"]["log"]).read_text() == "yes\n"
    assert len((tmp_path / "summary.txt").read_text().splitlines()) == 8


def test_all_good_or_not_here_is_success(tmp_path: Path) -> None:
    (tmp_path / "results.jsonl").write_text("of an earlier run\n")
    some = [stage("a", ""), stage("b", f"raise SystemExit({stages.NOT_HERE})")]
    assert stages.run_stages(some, tmp_path, 60) == 0
    assert outcomes(tmp_path) == {"a": "passed", "b": "not here"}


CHILDREN = """
import os, signal, subprocess, sys, time
{before}
child = subprocess.Popen([sys.executable, "-S", "-c", "import signal, time; {ignore}; time.sleep(600)"])
open({path!r}, "w").write(f"{{os.getpid()}} {{child.pid}}")
{after}
"""


@pytest.mark.parametrize("stubborn", [False, True])
@pytest.mark.parametrize("hangs", [False, True])
def test_no_process_of_a_stage_outlives_it(tmp_path: Path, hangs: bool, stubborn: bool) -> None:
    ignore = "signal.signal(signal.SIGTERM, signal.SIG_IGN)" if stubborn else "pass"
    program = CHILDREN.format(
        before=ignore, ignore=ignore, path=str(tmp_path / "processes"), after="time.sleep(600)" if hangs else ""
    )
    status = stages.run_stages([stage("parent", program, seconds=3.0)], tmp_path, 60)
    assert status == (1 if hangs else 0)
    assert outcomes(tmp_path) == {"parent": "timed out" if hangs else "passed"}
    for process in map(int, (tmp_path / "processes").read_text().split()):
        assert is_gone(process)


def test_a_result_is_written_before_the_next_stage_begins(tmp_path: Path) -> None:
    look = f"import sys; text = open({str(tmp_path / 'results.jsonl')!r}).read(); sys.exit('\"first\"' not in text)"
    assert stages.run_stages([stage("first", ""), stage("second", look)], tmp_path, 60) == 0


def test_the_time_of_all_stages_is_a_limit_too(tmp_path: Path) -> None:
    begin = time.monotonic()
    some = [stage("long", "import time; time.sleep(600)", 500), stage("after", "")]
    assert stages.run_stages(some, tmp_path, total_seconds=1.5) == 1
    assert time.monotonic() - begin < 30
    assert outcomes(tmp_path) == {"long": "timed out", "after": "left out"}


def test_whoever_ends_the_runner_ends_its_stage(tmp_path: Path) -> None:
    program = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(CUDA)!r})
from stages import Stage, run_stages
child = "import os, time; open({str(tmp_path / "process")!r}, 'w').write(str(os.getpid())); time.sleep(600)"
sys.exit(run_stages([Stage("endless", [sys.executable, "-S", "-c", child], 500)], Path({str(tmp_path)!r}), 600))
"""
    runner = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.DEVNULL)
    for _ in range(1000):
        if (tmp_path / "process").exists() and (tmp_path / "process").read_text():
            break
        time.sleep(0.02)
    runner.send_signal(signal.SIGTERM)
    assert runner.wait(30) == 130
    assert is_gone(int((tmp_path / "process").read_text()))
    assert outcomes(tmp_path) == {"endless": "interrupted"}


def test_stages_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match='two stages are called "a"'):
        stages.run_stages([stage("a", ""), stage("a", "")], tmp_path, 1)
    with pytest.raises(ValueError, match="do not come before it"):
        stages.run_stages([stage("a", "", needs=("b",)), stage("b", "")], tmp_path, 1)


@pytest.mark.parametrize(("script", "most"), [("self_test", 600), ("use_test", 240)])
def test_the_limits_of_the_scripts_fit_into_their_minutes(script: str, most: int, tmp_path: Path) -> None:
    module = _loaded(script)
    planned = module.planned(tmp_path)
    assert most >= module.TOTAL_SECONDS
    assert sum(each.seconds for each in planned) <= module.TOTAL_SECONDS
    stages._check(planned)
