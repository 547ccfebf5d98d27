"""Options of the command line from the fields of a settings dataclass, and the settings from what was given."""

from __future__ import annotations

import argparse
import types
from collections.abc import Callable, Collection
from dataclasses import Field, fields
from typing import Any, Union, get_args, get_origin, get_type_hints

from captum_proto._utils.checks import nearest
from captum_proto._utils.documentation import documented_arguments, summary_of


def name_among(known: Collection[Any]) -> Callable[[str], Any]:
    """The ``type`` of an option that takes one of some names: says which is near, also for a name that was renamed."""
    by_text = {str(name): name for name in known}

    def name(text: str) -> Any:
        if text not in by_text:
            hint = nearest(text, by_text) or f"; expected one of {', '.join(by_text)}"
            raise argparse.ArgumentTypeError(f'there is no "{text}"{hint}')
        return by_text[text]

    return name


def add_fields(group: Any, owner: type, without: Collection[str] = ()) -> None:
    """
    An option for each field of a settings dataclass, with its documentation as help. What is not given is None.

    Args:
        group (argparse group): Where options go.
        owner (type): The dataclass. A field's metadata may hold ``choices``, the names that it takes on the command line, ``metavar`` and
            ``type``.
        without (collection of str, optional): Fields that get no option. Default: none
    """
    documentation, hints = documented_arguments(owner), get_type_hints(owner)
    for field in fields(owner):
        if field.name in without:
            continue
        flag = "--" + field.name.replace("_", "-")
        what = summary_of(documentation.get(field.name, "")).removeprefix("whether ").replace("%", "%%")
        switches_off = hints[field.name] is bool and field.default is True
        if switches_off:
            flag, what = flag.replace("--", "--no-", 1), f"switch off: {what}"
        group.add_argument(flag, **_how(field, hints[field.name]), help=what)


def _how(field: Field[Any], hint: Any) -> dict[str, Any]:
    """The keyword arguments of ``add_argument`` that a field's type and metadata stand for."""
    if field.metadata.get("choices"):
        choices = field.metadata["choices"]
        return {"type": name_among(choices), "metavar": "{" + ",".join(map(str, choices)) + "}"}
    if hint is bool:
        return {"dest": field.name, "action": "store_const", "const": field.default is not True}
    kinds = [kind for kind in get_args(hint) if kind is not type(None)] if _is_union(hint) else [hint]
    if kinds == [bool]:
        return {"action": argparse.BooleanOptionalAction}
    how: dict[str, Any] = {}
    if len(kinds) == 1 and get_origin(kinds[0]) is tuple:
        parts = get_args(kinds[0])
        how = {"type": parts[0], "nargs": len(parts), "metavar": ("LOW", "HIGH")}
    elif len(kinds) == 1 and kinds[0] in (int, float):
        how = {"type": kinds[0]}
    how |= {name: field.metadata[name] for name in ("metavar", "type") if name in field.metadata}
    return how


def _is_union(hint: Any) -> bool:
    return get_origin(hint) in (Union, types.UnionType)
