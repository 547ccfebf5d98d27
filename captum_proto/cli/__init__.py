"""The command line: ``captum-proto COMMAND``. One command a file; what they share is in ``arguments``."""

from __future__ import annotations

import argparse
import errno
import io
import os
import sys
import traceback
from collections.abc import Sequence

from captum_proto._utils.errors import CaptumProtoError
from captum_proto._utils.files import ESCAPED
from captum_proto._utils.memory import memory_budget
from captum_proto.cli import (
    agent,
    atlas,
    blind,
    circuit,
    compare_groups,
    demo,
    describe,
    dictionary,
    directions,
    dissect,
    evaluate,
    examples,
    explain,
    fooling,
    generate,
    info,
    planted_bias,
    quality,
    quality_pairs,
    report,
    reproduce,
    sanity_check,
    sweep,
    trojans,
    visualize,
)
from captum_proto.cli.arguments import EXIT_CODES

#: What to send with a report: the versions and devices that the command prints.
_HOW_TO_REPORT = "to report it, send what is above and the output of: captum-proto info --json"
#: In the order in which the help names them.
COMMANDS = (
    generate,
    visualize,
    examples,
    dictionary,
    atlas,
    dissect,
    explain,
    describe,
    circuit,
    agent,
    evaluate,
    quality,
    quality_pairs,
    sweep,
    compare_groups,
    directions,
    planted_bias,
    fooling,
    sanity_check,
    trojans,
    blind,
    reproduce,
    report,
    info,
    demo,
)


#: What is said where standard output goes: a full disk, or a program such as head that has read enough.
_NOBODY_READS = (errno.ENOSPC, errno.EDQUOT, errno.EPIPE)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="captum-proto",
        description="What does a class look like to a model, and can that picture be trusted?",
        epilog=EXIT_CODES,
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for command in COMMANDS:
        command.add(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run the command line.

    Args:
        arguments (sequence of str, optional): What follows ``captum-proto``. Default: ``sys.argv[1:]``

    Returns:
        int: The exit code: 0 done, 1 something given cannot be used, 70 a bug, 130 interrupted. Wrong usage exits with 2.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # no letter that the terminal lacks ends a run
            stream.reconfigure(errors=ESCAPED)
    args = _parser().parse_args(arguments)
    try:
        with memory_budget(getattr(args, "memory_budget", None)):
            args.run(args)
        sys.stdout.flush()
    except KeyboardInterrupt:
        hint = "; what was finished is on disk, --resume goes on from there" if hasattr(args, "resume") else ""
        print(f"captum-proto: interrupted{hint}", file=sys.stderr)
        return 130
    except CaptumProtoError as error:
        if args.debug:
            raise
        print(f"captum-proto: error: {error}", file=sys.stderr)
        return 1
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _NOBODY_READS and error.filename is None:
            return _without_output(error)
        # A bug, here or in the model's own code: the sentence of an exception that nobody wrote for a user would only mislead.
        traceback.print_exc()
        print(f"captum-proto: this is a bug, or an error in the model's own code; {_HOW_TO_REPORT}", file=sys.stderr)
        return 70
    return 0


def _without_output(error: OSError) -> int:
    """End where what is printed goes nowhere: what a command makes is in its folder by then."""
    if error.errno != errno.EPIPE:
        print(f"captum-proto: error: standard output cannot be written ({error.strerror}); make room.", file=sys.stderr)
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  # else the interpreter says the same once more at its end
    return 1
