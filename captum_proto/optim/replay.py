"""The steps of a phase, one of which is captured and replayed in place of the others, where that is shown to be the same."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from captum_proto._utils.checks import callers_level
from captum_proto.optim.held import HeldState
from captum_proto.optim.optimizers import Course
from captum_proto.optim.random import StepStreams
from captum_proto.optim.result import GraphRecord
from captum_proto.optim.step_graph import StepGraph

#: So many steps are taken first, in which what is set up once is set up.
_FIRST_STEPS = 3
#: How many steps are both taken and replayed, and compared. What a step leaves to the next outside of the graph shows in the second.
_COMPARED = 2
#: Fewer replayed steps are not worth a capture.
_WORTH_IT = 8


@dataclass
class StepValues:
    """
    What a step records.

    Attributes:
        loss (Tensor): (N,).
        terms (dict[str, Tensor]): (N,) each.
        zero (Tensor): (N,), bool: in which rows the gradient through the model was zero.
    """

    loss: Tensor
    terms: dict[str, Tensor]
    zero: Tensor

    def tensors(self) -> list[Tensor]:
        return [self.loss, *self.terms.values(), self.zero]

    def cloned(self) -> StepValues:
        """The same in other memory."""
        return StepValues(
            self.loss.clone(), {name: value.clone() for name, value in self.terms.items()}, self.zero.clone()
        )


class StepReplay:
    """
    Takes the steps of one phase by a graph, once it has been shown that it gives the same.

    After a few steps all numbers that change from step to step are held at one place in memory each. Then one step is captured, put back,
    and the next two are replayed; they are put back too, and taken one by one. Only if both ways lead to the same bits are the rest
    replayed.

    Args:
        graph (StepGraph): To be captured.
        record (GraphRecord): Told what comes of it.
        phase (str): Its name.
        first (int): The first step that may be like all after it.
        begin (int): The first step that is taken now.
        steps (int): How many there are.
        take (Callable): Takes a step, of a number, and returns what it records: nothing but what it tells the device may come of it.
        keep (Callable): Makes a copy of what one step hands to the next.
        put_back (Callable): Puts such a copy back.
        draws (list[StepStreams]): Where steps take their random numbers from.
        course (Course): Of the optimizer's numbers.
    """

    def __init__(
        self,
        graph: StepGraph,
        record: GraphRecord,
        phase: str,
        first: int,
        begin: int,
        steps: int,
        take: Callable[[int], StepValues],
        keep: Callable[[], HeldState],
        put_back: Callable[[HeldState], None],
        draws: list[StepStreams],
        course: Course,
    ) -> None:
        self._graph: StepGraph | None = graph
        self._record, self._phase = record, phase
        self._begin = max(first, begin + _FIRST_STEPS)
        self._take, self._keep, self._put_back = take, keep, put_back
        self._draws, self._course = draws, course
        self._captured: StepValues | None = None
        self._expected: list[StepValues] = []
        self._expected_state: HeldState | None = None
        self._taken: list[StepValues] = []
        if steps - self._begin - 1 - _COMPARED < _WORTH_IT:
            self._drop(f"of its {steps} steps too few would be replayed")

    def step(self, step: int) -> StepValues | None:
        """
        Replay a step.

        Args:
            step (int): Its number; each is asked for in turn.

        Returns:
            StepValues or None: What it records; None where it is to be taken instead, within :meth:`taking`.
        """
        if self._graph is None or step < self._begin:
            return None
        if step == self._begin:
            self._hold()
            return None
        if self._captured is None:
            self._capture(step)
            return None
        if len(self._taken) < _COMPARED:
            return None
        if self._expected_state is not None and not self._same():
            return None
        self._record.replayed += 1
        return self._replayed(step)

    @contextmanager
    def taking(self, step: int) -> Iterator[None]:
        """Where a step is to be taken that is not replayed."""
        if self._graph is None or step < self._begin:
            yield
            return
        if step > self._begin:
            self._fill(step)
        beside: AbstractContextManager[None] = self._graph.beside() if step == self._begin else nullcontext()
        with beside:
            yield

    def taken(self, values: StepValues) -> None:
        """Told what a step recorded that was taken."""
        if self._captured is not None and len(self._taken) < _COMPARED:
            self._taken.append(values)

    def drop(self) -> None:
        """Let everything go: the phase is over."""
        self._graph = self._captured = self._expected_state = None
        self._expected, self._taken = [], []
        self._let_go()

    def _drop(self, reason: str) -> None:
        self._record.reasons[self._phase] = reason
        self.drop()

    def _hold(self) -> None:
        for draws in self._draws:
            draws.hold()
        self._course.hold()

    def _let_go(self) -> None:
        for draws in self._draws:
            draws.let_go()
        self._course.let_go()

    def _fill(self, step: int) -> None:
        for draws in self._draws:
            draws.fill(step)
        self._course.set(step)

    def _capture(self, step: int) -> None:
        """Capture a step, and see where it and the next lead to; then everything is as it was before."""
        assert self._graph is not None
        before = self._keep()
        captured: list[StepValues] = []
        for draws in self._draws:
            draws.close()
        try:
            self._fill(step)
            self._graph.capture(lambda: captured.append(self._take(step)))
            self._captured = captured[0]
            self._put_back(before)
            for number in range(step, step + _COMPARED):
                self._expected.append(self._replayed(number))
            self._expected_state = self._keep()
        except (
            Exception
        ) as error:  # whatever a model or a loss raises where it cannot be captured: taken one by one, it tells itself
            self._drop(f"it cannot be captured: {error}".splitlines()[0])
        finally:
            self._put_back(before)

    def _replayed(self, step: int) -> StepValues:
        assert self._graph is not None
        assert self._captured is not None
        self._fill(step)
        self._graph.replay()
        return self._captured.cloned()

    def _same(self) -> bool:
        """Whether replayed steps led where the same steps did that were taken; if not, the graph is dropped."""
        assert self._expected_state is not None
        replayed = [value for values in self._expected for value in values.tensors()] + self._expected_state.tensors()
        taken = [value for values in self._taken for value in values.tensors()] + self._keep().tensors()
        if len(replayed) == len(taken) and all(map(_same_bits, replayed, taken)):
            self._expected, self._expected_state = [], None
            return True
        self._drop("replayed, a step led elsewhere than taken")
        warnings.warn(
            "a CUDA graph of a step gave other results than the step itself, and is not used; steps are taken one by one. Either something "
            "in the model, the loss or the transform changes from step to step outside of the device's memory, such as a number that is "
            "counted up in Python; or an operation adds up in an order of chance, and torch.use_deterministic_algorithms(True) names it. "
            "Else leave cuda_graph=True out.",
            stacklevel=callers_level(),
        )
        return False


def _same_bits(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    return torch.equal(*(value.detach().reshape(-1).contiguous().view(torch.uint8) for value in (one, other)))


__all__ = ["StepReplay", "StepValues"]
