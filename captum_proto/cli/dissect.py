"""``captum-proto dissect``: with which labeled concept the firing of each unit agrees."""

from __future__ import annotations

import argparse

from captum_proto.cli import arguments as shared
from captum_proto.cli.concepts import add_concepts, add_firing, concepts_of
from captum_proto.cli.given import check_given
from captum_proto.concept.dissection_result import DENOMINATORS
from captum_proto.experiments.dissect import Dissect
from captum_proto.runs.tasks import carry_out

_EXAMPLES = """examples:
  captum-proto dissect --model efficientnet-lite0 --layers _blocks.10 --concepts broden1_224 --out dissected
  captum-proto dissect --model torchvision:resnet18 --layers "layer?" --concepts ADEChallengeData2016 --out dissected
  captum-proto dissect --model efficientnet-lite0 --layers _conv_head --concepts imagenet/val --group dog=151-268 \\
      --group bird=7-24,80-100 --size 7 --quantile 0.02 --out dissected
  captum-proto dissect --model efficientnet-lite0 --layers _blocks.1 --concepts shapes --out shapes
"""


def add(commands: shared.Commands) -> None:
    parser = shared.command(commands, "dissect", "find the labeled concepts at which units fire", _EXAMPLES)
    shared.add_model(parser)
    group = parser.add_argument_group("units and concepts")
    group.add_argument(
        "--layers", action="append", required=True, metavar="NAME", help="name or pattern; repeat for several"
    )
    add_concepts(group)
    add_firing(group)
    group.add_argument(
        "--iou-threshold", type=float, default=0.04, help="above which a unit is a detector (default: %(default)s)"
    )
    group.add_argument(
        "--denominator",
        choices=DENOMINATORS,
        default="category",
        help="of which images firing counts: those with a label of the concept's category, or all (default: %(default)s)",
    )
    group.add_argument(
        "--draws",
        type=int,
        default=20,
        help="how often images get the labels of others, to see what chance gives (default: %(default)s)",
    )
    group.add_argument("--image-batch", type=int, default=32, help="images at a time (default: %(default)s)")
    group.add_argument(
        "--chunk", type=int, default=2048, help="images after which a run can be resumed (default: %(default)s)"
    )
    group = parser.add_argument_group("page")
    group.add_argument("--shown", type=int, default=12, help="units of each layer with pictures (default: %(default)s)")
    group.add_argument("--examples", type=int, default=6, help="images of each (default: %(default)s)")
    shared.add_output(parser, optimizes=False)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    check_given(args)
    named = shared.load(args)
    dataset = concepts_of(args, named)
    protocol = Dissect(
        named,
        dataset,
        args.layers,
        quantile=args.quantile,
        iou_threshold=args.iou_threshold,
        size=args.size,
        align_corners=args.align_corners,
        denominator=args.denominator,
        draws=args.draws,
        shown=args.shown,
        examples=args.examples,
        batch_size=args.image_batch,
        chunk=args.chunk,
    )
    print(carry_out(protocol, args.out, **shared.output(args)).table())
    print(f"written: {args.out}")
