"""What of a command line says what is made: all but where to, and what to do with what is there."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

#: Options that change no result, with the number of their values.
_WITHOUT = {
    "--out": 1,
    "--overwrite": 0,
    "--resume": 0,
    "--no-progress": 0,
    "--shard": 1,
    "--memory-budget": 1,
    "--snapshot-every": 1,
    "--debug": 0,
}


def recorded_arguments(parser: argparse.ArgumentParser, command: str, given: Sequence[str]) -> list[str]:
    """
    A command line without options that change no result: equal for equal results, as far as a command line can tell.

    Args:
        parser (ArgumentParser): Of captum-proto.
        command (str): Which of its commands was given.
        given (sequence of str): All that follows ``captum-proto``.

    Returns:
        list[str]: To which ``--out`` and ``--resume`` can be added.
    """
    (commands,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    known = [*commands.choices[command]._option_string_actions, *parser._option_string_actions]
    kept: list[str] = []
    rest = list(given)
    while rest:
        token = rest.pop(0)
        if token == "--":
            return [*kept, token, *rest]
        name, _, value = token.partition("=")
        meant = _meant(name, known) if name.startswith("--") else name
        if meant not in _WITHOUT:
            kept.append(token)
        elif not value:
            del rest[: _WITHOUT[meant]]
    return kept


def _meant(name: str, known: Sequence[str]) -> str:
    """The option that an abbreviation stands for, as argparse takes it."""
    beginning = [option for option in known if option.startswith(name)]
    return beginning[0] if name not in known and len(beginning) == 1 else name


__all__ = ["recorded_arguments"]
