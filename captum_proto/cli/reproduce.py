"""``captum-proto reproduce``: the paper's tables and figures."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from captum_proto._utils.checks import check_device
from captum_proto._utils.errors import InputError
from captum_proto._utils.files import readable
from captum_proto.cli import arguments as shared
from captum_proto.cli.given import check_given
from captum_proto.experiments.reproduce import (
    ITEMS,
    Reproduce,
    ReproduceSettings,
    Stage,
    check_items,
    paper,
    small_stages,
    verdict_line,
)
from captum_proto.models import NamedModel
from captum_proto.runs.tasks import carry_out

_EXAMPLES = """examples:
  captum-proto reproduce --model torchvision:resnet18 --model torchvision:googlenet --images imagenet --out paper
  captum-proto reproduce --model torchvision:resnet18 --images imagenet --items table1,fig4,fig5 --out table1
  captum-proto reproduce --model torchvision:resnet18 --images imagenet --items table2 --table2 lighter=A --table2 darker=B --out table2
  captum-proto reproduce --small --out small                       # digits and EfficientNet-Lite0, minutes on a laptop
  captum-proto reproduce --small --images photos --out small       # the network as well compared with photographs
"""


def add(commands: shared.Commands) -> None:
    parser = shared.command(commands, "reproduce", "the paper's tables and figures, with controls", _EXAMPLES)
    shared.add_model(parser, several=True)
    made = parser.add_argument_group("what is made again")
    made.add_argument("--images", metavar="DIR", help="natural images: ImageNet, or a folder that evaluate reads")
    shared.add_class_table(made)
    shared.add_exif_orientation(made)
    made.add_argument(
        "--items", default=",".join(ITEMS), help="some of %(default)s, with commas between them (default: all)"
    )
    made.add_argument(
        "--small", action="store_true", help="the same code on digits and EfficientNet-Lite0, within ten minutes"
    )
    made.add_argument(
        "--target", action="append", metavar="CLASS", help="repeat for several (default: the paper's eleven)"
    )
    made.add_argument("--limit", type=int, help=f"images of each class (default: {paper.IMAGES_PER_CLASS})")
    made.add_argument("--count", type=int, default=1, help="prototypes of each class (default: %(default)s)")
    made.add_argument("--steps", type=int, default=512, help="of every ascent (default: %(default)s)")
    made.add_argument("--warmup-steps", type=int, default=64, help="default: %(default)s")
    made.add_argument(
        "--protocol-target", default=str(paper.GOLDFISH), metavar="CLASS", help="of Table 4 (default: goldfish)"
    )
    made.add_argument("--protocol-seeds", type=int, default=5, metavar="N", help="of Table 4 (default: %(default)s)")
    for table, example in (("table2", "lighter=DIR"), ("table3", "without=DIR")):
        made.add_argument(
            f"--{table}",
            action="append",
            default=[],
            metavar="NAME=DIR",
            help=f"a subgroup of images, such as {example}",
        )
    made.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    made.add_argument("--batch-size", type=int, default=8, help="prototypes at a time (default: %(default)s)")
    made.add_argument("--image-batch", type=int, default=32, help="images at a time (default: %(default)s)")
    made.add_argument("--workers", type=int, default=2, help="threads that read images (default: %(default)s)")
    shared.add_output(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    items = check_items([name.strip() for name in args.items.split(",") if name.strip()])
    subgroups = {table: _subgroups(table, getattr(args, table)) for table in ("table2", "table3")}
    device = check_device(args.device or shared.default_device())
    if args.small:
        if args.model:
            raise InputError("--small has its own models; leave --model out, or --small.")
        stages = small_stages(args.images, args.class_table)
    else:
        stages = _stages(args)

    checkpoints = shared.checkpoint_of_each(args, [stage.model for stage in stages])
    check_given(args)

    def open_model(name: str) -> NamedModel:
        given = {"model": name, "checkpoint": checkpoints[name], "device": str(device)}
        named = shared.load(argparse.Namespace(**{**vars(args), **given}))
        shared.classes(args.target or [], named)
        return named

    settings = ReproduceSettings(subgroups, args.seed, args.batch_size, args.image_batch, args.workers)
    made = carry_out(Reproduce(stages, open_model, items, settings), args.out, **shared.output(args))
    for sentence in made.failures:
        print(sentence, file=sys.stderr)
    for sentence in made.left_out:
        print(f"left out: {sentence}")
    for model, item, verdict in made.verdicts:
        print(f"{model}, {item}, {verdict_line(verdict)}")
    print(f"written: {args.out}, beginning with {args.out / 'report.html'}")


def _stages(args: argparse.Namespace) -> list[Stage]:
    if not args.model:
        raise InputError("there is no model; give --model, once for each, or --small.")
    if not args.images:
        raise InputError("there are no natural images; give --images with the folder of ImageNet, or --small.")
    options: dict[str, Any] = {"steps": args.steps, "warmup_steps": args.warmup_steps}
    return [
        Stage(
            model=model,
            targets=args.target or [str(index) for index in paper.CLASSES],
            images=args.images,
            class_table=args.class_table,
            limit=paper.IMAGES_PER_CLASS if args.limit is None else args.limit,
            count=args.count,
            options=options,
            steps=args.steps,
            protocol_target=args.protocol_target,
            protocol_seeds=list(range(args.seed, args.seed + args.protocol_seeds)),
        )
        for model in dict.fromkeys(args.model)
    ]


def _subgroups(table: str, texts: list[str]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for text in texts:
        name, equals, path = text.partition("=")
        if not (name and equals and path):
            raise InputError(f'--{table} is "{text}"; expected NAME=DIR, such as lighter=photos/lighter.')
        if name in found:
            raise InputError(f'--{table} has two subgroups called "{name}"; give each a name of its own.')
        found[readable(name)] = Path(path)  # a figure can show no other name
    return found
