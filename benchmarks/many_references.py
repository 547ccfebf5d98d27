"""
Memory and time of comparing images with the references of many classes, which lie in files.

``python benchmarks/many_references.py 1000 --network lite0 --size 80 --folder FOLDER``, where FOLDER has room for 40 GB.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from captum_proto import PathReference, PathSimilarity
from captum_proto._utils.memory import readable_size
from captum_proto.metrics import NearestClass
from captum_proto.models import load_model


class Watch:
    """Seconds, and the memory that a block takes beyond what is held when it begins: a sample every five milliseconds."""

    def __init__(self) -> None:
        self.seconds, self.own, self.in_files = 0.0, 0, 0

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        before, ended = _resident(), threading.Event()

        def sample() -> None:
            while not ended.wait(0.005):
                own, in_files = _resident()
                self.own = max(self.own, own - before[0])
                self.in_files = max(self.in_files, in_files - before[1])

        watcher = threading.Thread(target=sample)
        watcher.start()
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.seconds = time.perf_counter() - begun
            ended.set()
            watcher.join()

    def __str__(self) -> str:
        return (
            f"{self.seconds:.1f} s, {readable_size(self.own)} of memory; {readable_size(self.in_files)} of pages of files, "
            "which the system takes back where it needs them"
        )


def _resident() -> tuple[int, int]:
    """Bytes that the process holds, and bytes of files that it has mapped and are in memory."""
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("Rss"))
    sizes = {name: int(size) * 1024 for name, size, *_ in lines}
    return sizes["RssAnon:"], sizes["RssFile:"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("classes", type=int)
    parser.add_argument("--network", choices=("small", "lite0"), default="small")
    parser.add_argument("--size", type=int, default=16, help="pixels of a side of an image")
    parser.add_argument("--folder", help="where the files are made, and deleted again")
    given = parser.parse_args()
    torch.manual_seed(0)
    shape = (3, given.size, given.size)
    if given.network == "small":
        model: nn.Module = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), *[nn.Hardswish() for _ in range(66)]).eval()
    else:
        model = load_model("efficientnet-lite0", pretrained=False).model
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        first = PathSimilarity(model).fit(torch.rand(2, *shape)).reference
        with (watch := Watch()).watching():
            for number in range(given.classes):  # as if each was fitted on images of its own
                sums = [total + torch.randn(len(total)) * total.std() for total in first.sums]
                digests = [f"{number}-{place}" for place in range(2)]
                PathReference(
                    first.layers, sums, first.shapes, first.pixel_sum, digests, first.model, first.repeat, first.alias
                ).save(Path(folder) / f"{number}.safetensors")
        size = sum(path.stat().st_size for path in Path(folder).iterdir())
        print(f"{given.classes} references, {len(first.layers)} layers, {sum(map(len, first.sums)):,} activations")
        print(f"written, {readable_size(size)}: {watch}", flush=True)
        similarities = {
            number: PathSimilarity(model).load(Path(folder) / f"{number}.safetensors")
            for number in range(given.classes)
        }
        with (watch := Watch()).watching():
            nearest = NearestClass(similarities, store=Path(folder) / "ranks.safetensors")
        size = (Path(folder) / "ranks.safetensors").stat().st_size
        print(f"ranked into a file of {readable_size(size)}: {watch}", flush=True)
        images = torch.rand(4, *shape)
        for again in ("", " again"):
            with (watch := Watch()).watching():
                nearest.evaluate(images, 0)
            print(f"4 images compared with all{again}: {watch}", flush=True)


if __name__ == "__main__":
    main()
