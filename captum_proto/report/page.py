"""What a page of results says, apart from how it looks: written beside the results, so that the page can be made again from them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from captum_proto._utils.errors import InputError, MissingFileError
from captum_proto._utils.reading import read_json
from captum_proto.report.block import Block
from captum_proto.runs.files import write_json
from captum_proto.runs.folder import PAGE

#: Of the description: what it is made of changes with it. Pages of the format before have nothing that this one does not read.
FORMAT, READABLE = 3, (2, 3)
_Kind = TypeVar("_Kind", bound=Block)


@dataclass
class Section:
    """
    A part of a page.

    Attributes:
        title (str): Its heading.
        blocks (list[Block]): In the order in which they are read; what is empty does not appear.
        shown (int, optional): So many of the blocks are seen at once; the others unfold. None: all are seen. Default: None

    Examples::

        >>> from captum_proto.report.blocks import Files, Paragraphs
        >>> section = Section("Ranking", [Paragraphs(["Three combinations."]), Files(["ranking.csv"])])
        >>> section.within("sweep").of(Files)
        [Files(paths=['sweep/ranking.csv'])]
    """

    title: str
    blocks: list[Block] = field(default_factory=list)
    shown: int | None = None

    def of(self, kind: type[_Kind]) -> list[_Kind]:
        """The blocks of one kind."""
        return [block for block in self.blocks if isinstance(block, kind)]

    def within(self, folder: str) -> Section:
        """The same section on a page one folder or more above: its files are seen from there."""
        return replace(self, blocks=_within(self.blocks, folder))


@dataclass
class Page:
    """
    A page of results. Its first screen is for who was told nothing: pictures, what they are, and whether they can be trusted.

    Attributes:
        title (str): Of the page.
        summary (list[str]): What was found: the first sentence is seen at once and says what the pictures are, the others unfold.
        sections (list[Section]): In their order.
        settings (dict): Everything that is needed to make the results again. JSON.
        failures (list[str]): A sentence for each thing that was asked for and failed, was skipped or could not be done.
        left_out (list[str]): A sentence for each thing that was not asked for, and what it would take.
        lead (list[Block]): Pictures, above everything else.
        legend (list[str]): What the words beneath these pictures mean.
        trust (str): Whether what was found can be trusted, with the most important reason. Empty: there is nothing to trust.
    """

    title: str
    summary: list[str] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    lead: list[Block] = field(default_factory=list)
    legend: list[str] = field(default_factory=list)
    trust: str = ""

    @property
    def blocks(self) -> list[Block]:
        """All blocks, in their order."""
        return [*self.lead, *(block for section in self.sections for block in section.blocks)]

    def files(self) -> list[str]:
        """The files that the page refers to, relative to its folder."""
        return list(dict.fromkeys(path for block in self.blocks for path in block.files()))

    def within(self, folder: str) -> Page:
        """The same page seen from one folder or more above."""
        sections = [section.within(folder) for section in self.sections]
        return replace(self, sections=sections, lead=_within(self.lead, folder))

    def save(self, folder: Path) -> None:
        """Write the description into the folder of the results."""
        sections = [{**vars(section), "blocks": _to_json(section.blocks)} for section in self.sections]
        content = {"format": FORMAT, **vars(self), "sections": sections, "lead": _to_json(self.lead)}
        write_json(folder / PAGE, content, overwrite=True)

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
            content = read_json(path)
            found = content.pop("format", 1)
            if found not in READABLE:
                raise InputError(f"it has format {found}, this version reads {' and '.join(map(str, READABLE))}")
            sections = [
                Section(section["title"], _from_json(section["blocks"]), section.get("shown"))
                for section in content.pop("sections")
            ]
            for name, kind in (("title", str), ("summary", list), ("settings", dict), ("failures", list)):
                if not isinstance(content.get(name), kind):
                    raise TypeError(f"{name} is {content.get(name)!r}")
            for name, kind in (("left_out", list), ("legend", list), ("trust", str)):  # not in every format
                if not isinstance(content.get(name, kind()), kind):
                    raise TypeError(f"{name} is {content[name]!r}")
            return cls(sections=sections, lead=_from_json(content.pop("lead", [])), **content)
        except FileNotFoundError as error:
            raise MissingFileError(
                f'"{folder}" holds no {PAGE}; give the folder of a finished captum-proto command.'
            ) from error
        except InputError as error:
            raise InputError(f'"{path}" cannot be read: {error}; run the command that wrote it again.') from error
        except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError) as error:
            raise InputError(f'"{path}" is damaged ({error}); run the command that wrote it again.') from error


def _within(blocks: list[Block], folder: str) -> list[Block]:
    return [block.within(folder) for block in blocks]


def _to_json(blocks: list[Block]) -> list[dict[str, Any]]:
    return [block.to_json() for block in blocks]


def _from_json(blocks: list[dict[str, Any]]) -> list[Block]:
    return [Block.from_json(block) for block in blocks]


__all__ = ["FORMAT", "Page", "Section"]
