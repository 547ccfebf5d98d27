"""
Claim: the cost of an evaluation grows as images and as layers do, its memory does not grow with images, and a second core is put to use.

Each size is run in a process of its own, on ResNet-18 with random weights; memory is the peak over what the process held with the model
loaded. ``python benchmarks/growth.py [--quick]``
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import torch
import torchvision
from harness import ROOT, Report, parser, seconds, text_table

from captum_proto import PathSimilarity


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def one(images: int, layers: str, threads: int) -> dict[str, Any]:
    """One fit and one evaluation in this process."""
    torch.set_num_threads(threads)
    model = torchvision.models.resnet18().eval()
    similarity = PathSimilarity(model, None if layers == "all" else layers)

    def batches() -> Iterator[torch.Tensor]:
        generator = torch.Generator().manual_seed(0)
        for begin in range(0, images, 20):
            yield torch.rand(min(20, images - begin), 3, 224, 224, generator=generator)

    def bare() -> None:
        with torch.no_grad():
            for batch in batches():
                model(batch)

    with torch.no_grad():
        model(torch.rand(20, 3, 224, 224))
    before = peak_mib()
    fit = seconds(lambda: similarity.fit(batches()))
    evaluate = seconds(lambda: similarity.evaluate(batches()))
    return {
        "images": images,
        "layers": len(similarity.reference.layers),
        "threads": threads,
        "fit_seconds": fit,
        "evaluate_seconds": evaluate,
        "bare_seconds": seconds(bare),
        "mib_over_model": peak_mib() - before,
    }


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--one", nargs=3, help="images, layers and threads of a single run, as JSON")
    args = arguments.parse_args()
    if args.one is not None:
        images, layers, threads = args.one
        print(json.dumps(one(int(images), layers, int(threads))))
        return
    report = Report(
        "growth",
        "How an evaluation grows: ResNet-18, 224 x 224, batches of 20",
        "python benchmarks/growth.py",
        args.out,
    )
    full = torch.get_num_threads()
    sizes = (20, 40) if args.quick else (40, 80, 160)
    plan = [(n, "all", full) for n in sizes] + [(sizes[0], "layer?", full)] + [(sizes[0], "all", 1)]
    runs = []
    for images, layers, threads in plan:
        command = [sys.executable, __file__, "--one", str(images), layers, str(threads)]
        done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
        runs.append(json.loads(done.stdout.splitlines()[-1]))
    header = [
        "images",
        "layers",
        "threads",
        "fit s",
        "evaluate s",
        "bare passes s",
        "ms an image and pass",
        "MiB over model",
    ]
    rows = [
        [
            str(r["images"]),
            str(r["layers"]),
            str(r["threads"]),
            f"{r['fit_seconds']:.2f}",
            f"{r['evaluate_seconds']:.2f}",
            f"{r['bare_seconds']:.2f}",
            f"{500 * (r['fit_seconds'] + r['evaluate_seconds']) / r['images']:.1f}",
            f"{r['mib_over_model']:.0f}",
        ]
        for r in runs
    ]
    print(text_table(header, rows))
    report.record["table"] = {"header": header, "rows": rows}
    report.record["runs"] = runs
    report.write()


if __name__ == "__main__":
    main()
