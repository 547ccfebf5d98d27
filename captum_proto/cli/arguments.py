"""What several commands share: groups of arguments, and what they stand for."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from captum_proto._utils.checks import check_device, nearest
from captum_proto._utils.model import device_of, fingerprint
from captum_proto._utils.targets import Group
from captum_proto._utils.versions import versions
from captum_proto.metrics import CONTROLS
from captum_proto.models import NamedModel, load_model
from captum_proto.optim import RandomAffine
from captum_proto.optim.ascent import SCHEDULES
from captum_proto.optim.images import PARAMETRIZATIONS

EXIT_CODES = (
    "exit codes: 0 done, 1 something given cannot be used (one sentence says what), 2 wrong usage, 130 interrupted"
)
#: What ``add_parser`` of the parser's commands returns: a new command of this name, with a summary and examples.
Commands = Any


def command(commands: Commands, name: str, summary: str, examples: str = "") -> argparse.ArgumentParser:
    """A new command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=summary,
        epilog=f"{examples}\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser


def add_model(parser: argparse.ArgumentParser) -> None:
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


def add_targets(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("classes")
    group.add_argument(
        "--target",
        action="append",
        required=True,
        metavar="CLASS",
        help='an index, a name, or a group of classes as one: "151-268" or "3,5,8"; repeat for several',
    )
    group.add_argument("--count", type=int, help="prototypes of each (default: 1; evaluate: 2)")


def add_generation(parser: argparse.ArgumentParser) -> None:
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
    group.add_argument(
        "--diversity",
        metavar="pixels|gram:LAYER",
        help="make the prototypes of a class differ, in pixels or in the Gram matrices of a layer (default: not)",
    )
    group.add_argument(
        "--diversity-weight", type=float, help="in logits (default: 10 for pixels, 30 for Gram matrices)"
    )
    group.add_argument("--autocast", choices=("bfloat16", "float16"), help="mixed precision")
    group.add_argument("--batch-size", type=int, default=8, help="prototypes at a time (default: %(default)s)")
    group.add_argument("--seed", type=int, default=0, help="default: %(default)s")


def add_evaluation(parser: argparse.ArgumentParser) -> None:
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


def add_output(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("output")
    group.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write to")
    group.add_argument("--overwrite", action="store_true", help="replace files in it")
    group.add_argument("--resume", action="store_true", help="go on with what an interrupted run left in it")
    group.add_argument("--no-progress", action="store_true", help="no progress bars")


def load(args: argparse.Namespace) -> NamedModel:
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


def targets(texts: Sequence[str], named: NamedModel) -> list[Group]:
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


def count_of(args: argparse.Namespace, default: int) -> int:
    count: int = default if args.count is None else args.count
    if count < 1:
        raise ValueError(f"count is {count}; expected at least 1.")
    return count


def generation_options(args: argparse.Namespace) -> dict[str, Any]:
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
        "diversity": args.diversity,
        "diversity_weight": args.diversity_weight,
        "autocast": getattr(torch, args.autocast) if args.autocast else None,
    }


def story(args: argparse.Namespace, named: NamedModel) -> dict[str, Any]:
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
