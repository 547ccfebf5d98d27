"""The page: whole, safe whatever a name holds, readable without JavaScript, and honest about files that are not what they should be."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import math
import re
import shutil
import subprocess
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from contrast import luminance
from PIL import Image

from captum_proto import PathComparison
from captum_proto.metrics.comparison import condition_label
from captum_proto.report import blocks
from captum_proto.report.blocks import (
    Block,
    Curves,
    FilePath,
    Files,
    Gallery,
    Paragraphs,
    Picture,
    Pictures,
    Shown,
    Table,
    Verdict,
    Verdicts,
)
from captum_proto.report.context import Context
from captum_proto.report.glossary import MEANINGS
from captum_proto.report.html import render, write_page, write_report
from captum_proto.report.page import Page, Section
from captum_proto.report.templating import source_of
from captum_proto.report.views.layer_curves import CONDITION_STYLES, MEASURES
from captum_proto.runs.folder import PAGE, REPORT

HOSTILE = "</script><img src=x onerror=alert(1)>"
QUOTES = "\"'><b onmouseover='alert(1)'>&amp;"
VOID = {"meta", "img", "link", "br", "hr", "input"}


class Document(HTMLParser):
    """Elements with their attributes and the text inside them; an element that is not closed is an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
            self.texts.setdefault(tag, []).append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        for tag in set(self.open):
            self.texts[tag][-1] += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def comparison(layers: int = 24, prefix: str = "layer") -> PathComparison:
    generator = torch.Generator().manual_seed(0)
    conditions = {"prototype": 2, "same_class": 4, "other_class": 4, "gray": 1, "noise": 2, "my own": 1}
    spearman = {name: torch.rand(n, layers, generator=generator, dtype=torch.float64) for name, n in conditions.items()}
    spearman["gray"][:, :7] = math.nan
    l1 = {name: 1 + torch.rand(n, layers, generator=generator, dtype=torch.float64) for name, n in conditions.items()}
    return PathComparison([f"{prefix}{i}" for i in range(layers)], spearman, l1)


