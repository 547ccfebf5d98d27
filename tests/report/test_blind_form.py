"""The form of a blind test: what it holds, whom it can be read by, and what a browser makes of it."""

from __future__ import annotations

import base64
import csv
import html
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from contrast import luminance
from PIL import Image

from captum_proto.report.blind_form import MOST_PRINTED, form_digest, render_form
from captum_proto.report.templating import source_of

HOSTILE = "</script><img src=x onerror=alert(1)> \"'&amp;"
NAMES = ["flute", "goldfish, Carassius auratus", HOSTILE]
VOID = {"meta", "img", "input"}


def jpeg(seed: int, side: int = 32) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="JPEG")
    return buffer.getvalue()


PICTURES = [jpeg(seed) for seed in range(3)]


class Elements(HTMLParser):
    """The elements of a page, each with its attributes and the text inside it; one that is not closed is an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[int, str] = {}
        self.open: list[tuple[str, int]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append((tag, len(self.found) - 1))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        for _, place in self.open:
            self.texts[place] = self.texts.get(place, "") + data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]

    def text_of(self, identifier: str) -> str:
        place = next(i for i, (_, attributes) in enumerate(self.found) if attributes.get("id") == identifier)
        return " ".join(self.texts.get(place, "").split())


def test_pictures_are_within_in_their_order_and_nothing_is_loaded() -> None:
    page = Elements(render_form(PICTURES, 32, "What is it?", NAMES))
    shown = [base64.b64decode(str(one["src"]).partition("base64,")[2]) for one in page.all("img")]
    assert shown == PICTURES
    policy = next(one["content"] for one in page.all("meta") if one.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert not [one for _, one in page.found if one.get("href") or str(one.get("src", "data:"))[:5] != "data:"]
    assert page.all("form") == page.all("a") == page.all("link") == []


def test_names_are_offered_as_they_are_and_run_nothing() -> None:
    page = Elements(render_form(PICTURES, 32, HOSTILE, NAMES))
    assert [one["value"] for one in page.all("option")] == NAMES
    assert [one.get("list") for one in page.all("input") if one.get("class") == "answer"] == ["names"] * 3
    assert not [one for one in page.all("img") if one.get("onerror")]
    free = Elements(render_form(PICTURES, 32, "What is it?"))
    assert free.all("option") == free.all("datalist") == free.all("details") == []
    assert not [one for one in free.all("input") if one.get("list")]


def test_what_a_screen_reader_says_is_one_thing_each() -> None:
    page = Elements(render_form(PICTURES, 32, "What is it?", NAMES))
    identifiers = [one["id"] for _, one in page.found if one.get("id")]
    assert len(identifiers) == len(set(identifiers))
    labels = [one["for"] for one in page.all("label") if one.get("for")]
    for field in page.all("input"):
        named = str(field.get("aria-labelledby") or "").split()
        assert named or field["id"] in labels
        spoken = " ".join(page.text_of(name) for name in named)
        number = re.search(r"\d+$", str(field["id"]))
        assert number is None or f"Picture {number[0]} of 3" in spoken
    assert {str(one["alt"]) for one in page.all("img")} == {f"Picture {n}, to be named" for n in (1, 2, 3)}
    assert all(one.get("type") == "button" for one in page.all("button"))
    assert all(page.text_of(str(one["id"])) for one in page.all("button"))
    assert page.all("html") == [{"lang": "en"}]


def test_without_a_script_it_is_a_sheet_of_all_pictures() -> None:
    text = render_form(PICTURES, 32, "What is it?", NAMES)
    page = Elements(text)
    assert "Print it and write on paper" in text
    hidden = [one for _, one in page.found if "hidden" in one]
    assert {str(one.get("class", "")).split()[-1] for one in hidden if one.get("class")} == {"scripted"}
    assert not [one for one in page.all("li") if "hidden" in one]
    assert f"Form {form_digest(PICTURES, 'What is it?', NAMES)}." in text
    assert page.all("body")[0]["class"] == "names-printed"
    assert (
        "class"
        not in Elements(render_form(PICTURES, 32, "?", [str(n) for n in range(MOST_PRINTED + 1)])).all("body")[0]
    )


def test_a_form_is_called_after_what_it_shows() -> None:
    name = form_digest(PICTURES, "What is it?", NAMES)
    assert re.fullmatch("[0-9a-f]{12}", name)
    others = [(PICTURES[::-1], "What is it?", NAMES), (PICTURES, "What?", NAMES), (PICTURES, "What is it?", NAMES[:2])]
    assert len({name, *(form_digest(*other) for other in others)}) == 4


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_borders_stand_out(scheme: str) -> None:
    """WCAG 2: text 4.5 to 1, the borders of fields 3 to 1."""
    light, dark = source_of("blind.css").split("@media (prefers-color-scheme: dark)")
    colors = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", light if scheme == "light" else dark.split("* {")[0]))
    pairs = [("ink", "paper", 4.5), ("quiet", "paper", 4.5), ("link", "paper", 4.5), ("ink", "faint", 4.5)]
    for one, other, least in [*pairs, ("on-link", "link", 4.5), ("hair", "paper", 3.0)]:
        low, high = sorted((luminance(colors[one]), luminance(colors[other])))
        assert (high + 0.05) / (low + 0.05) >= least, (one, other)


CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")

#: The form in a frame as wide as a phone, with its own policy; the script outside plays the person.
PERSON = """<!doctype html><body><iframe id="frame" style="width: 390px; height: 800px" srcdoc="{page}"></iframe>
<pre id="result"></pre><script>
const results = {{}};
document.querySelector("#frame").onload = async () => {{
  const page = document.querySelector("#frame").contentDocument;
  const frame = page.defaultView;
  const at = (id) => page.getElementById(id);
  const shown = () => [...page.querySelectorAll(".picture")].filter((one) => one.offsetParent !== null).map((one) => one.id);
  const type = (id, text) => {{
    at(id).value = text;
    at(id).dispatchEvent(new frame.Event("input"));
    at(id).dispatchEvent(new frame.Event("change"));
  }};
  const press = (id, key, shiftKey = false) =>
    at(id).dispatchEvent(new frame.KeyboardEvent("keydown", {{ key, shiftKey, cancelable: true }}));
  results.start = shown();
  results.notice = page.querySelector(".no-script").offsetParent === null;
  type("person", 'Ann "A", b');
  at("begin").click();
  results.first = shown();
  results.wide = page.documentElement.scrollWidth;
  results.small = [...page.querySelectorAll("button, .answer, .unknown")]
    .filter((one) => one.offsetParent !== null && !one.closest("footer")).map((one) => one.offsetHeight);
  type("answer-1", "gold; fish");
  results.note = at("note-1").textContent;
  type("answer-1", "CARASSIUS  auratus");
  results.known = at("note-1").textContent;
  press("answer-1", "Enter");
  results.second = shown();
  results.focus = page.activeElement.id;
  press("answer-2", "Enter", true);
  results.back = page.activeElement.id;
  at("next").click();
  type("answer-2", "owl");
  at("unknown-2").click();
  results.cleared = at("answer-2").value;
  at("next").click();
  at("next").click();
  results.end = [shown(), at("missing").textContent, at("progress").textContent, at("next").disabled];
  at("to-missing").click();
  results.missing = page.activeElement.id;
  type("answer-3", "Flöte, \\u7b1b");
  at("view").click();
  results.list = shown();
  let saved = null;
  const make = frame.URL.createObjectURL;
  frame.URL.createObjectURL = (blob) => {{ saved = blob; return make(blob); }};
  at("save").click();
  results.text = await saved.text();
  results.told = at("saved").textContent;
  document.querySelector("#result").textContent = JSON.stringify(results);
}};
</script>"""


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_in_a_browser_it_is_filled_in_by_keyboard_and_touch(tmp_path: Path) -> None:
    text = render_form(PICTURES, 32, "What is it?", NAMES)
    (tmp_path / "person.html").write_text(PERSON.format(page=html.escape(text)), encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--virtual-time-budget=4000"]
    options += [f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", (tmp_path / "person.html").as_uri()]
    ran = subprocess.run([str(CHROMIUM), *options], capture_output=True, text=True, check=False, timeout=120)
    assert "CONSOLE" not in ran.stderr
    found = re.search(r'<pre id="result">(.*?)</pre>', ran.stdout, re.S)
    assert found is not None
    assert found[1], ran.stderr
    results = json.loads(html.unescape(found[1]))
    assert results["start"] == []
    assert results["notice"]
    assert results["first"] == ["picture-1"]
    assert results["wide"] <= 390  # the page does not scroll sideways
    assert min(results["small"]) >= 44  # a finger's width
    assert "not one of the names" in results["note"]
    assert results["known"] == ""
    assert results["second"] == ["picture-2"]
    assert (results["focus"], results["back"]) == ("answer-2", "answer-1")
    assert results["cleared"] == ""
    assert results["end"] == [[], "1 picture has no answer yet.", "2 of 3 answered", True]
    assert results["missing"] == "answer-3"
    assert results["list"] == ["picture-1", "picture-2", "picture-3"]
    form = form_digest(PICTURES, "What is it?", NAMES)
    assert results["told"].startswith(f"Saved as answers-{form}-Ann-A-b.csv")
    # Blob.text() takes the mark of UTF-8 away, by which spreadsheets know it.
    rows = list(csv.reader(io.StringIO(results["text"])))
    assert rows == [
        ["form", "person", "number", "answer"],
        [form, 'Ann "A", b', "1", "CARASSIUS  auratus"],
        [form, 'Ann "A", b', "2", "?"],
        [form, 'Ann "A", b', "3", "Flöte, 笛"],
    ]
