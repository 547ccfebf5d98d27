"""The results of a comparison of methods, and their files."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from captum_proto._utils.errors import MissingFileError
from captum_proto._utils.files import intact
from captum_proto._utils.reading import read_json
from captum_proto.metrics.quality import QualityTable
from captum_proto.metrics.quality_tests import QualityTest, lines_of_tests, power_note, quality_tests, verdicts
from captum_proto.runs.files import write_json, write_rows, write_text

RESULTS, FIGURES, TESTS, TEXT = "quality.json", "quality.csv", "tests.csv", "quality.txt"


@dataclass(frozen=True)
class QualityResult:
    """
    Every measure of every method.

    Attributes:
        model (str): That the pictures were made with.
        verifiers (list[str]): Other networks that they were shown to.
        tables (list[QualityTable]): One for each part of the classes.
    """

    model: str
    verifiers: list[str]
    tables: list[QualityTable]

    @cached_property
    def tests(self) -> list[list[QualityTest]]:
        """Each method against every other row, for each table."""
        return [quality_tests(table) for table in self.tables]

    def table(self) -> str:
        """All tables as text, each with what its tests say."""
        parts = []
        for table, tests in zip(self.tables, self.tests, strict=True):
            parts += [table.table(), *verdicts(table, tests), power_note(tests)]
        return "\n\n".join(filter(None, parts))

    def write(self, folder: Path) -> None:
        """Write the tables as JSON, CSV and text, and the tests as CSV."""
        content = {
            "model": self.model,
            "verifiers": self.verifiers,
            "tables": [table.to_json() for table in self.tables],
        }
        write_json(folder / RESULTS, content, overwrite=True, indent=1)
        lines = [table.lines() for table in self.tables]
        write_rows(folder / FIGURES, lines[0][0], [row for _, rows in lines for row in rows])
        tested = [lines_of_tests(table.title, tests) for table, tests in zip(self.tables, self.tests, strict=True)]
        write_rows(folder / TESTS, tested[0][0], [row for _, rows in tested for row in rows])
        write_text(folder / TEXT, self.table(), overwrite=True)

    @classmethod
    def load(cls, folder: Path) -> QualityResult:
        """
        What :meth:`write` wrote.

        Raises:
            FileNotFoundError: If the folder has no results.
            ValueError: If they are damaged.
        """
        path = folder / RESULTS
        if not path.is_file():
            raise MissingFileError(
                f'"{folder}" holds no {RESULTS}; give the folder of a finished captum-proto quality.'
            )
        with intact(path, "table of quality"):
            content = read_json(path)
            tables = [QualityTable.from_json(each) for each in content["tables"]]
            return cls(content["model"], list(content["verifiers"]), tables)


__all__ = ["FIGURES", "RESULTS", "TESTS", "TEXT", "QualityResult"]
