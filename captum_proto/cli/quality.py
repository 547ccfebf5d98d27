"""``captum-proto quality``: every measure of prototypes, for several methods beside controls and natural images."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from captum_proto._utils.checks import check_int, nearest
from captum_proto._utils.errors import InputError
from captum_proto._utils.reading import read_text
from captum_proto._utils.targets import Target
from captum_proto.attr import PRESETS
from captum_proto.cli import arguments as shared
from captum_proto.cli import sweep
from captum_proto.cli.given import check_given
from captum_proto.data.labels import existing_folder
from captum_proto.data.natural import NaturalImages, check_source
from captum_proto.experiments.quality import Quality
from captum_proto.metrics import CONTROLS
from captum_proto.models import NamedModel
from captum_proto.runs.tasks import carry_out

_EXAMPLES = """examples:
  captum-proto quality --model efficientnet-lite0 --verifier efficientnet-lite1 --verifier efficientnet-lite2 --images imagenet/val \\
    --target flute --target "house finch" --method best --method paper --seeds 0-2 --out quality
  captum-proto quality --model efficientnet-lite0 --images photos --held-out held_out.txt --file methods.toml --out quality
  captum-proto quality --model digits --images digits --target 3 --target 8 --method best --pictures theirs=elsewhere/pngs --out digits

a file of methods holds arguments of generate in TOML, as a sweep does:
  fixed = { steps = 256 }                                  # of every method
  [settings.mine]                                          # by the name of the method
  preset = "best"
  lr = 0.05
