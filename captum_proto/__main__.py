"""``captum-proto`` and ``python -m captum_proto``: what has to be set before PyTorch is loaded, then :mod:`captum_proto.cli`."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

#: How the threads of OpenMP wait for each other. Who has set one of these has decided.
_SETTINGS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
#: So often a waiting thread looks before it sleeps, where nobody else is at work: nearly as fast as the 300,000 times of GNU's OpenMP on
#: an idle machine, and less in the way of whoever begins to work later (benchmarks/waiting_threads.py).
_SPINS = 3000


def main() -> int:
    """
    Run the command line.

    OpenMP's threads spin while they wait. Beside other processes that takes the cores from these, and from the thread that is waited for:
    a step takes several times as long. So they sleep where others are at work; on an idle machine that would nearly halve the speed, and
    they spin, for less long than is usual. OpenMP reads this once, when it is loaded; ``OMP_WAIT_POLICY`` and ``GOMP_SPINCOUNT`` that the
    user has set stay.

    Returns:
        int: The exit code, as :func:`captum_proto.cli.main`.
    """
    os.environ.update(waiting(os.environ, others_at_work(), os.cpu_count() or 1))
    from captum_proto.cli import main as run

    return run()


def waiting(environment: Mapping[str, str], others: int, cores: int) -> dict[str, str]:
    """How OpenMP's threads are to wait beside so many processes of others: what to add to the environment."""
    if any(name in environment for name in _SETTINGS):
        return {}
    return {"OMP_WAIT_POLICY": "PASSIVE"} if 4 * others >= cores else {"GOMP_SPINCOUNT": str(_SPINS)}


def others_at_work() -> int:
    """How many other threads of the machine are at work all the while, as Linux tells; 0 where it does not."""
    running = []
    try:
        for _ in range(5):
            time.sleep(0.01)
            running.append(int(Path("/proc/loadavg").read_text().split()[3].partition("/")[0]))
    except (OSError, ValueError, IndexError):
        return 0
    return max(min(running) - 1, 0)  # this one runs as well


if __name__ == "__main__":
    sys.exit(main())