def picture(path: Path, size: tuple[int, int] = (8, 8), seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def page_in(folder: Path, name: str = "flute") -> Page:
    """A page with some of everything, its files in the folder."""
    picture(folder / "one.png")
    picture(folder / "a folder" / "wide.png", (300, 120))
    comparison().save(folder / "comparison.safetensors", overwrite=True)
    (folder / "scores #1.csv").write_text("x")
    section = Section(
        f"Section {name}",
        [
            Paragraphs([f"Text {name}"]),
            Pictures([Picture("one.png", f"picture {name}")]),
            Verdicts(
                [
                    Verdict("Spearman", "0.5", "at least 0.6", "−0.1", False, f"a gray square passes too {name}"),
                    Verdict(f"L1 {name}", "80 %", passed=True),
                ]
            ),
            Curves("comparison.safetensors", f"curves {name}"),
            Table(
                ["condition", "Spearman"],
                [["prototype", "0.500"], [name, "−0.1"], ["short"]],
                f"table {name}",
                conditions=True,
            ),
            Pictures([Picture("a folder/wide.png", "wide", small=False)]),
            Files(["scores #1.csv"]),
        ],
    )
    settings = {"seed": 0, name: {"inner": [1, 2], name: name}, "none": None, "nested": [{"a": name}], "empty": {}}
    return Page(f"Title {name}", [f"Summary {name}"], [section, Section("Second")], settings, [f"Failure {name}"])


def test_an_expectation_that_the_data_do_not_decide_is_neither_met_nor_not(tmp_path: Path) -> None:
    met = Verdict("ash", "0.6", "at least 0.5", passed=True)
    for verdict, result in (
        (Verdict("birch", "0.5", "at least 0.6"), "undecided"),
        (Verdict("birch", "0.5", "at least 0.6", passed=False), "not met"),
        (Verdict("birch", "0.5"), "–"),
    ):
        document = Document(render(Page("oak", sections=[Section("one", [Verdicts([met, verdict])])]), tmp_path))
        assert document.texts["td"][-1] == result


def test_what_was_left_out_has_not_failed(tmp_path: Path) -> None:
    document = Document(render(Page("oak", left_out=["the acorn was not asked for"]), tmp_path))
    assert document.texts["h2"] == ["What failed", "What was left out"]
    (body,) = document.texts["body"]
    assert "Nothing failed, and nothing was skipped." in body
    assert "Failed, skipped or not measured" not in body
    assert "the acorn was not asked for" in body


def test_the_page_says_everything_without_javascript(tmp_path: Path) -> None:
    path = write_page(page_in(tmp_path), tmp_path)
    assert path == tmp_path / REPORT
    text = path.read_text(encoding="utf-8")
    document = Document(re.sub(r"<script.*?</script>", "", text, flags=re.S))
    (body,) = document.texts["body"]
    for words in ("Text flute", "Summary flute", "table flute", "a gray square passes too flute", "Failure flute"):
        assert words in body
    for words in ("at least 0.6", "−0.1", "not met", "met", "curves flute", "inner", "1, 2", "scores #1.csv"):
        assert words in body
    assert document.texts["h1"] == ["Title flute"]
    assert document.texts["h2"] == ["Section flute", "Second", "What failed", "Settings"]
    # Each condition's curve, of every measure that it has, beside the controls.
    for measure in MEASURES:
        assert measure.label in body
    assert body.count("layer, in the order in which they return (1 to 24)") == len(MEASURES)
    curves = [one for one in document.all("path") if "data-condition" in one and str(one["class"]).startswith("curve")]
    assert [sum(one["data-condition"] == str(i) for one in curves) for i in range(6)] == [4, 2, 2, 4, 4, 4]
    assert all(re.fullmatch(r"M[-\d. L]+", str(one["d"])) for one in curves)
    for name in comparison().conditions:
        assert condition_label(name) in body


def test_the_page_is_self_contained_and_accessible(tmp_path: Path) -> None:
    text = write_page(page_in(tmp_path), tmp_path).read_text(encoding="utf-8")
    document = Document(text)
    assert text.startswith("<!doctype html>")
    assert "://" not in text
    assert not re.search(r"url\(|@import|<link|<iframe|<object|<base", text)
    assert all(str(one["src"]).startswith("data:image/") for one in document.all("img"))
    assert [one["href"] for one in document.all("a") if one.get("class") != "word"] == [
        "#failed", "#section-1", "#section-2", "#failed", "#settings", "scores%20%231.csv",
    ]  # fmt: skip
    assert document.all("html") == [{"lang": "en"}]
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in document.all("meta")
    ids = [attributes["id"] for _, attributes in document.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {str(one["href"])[1:] for one in document.all("a") if str(one["href"]).startswith("#")} <= set(ids)
    assert all(one["alt"] for one in document.all("img"))
    assert all(one.get("scope") in ("row", "col", "rowgroup") for one in document.all("th"))
    figures = [one for one in document.all("svg") if one.get("role") == "img"]
    assert len(figures) == 4
    assert all("prototype 0." in str(one["aria-label"]) or "1." in str(one["aria-label"]) for one in figures)
    source = next(one["src"] for one in document.all("img") if one["alt"] == "picture flute")
    assert base64.b64decode(str(source).partition(",")[2]) == (tmp_path / "one.png").read_bytes()  # as it is


@pytest.mark.parametrize("name", [HOSTILE, QUOTES, "{{ 7 * 7 }} {% raw %}", "<!--", "\u2028", "]]>"])
def test_names_are_text_whatever_they_hold(name: str, tmp_path: Path) -> None:
    page = page_in(tmp_path, name)
    hostile = comparison(3, f"{name}.")
    hostile.spearman[name], hostile.l1[name] = hostile.spearman["noise"], hostile.l1["noise"]
    hostile.save(tmp_path / "hostile.safetensors")
    page.sections[0].blocks += [Curves("hostile.safetensors"), Files([f"missing {name}"])]
    text = write_page(page, tmp_path).read_text(encoding="utf-8")
    document = Document(text)
    assert [tag for tag, attributes in document.elements if any(key.startswith("on") for key in attributes)] == []
    assert "b" not in document.texts
    assert len(document.all("img")) == 2
    assert [one.get("type") for one in document.all("script")] == ["application/json", "application/json", None]
    data = json.loads(document.texts["script"][1])
    assert data["layers"] == hostile.layers
    assert data["conditions"][-1] == name
    (body,) = document.texts["body"]
    assert document.texts["h1"] == [f"Title {name}"]
    assert document.texts["title"] == [f"Title {name}"]
    for words in (
        f"Text {name}",
        f"table {name}",
        f"too {name}",
        f"Failure {name}",
        f"curves {name}",
        f'"missing {name}"',
    ):
        assert words in body
    assert name in document.texts["table"][-1]  # the settings


def test_no_script_but_the_pages_own_may_run(tmp_path: Path) -> None:
    document = Document(write_page(page_in(tmp_path), tmp_path).read_text(encoding="utf-8"))
    policy = next(one["content"] for one in document.all("meta") if one.get("http-equiv") == "Content-Security-Policy")
    own = base64.b64encode(hashlib.sha256(document.texts["script"][-1].encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{own}'; base-uri 'none'; form-action 'none'"
    )


def test_values_are_those_of_the_comparison(tmp_path: Path) -> None:
    one, page = comparison(), page_in(tmp_path)
    document = Document(render(page, tmp_path))
    measures = json.loads(document.texts["script"][0])["measures"]
    for measure in MEASURES:
        for condition, values in zip(one.conditions, measures[measure.key]["values"], strict=True):
            if not measure.shows(condition):
                assert values is None
                continue
            expected = measure.values(one, condition).tolist()
            shown = [math.nan if value is None else value for value in values]
            assert shown == pytest.approx(expected, rel=1e-3, nan_ok=True)


@pytest.mark.parametrize("layers", [1, 2, 40])
def test_curves_of_any_number_of_layers_and_of_none_that_lives(layers: int, tmp_path: Path) -> None:
    one = comparison(layers)
    one.spearman["noise"][:] = math.nan
    one.l1["prototype"][:] = 0.0  # nothing on a logarithmic axis
    one.save(tmp_path / "c.safetensors")
    page = Page("t", sections=[Section("s", [Curves("c.safetensors", more=["c.safetensors"])])])
    text = render(page, tmp_path)
    document = Document(text)
    assert "What failed" in document.texts["h2"]
    assert "Nothing failed, and nothing was skipped." in text
    for shape in document.all("path"):
        assert "nan" not in str(shape["d"])
        assert "inf" not in str(shape["d"])


def test_the_first_screen_is_pictures_what_they_are_and_whether_to_trust_them(tmp_path: Path) -> None:
    page = page_in(tmp_path)
    page.lead = [Gallery([Shown("one.png", f"class {i}", ["p 0.90", "path 0.30 ✗"], "described") for i in range(13)])]
    page.legend, page.trust = ["✗: no higher than a control."], "No, nothing speaks for them."
    page.summary.append("What else was found.")
    page.sections[0].shown = 1
    write_page(page, tmp_path)
    text = (tmp_path / REPORT).read_text(encoding="utf-8")
    seen, folded = (
        re.sub(r"<details.*?</details>", "", text, flags=re.S),
        "".join(re.findall(r"<details.*?</details>", text, flags=re.S)),
    )
    places = [
        seen.index(words)
        for words in ("Title flute</h1>", "Summary flute", "class 0", "No, nothing speaks", "✗: no higher")
    ]
    assert places == sorted(places)
    assert places[-1] < seen.index("<nav")
    assert seen.count("path 0.30 ✗") == 12
    assert "12 of 13 pictures; all of them are below." in seen
    assert seen.index("Text flute") > seen.index("<main")
    # Nothing is lost: what folds is in the page, for the search of a browser, for the printer and for those without JavaScript.
    for words in ("What else was found.", "picture flute", "table flute", "curves flute", "scores #1.csv"):
        assert words not in seen
        assert words in folded
    assert "<summary>Show pictures, criteria, curves, table and files<span" in text
    assert "details::details-content" in text


def test_a_word_leads_to_what_it_means_where_it_first_appears(tmp_path: Path) -> None:
    page = Page(
        "t",
        ["No control does.", "Its controls do."],
        [Section("s", [Paragraphs(["A prototype & <control>"])])],
        trust="Prototypes do.",
    )
    text = render(page, tmp_path)
    document = Document(text)
    links = [one["href"] for one in document.all("a") if one.get("class") == "word"]
    assert links == ["#word-control", "#word-prototype"]
    assert {str(link)[1:] for link in links} == {str(one["id"]) for one in document.all("div") if "id" in one}
    assert all(MEANINGS[word] in text for word in ("control", "prototype"))
    assert "Prototypes</a> do." in text
    assert "A prototype &amp; &lt;control&gt;" in text
    assert "What the words mean" not in render(Page("t", ["Nothing."]), tmp_path)


@pytest.mark.parametrize("size", [(8, 8), (28, 28), (64, 64), (65, 65)])
def test_small_pictures_are_shown_at_whole_multiples(size: tuple[int, int], tmp_path: Path) -> None:
    picture(tmp_path / "one.png", size)
    shown = [Gallery([Shown("one.png", "", [], "a")]), Pictures([Picture("one.png", "a")])]
    images = Document(render(Page("t", sections=[Section("s", shown)]), tmp_path)).all("img")
    small = max(size) <= 64
    assert [one.get("style") for one in images] == [f"--pixels:{size[0]}px" if small else None] * 2
    assert [one.get("class") for one in images] == ["coarse" if small else None] * 2


def test_a_wide_table_shows_what_matters_first(tmp_path: Path) -> None:
    header, rows = ["condition", "images", "Spearman", "undefined"], [["prototype", "2", "0.5", "0"], ["gray", "1"]]
    text = render(Page("t", sections=[Section("s", [Table(header, rows, "caption", brief=[0, 2])])]), tmp_path)
    document = Document(text)
    first, rest = (table.split() for table in document.texts["table"])
    assert first == ["conditionSpearman", "prototype0.5", "gray"]
    assert rest == ["conditionimagesundefined", "prototype20", "gray1"]
    assert "2 more columns, and what they mean" in document.texts["summary"]


def test_expectations_are_met_not_met_or_undecided_in_words(tmp_path: Path) -> None:
    verdicts = [Verdict(str(passed), "1", "2", passed=passed) for passed in (True, False, None, None)]
    text = render(Page("t", sections=[Section("s", [Verdicts([*verdicts, Verdict("free", "1")])])]), tmp_path)
    document = Document(text)
    assert "Of 4 expectations: 1 met, 1 not met, 2 undecided." in text
    assert [one.strip()[-9:] for one in document.texts["tbody"]] == [
        "True12met",
        "12not met",
        "undecided",
        "undecided",
        "free1––",
    ]
    assert [one.get("class") for one in document.all("span")[:4]] == ["met", "not-met", "undecided", "undecided"]
    assert "too few data to tell" in text
    plain = render(Page("t", sections=[Section("s", [Verdicts([Verdict("a", "1", "the paper's")])])]), tmp_path)
    assert "expectations" not in plain
    assert "undecided" not in plain.partition("<body>")[2]


def test_what_is_missing_or_damaged_is_left_out_and_said(tmp_path: Path) -> None:
    page = page_in(tmp_path)
    whole = (tmp_path / "one.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[:-40])
    (tmp_path / "text.png").write_text("no picture")
    picture(tmp_path / "odd.bmp")
    saved = (tmp_path / "comparison.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(saved[: len(saved) // 2])
    picture(tmp_path.parent / "secret.png")
    (tmp_path / "link.png").symlink_to(tmp_path.parent / "secret.png")
    (section, _) = page.sections
    pictures = [
        Picture(path, path)
        for path in (
            "gone.png",
            "cut.png",
            "text.png",
            "odd.bmp",
            "../secret.png",
            "link.png",
            str(tmp_path.parent / "secret.png"),
        )
    ]
    section.blocks += [
        Pictures(pictures),
        Curves("gone.safetensors"),
        Curves("cut.safetensors"),
        Curves("one.png"),
        Curves("gone.safetensors", more=["comparison.safetensors"]),
        Files(["gone.csv", "javascript:alert(1)"]),
    ]
    document = Document(write_page(page, tmp_path).read_text(encoding="utf-8"))
    failures = document.texts["ul"][-1]
    assert '"gone.png" is missing from the folder of the results.' in failures
    for name in ("cut.png", "text.png", "odd.bmp"):
        assert f'The picture "{name}" cannot be read (' in failures
    for name in ("../secret.png", "link.png", "secret.png"):
        assert f'{name}" lies outside the folder of the results and is left out.' in failures
    assert failures.count('"gone.safetensors" is missing') == 1
    for name in ("cut.safetensors", "one.png"):
        assert f'The comparison "{name}" cannot be read (' in failures
    assert '"gone.csv" is missing' in failures
    assert len(document.all("img")) == 2
    assert len([one for one in document.all("figure") if one.get("class") == "curves"]) == 2
    assert not [one for one in document.all("a") if str(one["href"]).startswith(("javascript", "gone"))]


def test_of_many_pictures_there_are_thumbnails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "MANY_PICTURES", 2)
    picture(tmp_path / "large one.png", (400, 200))
    for i in range(2):
        picture(tmp_path / f"small{i}.png", (32, 32), seed=i)
    pictures = [Picture(name, name) for name in ("large one.png", "small0.png", "small1.png")]
    text = render(Page("t", sections=[Section("s", [Pictures(pictures)])]), tmp_path)
    document = Document(text)
    large, small, _ = document.all("img")
    thumbnail = Image.open(io.BytesIO(base64.b64decode(str(large["src"]).partition(",")[2])))
    assert thumbnail.size == (160, 80)
    assert thumbnail.format in ("WEBP", "JPEG")
    assert base64.b64decode(str(small["src"]).partition(",")[2]) == (tmp_path / "small0.png").read_bytes()
    assert "Of 3 pictures, 1 are shown as thumbnails of at most 160 pixels a side" in text
    assert "large%20one.png" in [one["href"] for one in document.all("a")]


def test_of_many_comparisons_the_first_are_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "MOST_CURVES", 1)
    comparison(3).save(tmp_path / "c.safetensors")
    text = render(Page("t", sections=[Section("s", [Curves("c.safetensors")] * 3)]), tmp_path)
    assert "Curves of the first 1 comparisons are drawn here, those of 2 more are not." in text


def test_a_page_is_made_again_from_its_description(tmp_path: Path) -> None:
    first = write_page(page_in(tmp_path), tmp_path).read_bytes()
    (tmp_path / REPORT).unlink()
    assert write_report(tmp_path).read_bytes() == first
    assert {path.name for path in tmp_path.iterdir()} == {
        PAGE, REPORT, "one.png", "a folder", "comparison.safetensors", "scores #1.csv",
    }  # fmt: skip
    with pytest.raises(FileNotFoundError, match=r"holds no page\.json"):
        write_report(tmp_path / "a folder")


def test_a_page_is_rendered_from_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Page, "load", lambda folder: pytest.fail("the description is read back"))
    assert "Title flute" in write_page(page_in(tmp_path), tmp_path).read_text(encoding="utf-8")


@dataclass(frozen=True)
class Recording(Block, kind="recording"):
    """A new kind of block: everything there is to it."""

    sound: FilePath
    words: list[str]
    template = "<p class='recording'>{{ words | join(', ') }} ({{ size }} bytes)</p>"

    def render(self, context: Context) -> dict[str, object] | None:
        path = context.file(self.sound)
        return None if path is None else {"words": self.words, "size": path.stat().st_size}

    @classmethod
    def notes(cls, context: Context) -> list[str]:
        return ["Recordings are silent."]


def test_a_new_kind_of_block_is_one_class(tmp_path: Path) -> None:
    (tmp_path / "robin.wav").write_bytes(b"12345")
    recordings: list[Block] = [Recording("robin.wav", ["dawn", HOSTILE]), Recording("owl.wav", ["dusk"])]
    page = Page("Birds", sections=[Section("Robin", recordings)])
    assert page.within("sub").files() == ["sub/robin.wav", "sub/owl.wav"]
    path = write_page(page, tmp_path)
    assert Page.load(tmp_path) == page
    document = Document(path.read_text(encoding="utf-8"))
    (body,) = document.texts["body"]
    assert f"dawn, {HOSTILE} (5 bytes)" in body
    assert "dusk" not in body
    assert '"owl.wav" is missing from the folder' in body
    assert "Recordings are silent." in document.texts["footer"][0]
    assert document.all("img") == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_curves_stand_out(scheme: str) -> None:
    """WCAG 2: text 4.5 to 1, what is drawn 3 to 1."""
    light, dark = source_of("report.css").split("@media (prefers-color-scheme: dark)")
    found = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", light if scheme == "light" else dark))
    assert set(found) >= {
        "paper",
        "ink",
        "quiet",
        "link",
        "good",
        "bad",
        *(style.name for style in CONDITION_STYLES.values()),
    }
    for name, color in found.items():
        if name in ("paper", "hair", "faint"):
            continue
        low, high = sorted((luminance(color), luminance(found["paper"])))
        least = 4.5 if name in ("ink", "quiet", "link", "good", "bad") else 3.0
        assert (high + 0.05) / (low + 0.05) >= least, name


CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")

#: The page in a frame as wide as a phone, with its own policy; the script outside plays the reader.
READER = """<!doctype html><body><iframe id="frame" style="width: 390px; height: 800px" srcdoc="{page}"></iframe>
<pre id="result"></pre><script>
const results = {{}};
document.querySelector("#frame").onload = () => {{
  const page = document.querySelector("#frame").contentDocument;
  const all = (query) => [...page.querySelectorAll(query)];
  const texts = (query) => all(query).map((one) => one.textContent);
  const plot = () => page.querySelector(".panel.shown .plot");
  results.wide = page.documentElement.scrollWidth;
  results.table = all(".wide").map((one) => one.getBoundingClientRect().right);
  results.live = all(".curves.live").length;
  results.before = texts(".value");
  const box = plot().getBoundingClientRect();
  plot().dispatchEvent(new PointerEvent("pointermove", {{ clientX: box.left + box.width * 0.52 }}));
  results.reading = texts(".reading");
  results.values = texts(".value");
  const press = (key) => plot().dispatchEvent(new KeyboardEvent("keydown", {{ key }}));
  press("Home");
  press("ArrowLeft");
  press("ArrowRight");
  results.keyboard = texts(".reading");
  results.spoken = [plot().getAttribute("role"), plot().getAttribute("aria-valuetext"), plot().tabIndex];
  press("End");
  results.end = plot().getAttribute("aria-valuenow");
  all(".legend button")[0].click();
  results.hidden = all(".plot .g-prototype").map((one) => one.ownerDocument.defaultView.getComputedStyle(one).display);
  results.pressed = all(".legend button").map((one) => one.getAttribute("aria-pressed"));
  all(".legend button")[0].click();
  results.again = all(".legend button")[0].getAttribute("aria-pressed");
  all(".switch input")[1].click();
  results.shown = all(".panel.shown").map((one) => one.dataset.measure);
  results.switched = texts(".value");
  document.querySelector("#result").textContent = JSON.stringify(results);
}};
</script>"""


def in_a_browser(page: Path, reader: str, folder: Path) -> Any:
    """What the script of a reader found in a page."""
    text = page.read_text(encoding="utf-8")
    (folder / "reader.html").write_text(reader.format(page=html.escape(text)), encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--virtual-time-budget=4000"]
    options += [f"--user-data-dir={folder / 'profile'}", "--dump-dom", (folder / "reader.html").as_uri()]
    ran = subprocess.run([str(CHROMIUM), *options], capture_output=True, text=True, check=False, timeout=120)
    assert "CONSOLE" not in ran.stderr
    found = re.search(r'<pre id="result">(.*?)</pre>', ran.stdout, re.S)
    assert found is not None
    assert found[1], ran.stderr
    return json.loads(html.unescape(found[1]))


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_in_a_browser_the_curves_answer(tmp_path: Path) -> None:
    page = page_in(tmp_path, HOSTILE)
    results = in_a_browser(write_page(page, tmp_path), READER, tmp_path)
    one = comparison()

    def values(layer: int, measure: int) -> list[str]:
        chosen = MEASURES[measure]
        each = [float(chosen.values(one, condition)[layer]) for condition in one.conditions]
        return ["–" if math.isnan(value) else f"{value:.{chosen.digits}f}" for value in each]

    assert results["wide"] <= 390  # the page does not scroll sideways
    assert max(results["table"]) <= 390
    assert results["live"] == 1
    assert results["before"] == [""] * 6
    assert results["reading"] == ["Layer 13 of 24: layer12"]
    assert [float(shown) for shown in results["values"]] == pytest.approx([float(v) for v in values(12, 0)], abs=2e-3)
    assert results["keyboard"] == ["Layer 2 of 24: layer1"]
    assert results["spoken"][0] == "slider"
    assert results["spoken"][1].startswith("layer 2, layer1: prototype 0.")
    assert "gray –" in results["spoken"][1]
    assert results["spoken"][2] == 0
    assert results["end"] == "24"
    assert set(results["hidden"]) == {"none"}
    assert results["pressed"] == ["false"] + ["true"] * 5
    assert results["again"] == "true"
    assert results["shown"] == ["l1"]
    assert [float(shown) for shown in results["switched"]] == pytest.approx([float(v) for v in values(23, 1)], abs=2e-2)


SEARCHER = """<!doctype html><body><iframe id="frame" style="width: 900px; height: 800px" srcdoc="{page}"></iframe>
<pre id="result"></pre><script>
document.querySelector("#frame").onload = () => {{
  const page = document.querySelector("#frame").contentDocument;
  const shown = () => [...page.querySelectorAll("tbody tr")].filter((row) => !row.hidden).map((row) => row.cells[0].textContent);
  const fields = [...page.querySelectorAll(".search input")];
  const type = (text) => {{ fields[0].value = text; fields[0].dispatchEvent(new Event("input")); }};
  const results = {{ fields: fields.length, all: shown().length }};
  type("RED ring");
  results.found = shown();
  results.count = page.querySelector(".search output").textContent;
  type("");
  page.querySelectorAll("thead button")[2].click();
  results.sorted = shown().slice(0, 3);
  document.querySelector("#result").textContent = JSON.stringify(results);
}};
</script>"""


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_in_a_browser_a_long_table_is_searched_and_sorted(tmp_path: Path) -> None:
    words = ["red disc", "a ring, red", "blue ring", "red"]
    rows = [[str(number), words[number % 4], f"0.{number:02d}"] for number in range(20)]
    header = ["unit", "concept", "IoU"]
    tables = [Table(header, rows, sortable=True), Table(header, rows[:3], sortable=True), Table(header, rows)]
    page = Page("Units", sections=[Section("Tables", tables)])
    results = in_a_browser(write_page(page, tmp_path), SEARCHER, tmp_path)
    assert (results["fields"], results["all"]) == (1, 43)  # of the long one that can be sorted
    assert results["found"][:5] == [str(number) for number in range(1, 20, 4)]
    assert (len(results["found"]), results["count"]) == (5 + 3 + 20, "5 of 20 rows")
    assert results["sorted"] == ["19", "18", "17"]
