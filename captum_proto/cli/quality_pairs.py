"""``captum-proto quality-pairs``: the measures of several models' prototypes, each shown to the others, in one table."""

from __future__ import annotations

import argparse
from pathlib import Path

from captum_proto.cli import arguments as shared
from captum_proto.cli.given import check_given
from captum_proto.experiments.quality import QualityPairs
from captum_proto.runs.tasks import carry_out

_EXAMPLES = """examples:
  captum-proto quality-pairs quality-lite0 quality-lite1 quality-lite2 --out pairs

each folder is of "captum-proto quality" with another --model, the others as --verifier, and the same classes and methods.
"""


def add(commands: shared.Commands) -> None:
    parser = shared.command(
        commands,
        "quality-pairs",
        "the quality of several models' prototypes, each shown to the others, in one table",
        _EXAMPLES,
    )
    parser.add_argument(
        "folders",
        type=Path,
        nargs="+",
        metavar="DIR",
        help="folders that captum-proto quality wrote to, one of each model",
    )
    shared.add_output(parser, optimizes=False)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    check_given(args)
    print(carry_out(QualityPairs(args.folders), args.out, **shared.output(args)).table())
    print(f"written: {args.out}")
