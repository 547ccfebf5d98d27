"""Cells of an atlas: which vectors lie in each, and their exact means."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from captum_proto._utils.checks import check_int
from captum_proto._utils.errors import InputError
from captum_proto.features.activation_atlas.vectors import ROWS, AtlasVectors


def cells_of(coordinates: Tensor, size: int) -> Tensor:
    """
    The cell of each point of the unit square: (N,), int64, row by row; the row is the second coordinate's.

    Cell i of an axis is [i / size, (i + 1) / size), the last one with its end: a point on an edge is in one cell, not in two.
    """
    edges = torch.arange(1, size, dtype=torch.float64) / size
    column, row = (torch.bucketize(coordinates[:, axis].contiguous(), edges, right=True) for axis in (0, 1))
    return row * size + column


def sums_by_cell(values: Tensor, cells: Tensor, count: int) -> Tensor:
    """The sum of the rows in each cell, (count, C) in float64, added one after the other in their order."""
    totals = torch.zeros(count, values.shape[1], dtype=torch.float64)
    for rows, numbers in zip(torch.split(values, ROWS), torch.split(cells, ROWS), strict=True):
        totals.index_add_(0, numbers, rows.double())
    return totals


@dataclass
class AtlasLevel:
    """
    A grid over an atlas, and the cells of it that hold enough vectors.

    Attributes:
        size (int): Cells a side.
        min_density (int): Cells with fewer vectors are not drawn.
        members (Tensor): (N,), int64: the cell of each vector, counted row by row.
        counts (Tensor): (size, size), int64: how many vectors each cell holds; they sum to N.
        cells (Tensor): (M,), int64: the cells that are drawn, in order.
        means (Tensor): (M, C), float64: the mean vector of each.
        attributions (Tensor): (M, T), float64: the mean over its vectors of what they contribute to each target.
        icons (Tensor, optional): (M, c, h, w), uint8: a picture of each mean direction. Default: None
        activations (Tensor, optional): (M,): the objective that each picture reached. Default: None
    """

    size: int
    min_density: int
    members: Tensor
    counts: Tensor
    cells: Tensor
    means: Tensor
    attributions: Tensor
    icons: Tensor | None = None
    activations: Tensor | None = None
    _order: list[Tensor] = field(default_factory=list, repr=False, compare=False)

    @classmethod
    def of(cls, vectors: AtlasVectors, coordinates: Tensor, size: Any, min_density: Any) -> AtlasLevel:
        """
        A grid over vectors that are laid out.

        Args:
            vectors (AtlasVectors): N of them.
            coordinates (Tensor): (N, 2) in [0, 1].
            size (int): Cells a side, at least 1.
            min_density (int): The fewest vectors of a cell that is drawn, at least 1.

        Raises:
            ValueError: If there are fewer vectors than cells, or no cell holds enough.
        """
        side, least = check_int(size, "size", 1), check_int(min_density, "min_density", 1)
        if len(vectors) < side * side:
            raise InputError(
                f"there are {len(vectors)} vectors for the {side * side} cells of a grid of {side} by {side}; collect more (of all "
                f"positions, or of more images), or take a size of at most {int(len(vectors) ** 0.5)}."
            )
        members = cells_of(coordinates, side)
        counts = torch.bincount(members, minlength=side * side)
        cells = (counts >= least).nonzero().flatten()
        if not len(cells):
            raise InputError(
                f"no cell of a grid of {side} by {side} holds {least} vectors, the fullest {int(counts.max())}; lower min_density, take a "
                "smaller size, or collect more."
            )
        number = counts[cells].unsqueeze(1)
        means, attributions = (
            sums_by_cell(values, members, side * side)[cells] / number
            for values in (vectors.vectors, vectors.attributions)
        )
        return cls(side, least, members, counts.view(side, side), cells, means, attributions)

    def __len__(self) -> int:
        return len(self.cells)

    def members_of(self, row: int) -> Tensor:
        """Which vectors are in the cell that is drawn in this row, in their order."""
        if not self._order:
            self._order[:] = torch.split(self.members.argsort(stable=True), self.counts.flatten().tolist())
        return self._order[int(self.cells[row])]

    def nearest(self, vectors: AtlasVectors, count: int) -> list[Tensor]:
        """
        Of each drawn cell the vectors whose directions are nearest to its mean's, one of each image at most, the nearest first.

        Args:
            vectors (AtlasVectors): That the grid is over.
            count (int): How many of each cell, where it holds so many.
        """
        found = []
        for row, mean in enumerate(self.means):
            members = self.members_of(row)
            values = vectors.vectors[members].double()
            alike = (values @ mean) / (values.norm(dim=1) * mean.norm()).clamp(min=1e-30)
            ordered = members[alike.argsort(descending=True, stable=True)]
            seen: dict[int, int] = {}
            for number, image in zip(ordered.tolist(), vectors.images[ordered].tolist(), strict=True):
                seen.setdefault(image, number)
                if len(seen) == count:
                    break
            found.append(torch.tensor(list(seen.values()), dtype=torch.int64))
        return found

    def note(self) -> str:
        """How many cells are drawn, empty and too sparse, in a sentence."""
        empty = int((self.counts == 0).sum())
        sparse = self.size**2 - empty - len(self)
        inside = int(self.counts.flatten()[self.cells].sum())
        text = f"{self.size} x {self.size}: {len(self)} of {self.size**2} cells drawn, {empty} empty"
        text += f", {sparse} with fewer than {self.min_density} vectors not drawn" if sparse else ""
        return f"{text}; the drawn cells hold {inside} of {int(self.counts.sum())} vectors."


__all__ = ["AtlasLevel", "cells_of", "sums_by_cell"]
