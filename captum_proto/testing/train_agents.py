"""
Train the agents that come with the package, and write them to where they are read from.

``python -m captum_proto.testing.train_agents scroller`` (three minutes of one core) and ``… lava`` (a minute; needs minigrid).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from captum_proto._utils.files import save_tensors
from captum_proto.testing import lava_agent
from captum_proto.testing.side_scroller import agent as scroller
from captum_proto.testing.side_scroller.training import train_agent


def main(arguments: Sequence[str] | None = None) -> None:
    """
    Train one agent.

    Args:
        arguments (sequence of str, optional): Of the command line. Default: ``sys.argv[1:]``
    """
    parser = argparse.ArgumentParser(description="train an agent that comes with the package")
    parser.add_argument("agent", choices=("scroller", "lava"))
    parser.add_argument("--out", type=Path, help="file to write (default: the package's own)")
    parser.add_argument(
        "--levels", type=int, default=100_000, help="scroller: levels to train on (default: %(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=8, help="scroller: rounds of play (default: %(default)s)")
    parser.add_argument(
        "--untaught", action="store_true", help="scroller: leave to the agent what its channels are for"
    )
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    args = parser.parse_args(arguments)
    began = time.process_time()
    if args.agent == "scroller":
        trained, rounds = train_agent(
            args.levels,
            args.rounds,
            teaching=0.0 if args.untaught else 200.0,
            seed=args.seed,
            report=lambda figures: print(json.dumps(figures), flush=True),
        )
        model: nn.Module = trained
        path, kind = scroller.CHECKPOINT, scroller.KIND
        described: dict[str, Any] = {
            "levels": args.levels,
            "untaught": args.untaught,
            "seed": args.seed,
            "rounds": rounds,
        }
    else:
        model, found = lava_agent.train_lava_agent(seed=args.seed)
        path, kind = lava_agent.CHECKPOINT, lava_agent.KIND
        described = {"environment": lava_agent.ENVIRONMENT, "seed": args.seed, **found}
        print(json.dumps(found))
    described["processor_seconds"] = round(time.process_time() - began, 1)
    save_tensors(args.out or path, kind, model.state_dict(), described, overwrite=True)
    print(f"{described['processor_seconds']} seconds of one core; written: {args.out or path}")


if __name__ == "__main__":
    main()
