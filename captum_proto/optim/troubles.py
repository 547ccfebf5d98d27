"""What can go wrong on the way of an optimization, told in words."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from captum_proto._utils.checks import callers_level
from captum_proto._utils.errors import InputError
from captum_proto.optim.gradient import cause_of, where_lost
from captum_proto.optim.loss.objective import Loss, Rows
from captum_proto.optim.result import ZERO_GRADIENT, OptimizationResult

#: How often the host looks at values that the device has computed. Every look makes a GPU wait.
LOOK_EVERY = 32


@dataclass(frozen=True)
class Troubles:
    """
    Of one batch.

    Args:
        rows (Rows): What its rows are.
        loss (Loss): Of the main objective.
    """

    rows: Rows
    loss: Loss

    def check_finite(self, losses: list[Tensor], unit: str) -> None:
        """Raise ValueError if one of the latest losses, of steps that are called a unit, is NaN or infinite."""
        if not losses:
            return
        recent = torch.stack(losses[-LOOK_EVERY - 1 :])
        bad = (~recent.isfinite()).nonzero()
        if len(bad):
            step = len(losses) - len(recent) + int(bad[0, 0])
            raise InputError(
                f"the model returned NaN or infinity for {self.named(int(bad[0, 1]))} at {unit} {step}; check its weights, lower lr, or "
                "leave out autocast."
            )

    def check_images(self, images: Tensor) -> None:
        """Raise ValueError if a finished input is NaN or infinite."""
        bad = (~images.isfinite()).flatten(1).any(1).nonzero()
        if len(bad):
            raise InputError(
                f"the model's gradient turned {self.named(int(bad[0, 0]))} into NaN or infinity; check its weights, lower lr, or leave "
                "out autocast."
            )

    def warn_of_zero_gradients(
        self, result: OptimizationResult, forward: Callable[[int], tuple[Tensor, Tensor]], redirected: bool
    ) -> None:
        """
        Name the rows that the model did not move in half of the steps or more, and why that may be.

        Args:
            result (OptimizationResult): With its history.
            forward (Callable): Takes the pass of a step once more, and returns its loss and the images as the model got them.
            redirected (bool): Whether activation functions were redirected at first.
        """
        zero = result.history.get(ZERO_GRADIENT)
        if zero is None:
            return
        steps = len(zero)
        counts = zero.sum(0)
        rows = (2 * counts >= steps).nonzero().flatten().tolist()
        if not rows:
            return
        still = [row for row in rows if bool(zero[-1, row])]
        lost = ""
        if still:
            loss, seen = forward(steps - 1)
            lost = f"; it was lost {cause_of(where_lost(loss[still].sum(), seen))}"
        listed = ", ".join(self.named(row) for row in rows[:3]) + (
            f" and {len(rows) - 3} more" if len(rows) > 3 else ""
        )
        fewest, most = int(counts[rows].min()), int(counts[rows].max())
        share = "all" if fewest == steps else f"{fewest} of" if fewest == most else f"{fewest} to {most} of"
        when = "the only step" if steps == 1 else f"{share} {steps} steps"
        activations = ", redirected activation functions" if redirected else ""
        warnings.warn(
            f"{self._never_fired(result, rows, counts)}the gradient through the model was exactly zero in {when} for {listed}: "
            f"the model moved nothing there, and what came back is what the start{activations} and the regularizers made of it"
            f"{lost}.",
            stacklevel=callers_level(),
        )

    def _never_fired(self, result: OptimizationResult, rows: list[int], counts: Tensor) -> str:
        """The beginning of a message: which units were off in every step, as far as rows are of units."""
        activation = result.history.get("activation")
        if activation is None or not len(activation):
            return ""
        off = [row for row in rows if counts[row] == len(activation) and not bool(activation[:, row].any())]
        units = list(dict.fromkeys(unit for row in off if (unit := self.loss.unit(row)) is not None))
        if not units:
            return ""
        more = f" and {len(units) - 3} more" if len(units) > 3 else ""
        return f"{', '.join(units[:3])}{more} never fired: "

    def named(self, row: int) -> str:
        """A row as a message calls it."""
        target, unit = self.rows.targets[row], self.loss.unit(row)
        what = unit if unit is not None else f"target {list(target)}" if target else ""
        return f"prototype {self.rows.numbers[row]}" + (f" ({what})" if what else "")


def check_loss(loss: Any, rows: int) -> None:
    """Raise ValueError if a loss is not one value for each row, or has no gradient."""
    if not isinstance(loss, Tensor) or loss.shape != (rows,):
        got = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else f"a {type(loss).__name__}"
        raise InputError(f"the loss returned {got}; expected one value for each of the {rows} rows: ({rows},).")
    if not loss.requires_grad:
        raise InputError(
            "the loss has no gradient with respect to the images; leave torch.no_grad and .detach() out of it."
        )


__all__ = ["LOOK_EVERY", "Troubles", "check_loss"]
