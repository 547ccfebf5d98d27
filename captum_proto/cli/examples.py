"""``captum-proto examples``: the images to which units respond most."""

from __future__ import annotations

import argparse
import sys

from captum_proto.cli import arguments as shared
from captum_proto.cli.given import check_given
from captum_proto.experiments.examples import UNITS, FindExamples
from captum_proto.report.views.examples import LABELS, figure
from captum_proto.runs.tasks import carry_out

_EXAMPLES = """examples:
  captum-proto examples --model efficientnet-lite0 --images photos --layers _blocks.3 --layers _blocks.10 --out units
  captum-proto examples --model torchvision:resnet18 --images imagenet/val --layers "layer?" --units layer3=12,40 --out units
  captum-proto examples --model efficientnet-lite0 --images photos --layers _conv_head --pool mean --units 30 --out means
  captum-proto examples --model digits --images digits --layers leaf --out digits
"""


def add(commands: shared.Commands) -> None:
    parser = shared.command(commands, "examples", "find the images to which units respond most", _EXAMPLES)
    shared.add_model(parser)
    group = parser.add_argument_group("units")
    group.add_argument(
        "--layers",
        action="append",
        required=True,
        metavar="NAME",
        help='name or pattern, "leaf" or "all"; repeat for several',
    )
    group.add_argument(
        "--units",
        action="append",
        metavar="N or LAYER=C,C",
        help="which units have pictures: so many of each layer, evenly spaced, or certain ones; repeat for several (default: 12). All "
        "units are looked at",
    )
    group.add_argument("--k", type=int, default=15, help="examples of each unit (default: %(default)s)")
    group.add_argument(
        "--pool",
        choices=("max", "mean", "position"),
        default="max",
        help="what an image scores: the highest activation of its map, the mean, or that at one position (default: %(default)s)",
    )
    group.add_argument("--position", type=int, nargs="+", metavar="I", help='of --pool position: "3 3" for a map')
    group.add_argument(
        "--quantiles",
        type=float,
        nargs="*",
        default=[0.99, 0.995],
        metavar="Q",
        help="of all activations of a unit, between 0 and 1; none for a single pass over the images (default: 0.99 0.995)",
    )
    images = parser.add_argument_group("images")
    images.add_argument(
        "--images",
        required=True,
        metavar="DIR",
        help='a folder of images, whatever they are called, with those in folders within it; or "digits"',
    )
    shared.add_exif_orientation(images)
    images.add_argument("--image-batch", type=int, default=32, help="images at a time (default: %(default)s)")
    images.add_argument(
        "--chunk", type=int, default=512, help="images after which a run can be resumed (default: %(default)s)"
    )
    images.add_argument(
        "--workers", type=int, default=2, help="threads that read images while the model works (default: %(default)s)"
    )
    images.add_argument("--seed", type=int, default=0, help="of the random sample (default: %(default)s)")
    parser.add_argument(
        "--shown", type=int, default=9, help="top examples of a unit on the page (default: %(default)s)"
    )
    shared.add_output(parser, optimizes=False)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    check_given(args)
    named = shared.load(args)
    examples = carry_out(
        FindExamples(
            named,
            args.images,
            args.layers,
            args.units or ("12",),
            k=args.k,
            pool=args.pool,
            position=None if args.position is None else tuple(args.position),
            quantiles=tuple(args.quantiles),
            shown=args.shown,
            seed=args.seed,
            batch_size=args.image_batch,
            chunk=args.chunk,
            workers=args.workers,
        ),
        args.out,
        **shared.output(args),
    )
    for name, layer in examples.layers.items():
        highest = int(layer.scores[:, 0].argmax())
        print(
            f"{name}: {layer.units} units; {LABELS['top'].lower()}: unit {highest} with {figure(float(layer.scores[highest, 0]))} "
            f"in image {int(layer.indices[highest, 0])}; {len(layer.silent)} say nothing of these {layer.count} images"
        )
    print(f"all units: {args.out / UNITS}", file=sys.stderr)
    print(f"written: {args.out}")
