"""The sums of all layers' rows, batch by batch."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from captum_proto.capture import PreviousOutput
from captum_proto.stats.moments import Moments


class LayerMoments:
    """
    The moments of all layers, batch by batch.

    A container returns the tensor of its last child. As long as it has done so in every batch, its moments are copied from the child's,
    which is cheaper than adding all images again.

    Args:
        layers (int): How many there are.
        of_rows (Callable, optional): What is added of a layer's rows (N, D), given its index: (N, ...). Default: the rows themselves
        same (Callable, optional): Whether the same is added of two layers that return the same tensor, given their indices. Default: it is
    """

    def __init__(
        self,
        layers: int,
        of_rows: Callable[[int, Tensor], Tensor] = lambda _, rows: rows,
        same: Callable[[int, int], bool] = lambda *_: True,
    ) -> None:
        self.layers = [Moments() for _ in range(layers)]
        self._of_rows, self._same = of_rows, same
        self._copies: dict[int, int] = {}

    def totals(self) -> list[Tensor]:
        """The sum of all rows of each layer, (D,) in float64."""
        return [moments.total() for moments in self.layers]

    def batch(self) -> Callable[[int, Tensor], None]:
        """What to call with each layer's index and its output for one further batch."""
        previous = PreviousOutput()

        def add(index: int, rows: Tensor) -> None:
            moments = self.layers[index]
            same = previous.is_same(rows) and self._same(index, previous.index)
            if same and (not moments.count or self._copies.get(index) == previous.index):
                self._copies[index] = previous.index
                moments.copy(self.layers[previous.index])
            else:
                self._copies.pop(index, None)
                moments.update(self._of_rows(index, rows))
            previous.set(index, rows)

        return add


__all__ = ["LayerMoments"]
