"""``captum-proto circuit``: from which units a unit is computed, and whether the story that this tells holds."""

from __future__ import annotations

import argparse
from pathlib import Path

from captum_proto.cli import arguments as shared
from captum_proto.cli.given import check_given
from captum_proto.experiments.circuit import TraceCircuit
from captum_proto.models import load_model
from captum_proto.runs.tasks import carry_out

_EXAMPLES = """examples:
  captum-proto circuit --model efficientnet-lite0 --layer _blocks.3 --unit 5 --from-layer _blocks.2 --to-layer _blocks.4 \\
      --images photos --out unit
  captum-proto circuit --model torchvision:resnet18 --layer layer2.0 --unit 5 --unit 9 --from-layer layer1 --icons --out units
  captum-proto circuit --model torchvision:resnet18 --layer layer2 --unit 5 --from-layer layer1 --images photos \\
      --other-model torchvision:resnet34 --other-layer layer2 --out twins
"""


def add(commands: shared.Commands) -> None:
    parser = shared.command(
        commands, "circuit", "show which units a unit is computed from, and test what that tells of it", _EXAMPLES
    )
    shared.add_model(parser)
    group = parser.add_argument_group("circuit")
    group.add_argument("--layer", required=True, metavar="NAME", help="the layer of the units")
    group.add_argument(
        "--unit", type=int, action="append", required=True, metavar="N", help="a channel of it; repeat for several"
    )
    group.add_argument("--from-layer", required=True, metavar="NAME", help="an earlier layer, whose weights are shown")
    group.add_argument("--to-layer", metavar="NAME", help="a later layer (default: none)")
    group.add_argument(
        "--connections", type=int, default=6, help="the strongest to and from each unit (default: %(default)s)"
    )
    group.add_argument("--factors", type=int, default=3, help="of a unit's weights, at most 5 (default: %(default)s)")
    group.add_argument("--icons", action="store_true", help="draw what each position of a receptive field looks for")
    group.add_argument(
        "--frozen-at",
        type=Path,
        metavar="FILE",
        help="an image on which gates have their values, where a squeeze-and-excitation lies between the layers",
    )
    group = parser.add_argument_group("stimuli and pictures")
    group.add_argument(
        "--radii",
        type=float,
        nargs="+",
        metavar="R",
        help="of curves, in pixels (default: a sixteenth, an eighth and a quarter of the side)",
    )
    group.add_argument(
        "--width", type=float, help="of lines, in pixels (default: a sixty-fourth of the side, at least 2)"
    )
    group.add_argument("--steps", type=int, default=256, help="of each picture (default: %(default)s)")
    group.add_argument(
        "--picture-size", type=int, help="the side of each picture, in pixels (default: that of the model's images)"
    )
    group = parser.add_argument_group("images")
    group.add_argument(
        "--images",
        metavar="DIR",
        help='a folder of images, whatever they are called, with those in folders within it; or "digits" (default: none)',
    )
    shared.add_exif_orientation(group)
    group.add_argument("--k", type=int, default=30, help="top examples of each unit (default: %(default)s)")
    group.add_argument("--shown", type=int, default=8, help="of these on the page (default: %(default)s)")
    group.add_argument("--image-batch", type=int, default=32, help="images at a time (default: %(default)s)")
    group.add_argument(
        "--workers", type=int, default=2, help="threads that read images while the model works (default: %(default)s)"
    )
    group = parser.add_argument_group("another network")
    group.add_argument("--other-model", metavar="MODEL", help="in which the layer's units are looked for")
    group.add_argument("--other-layer", metavar="NAME", help="of it")
    group.add_argument("--other-checkpoint", type=Path, metavar="FILE", help="its weights (default: the model's own)")
    group.add_argument(
        "--draws",
        type=int,
        default=200,
        help="random orders of images, to see what chance gives (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    shared.add_output(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    check_given(args)
    named = shared.load(args)
    other = None
    if args.other_model is not None:
        other = load_model(
            args.other_model,
            checkpoint=args.other_checkpoint,
            device=args.device or shared.default_device(),
            download=True,
        )
    protocol = TraceCircuit(
        named,
        args.layer,
        args.unit,
        args.from_layer,
        args.to_layer,
        args.images,
        other,
        args.other_layer,
        connections=args.connections,
        factors=args.factors,
        icons=args.icons,
        radii=args.radii,
        width=args.width,
        frozen_at=args.frozen_at,
        k=args.k,
        shown=args.shown,
        draws=args.draws,
        steps=args.steps,
        picture_size=args.picture_size,
        seed=args.seed,
        batch_size=args.image_batch,
        workers=args.workers,
    )
    for unit, checks in carry_out(protocol, args.out, **shared.output(args)).items():
        print(f"unit {unit}: {checks.passed} of {len(checks.verdicts)} checks of a curve detector are met")
        for verdict in checks.verdicts:
            result = {True: "met", False: "not met", None: "not known"}[verdict.passed]
            print(f"  {verdict.name}: {result}; {verdict.measured}")
    print(f"written: {args.out}")
