"""``captum-proto generate --input tabular|text``: prototypes of classes of inputs that are no images."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from functools import partial
from typing import Any

from captum_proto._utils.checks import nearest
from captum_proto._utils.errors import InputError
from captum_proto.attr import GenerationSettings
from captum_proto.cli import arguments as shared
from captum_proto.cli.processes import check_folder
from captum_proto.experiments.options import generation_options
from captum_proto.experiments.tabular_models import NAMES, tabular_models
from captum_proto.experiments.tabular_prototypes import ROW_DISTANCE, TabularPrototypes
from captum_proto.experiments.text_models import BIGRAM, language_model, text_models
from captum_proto.experiments.text_models import NAMES as TEXT_NAMES
from captum_proto.experiments.text_prototypes import VOCABULARIES, TextPrototypes
from captum_proto.models.surrogate import PIPELINES
from captum_proto.optim.inputs.text import METHODS
from captum_proto.runs.tasks import carry_out

#: What is optimized: images unless otherwise said.
INPUTS = ("image", "tabular", "text")
#: Options of this command that are of images alone.
_OF_IMAGES = (
    "natural_images",
    "spectrum",
    "class_table",
    "degrees",
    "translate",
    "scale",
    "fill",
    "checkpoint",
    "image_shape",
)


def add(parser: argparse.ArgumentParser) -> None:
    """The options of inputs that are no images."""
    group = parser.add_argument_group("inputs that are no images (--input)")
    group.add_argument("--input", choices=INPUTS, default=INPUTS[0], help="what is optimized (default: %(default)s)")
    group.add_argument(
        "--networks",
        type=int,
        help="how many networks to train, on other splits each; intervals are over them (default: 1)",
    )
    group.add_argument(
        "--network-seed", type=int, default=0, metavar="SEED", help="of the first of them (default: %(default)s)"
    )
    group.add_argument(
        "--tries",
        type=int,
        default=4,
        help="ascents for each prototype, of which the best stays (default: %(default)s)",
    )
    group = parser.add_argument_group(
        f"rows of a table (--input tabular; --model {', '.join(NAMES)}, or FILE.py:FACTORY that returns a TabularModel)"
    )
    group.add_argument(
        "--pipeline",
        choices=PIPELINES,
        help="train such a pipeline of scikit-learn, and make prototypes of its differentiable surrogate",
    )
    group.add_argument(
        "--fix", action="append", metavar="COLUMN=VALUE", help="hold a column at a value; repeat for several"
    )
    group.add_argument(
        "--row-distance",
        type=float,
        default=ROW_DISTANCE,
        help="weight of the distance from natural rows of all classes; 0 for none (default: %(default)s)",
    )
    group = parser.add_argument_group(
        f"texts (--input text; --model {', '.join(TEXT_NAMES)}, or FILE.py:FACTORY that returns a TextModel)"
    )
    group.add_argument(
        "--tokens", choices=METHODS, default="gumbel", help="how tokens are chosen (default: %(default)s)"
    )
    group.add_argument(
        "--vocabulary",
        choices=VOCABULARIES,
        default="used",
        help="which tokens may be: those of training texts, or all whole words (default: %(default)s)",
    )
    group.add_argument(
        "--language-model",
        metavar=f"{BIGRAM}|FILE.py:FACTORY",
        help="by which surprise is measured, and fluency wanted: a bigram model of the training texts, or what a function returns",
    )
    group.add_argument("--fluency", type=float, default=0.0, help="its weight in the ascent (default: %(default)s)")


def check(args: argparse.Namespace) -> None:
    """See that no option is given that is of another kind of input."""
    given = [name for name in _OF_IMAGES if getattr(args, name, None) is not None]
    if args.preset != "paper":
        given.append("preset")
    if given:
        raise InputError(f"{given[0]} is given, but it is of images and inputs are {args.input}; leave it out.")
    for name in ("networks", "tries", "count"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise InputError(f"{name} is {value}; expected at least 1.")
    check_folder(args)


def run(args: argparse.Namespace) -> None:
    """Prototypes of inputs that are no images."""
    check(args)
    (_run_tabular if args.input == "tabular" else _run_text)(args)


def _run_tabular(args: argparse.Namespace) -> None:
    """Prototypes of rows of a table."""
    load = tabular_models(args.model, args.networks or 1, args.network_seed, args.pipeline)
    protocol = TabularPrototypes(
        load,
        options=given_options(args),
        fixed=_fixed(args.fix or []),
        row_distance=args.row_distance,
        count=args.count or 4,
        attempts=args.tries or 4,
        seed=args.seed,
    )
    _carry_out(protocol, args)


def _run_text(args: argparse.Namespace) -> None:
    """Prototypes of texts."""
    spoken = None if args.language_model is None else partial(language_model, args.language_model)
    protocol = TextPrototypes(
        text_models(args.model, args.networks or 1, args.network_seed),
        options=given_options(args),
        method=args.tokens,
        vocabulary=args.vocabulary,
        fluency=args.fluency,
        language_model=spoken,
        count=args.count or 2,
        attempts=args.tries or 2,
        seed=args.seed,
    )
    _carry_out(protocol, args)


def _carry_out(protocol: Any, args: argparse.Namespace) -> None:
    """Run a protocol for the classes that were named, and print what was measured."""
    if args.target:
        protocol = replace(protocol, targets=classes_named(args.target, protocol.models[0].class_names))
    for model in protocol.models:
        said = "; ".join(f"{key}: {value}" for key, value in model.settings.items())
        print(f"model: {model.name}; {said}", file=sys.stderr)
    print(carry_out(protocol, args.out, **shared.output(args)).table())
    print(f"written: {args.out}")


def given_options(args: argparse.Namespace) -> dict[str, Any]:
    """What was given of the settings of a generation; nothing stands for the rest."""
    given = {field.name: getattr(args, field.name, None) for field in fields(GenerationSettings)}
    given = {name: value for name, value in given.items() if value is not None}
    return {name: value for name, value in generation_options(given).items() if name in given}


def classes_named(texts: Sequence[str], names: Sequence[str]) -> list[int]:
    """
    Classes by name or index.

    Raises:
        InputError: If there is none of a name, or an index is out of range.
    """
    found = []
    for text in texts:
        if text in names:
            found.append(list(names).index(text))
        elif text.isdigit() and int(text) < len(names):
            found.append(int(text))
        else:
            hint = nearest(text, names) or f"; expected one of {', '.join(names)}, or an index below {len(names)}."
            raise InputError(f'there is no class "{text}"{hint}')
    return list(dict.fromkeys(found))


def _fixed(texts: Sequence[str]) -> dict[str, Any]:
    fixed: dict[str, Any] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign:
            raise InputError(
                f'fix is "{text}"; expected COLUMN=VALUE, such as "sex=female", or "sex=" for a missing value.'
            )
        try:
            fixed[name] = float(value)
        except ValueError:
            fixed[name] = value or None
    return fixed


__all__ = ["INPUTS", "add", "check", "classes_named", "given_options", "run"]
