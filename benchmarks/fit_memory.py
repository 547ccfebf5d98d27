"""
Claim: the memory of ``PathSimilarity.fit`` does not grow with the number of images.

Each number of images is fitted in a process of its own, on all 67 layers of a ResNet-18 with random weights; what is reported is the
peak of the process's memory over what it held with the model loaded. ``python benchmarks/fit_memory.py [--images 50 500]``
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch
import torchvision

from captum_proto import PathSimilarity
from captum_proto._utils.tables import text_table
from captum_proto._utils.versions import versions


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def fit(images: int) -> dict[str, float]:
    """One fit in this process: peak memory over the loaded model, and seconds."""
    similarity = PathSimilarity(torchvision.models.resnet18().eval())
    generator = torch.Generator().manual_seed(0)

    def batches() -> Iterator[torch.Tensor]:
        for begin in range(0, images, 25):
            yield torch.rand(min(25, images - begin), 3, 224, 224, generator=generator)

    before, begin = peak_mib(), time.perf_counter()
    similarity.fit(batches())
    return {"images": images, "before": before, "over": peak_mib() - before, "seconds": time.perf_counter() - begin}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[50, 500])
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "fit_memory.json")
    args = parser.parse_args()
    if args.one is not None:
        print(json.dumps(fit(args.one)))
        return
    results = []
    for count in args.images:
        command = [sys.executable, __file__, "--one", str(count)]
        results.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    header = ["images", "MiB with the model", "MiB on top at the peak", "s"]
    rows = [[str(r["images"]), f"{r['before']:.0f}", f"{r['over']:.0f}", f"{r['seconds']:.1f}"] for r in results]
    print(text_table(header, rows))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps({"claim": "fit_memory", "runs": results, "versions": versions()}, indent=2) + "\n")


if __name__ == "__main__":
    main()
