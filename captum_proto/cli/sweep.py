"""``captum-proto sweep``: a grid over the arguments of generation."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from captum_proto._utils.checks import check_device
from captum_proto._utils.errors import InputError, WriteError
from captum_proto._utils.reading import read_text
from captum_proto.cli import arguments as shared
from captum_proto.cli.given import check_given
from captum_proto.experiments.sweep import PAPER_PROTOCOLS, RunSweep, Sweep, sweep_from_tables
from captum_proto.metrics import CONTROLS
from captum_proto.metrics.controls import check_controls
from captum_proto.models import NamedModel
from captum_proto.runs.tasks import carry_out

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

#: No sweep file is larger, in bytes, and no line of one has more dots: the time that the parser takes for a key a.b.c… grows with the
#: square of its parts.
_MOST, _MOST_DOTS = 2**18, 1024
_EXAMPLES = """examples:
  captum-proto sweep --model torchvision:resnet18 --target goldfish --seeds 0-4 --protocols paper --images imagenet --limit 100 --out table4
  captum-proto sweep --model efficientnet-lite0 --target 151-268 --grid "lr=[0.02, 0.1]" --set preset=best --images photos --out rates
  captum-proto sweep --file presets.toml --images photos --out presets

a file holds the same in TOML:
  model = ["efficientnet-lite0", "efficientnet-lite1"]
  target = ["151-268", "house finch"]                      # or a table of names: { dog = "151-268" }
  seeds = [0, 1, 2, 3, 4]
  fixed = { steps = 256 }                                  # arguments of generate, everywhere the same
  [grid]                                                   # every combination of these
  lr = [0.05, 0.1]
  parametrization = ["pixels", { name = "phase", contrast = 1.2 }]
  [settings.paper]                                         # or arguments that belong together, by name
  preset = "paper"
  [settings.best]
  preset = "best"
