"""Every choice that a generation makes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from captum_proto._utils.errors import InputError
from captum_proto.optim.loss import ClassLogit, Diversity, HighFrequency, Loss
from captum_proto.optim.settings import OptimizationSettings


@dataclass(frozen=True, kw_only=True)
class GenerationSettings(OptimizationSettings):
    """
    Every choice that a generation makes (arXiv:2309.17144, section 3.1): those of an optimization, and the terms of its objective.

    Args:
        high_frequency_weight (float): λ, at least 0.
        high_frequency_power (int): 1 or 2.
        diversity (Diversity, optional): What pulls prototypes of the same target apart, within a batch.
        diversity_weight (float): How much it counts, at least 0.

    Raises:
        TypeError, ValueError: If a value is out of its range.
    """

    high_frequency_weight: float = 0.0
    high_frequency_power: int = 1
    diversity: Diversity | None = None
    diversity_weight: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_finite("high_frequency_weight", "diversity_weight")
        if self.high_frequency_power not in (1, 2):
            raise InputError(f"high_frequency_power is {self.high_frequency_power!r}; expected 1 or 2.")

    def objective(self, target: Any) -> Loss:
        """What the ascent minimizes for these targets, one row for each."""
        objective = ClassLogit(target) + self.high_frequency_weight * HighFrequency(self.high_frequency_power)
        return objective if self.diversity is None else objective + self.diversity_weight * self.diversity
