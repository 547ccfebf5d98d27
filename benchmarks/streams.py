"""
Claim: exact top-k and exact quantiles of every unit of every layer cost less than half of a forward pass more, in each of two passes.

(a) ResNet-18, all 67 layers, containers too: the first pass summarizes and counts every activation, the second looks into the intervals
that were found; the bare forward pass is the floor. (b) The operators by themselves on data in memory, beside what PyTorch and NumPy offer
for the same there. Results are compared in the same run. ``python benchmarks/streams.py [--quick]``
"""

from __future__ import annotations

import numpy as np
import torch
import torchvision
from harness import Case, Contender, Goal, Report, parser
from torch import Tensor, nn

from captum_proto import ops
from captum_proto.capture import forward_hooks
from captum_proto.stats.quantiles import Quantiles
from captum_proto.stats.top_k import TopK

Q = (0.5, 0.99, 0.995)
FORWARD, FIRST, SECOND = "bare forward pass", "first pass: top 15 and counts", "second pass: intervals"
HOOKS = "forward pass with empty hooks"


class Streams:
    """Top-k and quantiles of the maximum over positions, of all layers of a model."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.layers = {name: module for name, module in model.named_modules() if name}
        self.best = {name: TopK(15) for name in self.layers}
        self.quantiles = {name: Quantiles(Q) for name in self.layers}
        self.empty = False
        self.seen = 0

    def read(self, name: str, output: Tensor) -> None:
        if self.empty:
            return
        if self.quantiles[name].passes == 0:
            largest, position, _ = ops.unit_summary(output)
            self.best[name].update(largest, torch.arange(self.seen, self.seen + len(output)), position)
        if not self.quantiles[name].finished:
            self.quantiles[name].update(output.movedim(1, 0))

    def run(self, batch: Tensor) -> None:
        hooks = [
            (module, lambda _module, _inputs, output, name=name: self.read(name, output))
            for name, module in self.layers.items()
        ]
        with torch.no_grad(), forward_hooks(hooks):
            self.model(batch)
        self.seen += len(batch)

    def end_pass(self) -> None:
        for state in self.quantiles.values():
            state.end_pass()


def check(model: nn.Module, batches: list[Tensor]) -> None:
    """Against torch.topk and torch.quantile on the activations in memory, for three layers."""
    streams, held = Streams(model), {name: [] for name in ("relu", "layer2.0.bn1", "fc")}
    for _ in range(2):
        for batch in batches:
            streams.run(batch)
        streams.end_pass()
    hooks = [
        (streams.layers[name], lambda _module, _inputs, output, held=held[name]: held.append(output.clone()))
        for name in held
    ]
    with torch.no_grad(), forward_hooks(hooks):
        for batch in batches:
            model(batch)
    for name, outputs in held.items():
        values = torch.cat(outputs).flatten(2) if outputs[0].dim() > 2 else torch.cat(outputs).unsqueeze(2)
        best = values.amax(2).topk(min(15, len(values)), 0).values.t()
        # torch.quantile takes 16 million values at most, so unit by unit.
        wanted = torch.tensor(Q, dtype=torch.float64)
        quantiles = torch.stack([values[:, unit].flatten().double().quantile(wanted) for unit in range(8)])
        if not torch.equal(streams.best[name].compute()[0], best):
            raise SystemExit(f"wrong: top-k of {name}")
        if not torch.equal(streams.quantiles[name].compute()[:8], quantiles):
            raise SystemExit(f"wrong: quantiles of {name}")


def passes(batch_size: int, rounds: int) -> list[Case]:
    torch.manual_seed(0)
    model = torchvision.models.resnet18().eval()
    check(model, [torch.rand(2, 3, 64, 64) for _ in range(3)])
    batch = torch.rand(batch_size, 3, 224, 224)
    first, second, empty = Streams(model), Streams(model), Streams(model)
    empty.empty = True
    second.run(batch)
    second.end_pass()

    def look_again() -> None:
        for state in second.quantiles.values():
            if state._search is not None:
                state._search.filled.zero_()  # or a second look would find no room
        second.run(batch)

    def bare() -> None:
        with torch.no_grad():
            model(batch)

    units = sum(len(state.compute()[0]) for state in second.best.values())
    return [
        Case(
            f"{len(first.layers)} layers of ResNet-18, {units} units, {batch_size} x 3 x 224 x 224",
            [
                Contender(FIRST, lambda: first.run(batch)),
                Contender(SECOND, look_again),
                Contender(HOOKS, lambda: empty.run(batch)),
                Contender(FORWARD, bare),
            ],
            [Goal(FIRST, FORWARD, most=1.5), Goal(SECOND, FORWARD, most=1.5)],
            rounds=rounds,
            note=f"quantiles {', '.join(map(str, Q))}; weights are random",
        )
    ]


def in_memory(units: int, length: int, rounds: int) -> list[Case]:
    generator = torch.Generator().manual_seed(0)
    cases = []
    for kind in ("dense", "after a ReLU"):
        values = torch.randn(units, length, generator=generator)
        values = values.relu() if kind == "after a ReLU" else values
        part = max(1, units // 16)
        wanted = torch.tensor(Q, dtype=torch.float64)

        def stream(values: Tensor = values) -> Tensor:
            state = Quantiles(Q)
            while not state.finished:
                state.update(values)
                state.end_pass()
            return state.compute()

        def quantile(values: Tensor = values[:part], wanted: Tensor = wanted) -> Tensor:
            return torch.stack([row.double().quantile(wanted) for row in values])

        def partition(values: Tensor = values[:part]) -> None:
            ranks = sorted({int(q * (length - 1)) for q in Q})
            for row in values.numpy():
                np.partition(row, ranks)

        def histogram(values: Tensor = values[:part]) -> None:
            for row in values:
                torch.histc(row, 2499)

        if not torch.equal(stream()[:part], quantile()):
            raise SystemExit("wrong: not torch.quantile's")
        counts = torch.zeros(units, 2499, dtype=torch.int32)
        flat = values.unsqueeze(1)
        share = part / units
        cases.append(
            Case(
                f"quantiles of {units} x {length}, float32, {kind}",
                [
                    Contender("stats.Quantiles, all passes", stream),
                    Contender("numpy.partition, row by row", partition, share),
                    Contender("torch.quantile, row by row", quantile, share, every=2),
                ],
                [Goal("torch.quantile, row by row", "stats.Quantiles, all passes", least=1)],
                values.numel(),
                2 * values.nbytes,
                rounds,
            )
        )
        cases.append(
            Case(
                f"a histogram of {units} x {length}, float32, {kind}",
                [
                    Contender("ops.radix_histogram", lambda c=counts, f=flat: ops.radix_histogram(c, f)),
                    Contender("torch.histc, row by row", histogram, share),
                    Contender("a copy", lambda v=values: v.clone()),
                ],
                [Goal("torch.histc, row by row", "ops.radix_histogram", least=1)],
                values.numel(),
                values.nbytes,
                rounds,
            )
        )
        maps = values.view(units // 8, 8, length)
        cases.append(
            Case(
                f"maximum, position and mean of {units} maps of {length}, float32, {kind}",
                [
                    Contender("ops.unit_summary", lambda m=maps: ops.unit_summary(m)),
                    Contender("torch.max and torch.mean", lambda m=maps: (m.max(2), m.mean(2))),
                    Contender("torch.amax alone", lambda m=maps: m.amax(2)),
                ],
                [Goal("torch.max and torch.mean", "ops.unit_summary", least=1)],
                values.numel(),
                values.nbytes,
                rounds,
            )
        )
    return cases


def lists(rows: int, units: int, rounds: int) -> list[Case]:
    scores = torch.randn(rows, units, generator=torch.Generator().manual_seed(0))
    indices = torch.arange(rows)

    def stream() -> TopK:
        state = TopK(15)
        for part in indices.split(32):
            state.update(scores[part], part)
        return state

    def keep_and_sort_again() -> Tensor:
        best = scores[:0]
        for part in indices.split(32):
            best = torch.cat([best, scores[part]]).topk(min(15, len(best) + len(part)), 0).values
        return best

    if not torch.equal(stream().compute()[0], keep_and_sort_again().t()):
        raise SystemExit("wrong: not torch.topk's")
    return [
        Case(
            f"top 15 of {rows} x {units}, in batches of 32",
            [
                Contender("stats.TopK", stream),
                Contender("torch.topk of the best and each batch", keep_and_sort_again),
                Contender("torch.topk of all, in memory", lambda: scores.topk(15, 0)),
            ],
            [Goal("torch.topk of the best and each batch", "stats.TopK", least=1)],
            scores.numel(),
            scores.nbytes,
            rounds,
        )
    ]


def main() -> None:
    args = parser(__doc__).parse_args()
    report = Report(
        "streams",
        "Exact top-k and quantiles of all layers beside the forward pass",
        "python benchmarks/streams.py",
        args.out,
    )
    rounds = 3 if args.quick else 7
    report.run(passes(4 if args.quick else 32, rounds))
    report.run(in_memory(16 if args.quick else 128, 100_000 if args.quick else 802_816, rounds))
    report.run(lists(640 if args.quick else 50_000, 512, rounds))


if __name__ == "__main__":
    main()
