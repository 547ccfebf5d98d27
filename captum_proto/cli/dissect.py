"""``captum-proto dissect``: with which labeled concept the firing of each unit agrees."""

from __future__ import annotations

import argparse

from captum_proto._utils.errors import InputError
from captum_proto.cli import arguments as shared
from captum_proto.cli.given import check_given
from captum_proto.concept.dissection_result import DENOMINATORS
from captum_proto.experiments.dissect import SHAPES, Dissect, open_concepts
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
    group.add_argument(
        "--concepts",
        required=True,
        metavar="DIR",
        help="a folder with concepts.json, Broden, ADE20K, or images of classes, which are concepts of whole images; or "
        f'"{SHAPES}", drawn ones',
    )
    group.add_argument(
        "--group",
        action="append",
        default=[],
        metavar="NAME=CLASSES",
        help="of images of classes: a concept and the classes that are of it, such as dog=151-268; repeat for several (default: each "
        "class is a concept)",
    )
    group.add_argument("--split", help="of Broden, ADE20K or an ImageNet-style tree")
    group.add_argument("--count", type=int, default=2000, help=f'images of "{SHAPES}" (default: %(default)s)')
    group.add_argument(
        "--quantile",
        type=float,
        default=0.005,
        help="share of its activations at which a unit fires (default: %(default)s)",
    )
    group.add_argument(
        "--iou-threshold", type=float, default=0.04, help="above which a unit is a detector (default: %(default)s)"
    )
    group.add_argument(
        "--size", type=int, default=112, help="rows and columns at which masks are compared (default: %(default)s)"
    )
    group.add_argument(
        "--align-corners", action="store_true", help="enlarge maps from corner to corner (default: by half pixels)"
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
    group = parser.add_argument_group("page")
    group.add_argument("--shown", type=int, default=12, help="units of each layer with pictures (default: %(default)s)")
    group.add_argument("--examples", type=int, default=6, help="images of each (default: %(default)s)")
    shared.add_output(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    check_given(args)
    groups = {}
    for text in args.group:
        name, equals, classes = text.partition("=")
        if not (equals and name.strip() and classes.strip()):
            raise InputError(f'--group is "{text}"; expected a name and classes, such as dog=151-268.')
        groups[name.strip()] = classes
    named = shared.load(args)
    dataset = open_concepts(args.concepts, named.class_names, groups, args.split, args.count)
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
    )
    print(carry_out(protocol, args.out, **shared.output(args)).table())
    print(f"written: {args.out}")
