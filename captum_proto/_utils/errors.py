"""
Errors that are the user's to mend: each message is one sentence that says what was given, what is expected and what to do.

Every class is also the built-in exception that Python code expects in its place, so ``except ValueError`` goes on to work. The command
line turns these into sentences; anything else is a bug, and stays a traceback.
"""

from __future__ import annotations

__all__ = [
    "CaptumProtoError",
    "InputError",
    "InputTypeError",
    "MemoryLimitError",
    "MissingFileError",
    "MissingPackageError",
    "NotAFolderError",
    "OccupiedError",
    "StateError",
    "UnreadableImageError",
    "WriteError",
]


class CaptumProtoError(Exception):
    """Base class of the package's own errors."""


class InputError(CaptumProtoError, ValueError):
    """A value, a model or a file cannot be used as it is."""


class UnreadableImageError(InputError):
    """
    A file is not an image that can be read.

    Attributes:
        path (str): The file.
        reason (str): Why it cannot be read: part of a sentence, without a period.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return f'"{self.path}" cannot be read: {self.reason}.'


class InputTypeError(CaptumProtoError, TypeError):
    """Something is of the wrong type."""


class MemoryLimitError(CaptumProtoError, MemoryError):
    """Not even one image at a time fits into memory, or into the memory budget."""


class StateError(CaptumProtoError, RuntimeError):
    """A method was called before what it needs was there."""


class MissingPackageError(CaptumProtoError, ImportError):
    """An optional package is not installed."""


class MissingFileError(CaptumProtoError, FileNotFoundError):
    """There is no such file or folder."""


class NotAFolderError(CaptumProtoError, NotADirectoryError):
    """A file was given in place of a folder."""


class OccupiedError(CaptumProtoError, FileExistsError):
    """A file or a folder is in the way, or in use."""


class WriteError(CaptumProtoError, OSError):
    """A file cannot be written, read or fetched."""
