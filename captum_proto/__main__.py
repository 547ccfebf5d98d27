"""``captum-proto`` and ``python -m captum_proto``: what has to be set before PyTorch is loaded, then :mod:`captum_proto.cli`."""

from __future__ import annotations

import os
import sys


def main() -> int:
    """
    Run the command line.

    Threads that wait for each other sleep, where the user has set no ``OMP_WAIT_POLICY``: OpenMP's own way, to spin, takes the cores from
    whatever else runs on the machine, and the waiting thread from the working one. OpenMP reads it once, when it is loaded.

    Returns:
        int: The exit code, as :func:`captum_proto.cli.main`.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from captum_proto.cli import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
