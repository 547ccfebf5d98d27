"""``captum-proto fooling``: networks that fool feature visualization, and which measures notice."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from captum_proto._utils.errors import InputError
from captum_proto._utils.tables import number
from captum_proto.cli import arguments as shared
from captum_proto.cli.given import check_given
from captum_proto.data.natural import DIGITS, natural_split
from captum_proto.experiments.fooling import NETWORKS, Fooling, mean_of
from captum_proto.experiments.generate import rehearse
from captum_proto.metrics.controls import check_controls
from captum_proto.models import NamedModel, load_model
from captum_proto.runs.tasks import carry_out
from captum_proto.testing import PLANTS

#: Of the digits network that prototypes are shown to.
_VERIFIER_SEED = 1_000_000

_EXAMPLES = """examples:
  captum-proto fooling --model digits --steps 256 --degrees 15 --translate 0.1 0.1 --scale 0.9 1.1 --high-frequency-weight 30 \\
      --high-frequency-power 2 --warmup-steps 0 --out fooled-digits
  captum-proto fooling --model digits --plant slingshot --plant fine_tuned --seeds 1 --out slingshot
  captum-proto fooling --model efficientnet-lite0 --images photos --target 151-268 --plant "other_class" --parametrization fourier \\
      --high-frequency-weight 0 --warmup-steps 0 --steps 64 --out fooled-dogs
"""


def add(commands: shared.Commands) -> None:
    parser = shared.command(commands, "fooling", "fool feature visualization, and see which measures notice", _EXAMPLES)
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
    shared.add_class_table(group)
    shared.add_exif_orientation(group)
    group.add_argument("--limit", type=int, help="natural images of each class (default: all)")
    group.add_argument(
        "--plant",
        action="append",
        choices=NETWORKS,
        help='what ascents are led to, by a circuit; or by other weights: "slingshot", with its control "fine_tuned"; repeat for several '
        "(default: all; of another model than digits, all circuits)",
    )
    group.add_argument("--picture", type=Path, metavar="FILE", help='an image to plant instead of the drawn "face"')
    group.add_argument(
        "--verifier",
        metavar="MODEL",
        help="another honest network that prototypes are shown to, by name (default: none; for digits, one of another seed)",
    )
    group.add_argument(
        "--tuning-steps", type=int, default=1200, help="of a slingshot and its control (default: %(default)s)"
    )
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
    check_given(args)
    if args.model != "digits" and (args.images is None or args.target is None):
        raise InputError(f"{args.model} needs natural images and a class; pass --images and --target.")
    if args.seeds < 1:
        raise InputError(f"seeds is {args.seeds}; expected at least 1.")
    named = shared.load(args)
    classes = args.target or [str(digit) for digit in range(10)]
    targets = list(dict.fromkeys(shared.classes(classes, named)))
    options = shared.generation_arguments(args, named)
    check_controls(args.controls)
    rehearse(
        named, targets, options
    )  # before images are read: a class that the model does not have is no fault of theirs
    natural = natural_split(
        args.images or DIGITS,
        named.geometry,
        named.class_names,
        targets,
        split=args.split,
        limit=args.limit,
        workers=args.workers,
        class_table=args.class_table,
    )
    fooling = Fooling(
        _networks(named, args),
        natural,
        targets,
        options,
        plants=args.plant or (NETWORKS if args.model == "digits" else PLANTS),
        picture=args.picture,
        count=shared.count_of(args, 1),
        threshold=args.threshold,
        image_batch=args.image_batch,
        controls=args.controls,
        tuning_steps=args.tuning_steps,
        verifier=_verifier(named, args),
    )
    result = carry_out(fooling, args.out, **shared.output(args))
    for seed in range(args.seeds):
        for network in result.networks:
            of_seed = replace(result, rows=[row for row in result.rows if row.seed == seed])
            flagged, measured = of_seed.flags(network)
            mean = number(mean_of(of_seed.of(network), "normalized"), 2)
            print(f"seed {seed}, {network}: normalized Spearman {mean}, {flagged} of {measured} flagged")
    print(f"\n{result.table()}")
    print(f"written: {args.out}")


def _verifier(named: NamedModel, args: argparse.Namespace) -> NamedModel | None:
    """An honest network of other weights: of digits one of a seed that no network here has."""
    device = next(named.model.parameters()).device
    if args.verifier is not None:
        return load_model(args.verifier, device=device, download=True)
    if args.model == "digits":
        return load_model("digits", device=device, pretrained=not args.random_weights, seed=_VERIFIER_SEED)
    return None


def _networks(named: NamedModel, args: argparse.Namespace) -> list[NamedModel]:
    """The classifier of each seed: the digits' is made anew, unless its weights are given."""
    if args.model != "digits" or args.checkpoint is not None:
        return [named] * args.seeds
    device, pretrained = next(named.model.parameters()).device, not args.random_weights
    further = [load_model("digits", device=device, pretrained=pretrained, seed=seed) for seed in range(1, args.seeds)]
    return [named, *further]
