"""``captum-proto blind``: do people see in a picture what it is of?"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from captum_proto._utils.errors import InputError
from captum_proto._utils.files import readable
from captum_proto.cli import arguments as shared
from captum_proto.cli.given import check_given
from captum_proto.cli.options import add_fields
from captum_proto.experiments.blind import FORM, KEY, BlindSettings, ClassList, MakeForm, ScoreAnswers, find_sources
from captum_proto.report.views.blind import conclusion, summary
from captum_proto.runs.tasks import carry_out

_EXAMPLES = """examples:
  captum-proto blind dogs --out dogs-blind
  captum-proto blind dogs --include photos:photograph --include noise:noise --classes imagenet_classes.csv --out dogs-blind
  captum-proto blind pictures --by-method --limit 2 --out blind
  captum-proto blind dogs-blind --answers ann.csv bob.csv --out dogs-scores

First without --answers: the form is OUT/form/blind.html, which is all that others are to see; OUT/blind_key.json tells what its pictures
are. Then with --answers, of the folder that the form was written to: a file for each person.
"""
#: What is for making a form alone, and what for scoring answers.
_OF_FORM = (
    "labels",
    "by_method",
    "include",
    "class_table",
    *(each.name for each in fields(BlindSettings) if each.name != "seed"),
)
_OF_SCORES = ("synonyms", "confidence")


def add(commands: shared.Commands) -> None:
    parser = shared.command(
        commands, "blind", "let people name pictures without being told what they are, and score it", _EXAMPLES
    )
    parser.add_argument(
        "folder",
        type=Path,
        metavar="DIR",
        help="a run of generate, evaluate or quality, or images by class, in folders or by name; with --answers, the folder of a form",
    )
    pictures = parser.add_argument_group("pictures and their classes")
    pictures.add_argument(
        "--labels",
        type=Path,
        metavar="FILE",
        help="which class each picture is of: CSV with the columns picture (within DIR), class and, if there are several, method",
    )
    pictures.add_argument(
        "--by-method",
        action="store_true",
        default=None,
        help="the folders in DIR are methods, each with images by class",
    )
    pictures.add_argument(
        "--include",
        action="append",
        metavar="DIR:NAME",
        help="further images to mix in, called NAME: by class, or of no class such as noise; repeat for several",
    )
    pictures.add_argument(
        "--class-table",
        type=Path,
        metavar="FILE",
        help="the names of classes that pictures call by wnid or index: CSV with the columns index, wnid and name",
    )
    pictures.add_argument(
        "--classes",
        type=Path,
        metavar="FILE",
        help="the names that can be chosen, and their groups: CSV with the columns name (synonyms behind commas) and group, or a name a "
        "line (default: the classes of the pictures); with --answers, other groups",
    )
    add_fields(parser.add_argument_group("form"), BlindSettings)
    scoring = parser.add_argument_group("scoring")
    scoring.add_argument(
        "--answers",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="what people saved from the form, a file for each person",
    )
    scoring.add_argument(
        "--synonyms",
        type=Path,
        metavar="FILE",
        help="spellings that stand for a class: CSV with the columns answer and class, such as an unmatched.csv that was filled in",
    )
    scoring.add_argument("--confidence", type=float, help="of all intervals (default: 0.95)")
    shared.add_output(parser, optimizes=False)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    check_given(args)
    classes = None if args.classes is None else ClassList.read(args.classes)
    if args.answers:
        _refuse(args, _OF_FORM, "is for making a form, and answers to one were given")
        _score(args, classes)
    else:
        _refuse(args, _OF_SCORES, "is for scoring, and no answers were given; give --answers FILE too")
        _make(args, classes)
    print(f"written: {args.out}")


def _make(args: argparse.Namespace, classes: ClassList | None) -> None:
    given = {each.name: getattr(args, each.name) for each in fields(BlindSettings)}
    settings = BlindSettings(**{name: value for name, value in given.items() if value is not None})
    by_method = bool(args.by_method)
    sources = find_sources(args.folder, labels=args.labels, class_table=args.class_table, by_method=by_method)
    form = MakeForm(sources, classes, _places(args.include or ()), args.class_table, settings)
    key = carry_out(form, args.out, **shared.output(args))
    for method in dict.fromkeys(one.method for one in key.pictures):
        of_method = [one for one in key.pictures if one.method == method]
        print(f"{method}: {len(of_method)} pictures of {len({one.label for one in of_method} - {''})} classes")
    print(f"the form, for others: {args.out / FORM}")
    print(f"the key, for you alone: {args.out / KEY}")


def _score(args: argparse.Namespace, classes: ClassList | None) -> None:
    options = {name: getattr(args, name) for name in ("confidence", "seed") if getattr(args, name) is not None}
    scoring = ScoreAnswers(args.folder, args.answers, classes, args.synonyms, **options)
    scores = carry_out(scoring, args.out, **shared.output(args))
    print(summary(scores))
    print(*conclusion(scores), sep="\n")


def _refuse(args: argparse.Namespace, names: Sequence[str], why: str) -> None:
    given = next((name for name in names if getattr(args, name) is not None), None)
    if given is not None:
        raise InputError(f"--{given.replace('_', '-')} {why}.")


def _places(texts: Sequence[str]) -> dict[str, Path]:
    """DIR:NAME, each name once."""
    places: dict[str, Path] = {}
    for text in texts:
        place, _, name = text.rpartition(":")
        if not (place and name.strip()):
            raise InputError(f'--include "{text}" is not DIR:NAME; expected e.g. --include noise:noise.')
        if name.strip() in places:
            raise InputError(f'two folders are included as "{name.strip()}"; give each a name of its own.')
        places[readable(name.strip())] = Path(place)
    return places
