"""Sweeps: every combination of a grid over the arguments of generate, for several models, classes and seeds, ranked."""

from captum_proto.experiments.sweep.grid import PAPER_PROTOCOLS, Combination, Sweep, sweep_from_tables
from captum_proto.experiments.sweep.protocol import RunSweep
from captum_proto.experiments.sweep.results import Cell, Rank, SweepResult

__all__ = [
    "PAPER_PROTOCOLS",
    "Cell",
    "Combination",
    "Rank",
    "RunSweep",
    "Sweep",
    "SweepResult",
    "sweep_from_tables",
]
