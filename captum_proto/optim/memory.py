"""Optimizations in batches that halve where memory is short."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from torch import Tensor
from tqdm.auto import tqdm

from captum_proto._utils.batches import rows_of
from captum_proto._utils.errors import InputError
from captum_proto._utils.halving import Halving
from captum_proto._utils.model import device_of
from captum_proto._utils.targets import Target
from captum_proto.optim.input_optimization import InputOptimization
from captum_proto.optim.loss.objective import Loss
from captum_proto.optim.settings import OptimizationSettings

Result = TypeVar("Result")


class RowHalving:
    """
    Makes what is optimized in batches, each begun anew in halves where it does not fit into memory.

    Rows that see each other, as with a diversity, stay in one batch: where that does not fit, a sentence says so.

    Args:
        forward_func (Callable): The model.
        loss (Loss): Of all rows.
        targets (sequence of Target): Of all rows.
        progress (tqdm): Is taken back where a batch begins anew.
        what (str, optional): What a row is called in messages. Default: "prototype"
    """

    def __init__(
        self,
        forward_func: Callable[..., Any],
        loss: Loss,
        targets: Sequence[Target],
        progress: tqdm[Any],
        what: str = "prototype",
    ) -> None:
        self._progress = progress
        try:
            loss.check_batches(targets, 1)
            least = 1
        except InputError:  # they see each other
            least = len(targets)
        self._halving = Halving(device_of(forward_func), what, "give a smaller image_shape or more memory", least)

    def batch(self, rows: range, made: Callable[[range], Result], try_one: Callable[[int], Any]) -> Iterator[Result]:
        """
        What is made of some rows, in parts.

        Args:
            rows (range): Of all rows.
            made (Callable): Makes some of them. Callbacks see a part that begins anew from its first step.
            try_one (Callable): A first step of one of them, by which a memory budget is divided.
        """
        before = self._progress.n

        def work(part: slice) -> Result:
            self._progress.update(before_part[0] - self._progress.n)
            return made(rows[part])

        before_part = [before]
        for result in self._halving.parts(len(rows), work, lambda: try_one(rows.start)):
            before_part[0] = self._progress.n
            yield result


def try_one_row(
    forward_func: Callable[..., Any],
    loss: Loss,
    preprocess: Callable[[Tensor], Tensor] | None,
    settings: OptimizationSettings,
    arguments: tuple[Any, ...],
    shape: tuple[int, ...],
    total: int,
    row: int,
) -> None:
    """
    Make a first step of one row, to see what memory it takes; nothing comes of it.

    Args:
        forward_func, loss, preprocess, settings: Of all rows.
        arguments (tuple): Further arguments of the model, of all rows.
        shape (tuple[int, ...]): Of one input.
        total (int): How many rows there are.
        row (int): Which of them.
    """
    one = slice(row, row + 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what there is to warn of is said when it is made in earnest
        optimization = InputOptimization(
            forward_func,
            loss.rows(range(row, row + 1)),
            preprocess,
            settings,
            additional_forward_args=rows_of(arguments, one, total),
            steps=1,
            warmup_steps=0,
        )
        optimization.probed = True
        optimization.optimize(shape, count=1)


__all__ = ["RowHalving", "try_one_row"]
