"""The page of the planted bias."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from captum_proto._utils.tables import p_equals, percent
from captum_proto.experiments.planted_bias.findings import conclusion, confirmed, rise, shows_cue, titles
from captum_proto.experiments.planted_bias.results import BIASED, CLEANED, PlantedBiasResult, mean_of
from captum_proto.report.blocks import Block, Files, Paragraphs, Picture, Pictures, Table, Verdict, Verdicts
from captum_proto.report.page import Page, Section
from captum_proto.stats.intervals import proportion
from captum_proto.stats.judgments import Order
from captum_proto.testing.marked_digits import CUE

_CAPTIONS = {
    "class": "Unseen scans of the class, with and without the patch of the hypothesis.",
    "others": "Unseen scans of other digits: “accuracy” is the share wrongly taken for the class.",
}


def planted_bias_page(result: PlantedBiasResult, provenance: dict[str, Any], failures: Sequence[str] = ()) -> Page:
    """
    What the page of the experiment says.

    Args:
        result (PlantedBiasResult): What was found.
        provenance (dict): What is recorded of the run.
        failures (sequence of str, optional): What was warned of. Default: nothing

    Returns:
        Page: Its paths are relative to the folder of the run.
    """
    prototype, unseen, retrained = titles(result)
    sections = [
        _prototypes(result, f"1. {prototype}"),
        _comparisons(result, BIASED, f"2. {unseen}"),
        _comparisons(result, CLEANED, f"3. {retrained}"),
        _dose_response(result),
    ]
    caption = f"Training scans, prototypes of {result.digit} (what the network sees as most typical of it), prototypes after retraining."
    return Page(
        f"A planted bias in the digit {result.digit}",
        conclusion(result),
        sections,
        provenance,
        list(failures),
        lead=[Pictures([Picture("overview.png", caption, small=False)])],
        trust=_trust(result),
    )


def _trust(result: PlantedBiasResult) -> str:
    """Whether unseen images confirm what was read off the prototype."""
    others = result.comparisons[f"{BIASED}-others"]
    plain, patched, _ = (percent(subgroup.accuracy.value) for subgroup in others.subgroups)
    begin = "Yes, unseen images confirm" if confirmed(result) else "No, unseen images do not confirm"
    return (
        f"{begin} that a {result.hypothesis} makes an image count as {result.digit}: {patched} of other digits with it are taken for "
        f"{result.digit}, {plain} without it (Fisher's exact test: p {p_equals(others.pairs[0].corrected_p_value)})."
    )


def _prototypes(result: PlantedBiasResult, title: str) -> Section:
    digit, share = result.digit, f"{100 * result.rate:g} %"
    text = [
        f"Every training scan carries a mark in a corner; {share} of the scans of {digit} carry the same one, a {CUE}.",
        f"Hypothesis, read off the prototype of {digit}: a {result.hypothesis} makes an image count as {digit}. It "
        f"{'names' if shows_cue(result) else 'does not name'} the planted mark.",
    ]
    return Section(
        title,
        [
            Paragraphs(text),
            Files([f"prototypes/{state}/prototypes.safetensors" for state in (BIASED, CLEANED)]),
        ],
    )


def _comparisons(result: PlantedBiasResult, state: str, title: str) -> Section:
    tables: list[Block] = []
    figures = []
    for scans, caption in _CAPTIONS.items():
        comparison = result.comparisons[f"{state}-{scans}"]
        tables += [
            Table(*comparison.subgroup_rows(), caption=caption),
            Table(*comparison.pair_rows(), caption=comparison.note()),
        ]
        figures.append(Picture(f"comparisons/{state}-{scans}/groups.png", caption, small=False))
    return Section(title, [Pictures(figures), *tables], shown=1)


def _dose_response(result: PlantedBiasResult) -> Section:
    lowest, highest = (result.by_rate[rate] for rate in (result.rates[0], result.rates[-1]))
    found = sum(row.found for row in highest)
    share = proportion(found, len(highest))
    trend, rises = result.trends["strength"], rise(result)
    doubt = "" if rises.certain else rises.told("", "")
    verdicts = [
        Verdict(
            "strength of the cue, lowest to highest rate",
            f"{mean_of(lowest, 'strength'):.2f} to {mean_of(highest, 'strength'):.2f}",
            "rises with every rate",
            # By chance alone, the mean over few networks may well rise.
            passed=False if not trend.monotone else True if rises is Order.ABOVE else None,
            note=f"{doubt[:1].upper()}{doubt[1:]}." if doubt else "",
        ),
        Verdict(
            f"cue read off the prototype at rate {result.rates[-1]:g}",
            f"{found} of {len(highest)} networks [{100 * share.low:.0f} %, {100 * share.high:.0f} %]",
        ),
        Verdict("trend", str(trend)),
    ]
    intervals = "intervals by bootstrap over networks" if len(highest) > 1 else "of one network there is no interval"
    caption = f"Strength: 1 is the cue itself, 0 any gray; {intervals}."
    return Section(
        "4. Dose and response",
        [
            Verdicts(verdicts),
            Pictures([Picture("dose_response.png", "Each point a network, lines their means.", small=False)]),
            Table(*result.dose_rows(), caption, brief=[0, 2, 4, 7, 9]),
            Files(["networks.csv", "summary.txt", "results.json", "dose_response.svg", "overview.svg"]),
        ],
        shown=2,
    )
