"""
The CUDA operators checked on a GPU, from the build to the timings, in ten minutes and without network.

    python tests/cuda/self_test.py [--out FOLDER] [--only STAGE ...] [--no-build]

Runs with the Python that is there, with torch, captum, scipy, hypothesis and pytest (pytest-xdist where there is one), on the source tree
that this file is in. Each stage has a limit; its result and what it printed are in the folder as soon as it ends: ``summary.txt``,
``results.jsonl`` and a text file for each. Tools that are not there (compute-sanitizer, ncu) are said to be missing, and fail nothing.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
if str(HERE) not in sys.path:
    sys.path.insert(0, str(HERE))

from stages import Stage, run_stages  # noqa: E402

#: All stages together.
TOTAL_SECONDS = 600.0
#: Processes of pytest at a time: each has a CUDA context of its own.
_PROCESSES = 4


def planned(folder: Path, build: bool = True) -> list[Stage]:
    """The stages, with logs and results of tools in a folder."""
    python, tests = sys.executable, [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q"]
    several = ["-n", str(_PROCESSES), "--dist", "worksteal"] if importlib.util.find_spec("xdist") else []
    environment = {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")])),
        "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // _PROCESSES)),
    }
    sanitize, probe = str(HERE / "sanitize.py"), str(HERE / "probe.py")
    timings = [python, str(ROOT / "benchmarks" / "cuda_timings.py")]

    def stage(name: str, command: list[str], seconds: float, *needs: str, **variables: str) -> Stage:
        return Stage(name, command, seconds, needs, environment | variables)

    def checked(tool: str, seconds: float) -> Stage:
        command = [python, sanitize, "--tools", tool, "--logs", str(folder / "sanitizer")]
        return stage(tool, command, seconds, "kernels")

    stages = [stage("versions", [python, probe, "versions"], 15)]
    built: list[str] = []
    if build:
        stages.append(stage("build", [python, probe, "build"], 120, CAPTUM_PROTO_BUILD="cuda"))
        built = ["build"]
    return [
        *stages,
        stage("kernels", [python, sanitize, "--exercise"], 30, *built),
        stage("tests", [*tests, "-m", "cuda and not giant", *several, str(HERE)], 100, "kernels"),
        stage("giant-rows-and-streams", [*tests, "-m", "giant", str(HERE)], 45, "kernels"),
        stage("cold-graph", [python, probe, "cold-graph"], 20, "kernels"),
        checked("memcheck", 60),
        checked("racecheck", 60),
        stage("timings", [*timings, "--quick", "--out", str(folder / "timings.json")], 60, "kernels"),
        stage("sweep", [*timings, "--sweep", "--out", str(folder / "sweep.json")], 60, "kernels"),
        stage("bytes", [python, probe, "bytes"], 20, "kernels"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--out", type=Path, default=Path("cuda-self-test"), help="folder for results (default: %(default)s)"
    )
    parser.add_argument("--only", nargs="+", metavar="STAGE", help="these stages, and those that they need")
    parser.add_argument("--no-build", action="store_true", help="take the modules that are built")
    arguments = parser.parse_args()
    stages = planned(arguments.out.resolve(), not arguments.no_build)
    if arguments.only:
        stages = chosen(stages, arguments.only)
    sys.exit(run_stages(stages, arguments.out.resolve(), TOTAL_SECONDS))


def chosen(stages: list[Stage], names: list[str]) -> list[Stage]:
    """Stages by their names, with those that they need."""
    known = {stage.name: stage for stage in stages}
    if unknown := [name for name in names if name not in known]:
        raise SystemExit(f"there is no stage {', '.join(unknown)}; there are {', '.join(known)}.")
    wanted: set[str] = set()
    ahead = list(names)
    while ahead:
        name = ahead.pop()
        wanted.add(name)
        ahead += known[name].needs
    return [stage for stage in stages if stage.name in wanted]


if __name__ == "__main__":
    main()
