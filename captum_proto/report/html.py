"""
The page of a folder of results, as one HTML file that needs nothing else: no other file, no network, no JavaScript.

Pictures are part of the file. Curves are SVG; where a browser runs JavaScript, it adds what a pointer, a finger or the arrow keys can ask
of them.
"""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

from markupsafe import Markup

from captum_proto.report.block import Block
from captum_proto.report.context import Context
from captum_proto.report.glossary import MEANINGS, Explainer, anchor
from captum_proto.report.page import Page, Section
from captum_proto.report.templating import environment, source_of
from captum_proto.runs.files import write_text
from captum_proto.runs.folder import REPORT
from captum_proto.runs.provenance import versions

#: What a block of a kind is called where it is folded.
_NOUNS = {"paragraphs": "text", "verdicts": "criteria"}


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
    return _write(page, folder)


def write_report(folder: Path) -> Path:
    """
    Make the HTML file of a folder from the description of its page.

    A picture or a comparison that is missing or damaged is left out, and named where the page says what failed.

    Args:
        folder (Path): Of a finished run.

    Returns:
        Path: The HTML file.

    Raises:
        FileNotFoundError: If the folder holds no description of a page.
        ValueError: If it is damaged.
    """
    return _write(Page.load(folder), folder)


def _write(page: Page, folder: Path) -> Path:
    target = folder / REPORT
    write_text(target, render(page, folder), overwrite=True)
    return target


def render(page: Page, folder: Path) -> str:
    """
    A page as HTML.

    Args:
        page (Page): What to say.
        folder (Path): Where its files are.

    Returns:
        str: The whole file.
    """
    context = Context(folder, page.blocks)
    explained = Explainer()
    # In the order in which they are read, so that a word is explained where it first appears.
    what, trust, legend, more = (
        [explained(sentence) for sentence in part]
        for part in (page.summary[:1], [page.trust], page.legend, page.summary[1:])
    )
    lead = [_render(block, context, explained) for block in page.lead]
    sections = [_section(section, context, explained) for section in page.sections]
    kinds = dict.fromkeys(type(block) for block in page.blocks)
    templates = environment()
    script, style = (
        "".join(
            map(source_of, dict.fromkeys([f"report.{ending}", *filter(None, (getattr(kind, name) for kind in kinds))]))
        )
        for name, ending in (("script", "js"), ("style", "css"))
    )
    return templates.get_template("report.html").render(
        page=page,
        lead=[block for block in lead if block is not None],
        what=what,
        trust=trust,
        legend=legend,
        more=more,
        words=[(anchor(word), word, MEANINGS[word]) for word in explained.words],
        sections=sections,
        settings=[(str(name), _entries(value)) for name, value in page.settings.items()],
        failures=[*page.failures, *context.failures],
        notes=[note for kind in kinds for note in kind.notes(context)],
        style=Markup(style),
        script=Markup(script),
        # No script but this one runs, whatever a name in the results may hold.
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        version=versions()["captum_proto"],
    )


def _section(section: Section, context: Context, explained: Explainer) -> dict[str, Any]:
    """A section as the template takes it: what is seen at once, what unfolds, and in a few words what that is."""
    shown, folded = [], []
    names: dict[str, None] = {}
    for place, block in enumerate(section.blocks):
        html = _render(block, context, explained)
        if html is None:
            continue
        if section.shown is None or place < section.shown:
            shown.append(html)
        else:
            folded.append(html)
            names[_NOUNS.get(block.kind, block.kind)] = None
    *first, last = names or ["nothing"]
    return {
        "title": section.title,
        "shown": shown,
        "folded": folded,
        "holds": f"{', '.join(first)} and {last}" if first else last,
    }


def _render(block: Block, context: Context, explained: Explainer) -> Markup | None:
    """A block as HTML; None where it has nothing to show."""
    values = block.render(context)
    if values is None:
        return None
    templates = environment()
    named = block.template is None
    template = (
        templates.get_template(f"blocks/{block.kind}.html") if named else templates.from_string(block.template or "")
    )
    return Markup(template.render(**values, explained=explained))


def _entries(value: Any, name: str = "") -> list[tuple[str, str]]:
    """A setting and what is inside it, line by line."""
    if isinstance(value, dict) and value:
        return [
            entry for key, inner in value.items() for entry in _entries(inner, f"{name}.{key}" if name else str(key))
        ]
    if isinstance(value, (list, tuple)) and any(isinstance(item, (list, tuple, dict)) for item in value):
        return [(name, json.dumps(value, ensure_ascii=False))]
    if isinstance(value, (list, tuple)):
        return [(name, ", ".join(map(_scalar, value)) or "none")]
    return [(name, "none" if value == {} else _scalar(value))]


def _scalar(value: Any) -> str:
    return {None: "none", True: "yes", False: "no"}[value] if value is None or isinstance(value, bool) else str(value)


__all__ = ["render", "write_page", "write_report"]
