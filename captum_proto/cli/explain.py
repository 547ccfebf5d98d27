"""``captum-proto explain``: which formula of labeled concepts agrees best with where each unit fires."""

from __future__ import annotations

import argparse

from captum_proto.cli import arguments as shared
from captum_proto.cli.concepts import add_concepts, add_firing, concepts_of
from captum_proto.cli.given import check_given
from captum_proto.concept.formula import OPERATORS
from captum_proto.experiments.explain import Explain
from captum_proto.runs.tasks import carry_out

_EXAMPLES = """examples:
  captum-proto explain --model torchvision:resnet18 --layers layer4 --concepts ADEChallengeData2016 --out explained
  captum-proto explain --model efficientnet-lite0 --layers _blocks.10 --concepts broden1_224 --length 2 --search exact --out explained
  captum-proto explain --model efficientnet-lite0 --layers _blocks.1 --concepts shapes --count 500 --out shapes
"""


def add(commands: shared.Commands) -> None:
    parser = shared.command(
        commands, "explain", "find formulas of labeled concepts that say where units fire", _EXAMPLES
    )
    shared.add_model(parser)
    group = parser.add_argument_group("units and concepts")
    group.add_argument(
        "--layers", action="append", required=True, metavar="NAME", help="name or pattern; repeat for several"
    )
    add_concepts(group)
    add_firing(group)
    group.add_argument("--image-batch", type=int, default=32, help="images at a time (default: %(default)s)")
    group = parser.add_argument_group("search")
    group.add_argument(
        "--length", type=int, default=3, help="of the longest formula, in concepts (default: %(default)s)"
    )
    group.add_argument("--beam", type=int, default=5, help="formulas that are kept (default: %(default)s)")
    group.add_argument(
        "--operators",
        nargs="+",
        choices=list(OPERATORS),
        default=list(OPERATORS),
        help="that join concepts (default: all)",
    )
    group.add_argument(
        "--search",
        choices=("beam", "exact"),
        default="beam",
        help="exact: with proof that no formula of at most three concepts is better (default: %(default)s)",
    )
    group.add_argument(
        "--budget",
        type=int,
        default=100_000,
        help="formulas of three that an exact search counts for a unit at most (default: %(default)s)",
    )
    group.add_argument(
        "--draws",
        type=int,
        default=5,
        help="how often images get the labels of others, to see what such a search finds by chance; each takes as long as a search by beam "
        "(default: %(default)s)",
    )
    group = parser.add_argument_group("page")
    group.add_argument("--shown", type=int, default=12, help="units of each layer with pictures (default: %(default)s)")
    group.add_argument("--examples", type=int, default=6, help="images of each (default: %(default)s)")
    shared.add_output(parser, optimizes=False)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    check_given(args)
    named = shared.load(args)
    protocol = Explain(
        named,
        concepts_of(args, named),
        args.layers,
        length=args.length,
        beam=args.beam,
        operators=args.operators,
        search=args.search,
        budget=args.budget,
        draws=args.draws,
        quantile=args.quantile,
        size=args.size,
        align_corners=args.align_corners,
        shown=args.shown,
        examples=args.examples,
        batch_size=args.image_batch,
    )
    for layer in carry_out(protocol, args.out, **shared.output(args)):
        print(f"{layer.layer}\n{layer.table()}\n")
    print(f"written: {args.out}")
