"""``captum-proto evaluate``: prototypes beside natural images and controls."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from captum_proto.cli import arguments as shared
from captum_proto.cli.given import check_given
from captum_proto.experiments.evaluate import Evaluate, comparison_tables, files_skipped
from captum_proto.metrics import CONTROLS
from captum_proto.runs.tasks import carry_out

_EXAMPLES = """examples:
  captum-proto evaluate --model efficientnet-lite0 --images imagenet/val --target 151-268 --out dogs
  captum-proto evaluate --model torchvision:resnet18 --images imagenet/val --target 12 --target 558 --limit 100 --out paper
  captum-proto evaluate --model efficientnet-lite0 --images photos --target 12 --prototypes finches/prototypes.safetensors --out finch
  captum-proto evaluate --model digits --images digits --target 3 --out three
"""


def add(commands: shared.Commands) -> None:
    parser = shared.command(
        commands, "evaluate", "compare prototypes with natural images and controls, layer by layer", _EXAMPLES
    )
    shared.add_model(parser)
    shared.add_targets(parser)
    shared.add_evaluation(parser)
    parser.add_argument(
        "--chunk",
        type=int,
        default=512,
        help="images after which a run can be resumed, of a class that has more (default: %(default)s)",
    )
    parser.add_argument(
        "--prototypes", type=Path, metavar="FILE", help="a prototypes.safetensors, instead of generating"
    )
    shared.add_generation(parser)
    shared.add_verifier(parser)
    shared.add_output(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    check_given(args)
    named = shared.load(args)
    options = shared.generation_arguments(args, named)
    comparisons = carry_out(
        Evaluate(
            named,
            shared.classes(args.target, named),
            shared.natural_images(args, named),
            options,
            count=shared.count_of(args, 2),
            seed=args.seed,
            batch_size=args.batch_size,
            prototypes=args.prototypes,
            verifiers=shared.verifiers(args, named),
            chunk=args.chunk,
            similarity=shared.similarity_arguments(args),
            comparison={
                "controls": CONTROLS if args.controls is None else args.controls,
                "control_count": args.control_count,
                "leave_one_out": not args.no_leave_one_out,
                "ascent_steps": options["steps"] if args.ascent_steps is None else args.ascent_steps,
                "seed": args.seed,
            },
        ),
        args.out,
        **shared.output(args),
    )
    for table in comparison_tables(comparisons, named.class_names):
        print(f"\n{table}")
    for sentence in files_skipped(comparisons):
        print(sentence, file=sys.stderr)
    print(f"written: {args.out}")
