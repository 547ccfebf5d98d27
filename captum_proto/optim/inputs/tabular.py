"""Rows of a table: numbers within bounds, categories on the simplex until one is chosen, and columns that are held."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from captum_proto._utils.errors import InputError
from captum_proto.data.table import Categorical, Column, Continuous, TableColumns
from captum_proto.ops.double import exact
from captum_proto.optim.inputs.base import Parametrization
from captum_proto.optim.random import RandomStream

#: Which way a column may go from where it starts.
DIRECTIONS = ("increasing", "decreasing")


def project_to_simplex(weights: Tensor, allowed: Tensor | None = None) -> Tensor:
    r"""
    The nearest point, by Euclidean distance, whose entries are at least 0 and sum to 1.

    .. math::
        \arg\min_p \lVert p - w \rVert_2 \quad \text{with} \quad p \ge 0,\; \textstyle\sum_k p_k = 1

    By sorting, as in Duchi, Shalev-Shwartz, Singer and Chandra, "Efficient Projections onto the l1-Ball for Learning in High Dimensions"
    (ICML 2008), figure 1.

    Args:
        weights (Tensor): (N, K).
        allowed (Tensor, optional): (N, K), bool: entries that may be above 0, at least one in each row. Default: None, all

    Returns:
        Tensor: (N, K).

    Examples::

        >>> from captum_proto.optim.inputs.tabular import project_to_simplex
        >>> project_to_simplex(torch.tensor([[0.5, 0.9, -3.0]]))
        tensor([[0.3000, 0.7000, 0.0000]])
    """
    if allowed is not None:
        # Whatever is more than 1 below the largest gets nothing.
        largest = weights.masked_fill(~allowed, float("-inf")).amax(1, keepdim=True)
        weights = torch.where(allowed, weights, largest - 2)
    ordered = weights.sort(dim=1, descending=True).values
    counts = torch.arange(1, weights.shape[1] + 1, device=weights.device, dtype=weights.dtype)
    levels = (ordered.cumsum(1) - 1) / counts
    support = (ordered > levels).sum(1, keepdim=True).clamp(min=1)
    return (weights - levels.gather(1, support - 1)).clamp(min=0)


class TabularInput(Parametrization):
    r"""
    Rows of a table: what an optimization changes where a model takes tables in place of images.

    Inputs are encoded rows (N, F) as :class:`~captum_proto.data.TableColumns` makes them: numbers scaled, categories one-hot. Numbers stay
    within their bounds, and start near their center, a standard normal number of scales from it. Categories are weights on the simplex, to
    which each step ends with the Euclidean projection; in the end, the category with the largest weight is chosen, whole numbers are
    rounded, and what comes back is a row that a table could hold. A value that may be missing is mixed with what stands for a missing one
    until it is either there or missing.

    It does not know which rows are likely: without a penalty (:class:`~captum_proto.optim.RowDistance`) an ascent goes to the bounds.

    Args:
        columns (TableColumns or sequence of Continuous or Categorical): Of the table, in the order in which the model takes them.
        fixed (mapping, optional): Columns that are held, by name: at a value, or with ``...`` at that of each start row. None is a missing
            value. Default: none
        monotone (mapping, optional): Columns that may only go one way from where they start, by name: "increasing" or "decreasing". As in
            the search for what would have to change, where nobody gets younger. Default: none

    Raises:
        TypeError, ValueError: If there is no such column, or a value is not of it.

    Examples::

        >>> from captum_proto.data import Categorical, Continuous
        >>> columns = [Continuous("age", 17, 90, center=40, scale=10), Categorical("sex", ["female", "male"])]
        >>> rows = TabularInput(columns, fixed={"sex": "female"})
        >>> model = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2))
        >>> made = PrototypeGeneration(model).generate([0, 1], parametrization=rows, steps=16)
        >>> [row["sex"] for row in rows.columns.decode(made.images)]
        ['female', 'female']
    """

    of_images = False

    def __init__(
        self,
        columns: TableColumns | Sequence[Column],
        fixed: Mapping[str, Any] | None = None,
        monotone: Mapping[str, str] | None = None,
    ) -> None:
        self.columns = columns if isinstance(columns, TableColumns) else TableColumns(columns)
        self.fixed, self.monotone = dict(fixed or {}), dict(monotone or {})
        self.input_shape = (self.columns.width,)
        for name, value in self.fixed.items():
            column = self.columns.column(name)
            if value is not ...:
                column.encoded(value)
        for name, direction in self.monotone.items():
            if not isinstance(self.columns.column(name), Continuous):
                raise InputError(f'column "{name}" holds categories, which have no order; hold it with fixed instead.')
            if direction not in DIRECTIONS:
                raise InputError(f'monotone has "{direction}" for column "{name}"; expected {" or ".join(DIRECTIONS)}.')
            if name in self.fixed:
                raise InputError(f'column "{name}" is fixed and monotone; choose one.')

    def settings(self) -> dict[str, Any]:
        fixed = {name: "as it starts" if value is ... else {"value": value} for name, value in self.fixed.items()}
        return {"name": "TabularInput", "columns": self.columns.settings(), "fixed": fixed, "monotone": self.monotone}

    def __repr__(self) -> str:
        return f"TabularInput({self.columns!r})"

    def check(self, inputs: Tensor, value_range: tuple[float, float], name: str) -> Tensor:
        return self.columns.check(inputs, name)

    def start(self, random: RandomStream, shape: tuple[int, ...]) -> dict[str, Tensor]:
        held = sorted(name for name, value in self.fixed.items() if value is ...)
        if held:
            raise InputError(
                f'column "{held[0]}" is fixed at the value of each start row, but there are none; give start rows, or a value.'
            )
        least, most = (bound.expand(len(random), -1).clone().to(random.device) for bound in self._bounds())
        drawn = random.uniform(self.columns.width)
        row = least + (most - least) * drawn / 2  # rather there than missing
        for column, place in self._places():
            first = place.start
            if isinstance(column, Categorical):
                weights = -(1 - drawn[:, place]).log() * (
                    most[:, place] > 0
                )  # uniform on the simplex, once they sum to 1
                row[:, place] = weights / weights.sum(1, keepdim=True)
            elif bool((least[:, first] < most[:, first]).all()):
                low, high = column.scaled(column.low), column.scaled(column.high)
                middle = 0.0 if low < 0 < high else (low + high) / 2
                # Near the center: of a skewed column most of the range is where hardly a row is, and a network knows nothing.
                row[:, first] = middle + torch.special.ndtri(drawn[:, first] + 2.0**-54) * min(1.0, (high - low) / 4)
        row = torch.minimum(torch.maximum(row, least), most)
        return self._with_bounds(row, least, most)

    def parameters_of(self, images: Tensor) -> dict[str, Tensor]:
        row = self.columns.check(images, "start").clone()
        least, most = (bound.to(row).expand(len(row), -1).clone() for bound in self._bounds())
        for name, value in self.fixed.items():
            place = self.columns.slices[name]
            if value is ...:
                least[:, place] = most[:, place] = row[:, place]
            else:
                row[:, place] = least[:, place]
        return self._with_bounds(row, least, most)

    def render(self, parameters: dict[str, Tensor]) -> Tensor:
        row, most = parameters["row"], parameters["most"]
        parts = []
        for column, place in self._places():
            part = row[:, place]
            if isinstance(column, Categorical):
                # The same value, for weights sum to 1, and a gradient along the simplex: of one that raises all weights alike, an
                # optimizer that takes steps of equal length in each would make no step at all.
                allowed = (most[:, place] > 0).to(part)
                part = part - allowed * ((part * allowed).sum(1, keepdim=True) - 1) / allowed.sum(1, keepdim=True)
            elif column.missing is not None:
                value, missing = part[:, :1], part[:, 1:]
                part = torch.cat([value + missing * (column.scaled(column.missing) - value), missing], 1)
            parts.append(part)
        return torch.cat(parts, 1)

    def project(self, parameters: dict[str, Tensor]) -> None:
        row, least, most = (parameters[name] for name in ("row", "least", "most"))
        for column, place in self._places():
            if isinstance(column, Categorical):
                row[:, place] = project_to_simplex(row[:, place], most[:, place] > 0)
            else:
                row[:, place] = torch.minimum(torch.maximum(row[:, place], least[:, place]), most[:, place])

    def finish(self, parameters: dict[str, Tensor]) -> None:
        """Choose a category and whether a value is missing, and round whole numbers, within their bounds."""
        row, least, most = (parameters[name] for name in ("row", "least", "most"))
        for column, place in self._places():
            part = row[:, place]
            if isinstance(column, Categorical):
                part.copy_(torch.nn.functional.one_hot(part.argmax(1), column.width))
                continue
            first = place.start
            if column.whole:
                low, high, held = (exact(values) for values in (least[:, first], most[:, first], part[:, 0]))
                own = held * column.scale + column.center
                down = (own.double().round() - column.center) / column.scale
                # Rounded to the nearest within the bounds; a value that is held is kept as it is.
                down = torch.where(down < low - 1e-6, down + 1 / column.scale, down)
                down = torch.where(down > high + 1e-6, down - 1 / column.scale, down)
                part[:, 0] = torch.where(low == high, held, down.to(held)).to(part.device)
            if column.missing is not None:
                part[:, 1] = (part[:, 1] >= 0.5).to(part)
                part[:, 0] = torch.where(part[:, 1] > 0, column.scaled(column.missing), part[:, 0])

    def _places(self) -> list[tuple[Column, slice]]:
        return [(column, self.columns.slices[column.name]) for column in self.columns]

    def _bounds(self) -> tuple[Tensor, Tensor]:
        """The least and the greatest number of an encoded row, (F,) each: equal where it is held."""
        least, most = torch.zeros(2, self.columns.width, dtype=torch.float64)
        for column, place in self._places():
            if self.fixed.get(column.name, ...) is not ...:
                least[place] = most[place] = torch.tensor(column.encoded(self.fixed[column.name]), dtype=torch.float64)
                continue
            most[place] = 1
            if isinstance(column, Continuous):
                least[place.start], most[place.start] = column.scaled(column.low), column.scaled(column.high)
        return least, most

    def _with_bounds(self, row: Tensor, least: Tensor, most: Tensor) -> dict[str, Tensor]:
        """All parameters; bounds are among them, as each row may have its own, and no gradient moves them."""
        for name, direction in self.monotone.items():
            first = self.columns.slices[name].start
            bound = least if direction == "increasing" else most
            bound[:, first] = row[:, first]
        return {"row": row, "least": least, "most": most}


__all__ = ["DIRECTIONS", "TabularInput", "project_to_simplex"]
