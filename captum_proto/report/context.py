"""What a block may ask of its page while it is rendered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from captum_proto._utils.errors import CaptumProtoError, UnreadableImageError

#: Reading a file that is damaged, or not what its name says.
UNREADABLE = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
    CaptumProtoError,
)

Content = TypeVar("Content")


class Context:
    """
    The files of a page's folder, and where to say what is wrong with them.

    Args:
        folder (Path): Where the results are.
        blocks (sequence of Block): All blocks of the page.

    Attributes:
        failures (list[str]): A sentence for each thing that could not be shown.
        counts (Counter): Whatever a kind of block counts over the page.
        kept (dict): Whatever a kind of block keeps for the next of its kind.
    """

    def __init__(self, folder: Path, blocks: Sequence[Any]) -> None:
        self.folder, self.blocks = folder, blocks
        self.failures: list[str] = []
        self.counts: Counter[str] = Counter()
        self.kept: dict[str, Any] = {}

    def fail(self, sentence: str) -> None:
        """Say under "What failed" what could not be shown; once, however often it is said."""
        if sentence not in self.failures:
            self.failures.append(sentence)

    def file(self, path: str) -> Path | None:
        """The file of that name, if it is there and inside the folder."""
        try:
            found = (self.folder / path).resolve()
            inside, there = found.is_relative_to(self.folder.resolve()), found.exists()
        except (OSError, ValueError, RuntimeError):  # a name that no file can have, a link to itself
            inside, there = True, False
        if not inside:
            self.fail(f'"{path}" lies outside the folder of the results and is left out.')
            return None
        if not there:
            self.fail(f'"{path}" is missing from the folder of the results.')
            return None
        return found

    def read(self, path: str, what: str, load: Callable[[Path], Content]) -> Content | None:
        """
        What a file holds.

        Args:
            path (str): Relative to the folder.
            what (str): What it is, for the sentence that says that it cannot be read.
            load (Callable): Reads it.

        Returns:
            What ``load`` gives; None if the file is missing or cannot be read.
        """
        found = self.file(path)
        if found is None:
            return None
        try:
            return load(found)
        except UNREADABLE as error:
            reason = error.reason if isinstance(error, UnreadableImageError) else " ".join(str(error).split())
            self.fail(f'The {what} "{path}" cannot be read ({reason}) and is left out.')
            return None


__all__ = ["UNREADABLE", "Context"]
