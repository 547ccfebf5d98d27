"""What the figures of a planted bias say, each judged once: for the page, ``summary.txt`` and the console."""

from __future__ import annotations

import math

from captum_proto._utils.tables import between, number, p_equals, percent
from captum_proto.experiments.planted_bias.results import BIASED, CLEANED, PlantedBiasResult, mean_of
from captum_proto.metrics.group_comparison import SubgroupComparison
from captum_proto.stats.intervals import fisher_exact
from captum_proto.stats.judgments import Order, mean_difference, order_by_interval, order_by_test
from captum_proto.testing.marked_digits import CUE


def conclusion(result: PlantedBiasResult) -> list[str]:
    """
    What the experiment came to, in sentences.

    Args:
        result (PlantedBiasResult): What was found.

    Returns:
        list[str]: What the prototype shows, what unseen images say of it, what retraining does, and how the strength follows the rate.
    """
    return [_shown(result), *_tested(result), *_retrained(result), _followed(result)]


def titles(result: PlantedBiasResult) -> tuple[str, str, str]:
    """What is said of the prototype, of unseen images and of retraining, as headings."""
    prototype = f"The prototype {'shows' if shows_cue(result) else 'does not show'} the planted mark"
    unseen = f"Unseen images {'confirm' if confirmed(result) else 'do not confirm'} the hypothesis"
    return prototype, unseen, f"Retraining on cleaned scans {_removal(result)}"


def shows_cue(result: PlantedBiasResult) -> bool:
    """Whether the mark that was read off the prototype is the cue, up to a pixel."""
    return result.hypothesis.near(CUE)


def confirmed(result: PlantedBiasResult) -> bool:
    """Whether the patch raises the share of other digits taken for the class by more than chance, and not as any patch does."""
    patch, control, against_control = _orders(result.comparisons[f"{BIASED}-others"])
    any_patch = control is Order.BELOW and against_control is not Order.ABOVE
    return patch is Order.BELOW and not any_patch


def rise(result: PlantedBiasResult) -> Order:
    """Whether the strength of the cue rises with the rate: by Page's test, or between two rates by their difference over networks."""
    lowest, highest = (_strengths(result, rate) for rate in (result.rates[0], result.rates[-1]))
    difference = mean_difference(highest, lowest, paired=True)
    page = result.trends["strength"].page_p_value
    if math.isnan(page):
        return order_by_interval(difference)
    # The test is of a rise alone.
    return order_by_test(difference.value, page if difference.value > 0 else 1.0)


def _shown(result: PlantedBiasResult) -> str:
    seen, share = result.hypothesis, f"{100 * result.rate:g} % of the training scans of {result.digit}"
    if not shows_cue(result):
        return f"The prototype of {result.digit} shows a {seen}. The mark that was planted in {share} is another, a {CUE}: it is not found."
    what = "which" if seen == CUE else f"up to a pixel the {CUE} that"
    return f"The prototype of {result.digit} shows a {seen}, {what} was planted in {share}."


def _tested(result: PlantedBiasResult) -> list[str]:
    digit = result.digit
    others, own = (result.comparisons[f"{BIASED}-{scans}"] for scans in ("others", "class"))
    (plain, patched, control), (known, known_with) = others.subgroups, own.subgroups
    to_patch, to_control, _ = others.pairs
    order = _orders(others)
    return [
        f"On unseen scans of other digits, the share taken for {digit} is {percent(plain.accuracy.value)} without a patch, "
        f"{percent(patched.accuracy.value)} with that patch (Fisher's p {p_equals(to_patch.corrected_p_value)}, corrected: "
        f"{order[0].told('it lowers the share', 'it raises the share')}) and {percent(control.accuracy.value)} with a control (p "
        f"{p_equals(to_control.corrected_p_value)}: {order[1].told('it lowers the share', 'it raises the share')}). Unseen images "
        f"{'confirm' if confirmed(result) else 'do not confirm'} that the patch makes an image count as {digit}.",
        f"Of the unseen scans of {digit}, {percent(known.accuracy.value)} are recognized without the patch and "
        f"{percent(known_with.accuracy.value)} with it (Fisher's p {p_equals(own.pairs[0].corrected_p_value)}): "
        f"{_orders(own)[0].told('fewer with it', 'more with it')}.",
    ]


def _retrained(result: PlantedBiasResult) -> list[str]:
    digit = result.digit
    before, after = (result.comparisons[f"{state}-others"].subgroups[1] for state in (BIASED, CLEANED))
    fall, p_value = _fall(result)
    text = [
        f"After retraining on scans with that place painted over, {percent(after.accuracy.value)} of the other digits with the patch are "
        f"taken for {digit}, before {percent(before.accuracy.value)} (Fisher's p {p_equals(p_value)}): {fall.told('fewer', 'more')}. "
        f"Retraining {_removal(result)}."
    ]
    strengths = [row.strength for row in result.cleaned]
    difference = mean_difference(_strengths(result, result.rate), strengths, paired=True)
    told = order_by_interval(difference).told("it falls", "it rises", "it stays as it was")
    ends = (difference.low, difference.high)
    interval = "" if math.isnan(difference.low) else f" (95 % interval of the fall {between(ends, _short, ' to ')})"
    text.append(
        f"The strength of the cue in the prototype is {mean_of(result.cleaned, 'strength'):.2f} after retraining, before "
        f"{sum(_strengths(result, result.rate)) / len(strengths):.2f}{interval}: {told}."
    )
    return text


def _followed(result: PlantedBiasResult) -> str:
    lowest, highest = (mean_of(result.by_rate[rate], "strength") for rate in (result.rates[0], result.rates[-1]))
    trend = result.trends["strength"]
    page = "" if math.isnan(trend.page_p_value) else f", Page's test p {p_equals(trend.page_p_value)}"
    each = "" if trend.monotone else ", though not from each rate to the next"
    told = rise(result).told(f"it rises with the rate{each}", f"it falls as the rate rises{each}")
    return (
        f"The strength of the cue in the prototype is {lowest:.2f} at rate {result.rates[0]:g} and {highest:.2f} at rate "
        f"{result.rates[-1]:g}{page}: {told}."
    )


def _orders(comparison: SubgroupComparison) -> list[Order]:
    """Of each pair of subgroups, how the first stands to the second."""
    return [comparison.order(pair) for pair in comparison.pairs]


def _fall(result: PlantedBiasResult) -> tuple[Order, float]:
    """How the share of patched scans taken for the class before retraining stands to that after it, and Fisher's p."""
    before, after = (result.comparisons[f"{state}-others"].subgroups[1] for state in (BIASED, CLEANED))
    p_value = fisher_exact((before.correct, before.images), (after.correct, after.images))
    return order_by_test(before.accuracy.value - after.accuracy.value, p_value), p_value


def _removal(result: PlantedBiasResult) -> str:
    """What retraining does to the effect of the patch."""
    fall, _ = _fall(result)
    raises_still = _orders(result.comparisons[f"{CLEANED}-others"])[0] is Order.BELOW
    if not confirmed(result):
        return "has no confirmed effect to remove"
    if fall is Order.ABOVE:
        return "weakens the effect, but does not remove it" if raises_still else "removes the effect"
    if fall is Order.CHANCE and not raises_still:
        return "may or may not remove the effect"
    return "does not remove the effect"


def _strengths(result: PlantedBiasResult, rate: float) -> list[float]:
    return [row.strength for row in result.measured if row.rate == rate and not row.cleaned]


def _short(value: float) -> str:
    return number(value, 2)


__all__ = ["conclusion", "confirmed", "rise", "shows_cue", "titles"]
