"""What a page of results is made of, and what it must not be."""

from __future__ import annotations

import re
from html.parser import HTMLParser

#: What the templates themselves are made of.
_ELEMENTS = {
    "html",
    "head",
    "meta",
    "title",
    "style",
    "body",
    "header",
    "p",
    "h1",
    "h2",
    "h3",
    "h4",
    "div",
    "details",
    "summary",
    "dl",
    "dt",
    "dd",
    "b",
    "a",
    "nav",
    "ol",
    "ul",
    "li",
    "main",
    "section",
    "table",
    "caption",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
    "footer",
    "script",
    "figure",
    "figcaption",
    "img",
    "span",
    "svg",
    "path",
    "g",
    "line",
    "text",
    "rect",
    "circle",
    "polyline",
    "polygon",
    "defs",
    "clippath",
    "marker",
    "input",
    "label",
    "i",
    "image",
    "button",
    "fieldset",
    "legend",
    "datalist",
    "option",
    "small",
    "em",
    "strong",
    "code",
    "br",
    "wbr",
    "canvas",
    "select",
    "output",
    "use",
    "desc",
    "pattern",
}
_POLICY = re.compile(
    r"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-[A-Za-z0-9+/=]+'; "
    r"base-uri 'none'; form-action 'none'"
)


class Look(HTMLParser):
    """Every element of a page, and what is wrong with any of them."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.wrong: list[str] = []
        self.policy = ""
        self.scripts = 0
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag not in _ELEMENTS:
            self.wrong.append(f"an element <{tag}>")
        if tag == "script" and values != {"type": "application/json"}:  # numbers of curves, which no browser runs
            self.scripts += 1
            if values:
                self.wrong.append(f"a script with {values}")
        if values.get("http-equiv", "").lower() == "content-security-policy":
            self.policy = values["content"] or ""
        elif "http-equiv" in values:
            self.wrong.append(f"a meta element {values}")
        for name, value in attrs:
            text = (value or "").strip().lower()
            if name.startswith("on"):
                self.wrong.append(f"<{tag} {name}>")
            if name in (
                "src",
                "xlink:href",
                "poster",
                "data",
                "action",
                "formaction",
                "srcset",
            ) and not text.startswith(("data:image/", "#")):
                self.wrong.append(f"<{tag} {name}={text[:40]}>")
            if (
                name == "href"
                and not (tag == "image" and text.startswith("data:image/"))
                and (":" in text.split("/")[0] or text.startswith(("//", "\\")))
            ):
                self.wrong.append(f"<{tag} href={text[:40]}>")
            if name == "style" and re.search(r"url\((?!['\"]?data:image/)|expression|@import", text):
                self.wrong.append(f"<{tag} style={text[:60]}>")


def looked_at(html: str) -> None:
    found = Look(html)
    assert found.wrong == []
    assert _POLICY.fullmatch(found.policy), found.policy
    assert found.scripts == 1
    # One that styles hold too, in which text is not escaped: between their tags nothing may end them early, or load.
    for style in re.findall(r"<style>(.*?)</style>", html, re.DOTALL):
        assert not re.search(r"url\((?!['\"]?data:image/)|@import|hostile", style)
