"""All readers, one file a group; a group is imported when one of its readers is asked for."""

from __future__ import annotations

from importlib import import_module

from target import Reader

GROUPS = ("images", "tables", "tensors", "descriptions", "runs")


def readers(group: str) -> list[Reader]:
    found: list[Reader] = import_module(f"readers_{group}").READERS
    return found
