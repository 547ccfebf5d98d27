"""
Pages of runs whose classes have names that would be HTML: nothing of a name is an element, an attribute or an address, and nothing runs.

Every protocol is carried out at tiny settings under such names, so that every view and every kind of block is shown. Each page is looked at
by Python's own parser of HTML, and, where there is a Chromium, opened in it with a log of what it asks of the network.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "runs"))
import protocols
from hostile_names import HOSTILE, carried_out
from page_look import Look, looked_at

from captum_proto.experiments.report import report_on
from captum_proto.report.blind_form import render_form
from captum_proto.report.block import _KINDS
from captum_proto.report.html import write_report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)


def opened(page: Path, scratch: Path) -> tuple[str, list[str]]:
    """A page as a browser has it after its scripts ran, and what the browser asked for."""
    assert CHROMIUM is not None
    log = scratch / "net.json"
    command = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    command += [
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        f"--user-data-dir={scratch / 'profile'}",
    ]
    command += [
        f"--log-net-log={log}",
        "--net-log-capture-mode=Everything",
        "--virtual-time-budget=2000",
        "--dump-dom",
        page.resolve().as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    text = log.read_text(errors="replace")
    try:
        content = json.loads(text)
    except ValueError:  # the browser ended before it wrote the last line
        content = json.loads(text.rstrip().rstrip(",") + "]}")
    asked = [event["params"]["url"] for event in content["events"] if "url" in event.get("params", {})]
    return done.stdout, [
        url for url in asked if "hostile" in url or not url.startswith(("https://", "http://", "chrome"))
    ]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """By command, made when first asked for."""
    return {}


def run_of(command: str, runs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    if command not in runs:
        runs[command] = carried_out(command, tmp_path_factory.mktemp(command))
    return runs[command]


@pytest.mark.parametrize("command", protocols.PROTOCOLS)
def test_pages_of_every_protocol(command: str, runs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = run_of(command, runs, tmp_path_factory)
    pages = [*folder.rglob("report.html"), *folder.rglob("blind_form.html")]
    assert pages
    for page in pages:
        looked_at(page.read_text(encoding="utf-8"))
    if command not in (
        "fooling",
        "planted-bias",
        "directions",
        "atlas",
        "planted-trojans",
        "generate-tabular",
        "generate-text",
    ):
        (folder / "page.json").unlink(missing_ok=True)
        looked_at(report_on(folder).read_text(encoding="utf-8"))  # made again from the results alone


def spoiled(value: Any, name: str = "") -> Any:
    """A description of a page with every text in it hostile, but those that tell what it is and where its files are."""
    if isinstance(value, dict):
        return {key: spoiled(inner, key) for key, inner in value.items()}
    if isinstance(value, list):
        return [spoiled(inner, name) for inner in value]
    files = (
        "kind",
        "path",
        "paths",
        "comparison",
        "more",
        "dictionary",
        "examples",
        "pictures",
        "atlas",
        "levels",
        "vectors",
        "layout",
    )
    return value + HOSTILE[0] + HOSTILE[1] if isinstance(value, str) and name not in files else value


@pytest.mark.parametrize(
    "command", ["evaluate", "visualize", "dictionary", "circuit", "examples", "dissect", "agent", "atlas", "reproduce"]
)
def test_every_text_of_a_page(command: str, runs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = run_of(command, runs, tmp_path_factory)
    if not (folder / "page.json").exists():
        report_on(folder)
    described = json.loads((folder / "page.json").read_text(encoding="utf-8"))
    (folder / "page.json").write_text(json.dumps(spoiled(described)), encoding="utf-8")
    html = write_report(folder).read_text(encoding="utf-8")
    looked_at(html)
    assert "OWNED" in html
    (folder / "page.json").write_text(json.dumps(described), encoding="utf-8")


def test_every_kind_of_block_is_among_them(runs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> None:
    found: set[str] = set()
    for command in (
        "evaluate",
        "visualize",
        "dictionary",
        "circuit",
        "examples",
        "dissect",
        "atlas",
        "reproduce",
        "generate",
    ):
        folder = run_of(command, runs, tmp_path_factory)
        for path in folder.rglob("page.json"):
            found |= set(re.findall(r'"kind": "(\w+)"', path.read_text(encoding="utf-8")))
    # Not those that tests and the examples in docstrings make.
    own = {
        kind
        for kind, block in _KINDS.items()
        if block.__module__.startswith("captum_proto.")
        and getattr(sys.modules.get(block.__module__), block.__name__, None) is block
    }
    assert own <= found, own - found


def form() -> str:
    picture = b"\xff\xd8\xff\xd9"
    return render_form([picture, picture], 64, HOSTILE[0], HOSTILE, [[*HOSTILE], HOSTILE[:1]]) + render_form(
        [picture], 64, HOSTILE[1], HOSTILE
    )


def test_the_form_of_a_blind_test() -> None:
    first, second = re.findall(r"<!doctype html>.*?</html>", form(), re.DOTALL)
    looked_at(first)
    looked_at(second)


def test_the_look_sees_what_it_looks_for() -> None:
    for html in (
        "<blink>",
        "<img src=x>",
        "<img src='data:image/png;base64,' onerror=x>",
        "<a href=javascript:x>",
        "<a href=//x>",
        "<script src=x>",
    ):
        assert Look(html).wrong, html


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_a_browser_runs_and_loads_nothing(
    runs: dict[str, Path], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    bait = tmp_path / "bait.html"
    bait.write_text(f"<!doctype html><title>t</title>{HOSTILE[0]}<img src=http://hostile.invalid/x>", encoding="utf-8")
    (tmp_path / "first").mkdir()
    dom, asked = opened(bait, tmp_path / "first")
    assert "<title>OWNED</title>" in dom  # a page that escapes nothing is caught
    assert any("hostile.invalid" in url for url in asked)
    for command in ("evaluate", "visualize"):
        page = run_of(command, runs, tmp_path_factory) / "report.html"
        scratch = tmp_path / command
        scratch.mkdir()
        dom, asked = opened(page, scratch)
        assert "<title>OWNED" not in dom
        assert [url for url in asked if url != page.resolve().as_uri() and not url.startswith("data:")] == []
