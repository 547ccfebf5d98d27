"""``captum-proto report``: the page of a folder of results."""

from __future__ import annotations

import argparse
import webbrowser
from pathlib import Path

from captum_proto._utils.errors import StateError
from captum_proto.cli import arguments as shared
from captum_proto.experiments.report import report_on

_EXAMPLES = """examples:
  captum-proto report dogs
  captum-proto report demo-output --open

Every command writes this page when it is finished; of an interrupted run it shows the parts that are there: finished prototypes, also of
classes that are not compared yet, finished comparisons, and what other finished tasks wrote.
"""


def add(commands: shared.Commands) -> None:
    parser = shared.command(commands, "report", "write the results in a folder as one HTML page", _EXAMPLES)
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder that a command wrote to")
    parser.add_argument("--open", action="store_true", help="show the page in the browser")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    path = report_on(args.folder)
    print(f"written: {path}")
    if args.open and not webbrowser.open(path.resolve().as_uri()):
        raise StateError(f'there is no browser to show "{path}" in; open the file yourself.')
