"""``captum-proto describe``: what units are for, in words."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from captum_proto._utils.errors import InputError, MissingFileError
from captum_proto._utils.reading import read_text
from captum_proto.cli import arguments as shared
from captum_proto.cli.given import check_given
from captum_proto.experiments.describe import METHODS, MILAN, SHAPES, UNITS, Describe
from captum_proto.models.factory import call_factory, factory_file
from captum_proto.runs.tasks import carry_out

_EXAMPLES = """examples:
  captum-proto describe --model efficientnet-lite0 --layers _blocks.10 --images photos --captioner milan.py:captioner \\
      --language-model milan.py:language_model --out described
  captum-proto describe --model torchvision:resnet18 --layers "layer?" --images imagenet/val --by soft_wpmi \\
      --two-tower clip.py:make --words words.txt --out described
  captum-proto describe --model nets/mine.py:factory --image-shape 3 40 40 --layers conv1 --images shapes --out described
"""


def add(commands: shared.Commands) -> None:
    parser = shared.command(commands, "describe", "say in words what units are for", _EXAMPLES)
    shared.add_model(parser)
    group = parser.add_argument_group("units and images")
    group.add_argument(
        "--layers", action="append", required=True, metavar="NAME", help="name or pattern; repeat for several"
    )
    group.add_argument(
        "--units",
        action="append",
        metavar="N or LAYER=C,C",
        help="which: so many of each layer, evenly spaced, or certain ones; repeat for several (default: all)",
    )
    group.add_argument(
        "--images",
        required=True,
        metavar="DIR",
        dest="source",
        help=f'a folder of images, whatever they are called, with those in folders within it; or "digits", or "{SHAPES}", drawn ones',
    )
    shared.add_exif_orientation(group)
    group.add_argument("--count", type=int, default=2000, help=f'images of "{SHAPES}" (default: %(default)s)')
    group.add_argument("--examples", type=int, default=15, help="images of each unit (default: %(default)s)")
    group.add_argument(
        "--quantile",
        type=float,
        default=0.99,
        help="of its activations, above which a unit fires (default: %(default)s)",
    )
    group.add_argument("--image-batch", type=int, default=32, help="images at a time (default: %(default)s)")
    group.add_argument(
        "--workers", type=int, default=2, help="threads that read images while the model works (default: %(default)s)"
    )
    group = parser.add_argument_group("descriptions")
    group.add_argument(
        "--by",
        default=MILAN,
        metavar="{" + ",".join(METHODS) + "}",
        help="a captioner's descriptions, or a score of given words (default: %(default)s)",
    )
    group.add_argument(
        "--captioner",
        default=SHAPES,
        metavar="FILE.py:FACTORY",
        help=f'a function that returns a Captioner; or "{SHAPES}", one that is trained on drawn shapes first (default: %(default)s)',
    )
    group.add_argument(
        "--language-model",
        metavar="FILE.py:FACTORY",
        help="a function that returns a LanguageModel, for a captioner of your own (default: none, for --weight 0)",
    )
    group.add_argument(
        "--weight", type=float, default=0.2, help="how much a frequent description counts less (default: %(default)s)"
    )
    group.add_argument(
        "--beam", type=int, default=50, help="descriptions that are weighed for each unit (default: %(default)s)"
    )
    group.add_argument(
        "--two-tower", metavar="FILE.py:FACTORY", help="a function that returns a TwoTower, for scores of words"
    )
    group.add_argument("--words", type=Path, metavar="FILE", help="words or texts to choose from, one a line")
    group.add_argument(
        "--top-k", type=int, help="images of which a score of words looks at the activations (default: 100; wpmi: 28)"
    )
    group.add_argument(
        "--draws", type=int, default=20, help="of random exemplars for each layer, as control (default: %(default)s)"
    )
    group.add_argument("--seed", type=int, default=0, help="of the control and of drawn shapes (default: %(default)s)")
    group.add_argument(
        "--chunk", type=int, default=16, help="units after which a run can be resumed (default: %(default)s)"
    )
    parser.add_argument(
        "--shown", type=int, default=12, help="units of each layer with pictures (default: %(default)s)"
    )
    shared.add_output(parser, optimizes=False)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    check_given(args)
    given = {name: getattr(args, name) for name in ("captioner", "language_model", "two_tower")}
    given = {name: text for name, text in given.items() if text is not None and (name, text) != ("captioner", SHAPES)}
    files = {name: factory_file(text) for name, text in given.items()}
    words = [] if args.words is None else read_words(args.words)
    named = shared.load(args)
    made: dict[str, Any] = {name: call_factory(text) for name, text in given.items()}
    protocol = Describe(
        named,
        args.source,
        args.layers,
        by=args.by,
        units=args.units,
        weight=args.weight,
        beam=args.beam,
        k=args.examples,
        quantile=args.quantile,
        words=words,
        top_k=args.top_k,
        factories=files,
        count=args.count,
        draws=args.draws,
        shown=args.shown,
        chunk=args.chunk,
        seed=args.seed,
        batch_size=args.image_batch,
        workers=args.workers,
        **made,
    )
    for name, layer in carry_out(protocol, args.out, **shared.output(args)).items():
        for unit in layer.described[:12]:
            print(f"{name}, unit {unit.unit}: {unit.text}")
        print(f"{name}: {len(layer.described)} of {len(layer.units)} units have a description")
    print(f"all units: {args.out / UNITS}")
    print(f"written: {args.out}")


def read_words(path: Path) -> list[str]:
    """
    The texts in a file, one a line; empty lines do not count.

    Args:
        path (Path): UTF-8.

    Raises:
        InputError: If there is none, or it is no text.
        MissingFileError: If there is no such file.
    """
    if not path.is_file():
        raise MissingFileError(f'there is no file "{path}"; give --words a file with one word or text a line.')
    try:
        lines = read_text(path, most=2**26).splitlines()
    except ValueError as error:
        raise InputError(f'"{path}" is no text in UTF-8 ({error}); save it as such, one word a line.') from error
    words = [line.strip() for line in lines if line.strip()]
    if not words:
        raise InputError(f'"{path}" holds no words; give a file with one word or text a line.')
    return words
