"""
Claim: ``ops.spearman`` equals ``scipy.stats.spearmanr`` and is much faster, on layers of any size.

Correctness is checked in the same run: SciPy to 1e-12, the PyTorch twin bit for bit. Peers are SciPy, torchmetrics (on values without
ties; with them its sums overflow), pandas' ranking, and the twin; the floor is ``numpy.sort`` of the values alone, on one core.
``python benchmarks/spearman.py [--quick]``
"""

from __future__ import annotations

import numpy as np
import scipy.stats
import torch
from harness import Case, Contender, Goal, Report, parser, peer, threads
from torch import Tensor

from captum_proto import ops
from captum_proto.ops import _twin

OURS, SCIPY, METRICS, PANDAS = "ops.spearman", "scipy.stats.spearmanr", "torchmetrics", "pandas rank and corrwith"
TWIN, SORT, SINGLE = "PyTorch twin", "numpy.sort, values alone, one core", "ops.spearman, float32"


def check(x: Tensor, y: Tensor, rows: int) -> None:
    """The first rows against SciPy, and against the twin."""
    reference = ops.SpearmanReference(y)
    ours = ops.spearman(x, reference)
    expected = [scipy.stats.spearmanr(row.float().numpy(), y.numpy()).statistic for row in x[:rows]]
    error = float(np.abs(ours[:rows].numpy() - np.array(expected)).max())
    if error > 1e-12 or not torch.equal(_twin.spearman(x[:rows], reference.doubled_ranks), ours[:rows]):
        raise SystemExit(f"wrong: {error:.1e} from SciPy, or not equal to the twin")


def sort(x: Tensor) -> None:
    for row in x.numpy():
        np.sort(row)


def rows_with_scipy(x: Tensor, y: Tensor) -> None:
    for row in x:
        scipy.stats.spearmanr(row.numpy(), y.numpy())


def on_one_thread(x: Tensor, reference: ops.SpearmanReference) -> None:
    with threads(1):
        ops.spearman(x, reference)


def long_rows(rows: int, length: int, rounds: int) -> list[Case]:
    torchmetrics, pandas = peer("torchmetrics.functional"), peer("pandas")
    generator = torch.Generator().manual_seed(0)
    dense = torch.randn(rows, length, generator=generator)
    cases = []
    for name, x, y in (
        ("dense", dense, dense[0] + torch.randn(length, generator=generator)),
        ("after a ReLU", dense.relu(), (dense[0] + torch.randn(length, generator=generator)).relu()),
    ):
        check(x, y, 2)
        reference = ops.SpearmanReference(y)
        part = max(1, rows // 20)
        contenders = [
            Contender(OURS, lambda x=x, r=reference: ops.spearman(x, r)),
            Contender(SORT, lambda x=x, part=part: sort(x[:part]), part / rows),
            Contender(SCIPY, lambda x=x, y=y: rows_with_scipy(x[:1], y), 1 / rows, every=2),
            Contender(
                TWIN, lambda x=x, r=reference, part=part: _twin.spearman(x[:part], r.doubled_ranks), part / rows, 2
            ),
        ]
        goals = [Goal(SCIPY, OURS, least=100), Goal(SORT, OURS, least=1 if name == "dense" else 2)]
        if torchmetrics is not None and name == "dense":
            contenders.append(
                Contender(METRICS, lambda x=x, y=y: torchmetrics.spearman_corrcoef(x[0], y), 1 / rows, every=2)
            )
            goals.append(Goal(METRICS, OURS, least=80))
        if pandas is not None:

            def with_pandas(x: Tensor = x, y: Tensor = y) -> None:
                frame = pandas.DataFrame(x[:1].numpy().T).rank()
                frame.corrwith(pandas.Series(y.numpy()).rank())

            contenders.append(Contender(PANDAS, with_pandas, 1 / rows, every=2))
        shape = f"{rows} x {length}, float32, {name}"
        cases.append(Case(shape, contenders, goals, x.numel(), x.nbytes, rounds))
        for dtype in (torch.bfloat16, torch.float16):
            half = x.to(dtype)
            check(half, y, 1)
            cases.append(
                Case(
                    f"{rows} x {length}, {str(dtype).removeprefix('torch.')}, {name}",
                    [
                        Contender(OURS, lambda x=half, r=reference: ops.spearman(x, r)),
                        Contender(SINGLE, lambda x=x, r=reference: ops.spearman(x, r)),
                    ],
                    [Goal(SINGLE, OURS, least=2)] if dtype == torch.bfloat16 else [],
                    x.numel(),
                    half.nbytes,
                    rounds,
                )
            )
        alone = "one of the two threads"
        one = x[:1]

        cases.append(
            Case(
                f"{rows} x {length}, float32, {name}: threads",
                [Contender(OURS, contenders[0].run), Contender(alone, lambda x=x, r=reference: on_one_thread(x, r))],
                [Goal(alone, OURS, least=1.8)] if torch.get_num_threads() == 2 else [],
                x.numel(),
                x.nbytes,
                rounds,
            )
        )

        cases.append(
            Case(
                f"1 x {length}, float32, {name}: threads",
                [
                    Contender(OURS, lambda x=one, r=reference: ops.spearman(x, r)),
                    Contender(alone, lambda x=one, r=reference: on_one_thread(x, r)),
                ],
                [],
                length,
                one.nbytes,
                2 * rounds,
                note="a single row is shared by all threads",
            )
        )
    return cases


def short_rows(rows: int, rounds: int) -> list[Case]:
    generator = torch.Generator().manual_seed(1)
    cases = []
    for length in (10, 64, 256, 1000, 2048, 8192):
        x, y = torch.randn(rows, length, generator=generator), torch.randn(length, generator=generator)
        check(x, y, 3)
        reference = ops.SpearmanReference(y)
        part = max(1, min(rows, 200_000 // length))
        cases.append(
            Case(
                f"{rows} x {length}, float32",
                [
                    Contender(OURS, lambda x=x, r=reference: ops.spearman(x, r)),
                    Contender(SCIPY, lambda x=x, y=y, part=part: rows_with_scipy(x[:part], y), part / rows, every=2),
                    Contender(SORT, lambda x=x, part=part: sort(x[:part]), part / rows),
                ],
                [Goal(SCIPY, OURS, least=30)],
                x.numel(),
                x.nbytes,
                rounds,
            )
        )
    return cases


def main() -> None:
    args = parser(__doc__).parse_args()
    report = Report(
        "spearman",
        "Rank correlation of rows with a reference, as exact as SciPy's",
        "python benchmarks/spearman.py",
        args.out,
    )
    report.run(long_rows(10 if args.quick else 100, 802_816, 3 if args.quick else 7))
    report.run(short_rows(256 if args.quick else 4096, 3 if args.quick else 7))


if __name__ == "__main__":
    main()
