"""What is found of directions: how well the images of each kind agree, beside the kinds' differences from random and the controls."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from captum_proto._utils.tables import between, number, p_text, text_table
from captum_proto.experiments.direction_agreement.measure import BASIS, RANDOM, WHITENED
from captum_proto.runs.files import write_json, write_rows, write_text
from captum_proto.stats.intervals import Estimate, mean_estimate
from captum_proto.stats.judgments import Order, mean_difference, order_by_interval, order_by_test

#: What agreement can be compared with, in the order of a table.
FLOOR, EXPECTED, CLASS, NEAREST = (
    "random images (floor)",
    "any two images (expected floor)",
    "images of one class",
    "nearest images (ceiling)",
)


@dataclass(frozen=True)
class KindAgreement:
    """
    How well the images of one kind of directions agree.

    Attributes:
        layer (str): Of the directions.
        kind (str): "basis", "random", "whitened random", "PCA" or "NMF".
        directions (int): How many were scored.
        dead (int): How many more are left out, for they are the same for all images.
        mean (Estimate): Of their agreement, with the bootstrap interval over directions, of random kinds over frames.
        difference (Estimate): Of the mean from that of random directions, on the same images, with Welch's interval.
        p_value (float): Of the basis: how often a random frame is as far from the mean of random frames, two-sided. NaN for other kinds.
    """

    layer: str
    kind: str
    directions: int
    dead: int
    mean: Estimate
    difference: Estimate
    p_value: float = math.nan

    @property
    def order(self) -> Order:
        """How the kind stands to random directions: of the basis by the test, of the others by the interval."""
        if self.kind == BASIS:
            return order_by_test(self.difference.value, self.p_value)
        return order_by_interval(self.difference)


@dataclass(frozen=True)
class DirectionAgreement:
    """
    How well the images of directions agree, layer by layer and kind by kind, and the controls.

    Attributes:
        kinds (list[KindAgreement]): Layer by layer.
        controls (dict[str, Estimate]): By name; "images of one class" only where there are labels and classes with two images or more.
        values (dict[str, dict[str, list[float]]]): By layer and kind, the agreement of each direction, of random kinds the mean of each
            frame.
        images (int): By which directions are scored.
        k (int): Images of each direction.
    """

    kinds: list[KindAgreement]
    controls: dict[str, Estimate]
    values: dict[str, dict[str, list[float]]]
    images: int
    k: int

    @property
    def layers(self) -> list[str]:
        return list(self.values)

    def of(self, layer: str, kind: str) -> KindAgreement:
        """The row of a layer and a kind."""
        return next(row for row in self.kinds if (row.layer, row.kind) == (layer, kind))

    def rows(self) -> tuple[list[str], list[list[str]]]:
        """Header and rows of the table, controls at its end."""
        header = [
            "layer",
            "directions",
            "count",
            "agreement",
            "interval",
            "less random",
            "interval",
            "p",
            "than random",
        ]
        rows = [
            [
                row.layer,
                row.kind,
                str(row.directions) + (f" ({row.dead} dead)" if row.dead else ""),
                number(row.mean.value),
                between((row.mean.low, row.mean.high)),
                "" if row.kind == RANDOM else number(row.difference.value),
                "" if row.kind == RANDOM else between((row.difference.low, row.difference.high)),
                "" if math.isnan(row.p_value) else p_text(row.p_value),
                "" if row.kind == RANDOM else row.order.told("above", "below", "equal"),
            ]
            for row in self.kinds
        ]
        for name, control in self.controls.items():
            rows.append(["all", name, "", number(control.value), between((control.low, control.high)), *[""] * 4])
        return header, rows

    def table(self) -> str:
        """The table as text."""
        return text_table(*self.rows())

    def write(self, folder: Path) -> None:
        """``agreement.csv`` (the table), ``directions.csv`` (every direction), ``summary.txt`` and ``results.json``."""
        header = ["layer", "kind", "directions", "dead", "mean", "low", "high", "difference", "low", "high", "p"]
        rows: list[list[Any]] = [
            [
                row.layer,
                row.kind,
                row.directions,
                row.dead,
                *asdict(row.mean).values(),
                *asdict(row.difference).values(),
                row.p_value,
            ]
            for row in self.kinds
        ]
        rows += [["", name, "", "", *asdict(each).values(), "", "", "", ""] for name, each in self.controls.items()]
        write_rows(folder / "agreement.csv", header, rows)
        every = [
            [layer, kind, place, value]
            for layer, kinds in self.values.items()
            for kind, values in kinds.items()
            for place, value in enumerate(values)
        ]
        write_rows(folder / "directions.csv", ["layer", "kind", "direction or frame", "agreement"], every)
        write_text(folder / "summary.txt", self.table(), overwrite=True)
        content = {
            "images": self.images,
            "k": self.k,
            "kinds": [{**asdict(row), "order": row.order.value} for row in self.kinds],
            "controls": {name: asdict(each) for name, each in self.controls.items()},
        }
        write_json(folder / "results.json", content, overwrite=True)


def frame_test(basis: float, frames: Sequence[float] | NDArray[np.float64]) -> float:
    r"""
    The p-value of a layer's basis among random frames, two-sided.

    If the channels of a layer were nothing special, they would be one more random set of orthonormal directions: then the mean over the
    basis is as likely in any place among the means over random frames. The images are the same for all of them.

    Args:
        basis (float): The mean agreement over the channels.
        frames (sequence of float): The mean agreement over each random frame of as many directions.

    Returns:
        float: At least 2 in the number of frames and one; NaN where there is no mean.

    Examples::

        >>> frame_test(0.9, [0.1 * i for i in range(9)])
        0.2
    """
    others = np.asarray(frames, dtype=np.float64)
    if math.isnan(basis) or not np.isfinite(others).all():
        return math.nan
    least = 1 + min(int((others >= basis).sum()), int((others <= basis).sum()))
    return min(1.0, 2 * least / (1 + len(others)))


def compare_kinds(
    layer: str, agreed: Mapping[str, Tensor], frames: int
) -> tuple[list[KindAgreement], dict[str, list[float]]]:
    """
    The rows of a layer, and the value of each direction or frame.

    Args:
        layer (str): Its name.
        agreed (mapping[str, Tensor]): By kind, the agreement of each direction, NaN where it is dead; of random kinds frame by frame.
        frames (int): How many frames.
    """
    values = {
        kind: np.nanmean(each.numpy().reshape(frames, -1), 1) if kind in (RANDOM, WHITENED) else each.numpy()
        for kind, each in agreed.items()
    }
    rows = []
    for kind, each in agreed.items():
        alive = values[kind][np.isfinite(values[kind])]
        count = int(each.isfinite().sum())
        paired = (values[kind], values[RANDOM]) if kind == WHITENED else (each.numpy(), agreed[RANDOM].numpy())
        rows.append(
            KindAgreement(
                layer,
                kind,
                count,
                len(each) - count,
                mean_estimate(alive) if len(alive) else Estimate(math.nan, math.nan, math.nan),
                mean_difference(*paired),
                frame_test(float(alive.mean()), values[RANDOM]) if kind == BASIS and len(alive) else math.nan,
            )
        )
    return rows, {kind: each.tolist() for kind, each in values.items()}


__all__ = [
    "CLASS",
    "EXPECTED",
    "FLOOR",
    "NEAREST",
    "DirectionAgreement",
    "KindAgreement",
    "compare_kinds",
    "frame_test",
]
