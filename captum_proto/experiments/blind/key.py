"""The key of a blind test: which picture is of which class, and how it was made."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from captum_proto._utils.errors import InputError, MissingFileError
from captum_proto._utils.files import intact
from captum_proto._utils.reading import read_json
from captum_proto.metrics.blind_test import BlindClasses, BlindPicture
from captum_proto.runs.files import write_json

KEY = "blind_key.json"
_KIND = "key of a blind test"


@dataclass(frozen=True)
class KeyPicture:
    """
    A picture of a form.

    Args:
        number (int): By which the form calls it, from 1.
        label (str): The name of its class; empty for none.
        method (str): How it was made.
        source (str): The file that it was made from.
        sha256 (str): Of that file.
        picture (str): What the form shows, relative to the folder of the key.
        choices (list[str]): What the form offers for this picture; empty: all names. Default: empty
    """

    number: int
    label: str
    method: str
    source: str
    sha256: str
    picture: str
    choices: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class BlindKey:
    """
    What the form of a blind test does not tell.

    Args:
        form (str): What the form is called: a digest of what it shows, which the files of answers repeat.
        question (str): That it asks.
        pictures (list[KeyPicture]): In the order of their numbers.
        names (list[str]): Of the classes that an answer may be, in alphabetical order.
        groups (dict[str, str]): The group of each class, as far as there are groups.
        listed (bool): Whether the form offers the names.
    """

    form: str
    question: str
    pictures: list[KeyPicture]
    names: list[str]
    groups: dict[str, str] = field(default_factory=dict)
    listed: bool = True

    def classes(self, synonyms: dict[str, str] | None = None) -> BlindClasses:
        """The names that answers may be."""
        return BlindClasses(self.names, self.groups, self.listed, synonyms or {})

    def blind_pictures(self) -> list[BlindPicture]:
        """The pictures, as answers are judged by them."""
        return [BlindPicture(one.number, one.label, one.method, tuple(one.choices)) for one in self.pictures]

    def save(self, path: Path, overwrite: bool = False) -> None:
        """Write it as JSON."""
        write_json(path, {"kind": _KIND, **asdict(self)}, overwrite)

    @classmethod
    def load(cls, path: Path) -> BlindKey:
        """
        What :meth:`save` wrote.

        Raises:
            MissingFileError: If there is no such file.
            InputError: If it is damaged, or something else.
        """
        if not path.is_file():
            raise MissingFileError(
                f'there is no key "{path}"; give the folder that captum-proto blind wrote the form to, with its {path.name}.'
            )
        try:
            content = read_json(path)
        except (OSError, ValueError) as error:
            raise InputError(f'"{path}" is damaged: it is not JSON ({error}); make the form again.') from error
        kind = content.pop("kind", None) if isinstance(content, dict) else None
        if kind != _KIND:
            raise InputError(f'"{path}" holds {kind or "something else"}; expected the {_KIND}.')
        with intact(path, _KIND):
            pictures = [KeyPicture(**picture) for picture in content.pop("pictures")]
            if [one.number for one in pictures] != list(range(1, len(pictures) + 1)):
                raise ValueError("its pictures are not numbered from 1 in their order")
            key = cls(pictures=pictures, **content)
            key.classes()
        return key

    def settings(self) -> dict[str, Any]:
        """What answers are scored by, as JSON can hold it."""
        return {"form": self.form, "names": self.names, "groups": self.groups, "listed": self.listed}


__all__ = ["KEY", "BlindKey", "KeyPicture"]
