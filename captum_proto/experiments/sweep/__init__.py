"""Sweeps: a grid over the arguments of generate, and a ranking."""

from captum_proto.experiments.sweep.grid import PAPER_PROTOCOLS, Combination, Sweep, sweep_from_tables
from captum_proto.experiments.sweep.protocol import sweep_to_folder
from captum_proto.experiments.sweep.results import Cell, Rank, SweepResult

__all__ = [
    "PAPER_PROTOCOLS",
    "Cell",
    "Combination",
    "Rank",
    "Sweep",
    "SweepResult",
    "sweep_from_tables",
    "sweep_to_folder",
]
