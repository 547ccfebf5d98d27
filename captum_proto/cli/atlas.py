"""``captum-proto atlas``: what a layer knows, laid out on a plane and drawn."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path

from captum_proto.cli import arguments as shared
from captum_proto.cli.given import check_given
from captum_proto.cli.options import add_fields
from captum_proto.experiments.atlas import Atlas, AtlasSettings
from captum_proto.experiments.atlas.settings import levels_of
from captum_proto.runs.tasks import carry_out

_EXAMPLES = """examples:
  captum-proto atlas --model torchvision:googlenet --layer inception4c --images photos --grid 20 --icon-size 96 --out atlas
  captum-proto atlas --model efficientnet-lite0 --layer _blocks.10 --images photos --positions all --method pca --grid 10 --out small
  captum-proto atlas --model efficientnet-lite0 --layer _blocks.14 --images photos --target 151-268 --against 281-285 --out dogs-and-cats
"""


def add(commands: shared.Commands) -> None:
    parser = shared.command(commands, "atlas", "lay out and draw what a layer responds to", _EXAMPLES)
    shared.add_model(parser)
    group = parser.add_argument_group("atlas")
    group.add_argument("--layer", required=True, metavar="NAME", help="the layer, by its dotted name")
    group.add_argument("--images", required=True, metavar="DIR", help="a folder of images, whatever they are called")
    shared.add_exif_orientation(group)
    group.add_argument(
        "--grid",
        type=int,
        nargs="+",
        default=[20],
        metavar="N",
        help="cells a side; several for levels to zoom through, of one its half and its quarter too (default: 20)",
    )
    group.add_argument("--target", metavar="CLASS", help=f"the first of two classes to compare: {shared.CLASS}")
    group.add_argument("--against", metavar="CLASS", help="the second; a patch is tried that turns the first into it")
    add_fields(group, AtlasSettings)
    group.add_argument("--batch-size", type=int, default=16, help="pictures at a time (default: %(default)s)")
    group.add_argument("--image-batch", type=int, default=32, help="images at a time (default: %(default)s)")
    group.add_argument(
        "--chunk",
        type=int,
        default=512,
        help="images after which a run can be resumed, of more (default: %(default)s)",
    )
    group.add_argument(
        "--workers", type=int, default=2, help="threads that read images while the model works (default: %(default)s)"
    )
    shared.add_output(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    check_given(args)
    given = {each.name: getattr(args, each.name) for each in fields(AtlasSettings)}
    settings = AtlasSettings(**{name: value for name, value in given.items() if value is not None})
    grid = levels_of(args.grid)
    named = shared.load(args)
    target, against = (
        None if text is None else shared.classes([text], named)[0] for text in (args.target, args.against)
    )
    result = carry_out(
        Atlas(
            named,
            args.layer,
            Path(args.images),
            grid,
            settings,
            target,
            against,
            batch_size=args.batch_size,
            image_batch=args.image_batch,
            workers=args.workers,
            chunk=args.chunk,
        ),
        args.out,
        **shared.output(args),
    )
    for level in result.levels:
        print(level.note())
    print(f"written: {args.out}")
