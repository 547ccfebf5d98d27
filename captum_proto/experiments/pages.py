"""The last thing a command writes: the page of its results."""

from __future__ import annotations

from pathlib import Path

from captum_proto.report.page import Page


def finish(page: Page, folder: Path) -> None:
    """Write a page into the folder of its results."""
    page.save(folder)
