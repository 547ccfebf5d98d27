"""Memory and time of comparing images with the references of many classes: ``python benchmarks/many_references.py CLASSES small|lite0``."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import nn

from captum_proto import PathReference, PathSimilarity
from captum_proto._utils.memory import Gauge, readable_size
from captum_proto.metrics import NearestClass
from captum_proto.models import load_model


def main() -> None:
    classes, kind = int(sys.argv[1]), sys.argv[2]
    torch.manual_seed(0)
    if kind == "small":
        model: nn.Module = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), *[nn.Hardswish() for _ in range(66)]).eval()
        shape = (3, 16, 16)
    else:
        model, shape = load_model("efficientnet-lite0", pretrained=False).model, (3, 224, 224)
    gauge = Gauge(torch.device("cpu"))
    with tempfile.TemporaryDirectory(dir=sys.argv[3] if len(sys.argv) > 3 else None) as folder:
        first = PathSimilarity(model).fit(torch.rand(2, *shape)).reference
        begun = time.perf_counter()
        gauge.begin()
        for number in range(classes):  # as if each was fitted on images of its own
            sums = [total + torch.randn(len(total)) * total.std() for total in first.sums]
            digests = [f"{number}-{place}" for place in range(2)]
            PathReference(
                first.layers, sums, first.shapes, first.pixel_sum, digests, first.model, first.repeat, first.alias
            ).save(Path(folder) / f"{number}.safetensors")
        print(
            f"{len(first.layers)} layers, {sum(map(len, first.sums)):,} activations; written: {time.perf_counter() - begun:.1f} s"
        )
        before = gauge.held
        similarities = {
            number: PathSimilarity(model).load(Path(folder) / f"{number}.safetensors") for number in range(classes)
        }
        begun = time.perf_counter()
        gauge.begin()
        nearest = NearestClass(similarities, store=Path(folder) / "ranks.safetensors")
        size = (Path(folder) / "ranks.safetensors").stat().st_size
        took = time.perf_counter() - begun
        print(
            f"ranked into a file of {readable_size(size)}: {took:.1f} s, {readable_size(gauge.peak() - before)} of memory"
        )
        images = torch.rand(4, *shape)
        for again in ("", " again"):
            begun = time.perf_counter()
            gauge.begin()
            nearest.evaluate(images, 0)
            took = time.perf_counter() - begun
            print(
                f"4 images compared with all{again}: {took:.1f} s, {readable_size(gauge.peak() - before)} of memory",
                flush=True,
            )


if __name__ == "__main__":
    main()
