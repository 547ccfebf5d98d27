"""Documentation that is written once: the entries of a class's ``Args`` section, for the signature and the options made from it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])

_ENTRY = re.compile(r"(?P<name>\w+) \((?P<kind>.*?)\): (?P<text>.*)", re.DOTALL)


def documented_arguments(owner: type) -> dict[str, str]:
    """
    The entries of the ``Args`` section of a class's docstring, each as it is written, without its indentation.

    Args:
        owner (type): A class whose docstring has Captum's form.

    Returns:
        dict[str, str]: By the name of the argument. Empty where Python runs without docstrings.
    """
    lines = inspect.cleandoc(owner.__doc__ or "").splitlines()
    if "Args:" not in lines:
        return {}
    entries: dict[str, list[str]] = {}
    name = ""
    for line in lines[lines.index("Args:") + 1 :]:
        if line and not line.startswith("    "):
            break
        if line.startswith("    ") and not line.startswith("     "):
            name = line.strip().partition(" ")[0]
        if name:
            entries.setdefault(name, []).append(line[4:])
    return {name: "\n".join(text).rstrip() for name, text in entries.items()}


def summary_of(entry: str) -> str:
    """The first sentence of an entry, on one line, as the help of an option."""
    match = _ENTRY.match(entry)
    text = " ".join((match["text"] if match else entry).split())
    text = re.sub(r":\w+:`~?([^`<]*?)(?: <[^`]*>)?`", lambda found: found[1].rpartition(".")[2], text).replace("``", "")
    sentence = re.split(r"(?<=[^.\d])\.(?:\s|$)|(?<=\d)\.\s(?=[A-Z])", text)[0]
    return sentence[:1].lower() + sentence[1:] if not sentence[:2].isupper() else sentence


def documented_by(owner: type, line: str) -> Callable[[Function], Function]:
    """
    Put the documentation of a class's fields into a function's docstring, where the function takes them as keyword arguments.

    Args:
        owner (type): The class.
        line (str): How the line begins whose place the entries take.
    """

    def decorate(function: Function) -> Function:
        entries = documented_arguments(owner)
        if function.__doc__ and entries:
            written = function.__doc__.splitlines()
            place = next(i for i, text in enumerate(written) if text.strip().startswith(line))
            indent = written[place][: len(written[place]) - len(written[place].lstrip())]
            inserted = [indent + text if text else "" for entry in entries.values() for text in entry.splitlines()]
            function.__doc__ = "\n".join([*written[:place], *inserted, *written[place + 1 :]])
        return function

    return decorate
