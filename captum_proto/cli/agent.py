"""``captum-proto agent``: which features an agent's value is made of, and at what it fails without one of them."""

from __future__ import annotations

import argparse
from pathlib import Path

from captum_proto.attr.layer_activation_path import METHODS
from captum_proto.cli import arguments as shared
from captum_proto.cli.given import check_given
from captum_proto.experiments.agent import KNOWN, StudyAgent, agent_setup
from captum_proto.metrics import failure_table
from captum_proto.runs.tasks import carry_out

_EXAMPLES = """examples:
  captum-proto agent side-scroller --out agent
  captum-proto agent side-scroller --output "jump right" --out jumps
  captum-proto agent side-scroller --levels 10000 --hide saw --out agent
  captum-proto agent minigrid-lava --levels 500 --out lava
  captum-proto agent mine.py:setup --without saw --out mine

a function of your own returns a captum_proto.experiments.agent.AgentSetup.
"""


def add(commands: shared.Commands) -> None:
    parser = shared.command(commands, "agent", "features of an agent's value, and its failures without them", _EXAMPLES)
    parser.add_argument("agent", metavar="AGENT", help=f"{', '.join(KNOWN)}, or FILE.py:FACTORY")
    group = parser.add_argument_group("agent")
    group.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="weights of captum_proto.testing.train_agents (default: the package's)",
    )
    group.add_argument("--environment", metavar="NAME", help="another environment of MiniGrid, for minigrid-lava")
    group = parser.add_argument_group("attribution")
    group.add_argument(
        "--output",
        default="value",
        metavar="NAME",
        help="what is attributed: value, or an action (default: %(default)s)",
    )
    group.add_argument("--features", type=int, default=8, help="how many (default: %(default)s)")
    group.add_argument("--method", choices=METHODS, default="riemann_right", help="of the path (default: %(default)s)")
    group.add_argument("--n-steps", type=int, default=10, help="of the path (default: %(default)s)")
    group.add_argument(
        "--observed-levels", type=int, default=128, help="in which features are found and judged (default: %(default)s)"
    )
    group.add_argument("--observations", type=int, default=4, help="of each of these (default: %(default)s)")
    group = parser.add_argument_group("failures")
    group.add_argument("--levels", type=int, default=2000, help="that are played by each agent (default: %(default)s)")
    group.add_argument(
        "--without",
        nargs="+",
        metavar="OBJECT",
        help="whose feature is taken away, an agent for each (default: those that episodes can end at)",
    )
    group.add_argument(
        "--hide", nargs="+", default=[], metavar="OBJECT", help="not drawn, for the agent as it is (default: none)"
    )
    group.add_argument("--at-once", type=int, default=128, help="levels side by side (default: %(default)s)")
    group.add_argument(
        "--chunk", type=int, default=500, help="levels after which a run can be resumed (default: %(default)s)"
    )
    group.add_argument("--seed", type=int, default=0, help="which levels (default: %(default)s)")
    parser.add_argument("--episodes", type=int, default=4, help="that are shown (default: %(default)s)")
    shared.add_output(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    check_given(args)
    protocol = StudyAgent(
        agent_setup(args.agent, args.checkpoint, args.environment),
        levels=args.levels,
        observed_levels=args.observed_levels,
        observations=args.observations,
        output=args.output,
        n_features=args.features,
        n_steps=args.n_steps,
        method=args.method,
        without=args.without,
        hide=args.hide,
        episodes=args.episodes,
        at_once=args.at_once,
        chunk=args.chunk,
        seed=args.seed,
    )
    print(failure_table(carry_out(protocol, args.out, **shared.output(args))))
    print(f"written: {args.out}")
