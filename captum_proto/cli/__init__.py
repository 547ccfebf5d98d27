"""The command line: ``captum-proto COMMAND``. One command a file; what they share is in ``arguments``."""

from __future__ import annotations

import argparse
import errno
import io
import os
import sys
import traceback
from collections.abc import Sequence

from captum_proto._utils import termination
from captum_proto._utils.errors import CaptumProtoError
from captum_proto._utils.files import ESCAPED, one_line
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
    verify,
    visualize,
)
from captum_proto.cli.arguments import EXIT_CODES
from captum_proto.cli.processes import Processes, said_of_share
from captum_proto.cli.recorded import recorded_arguments
from captum_proto.data.labels import following_links
from captum_proto.runs.folder import begun_by
from captum_proto.runs.group import OtherProcessError, ShareIsMade

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
    verify,
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
    parser.add_argument(
        "--follow-links",
        action="store_true",
        help="follow links that lead out of a folder of images; else such images are skipped and named",
    )
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
        int: The exit code: 0 done, 1 something given cannot be used, 70 a bug, 130 interrupted, 143 terminated. Wrong usage exits with 2.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # no letter that the terminal lacks ends a run
            stream.reconfigure(errors=ESCAPED)
    processes = Processes()
    parser = _parser()
    with processes.quiet():
        args = parser.parse_args(arguments)
    given = recorded_arguments(parser, args.command, sys.argv[1:] if arguments is None else arguments)
    hint = "; what was finished is on disk, --resume goes on from there" if hasattr(args, "resume") else ""
    try:
        with processes.quiet(), termination.taken(), begun_by(given), following_links(args.follow_links):
            try:
                with processes.together(), memory_budget(getattr(args, "memory_budget", None)):
                    args.run(args)
                    sys.stdout.flush()
            except Exception as error:
                # Processes that were asked together, such as those of a DataLoader, were missed first.
                if termination.asked() and not isinstance(error, (ShareIsMade, OtherProcessError)):
                    raise termination.Terminated from error
                raise
    except ShareIsMade as share:
        if processes.speaks:
            print(said_of_share(share))
    except OtherProcessError:
        return 1  # the other has said why
    except KeyboardInterrupt as error:
        if not processes.reports(error):
            return 130
        print(f"captum-proto: interrupted{hint}", file=sys.stderr)
        return 130
    except termination.Terminated as error:
        if processes.reports(error):
            print(f"captum-proto: terminated{hint}", file=sys.stderr)
        return termination.EXIT_CODE
    except CaptumProtoError as error:
        if not processes.reports(error):
            return 1
        if args.debug:
            raise
        print(f"captum-proto: error: {one_line(str(error))}", file=sys.stderr)
        return 1
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _NOBODY_READS and error.filename is None:
            return _without_output(error)
        if not processes.reports(error):
            return 70
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
