"""The page of the fooling experiment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from captum_proto.experiments.fooling.results import (
    HONEST,
    FoolingResult,
    agreement_rows,
    mean_of,
    separation,
    summary_rows,
)
from captum_proto.report.blocks import Block, Files, Paragraphs, Picture, Pictures, Table, Verdict, Verdicts
from captum_proto.report.page import Page, Section


def fooling_page(result: FoolingResult, model: str, provenance: dict[str, Any], failures: Sequence[str] = ()) -> Page:
    """
    What the page says.

    Args:
        result (FoolingResult): What was found.
        model (str): The classifier's name.
        provenance (dict): What is recorded of the run.
        failures (sequence of str, optional): What was warned of. Default: nothing

    Returns:
        Page: Its paths are relative to the folder of the run.
    """
    figure = Picture("prototypes.png", "A row for each network, a column for each class; first seed.", small=False)
    flagged = f"Prototypes are flagged whose normalized Spearman correlation is below {result.threshold:g}."
    agreements: list[Block] = [Paragraphs(["On natural images that the detector was not trained on."])]
    if result.agreements:
        agreements += [Table(*agreement_rows(result.agreements), "Over all seeds."), Files(["agreement.csv"])]
    return Page(
        f"Fooling feature visualization: {model}",
        summary=_summary(result),
        sections=[
            Section("Prototypes of the honest and of the fooled networks", [Pictures([figure])]),
            Section(
                "Does path similarity notice?",
                [
                    Paragraphs([flagged]),
                    Verdicts([_verdict(result, name) for name in result.networks]),
                    Table(*summary_rows(result), "Means over classes and seeds."),
                    Files(["fooling.csv"]),
                ],
            ),
            Section("Is the fooled network the classifier?", agreements),
        ],
        settings=provenance,
        failures=list(failures),
    )


def _summary(result: FoolingResult) -> list[str]:
    sentences = [
        f"The normalized Spearman correlation of honest prototypes is {mean_of(result.of(HONEST), 'normalized'):.2f} "
        "on average (1: as natural images of the class, 0: as those of other classes)."
    ]
    for name in result.networks[1:]:
        rows = result.of(name)
        flagged = sum(row.flagged for row in rows)
        sentences.append(f"Planted {name}: {mean_of(rows, 'normalized'):.2f}; {flagged} of {len(rows)} flagged.")
    return sentences


def _verdict(result: FoolingResult, name: str) -> Verdict:
    rows = result.of(name)
    flagged = sum(row.flagged for row in rows)
    honest = name == HONEST
    return Verdict(
        f"{name}: flagged",
        f"{flagged} of {len(rows)}",
        "none" if honest else "all",
        "" if honest else f"AUC {separation(result.rows, name):.2f}",
        flagged == (0 if honest else len(rows)),
    )
