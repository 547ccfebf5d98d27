"""What a page says survives the disk, and what is no page is refused in a sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from captum_proto.report.blocks import Block, Curves, Files, Paragraphs, Picture, Pictures, Table, Verdict, Verdicts
from captum_proto.report.page import Page, Section
from captum_proto.runs.folder import PAGE


def blocks() -> list[Block]:
    """One of every kind."""
    return [
        Paragraphs(["one", "two"]),
        Verdicts([Verdict("n", "1", "2", "−1", False, "a gray square passes too"), Verdict("m", "1")]),
        Pictures([Picture("a/b.png", "caption"), Picture("c.png", "wide", small=False)]),
        Table(["a", "b"], [["x", "1"]], "caption", conditions=True),
        Curves("comparison.safetensors", "caption", ["other.safetensors"]),
        Files(["a.csv"]),
    ]


def test_a_page_comes_back_as_it_was(tmp_path: Path) -> None:
    sections = [Section("Möwe </script>", blocks()), Section("empty")]
    page = Page("title", ["found"], sections, {"seed": 0, "list": [1, None]}, ["failed"], ["left out"])
    page.save(tmp_path)
    assert Page.load(tmp_path) == page
    Page("another").save(tmp_path)  # a page is replaced without asking: it is made from the results, which are not
    assert Page.load(tmp_path) == Page("another")
    content = json.loads((tmp_path / PAGE).read_text())
    del content["left_out"]  # pages of earlier versions know nothing of it
    (tmp_path / PAGE).write_text(json.dumps(content))
    assert Page.load(tmp_path) == Page("another")


def test_the_files_of_a_page_are_seen_from_a_folder_above() -> None:
    page = Page("title", sections=[Section("s", blocks())])
    files = ["a/b.png", "c.png", "comparison.safetensors", "other.safetensors", "a.csv"]
    assert page.files() == files
    above = page.within("sub/folder")
    assert above.files() == [f"sub/folder/{path}" for path in files]
    assert page.files() == files
    (section,) = above.sections
    assert section.of(Pictures)[0].pictures[1] == Picture("sub/folder/c.png", "wide", small=False)
    assert section.of(Paragraphs) == [Paragraphs(["one", "two"])]


def test_a_page_of_another_version_is_refused(tmp_path: Path) -> None:
    Page("title").save(tmp_path)
    content = json.loads((tmp_path / PAGE).read_text())
    for changed in ({**content, "format": 4}, {key: value for key, value in content.items() if key != "format"}):
        (tmp_path / PAGE).write_text(json.dumps(changed))
        with pytest.raises(
            ValueError, match=r"page\.json\" cannot be read: it has format [14], this version reads 2 and 3; run"
        ):
            Page.load(tmp_path)


def test_an_unknown_block_is_named(tmp_path: Path) -> None:
    content = {"format": 2, "title": "t", "sections": [{"title": "s", "blocks": [{"kind": "hologram"}]}]}
    (tmp_path / PAGE).write_text(json.dumps(content))
    with pytest.raises(ValueError, match='no block of the kind "hologram"; import the module that defines it'):
        Page.load(tmp_path)


def test_no_page_and_damaged_pages_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"holds no page\.json; give the folder of a finished"):
        Page.load(tmp_path)
    for damaged in (
        "",
        "{",
        "[]",
        "null",
        '{"format": 2, "title": "t"}',
        '{"format": 2, "title": "t", "sections": [{"title": "s"}]}',
        '{"format": 2, "title": "t", "sections": [], "no": 1}',
        '{"format": 2, "title": "t", "sections": [{"title": "s", "blocks": [{"kind": "files"}]}]}',
        '{"format": 2, "title": "t", "sections": [{"title": "s", "blocks": [{"kind": "files", "paths": "a"}]}]}',
    ):
        (tmp_path / PAGE).write_text(damaged)
        with pytest.raises(ValueError, match=r"page\.json\" is damaged .*; run the command that wrote it again"):
            Page.load(tmp_path)
