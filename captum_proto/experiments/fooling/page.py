"""The page of the fooling experiment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from captum_proto._utils.tables import number
from captum_proto.experiments.fooling.agreements import agreement_rows
from captum_proto.experiments.fooling.areas import area_rows, mean_rows, sentences
from captum_proto.experiments.fooling.results import FoolingResult, summary_rows
from captum_proto.experiments.fooling.rows import FINE_TUNED, HONEST, separation
from captum_proto.experiments.fooling.scores import MEASURES, PLANTED
from captum_proto.report.blocks import Block, Files, Paragraphs, Picture, Pictures, Table, Verdict, Verdicts
from captum_proto.report.page import Page, Section
from captum_proto.stats.judgments import Order


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
    agreements: list[Block] = [Paragraphs(["On natural images that nothing was trained on."])]
    if result.agreements:
        agreements += [Table(*agreement_rows(result.agreements), "Over all seeds."), Files(["agreement.csv"])]
    return Page(
        f"Fooling feature visualization: {model}",
        summary=[
            "Prototypes: first those of an honest network, then those of networks that answer as it does on natural images and show "
            "whoever computes a prototype something that was planted.",
            *result.conclusion(),
        ],
        lead=[Pictures([figure])],
        trust=_trust(result),
        sections=[
            Section(
                "Does path similarity notice?",
                [
                    Paragraphs([flagged]),
                    Verdicts([_verdict(result, name) for name in result.networks]),
                    Table(*summary_rows(result), "Means over classes and seeds.", brief=[0, 4, 10, 11]),
                    Files(["fooling.csv"]),
                ],
            ),
            *_measures(result),
            Section("Is the fooled network the classifier?", agreements, shown=0),
        ],
        settings=provenance,
        failures=list(failures),
    )


def _measures(result: FoolingResult) -> list[Section]:
    """Which measure tells fooled from honest prototypes; nothing without scores."""
    if not result.scores:
        return []
    told = [f"{measure.label}: {measure.text} is suspicious." for measure in MEASURES.values()]
    caption = (
        "The chance that a fooled network's prototype is more suspicious than an honest one, with its 95 % interval; below 0.5 it is the "
        "less suspicious one."
    )
    return [
        Section(
            "Which measure notices?",
            [
                Paragraphs(sentences(result.scores, result.others)),
                Table(*area_rows(result.scores, result.others), caption),
                Table(
                    *area_rows(result.scores, result.others, PLANTED), "The same of the planted pictures themselves."
                ),
                Table(*mean_rows(result.scores, result.networks), "Means over prototypes."),
                Paragraphs(
                    [*told, "In sentences, intervals are corrected for all networks and measures (Bonferroni)."]
                ),
                Files(["scores.csv"]),
            ],
        )
    ]


def _trust(result: FoolingResult) -> str:
    """Whether path similarity tells what the pictures do not."""
    noticed = {name: found for name, found in result.noticed().items() if name != FINE_TUNED}
    told = [name for name, (order, _) in noticed.items() if order is Order.ABOVE]
    missed = [name for name in noticed if name not in told]
    text = (
        f"The pictures alone cannot. Path similarity tells {len(told)} of {len(noticed)} fooled networks from the honest one, by more than "
        f"chance{': ' if told else ''}{', '.join(told)}."
    )
    flagged, of = result.flags(HONEST)
    if missed:
        text += f" It does not tell {', '.join(missed)}."
    return text + (f" It also flags {flagged} of {of} honest prototypes." if flagged else "")


def _verdict(result: FoolingResult, name: str) -> Verdict:
    flagged, measured = result.flags(name)
    missing = len(result.of(name)) - measured
    notes = [f"{missing} more could not be measured."] if missing else []
    if name == HONEST:
        passed = flagged == 0 if measured else None
        return Verdict(f"{name}: flagged", f"{flagged} of {measured}", "none", "", passed, " ".join(notes))
    order, _ = result.noticed()[name]
    auc = separation(result.rows, name)
    if name == FINE_TUNED:
        beside = "Beside {} of {} honest ones.".format(*result.flags(HONEST))
        passed = None if order is Order.UNKNOWN else order is not Order.ABOVE
        return Verdict(
            f"{name}: flagged",
            f"{flagged} of {measured}",
            "no more often than honest ones",
            f"AUC {number(auc, 2)}",
            passed,
            " ".join([*notes, beside]),
        )
    if order is not Order.ABOVE:
        told = order.told("", "it is flagged less often", "the flag does not tell them apart")
        notes.append("Beside {} of {} honest ones: {}.".format(*result.flags(HONEST), told))
    if auc <= 0.5:
        notes.append("Its prototypes are no lower than the honest ones.")
    all_flagged = flagged == measured
    open_ = all_flagged and order in (Order.CHANCE, Order.UNKNOWN)
    return Verdict(
        f"{name}: flagged",
        f"{flagged} of {measured}",
        "all, and more often than honest ones",
        f"AUC {number(auc, 2)}",
        None if open_ else all_flagged and order is Order.ABOVE,
        " ".join(notes),
    )
