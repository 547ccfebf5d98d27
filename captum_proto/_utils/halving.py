"""Work on many rows in parts that halve where memory is short: the one place where that is decided."""

from __future__ import annotations

import contextlib
import gc
import warnings
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor

from captum_proto._utils.checks import callers_level
from captum_proto._utils.errors import MemoryLimitError
from captum_proto._utils.memory import Gauge, current_budget, is_out_of_memory, readable_size, what_was_asked

Result = TypeVar("Result")


class Halving:
    r"""
    Goes through rows in parts as large as memory allows: of a loop over batches, one for all of them.

    Where a part does not fit into memory it is done again in halves, and all later parts are as small. Where there is a
    :func:`~captum_proto._utils.memory.memory_budget`, the first part is of one row, and parts double as long as twice what the last one
    took is within the budget; a part that took more than that is the last of its size.

    Args:
        device (torch.device): Where the memory is.
        what (str, optional): What a row is called in messages. Default: "image"
        advice (str, optional): What to do where a single row does not fit. Default: "give smaller images, fewer layers or more memory"
        least (int, optional): A part of this many rows is not parted further, as rows that see each other within a batch. Default: 1
    """

    def __init__(
        self,
        device: torch.device,
        what: str = "image",
        advice: str = "give smaller images, fewer layers or more memory",
        least: int = 1,
    ) -> None:
        self.device, self.what, self.advice, self.least = device, what, advice, least
        #: How many rows a part has at most; None: as many as there are.
        self.size: int | None = None
        self._budget = current_budget()
        self._grows = self._budget is not None
        self._gauge = Gauge(device)
        self._base = self._gauge.held if self._grows else 0
        self._warned = False

    def parts(
        self, total: int, work: Callable[[slice], Result], probe: Callable[[], Any] | None = None
    ) -> Iterator[Result]:
        """
        What some work gives for the parts of so many rows, in order.

        Args:
            total (int): How many rows there are.
            work (Callable): Of a slice of them. It is called again for a part of the slice where memory ran out, so what it changes has to
                be changed in the end, or in steps that know that they are done (:class:`Once`).
            probe (Callable, optional): A small piece of the work on one row, by which a budget is divided where a part takes long.
                Default: None, the first part is one row

        Raises:
            MemoryLimitError: If not even one row fits into memory, or into the budget.
        """
        begin = 0
        while begin < total:
            if self._budget is not None and self.size is None:
                self.size = self.least if probe is None else max(self.least, self._probed(probe, total))
            rows = slice(begin, min(total, begin + (self.size or total)))
            count, why = rows.stop - rows.start, ""
            self._gauge.begin() if self._budget is not None else None
            try:
                result = work(rows)
            except Exception as error:
                if not is_out_of_memory(error) or isinstance(error, MemoryLimitError):
                    raise
                why = what_was_asked(error)
                if count <= self.least:
                    raise self._does_not_fit(count, error) from error
                error.__traceback__ = None  # whose frames hold what is to be freed
            else:
                yield result
                del result
                begin = rows.stop
                if self._budget is not None:
                    self._learn(count)
                continue
            self._halve(count, f"there was no memory for {count} {self.what}s at a time{why}")

    def of(self, batch: Tensor, work: Callable[[Tensor], Result]) -> list[Result]:
        """What some work gives for the parts of a batch."""
        return list(self.parts(len(batch), lambda rows: work(batch[rows])))

    def whole(self, total: int, work: Callable[[slice], Result]) -> list[Result]:
        """As :meth:`parts`, all of them."""
        return list(self.parts(total, work))

    def _probed(self, probe: Callable[[], Any], total: int) -> int:
        self._gauge.begin()
        try:
            probe()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            raise self._does_not_fit(1, error) from error
        assert self._budget is not None
        self._grows = False
        peak = self._gauge.peak()
        self._check_least(peak, 1)
        return max(1, min(total, (self._budget - self._base) // max(1, peak - self._base)))

    def _learn(self, count: int) -> None:
        """Choose the next size by what a part took."""
        assert self._budget is not None
        assert self.size is not None
        peak = self._gauge.peak()
        if peak > self._budget:
            if count <= self.least:
                self._check_least(peak, count)
            self._halve(
                count,
                f"{count} {self.what}s at a time took {readable_size(peak)}, more than the memory budget of "
                f"{readable_size(self._budget)}",
            )
        elif self._grows and count == self.size and peak + (peak - self._base) <= self._budget:
            self.size *= 2

    def _check_least(self, peak: int, count: int) -> None:
        assert self._budget is not None
        if peak > self._budget:
            raise MemoryLimitError(
                f"{self._least_of(count)} takes {readable_size(peak)}, of which {readable_size(self._base)} were held before, and the "
                f"memory budget is {readable_size(self._budget)}; {self.advice}."
            )

    def _does_not_fit(self, count: int, error: Exception) -> MemoryLimitError:
        return MemoryLimitError(
            f"{self._least_of(count)} does not fit into the memory of {self.device}{what_was_asked(error)}; {self.advice}."
        )

    def _least_of(self, count: int) -> str:
        return (
            f"one {self.what} by itself" if count == 1 else f"a batch of {count} {self.what}s, which cannot be parted,"
        )

    def _halve(self, count: int, why: str) -> None:
        self.size, self._grows = (count + 1) // 2, False
        gc.collect()  # what an exception's frames referred to in circles
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        if not self._warned:
            self._warned = True
            warnings.warn(
                f"{why}; going on with {self.size} at a time, and fewer where that is too many. A smaller batch size spares the try.",
                stacklevel=callers_level(),
            )


@contextlib.contextmanager
def few_have_to_fit(device: torch.device) -> Iterator[None]:
    """
    For a pass of two or three images, by which a model is looked into before the others come.

    Raises:
        MemoryLimitError: In place of an error that says that there was no memory.
    """
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error) or isinstance(error, MemoryLimitError):
            raise
        raise MemoryLimitError(
            f"two or three images at a time, by which it is told what a layer returns for which image, do not fit into the memory of "
            f"{device}{what_was_asked(error)}; give smaller images or more memory."
        ) from error


class Once:
    """
    The steps of a batch that are done, so that none takes a row twice where a part of the batch is gone through again.

    Each step has to be all or nothing by itself: what needs memory before what changes a state.
    """

    def __init__(self) -> None:
        self._done: dict[Any, int] = {}

    def __call__(self, key: Any, rows: slice, step: Callable[[], Any]) -> None:
        """
        Take a step, unless it has taken these rows.

        Args:
            key (any): Which step.
            rows (slice): Of the batch. Parts come in order, and a part that is gone through again comes in parts of itself.
            step (Callable): The step.
        """
        if self._done.get(key, 0) < rows.stop:
            step()
            self._done[key] = rows.stop


__all__ = ["Halving", "Once", "few_have_to_fit"]
