"""``captum-proto fooling``: networks that fool feature visualization, and whether path similarity notices."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from captum_proto._utils.class_names import parse_classes
from captum_proto._utils.errors import InputError
from captum_proto._utils.targets import Target
from captum_proto.cli import arguments as shared
from captum_proto.data import ImageCollection, digits_images
from captum_proto.experiments.fooling import Fooling, Natural
from captum_proto.metrics.controls import check_controls
from captum_proto.models import NamedModel, load_model
from captum_proto.runs.tasks import carry_out
from captum_proto.testing import PLANTS

_EXAMPLES = """examples:
  captum-proto fooling --model digits --steps 256 --degrees 15 --translate 0.1 0.1 --scale 0.9 1.1 --high-frequency-weight 30 \\
      --high-frequency-power 2 --warmup-steps 0 --out fooled-digits
  captum-proto fooling --model efficientnet-lite0 --images photos --target 151-268 --plant "other_class" --parametrization fourier \\
      --high-frequency-weight 0 --warmup-steps 0 --steps 64 --out fooled-dogs
"""


def add(commands: shared.Commands) -> None:
    parser = shared.command(
        commands, "fooling", "fool feature visualization, and see whether path similarity notices", _EXAMPLES
    )
    shared.add_model(parser)
    group = parser.add_argument_group("fooling")
    group.add_argument(
        "--target", action="append", metavar="CLASS", help="as for generate (default for digits: each of the ten)"
    )
    group.add_argument("--count", type=int, default=1, help="prototypes of each and seed (default: %(default)s)")
    group.add_argument(
        "--images", metavar="DIR", help='natural images, as for evaluate; or "digits" (default for digits)'
    )
    group.add_argument("--split", help="of an ImageNet-style tree (default: val, else what there is)")
    group.add_argument("--limit", type=int, help="natural images of each class (default: all)")
    group.add_argument(
        "--plant", action="append", choices=PLANTS, help="what ascents are led to; repeat for several (default: all)"
    )
    group.add_argument("--picture", type=Path, metavar="FILE", help='an image to plant instead of the drawn "face"')
    group.add_argument(
        "--seeds",
        type=int,
        default=5,
        help="of prototypes and detector, and of the digits network, which is trained anew (default: %(default)s)",
    )
    group.add_argument(
        "--threshold", type=float, default=0.0, help="flag normalized Spearman below this (default: %(default)s)"
    )
    group.add_argument(
        "--controls", nargs="*", default=[], metavar="NAME", help="compare these as well (default: none)"
    )
    group.add_argument("--image-batch", type=int, default=32, help="images at a time (default: %(default)s)")
    shared.add_generation(parser)
    shared.add_output(parser)
    parser.set_defaults(run=run, workers=2)


def run(args: argparse.Namespace) -> None:
    if args.model != "digits" and (args.images is None or args.target is None):
        raise InputError(f"{args.model} needs natural images and a class; pass --images and --target.")
    if args.seeds < 1:
        raise InputError(f"seeds is {args.seeds}; expected at least 1.")
    named = shared.load(args)
    classes = args.target or [str(digit) for digit in range(10)]
    targets = list(dict.fromkeys(parse_classes(classes, named.class_names)))
    check_controls(args.controls)
    natural = _digits(targets, args) if args.images in (None, "digits") else _photographs(targets, args, named)
    fooling = Fooling(
        _networks(named, args),
        natural,
        targets,
        shared.generation_arguments(args),
        plants=args.plant or PLANTS,
        picture=args.picture,
        count=shared.count_of(args, 1),
        threshold=args.threshold,
        image_batch=args.image_batch,
        controls=args.controls,
    )
    result = carry_out(fooling, args.out, **shared.output(args))
    for seed in range(args.seeds):
        for network in result.networks:
            rows = [row for row in result.of(network) if row.seed == seed]
            mean = sum(row.normalized for row in rows) / len(rows)
            flagged = sum(row.flagged for row in rows)
            print(f"seed {seed}, {network}: normalized Spearman {mean:.2f}, {flagged} of {len(rows)} flagged")
    print(f"\n{result.table()}")
    print(f"written: {args.out}")


def _networks(named: NamedModel, args: argparse.Namespace) -> list[NamedModel]:
    """The classifier of each seed: the digits' is made anew, unless its weights are given."""
    if args.model != "digits" or args.checkpoint is not None:
        return [named] * args.seeds
    device, pretrained = next(named.model.parameters()).device, not args.random_weights
    further = [load_model("digits", device=device, pretrained=pretrained, seed=seed) for seed in range(1, args.seeds)]
    return [named, *further]


def _digits(targets: list[Target], args: argparse.Namespace) -> Natural:
    training, held_out = digits_images("training"), digits_images("held_out")
    same, other = {}, {}
    for target in targets:
        rest = sorted(set(range(10)) - set(target))
        same[target] = digits_images(classes=target, limit=args.limit).images
        other[target] = digits_images(classes=rest, limit=max(1, len(same[target]) // len(rest))).images
    return Natural(training.images, training.labels, held_out.images, held_out.labels, same, other)


def _photographs(targets: list[Target], args: argparse.Namespace, named: NamedModel) -> Natural:
    """Every second photograph for the detector, the others held out; all of them for the comparison."""
    collection = ImageCollection.discover(args.images, named.class_names, split=args.split)

    def read(images: ImageCollection) -> tuple[Tensor, Tensor]:
        batches = images.batches(
            named.image_shape,
            32,
            resize_ratio=named.resize_ratio,
            interpolation=named.interpolation,
            workers=args.workers,
        )
        parts: list[Any] = list(batches.items())
        return torch.cat([batch.images for batch in parts]), torch.cat(
            [torch.as_tensor(batch.labels) for batch in parts]
        )

    everything, labels = read(collection)
    same, other = {}, {}
    for target in targets:
        mine = torch.isin(labels, torch.tensor(target))
        if int(mine.sum()) < 2:
            raise InputError(
                f'"{args.images}" holds {int(mine.sum())} images of target {list(target)[:4]}; path similarity needs at least two: name a '
                "superclass, such as 151-268."
            )
        same[target] = everything[mine][: args.limit]
        rest = everything[~mine]
        if not len(rest):
            raise InputError(f'"{args.images}" holds no image of another class than {list(target)[:4]}; give some.')
        other[target] = rest[:: max(1, len(rest) // len(same[target]))][: len(same[target])]
    return Natural(everything[::2], labels[::2], everything[1::2], labels[1::2], same, other)
