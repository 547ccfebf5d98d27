"""
Claim: cells of an activation atlas are averaged at the speed of memory, and an atlas of 100,000 vectors is laid out in under a minute.

Correctness is checked in the same run: sums of cells equal NumPy's, which adds row by row in float64. The peer is the way of Lucid and
captum.optim, a loop over cells with a mask over all points each; the floor is the sum of all vectors in float32, which reads each once.
The first run of UMAP in a process compiles for about half a minute and is not counted. ``python benchmarks/atlas.py [--quick]``
"""

from __future__ import annotations

import numpy as np
import torch
from harness import Case, Contender, Goal, Report, parser, peer, seconds
from torch import Tensor

from captum_proto.features.activation_atlas import AtlasVectors, lay_out, normalize_layout
from captum_proto.features.activation_atlas.grid import AtlasLevel, cells_of, sums_by_cell

OURS, LOOP, NUMPY, FLOOR = (
    "cells and their means",
    "loop over cells with masks",
    "numpy.add.at in float64",
    "sum of all",
)
END = "layout, grid and whitening"


def planted(count: int, channels: int) -> Tensor:
    """Vectors as after a ReLU, of two hundred kinds."""
    generator = torch.Generator().manual_seed(0)
    kinds = 2 * torch.randn(200, channels, generator=generator)
    noise = torch.randn(count, channels, generator=generator)
    return noise.add_(kinds[torch.randint(0, 200, (count,), generator=generator)]).relu_()


def bin_all(vectors: Tensor, places: Tensor, size: int) -> tuple[Tensor, Tensor]:
    cells = cells_of(places, size)
    return sums_by_cell(vectors, cells, size * size), torch.bincount(cells, minlength=size * size)


def loop_over_cells(vectors: Tensor, places: Tensor, size: int, most: int) -> list[Tensor]:
    """As Lucid and captum.optim do it, for the first cells."""
    means = []
    for cell in range(most):
        row, column = divmod(cell, size)
        inside = (places[:, 0] >= column / size) & (places[:, 0] <= (column + 1) / size)
        inside &= (places[:, 1] >= row / size) & (places[:, 1] <= (row + 1) / size)
        means.append(vectors[inside].mean(0))
    return means


def add_at(vectors: Tensor, cells: Tensor, size: int) -> np.ndarray:
    totals = np.zeros((size * size, vectors.shape[1]))
    np.add.at(totals, cells.numpy(), vectors.numpy())
    return totals


def binning(count: int, channels: int, size: int, rounds: int) -> Case:
    vectors = planted(count, channels)
    places = torch.rand(count, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    some, cells = 2000, cells_of(places, size)
    if not np.array_equal(
        sums_by_cell(vectors[:some], cells[:some], size**2).numpy(), add_at(vectors[:some], cells[:some], size)
    ):
        raise SystemExit("wrong: sums of cells are not NumPy's")
    part, looked_at = max(some, count // 20), max(1, size * size // 20)
    return Case(
        f"{count} x {channels}, {size} x {size} cells",
        [
            Contender(OURS, lambda: bin_all(vectors, places, size)),
            Contender(LOOP, lambda: loop_over_cells(vectors, places, size, looked_at), looked_at / size**2, every=2),
            Contender(NUMPY, lambda: add_at(vectors[:part], cells[:part], size), part / count, every=2),
            Contender(FLOOR, lambda: vectors.sum(0)),
        ],
        [Goal(LOOP, OURS, least=2)],
        vectors.numel(),
        vectors.nbytes,
        rounds,
        note="the goal of one second is read off the first line",
    )


def end_to_end(count: int, channels: int, method: str) -> Case:
    values = planted(count, channels)
    empty = torch.zeros(count, 0)
    vectors = AtlasVectors(values, torch.arange(count), torch.zeros(count, 2, dtype=torch.int64), empty)

    def run() -> None:
        places = normalize_layout(lay_out(values, method))
        for size in (5, 10, 20):
            level = AtlasLevel.of(vectors, places, size, 1)
            if int(level.counts.sum()) != count:
                raise SystemExit("wrong: counts do not sum to the number of vectors")
        vectors.whitening()

    return Case(f"{count} x {channels}, {method}, to the icons", [Contender(END, run)], [], values.numel(), rounds=1)


def main() -> None:
    made = parser(__doc__)
    args = made.parse_args()
    quick = args.quick
    report = Report(
        "atlas",
        "Cells of an activation atlas are averaged at the speed of memory, and 100,000 vectors are laid out in under a minute.",
        "python benchmarks/atlas.py" + (" --quick" if quick else ""),
        args.out,
    )
    report.run([binning(20_000 if quick else 1_000_000, 512, 20, 2 if quick else 5)])
    for method in ("pca", "umap"):
        if method == "umap" and peer("umap") is None:
            continue
        case = end_to_end(5_000 if quick else 100_000, 512, method)
        end_to_end(4_500, 64, method).contenders[0].run()  # compiles
        run = case.contenders[0].run
        report.add(case, {END: [seconds(run)]}, goal="under 60 seconds")


if __name__ == "__main__":
    main()
