"""
Claim: the evaluation of one class costs little more than the network's forward passes, in memory that does not grow.

All 67 layers of ResNet-18 (random weights): the reference is fitted on the images of the class, then these and as many others are
scored. The peer is the script anyone would write: hooks that keep every activation, NumPy's mean, ``scipy.stats.spearmanr`` for each
layer and image; it takes minutes, so it is run on a few images and its time scaled. The floor is the bare forward passes.
``python benchmarks/class_evaluation.py [--quick] [--device cuda]``
"""

from __future__ import annotations

import resource

import numpy as np
import scipy.stats
import torch
import torchvision
from harness import Case, Contender, Goal, Report, parser, seconds
from torch import Tensor, nn

from captum_proto import PathSimilarity

OURS, SCRIPT, FLOOR, LEAVING_OUT, FIT, SCORE = (
    "fit and evaluate",
    "hooks and SciPy",
    "bare forward passes",
    "fit and evaluate, leave-one-out",
    "fit",
    "evaluate, one group",
)
NORMALIZE = torchvision.transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
BATCH = 20


@torch.no_grad()
def forward(model: nn.Module, images: Tensor) -> None:
    for batch in images.split(BATCH):
        model(NORMALIZE(batch))


def activations(model: nn.Module, images: Tensor) -> dict[str, np.ndarray]:
    """Every module's output for every image, kept."""
    kept: dict[str, list[np.ndarray]] = {}
    current: dict[str, np.ndarray] = {}
    handles = [
        module.register_forward_hook(
            lambda _m, _i, out, name=name: current.__setitem__(name, out.flatten(1).clone().cpu().numpy())
        )
        for name, module in model.named_modules()
        if name
    ]
    with torch.no_grad():
        for batch in images.split(BATCH):
            model(NORMALIZE(batch))
            for name, value in current.items():
                kept.setdefault(name, []).append(value)
    for handle in handles:
        handle.remove()
    return {name: np.concatenate(values) for name, values in kept.items()}


def script(model: nn.Module, same: Tensor, other: Tensor) -> dict[str, np.ndarray]:
    """What a researcher would write."""
    of_same, of_other = activations(model, same), activations(model, other)
    scores = {}
    for name, rows in of_same.items():
        mean = rows.mean(0, dtype=np.float64).astype(np.float32)
        both = np.concatenate([rows, of_other[name]])
        scores[name] = np.array([scipy.stats.spearmanr(mean, row).statistic for row in both])
    return scores


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--device", default="cpu")
    args = arguments.parse_args()
    device = torch.device(args.device)
    count, few = (20, 1) if args.quick else (100, 2)
    generator = torch.Generator().manual_seed(0)
    same = torch.rand(count, 3, 224, 224, generator=generator).to(device)
    other = torch.rand(count, 3, 224, 224, generator=generator).to(device)
    model = torchvision.models.resnet18().eval().to(device)
    suffix = "" if device.type == "cpu" else f"_{device.type}"
    report = Report(
        f"class_evaluation{suffix}",
        f"Evaluation of one class: {count} same-class and {count} other images, 67 layers of ResNet-18",
        "python benchmarks/class_evaluation.py" + (f" --device {device}" if suffix else ""),
        args.out,
    )
    similarity = PathSimilarity(model, preprocess=NORMALIZE, batch_size=BATCH)

    # The script's scores and ours are the same.
    expected = script(model, same[:3], other[:1])
    similarity.fit(same[:3])
    ours = torch.cat([similarity.evaluate(same[:3]).spearman, similarity.evaluate(other[:1]).spearman])
    for i, name in enumerate(similarity.reference.layers):
        np.testing.assert_allclose(ours[:, i].numpy(), expected[name], atol=1e-4)  # float32: batches of another size

    def run(leave_one_out: bool = False) -> None:
        similarity.fit(same)
        similarity.evaluate(same, leave_one_out=leave_one_out)
        similarity.evaluate(other)

    contenders = [
        Contender(OURS, run),
        Contender(FLOOR, lambda: [forward(model, images) for images in (same, same, other)]),
        Contender(LEAVING_OUT, lambda: run(True)),
        Contender(FIT, lambda: similarity.fit(same)),
        Contender(SCORE, lambda: similarity.evaluate(other)),
    ]
    most = 2.0 if device.type == "cpu" else 1.5
    case = Case(f"{count} + {count} images, {device.type}", contenders, [Goal(OURS, FLOOR, most=most)])
    forward(model, same)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    times: dict[str, list[float | None]] = {contender.name: [] for contender in contenders}
    rounds = 2
    for index in range(rounds):
        for contender in contenders if index % 2 == 0 else contenders[::-1]:
            times[contender.name].append(seconds(contender.run))
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    # Last, as it keeps every activation; a few images stand for all.
    slow = seconds(lambda: script(model, same[:few], other[:few])) * count / few
    times[SCRIPT] = [slow] * rounds
    case.contenders.append(Contender(SCRIPT, lambda: None))
    case.goals.append(Goal(SCRIPT, OURS, least=40))
    case.note = (
        f"the script was run on {few} + {few} images and scaled; of the three passes over {count} images the floor has, the script "
        f"needs two; ours took {peak:.0f} MiB over the model at the peak"
    )
    report.add(case, times, peak_mib_over_model=peak, script_over_floor=slow / min(t for t in times[FLOOR] if t))


if __name__ == "__main__":
    main()
