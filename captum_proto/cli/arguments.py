"""What several commands share: groups of arguments, and what they stand for."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from captum_proto._utils.checks import check_device
from captum_proto._utils.class_names import parse_classes, taken_for_names
from captum_proto._utils.documentation import documented_arguments, summary_of
from captum_proto._utils.errors import InputError
from captum_proto._utils.memory import parse_size
from captum_proto._utils.targets import Target
from captum_proto.attr import PRESETS, GenerationSettings
from captum_proto.cli.options import add_fields, name_among
from captum_proto.cli.processes import share_of
from captum_proto.data.natural import NaturalImages
from captum_proto.experiments.options import OPTIONS, generation_options
from captum_proto.metrics import CONTROLS
from captum_proto.models import NamedModel, load_model
from captum_proto.optim import RandomAffine
from captum_proto.optim.transforms import CONTINUATIONS

#: What is a value and no option: before Python 3.14 a number with an exponent is taken for one. No option here begins with "-1" or "-i".
_NEGATIVE_NUMBER = re.compile(r"-(?:\.?\d|inf)", re.IGNORECASE)
EXIT_CODES = (
    "exit codes: 0 done, 1 something given cannot be used (one sentence says what), 2 wrong usage, 70 a bug, 130 interrupted, "
    "143 terminated"
)
#: What ``add_parser`` of the parser's commands returns: a new command of this name, with a summary and examples.
Commands = Any


#: How a class is told.
CLASS = (
    'an index, a name, or a group of classes as one: "151-268" or "3,5,8"; names go before indices: where classes are named by numbers, a '
    "number is a name, in a group too"
)


def _fill(text: str) -> float | str:
    """The ``type`` of an option that takes a number, or the name of what an image goes on with."""
    try:
        return float(text)
    except ValueError:
        name: str = name_among(CONTINUATIONS)(text)
        return name


def _size(text: str) -> int:
    """The ``type`` of an option that takes a number of bytes."""
    try:
        return parse_size(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


#: Parts of the affine transform, which change that of the preset.
_AFFINE: dict[str, dict[str, Any]] = {
    "degrees": {"type": float},
    "translate": {"type": float, "nargs": 2, "metavar": ("X", "Y")},
    "scale": {"type": float, "nargs": 2, "metavar": ("LOW", "HIGH")},
    "fill": {"type": _fill, "metavar": "VALUE|" + "|".join(CONTINUATIONS)},
}


def command(commands: Commands, name: str, summary: str, examples: str = "") -> argparse.ArgumentParser:
    """A new command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=summary,
        epilog=f"{examples}\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser._negative_number_matcher = _NEGATIVE_NUMBER
    return parser


def add_model(parser: argparse.ArgumentParser, several: bool = False, otherwise: str = "") -> None:
    """
    The options that say which model.

    Args:
        parser (ArgumentParser): Of a command.
        several (bool, optional): Whether there may be several models. Default: False
        otherwise (str, optional): The model where none is named, for the help; the command sees that none is. Default: none, it must be
    """
    group = parser.add_argument_group("model")
    group.add_argument(
        "--model",
        required=not several and not otherwise,
        action="append" if several else "store",
        help=("repeat for several: " if several else "")
        + "torchvision:NAME, timm:NAME, efficientnet-lite0 (1, 2), digits, or path/to/module.py:factory"
        + (f" (default: {otherwise})" if otherwise else ""),
    )
    group.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        action="append" if several else "store",
        help="weights, .safetensors or .pt, instead of the model's own" + (", one for each model" if several else ""),
    )
    group.add_argument("--random-weights", action="store_true", help="do not load trained weights")
    group.add_argument(
        "--num-classes",
        type=int,
        help="of a checkpoint or of random weights (default: the model's own); with 1, a probability is the sigmoid of the logit",
    )
    group.add_argument(
        "--image-shape",
        type=int,
        nargs=3,
        metavar=("C", "H", "W"),
        help="for a factory's model that does not say itself",
    )
    group.add_argument("--device", help="cpu, cuda, cuda:1, … (default: cuda where there is one)")


