"""``captum-proto planted-bias``: a bias of known strength, found in a prototype, tested on unseen images, and removed."""

from __future__ import annotations

import argparse

from captum_proto.cli import arguments as shared
from captum_proto.cli.given import check_given
from captum_proto.experiments.planted_bias import RATES, PlantedBias, comparison_title, conclusion
from captum_proto.runs.tasks import carry_out

_EXAMPLES = """examples:
  captum-proto planted-bias --out planted
  captum-proto planted-bias --digit 3 --rates 0 0.5 1 --networks 3 --out planted-in-threes
"""


def add(commands: shared.Commands) -> None:
    parser = shared.command(
        commands,
        "planted-bias",
        "plant a mark in one class of digits, find it in the prototype, test it on unseen images, remove it",
        _EXAMPLES,
    )
    group = parser.add_argument_group("experiment")
    group.add_argument("--digit", type=int, default=8, help="the class it is planted in (default: %(default)s)")
    group.add_argument(
        "--rate", type=float, default=1.0, help="at which the network that is looked into has it (default: %(default)s)"
    )
    group.add_argument(
        "--rates",
        type=float,
        nargs="+",
        default=list(RATES),
        metavar="RATE",
        help=f"of the dose–response, in rising order (default: {' '.join(f'{rate:g}' for rate in RATES)})",
    )
    group.add_argument("--networks", type=int, default=5, help="networks at each rate (default: %(default)s)")
    group.add_argument("--epochs", type=int, default=8, help="of training (default: %(default)s)")
    group.add_argument("--steps", type=int, default=128, help="of each prototype's ascent (default: %(default)s)")
    group.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    shared.add_output(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    check_given(args)
    planted_bias = PlantedBias(
        digit=args.digit,
        rate=args.rate,
        rates=args.rates,
        networks=args.networks,
        epochs=args.epochs,
        steps=args.steps,
        seed=args.seed,
    )
    result = carry_out(planted_bias, args.out, **shared.output(args))
    digit = result.digit
    print(f"\nhypothesis, read off the prototype of {digit}: a {result.hypothesis} makes an image count as {digit}")
    for name, comparison in result.comparisons.items():
        print(f"\n{comparison_title(digit, name)}\n{comparison.table()}")
    print(f"\nstrength of the cue in the prototype of {digit}, by the rate at which it was planted\n{result.table()}\n")
    print(*conclusion(result), sep="\n")
    print(f"written: {args.out}")
