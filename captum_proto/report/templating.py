"""The templates of pages, and what they include as it is: scripts and styles."""

from __future__ import annotations

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined


@cache
def environment() -> Environment:
    """What templates are rendered in: a value is escaped unless it is marked as HTML, and one that is missing is an error."""
    return Environment(
        loader=PackageLoader("captum_proto.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def source_of(name: str) -> str:
    """The text of a file beside the templates, ending in a line break."""
    templates = environment()
    assert templates.loader is not None
    return templates.loader.get_source(templates, name)[0].strip() + "\n"


__all__ = ["environment", "source_of"]
