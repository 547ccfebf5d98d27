"""
Writes ``benchmarks/RESULTS.md`` from the JSON files of the benchmarks: every figure there is one that a run has measured.

``python benchmarks/results.py``
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


def table(header: list[str], rows: list[list[str]]) -> list[str]:
    """A table in Markdown: the first column to the left, the others to the right."""
    lines = ["| " + " | ".join(header) + " |", "|---" + "|---:" * (len(header) - 1) + "|"]
    return [*lines, *("| " + " | ".join(row) + " |" for row in rows)]


def milliseconds(seconds: float) -> str:
    """Four figures, or whole ones above a second."""
    value = 1e3 * seconds
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def of_case(case: dict[str, Any]) -> list[str]:
    lines = [f"**{case['name']}**" + (f" ({case['note']})" if case["note"] else ""), ""]
    rows = []
    for name, times in case["seconds"].items():
        there = [t for t in times if t is not None]
        median = statistics.median(there)
        pairs = zip(times, case["seconds"][case["ours"]], strict=True)
        ratio = statistics.median(a / b for a, b in pairs if a is not None and b is not None)
        rate = f"{case['values'] / median / 1e6:.1f}" if case["values"] else ""
        rows.append(
            [
                name,
                milliseconds(median),
                f"{milliseconds(min(there))} to {milliseconds(max(there))}",
                rate,
                f"{ratio:.2f}",
            ]
        )
    header = ["", "median ms", "range ms", "M values/s", "times ours"]
    if not case["values"]:
        header.pop(3)
        rows = [[*row[:3], row[4]] for row in rows]
    lines += [*table(header, rows), ""]
    for goal in case["goals"]:
        spread = f"{goal['least_measured']:.2f} to {goal['most_measured']:.2f}"
        lines.append(f"- {goal['goal']}: **{'met' if goal['met'] else 'missed'}**, {goal['measured']:.2f} ({spread})")
    return [*lines, ""] if case["goals"] else lines


def by_length(cases: list[dict[str, Any]]) -> list[str]:
    """Cases of one work at several lengths, in one table each for how they were run: values in a second, and the peer's time in ours."""
    lines: list[str] = []
    for how in dict.fromkeys((case["threads"], case["state"]) for case in cases):
        of_how = [case for case in cases if (case["threads"], case["state"]) == how]
        kinds = list(dict.fromkeys(case["kind"] for case in of_how))
        rows = []
        for length in sorted({case["length"] for case in of_how}):
            row = [str(length)]
            for case in sorted((c for c in of_how if c["length"] == length), key=lambda c: kinds.index(c["kind"])):
                ours, *peers = case["seconds"]
                there = [t for t in case["seconds"][ours] if t is not None]
                pairs = zip(case["seconds"][peers[0]], case["seconds"][ours], strict=True)
                ratio = statistics.median(a / b for a, b in pairs if a is not None and b is not None)
                row += [f"{case['values'] / statistics.median(there) / 1e6:.1f}", f"{ratio:.1f}"]
            rows.append(row)
        peer = next(name for name in of_how[0]["seconds"] if name != of_how[0]["ours"])
        header = [
            "values in a row",
            *(text for kind in kinds for text in (f"{kind}, M values/s", f"{peer}, times ours")),
        ]
        lines += [f"**{how[0]} thread{'s' * (how[0] > 1)}, {how[1]}**", "", *table(header, rows), ""]
    return lines


def of_claim(record: dict[str, Any]) -> list[str]:
    hardware = record["hardware"]
    machine = ", ".join(
        str(part)
        for part in (
            hardware["processor"],
            f"{hardware['threads']} thread{'s' if hardware['threads'] != 1 else ''}",
            hardware["instructions"],
            hardware.get("gpu"),
        )
        if part
    )
    packages = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    lines = [f"## {record['title']}", "", f"`{record['command']}` on {machine}; {packages}.", ""]
    with_lengths = [case for case in record["cases"] if "length" in case]
    lines += by_length(with_lengths)
    for case in with_lengths:  # of these tables, goals are of a few lines
        lines += [f"- {case['name']}: {line[2:]}" for line in of_case(case) if line.startswith("- ")]
    lines += [""] if with_lengths else []
    for case in record["cases"]:
        lines += of_case(case) if "length" not in case else []
    if "table" in record:
        lines += [*table(record["table"]["header"], record["table"]["rows"]), ""]
    return lines


def main() -> None:
    stories = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((FOLDER / "results").glob("*.json"))]
    stories = [record for record in stories if "claim" in record and "title" in record]
    lines = [
        "# Results of the benchmarks",
        "",
        "Generated by `python benchmarks/results.py` from the JSON files in `benchmarks/results`, which `make bench` writes. Times are",
        "medians over rounds in which all contenders ran in turn, with their range; *times ours* is the median of the ratios within",
        "rounds. Ratios carry over to other machines better than times do.",
        "",
    ]
    for record in stories:
        lines += of_claim(record)
    (FOLDER / "RESULTS.md").write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
    goals = [goal for record in stories for case in record["cases"] for goal in case["goals"]]
    print(f"{FOLDER.name}/RESULTS.md: {sum(g['met'] for g in goals)} of {len(goals)} goals met")


if __name__ == "__main__":
    main()
