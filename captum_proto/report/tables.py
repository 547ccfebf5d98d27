"""Summaries as files."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields

from captum_proto._utils.files import whole_file
from captum_proto.metrics.comparison import GroupSummary


def save_summaries(
    summaries: Mapping[str, Sequence[GroupSummary]], path: str | os.PathLike[str], overwrite: bool = False
) -> None:
    """
    Write rows of a table as CSV, one block for each class.

    Args:
        summaries (mapping[str, sequence of GroupSummary]): By the name of the class.
        path (path): The file.
        overwrite (bool, optional): Whether an existing file may be replaced. Default: False
    """
    names = [field.name for field in fields(GroupSummary)]
    with whole_file(path, overwrite) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["class", *names])
        for label, rows in summaries.items():
            for row in rows:
                writer.writerow([label, *asdict(row).values()])
