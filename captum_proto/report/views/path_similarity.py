"""
Path similarity in words and figures: each criterion beside what natural images reach, and which controls pass it too.

A criterion proves nothing where a gray square passes it, and the report says so where it shows the criterion.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from captum_proto._utils.tables import bare_percent, between, number, percent, typographic
from captum_proto.metrics.comparison import OTHER, SAME, ConditionSummary, PathComparison, condition_label, summarize
from captum_proto.report.blocks import Table, Verdict
from captum_proto.report.views.path_criteria import (
    CRITERIA,
    MEAN_IMAGE,
    NO_DATA,
    PROTOTYPE,
    Criterion,
    as_high,
    by_image,
    difference_from,
    natural_figure,
)
from captum_proto.stats.intervals import Estimate, interval
from captum_proto.stats.judgments import Order, order_by_interval

#: What the names of the criteria mean, for the page to say once.
NOTATION = (
    "SS is the Spearman correlation of an image's activations in a layer with the mean activations over natural images of the class, D "
    "their L1 distance; SS_I and D_I are the means of both over same-class images, and I is any one of them. A criterion is expected to "
    "hold as often as it does for a natural image of the class."
)


def criteria(comparisons: Sequence[PathComparison]) -> list[Verdict]:
    """
    The paper's criteria, for the prototypes of one class or as means over several.

    Args:
        comparisons (sequence of PathComparison): One for each class, of the same model and conditions.

    Returns:
        list[Verdict]: The prototypes' figure, expected to be at least that of a natural image of the class. The note of each says which
        controls pass it too, or do as well as the prototypes.
    """
    if any(PROTOTYPE not in comparison.conditions for comparison in comparisons):
        return []
    rows = {row.condition: row for row in summarize(comparisons)}
    return [_verdict(criterion, comparisons, rows) for criterion in CRITERIA]


def conclusion(comparisons: Sequence[PathComparison]) -> list[str]:
    """
    What the comparison says of the prototypes, in sentences that do not flatter.

    Args:
        comparisons (sequence of PathComparison): One for each class, of the same model and conditions.

    Returns:
        list[str]: Where the prototypes stand among natural images and controls, and what does not tell them apart.
    """
    rows = {row.condition: row for row in summarize(comparisons)}
    if PROTOTYPE not in rows:
        return []
    own, same, other = (rows[condition].spearman for condition in (PROTOTYPE, SAME, OTHER))
    shown = f"natural images of the class {number(same)}, of other classes {number(other)}"
    over = f", as the mean over {len(comparisons)} classes" if len(comparisons) > 1 else ""
    text = [f"The prototypes' mean Spearman correlation over layers is {number(own)}{over}; {shown}."]
    run = {condition: rows[condition].spearman for condition in NO_DATA if condition in rows}
    controls = {condition: value for condition, value in run.items() if not math.isnan(value)}
    best = max(controls, key=lambda condition: controls[condition], default=None)
    if best is None:
        which = "has a rank correlation" if run else "was run"
        text.append(f"No control that knows no data {which}: what these figures are worth is not known.")
    else:
        text[0] = text[0][:-1] + f"; the best control that knows no data, {NO_DATA[best]}, {number(controls[best])}."
    if math.isnan(own):
        return [*text, "No layer of the prototypes has a rank correlation, so nothing can be said of them."]
    differences = {
        condition: difference_from(CRITERIA[0], comparisons, condition) for condition in (SAME, OTHER, *controls)
    }
    orders = {condition: order_by_interval(difference) for condition, difference in differences.items()}
    if best is not None and controls[best] >= own:
        text.append(f"They do no better than {NO_DATA[best]}: nothing here is a reason to trust these pictures.")
    else:
        text.append(_place(own, same, other, orders))
        if controls and all(
            orders[condition] is Order.ABOVE for condition in controls
        ):  # each by itself: all have to be
            text.append("They are above every control that knows no data, by more than chance.")
    text += _doubt(comparisons, differences, orders)
    if MEAN_IMAGE in rows and rows[MEAN_IMAGE].spearman >= own:
        text.append(
            f"The mean of the natural images, which knows the data, reaches {number(rows[MEAN_IMAGE].spearman)}: a high value takes no "
            "picture that anyone would recognize."
        )
    return text


def _place(own: float, same: float, other: float, orders: Mapping[str, Order]) -> str:
    """Where prototypes stand between natural images of other classes and of the class."""
    if own <= other:
        return "That is no higher than images of other classes: these pictures are not to be trusted far."
    if orders[OTHER] is Order.CHANCE:
        return "That is not told apart from images of other classes: these pictures are not to be trusted far."
    if orders[SAME] is Order.CHANCE:
        return "That is above images of other classes, and not told apart from natural images of the class."
    if own < same:
        return (
            "That lies between images of other classes and of the class itself: the network processes the pictures as something like the "
            "class, but not as it processes natural images of it."
        )
    if own >= same:
        return "By this measure the network processes the pictures as it processes natural images of the class."
    return "There is nothing to compare them with among natural images."


def comparison_table(comparisons: Sequence[PathComparison]) -> Table:
    """
    Every condition's figures, with intervals.

    Args:
        comparisons (sequence of PathComparison): One for each class, of the same model and conditions.

    Returns:
        Table: For one class, intervals over a condition's images; for several, means and intervals over classes.
    """
    several = len(comparisons) > 1
    each = [{row.condition: row for row in comparison.summaries()} for comparison in comparisons]
    rows = []
    for row in summarize(comparisons):
        of_classes = [rows_of_class[row.condition] for rows_of_class in each]
        cells = [
            condition_label(row.condition),
            str(row.images),
            number(row.spearman),
            between(_spearman_interval(comparisons, row.condition)),
        ]
        for criterion in CRITERIA[1:]:
            if row.condition == SAME:
                cells.append(percent(natural_figure(criterion, comparisons)))
            else:
                ends = interval([criterion.value(row_of_class) for row_of_class in of_classes])
                spread = several and ends is not None and ends[0] != ends[1]
                within = f" ({between(_within(ends, 0.0), bare_percent)})" if spread else ""
                cells.append(percent(criterion.value(row)) + within)
        cells += [number(row.normalized_spearman, 2), number(row.normalized_l1, 2), str(row.undefined)]
        rows.append([cells[0], *(typographic(cell) for cell in cells[1:])])
    layers = len(comparisons[0].layers)
    left_out = sum(int(comparison.settings.get("left_out", 0)) for comparison in comparisons)
    natural = sum(len(comparison.spearman[SAME]) for comparison in comparisons)
    caption = (
        f"{f'Means over {len(comparisons)} classes' if several else 'Means over images'}, with 95 % intervals over "
        f"{'classes' if several else 'images, none for a single one'}. Shares are of the {layers} layers, {_dead(comparisons)} dead ones "
        "left out; for the same class they are what a single natural image reaches on average. "
        f"{left_out} of {natural} same-class images were left out of the mean they are compared with. Undefined: layers in which no image "
        "of the condition has a rank correlation; they count as failing."
    )
    header = ["condition", "images", "Spearman", "95 % interval", "SS ≥ SS_I", "SS ≥ every I", "D ≤ D_I"]
    return Table([*header, "SS norm.", "D norm.", "undefined"], rows, caption, conditions=True, brief=[0, 2, 3])


def comparison_failures(comparisons: Mapping[str, PathComparison]) -> list[str]:
    """
    What could not be measured, in sentences: layers that are dead, correlations that are undefined.

    Args:
        comparisons (mapping[str, PathComparison]): By the label of the class.

    Returns:
        list[str]: What is the same for several classes is said once.
    """
    return _of_classes(comparisons, _failures)


def layers_left_out(comparisons: Mapping[str, PathComparison]) -> list[str]:
    """
    Which layers give nothing to compare, in sentences.

    Args:
        comparisons (mapping[str, PathComparison]): By the label of the class.

    Returns:
        list[str]: What is the same for several classes is said once.
    """
    return _of_classes(comparisons, _left_out)


def _of_classes(
    comparisons: Mapping[str, PathComparison], sentences: Callable[[PathComparison], Iterable[str]]
) -> list[str]:
    """The sentences of each class under its label; what is the same for several is said once."""
    labels: dict[str, list[str]] = {}
    for label, comparison in comparisons.items():
        for sentence in sentences(comparison):
            labels.setdefault(sentence, []).append(label)
    return [
        f"{'Every class' if len(classes) == len(comparisons) > 1 else _few(classes)}: {sentence}"
        for sentence, classes in labels.items()
    ]


def _left_out(comparison: PathComparison) -> Iterator[str]:
    skipped = comparison.settings.get("skipped")
    for name, reason in (skipped if isinstance(skipped, dict) else {}).items():
        yield f'layer "{name}" was left out: {reason}.'


def _failures(comparison: PathComparison) -> Iterator[str]:
    dead = [name for name, is_dead in zip(comparison.layers, comparison.dead.tolist(), strict=True) if is_dead]
    if dead:
        yield (
            f"{len(dead)} of {len(comparison.layers)} layers are dead, that is, no same-class image has a rank correlation there, and are "
            f"left out of every mean: {_few(dead)}."
        )
    for condition in comparison.conditions:
        undefined = comparison.mean_spearman(condition).isnan() & ~comparison.dead
        if bool(undefined.any()):
            names = [name for name, none in zip(comparison.layers, undefined.tolist(), strict=True) if none]
            yield (
                f"{condition_label(condition)} has no rank correlation in {len(names)} layers, because its activations are constant "
                f"there; they count as failing: {_few(names)}."
            )


def _verdict(criterion: Criterion, comparisons: Sequence[PathComparison], rows: dict[str, ConditionSummary]) -> Verdict:
    share = criterion.share
    show = percent if share else number
    own, natural = criterion.value(rows[PROTOTYPE]), natural_figure(criterion, comparisons)
    difference, passed, notes = "", None, []
    if not (math.isnan(own) or math.isnan(natural)):
        difference = typographic(f"{100 * (own - natural):+.1f} points" if share else f"{own - natural:+.3f}")
        found = difference_from(criterion, comparisons, SAME)
        order = order_by_interval(found)
        if own >= natural and order in (Order.ABOVE, Order.EQUAL):
            passed = True
        elif own < natural and order is Order.BELOW:
            passed = False
        if order is Order.CHANCE:
            ends = between((found.low, found.high), bare_percent if share else number, " to ")
            notes.append(
                f"The difference may be chance: its 95 % interval is {typographic(ends)}{' points' if share else ''}."
            )
    notes += _notes(criterion, comparisons, rows, natural)
    of_what = "a same-class image on average" if share else "same-class images"
    return Verdict(
        name=criterion.name,
        measured=f"{show(own)}{_uncertainty(criterion, comparisons)}",
        expected=f"at least {show(natural)}, {of_what}",
        difference=difference,
        passed=passed,
        note=" ".join(notes),
    )


def _notes(
    criterion: Criterion, comparisons: Sequence[PathComparison], rows: dict[str, ConditionSummary], natural: float
) -> list[str]:
    """Which images pass a criterion, or reach what the prototypes reach, although nobody would call them prototypes of the class."""
    values = {condition: criterion.value(row) for condition, row in rows.items()}
    show = percent if criterion.share else number
    own, controls = values[PROTOTYPE], [condition for condition in NO_DATA if condition in values]
    if not controls:
        return ["No control that knows no data was run, so it is not known what passing this criterion is worth."]

    def listed(conditions: Iterable[str]) -> str:
        return ", ".join(f"{NO_DATA[condition]} ({show(values[condition])})" for condition in conditions)

    sentences = []
    if passing := listed(condition for condition in controls if values[condition] >= natural):
        sentences.append(
            f"Controls without data that pass too: {passing}. The criterion does not tell a prototype from these."
            if own >= natural
            else f"Controls without data that pass where the prototypes do not: {passing}."
        )
    if reaching := listed(as_high(values, controls, criterion.share)):
        sentences.append(f"Controls without data as high as the prototypes or higher: {reaching}.")
    if near := listed(
        condition
        for condition in controls
        if values[condition] < own
        and order_by_interval(difference_from(criterion, comparisons, condition)) is Order.CHANCE
    ):
        sentences.append(f"Controls without data that are lower by no more than may be chance: {near}.")
    if as_high(values, [OTHER], criterion.share):
        sentences.append(f"Images of other classes are as high as the prototypes or higher: {show(values[OTHER])}.")
    return sentences


def _doubt(
    comparisons: Sequence[PathComparison], differences: Mapping[str, Estimate], orders: Mapping[str, Order]
) -> list[str]:
    """What the spread of the prototypes leaves open."""
    count = len(comparisons[0].spearman[PROTOTYPE])
    if len(comparisons) == 1 and count == 1:
        return ["This is one prototype: how much another would differ is not known."]
    names = {SAME: "natural images of the class", OTHER: "images of other classes", **NO_DATA}
    open_ = [
        f"{name} ({typographic(between((differences[condition].low, differences[condition].high), joint=' to '))})"
        for condition, name in names.items()
        if orders.get(condition) is Order.CHANCE
    ]
    if not open_:
        return []
    over = f"{len(comparisons)} classes" if len(comparisons) > 1 else f"{count} prototypes"
    return [
        f"Over {over}, the prototypes differ from these by no more than may be chance: {', '.join(open_)}; in brackets the 95 % interval "
        "of the difference."
    ]


def _uncertainty(criterion: Criterion, comparisons: Sequence[PathComparison]) -> str:
    share = criterion.share
    show = bare_percent if share else number
    if len(comparisons) > 1:
        ends = interval([criterion.value(comparison.summary(PROTOTYPE)) for comparison in comparisons])
        if ends is not None and ends[0] == ends[1]:
            return f" (in each of {len(comparisons)} classes)"
        ends = _within(ends, 0.0 if share else -1.0)
        return (
            ""
            if ends is None
            else f" (95 % interval {typographic(between(ends, show))} over {len(comparisons)} classes)"
        )
    (comparison,) = comparisons
    count = len(comparison.spearman[PROTOTYPE])
    if count < 2:
        return " (one prototype, no interval)"
    if criterion.holds is None:
        ends = _spearman_interval(comparisons, PROTOTYPE)
        return "" if ends is None else f" (95 % interval {typographic(between(ends, show))} over {count} prototypes)"
    single = criterion.holds(comparison, PROTOTYPE)[:, ~comparison.dead].double().mean(1)
    low, high = float(single.min()), float(single.max())
    return f" (each prototype {show(low)} %)" if low == high else f" (single prototypes {between((low, high), show)})"


def _dead(comparisons: Sequence[PathComparison]) -> str:
    """How many layers are dead, from the least to the most."""
    counts = sorted(int(comparison.dead.sum()) for comparison in comparisons)
    return " to ".join(map(str, dict.fromkeys((counts[0], counts[-1]))))


def _within(ends: tuple[float, float] | None, low: float) -> tuple[float, float] | None:
    """No share is below 0 and no correlation below -1; neither is above 1."""
    return None if ends is None else (max(low, ends[0]), min(1.0, ends[1]))


def _spearman_interval(comparisons: Sequence[PathComparison], condition: str) -> tuple[float, float] | None:
    """Over classes where there are several, else over images."""
    if len(comparisons) > 1:
        return _within(interval([comparison.summary(condition).spearman for comparison in comparisons]), -1.0)
    return _within(interval(by_image(comparisons[0], condition).tolist()), -1.0)


def _few(names: list[str], most: int = 5) -> str:
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


__all__ = [
    "NOTATION",
    "NO_DATA",
    "comparison_failures",
    "comparison_table",
    "conclusion",
    "criteria",
    "layers_left_out",
]