a file of classes holds one in each line, as for --target; what follows # is left out.
"""


def add(commands: shared.Commands) -> None:
    parser = shared.command(
        commands, "quality", "every measure of prototypes in one table, for several methods beside controls", _EXAMPLES
    )
    shared.add_model(parser)
    group = parser.add_argument_group("classes (at least one)")
    for name, words in (
        ("target", ""),
        ("tuned-on", "; those that a method was tuned on, which get a table of their own"),
        ("held-out", "; those that were held out"),
    ):
        group.add_argument(
            f"--{name}",
            action="append",
            default=[],
            metavar="CLASS",
            help=f"{shared.CLASS}; or a file of classes{words}; repeat for several",
        )
    group = parser.add_argument_group("methods (at least one)")
    group.add_argument(
        "--method",
        action="append",
        default=[],
        metavar="NAME",
        help=f"a preset ({', '.join(PRESETS)}) or one of --file; repeat for several (default: all of --file)",
    )
    group.add_argument("--file", type=Path, metavar="TOML", help="methods by name")
    group.add_argument(
        "--pictures",
        action="append",
        default=[],
        metavar="NAME=DIR",
        help="finished pictures as a method: PNG files named by class, such as 0558_flute.png; repeat for several",
    )
    group.add_argument(
        "--made-from",
        metavar="DIR",
        help='natural images that "matched" and "maco" are made from, laid out as --images are and none of them',
    )
    group.add_argument(
        "--spectrum", type=Path, metavar="FILE", help='of "maco" a magnitude spectrum, .safetensors or .npy'
    )
    group.add_argument("--steps", type=int, help="of every method and of the controls by gradient ascent")
    group.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help='one value for all methods: "lr = 0.1"'
    )
    group.add_argument("--seeds", default="0", help='of each method and class, such as "0-4" or "0,3,8" (default: 0)')
    group.add_argument("--batch-size", type=int, default=8, help="pictures at a time (default: %(default)s)")
    group = parser.add_argument_group("measures")
    shared.add_verifier(group)
    group.add_argument(
        "--min-images",
        type=int,
        default=8,
        metavar="N",
        help="natural images that a class needs for path similarity (default: %(default)s)",
    )
    shared.add_evaluation(parser, comparison=False)
    shared.add_output(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    check_given(args)
    if args.made_from is not None:
        check_source(args.made_from)
    if args.steps is not None:
        check_int(args.steps, "steps", 1)
    methods, pictures, seeds = _methods(args), _folders(args.pictures), sweep.seeds_of(args.seeds)
    if not methods and not pictures:
        raise InputError("there is no method; give --method, --file or --pictures.")
    named = shared.load(args)
    targets, parts = _classes(args, named)
    protocol = Quality(
        named,
        targets,
        shared.natural_images(args, named),
        methods,
        shared.verifiers(args, named),
        pictures,
        seeds,
        parts,
        controls=CONTROLS if args.controls is None else args.controls,
        control_steps=args.steps if args.ascent_steps is None else args.ascent_steps,
        similarity=shared.similarity_arguments(args),
        min_images=check_int(args.min_images, "min_images", 2),
        made_from=_made_from(args, named),
        spectrum=args.spectrum,
        batch_size=args.batch_size,
    )
    print(carry_out(protocol, args.out, **shared.output(args)).table())
    print(f"written: {args.out}")


def _methods(args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """By name, the arguments of generate: of presets, and of the file."""
    tables = {} if args.file is None else sweep.read_toml(args.file)
    for name in tables:
        if name not in ("fixed", "settings"):
            hint = nearest(name, ("fixed", "settings")) or "; expected fixed and settings."
            raise InputError(f'the file of methods has an entry "{name}"{hint}')
        if not isinstance(tables[name], Mapping):
            raise InputError(f"{name} is {tables[name]!r}; expected a table of arguments of generate.")
    known: dict[str, Any] = {name: {"preset": name} for name in PRESETS}
    known |= tables.get("settings", {})
    for_all = {**tables.get("fixed", {}), **sweep.assignments(args.set, "--set")}
    if args.steps is not None:
        for_all["steps"] = args.steps
    found = {}
    for name in args.method or tables.get("settings", {}):
        if name not in known:
            raise InputError(f'there is no method "{name}"{nearest(name, known) or f"; expected one of {known}."}')
        if not isinstance(known[name], Mapping):
            raise InputError(f'the method "{name}" is {known[name]!r}; expected a table of arguments of generate.')
        if name in found:
            raise InputError(f'the method "{name}" is given twice; leave one out.')
        found[name] = {**known[name], **for_all}
    return found


def _folders(texts: Sequence[str]) -> dict[str, Path]:
    """By name, folders of finished pictures."""
    found: dict[str, Path] = {}
    for text in texts:
        name, equals, folder = text.partition("=")
        if not equals or not name.strip() or not folder:
            raise InputError(f'--pictures is "{text}"; expected such as "maco=pictures/maco".')
        if name in found:
            raise InputError(f'the pictures "{name}" are given twice; leave one out.')
        found[name.strip()] = Path(existing_folder(folder))
    return found


def _classes(args: argparse.Namespace, named: NamedModel) -> tuple[list[Target], dict[str, list[Target]]]:
    """All classes, and those of each table by its title."""
    given = {"all classes": args.target, "tuned on": args.tuned_on, "held out": args.held_out}
    found = {title: shared.classes(_texts(texts), named) for title, texts in given.items() if texts}
    if not found:
        raise InputError("there is no class; give --target, --tuned-on or --held-out.")
    tuned, held_out = (set(found.get(title, [])) for title in ("tuned on", "held out"))
    if both := sorted(tuned & held_out):
        raise InputError(f"the class {list(both[0])} is among those tuned on and among those held out; choose one.")
    parts = {title: list(dict.fromkeys(targets)) for title, targets in found.items()}
    return list(dict.fromkeys(target for targets in parts.values() for target in targets)), parts


def _texts(given: Sequence[str]) -> list[str]:
    """Classes as they were given, those in files among them."""
    texts: list[str] = []
    for text in given:
        if os.path.isfile(text):
            try:
                lines = read_text(text, most=2**26).splitlines()
            except (OSError, ValueError) as error:
                raise InputError(f'the file of classes "{text}" cannot be read ({error}); give a text file.') from error
            found = [line.partition("#")[0].strip() for line in lines]
            if not any(found):
                raise InputError(f'the file of classes "{text}" has none; write one in each line.')
            texts += filter(None, found)
        else:
            texts.append(text)
    return texts


def _made_from(args: argparse.Namespace, named: NamedModel) -> NaturalImages | None:
    if args.made_from is None:
        return None
    return NaturalImages(
        args.made_from,
        named.geometry,
        named.class_names,
        split=args.split,
        batch_size=args.image_batch,
        workers=args.workers,
        class_table=args.class_table,
    )
