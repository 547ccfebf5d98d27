"""``captum-proto dictionary``: what a layer sees in one image."""

from __future__ import annotations

import argparse
from pathlib import Path

from captum_proto._utils.class_names import label_of
from captum_proto._utils.tables import percent
from captum_proto.cli import arguments as shared
from captum_proto.cli.given import check_given
from captum_proto.experiments.dictionary import Dictionary
from captum_proto.models import NamedModel
from captum_proto.runs.tasks import carry_out

_EXAMPLES = """examples:
  captum-proto dictionary --model efficientnet-lite0 --image cat.jpg --layer _blocks.10 --out cat
  captum-proto dictionary --model torchvision:resnet18 --image dog.jpg --layer layer4 --target "golden retriever" \\
      --contrast "tennis ball" --images photos --out dog
"""
_DEFAULTS = {name: field.default for name, field in Dictionary.__dataclass_fields__.items()}


def add(commands: shared.Commands) -> None:
    parser = shared.command(
        commands, "dictionary", "show what a layer sees in one image, and what it does with it", _EXAMPLES
    )
    shared.add_model(parser)
    group = parser.add_argument_group("what to look at")
    group.add_argument("--image", type=Path, required=True, metavar="FILE", help="an image file")
    group.add_argument("--layer", required=True, metavar="NAME", help="a layer with positions in rows and columns")
    group.add_argument(
        "--target",
        metavar="CLASS",
        help=f"what to attribute: {shared.CLASS} (default: the class that the model gives it)",
    )
    group.add_argument("--contrast", metavar="CLASS", help="a class to subtract from it (default: none)")
    group.add_argument(
        "--top", type=int, default=_DEFAULTS["top"], help="units of each position (default: %(default)s)"
    )
    group.add_argument(
        "--groups", type=int, default=_DEFAULTS["groups"], help="neuron groups; 0 for none (default: %(default)s)"
    )
    group.add_argument(
        "--no-grid", action="store_true", help="leave out the activation grid, a picture for each position"
    )
    shared.add_exif_orientation(group)
    group = parser.add_argument_group("images that activate units most (default: not shown)")
    group.add_argument("--images", metavar="DIR", help="a folder of images, in any order; labels are not needed")
    group.add_argument("--limit", type=int, help="so many of them, drawn at random (default: all)")
    group.add_argument(
        "--image-batch", type=int, default=_DEFAULTS["image_batch"], help="images at a time (default: %(default)s)"
    )
    group = parser.add_argument_group("pictures of units")
    group.add_argument("--steps", type=int, default=_DEFAULTS["steps"], help="default: %(default)s")
    group.add_argument(
        "--picture-size",
        type=int,
        default=_DEFAULTS["picture_size"],
        metavar="PIXELS",
        help="the side of each (default: %(default)s)",
    )
    group.add_argument(
        "--batch-size", type=int, default=_DEFAULTS["batch_size"], help="pictures at a time (default: %(default)s)"
    )
    group.add_argument("--seed", type=int, default=_DEFAULTS["seed"], help="default: %(default)s")
    shared.add_output(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    check_given(args)
    named = shared.load(args)
    protocol = Dictionary(
        named,
        args.image,
        args.layer,
        _class(args.target, named),
        _class(args.contrast, named),
        args.top,
        args.groups,
        not args.no_grid,
        None if args.images is None else Path(args.images),
        args.limit,
        args.steps,
        args.picture_size,
        args.batch_size,
        args.image_batch,
        args.seed,
    )
    found = carry_out(protocol, args.out, **shared.output(args))
    (row, column), (rows, columns) = found.start, found.components.shape[1:]
    print(f"row {row + 1}, column {column + 1} of {rows} × {columns}: channel, activation, share, attribution")
    for entry in found.position(row, column):
        print(f"{entry.unit}: {entry.activation:.2f}, {percent(entry.share)}, {entry.attribution or 0.0:+.3f}")
    print(
        f"attributed: the logit of {label_of(tuple(found.settings['target'][0]), named.class_names)}, {found.settings['score']:.2f}"
    )
    print(f"written: {args.out}")


def _class(text: str | None, named: NamedModel) -> tuple[int, ...] | None:
    return None if text is None else shared.classes([text], named)[0]
