"""The grid of a sweep: which combinations of arguments of generate there are, for which models, classes and seeds."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from captum_proto._utils.checks import nearest, plain_int
from captum_proto._utils.errors import InputError
from captum_proto.attr import GenerationSettings
from captum_proto.experiments.options import generation_options

#: The paper's 125 protocols of affine transforms (arXiv:2309.17144, appendix; Table 4 has the best of them).
PAPER_PROTOCOLS: dict[str, list[Any]] = {
    "scale": ["none", [0.9, 1.1], [0.8, 1.2], [0.7, 1.3], [0.5, 1.5]],
    "degrees": ["none", 30, 60, 90, 180],
    "translate": ["none", 0.05, 0.1, 0.2, 0.5],
}


@dataclass(frozen=True)
class Sweep:
    """
    A grid over the arguments of generate, for some models, classes and seeds.

    Args:
        models (list[str]): Names of models.
        targets (list[str]): Classes or superclasses, as :func:`~captum_proto._utils.class_names.parse_classes` reads them.
        seeds (list[int]): Of each combination and class.
        fixed (dict): Arguments of generate that are the same everywhere, as
            :func:`~captum_proto.experiments.options.generation_options` reads them.
        grid (dict[str, list]): Values of arguments, of which every combination is made.
        settings (dict[str, dict]): Arguments that belong together, by the name under which a table shows them; each is combined with the
            whole grid. Empty: a single one that changes nothing.
        names (dict[str, str]): What tables call a target. Empty: by its classes.

    Raises:
        ValueError: If something is empty, twice there, or unknown.
    """

    models: list[str]
    targets: list[str]
    seeds: list[int]
    fixed: dict[str, Any] = field(default_factory=dict)
    grid: dict[str, list[Any]] = field(default_factory=dict)
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.seeds, list):
            object.__setattr__(self, "seeds", [plain_int(seed) for seed in self.seeds])
        for name, kind, words in (
            ("models", str, "texts"),
            ("targets", str, 'texts, such as "3", "151-268" or a name'),
            ("seeds", int, "whole numbers"),
        ):
            values = getattr(self, name)
            if not isinstance(values, list) or not values:
                raise InputError(f"{name} is {values!r}; expected a list with at least one entry.")
            if not all(isinstance(value, kind) and not isinstance(value, bool) for value in values):
                raise InputError(f"{name} is {values!r}; expected {words}.")
            if len(set(values)) < len(values):
                raise InputError(f"{name} is {values!r}, which holds an entry twice; leave one out.")
        for name in _TABLES:
            if not isinstance(getattr(self, name), Mapping):
                raise InputError(f"{name} is {getattr(self, name)!r}; expected a table of arguments of generate.")
        for name, values in self.grid.items():
            if not isinstance(values, list) or not values:
                raise InputError(f"the grid of {name} is {values!r}; expected a list with at least one value.")
        for name, value in self.settings.items():
            if not isinstance(value, dict):
                raise InputError(f'the settings "{name}" are {value!r}; expected a table of arguments.')
        for combination in self.combinations():
            GenerationSettings(**combination.options())

    def combinations(self) -> list[Combination]:
        """Every combination, in the order of the grid, its last argument running fastest."""
        found = []
        for name, settings in (self.settings or {"": {}}).items():
            for values in itertools.product(*self.grid.values()):
                varied = dict(zip(self.grid, values, strict=True))
                words = [name] if name else []
                words += [f"{argument} {_short(value)}" for argument, value in varied.items()]
                found.append(Combination(", ".join(words) or "as it is", {**self.fixed, **settings, **varied}))
        return found

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Combination:
    """
    One choice of all arguments.

    Attributes:
        name (str): In a table.
        values (dict): By argument, as a TOML file holds them.
    """

    name: str
    values: dict[str, Any]

    @property
    def measured(self) -> bool:
        """Whether the magnitudes of its :class:`~captum_proto.optim.PhaseImage` are to be measured on natural images."""
        parametrization = self.values.get("parametrization")
        return isinstance(parametrization, Mapping) and parametrization.get("magnitudes") == "measured"

    def options(self, image_shape: tuple[int, ...] | None = None) -> dict[str, Any]:
        """
        Keyword arguments of generate; magnitudes that are to be measured are left out.

        Args:
            image_shape (tuple[int, ...], optional): (C, H, W) of the images. Default: None, not known yet

        Raises:
            ValueError: If magnitudes are to be measured that something else is to determine too.
        """
        values = dict(self.values)
        if self.measured:
            rest = {name: value for name, value in values["parametrization"].items() if name != "magnitudes"}
            beside = [name for name in rest if name not in ("name", "decorrelate", "coarse_to_fine", "half_size")]
            if beside or rest.get("name") != "phase":
                raise InputError(
                    f'parametrization has magnitudes = "measured" beside {", ".join(beside) or rest.get("name")}; measured magnitudes are '
                    'all there is to the spectrum of "phase": name that, with nothing but decorrelate, coarse_to_fine and half_size '
                    "beside it."
                )
            values["parametrization"] = rest
        return generation_options(values, image_shape)


def _short(value: Any) -> str:
    """A value in the name of a combination."""
    if isinstance(value, Mapping):
        return " ".join(
            str(value.get("name", "")).split()
            + [f"{name}={_short(part)}" for name, part in value.items() if name != "name"]
        )
    if isinstance(value, (list, tuple)):
        return "–".join(map(_short, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


#: Arguments that are tables.
_TABLES = ("fixed", "grid", "settings")
#: What a TOML file may hold beside the tables of arguments, and what it is called here.
_KEYS = {
    "model": "models",
    "target": "targets",
    "seeds": "seeds",
    "fixed": "fixed",
    "grid": "grid",
    "settings": "settings",
}


def sweep_from_tables(tables: Mapping[str, Any], others: Iterable[str] = ()) -> tuple[dict[str, Any], dict[str, Any]]:
    """
    The arguments of a :class:`Sweep`, and the other entries, of a TOML file that was read.

    Raises:
        ValueError: If there is an entry that is neither, or a table is something else.
    """
    arguments: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    known = [*_KEYS, *others]
    for key, value in tables.items():
        if key == "target" and isinstance(value, Mapping):  # a name for each
            arguments["targets"] = list(value.values())
            arguments["names"] = {text: name for name, text in value.items() if isinstance(text, str)}
        elif key in _KEYS:
            listed = key in ("model", "target") and isinstance(value, str)
            if key in _TABLES and not isinstance(value, Mapping):
                raise InputError(f"{key} is {value!r}; expected a table of arguments of generate.")
            arguments[_KEYS[key]] = [value] if listed else value
        elif key in others:
            rest[key] = value
        else:
            raise InputError(
                f'the sweep file has an entry "{key}"{nearest(key, known) or "; expected some of " + ", ".join(known) + "."}'
            )
    return arguments, rest
