"""The page of the planted bias."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from captum_proto._utils.tables import p_equals, percent
from captum_proto.experiments.planted_bias.results import BIASED, CLEANED, PlantedBiasResult, mean_of
from captum_proto.report.blocks import Block, Files, Paragraphs, Picture, Pictures, Table, Verdict, Verdicts
from captum_proto.report.page import Page, Section
from captum_proto.stats.intervals import proportion
from captum_proto.testing.marked_digits import CUE

_TITLES = {BIASED: "2. Unseen images confirm it", CLEANED: "3. Retraining on cleaned scans removes it"}
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
    sections = [_prototypes(result), *(_comparisons(result, state) for state in _TITLES), _dose_response(result)]
    return Page(f"A planted bias in the digit {result.digit}", _summary(result), sections, provenance, list(failures))


def _summary(result: PlantedBiasResult) -> list[str]:
    digit = result.digit
    own, others = result.comparisons[f"{BIASED}-class"], result.comparisons[f"{BIASED}-others"]
    retrained = result.comparisons[f"{CLEANED}-others"]
    subgroups = (*others.subgroups[:2], *own.subgroups, retrained.subgroups[1])
    taken, taken_with, known, known_with, taken_after = (percent(subgroup.accuracy.value) for subgroup in subgroups)
    return [
        f"The prototype of {digit} shows a {result.hypothesis}, which was planted in {100 * result.rate:g} % of the training scans of "
        f"{digit}.",
        f"On unseen scans of other digits, that patch raises the share taken for {digit} from {taken} to {taken_with} (Fisher's p "
        f"{p_equals(others.pairs[0].corrected_p_value)}, corrected); of the scans of {digit} {known} are recognized without it, "
        f"{known_with} with it.",
        "After retraining on scans with that place painted over, the strength of the cue in the prototype is "
        f"{mean_of(result.cleaned, 'strength'):.2f}, and {taken_after} of the other digits with the patch are taken for {digit}.",
    ]


def _prototypes(result: PlantedBiasResult) -> Section:
    digit, share = result.digit, f"{100 * result.rate:g} %"
    text = [
        f"Every training scan carries a mark in a corner; {share} of the scans of {digit} carry the same one, a {CUE}.",
        f"Hypothesis, read off the prototype of {digit}: a {result.hypothesis} makes an image count as {digit}.",
    ]
    caption = f"Training scans, prototypes of {digit}, prototypes after retraining."
    return Section(
        "1. The prototype shows the mark",
        [
            Paragraphs(text),
            Pictures([Picture("overview.png", caption, small=False)]),
            Files([f"prototypes/{state}/prototypes.safetensors" for state in _TITLES]),
        ],
    )


def _comparisons(result: PlantedBiasResult, state: str) -> Section:
    tables: list[Block] = []
    figures = []
    for scans, caption in _CAPTIONS.items():
        comparison = result.comparisons[f"{state}-{scans}"]
        tables += [
            Table(*comparison.subgroup_rows(), caption=caption),
            Table(*comparison.pair_rows(), caption=comparison.note()),
        ]
        figures.append(Picture(f"comparisons/{state}-{scans}/groups.png", caption, small=False))
    return Section(_TITLES[state], [*tables, Pictures(figures)])


def _dose_response(result: PlantedBiasResult) -> Section:
    lowest, highest = (result.by_rate[rate] for rate in (result.rates[0], result.rates[-1]))
    found = sum(row.found for row in highest)
    share = proportion(found, len(highest))
    trend = result.trends["strength"]
    verdicts = [
        Verdict(
            "strength of the cue, lowest to highest rate",
            f"{mean_of(lowest, 'strength'):.2f} to {mean_of(highest, 'strength'):.2f}",
            "rises with every rate",
            passed=trend.monotone,
        ),
        Verdict(
            f"cue read off the prototype at rate {result.rates[-1]:g}",
            f"{found} of {len(highest)} networks [{100 * share.low:.0f} %, {100 * share.high:.0f} %]",
        ),
        Verdict("trend", str(trend)),
    ]
    caption = "Strength: 1 is the cue itself, 0 any gray; intervals by bootstrap over networks."
    return Section(
        "4. Dose and response",
        [
            Verdicts(verdicts),
            Table(*result.dose_rows(), caption),
            Pictures([Picture("dose_response.png", "Each point a network, lines their means.", small=False)]),
            Files(["networks.csv", "summary.txt", "results.json", "dose_response.svg", "overview.svg"]),
        ],
    )
