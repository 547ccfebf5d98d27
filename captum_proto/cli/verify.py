"""``captum-proto verify``: whether a folder of results is whole."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from captum_proto._utils.errors import InputError
from captum_proto._utils.files import readable
from captum_proto.cli import arguments as shared
from captum_proto.runs.verify import Verification, verify

_EXAMPLES = """examples:
  captum-proto verify dogs
  captum-proto verify dogs || captum-proto generate --model efficientnet-lite0 --target 151-268 --out dogs --resume

Every file of the run and of its parts is read and compared with the digest that the run recorded of it. Exit code 0: the run is finished
and whole. 1: it is not; then the command that makes again what is missing, truncated or altered, and nothing else, is printed. Files that
no run wrote are named, and are no fault. Nothing in the folder is changed.
"""
#: So many files of a kind are named, unless all are asked for.
_SHOWN = 10


def add(commands: shared.Commands) -> None:
    parser = shared.command(commands, "verify", "see whether a folder of results is whole", _EXAMPLES)
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder that a command wrote to")
    parser.add_argument("--all", action="store_true", help=f"name all files, not the first {_SHOWN} of each kind")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    found = verify(args.folder)
    for what, names in _listed(found).items():
        for name in names if args.all else names[:_SHOWN]:
            print(f"{what}: {readable(name)}")
        if not args.all and len(names) > _SHOWN:
            print(f"{what}: {len(names) - _SHOWN} more (--all names them)")
    count = f"{found.checked} file{'s are' if found.checked != 1 else ' is'} as written"
    if found.whole:
        beside = f"; {len(found.unexpected)} beside that no run wrote" if found.unexpected else ""
        print(f"{args.folder}: whole; {count}{beside}")
        return
    print(count)
    command = found.to_resume()
    if command is None:
        again = f"run what made it ({found.command or 'its settings are lost'}) again with resume=True"
    else:
        again = f"run: {readable(shlex.join(command))}"
    raise InputError(f'"{args.folder}" is not whole: {_summary(found)}; to make again just that, {again}')


def _listed(found: Verification) -> dict[str, list[str]]:
    """The names to be printed, by what is the matter with them."""
    listed: dict[str, list[str]] = {}
    for problem in found.problems:
        again = f" (task {problem.task})" if problem.task else ""
        listed.setdefault(problem.what, []).append(f"{problem.path}{again}")
    if found.unfinished:
        listed["unfinished"] = found.unfinished
    if found.left:
        listed["left by an interrupted run"] = found.left
    if found.unexpected:
        listed["unexpected"] = found.unexpected
    return listed


def _summary(found: Verification) -> str:
    counts: dict[str, int] = {}
    for problem in found.problems:
        counts[problem.what] = counts.get(problem.what, 0) + 1
    parts = [f"{count} file{'s' if count > 1 else ''} {what}" for what, count in counts.items()]
    if found.unfinished:
        parts.append("the run is not finished")
    return ", ".join(parts)
