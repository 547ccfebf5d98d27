"""What a page of results says, apart from how it looks: written beside the results, so that the page can be made again from them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from captum_proto._utils.errors import InputError, MissingFileError
from captum_proto._utils.files import whole_file

#: The description of a page, in the folder of the results it tells of.
PAGE = "page.json"


@dataclass(frozen=True)
class Picture:
    """
    An image file of the folder.

    Attributes:
        path (str): Relative to the folder, with "/" between its parts.
        caption (str): Beneath it; also its text for those who do not see it.
        small (bool): Whether it is one of many of a size, such as prototypes, rather than a figure as wide as the page.
    """

    path: str
    caption: str
    small: bool = True


@dataclass(frozen=True)
class Table:
    """
    Figures in rows.

    Attributes:
        header (list[str]): The names of the columns.
        rows (list[list[str]]): As they are to be read, rounded, with units and intervals.
        caption (str): What they say.
    """

    header: list[str]
    rows: list[list[str]]
    caption: str = ""


@dataclass(frozen=True)
class Curves:
    """
    A value for each layer, prototypes and controls in the same axes.

    Attributes:
        comparison (str): A saved :class:`~captum_proto.PathComparison`, relative to the folder.
        caption (str): What they say.
        more (list[str]): Further ones, of other classes: the curves are then means over all their images.
    """

    comparison: str
    caption: str = ""
    more: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Verdict:
    """
    One figure beside what was expected of it.

    Attributes:
        name (str): Of the figure.
        measured (str): With its interval or spread.
        expected (str): The paper's value, or the goal. Empty: none.
        difference (str): Of the two. Empty: none.
        passed (bool, optional): Whether the expectation is met. None: it is no matter of passing.
        note (str): What has to be read with it, such as which controls pass as well. Empty: nothing.
    """

    name: str
    measured: str
    expected: str = ""
    difference: str = ""
    passed: bool | None = None
    note: str = ""


@dataclass
class Section:
    """A part of a page; whatever is empty does not appear."""

    title: str
    text: list[str] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    curves: list[Curves] = field(default_factory=list)
    files: list[str] = field(default_factory=list)


@dataclass
class Page:
    """
    Attributes:
        title (str): Of the page.
        summary (list[str]): Sentences at its top: what was found.
        sections (list[Section]): In their order.
        settings (dict): Everything that is needed to make the results again. JSON.
        failures (list[str]): A sentence for each thing that failed, was skipped or could not be done.
    """

    title: str
    summary: list[str] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def save(self, folder: Path) -> None:
        """Write the description into the folder of the results."""
        with whole_file(folder / PAGE, overwrite=True) as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Page:
        """
        What :meth:`save` wrote.

        Raises:
            FileNotFoundError: If the folder holds no description of a page.
            ValueError: If it is damaged.
        """
        path = folder / PAGE
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            sections = [
                Section(
                    **{
                        **section,
                        "verdicts": [Verdict(**one) for one in section["verdicts"]],
                        "pictures": [Picture(**one) for one in section["pictures"]],
                        "tables": [Table(**one) for one in section["tables"]],
                        "curves": [Curves(**one) for one in section["curves"]],
                    }
                )
                for section in content.pop("sections")
            ]
            return cls(sections=sections, **content)
        except FileNotFoundError as error:
            raise MissingFileError(
                f'"{folder}" holds no {PAGE}; give the folder of a finished captum-proto command.'
            ) from error
        except (OSError, json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f'"{path}" is damaged ({error}); run the command that wrote it again.') from error


__all__ = ["PAGE", "Curves", "Page", "Picture", "Section", "Table", "Verdict"]
