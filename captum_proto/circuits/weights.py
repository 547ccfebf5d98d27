"""Weights between the units of two layers, however far apart, and which of them are strong."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from captum_proto._utils.checks import as_int, check_int
from captum_proto._utils.errors import InputError
from captum_proto._utils.files import alike, intact, load_tensors, save_tensors

_KIND = "expanded weights"


@dataclass(frozen=True)
class Connection:
    """
    What one unit adds to another.

    Attributes:
        from_unit (int): Of the earlier layer.
        to_unit (int): Of the later one.
        norm (float): The L2 norm of the weights over positions, by which connections are ranked.
        share (float): The square of it, as a share of that of all units that were looked at: how much of the weights this one holds.
        excitation (float): The sum of the positive weights.
        inhibition (float): The sum of the negative ones, at most 0.
        place (tuple[int, int]): The row and column of the weight of greatest size, in the receptive field.
    """

    from_unit: int
    to_unit: int
    norm: float
    share: float
    excitation: float
    inhibition: float
    place: tuple[int, int]

    @property
    def net(self) -> float:
        """Excitation and inhibition together: the weight of what is the same at all positions."""
        return self.excitation + self.inhibition


@dataclass(frozen=True)
class ExpandedWeights:
    r"""
    Weights between units of two layers, at each position of a receptive field: what a convolution between the two would have as its kernel.

    Attributes:
        weights (Tensor): (O, I, h, w): of the later layer's units, the earlier layer's, and the positions seen by the later one's.
        from_layer (str): The earlier layer.
        to_layer (str): The later layer.
        from_units (list[int]): Channels, one for each of the I.
        to_units (list[int]): Channels, one for each of the O.
        position (tuple[int, int]): Of the later units, in their map.
        box (tuple[int, int, int, int]): The receptive field of that position in the earlier layer's map: top, left, bottom, right, without
            the last ones.
        from_shape (tuple[int, int]): How many positions the earlier layer's map has.
        to_shape (tuple[int, int]): How many the later layer's has.
        stride (tuple[int, int]): By how many positions of the earlier map the field moves on from one position of the later to the next.
    """

    weights: Tensor
    from_layer: str
    to_layer: str
    from_units: list[int]
    to_units: list[int]
    position: tuple[int, int]
    box: tuple[int, int, int, int]
    from_shape: tuple[int, int]
    to_shape: tuple[int, int]
    stride: tuple[int, int]

    @property
    def norms(self) -> Tensor:
        """(O, I), the L2 norm of each connection over positions."""
        return self.weights.flatten(2).norm(dim=2)

    @property
    def at_border(self) -> bool:
        """Whether the receptive field reaches the border of the earlier layer's map, beyond which some of it may have been cut off."""
        top, left, bottom, right = self.box
        return top == 0 or left == 0 or bottom == self.from_shape[0] or right == self.from_shape[1]

    def of(self, unit: int) -> Tensor:
        """
        The weights of one later unit, (I, h, w).

        Raises:
            ValueError: If it is none of them.
        """
        return self.weights[self.row(unit)]

    def row(self, unit: int) -> int:
        """The place of a later unit among the rows."""
        number = as_int(unit)
        if number not in self.to_units:
            raise InputError(
                f'unit is {unit}, but there are weights of {_listed(self.to_units)} of layer "{self.to_layer}"; give one of these.'
            )
        return self.to_units.index(number)

    def strongest(self, unit: int, count: int = 10) -> list[Connection]:
        r"""
        The connections of greatest L2 norm over positions, to one unit.

        Args:
            unit (int): Of the later layer.
            count (int, optional): How many, at most. Default: 10

        Returns:
            list[Connection]: The strongest first; of equal ones the lower unit.

        Raises:
            ValueError: If there are no weights of the unit.

        Examples::

            >>> from captum_proto.circuits import expanded_weights
            >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 4, 3))
            >>> found = expanded_weights(model, "0", "2", (3, 16, 16)).strongest(unit=1, count=2)
            >>> len(found), found[0].norm >= found[1].norm
            (2, True)
        """
        weights = self.of(unit).double()
        order = _strongest(weights, check_int(count, "count", 1))
        return [_connection(weights, row, self.from_units[row], int(unit)) for row in order]

    def strongest_from(self, unit: int, count: int = 10) -> list[Connection]:
        """
        The connections of greatest L2 norm over positions, from one unit of the earlier layer.

        Args:
            unit (int): Of the earlier layer.
            count (int, optional): How many, at most. Default: 10

        Returns:
            list[Connection]: The strongest first; of equal ones that to the lower unit. Shares are of all weights from the unit.

        Raises:
            ValueError: If there are no weights of the unit.
        """
        number = as_int(unit)
        if number not in self.from_units:
            raise InputError(
                f'unit is {unit}, but there are weights of {_listed(self.from_units)} of layer "{self.from_layer}"; give one of these.'
            )
        weights = self.weights[:, self.from_units.index(number)].double()
        order = _strongest(weights, check_int(count, "count", 1))
        return [_connection(weights, row, number, self.to_units[row]) for row in order]

    def save(self, path: str | os.PathLike[str], overwrite: bool = False) -> None:
        """
        Write everything to one safetensors file.

        Raises:
            FileExistsError: If the file exists and ``overwrite`` is False.
        """
        described = {name: value for name, value in vars(self).items() if name != "weights"}
        save_tensors(path, _KIND, {"weights": self.weights}, described, overwrite)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> ExpandedWeights:
        """
        Read what :meth:`save` wrote, onto the CPU.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is damaged or holds something else.
        """
        tensors, metadata = load_tensors(path, _KIND)
        with intact(path, _KIND):
            pairs = {name: tuple(metadata[name]) for name in ("position", "box", "from_shape", "to_shape", "stride")}
            loaded = cls(
                tensors["weights"],
                metadata["from_layer"],
                metadata["to_layer"],
                list(metadata["from_units"]),
                list(metadata["to_units"]),
                **pairs,
            )
            alike("later units", loaded.weights.shape[0], len(loaded.to_units))
            alike("earlier units", loaded.weights.shape[1], len(loaded.from_units))
            return loaded


