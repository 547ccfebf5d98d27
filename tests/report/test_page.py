"""What a page says survives the disk, and what is no page is refused in a sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from captum_proto.report.page import PAGE, Curves, Page, Picture, Section, Table, Verdict


def test_a_page_comes_back_as_it_was(tmp_path: Path) -> None:
    section = Section(
        "Möwe </script>",
        text=["one", "two"],
        verdicts=[Verdict("n", "1", "2", "−1", False, "a gray square passes too"), Verdict("m", "1")],
        pictures=[Picture("a/b.png", "caption"), Picture("c.png", "wide", small=False)],
        tables=[Table(["a", "b"], [["x", "1"]], "caption")],
        curves=[Curves("comparison.safetensors", "caption", ["other.safetensors"])],
        files=["a.csv"],
    )
    page = Page("title", ["found"], [section, Section("empty")], {"seed": 0, "list": [1, None]}, ["failed"])
    page.save(tmp_path)
    assert Page.load(tmp_path) == page
    Page("another").save(tmp_path)  # a page is replaced without asking: it is made from the results, which are not
    assert Page.load(tmp_path) == Page("another")


def test_a_page_written_before_notes_and_means_were_is_read(tmp_path: Path) -> None:
    section = {"title": "s", "text": [], "pictures": [], "tables": [], "files": []}
    section["verdicts"] = [{"name": "n", "measured": "1", "expected": "", "difference": "", "passed": None}]
    section["curves"] = [{"comparison": "c.safetensors", "caption": ""}]
    page = {"title": "t", "summary": [], "sections": [section], "settings": {}, "failures": []}
    (tmp_path / PAGE).write_text(json.dumps(page))
    (loaded,) = Page.load(tmp_path).sections
    assert loaded.verdicts == [Verdict("n", "1")]
    assert loaded.curves == [Curves("c.safetensors")]


def test_no_page_and_damaged_pages_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"holds no page\.json; give the folder of a finished"):
        Page.load(tmp_path)
    for damaged in (
        "",
        "{",
        "[]",
        "null",
        '{"title": "t"}',
        '{"sections": [{"title": "s"}]}',
        '{"sections": [], "no": 1}',
    ):
        (tmp_path / PAGE).write_text(damaged)
        with pytest.raises(ValueError, match=r"page\.json\" is damaged .*; run the command that wrote it again"):
            Page.load(tmp_path)
