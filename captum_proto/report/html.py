"""The page of a folder of results, as one HTML file that needs nothing else: no other file, no network, no JavaScript."""

from __future__ import annotations

import html
from pathlib import Path

from captum_proto._utils.files import whole_file
from captum_proto.report.page import Page

#: The page, in the folder of the results it tells of.
REPORT = "report.html"


def write_page(page: Page, folder: Path) -> Path:
    """
    Write a page into the folder of its results: its description, and the HTML file made from it.

    Args:
        page (Page): What to say. Its paths are relative to ``folder``.
        folder (Path): Where the results are.

    Returns:
        Path: The HTML file.
    """
    page.save(folder)
    return write_report(folder)


def write_report(folder: Path) -> Path:
    """
    Make the HTML file of a folder from the description of its page.

    Args:
        folder (Path): Of a finished run.

    Returns:
        Path: The HTML file.

    Raises:
        FileNotFoundError: If the folder holds no description of a page.
        ValueError: If it is damaged.
    """
    page = Page.load(folder)
    target = folder / REPORT
    with whole_file(target, overwrite=True) as temporary:
        temporary.write_text(f"<!doctype html>\n<title>{html.escape(page.title)}</title>\n", encoding="utf-8")
    return target


__all__ = ["REPORT", "write_page", "write_report"]
