"""A program that torchrun begins on each host: LOG COUNT SECONDS OUT, the toy run of tests/runs/together.py."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "runs"))
from together import Steps

from captum_proto._utils.errors import CaptumProtoError
from captum_proto.cli.processes import Processes
from captum_proto.runs.group import ShareIsMade
from captum_proto.runs.tasks import carry_out


def main() -> int:
    warnings.simplefilter("ignore")
    log, count, seconds, out = sys.argv[1:]
    try:
        with Processes().together():
            carry_out(Steps(Path(log), int(count), float(seconds)), Path(out))
    except ShareIsMade:
        return 0
    except CaptumProtoError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
