"""``captum-proto compare-groups``: does the model do as well on each of several groups of images?"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

from captum_proto._utils.errors import InputError
from captum_proto._utils.files import readable
from captum_proto._utils.targets import Target
from captum_proto.cli import arguments as shared
from captum_proto.cli.given import check_given
from captum_proto.data import ImageCollection
from captum_proto.experiments.compare_groups import CompareGroups
from captum_proto.experiments.generate import Generate
from captum_proto.metrics.group_comparison import classes_of_interest
from captum_proto.models import NamedModel
from captum_proto.runs.tasks import carry_out

_EXAMPLES = """examples:
  captum-proto compare-groups --model torchvision:resnet18 --target "academic gown" --group lighter=gowns/lighter \\
      --group darker=gowns/darker --out gowns-compared
  captum-proto compare-groups --model efficientnet-lite0 --target mortarboard --also "academic gown" --group "no face=caps/alone" \\
      --group face=caps/worn --out caps-compared
"""


def add(commands: shared.Commands) -> None:
    parser = shared.command(
        commands,
        "compare-groups",
        "compare accuracy and probabilities between groups of images of one class",
        _EXAMPLES,
    )
    shared.add_model(parser)
    group = parser.add_argument_group("groups and classes")
    group.add_argument(
        "--group",
        action="append",
        required=True,
        metavar="NAME=DIR",
        help="a name, and a folder of images of that group, with any folders within it; give two or more",
    )
    group.add_argument(
        "--target",
        required=True,
        metavar="CLASS",
        help=f"the class that the images are of: {shared.CLASS}",
    )
    group.add_argument(
        "--also",
        action="append",
        default=[],
        metavar="CLASS",
        help="a further class whose probability is of interest; repeat for several",
    )
    shared.add_exif_orientation(group)
    group.add_argument("--confidence", type=float, default=0.95, help="of all intervals (default: %(default)s)")
    group.add_argument("--resamples", type=int, default=9999, help="of each bootstrap (default: %(default)s)")
    group.add_argument("--image-batch", type=int, default=32, help="images at a time (default: %(default)s)")
    group.add_argument(
        "--workers", type=int, default=2, help="threads that read images while the model works (default: %(default)s)"
    )
    beside = parser.add_argument_group("prototypes beside the figures")
    one_of = beside.add_mutually_exclusive_group()
    one_of.add_argument(
        "--prototypes", type=Path, metavar="FILE", help="a prototypes.safetensors, instead of generating"
    )
    one_of.add_argument("--no-prototypes", action="store_true", help="none")
    beside.add_argument("--count", type=int, help="prototypes of each class of interest (default: 2)")
    shared.add_generation(parser)
    shared.add_output(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    check_given(args)
    places = _places(args.group)
    subgroups = {name: ImageCollection.one_class(place) for name, place in places.items()}
    named = shared.load(args)
    target, *also = shared.classes([args.target, *args.also], named)
    comparing = CompareGroups(
        named,
        subgroups,
        target,
        also,
        confidence=args.confidence,
        resamples=args.resamples,
        seed=args.seed,
        batch_size=args.image_batch,
        workers=args.workers,
        prototypes=_prototypes(args, named, classes_of_interest(target, also, named.class_names).values()),
    )
    comparison = carry_out(comparing, args.out, **shared.output(args))
    print(f"\n{comparing.heading()}\n{comparison.table()}")
    for subgroup in comparison.subgroups:
        if subgroup.skipped:
            print(f"{subgroup.skipped} files of the group {subgroup.subgroup} were skipped")
    print(f"written: {args.out}")


def _prototypes(args: argparse.Namespace, named: NamedModel, targets: Iterable[Target]) -> Path | Generate | None:
    """Those given, how to make them, or none."""
    count, options = shared.count_of(args, 2), shared.generation_arguments(args, named)
    if args.no_prototypes or args.prototypes is not None:
        given: Path | None = args.prototypes
        return given
    repeated = [target for target in targets for _ in range(count)]
    return Generate(named, repeated, options, seed=args.seed, batch_size=args.batch_size)


def _places(texts: Sequence[str]) -> dict[str, str]:
    """NAME=DIR, each name once."""
    places: dict[str, str] = {}
    for text in texts:
        name, equals, place = text.partition("=")
        if not (equals and name.strip() and place):
            raise InputError(f'the group "{text}" is not NAME=DIR; expected e.g. --group lighter=photos/lighter.')
        if name.strip() in places:
            raise InputError(f'two groups are called "{name.strip()}"; give each a name of its own.')
        places[readable(name.strip())] = place  # a figure can show no other name
    if len(places) < 2:
        raise InputError("one group of images was given; expected at least two, each as --group NAME=DIR.")
    return places
