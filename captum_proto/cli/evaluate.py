"""``captum-proto evaluate``: prototypes beside natural images and controls."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from captum_proto._utils.model import fingerprint
from captum_proto._utils.targets import Group
from captum_proto.attr import PrototypeGeneration, Prototypes
from captum_proto.cli import arguments as shared
from captum_proto.data import ImageBatches, ImageCollection, digits_images
from captum_proto.experiments.evaluation import ClassImages, evaluate_to_folder
from captum_proto.experiments.generation import generate_to_folder
from captum_proto.metrics import PathSimilarity
from captum_proto.metrics.controls import check_controls

_EXAMPLES = """examples:
  captum-proto evaluate --model efficientnet-lite0 --images imagenet/val --target 151-268 --out dogs
  captum-proto evaluate --model torchvision:resnet18 --images imagenet/val --target 12 --target 558 --limit 100 --out paper
  captum-proto evaluate --model efficientnet-lite0 --images photos --target 12 --prototypes finches/prototypes.safetensors --out finch
  captum-proto evaluate --model digits --images digits --target 3 --out three
"""

#: So many skipped files are named on the page, for each class.
_MOST_SKIPPED = 20


def add(commands: shared.Commands) -> None:
    parser = shared.command(
        commands, "evaluate", "compare prototypes with natural images and controls, layer by layer", _EXAMPLES
    )
    shared.add_model(parser)
    shared.add_targets(parser)
    shared.add_evaluation(parser)
    shared.add_generation(parser)
    shared.add_output(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    named = shared.load(args)
    groups, count = shared.targets(args.target, named), shared.count_of(args, 2)
    check_controls(args.controls)  # before anything takes time
    given = None if args.prototypes is None else Prototypes.load(args.prototypes)
    if given is not None and given.settings.get("model_fingerprint") not in (None, fingerprint(named.model)):
        raise ValueError(
            f'the prototypes in "{args.prototypes}" were made with another model or other weights; generate them with this one.'
        )
    collection = (
        None if args.images == "digits" else ImageCollection.discover(args.images, named.class_names, split=args.split)
    )
    generation = PrototypeGeneration(named.model, named.preprocess)

    def prototypes_of(group: Group, place: Path) -> Prototypes:
        if given is not None:
            return given.of(group)
        return generate_to_folder(
            generation,
            [group] * count,
            named.image_shape,
            place / "prototypes",
            options=shared.generation_options(args),
            seed=args.seed,
            batch_size=args.batch_size,
            class_names=named.class_names,
            overwrite=True,
            show_progress=not args.no_progress,
            page=False,
        )

    def batches(images: ImageCollection) -> ImageBatches:
        return images.batches(
            named.image_shape,
            args.image_batch,
            resize_ratio=named.resize_ratio,
            interpolation=named.interpolation,
            workers=args.workers,
        )

    def images_of(group: Group) -> ClassImages:
        if collection is None:
            rest = sorted(set(range(10)) - set(group))
            same = digits_images(classes=group, limit=args.limit, seed=args.seed).images
            others = len(same) if args.others is None else args.others
            return ClassImages(same, digits_images(classes=rest, limit=others, seed=args.seed).images)
        # Of a superclass, the classes that are there; of a single class, an error if it is not.
        present = [index for index in group if index in collection.classes] if len(group) > 1 else group
        inside = collection.of(present or group, limit=args.limit, seed=args.seed)
        elsewhere = len(collection) - len(collection.of(present or group))
        others = min(len(inside), elsewhere) if args.others is None else args.others
        outside = collection.except_(group, limit=others, seed=args.seed)

        def failures() -> list[str]:
            skipped = [f'The image "{path}" was skipped: {reason}.' for path, reason in collection.skipped]
            rest = len(skipped) - _MOST_SKIPPED
            return skipped[:_MOST_SKIPPED] + ([f"{rest} more images were skipped."] if rest > 0 else [])

        return ClassImages(batches(inside), batches(outside), failures)

    evaluate_to_folder(
        lambda: PathSimilarity(
            named.model,
            args.layers[0] if args.layers in (["leaf"], ["all"]) else args.layers,
            named.preprocess,
            repeat=args.repeat,
            alias=args.alias,
            value_range=None if args.no_clamp else (0.0, 1.0),
            batch_size=args.image_batch,
        ),
        prototypes_of,
        images_of,
        groups,
        args.out,
        options={
            "controls": args.controls,
            "leave_one_out": not args.no_leave_one_out,
            "ascent_steps": args.steps if args.ascent_steps is None else args.ascent_steps,
            "seed": args.seed,
            "show_progress": not args.no_progress,
        },
        class_names=named.class_names,
        story=shared.story(args, named),
        overwrite=args.overwrite,
        resume=args.resume,
    )
    if collection is not None and collection.skipped:
        print(f"{len(collection.skipped)} files were skipped:", file=sys.stderr)
        for path, reason in collection.skipped:
            print(f"  {path}: {reason}", file=sys.stderr)
    print(f"written: {args.out}")
