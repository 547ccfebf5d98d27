"""Figures as people read them, and a table of them as aligned text."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """First column to the left, the others to the right, two spaces between."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = []
    for row in [header, ["-" * width for width in widths], *rows]:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def number(value: float, digits: int = 3) -> str:
    """A number, or a dash where there is none."""
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


def percent(value: float) -> str:
    """A share in per cent, or a dash where there is none."""
    return "–" if math.isnan(value) else f"{100 * value:.1f} %"


def bare_percent(value: float) -> str:
    """The same without the sign, for a range that has it once."""
    return "–" if math.isnan(value) else f"{100 * value:.1f}"


def between(ends: tuple[float, float] | None, show: Callable[[float], str] = number, joint: str | None = None) -> str:
    """
    A range, or a dash where there is none.

    Args:
        ends (tuple[float, float], optional): Its ends; None or NaN: there is none.
        show (Callable, optional): How an end is written. Default: :func:`number`
        joint (str, optional): What stands between them. Default: an en dash, but " to " where an end is negative

    Examples::

        >>> between((0.25, 1.0)), between((-0.5, 0.5)), between(None)
        ('0.250–1.000', '-0.500 to 0.500', '–')
    """
    if ends is None or any(math.isnan(end) for end in ends):
        return "–"
    if joint is None:
        joint = " to " if min(ends) < 0 else "–"
    return f"{show(ends[0])}{joint}{show(ends[1])}"


def p_text(value: float) -> str:
    """A p-value."""
    return "< 0.0001" if value < 1e-4 else f"{value:.2g}" if value < 0.1 else f"{value:.2f}"


def p_equals(value: float) -> str:
    """A p-value after its letter: "= 0.03" or "< 0.0001"."""
    text = p_text(value)
    return text if text.startswith("<") else f"= {text}"


def typographic(text: str) -> str:
    """Text with minus signs in place of hyphens: for figures alone."""
    return text.replace("-", "−")
