"""What a page of results says, apart from how it looks: written beside the results, so that the page can be made again from them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from captum_proto._utils.errors import InputError, MissingFileError
from captum_proto.report.block import Block
from captum_proto.runs.files import write_json
from captum_proto.runs.folder import PAGE

#: Of the description: what it is made of changes with it.
FORMAT = 2
_Kind = TypeVar("_Kind", bound=Block)


@dataclass
class Section:
    """
    A part of a page.

    Attributes:
        title (str): Its heading.
        blocks (list[Block]): In the order in which they are read; what is empty does not appear.

    Examples::

        >>> from captum_proto.report.blocks import Files, Paragraphs
        >>> section = Section("Ranking", [Paragraphs(["Three combinations."]), Files(["ranking.csv"])])
        >>> section.within("sweep").of(Files)
        [Files(paths=['sweep/ranking.csv'])]
    """

    title: str
    blocks: list[Block] = field(default_factory=list)

    def of(self, kind: type[_Kind]) -> list[_Kind]:
        """The blocks of one kind."""
        return [block for block in self.blocks if isinstance(block, kind)]

    def within(self, folder: str) -> Section:
        """The same section on a page one folder or more above: its files are seen from there."""
        return Section(self.title, [block.within(folder) for block in self.blocks])


@dataclass
class Page:
    """
    A page of results.

    Attributes:
        title (str): Of the page.
        summary (list[str]): Sentences at its top: what was found.
        sections (list[Section]): In their order.
        settings (dict): Everything that is needed to make the results again. JSON.
        failures (list[str]): A sentence for each thing that was asked for and failed, was skipped or could not be done.
        left_out (list[str]): A sentence for each thing that was not asked for, and what it would take.
    """

    title: str
    summary: list[str] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    @property
    def blocks(self) -> list[Block]:
        """The blocks of all sections."""
        return [block for section in self.sections for block in section.blocks]

    def files(self) -> list[str]:
        """The files that the page refers to, relative to its folder."""
        return [path for block in self.blocks for path in block.files()]

    def within(self, folder: str) -> Page:
        """The same page seen from one folder or more above."""
        return replace(self, sections=[section.within(folder) for section in self.sections])

    def save(self, folder: Path) -> None:
        """Write the description into the folder of the results."""
        sections = [
            {"title": section.title, "blocks": [block.to_json() for block in section.blocks]}
            for section in self.sections
        ]
        write_json(folder / PAGE, {"format": FORMAT, **vars(self), "sections": sections}, overwrite=True)

    @classmethod
    def load(cls, folder: Path) -> Page:
        """
        What :meth:`save` wrote.

        Raises:
            FileNotFoundError: If the folder holds no description of a page.
            ValueError: If it is damaged, or of another version.
        """
        path = folder / PAGE
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            found = content.pop("format", 1)
            if found != FORMAT:
                raise InputError(f"it has format {found}, this version reads {FORMAT}")
            sections = [
                Section(section["title"], [Block.from_json(block) for block in section["blocks"]])
                for section in content.pop("sections")
            ]
            for name, kind in (("title", str), ("summary", list), ("settings", dict), ("failures", list)):
                if not isinstance(content.get(name), kind):
                    raise TypeError(f"{name} is {content.get(name)!r}")
            return cls(sections=sections, **content)
        except FileNotFoundError as error:
            raise MissingFileError(
                f'"{folder}" holds no {PAGE}; give the folder of a finished captum-proto command.'
            ) from error
        except InputError as error:
            raise InputError(f'"{path}" cannot be read: {error}; run the command that wrote it again.') from error
        except (OSError, json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f'"{path}" is damaged ({error}); run the command that wrote it again.') from error


__all__ = ["FORMAT", "Page", "Section"]
