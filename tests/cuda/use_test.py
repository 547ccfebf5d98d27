"""
The package used on a GPU: prototypes made and evaluated on ``cuda`` by the command line, and by a CUDA graph of a step, in four minutes and
without network.

    python tests/cuda/use_test.py [--wheels FOLDER] [--out FOLDER]

With ``--wheels``, the folder of wheels that were carried here is installed into an environment of its own, beside the torch that is there;
without, the source tree that this file is in is used. Pictures and results are left in the folder.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
if str(HERE) not in sys.path:
    sys.path.insert(0, str(HERE))

from stages import Stage, run_stages  # noqa: E402

TOTAL_SECONDS = 240.0


def planned(folder: Path, wheels: Path | None = None) -> list[Stage]:
    """The stages, with what they make in a folder."""
    environment: dict[str, str] = {}
    stages: list[Stage] = []
    if wheels is None:
        python = sys.executable
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    else:
        venv = folder / "venv"
        python = str(venv / "bin" / "python")
        carried = [str(path) for path in sorted(wheels.glob("*.whl"))]
        stages += [
            Stage("environment", [sys.executable, "-m", "venv", "--system-site-packages", str(venv)], 25),
            Stage(
                "install", [python, "-m", "pip", "install", "--no-index", "--no-deps", *carried], 35, ("environment",)
            ),
        ]
    needs = tuple(stage.name for stage in stages[-1:])
    command = [python, "-m", "captum_proto"]
    model = ["--model", "digits", "--device", "cuda", "--target", "3", "--no-progress", "--overwrite"]
    short = ["--steps", "64", "--warmup-steps", "16"]
    in_use = "from captum_proto import ops; s = ops.backend()['cuda']; print(s); assert s['native'], s['reason']"

    def stage(name: str, run: list[str], seconds: float, *others: str) -> Stage:
        return Stage(name, run, seconds, (*needs, *others), environment)

    return [
        *stages,
        stage("native", [python, "-c", in_use], 20),
        stage("generate", [*command, "generate", *model, *short, "--out", str(folder / "generate")], 50, "native"),
        stage("replay", [python, str(HERE / "step_graph.py")], 40, "native"),
        stage(
            "evaluate",
            [*command, "evaluate", *model, *short, "--images", "digits", "--out", str(folder / "evaluate")],
            70,
            "native",
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--out", type=Path, default=Path("cuda-use-test"), help="folder for results (default: %(default)s)"
    )
    parser.add_argument("--wheels", type=Path, help="folder of wheels to install first")
    arguments = parser.parse_args()
    if arguments.wheels is not None and not list(arguments.wheels.glob("*.whl")):
        raise SystemExit(f"there are no wheels in {arguments.wheels}; give the folder that holds them.")
    folder = arguments.out.resolve()
    sys.exit(run_stages(planned(folder, arguments.wheels), folder, TOTAL_SECONDS))


if __name__ == "__main__":
    main()
