"""
Claim: pictures of 8192 x 8192 and networks of 500 layers work, at a cost that follows from their size.

Each in a process of its own, one thread: a prototype of 8192 x 8192 by two steps of a small network, and the path similarity of eight
images in all 1,000 modules of a network of 500 convolutions. What is measured is the time, and the most memory beside the arrays that
cannot be less: the picture's in float32, the reference's. ``python benchmarks/extremes.py [--quick]``
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time

import torch
from harness import Report, parser
from torch import nn

from captum_proto import PathSimilarity, PrototypeGeneration


def large_picture(side: int) -> dict[str, float]:
    """Two steps of the paper's settings, transforms and high-frequency loss included."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 7, stride=8), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(64, 3)
    ).eval()
    made = PrototypeGeneration(model).generate([1], (3, side, side), steps=2, warmup_steps=1, evaluation_draws=1)
    assert made.images.shape == (1, 3, side, side)
    assert bool(made.images.isfinite().all())
    return {"floor_bytes": made.images.numel() * 4}


def many_layers(count: int) -> dict[str, float]:
    """A reference over eight images and their similarity to it, each left out of the mean it is compared with."""
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Conv2d(3, 8, 3, padding=1)]
    for _ in range(count - 1):
        layers += [nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1)]
    model = nn.Sequential(*layers, nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16 * 16, 3)).eval()
    similarity = PathSimilarity(model).fit(torch.rand(8, 3, 16, 16))
    scores = similarity.evaluate(torch.rand(8, 3, 16, 16))
    assert scores.spearman.shape == (8, len(scores.layers))
    return {"layers": len(scores.layers), "floor_bytes": 8 * 8 * 16 * 16 * len(scores.layers)}


CASES = {
    "a picture of {} x {}".format: (large_picture, 8192, 512),
    "a network of {} convolutions".format: (many_layers, 500, 20),
}


def alone(name: str, size: int) -> None:
    """One case, in a process that does nothing else: writes what it cost as JSON."""
    torch.set_num_threads(1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.perf_counter()
    found = {"large_picture": large_picture, "many_layers": many_layers}[name](size)
    cost = {
        "seconds": time.perf_counter() - begin,
        "peak_bytes": 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before),
    }
    print(json.dumps({**found, **cost}))


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--alone", nargs=2, metavar=("CASE", "SIZE"), help="one case, without a process of its own")
    args = arguments.parse_args()
    if args.alone:
        alone(args.alone[0], int(args.alone[1]))
        return
    command = "python benchmarks/extremes.py" + (" --quick" if args.quick else "")
    report = Report("extremes", "Pictures of 8192 x 8192 and networks of 500 layers work.", command, args.out)
    rows: list[list[str]] = []
    report.record["table"] = {"header": ["", "seconds", "most memory, MiB", "that cannot be less, MiB"], "rows": rows}
    for title, (case, size, small) in CASES.items():
        chosen = small if args.quick else size
        command_line = [sys.executable, __file__, "--alone", case.__name__, str(chosen)]
        ended = subprocess.run(command_line, capture_output=True, text=True)
        if ended.returncode:
            raise SystemExit(f"{title(chosen, chosen)} failed:\n{ended.stderr}")
        found = json.loads(ended.stdout.splitlines()[-1])
        name = title(chosen, chosen) + (f", {found['layers']:.0f} layers" if "layers" in found else "")
        peak, floor = found["peak_bytes"] / 2**20, found["floor_bytes"] / 2**20
        rows.append([name, f"{found['seconds']:.1f}", f"{peak:,.0f}", f"{floor:,.0f}"])
        print(": ".join([name, ", ".join(rows[-1][1:])]), flush=True)
    report.write()


if __name__ == "__main__":
    main()
