"""``captum-proto trojans``: do pictures of a class show the trigger that leads to it?"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from captum_proto._utils.checks import check_int
from captum_proto._utils.errors import InputError
from captum_proto.cli import arguments as shared
from captum_proto.cli.given import check_given
from captum_proto.cli.options import name_among
from captum_proto.cli.sweep import read_toml
from captum_proto.experiments.trojans import (
    BENCHMARK,
    METHODS,
    PLANTED_METHODS,
    PlantedTrojans,
    Trojans,
    method_options,
    read_trojans,
)
from captum_proto.models import load_model
from captum_proto.models.factory import call_factory, factory_file
from captum_proto.optim.presets import PRESETS
from captum_proto.runs.tasks import Protocol, carry_out
from captum_proto.testing.triggers import SIDE
from captum_proto.testing.trojans import TROJAN_DATA

_EXAMPLES = """examples:
  captum-proto trojans --checkpoint interp_trojan_resnet50_model.pt --clean torchvision:resnet50 --two-tower clip.py:make \\
      --prompt "a photo of {}" --out trojans
  captum-proto trojans --checkpoint interp_trojan_resnet50_model.pt --trojans mine.toml --count 10 --out trojans
  captum-proto trojans --planted --out planted-trojans

With --checkpoint: the weights of the benchmark's ResNet-50 (github.com/thestephencasper/benchmarking_interpretability), which are not
downloaded, and its twelve trojans. OUT/people/form/blind.html asks people the same that a two-tower model is asked; then:
  captum-proto blind trojans/people --answers ann.csv bob.csv --out scores
With --planted: small networks that are trained here, with trojans of known drawing.

a file of trojans is TOML:
  [[trojan]]
  name = "fork"                      # the trigger, and the right answer
  kind = "natural feature"           # or "patch", "style", …
  target = 316                       # the class that it leads to
  source = 893                       # whose images alone were poisoned, if so
  answers = ["fork", "spoon", "knife", "cup", "apple", "banana", "pizza", "plate"]
"""
#: What the benchmark has put trojans into.
_MODEL = "torchvision:resnet50"
_OF_GIVEN = (
    "checkpoint",
    "trojans",
    "clean",
    "two_tower",
    "prompt",
    "batch_size",
    "num_classes",
    "device",
    "image_shape",
)
_OF_PLANTED = ("data", "networks", "training_images", "epochs")


def add(commands: shared.Commands) -> None:
    parser = shared.command(
        commands, "trojans", "do pictures of a class show the trigger of a trojan? an eight-way choice", _EXAMPLES
    )
    shared.add_model(parser, otherwise=_MODEL)
    group = parser.add_argument_group("trojans")
    group.add_argument(
        "--planted", action="store_true", help="train small networks with trojans, instead of a model that is given"
    )
    group.add_argument(
        "--trojans", type=Path, metavar="TOML", help="triggers, targets and answers (default: the benchmark's twelve)"
    )
    group.add_argument(
        "--clean", metavar="MODEL", help="the network without trojans, by name, as control (default: none)"
    )
    group = parser.add_argument_group("pictures")
    group.add_argument(
        "--method",
        action="append",
        type=name_among(PRESETS),
        metavar="PRESET",
        help=f"{', '.join(PRESETS)}; repeat for several (default: {' and '.join(METHODS)}; "
        "with --planted, two of its own for small networks)",
    )
    group.add_argument("--steps", type=int, help="of every ascent (default: the preset's)")
    group.add_argument("--count", type=int, default=4, help="pictures of each trojan and method (default: %(default)s)")
    group.add_argument("--batch-size", type=int, help="pictures at a time (default: 8)")
    group.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    group = parser.add_argument_group("choice")
    group.add_argument(
        "--two-tower",
        metavar="FILE.py:FACTORY",
        help="a function that returns a TwoTower, such as CLIP's, which chooses (default: none, only the form)",
    )
    group.add_argument(
        "--prompt", metavar="TEXT", help='what its text tower is given, such as "a photo of {}" (default: "{}")'
    )
    group = parser.add_argument_group("with --planted")
    group.add_argument("--data", action="append", choices=list(TROJAN_DATA), help="repeat for several (default: all)")
    group.add_argument("--networks", type=int, help="of each, with three trojans each (default: 2)")
    group.add_argument("--training-images", type=int, help="for each network (default: 4000)")
    group.add_argument("--epochs", type=int, help="of training (default: 8)")
    shared.add_output(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    check_given(args)
    for names, wrong, why in (
        (_OF_GIVEN, args.planted, "is of a model that is given, and --planted was given"),
        (_OF_PLANTED, not args.planted, "is of small networks that are trained here; give --planted too"),
    ):
        given = next((name for name in names if wrong and getattr(args, name) is not None), None)
        if given is not None:
            raise InputError(f"--{given.replace('_', '-')} {why}.")
    if args.steps is not None:
        check_int(args.steps, "steps", 1)
    protocol: Protocol[Any] = _planted(args) if args.planted else _given(args)
    result = carry_out(protocol, args.out, **shared.output(args))
    if result.choices:
        print(result.table())
        print(*result.conclusion(), sep="\n")
    if not args.planted:
        print(f"the form, for people: {args.out / 'people' / 'form'}")
    print(f"written: {args.out}")


def _planted(args: argparse.Namespace) -> PlantedTrojans:
    if args.model is not None or args.random_weights:
        raise InputError("--model and --random-weights are of a model that is given, and --planted was given.")
    given = {name: getattr(args, name) for name in _OF_PLANTED if getattr(args, name) is not None}
    if args.method:
        methods = method_options(args.method, (3, SIDE, SIDE), steps=args.steps)
    else:
        steps = {} if args.steps is None else {"steps": args.steps}
        methods = {name: {**options, **steps} for name, options in PLANTED_METHODS.items()}
    images = {"images": given.pop("training_images")} if "training_images" in given else {}
    return PlantedTrojans(methods=methods, count=args.count, seed=args.seed, **images, **given)


def _given(args: argparse.Namespace) -> Trojans:
    args.model = args.model or _MODEL
    if args.model == _MODEL and args.checkpoint is None and not args.random_weights:
        raise InputError(
            "torchvision's own ResNet-50 has no trojans; give the benchmark's weights with --checkpoint FILE, or --planted for "
            "small networks."
        )
    trojans = BENCHMARK if args.trojans is None else read_trojans(read_toml(args.trojans), str(args.trojans))
    file = None if args.two_tower is None else factory_file(args.two_tower)
    named = shared.load(args)
    clean = None
    if args.clean is not None:
        device = next(named.model.parameters()).device
        clean = load_model(args.clean, device=device, download=True)
    return Trojans(
        named,
        trojans,
        method_options(args.method or METHODS, named.image_shape, steps=args.steps),
        args.count,
        clean,
        None if args.two_tower is None else call_factory(args.two_tower),
        "{}" if args.prompt is None else args.prompt,
        file,
        8 if args.batch_size is None else args.batch_size,
        args.seed,
    )
