"""What path similarity says of each condition, as rows of a table."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from captum_proto._utils.tables import number, percent, text_table
from captum_proto.runs.files import write_rows

SAME, OTHER = "same_class", "other_class"
#: What a comparison may hold beside Spearman and L1, and how it is called in a table.
_LABELS = {"cosine": "cosine", "pearson": "Pearson"}
FURTHER = tuple(_LABELS)


def condition_label(condition: str) -> str:
    """A condition's name for people: "same class" for ``same_class``."""
    return condition.replace("_", " ")


@dataclass(frozen=True)
class ConditionSummary:
    r"""
    One row of the table: what path similarity says of one condition.

    Attributes:
        condition (str): "prototype", "same_class", "other_class", or a control.
        images (int): How many.
        spearman (float): Mean over layers of the mean over images; dead and undefined layers left out.
        spearman_over_layers (float): Standard deviation of a layer's mean, over layers.
        spearman_over_images (float): Standard deviation of an image's mean over layers, over images; NaN for a single image.
        normalized_spearman (float): Median over layers of (SS - SS_dc) / (SS_I - SS_dc): 1 as the same class, 0 as other classes.
        normalized_l1 (float): Median over layers of (D - D_I) / (D_dc - D_I): 0 as the same class, 1 as other classes.
        spearman_above_mean (float): Share of the living layers with SS ≥ the *mean* over same-class images: assertion (2), read mildly.
        spearman_above_every (float): Share of the living layers with SS ≥ that of *every* same-class image: assertion (2), as written.
        l1_below_mean (float): Share of the living layers with D ≤ D_I: assertion (1).
        undefined (int): Living layers in which no image of the condition has a rank correlation, because its activations are constant.
            They count as failing assertion (2).
        classes (int): Over how many classes the row is a mean.
        spearman_over_classes (float): Standard deviation of ``spearman`` over classes; NaN for a single one.
        cosine (float, optional): Mean over layers of the mean over images of the cosine with the mean activations, layers left out as for
            ``spearman``. None where it was not computed.
        pearson (float, optional): The same of the linear correlation.
    """

    condition: str
    images: int
    spearman: float
    spearman_over_layers: float
    spearman_over_images: float
    normalized_spearman: float
    normalized_l1: float
    spearman_above_mean: float
    spearman_above_every: float
    l1_below_mean: float
    undefined: int
    classes: int = 1
    spearman_over_classes: float = math.nan
    cosine: float | None = None
    pearson: float | None = None


def summary_table(summaries: Sequence[ConditionSummary]) -> str:
    """Rows of a table as aligned text."""
    over_classes = any(row.classes > 1 for row in summaries)
    header = ["condition", "images", "Spearman", "± layers", "± classes" if over_classes else "± images"]
    header += ["SS ≥ SS_I", "SS ≥ every I", "D ≤ D_I", "SS norm.", "D norm.", "undefined"]
    further = [name for name in FURTHER if any(getattr(row, name) is not None for row in summaries)]
    header += [_LABELS[name] for name in further]
    rows = []
    for row in summaries:
        spread = row.spearman_over_classes if over_classes else row.spearman_over_images
        shares = [percent(share) for share in (row.spearman_above_mean, row.spearman_above_every, row.l1_below_mean)]
        if row.condition == SAME:  # it is what the others are measured by
            shares = ["–", "–", "–"]
        values = [number(value) for value in (row.spearman, row.spearman_over_layers, spread)]
        normalized = [number(row.normalized_spearman, 2), number(row.normalized_l1, 2)]
        rows.append(
            [condition_label(row.condition), str(row.images), *values, *shares, *normalized, str(row.undefined)]
        )
        rows[-1] += [_number_if_any(getattr(row, name)) for name in further]
    return text_table(header, rows)


def _number_if_any(value: float | None) -> str:
    return number(math.nan if value is None else value)


def save_summaries(
    summaries: Mapping[str, Sequence[ConditionSummary]], path: str | os.PathLike[str], overwrite: bool = False
) -> None:
    """
    Write rows of a table as CSV, one block for each class.

    Args:
        summaries (mapping[str, sequence of ConditionSummary]): By the name of the class.
        path (path): The file.
        overwrite (bool, optional): Whether an existing file may be replaced. Default: False
    """
    measured = {
        name for name in FURTHER for rows in summaries.values() for row in rows if getattr(row, name) is not None
    }
    columns = [
        column.name for column in fields(ConditionSummary) if column.name not in FURTHER or column.name in measured
    ]
    lines = (
        [label, *(getattr(row, column) for column in columns)] for label, rows in summaries.items() for row in rows
    )
    write_rows(path, ["class", *columns], lines, overwrite)


__all__ = ["FURTHER", "OTHER", "SAME", "ConditionSummary", "condition_label", "save_summaries", "summary_table"]