def add_targets(parser: argparse.ArgumentParser, required: bool = True) -> None:
    group = parser.add_argument_group("classes")
    group.add_argument(
        "--target",
        action="append",
        required=required,
        metavar="CLASS",
        help=f"{CLASS}; repeat for several",
    )
    group.add_argument("--count", type=int, help="prototypes of each (default: 1; evaluate: 2)")


def add_generation(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("generation (what is not given is the preset's)")
    group.add_argument(
        "--preset",
        type=name_among(PRESETS),
        default="paper",
        metavar="{" + ",".join(PRESETS) + "}",
        help='settings that belong together; "best" is what other networks recognize best (default: %(default)s)',
    )
    add_fields(group, GenerationSettings)
    affine = documented_arguments(RandomAffine)
    for name, how in _AFFINE.items():
        group.add_argument(f"--{name}", **how, help=f"of the affine transform: {summary_of(affine[name])}")
    group.add_argument("--batch-size", type=int, default=8, help="prototypes at a time (default: %(default)s)")
    group.add_argument("--seed", type=int, default=0, help="default: %(default)s")


def add_exif_orientation(group: Any) -> None:
    """The option of every command that reads image files; :func:`load` gives it to the model, by whose geometry they are read."""
    group.add_argument(
        "--exif-orientation",
        action="store_true",
        default=None,
        help="turn photographs as their cameras' EXIF orientation says (default: as they are stored, like torchvision's evaluation; "
        "a note says how many are turned)",
    )


def add_evaluation(parser: argparse.ArgumentParser, required: bool = True, comparison: bool = True) -> None:
    """
    The options of natural images, layers and controls.

    Args:
        parser (ArgumentParser): Of a command.
        required (bool, optional): Whether images must be given. Default: True
        comparison (bool, optional): Whether the command has one comparison a class, whose controls can be counted. Default: True
    """
    group = parser.add_argument_group("evaluation")
    group.add_argument(
        "--images",
        required=required,
        metavar="DIR",
        help='natural images: an ImageNet-style tree, a folder per class, or a flat folder with classes in the file names; or "digits"',
    )
    group.add_argument("--split", help="of an ImageNet-style tree (default: val, else what there is)")
    add_class_table(group)
    add_exif_orientation(group)
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
    if comparison:
        group.add_argument(
            "--no-leave-one-out",
            action="store_true",
            help="the paper's way: each natural image is part of its own mean",
        )
    group.add_argument(
        "--controls", nargs="*", metavar="NAME", help=f"of {', '.join(CONTROLS)}; quote what has a space (default: all)"
    )
    if comparison:
        group.add_argument(
            "--control-count",
            type=int,
            metavar="N",
            help="images of each control that is made by chance, be it fewer or more than prototypes",
        )
    group.add_argument(
        "--ascent-steps", type=int, help="of the controls by gradient ascent (default: as of prototypes)"
    )
    group.add_argument("--image-batch", type=int, default=32, help="images at a time (default: %(default)s)")
    group.add_argument(
        "--workers", type=int, default=2, help="threads that read images while the model works (default: %(default)s)"
    )


def add_class_table(group: Any) -> None:
    group.add_argument(
        "--class-table",
        type=Path,
        metavar="FILE",
        help="which class a wnid or a name in --images is: CSV with the columns index, wnid and name, or lines that begin with the wnid of "
        "each class in order (default: a classes.csv beside the images; ImageNet's own wnids are known)",
    )


def add_output(parser: argparse.ArgumentParser, optimizes: bool = True) -> None:
    """
    The options of where to write.

    Args:
        parser (ArgumentParser): Of a command.
        optimizes (bool, optional): Whether it optimizes inputs, of which snapshots can be kept. Default: True
    """
    group = parser.add_argument_group("output")
    group.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write to")
    group.add_argument("--overwrite", action="store_true", help="replace files in it")
    group.add_argument("--resume", action="store_true", help="go on with what an interrupted run left in it")
    group.add_argument("--no-progress", action="store_true", help="no progress bars")
    group.add_argument(
        "--memory-budget",
        metavar="SIZE",
        type=_size,
        help='what the process, or PyTorch on a GPU, may hold, such as "4GiB": batches are made as small as it takes (default: none; '
        "batches are halved where memory runs out)",
    )
    group.add_argument(
        "--shard",
        metavar="I/N",
        help="make a share of the run, the I-th of N from 1, as one job of an array; then --resume without it ends the run",
    )
    if optimizes:
        group.add_argument(
            "--snapshot-every",
            type=int,
            metavar="N",
            help="keep the state of an optimization after every N steps until it is finished: a run that is killed in the middle of one "
            "goes on from there with --resume, and ends in the same results (default: never)",
        )


def add_verifier(group: Any) -> None:
    """The argument for other networks that pictures are shown to."""
    group.add_argument(
        "--verifier",
        action="append",
        default=[],
        metavar="NAME",
        help="another network that is shown the pictures, named as --model; repeat for several",
    )


def verifiers(args: argparse.Namespace, named: NamedModel) -> list[NamedModel]:
    """The networks of ``--verifier``, which read images as the model does."""
    found = []
    for name in args.verifier:
        verifier = load_model(name, device=args.device or default_device(), download=True)
        verifier.exif_orientation = named.exif_orientation
        found.append(verifier)
    return found


def output(args: argparse.Namespace) -> dict[str, Any]:
    """The arguments of :func:`~captum_proto.runs.tasks.carry_out` that :func:`add_output` adds."""
    return {
        "overwrite": args.overwrite,
        "resume": args.resume,
        "show_progress": not args.no_progress,
        "share": share_of(args),
        "snapshot_every": getattr(args, "snapshot_every", None),
    }


def checkpoint_of_each(args: argparse.Namespace, models: Sequence[str]) -> dict[str, Path | None]:
    """The weights of each of several models, by its name."""
    given: list[Path] = args.checkpoint or []
    if given and len(given) != len(models):
        raise InputError(
            f"{len(given)} checkpoints were given for {len(models)} models; give one for each, in their order."
        )
    return dict(zip(models, given, strict=True)) if given else dict.fromkeys(models)


def default_device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def load(args: argparse.Namespace) -> NamedModel:
    device = check_device(args.device or default_device())
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
    named.exif_orientation = bool(getattr(args, "exif_orientation", False))
    print(
        f"model: {named.name}; " + "; ".join(f"{key}: {value}" for key, value in named.settings.items()),
        file=sys.stderr,
    )
    return named


def count_of(args: argparse.Namespace, default: int) -> int:
    count: int = default if args.count is None else args.count
    if count < 1:
        raise InputError(f"count is {count}; expected at least 1.")
    return count


def classes(texts: Sequence[str], named: NamedModel) -> list[Target]:
    """Targets from what was given, saying where a number was taken for a name."""
    targets = parse_classes(texts, named.class_names)
    for sentence in taken_for_names(texts, targets, named.class_names):
        print(sentence, file=sys.stderr)
    return targets


def generation_arguments(args: argparse.Namespace, named: NamedModel | None = None) -> dict[str, Any]:
    """Keyword arguments of generate for a model's images: what was given, and the preset's for the rest."""
    given = {name: getattr(args, name, None) for name in OPTIONS}
    shape = None if named is None else named.image_shape
    return generation_options({name: value for name, value in given.items() if value is not None}, shape)


def natural_images(args: argparse.Namespace, named: NamedModel) -> NaturalImages:
    """The natural images that :func:`add_evaluation`'s arguments ask for."""
    return NaturalImages(
        args.images,
        named.geometry,
        named.class_names,
        split=args.split,
        limit=args.limit,
        others=args.others,
        seed=getattr(args, "seed", 0),
        batch_size=args.image_batch,
        workers=args.workers,
        class_table=args.class_table,
    )


def _given(args: argparse.Namespace, name: str, otherwise: Any) -> Any:
    """What an option was given, for commands that have it; else what stands for it."""
    value = getattr(args, name, None)
    return otherwise if value is None else value


def similarity_arguments(args: argparse.Namespace) -> dict[str, Any]:
    """The arguments of :class:`~captum_proto.PathSimilarity` that :func:`add_evaluation`'s options ask for."""
    return {
        "layers": args.layers[0] if args.layers in (["leaf"], ["all"]) else args.layers,
        "repeat": args.repeat,
        "alias": args.alias,
        "value_range": None
        if getattr(args, "clamp", None) is False
        else tuple(_given(args, "value_range", (0.0, 1.0))),
        "batch_size": args.image_batch,
    }
