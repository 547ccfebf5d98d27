"""What a page of prototypes begins with: the pictures with what is known of each, and in one sentence whether to trust them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from captum_proto._utils.tables import number, typographic
from captum_proto.attr.prototypes import Prototypes
from captum_proto.metrics.comparison import OTHER, SAME, PathComparison, summarize
from captum_proto.report.blocks import Gallery, Picture, Shown
from captum_proto.report.views.path_criteria import CRITERIA, NO_DATA, PROTOTYPE, by_image, difference_from
from captum_proto.report.views.path_similarity import conclusion
from captum_proto.stats.judgments import Order, order_by_interval

#: A class is recognized where its probability is above this.
_HIGH = 0.5
#: Why a picture that nobody recognizes may have a high probability, where its path similarity is that of a control.
_WHY = "the output is that of the class, but the layers respond to {} no more as to natural images than to a control"


def trust(comparisons: Sequence[PathComparison]) -> str:
    """
    Whether prototypes can be trusted, in a word and with the most important reason.

    :func:`captum_proto.report.views.path_similarity.conclusion` gives all reasons.

    Args:
        comparisons (sequence of PathComparison): One for each class, of the same model and conditions.

    Returns:
        str: Empty where no prototypes were compared.
    """
    found = conclusion(comparisons)
    if not found:
        return ""
    rows = {row.condition: row.spearman for row in summarize(comparisons)}
    controls = sorted(_measured(rows), key=lambda condition: -rows[condition])
    if math.isnan(rows[PROTOTYPE]) or not controls:
        return f"Not known. {found[1]}"
    names = {condition: f"the control “{NO_DATA[condition]}”" for condition in controls}
    if not math.isnan(rows[OTHER]):
        names[OTHER] = "images of other classes"
    names = {condition: f"{name} ({_figure(rows[condition])})" for condition, name in names.items()}
    order = {
        condition: order_by_interval(difference_from(CRITERIA[0], comparisons, condition))
        for condition in (*names, SAME)
    }
    own, natural = (
        f"since their path similarity ({_figure(rows[PROTOTYPE])})",
        f"natural images of the class ({_figure(rows[SAME])})",
    )
    for condition, name in names.items():
        if rows[PROTOTYPE] <= rows[condition]:
            return f"No, {own} is no higher than that of {name}. Beside: {natural}."
    for condition, name in names.items():
        if order[condition] is Order.CHANCE:
            return f"Not established, {own} is above that of {name}, but the difference may be chance."
        if order[condition] is not Order.ABOVE:
            return f"Not established, {own} is above that of {name}, but a single prototype does not tell whether by chance."
    if order[SAME] is Order.BELOW:
        return f"In part, {own} is above that of {names[controls[0]]}, but below that of {natural}."
    return f"By this measure, yes, {own} is not below that of {natural} by more than chance, and above that of {names[controls[0]]}."


def _figure(value: float) -> str:
    return typographic(number(value, 2))


def _measured(rows: Mapping[str, float]) -> list[str]:
    """The conditions that know no data and have a path similarity."""
    return [condition for condition in NO_DATA if not math.isnan(rows.get(condition, math.nan))]


def _best_control(rows: Mapping[str, float]) -> str | None:
    """The one of these that comes nearest to natural images."""
    return max(_measured(rows), key=lambda condition: rows[condition], default=None)


@dataclass(frozen=True)
class Scored:
    """
    A picture of a prototype, and what is known of it.

    Attributes:
        picture (Picture): With its caption.
        label (str): What its class is called.
        probability (float): Of the class; under the transforms, where there are some.
        transformed (bool): Whether there are some.
        path (float): Path similarity: mean Spearman correlation over layers. NaN: not measured.
        control (str): The condition of its class that knows no data and comes nearest to natural images. Empty: none was run.
        reached (float): Path similarity of that; NaN: none was run.
    """

    picture: Picture
    label: str
    probability: float
    transformed: bool
    path: float = math.nan
    control: str = ""
    reached: float = math.nan

    @property
    def as_control(self) -> bool:
        """Whether the network processes it no more like the class than what knows nothing of the class."""
        return self.path <= self.reached

    @property
    def unexplained(self) -> bool:
        """Whether it is recognized all the same."""
        return self.as_control and self.probability > _HIGH


def scored(
    pictures: Sequence[Picture], labels: Sequence[str], prototypes: Prototypes, comparison: PathComparison | None = None
) -> list[Scored]:
    """
    Pictures of prototypes with what is known of each.

    Args:
        pictures (sequence of Picture): One for each prototype.
        labels (sequence of str): What the class of each is called.
        prototypes (Prototypes): The prototypes.
        comparison (PathComparison, optional): Of these prototypes with natural images of their class. Default: None

    Returns:
        list[Scored]: With captions that also say the path similarity, and why a picture that nobody recognizes may have a high p.
    """
    transformed = prototypes.settings.get("transform") is not None
    probabilities = prototypes.transformed_probabilities if transformed else prototypes.probabilities
    paths, control, reached = [math.nan] * len(pictures), None, math.nan
    if comparison is not None and PROTOTYPE in comparison.conditions:
        rows = {row.condition: row.spearman for row in comparison.summaries()}
        control = _best_control(rows)
        paths, reached = by_image(comparison, PROTOTYPE).tolist(), math.nan if control is None else rows[control]
    found = []
    for picture, label, p, path in zip(pictures, labels, probabilities.tolist(), paths, strict=False):
        one = Scored(picture, label, p, transformed, path, control or "", reached)
        found.append(replace(one, picture=replace(picture, caption=picture.caption + _path_words(one))))
    return found


def _path_words(one: Scored) -> str:
    if math.isnan(one.path):
        return ""
    words = f"; path similarity {number(one.path)}"
    if one.as_control:
        words += f", no higher than that of a control, {NO_DATA[one.control]} ({number(one.reached)})"
    return words + (f": {_WHY.format('it')}" if one.unexplained else "")


def gallery(pictures: Sequence[Scored]) -> Gallery:
    """
    Pictures of prototypes with few words beneath each.

    Args:
        pictures (sequence of Scored): From :func:`scored`.
    """
    shown = []
    for one in pictures:
        facts = [f"p {number(one.probability, 2)}"]
        if not math.isnan(one.path):
            facts.append(f"path {_figure(one.path)}{' ✗' if one.as_control else ''}")
        shown.append(Shown(one.picture.path, one.label, facts, one.picture.caption))
    return Gallery(shown)


def legend(pictures: Sequence[Scored], comparisons: Sequence[PathComparison] = ()) -> list[str]:
    """
    What the words beneath the pictures of a gallery mean.

    Args:
        pictures (sequence of Scored): Those of the gallery.
        comparisons (sequence of PathComparison, optional): Those that the path similarities are from. Default: none
    """
    draws = (
        ", on average over random rotations, shifts and scalings" if any(one.transformed for one in pictures) else ""
    )
    text = [f"p: the probability that the network gives the class{draws}."]
    if comparisons:
        same = summarize(comparisons)[[*comparisons[0].conditions].index(SAME)].spearman
        text.append(
            "path: path similarity, how alike the network's layers respond to the picture and to natural images of the class, which reach "
            f"{_figure(same)}."
        )
    if any(one.as_control for one in pictures):
        text.append("✗: no higher than a control of the class.")
    if unexplained := list(dict.fromkeys(one.label for one in pictures if one.unexplained)):
        text.append(f"Of {_listed(unexplained)}, p is high all the same: {_WHY.format('them')}.")
    return text


def _listed(names: Sequence[str], most: int = 5) -> str:
    rest = len(names) - most
    return (
        f"{', '.join(names[:most])} and {rest} more"
        if rest > 0
        else " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
    )
