"""``captum-proto visualize``: pictures of what units respond to."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from captum_proto._utils.errors import InputError
from captum_proto.cli import arguments as shared
from captum_proto.cli.given import check_given
from captum_proto.cli.options import add_fields
from captum_proto.data import ImageCollection, digits_collection
from captum_proto.experiments.options import VISUALIZATION_OPTIONS, visualization_options
from captum_proto.experiments.visualize import (
    FIRST,
    POOLS,
    LayerUnits,
    NaturalExamples,
    Visualize,
    channels_in,
    chosen_layers,
    parse_units,
    read_directions,
)
from captum_proto.models import load_model
from captum_proto.optim import OptimizationSettings, Visualizations
from captum_proto.runs.tasks import carry_out

_EXAMPLES = """examples:
  captum-proto visualize --model efficientnet-lite0 --layer _blocks.8 --units 0-11,40 --out units
  captum-proto visualize --model efficientnet-lite0 --layer _blocks.8 --images photos --judge torchvision:resnet18 --out units
  captum-proto visualize --model torchvision:resnet18 --layer layer2 --layer layer4 --steps 128 --attempts 2 --out units
  captum-proto visualize --model timm:vit_small_patch16_224 --layer blocks.6.mlp.act --units 0-7 --neuron --out units
  captum-proto visualize --model efficientnet-lite0 --layer _blocks.8 --direction directions.safetensors --out directions
"""
#: Of the warm-up there is none here.
WITHOUT = ("warmup_steps", "warmup_tolerance")


def add(commands: shared.Commands) -> None:
    parser = shared.command(commands, "visualize", "make pictures of what units respond to", _EXAMPLES)
    shared.add_model(parser)
    group = parser.add_argument_group("units")
    group.add_argument(
        "--layer",
        action="append",
        required=True,
        metavar="NAME",
        help='a layer\'s name, or a pattern such as "layer?"; repeat for several',
    )
    group.add_argument(
        "--units",
        metavar="NUMBERS",
        help=f'of each layer, such as "0-11,40" (default: the first {FIRST}, or all if there are fewer)',
    )
    group.add_argument(
        "--neuron", action="store_true", help="one neuron in the middle of the layer's map, instead of a whole channel"
    )
    group.add_argument(
        "--direction",
        type=Path,
        metavar="FILE",
        help="instead of units, directions in the space of one layer's channels: .safetensors with one tensor, or .npy, (C,) or (N, C)",
    )
    made = parser.add_argument_group(
        "optimization (what is not given is as in feature visualization: Fourier coefficients, small shifts)"
    )
    add_fields(made, OptimizationSettings, WITHOUT)
    made.add_argument(
        "--attempts", type=int, help="pictures to try for each unit, of which the best is kept (default: 1)"
    )
    made.add_argument("--batch-size", type=int, default=16, help="pictures at a time (default: %(default)s)")
    made.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    natural = parser.add_argument_group("natural images (for examples beside the pictures, and a score)")
    natural.add_argument(
        "--images", metavar="DIR", help="a folder of images, of any classes; folders within it are looked through"
    )
    natural.add_argument("--k", type=int, help="how many of the highest and of the lowest are kept (default: 15)")
    natural.add_argument(
        "--pool",
        choices=POOLS,
        help="what an image scores of the positions of a unit's map (default: max; mean: whole images as examples)",
    )
    natural.add_argument(
        "--judge",
        metavar="MODEL",
        help="another model, in whose features pictures and images are compared, for the score",
    )
    shared.add_exif_orientation(natural)
    natural.add_argument("--image-batch", type=int, default=32, help="images at a time (default: %(default)s)")
    natural.add_argument("--workers", type=int, default=2, help="threads that read images (default: %(default)s)")
    shared.add_output(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    check_given(args)
    numbers = None if args.units is None else parse_units(args.units)
    options = _options(args)
    directions = None if args.direction is None else read_directions(args.direction)
    if directions is not None and numbers is not None:
        raise InputError("--units and --direction were both given; give one of them.")
    named = shared.load(args)
    layers = chosen_layers(named, args.layer)
    if directions is not None and len(layers) > 1:
        raise InputError(f"--direction was given for {len(layers)} layers; give the one in which the directions lie.")
    units = []
    for layer, width in channels_in(named, layers).items():
        channels = tuple(range(min(FIRST, width))) if numbers is None else numbers
        units.append(LayerUnits(layer, () if directions is not None else channels, width, args.neuron, directions))
    found = carry_out(
        Visualize(named, units, options, args.seed, args.batch_size, _natural(args)), args.out, **shared.output(args)
    )
    _print(found, units)
    print(f"written: {args.out}")


def _natural(args: argparse.Namespace) -> NaturalExamples | None:
    """The natural images to show to units, if some were given, and who judges by them."""
    given = [f"--{name}" for name in ("k", "pool", "judge") if getattr(args, name) is not None]
    if args.images is None:
        if given:
            raise InputError(f"{given[0]} was given without natural images; give --images DIR too.")
        return None
    chosen = {name: getattr(args, name) for name in ("k", "pool") if getattr(args, name) is not None}
    judge = (
        None
        if args.judge is None
        else load_model(args.judge, device=args.device or shared.default_device(), download=True)
    )
    images = digits_collection() if args.images == "digits" else ImageCollection.one_class(args.images)
    return NaturalExamples(images, judge=judge, batch_size=args.image_batch, workers=args.workers, **chosen)


def _options(args: argparse.Namespace) -> dict[str, Any]:
    given = {name: value for name, value in vars(args).items() if value is not None}
    return visualization_options({name: value for name, value in given.items() if name in VISUALIZATION_OPTIONS})


def _print(found: dict[str, Visualizations], units: list[LayerUnits]) -> None:
    for one in units:
        made = found[one.layer]
        for label, activation, seed, responds in zip(
            one.labels, made.activations.tolist(), made.seeds, made.responds.tolist(), strict=True
        ):
            state = f"activation {activation:.3f}" if responds else "never fired"
            print(f"{one.layer}, {label}, seed {seed}: {state}")
