"""The command line: ``captum-proto generate | evaluate | info | demo``."""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from captum_proto import ops
from captum_proto._utils.checks import check_device, nearest
from captum_proto._utils.model import device_of, fingerprint
from captum_proto._utils.targets import Group
from captum_proto._utils.versions import versions
from captum_proto.attr import PrototypeGeneration, Prototypes
from captum_proto.data import ImageBatches, ImageCollection, digits_images
from captum_proto.experiments.demo import run_demo
from captum_proto.experiments.evaluation import ClassImages, evaluate_to_folder
from captum_proto.experiments.folders import label_of
from captum_proto.experiments.generation import generate_to_folder
from captum_proto.metrics import CONTROLS, PathSimilarity
from captum_proto.metrics.controls import check_controls
from captum_proto.models import NamedModel, load_model
from captum_proto.optim import RandomAffine
from captum_proto.optim.ascent import SCHEDULES
from captum_proto.optim.images import PARAMETRIZATIONS

_EXIT_CODES = (
    "exit codes: 0 done, 1 something given cannot be used (one sentence says what), 2 wrong usage, 130 interrupted"
)

_GENERATE_EXAMPLES = """examples:
  captum-proto generate --model efficientnet-lite0 --target 558 --target 12 --target 669 --out flute-finch-net
  captum-proto generate --model torchvision:resnet18 --target "house finch" --count 4 --autocast bfloat16 --out finches
  captum-proto generate --model torchvision:resnet50 --checkpoint mine.safetensors --target 151-268 --out dogs
  captum-proto generate --model nets/mine.py:factory --image-shape 1 28 28 --target 3 --transform none --out threes
"""
_EVALUATE_EXAMPLES = """examples:
  captum-proto evaluate --model efficientnet-lite0 --images imagenet/val --target 151-268 --out dogs
  captum-proto evaluate --model torchvision:resnet18 --images imagenet/val --target 12 --target 558 --limit 100 --out paper
  captum-proto evaluate --model efficientnet-lite0 --images photos --target 12 --prototypes finches/prototypes.safetensors --out finch
  captum-proto evaluate --model digits --images digits --target 3 --out three
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="captum-proto",
        description="What does a class look like to a model, and can that picture be trusted?",
        epilog=_EXIT_CODES,
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")

    def command(name: str, summary: str, examples: str = "") -> argparse.ArgumentParser:
        return commands.add_parser(
            name,
            help=summary,
            description=summary,
            epilog=f"{examples}\n{_EXIT_CODES}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    generate = command("generate", "make prototypes of classes", _GENERATE_EXAMPLES)
    _add_model(generate)
    _add_targets(generate)
    _add_generation(generate)
    _add_output(generate)
    generate.set_defaults(run=_generate)

    evaluate = command(
        "evaluate", "compare prototypes with natural images and controls, layer by layer", _EVALUATE_EXAMPLES
    )
    _add_model(evaluate)
    _add_targets(evaluate)
    _add_evaluation(evaluate)
    _add_generation(evaluate)
    _add_output(evaluate)
    evaluate.set_defaults(run=_evaluate)

    info = command("info", "versions, devices, and what is native here and why not")
    info.add_argument("--json", action="store_true", help="as JSON")
    info.set_defaults(run=_info)

    demo = command("demo", "prototypes of an ImageNet network, and digits with the full comparison", "")
    demo.add_argument("--out", type=Path, default=Path("demo-output"), help="folder to write to (default: %(default)s)")
    demo.add_argument("--overwrite", action="store_true", help="replace files in the folder")
    demo.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    demo.add_argument("--device", default="cpu", help="default: %(default)s")
    demo.add_argument("--no-progress", action="store_true", help="no progress bars")
    demo.set_defaults(run=_demo)
    return parser


def _add_model(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("model")
    group.add_argument(
        "--model",
        required=True,
        help="torchvision:NAME, timm:NAME, efficientnet-lite0 (1, 2), digits, or path/to/module.py:factory",
    )
    group.add_argument(
        "--checkpoint", type=Path, metavar="FILE", help="weights, .safetensors or .pt, instead of the model's own"
    )
    group.add_argument("--random-weights", action="store_true", help="do not load trained weights")
    group.add_argument(
        "--num-classes", type=int, help="of a checkpoint or of random weights (default: the model's own)"
    )
    group.add_argument(
        "--image-shape",
        type=int,
        nargs=3,
        metavar=("C", "H", "W"),
        help="for a factory's model that does not say itself",
    )
    group.add_argument("--device", help="cpu, cuda, cuda:1, … (default: cuda where there is one)")


def _add_targets(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("classes")
    group.add_argument(
        "--target",
        action="append",
        required=True,
        metavar="CLASS",
        help='an index, a name, or a group of classes as one: "151-268" or "3,5,8"; repeat for several',
    )
    group.add_argument("--count", type=int, help="prototypes of each (default: 1; evaluate: 2)")


def _add_generation(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("generation (defaults are the paper's where it states one)")
    group.add_argument("--steps", type=int, default=512, help="steps of ascent (default: %(default)s)")
    group.add_argument("--lr", type=float, default=0.05, help="Adam's learning rate (default: %(default)s)")
    group.add_argument(
        "--high-frequency-weight",
        type=float,
        metavar="λ",
        help="default: 1000 at 3x224x224, the same pull per pixel elsewhere",
    )
    group.add_argument("--high-frequency-power", type=int, choices=(1, 2), default=1, help="default: %(default)s")
    group.add_argument("--warmup-steps", type=int, default=64, help="default: %(default)s")
    group.add_argument(
        "--warmup-tolerance", type=float, default=0.0, help="end a warm-up at this variance (default: %(default)s)"
    )
    group.add_argument("--transform", choices=("affine", "none"), default="affine", help="default: %(default)s")
    group.add_argument("--degrees", type=float, default=180.0, help="rotation within ± this (default: %(default)s)")
    group.add_argument(
        "--translate",
        type=float,
        nargs=2,
        default=(0.5, 0.5),
        metavar=("X", "Y"),
        help="greatest shift, as fractions (default: 0.5 0.5)",
    )
    group.add_argument(
        "--scale", type=float, nargs=2, default=(0.7, 1.3), metavar=("LOW", "HIGH"), help="default: 0.7 1.3"
    )
    group.add_argument("--fill", type=float, default=0.0, help="value outside the image (default: %(default)s)")
    group.add_argument("--preprocess-first", action="store_true", help="preprocess before the transform, not after it")
    group.add_argument("--no-clamp", action="store_true", help="let pixels leave the valid range")
    group.add_argument(
        "--parametrization",
        choices=PARAMETRIZATIONS,
        default="pixels",
        help="what is optimised; in a Fourier basis far fewer steps do (default: %(default)s)",
    )
    group.add_argument("--lr-schedule", choices=SCHEDULES, default="constant", help="default: %(default)s")
    group.add_argument("--autocast", choices=("bfloat16", "float16"), help="mixed precision")
    group.add_argument("--batch-size", type=int, default=8, help="prototypes at a time (default: %(default)s)")
    group.add_argument("--seed", type=int, default=0, help="default: %(default)s")


def _add_evaluation(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("evaluation")
    group.add_argument(
        "--images",
        required=True,
        metavar="DIR",
        help='natural images: an ImageNet-style tree, a folder per class, or a flat folder with classes in the file names; or "digits"',
    )
    group.add_argument("--split", help="of an ImageNet-style tree (default: val, else what there is)")
    group.add_argument(
        "--prototypes", type=Path, metavar="FILE", help="a prototypes.safetensors, instead of generating"
    )
    group.add_argument("--limit", type=int, help="images of each class (default: all)")
    group.add_argument("--others", type=int, help="images of other classes (default: as many as of the class)")
    group.add_argument(
        "--layers",
        action="append",
        metavar="NAME",
        help='name or pattern, "leaf" or "all"; repeat for several (default: all)',
    )
    group.add_argument(
        "--repeat",
        choices=("last", "first", "all"),
        default="last",
        help="which call of a layer counts (default: %(default)s)",
    )
    group.add_argument("--alias", choices=("value", "reference"), default="value", help="default: %(default)s")
    group.add_argument(
        "--no-leave-one-out", action="store_true", help="the paper's way: each natural image is part of its own mean"
    )
    group.add_argument(
        "--controls", nargs="*", default=list(CONTROLS), metavar="NAME", help=f"of {', '.join(CONTROLS)} (default: all)"
    )
    group.add_argument("--ascent-steps", type=int, help="of the control by plain gradient ascent (default: --steps)")
    group.add_argument("--image-batch", type=int, default=32, help="images at a time (default: %(default)s)")
    group.add_argument(
        "--workers", type=int, default=2, help="threads that read images while the model works (default: %(default)s)"
    )


def _add_output(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("output")
    group.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write to")
    group.add_argument("--overwrite", action="store_true", help="replace files in it")
    group.add_argument("--resume", action="store_true", help="go on with what an interrupted run left in it")
    group.add_argument("--no-progress", action="store_true", help="no progress bars")


def _load(args: argparse.Namespace) -> NamedModel:
    device = check_device(args.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if args.model.startswith(("torchvision:", "timm:")) and not (args.random_weights or args.checkpoint):
        print(f"{args.model}: published weights that are not in the cache yet are downloaded", file=sys.stderr)
    named = load_model(
        args.model,
        checkpoint=args.checkpoint,
        device=device,
        pretrained=not args.random_weights,
        download=True,
        num_classes=args.num_classes,
        image_shape=args.image_shape,
    )
    print(
        f"model: {named.name}; " + "; ".join(f"{key}: {value}" for key, value in named.settings.items()),
        file=sys.stderr,
    )
    return named


def _targets(texts: Sequence[str], named: NamedModel) -> list[Group]:
    """Indices, names, "151-268" and "3,5,8" as groups of classes."""
    names = named.class_names or []
    by_name: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        by_name.setdefault(name.casefold(), []).append(index)
    groups: list[Group] = []
    for text in texts:
        indices: list[int] = []
        try:
            if text.casefold() in by_name:
                indices = by_name[text.casefold()]
            else:
                for part in text.split(","):
                    first, _, last = part.strip().partition("-")
                    indices += range(int(first), int(last or first) + 1)
        except ValueError as error:
            hint = (
                nearest(text.casefold(), by_name)
                or f'; expected an index{", a name" if names else ""} or a group such as "151-268".'
            )
            raise ValueError(f'there is no class "{text}"{hint}') from error
        if not indices:
            raise ValueError(f'the group "{text}" is empty; expected the lower index first, such as "151-268".')
        if len(indices) > 1 and text.casefold() in by_name:
            alike = ", ".join(map(str, indices))
            raise ValueError(f'"{text}" names the classes {alike} alike; use the index of the one you mean.')
        groups.append(tuple(sorted(set(indices))))
    return groups


def _count(args: argparse.Namespace, default: int) -> int:
    count: int = default if args.count is None else args.count
    if count < 1:
        raise ValueError(f"count is {count}; expected at least 1.")
    return count


def _generation_options(args: argparse.Namespace) -> dict[str, Any]:
    transform = None
    if args.transform == "affine":
        transform = RandomAffine(args.degrees, tuple(args.translate), tuple(args.scale), args.fill)
    return {
        "steps": args.steps,
        "lr": args.lr,
        "high_frequency_weight": args.high_frequency_weight,
        "high_frequency_power": args.high_frequency_power,
        "warmup_steps": args.warmup_steps,
        "warmup_tolerance": args.warmup_tolerance,
        "transform": transform,
        "preprocess_first": args.preprocess_first,
        "clamp": not args.no_clamp,
        "parametrization": args.parametrization,
        "lr_schedule": args.lr_schedule,
        "autocast": getattr(torch, args.autocast) if args.autocast else None,
    }


def _story(args: argparse.Namespace, named: NamedModel) -> dict[str, Any]:
    ignored = {"run", "debug", "command", "device", "out", "overwrite", "resume", "no_progress", "workers"}
    arguments = {
        name: str(value) if isinstance(value, Path) else value
        for name, value in vars(args).items()
        if name not in ignored
    }
    return {
        "command": args.command,
        "arguments": arguments,
        "device": str(device_of(named.model)),
        "model": {
            "name": named.name,
            **{key: str(value) for key, value in named.settings.items()},
            "fingerprint": fingerprint(named.model),
        },
        "versions": versions(),
    }


def _generate(args: argparse.Namespace) -> None:
    named = _load(args)
    groups = [group for group in _targets(args.target, named) for _ in range(_count(args, 1))]
    prototypes = generate_to_folder(
        PrototypeGeneration(named.model, named.preprocess),
        groups,
        named.image_shape,
        args.out,
        options=_generation_options(args),
        seed=args.seed,
        batch_size=args.batch_size,
        class_names=named.class_names,
        story=_story(args, named),
        overwrite=args.overwrite,
        resume=args.resume,
        show_progress=not args.no_progress,
    )
    transformed = args.transform != "none"
    print("target, seed: logit and probability as it is" + ("; expected under the transforms" if transformed else ""))
    for i, group in enumerate(prototypes.target):
        line = f"{label_of(group, named.class_names)}, {prototypes.seeds[i]}: {float(prototypes.logits[i]):.2f}, "
        line += f"p = {float(prototypes.probabilities[i]):.4f}"
        if transformed:
            line += f"; {float(prototypes.transformed_logits[i]):.2f}, p = {float(prototypes.transformed_probabilities[i]):.4f}"
        print(line)
    print(f"written: {args.out}")


def _evaluate(args: argparse.Namespace) -> None:
    named = _load(args)
    groups, count = _targets(args.target, named), _count(args, 2)
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
            options=_generation_options(args),
            seed=args.seed,
            batch_size=args.batch_size,
            class_names=named.class_names,
            overwrite=True,
            show_progress=not args.no_progress,
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
        return ClassImages(batches(inside), batches(outside))

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
        story=_story(args, named),
        overwrite=args.overwrite,
        resume=args.resume,
    )
    if collection is not None and collection.skipped:
        print(f"{len(collection.skipped)} files were skipped:", file=sys.stderr)
        for path, reason in collection.skipped:
            print(f"  {path}: {reason}", file=sys.stderr)
    print(f"written: {args.out}")


def _info(args: argparse.Namespace) -> None:
    facts = {
        "versions": versions(),
        "devices": {
            "cpu": torch.backends.cpu.get_cpu_capability(),
            "threads": torch.get_num_threads(),
            "cuda": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        },
        "native": ops.backend(),
    }
    if args.json:
        print(json.dumps(facts, indent=2, default=str))
        return
    for title, entries in facts.items():
        print(title)
        _print_entries(entries, "  ")


def _print_entries(entries: Any, indent: str) -> None:
    for key, value in entries.items():
        if isinstance(value, dict):
            print(f"{indent}{key}")
            _print_entries(value, indent + "  ")
        else:
            shown = ", ".join(map(str, value)) or "none" if isinstance(value, (list, tuple)) else value
            print(f"{indent}{key}: {shown}")


def _demo(args: argparse.Namespace) -> None:
    run_demo(
        args.out,
        device=check_device(args.device),
        seed=args.seed,
        overwrite=args.overwrite,
        show_progress=not args.no_progress,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run the command line.

    Args:
        arguments (sequence of str, optional): What follows ``captum-proto``. Default: ``sys.argv[1:]``

    Returns:
        int: The exit code: 0 done, 1 something given cannot be used, 130 interrupted. Wrong usage exits with 2.
    """
    args = _parser().parse_args(arguments)
    warnings.filterwarnings("once", module="captum_proto")
    try:
        args.run(args)
    except KeyboardInterrupt:
        hint = "; what was finished is on disk, --resume goes on from there" if hasattr(args, "resume") else ""
        print(f"captum-proto: interrupted{hint}", file=sys.stderr)
        return 130
    except (ValueError, TypeError, OSError, RuntimeError, ImportError) as error:
        if args.debug:
            raise
        print(f"captum-proto: error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