def _strongest(weights: Tensor, count: int) -> list[int]:
    order: list[int] = weights.flatten(1).norm(dim=1).argsort(descending=True, stable=True)[:count].tolist()
    return order


def _connection(weights: Tensor, row: int, from_unit: int, to_unit: int) -> Connection:
    """One of several connections (N, h, w), of which the share of all is told."""
    each, total = weights[row], float(weights.square().sum())
    norm = float(each.norm())
    row_of, column = divmod(int(each.abs().argmax()), each.shape[1])
    return Connection(
        from_unit,
        to_unit,
        norm,
        norm**2 / total if total else 0.0,
        float(each.clamp(min=0).sum()),
        float(each.clamp(max=0).sum()),
        (row_of, column),
    )


def _listed(units: Sequence[int]) -> str:
    if len(units) == 1:
        return f"unit {units[0]}"
    few = list(units[:6])
    return f"{len(units)} units, {', '.join(map(str, few))}{' …' if len(units) > len(few) else ''},"


def drawn(weights: Tensor, limit: float | None = None) -> Tensor:
    """
    Weights as a picture: red where they excite, blue where they inhibit, white at zero.

    Args:
        weights (Tensor): (h, w).
        limit (float, optional): The weight of full color. Default: None, the greatest size

    Returns:
        Tensor: (3, h, w), in [0, 1].
    """
    most = float(weights.abs().max()) if limit is None else limit
    scaled = (weights.float() / most if most else torch.zeros_like(weights, dtype=torch.float32)).clamp(-1, 1)
    up, down = scaled.clamp(min=0), (-scaled).clamp(min=0)
    red, blue = torch.tensor([0.70, 0.09, 0.17]), torch.tensor([0.13, 0.40, 0.67])
    colors = 1 - up * (1 - red.view(3, 1, 1)) - down * (1 - blue.view(3, 1, 1))
    return colors.clamp(0, 1)


__all__ = ["Connection", "ExpandedWeights", "drawn"]
