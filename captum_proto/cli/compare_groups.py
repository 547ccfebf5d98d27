"""``captum-proto compare-groups``: does the model do as well on each of several groups of images?"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from captum_proto._utils.class_names import parse_classes
from captum_proto._utils.errors import InputError
from captum_proto._utils.model import fingerprint
from captum_proto._utils.targets import Target, target_mask
from captum_proto.attr import PrototypeGeneration, Prototypes
from captum_proto.cli import arguments as shared
from captum_proto.data import ImageCollection
from captum_proto.experiments.compare_groups import compare_groups_to_folder
from captum_proto.experiments.generate import generate_to_folder, write_prototypes

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
        help='the class that the images are of: an index, a name, or a group of classes as one: "151-268" or "3,5,8"',
    )
    group.add_argument(
        "--also",
        action="append",
        default=[],
        metavar="CLASS",
        help="a further class whose probability is of interest; repeat for several",
    )
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
    places = _places(args.group)
    groups = {name: ImageCollection.one_class(place) for name, place in places.items()}
    named = shared.load(args)
    target, *also = parse_classes([args.target, *args.also], named.class_names)
    if named.class_names is not None:
        target_mask(
            [target, *also], len(named.class_names), torch.device("cpu")
        )  # a class that is not there is said now
    count = shared.count_of(args, 2)
    given = None if args.prototypes is None else Prototypes.load(args.prototypes)
    if given is not None:
        if given.settings.get("model_fingerprint") not in (None, fingerprint(named.model)):
            raise InputError(
                f'the prototypes in "{args.prototypes}" were made with another model or other weights; generate them with this one.'
            )
        for one in (target, *also):
            given.of(one)

    def prototypes_of(classes: list[Target], place: Path) -> Prototypes:
        if given is not None:
            kept = Prototypes.concatenate([given.of(one) for one in classes])
            write_prototypes(kept, place, named.class_names)
            return kept
        return generate_to_folder(
            PrototypeGeneration(named.model, named.preprocess),
            [one for one in classes for _ in range(count)],
            named.image_shape,
            place,
            options=shared.generation_arguments(args),
            seed=args.seed,
            batch_size=args.batch_size,
            class_names=named.class_names,
            overwrite=args.overwrite,
            resume=args.resume,
            show_progress=not args.no_progress,
        )

    compare_groups_to_folder(
        named,
        groups,
        target,
        args.out,
        also=also,
        prototypes_of=None if args.no_prototypes else prototypes_of,
        confidence=args.confidence,
        resamples=args.resamples,
        seed=args.seed,
        batch_size=args.image_batch,
        workers=args.workers,
        story=shared.story(args, named),
        overwrite=args.overwrite,
        resume=args.resume,
        show_progress=not args.no_progress,
    )
    print(f"written: {args.out}")


def _places(texts: Sequence[str]) -> dict[str, str]:
    """NAME=DIR, each name once."""
    places: dict[str, str] = {}
    for text in texts:
        name, equals, place = text.partition("=")
        if not (equals and name.strip() and place):
            raise InputError(f'the group "{text}" is not NAME=DIR; expected e.g. --group lighter=photos/lighter.')
        if name.strip() in places:
            raise InputError(f'two groups are called "{name.strip()}"; give each a name of its own.')
        places[name.strip()] = place
    if len(places) < 2:
        raise InputError("one group of images was given; expected at least two, each as --group NAME=DIR.")
    return places