"""
#: Entries of a file that stand for arguments of the command line, which override them; of each its type, and what that is in words.
_ENTRIES: dict[str, tuple[type, str]] = {
    "images": (str, 'a folder, or "digits"'),
    "exif_orientation": (bool, "true or false"),
    "controls": (list, "a list of names"),
    **dict.fromkeys(("limit", "others", "control_count", "ascent_steps", "batch_size"), (int, "a whole number")),
}


def add(commands: shared.Commands) -> None:
    parser = shared.command(
        commands, "sweep", "every combination of a grid over generation's arguments, ranked", _EXAMPLES
    )
    grid = parser.add_argument_group("what is made")
    grid.add_argument("--file", type=Path, metavar="TOML", help="a sweep as a file; what is given here overrides it")
    grid.add_argument("--target", action="append", metavar="CLASS", help="as for generate; repeat for several")
    grid.add_argument("--seeds", metavar="FIRST-LAST", help='such as "0-4" or "0,3,8" (default: 0)')
    grid.add_argument(
        "--grid",
        action="append",
        default=[],
        metavar="NAME=[…]",
        help='values of an argument of generate, in TOML: "lr = [0.05, 0.1]"; repeat for several',
    )
    grid.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help='one value for all, in TOML: "steps = 256"'
    )
    grid.add_argument(
        "--protocols",
        choices=("paper",),
        help="add the paper's grid of 125 affine protocols: scale, rotation, translation",
    )
    grid.add_argument("--batch-size", type=int, help="prototypes at a time (default: 8)")
    shared.add_model(parser, several=True)
    shared.add_evaluation(parser, required=False)
    shared.add_output(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    tables = {} if args.file is None else read_toml(args.file)
    arguments, entries = sweep_from_tables(tables, _ENTRIES)
    for name, (kind, words) in _ENTRIES.items():
        value = entries.get(name)
        if value is not None and (not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool)):
            raise InputError(f"{name} is {value!r}; expected {words}.")
        if getattr(args, name, None) is None and name in entries:
            setattr(args, name, entries[name])
    for name, given in (("models", args.model), ("targets", args.target)):
        if given:
            arguments[name] = given
        elif name not in arguments:
            raise InputError(f"there are no {name}; give --{name[:-1]}, or {name[:-1]} in the sweep file.")
    check_given(argparse.Namespace(**{**vars(args), "model": arguments["models"]}))
    if args.seeds is not None:
        arguments["seeds"] = seeds_of(args.seeds)
    arguments.setdefault("seeds", [0])
    arguments["fixed"] = {**arguments.get("fixed", {}), **assignments(args.set, "--set")}
    arguments["grid"] = {
        **arguments.get("grid", {}),
        **(PAPER_PROTOCOLS if args.protocols else {}),
        **assignments(args.grid, "--grid"),
    }
    sweep = Sweep(**arguments)
    checkpoints = shared.checkpoint_of_each(args, sweep.models)
    device = check_device(args.device or shared.default_device())
    controls = check_controls(CONTROLS if args.controls is None else args.controls)

    def open_model(name: str) -> NamedModel:
        given = {"model": name, "checkpoint": checkpoints[name], "device": str(device)}
        named = shared.load(argparse.Namespace(**{**vars(args), **given}))
        shared.classes(sweep.targets, named)
        return named

    protocol = RunSweep(
        sweep,
        open_model,
        partial(shared.natural_images, args) if args.images else None,
        similarity=shared.similarity_arguments(args),
        comparison={
            "controls": controls,
            "control_count": 2 if args.control_count is None else args.control_count,
            "leave_one_out": not args.no_leave_one_out,
            "ascent_steps": 512 if args.ascent_steps is None else args.ascent_steps,
        },
        batch_size=8 if args.batch_size is None else args.batch_size,
    )
    result = carry_out(protocol, args.out, **shared.output(args))
    print(result.table())
    if result.skipped:
        print(*result.skipped, sep="\n", file=sys.stderr)
    print(f"written: {args.out}")


def read_toml(path: Path) -> Mapping[str, Any]:
    """What a TOML file holds."""
    try:
        return parse_toml(read_text(path, most=_MOST))
    except OSError as error:
        raise WriteError(f'the file "{path}" cannot be read ({error.strerror}); give a TOML file.') from error
    except ValueError as error:
        raise InputError(f'"{path}" is not TOML ({error}); see captum-proto sweep --help for an example.') from error


def parse_toml(text: str) -> dict[str, Any]:
    """
    What TOML says.

    Raises:
        ValueError: If it is none, or brackets or keys are nested by the thousand.
    """
    if any(line.count(".") > _MOST_DOTS for line in text.splitlines()):
        raise ValueError(f"a line has more than {_MOST_DOTS} dots")
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ValueError("its brackets are nested too deeply") from error


def assignments(texts: list[str], option: str) -> dict[str, Any]:
    """By name, values that were given as NAME=VALUE in TOML."""
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        try:
            if not equals:
                raise InputError("there is no =")
            try:
                found[name] = parse_toml(f"value = {value}")["value"]
            except tomllib.TOMLDecodeError:
                if option == "--grid" or not value.replace("-", "").isalnum():
                    raise
                found[name] = value  # a bare word is a text
        except ValueError as error:
            example = "lr=[0.05, 0.1]" if option == "--grid" else "steps=256"
            raise InputError(
                f'{option} is "{text}", which cannot be read ({error}); expected such as "{example}".'
            ) from error
    return found


def seeds_of(text: str) -> list[int]:
    """Seeds from what was given, such as 0-4 or 0,3,8."""
    seeds: list[int] = []
    try:
        for part in text.split(","):
            first, _, last = part.strip().partition("-")
            seeds += range(int(first), int(last or first) + 1)
    except ValueError as error:
        raise InputError(f'seeds is "{text}"; expected such as "0-4" or "0,3,8".') from error
    return seeds
