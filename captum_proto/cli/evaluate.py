"""``captum-proto evaluate``: prototypes beside natural images and controls."""

from __future__ import annotations

import argparse
from pathlib import Path

from captum_proto._utils.class_names import parse_classes
from captum_proto._utils.errors import InputError
from captum_proto._utils.model import fingerprint
from captum_proto._utils.targets import Target
from captum_proto.attr import PrototypeGeneration, Prototypes
from captum_proto.cli import arguments as shared
from captum_proto.experiments.evaluate import evaluate_to_folder
from captum_proto.experiments.generate import generate_to_folder
from captum_proto.metrics import CONTROLS
from captum_proto.metrics.controls import check_controls

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
        "--prototypes", type=Path, metavar="FILE", help="a prototypes.safetensors, instead of generating"
    )
    shared.add_generation(parser)
    shared.add_output(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    options = shared.generation_arguments(args)
    named = shared.load(args)
    groups, count = parse_classes(args.target, named.class_names), shared.count_of(args, 2)
    controls = check_controls(CONTROLS if args.controls is None else args.controls)  # before anything takes time
    given = None if args.prototypes is None else Prototypes.load(args.prototypes)
    if given is not None and given.settings.get("model_fingerprint") not in (None, fingerprint(named.model)):
        raise InputError(
            f'the prototypes in "{args.prototypes}" were made with another model or other weights; generate them with this one.'
        )
    natural = shared.natural_images(args, named)
    generation = PrototypeGeneration(named.model, named.preprocess)

    def prototypes_of(group: Target, place: Path) -> Prototypes:
        if given is not None:
            return given.of(group)
        return generate_to_folder(
            generation,
            [group] * count,
            named.image_shape,
            place / "prototypes",
            options=options,
            seed=args.seed,
            batch_size=args.batch_size,
            class_names=named.class_names,
            overwrite=True,
            show_progress=not args.no_progress,
            page=False,
        )

    evaluate_to_folder(
        lambda: shared.path_similarity_of(args, named),
        prototypes_of,
        natural.of,
        groups,
        args.out,
        options={
            "controls": controls,
            "control_count": args.control_count,
            "leave_one_out": not args.no_leave_one_out,
            "ascent_steps": options["steps"] if args.ascent_steps is None else args.ascent_steps,
            "seed": args.seed,
            "show_progress": not args.no_progress,
        },
        class_names=named.class_names,
        story=shared.story(args, named),
        overwrite=args.overwrite,
        resume=args.resume,
    )
    shared.say_skipped(natural)
    print(f"written: {args.out}")
