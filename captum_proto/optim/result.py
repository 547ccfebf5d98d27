"""What an optimization tells: each step to a callback, and the whole in the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from captum_proto.optim.inputs.base import Parametrization
from captum_proto.optim.loss.objective import Rows
from captum_proto.optim.network import Arrangement

#: The name in the history under which steps are recorded in which the model did not move a row.
ZERO_GRADIENT = "zero_gradient"


@dataclass(frozen=True)
class Step:
    """
    What a callback sees of one step.

    Attributes:
        phase (str): "warmup" or "ascent".
        step (int): From 0, within its phase.
        prototypes (range): Which of the prototypes asked for are in this batch.
        images (Tensor): (N, C, H, W), after the step. May share memory with the optimization: clone what you keep.
        terms (dict[str, Tensor]): The values of ``OptimizationResult.history`` at this step but "zero_gradient", each (N,), on the
            model's device.
    """

    phase: str
    step: int
    prototypes: range
    images: Tensor
    terms: dict[str, Tensor]


#: Called after each step; returning True ends the optimization there.
Callback = Callable[[Step], "bool | None"]


@dataclass
class GraphRecord:
    """
    What came of the wish for a graph, as a result records it.

    Attributes:
        replayed (int): How many steps were replayed.
        reasons (dict[str, str]): By phase, why its steps were taken one by one instead.
    """

    replayed: int = 0
    reasons: dict[str, str] = field(default_factory=dict)

    def settings(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {"replayed_steps": self.replayed, "reasons": dict(self.reasons)}


@dataclass
class OptimizationResult:
    """
    Optimized inputs, and how they came about.

    Attributes:
        images (Tensor): (N, C, H, W), or what else the inputs are; on the model's device.
        rows (Rows): What each of them is, with its random numbers.
        arrangement (Arrangement): How the network was run.
        history (dict[str, Tensor]): One value for each step and row, before the step's update, on the CPU. Of the warm-up: what its loss
            records, each (W, N). Of the main objective: "loss" and what its losses record, each (S, N); and where it was so in any step,
            "zero_gradient": 1 where the gradient through the model was exactly zero, else 0.
        snapshots (dict[int, Tensor]): Images after so many steps of the main objective, (N, C, H, W) on the CPU.
        stopped (bool): Whether a callback ended it.
        parameters (dict[str, Tensor]): What was optimized, (N, …) each; the images are ``parametrization.render(parameters)``.
        parametrization (Parametrization, optional): Of these images. ``parametrization.for_images((3, 512, 512), (0, 1))`` renders the
            parameters of a :class:`~captum_proto.optim.CPPNImage` at another size.
        graph (GraphRecord, optional): What came of ``cuda_graph=True``; None where it was not asked for.
    """

    images: Tensor
    rows: Rows
    arrangement: Arrangement
    history: dict[str, Tensor] = field(default_factory=dict)
    snapshots: dict[int, Tensor] = field(default_factory=dict)
    stopped: bool = False
    parameters: dict[str, Tensor] = field(default_factory=dict)
    parametrization: Parametrization | None = None
    graph: GraphRecord | None = None

    def network_settings(self) -> dict[str, Any]:
        """How the network was run, as JSON can hold it."""
        graph = {} if self.graph is None else {"cuda_graph": self.graph.settings()}
        return {**self.arrangement.settings(), **graph}


__all__ = ["ZERO_GRADIENT", "Callback", "GraphRecord", "OptimizationResult", "Step"]
