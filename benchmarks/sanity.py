"""
Claim: the similarities of a sanity check are found fifty times as fast as Quantus finds them, on the same maps.

Quantus compares a batch of B maps with B maps of a randomized network by one call of ``scipy.stats.spearmanr`` for all 2 B rows: it ranks
them and makes the correlations of all with all, (2 B) x (2 B), of which it takes the diagonal of a quarter. That is written here as
Quantus 0.6 does it; where it is installed, its own function is a further peer. The maps before are ranked once for all stages and seeds:
the goal is of each stage, and what the first one takes stands beside it. Correctness is checked in the same run, to 1e-12.

``python benchmarks/sanity.py [--quick]``
"""

from __future__ import annotations

import importlib
import importlib.util

import numpy as np
import scipy.stats
import torch
from harness import Case, Contender, Goal, Report, parser, threads
from numpy.typing import NDArray
from torch import Tensor

from captum_proto.metrics.randomization import MapSimilarity

OURS, ONE, FIRST = "ours", "ours, one thread", "ours, with the ranks of the maps before"
MATRIX, ROWS, QUANTUS = "scipy's matrix of 2 B rows", "scipy row by row", "quantus"


def matrix(before: NDArray[np.float32], after: NDArray[np.float32]) -> NDArray[np.float64]:
    """As Quantus: all rows with all rows, and of that the diagonal of the quarter in which both meet."""
    correlation = scipy.stats.spearmanr(before, after, axis=1).statistic
    count = len(before)
    return np.asarray(correlation[:count, count:]).diagonal()


def row_by_row(before: NDArray[np.float32], after: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.array([scipy.stats.spearmanr(a, b).statistic for a, b in zip(before, after, strict=True)])


def maps(count: int, values: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    before = torch.randn(count, values, generator=generator)
    return before, before + 2 * torch.randn(count, values, generator=generator)


def case(count: int, values: int, rounds: int) -> Case:
    before, after = maps(count, values)
    arrays = before.numpy(), after.numpy()
    similarity = MapSimilarity(before, "spearman")

    def ours() -> Tensor:
        return similarity.own(after)["spearman"]

    def one_thread() -> Tensor:
        with threads(1):
            return ours()

    def first() -> Tensor:
        return MapSimilarity(before, "spearman").own(after)["spearman"]

    error = float(np.abs(ours().numpy() - matrix(*arrays)).max())
    if error > 1e-12:
        raise SystemExit(f"wrong: {error:.1e} from SciPy")
    contenders = [
        Contender(OURS, ours),
        Contender(ONE, one_thread),
        Contender(FIRST, first),
        Contender(MATRIX, lambda: matrix(*arrays), every=2),
        Contender(ROWS, lambda: row_by_row(*arrays), every=2),
    ]
    goals = [Goal(MATRIX, OURS, least=50)] if count >= 64 and values > 100_000 else []
    if importlib.util.find_spec("quantus") is not None:  # the extra [bench] does not bring it
        quantus = importlib.import_module("quantus.functions.similarity_func")
        contenders.append(Contender(QUANTUS, lambda: quantus.correlation_spearman(*arrays, batched=True), every=2))
    return Case(
        f"{count} maps of {values:,} values beside {count} others, float32",
        contenders,
        goals,
        2 * count * values,
        rounds=rounds,
    )


def main() -> None:
    args = parser(__doc__).parse_args()
    report = Report(
        "sanity",
        "The similarities of a sanity check are found fifty times as fast as Quantus finds them, on the same maps.",
        "python benchmarks/sanity.py" + (" --quick" if args.quick else ""),
        args.out,
    )
    values = 3 * 224 * 224
    rounds = 3
    sizes = [(8, values)] if args.quick else [(8, values), (64, values), (64, 3 * 32 * 32)]
    report.run([case(count, length, rounds) for count, length in sizes])


if __name__ == "__main__":
    main()
