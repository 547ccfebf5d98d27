"""``captum-proto demo``: a first look."""

from __future__ import annotations

import argparse
from pathlib import Path

from captum_proto._utils.checks import check_device
from captum_proto.cli import arguments as shared
from captum_proto.cli.given import check_given
from captum_proto.experiments.demo import Demo, run_demo


def add(commands: shared.Commands) -> None:
    parser = shared.command(commands, "demo", "prototypes of an ImageNet network, and digits with the full comparison")
    parser.add_argument(
        "--out", type=Path, default=Path("demo-output"), help="folder to write to (default: %(default)s)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace files in the folder")
    parser.add_argument("--resume", action="store_true", help="go on with what an interrupted run left in it")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--device", default="cpu", help="default: %(default)s")
    parser.add_argument("--no-progress", action="store_true", help="no progress bars")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    check_given(args)
    run_demo(args.out, Demo(check_device(args.device), args.seed), **shared.output(args))
