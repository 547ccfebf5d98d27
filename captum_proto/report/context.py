"""What a block may ask of its page while it is rendered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image, UnidentifiedImageError

#: Reading a file that is damaged, or not what its name says.
UNREADABLE = (OSError, ValueError, KeyError, SyntaxError, Image.DecompressionBombError)

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
        found = (self.folder / path).resolve()
        if not found.is_relative_to(self.folder.resolve()):
            self.fail(f'"{path}" lies outside the folder of the results and is left out.')
            return None
        if not found.exists():
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
        except UnidentifiedImageError:  # Pillow's own words hold an address of memory, which is another one each time
            self.fail(f'The {what} "{path}" cannot be read (not an image that Pillow can read) and is left out.')
            return None
        except UNREADABLE as error:
            self.fail(f'The {what} "{path}" cannot be read ({error}) and is left out.')
            return None


__all__ = ["UNREADABLE", "Context"]
