"""``captum-proto directions``: do the images of a unit agree better than those of a random direction?"""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields

from captum_proto._utils.errors import InputError
from captum_proto.cli import arguments as shared
from captum_proto.cli.given import check_given
from captum_proto.cli.options import add_fields
from captum_proto.data import Collection, ImageCollection, digits_collection
from captum_proto.data.natural import DIGITS
from captum_proto.experiments.direction_agreement import CompareDirections, DirectionSettings, conclusion
from captum_proto.models import NamedModel, load_model
from captum_proto.models.registry import check_model_name
from captum_proto.runs.tasks import carry_out

_EXAMPLES = """examples:
  captum-proto directions --model efficientnet-lite0 --judge efficientnet-lite1 --images photos --layer _blocks.15 --out directions
  captum-proto directions --model torchvision:resnet50 --judge efficientnet-lite0 --images imagenet --layer layer3 --layer layer4 --out r50
"""


def add(commands: shared.Commands) -> None:
    parser = shared.command(
        commands,
        "directions",
        "compare a layer's units with random, principal and non-negative directions: how well do their images agree?",
        _EXAMPLES,
    )
    shared.add_model(parser)
    group = parser.add_argument_group("comparison")
    group.add_argument(
        "--judge", required=True, metavar="NAME", help="another network, in whose features images are compared"
    )
    group.add_argument(
        "--judge-layer", metavar="NAME", help="of the judge (default: what its last linear layer takes in)"
    )
    group.add_argument(
        "--layer",
        action="append",
        required=True,
        metavar="NAME",
        help="whose directions are compared; repeat for several",
    )
    group.add_argument(
        "--images",
        required=True,
        metavar="DIR",
        help='natural images: any folder of them, by class where there are classes; or "digits"',
    )
    group.add_argument("--split", help="of an ImageNet-style tree (default: val, else what there is)")
    group.add_argument("--unlabeled", action="store_true", help="the folders and names of the images tell no classes")
    shared.add_class_table(group)
    shared.add_exif_orientation(group)
    add_fields(parser.add_argument_group("directions"), DirectionSettings)
    group.add_argument("--image-batch", type=int, default=32, help="images at a time (default: %(default)s)")
    group.add_argument(
        "--workers", type=int, default=2, help="threads that read images while the model works (default: %(default)s)"
    )
    shared.add_output(parser, optimizes=False)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    check_given(args)
    check_model_name(args.judge)
    given = {field.name: getattr(args, field.name) for field in fields(DirectionSettings)}
    settings = DirectionSettings(**{name: value for name, value in given.items() if value is not None})
    named = shared.load(args)
    judge = load_model(args.judge, device=args.device or shared.default_device(), download=True)
    judge.exif_orientation = named.exif_orientation
    images, labeled = _images(args, named)
    result = carry_out(
        CompareDirections(
            named,
            judge,
            images,
            args.layer,
            settings,
            judge_layer=args.judge_layer,
            labeled=labeled,
            batch_size=args.image_batch,
            workers=args.workers,
        ),
        args.out,
        **shared.output(args),
    )
    print(result.table())
    print(*conclusion(result), sep="\n")
    print(f"written: {args.out}")


def _images(args: argparse.Namespace, named: NamedModel) -> tuple[Collection, bool]:
    """The images, and whether their labels are known."""
    if args.images == DIGITS:
        return digits_collection(), True
    if not args.unlabeled:
        try:
            found = ImageCollection.discover(
                args.images, named.class_names, split=args.split, class_table=args.class_table
            )
            return found, True
        except InputError as error:
            if args.split or args.class_table:
                raise
            print(f"taken without labels, for {error}", file=sys.stderr)
    return ImageCollection.one_class(args.images), False
