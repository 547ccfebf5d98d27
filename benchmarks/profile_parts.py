"""
Where the time of one generation step and of one evaluation goes, by kind of operation, from PyTorch's profiler.

``python benchmarks/profile_parts.py`` prints two tables, for ResNet-18 at 224 x 224; those of docs/performance.md come from it.
"""

from __future__ import annotations

import harness
import torch
import torchvision
from harness import text_table
from torch.profiler import ProfilerActivity, profile

from captum_proto import PathSimilarity, PrototypeGeneration

#: The kinds of operations, by what their names hold; the first that fits counts.
KINDS = {
    "convolution": ("convolution",),
    "batch normalization": ("batch_norm",),
    "rank correlation and L1": ("captum_proto::path_distance", "captum_proto::doubled_rank", "captum_proto::spearman"),
    "sums of activations": ("captum_proto::accumulate",),
    "affine warp and normalization": ("grid", "affine", "aten::sub", "aten::div"),
    "high-frequency loss": ("high_frequency",),
    "pooling": ("pool",),
    "ReLU": ("threshold", "clamp_min", "relu"),
    "Adam": ("adam", "aten::clamp"),
    "copies, fills and additions": ("copy", "fill", "add", "clone", "zero"),
}
NORMALIZE = torchvision.transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


def parts(recorded: profile, units: int) -> dict[str, float]:
    """Milliseconds a unit by kind."""
    found = dict.fromkeys([*KINDS, "everything else"], 0.0)
    for event in recorded.key_averages():
        name = event.key.lower()
        kind = next((k for k, words in KINDS.items() if any(word in name for word in words)), "everything else")
        found[kind] += event.self_cpu_time_total / 1e3 / units
    return found


def show(title: str, found: dict[str, float]) -> None:
    total = sum(found.values())
    rows = [[kind, f"{ms:.2f}", f"{100 * ms / total:.1f}"] for kind, ms in sorted(found.items(), key=lambda x: -x[1])]
    print(f"\n{title}\n{text_table(['', 'ms', '%'], [*rows, ['all', f'{total:.2f}', '100.0']])}")


def main() -> None:
    harness.parser(__doc__).parse_args()
    model = torchvision.models.resnet18().eval()
    generation = PrototypeGeneration(model, NORMALIZE)
    batch, steps = 16, 4

    def generate(count: int) -> None:
        generation.generate([3] * batch, (3, 224, 224), steps=count, warmup_steps=0, evaluation_draws=0)

    generate(1)
    with profile(activities=[ProfilerActivity.CPU]) as once:
        generate(1)
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        generate(1 + steps)
    first, all_steps = (
        parts(once, steps * batch),
        parts(recorded, steps * batch),
    )  # the first step also arranges the network
    show(f"a step of {batch} prototypes, ms per prototype", {k: max(0.0, all_steps[k] - first[k]) for k in all_steps})

    images = torch.rand(40, 3, 224, 224)
    similarity = PathSimilarity(model, preprocess=NORMALIZE, batch_size=20)
    similarity.fit(images)
    similarity.evaluate(images)
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        similarity.fit(images)
    show("fit, ms per image", parts(recorded, len(images)))
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        similarity.evaluate(images)
    show("evaluate, ms per image", parts(recorded, len(images)))


if __name__ == "__main__":
    main()
