"""
Claim: a step of generation costs little more than the network's own forward and backward pass, and much less than a peer's.

ResNet-18 (random weights: the arithmetic is the same) at 224 x 224. What is timed is from one call of the network to the
next. Peers are Lucent's own loop (its Fourier image, its transforms, Adam) and Captum's PGD without transforms. The
floor is the network, folded and in channels_last, forward and backward to its input. ``python benchmarks/generation_step.py [--quick]
[--device cuda] [--autocast bfloat16]``
"""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import torch
import torchvision
from captum.robust import PGD
from harness import Case, Contender, Goal, Report, parser, peer, synchronize
from torch import Tensor, nn

from captum_proto import PrototypeGeneration
from captum_proto._utils.model import borrowed
from captum_proto._utils.pipeline import Pipeline
from captum_proto.optim.network import arrange

OURS, BF16, PLAIN, LUCENT, PGD_NAME, FLOOR = (
    "generate",
    "generate, bfloat16",
    "generate, network as it is",
    "Lucent 0.1.8",
    "captum.robust.PGD",
    "the network alone",
)
NORMALIZE = torchvision.transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
CLASS = 3


def generation(model: nn.Module, batch: int, **options: Any) -> Callable[[int], object]:
    generator = PrototypeGeneration(model, NORMALIZE)
    return lambda steps: generator.generate(
        [CLASS] * batch, (3, 224, 224), steps=steps, warmup_steps=0, evaluation_draws=0, **options
    )


def lucent(model: nn.Module, batch: int) -> Callable[[int], object] | None:
    package = peer("lucent.optvis.render")
    if package is None:
        return None
    from lucent.optvis import objectives, param, render

    def run(steps: int) -> object:
        image = lambda: param.image(224, batch=batch)  # noqa: E731
        objective = objectives.channel("fc", CLASS)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return render.render_vis(model, objective, image, thresholds=(steps,), show_image=False, progress=False)

    return run


def pgd(model: nn.Module, batch: int, device: torch.device) -> Callable[[int], object]:
    attack = PGD(lambda x: model(NORMALIZE(x)), lower_bound=0, upper_bound=1)
    images = torch.rand(batch, 3, 224, 224, device=device)
    return lambda steps: attack.perturb(
        images, radius=1.0, step_size=0.05, step_num=steps, target=[CLASS] * batch, targeted=True
    )


def network(model: nn.Module, batch: int, device: torch.device, autocast: torch.dtype | None) -> Callable[[int], None]:
    images = torch.randn(batch, 3, 224, 224, device=device)
    pipeline = Pipeline(model, autocast=autocast)
    with borrowed(model):
        pipeline = arrange(pipeline, images).applied_to(pipeline)

    def run(steps: int) -> None:
        for _ in range(steps):
            leaf = images.detach().requires_grad_()
            logits: Tensor = pipeline.run(leaf)
            torch.autograd.grad(logits[:, CLASS].sum(), leaf)

    return run


class Clock:
    """Notes when a model is called: the time between two calls is that of a step, a run's own beginning and end aside."""

    def __init__(self, model: nn.Module) -> None:
        self.calls: list[float] = []
        model.register_forward_pre_hook(self)

    def __deepcopy__(self, memo: object) -> Clock:
        return self  # a copy of the model, as one with folded batch normalizations, is still the model

    def __call__(self, *_: object) -> None:
        synchronize()
        self.calls.append(time.perf_counter())

    def step(self, run: Callable[[int], object], steps: int) -> float:
        """The median second of the last steps of a run; in the first ones, models are arranged and memory is found."""
        self.calls.clear()
        run(steps + 2)
        calls = self.calls[-steps - 1 :]
        return statistics.median(after - before for before, after in pairwise(calls))


def measure(contenders: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float | None]]:
    times: dict[str, list[float | None]] = {name: [] for name in contenders}
    for index in range(rounds):
        for name in list(contenders) if index % 2 == 0 else list(contenders)[::-1]:
            times[name].append(contenders[name]())
    return times


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--device", default="cpu")
    arguments.add_argument(
        "--autocast", choices=("bfloat16",), help="measure mixed precision too, where the device has it"
    )
    args = arguments.parse_args()
    device = torch.device(args.device)
    command = "python benchmarks/generation_step.py" + (f" --device {device}" if device.type != "cpu" else "")
    suffix = "" if device.type == "cpu" else f"_{device.type}"
    report = Report(
        f"generation_step{suffix}", "One step of generation, per prototype, ResNet-18 at 224 x 224", command, args.out
    )
    model = torchvision.models.resnet18().eval().to(device)
    clock = Clock(model)
    half = torch.bfloat16 if args.autocast else None
    rounds = 3
    for batch in (1, 16) if args.quick else (1, 4, 16, 64):
        steps = {1: 8, 4: 4, 16: 2, 64: 2}[batch] if device.type == "cpu" else 32
        runs: dict[str, Callable[[int], object] | None] = {
            OURS: generation(model, batch),
            FLOOR: network(model, batch, device, None),
            LUCENT: lucent(model, batch) if batch <= 16 else None,
            PLAIN: generation(model, batch, fold_batch_norm=False, channels_last=False) if batch <= 16 else None,
            PGD_NAME: pgd(model, batch, device) if batch <= 16 else None,
        }
        if half is not None:
            runs[BF16] = generation(model, batch, autocast=half)
        present = {name: run for name, run in runs.items() if run is not None}
        contenders = {name: partial(clock.step, run, steps) for name, run in present.items()}
        times = measure(contenders, rounds)
        per_image = {name: [t / batch for t in values if t is not None] for name, values in times.items()}
        goals = [Goal(OURS, FLOOR, most=1 / 0.85)]
        goals += [Goal(LUCENT, OURS, least=3)] if batch <= 16 else []
        goals += [Goal(LUCENT, BF16, least=6 if batch == 16 else 4)] if half and batch <= 16 else []
        inside = statistics.median(b / a for a, b in zip(per_image[OURS], per_image[FLOOR], strict=True))
        case = Case(
            f"batch of {batch}, {device.type}",
            [Contender(name, lambda: None) for name in present],
            goals,
            note=f"{100 * inside:.0f} % of a step's time is the network's",
        )
        report.add(case, {name: list(values) for name, values in per_image.items()}, inside_network=inside)


if __name__ == "__main__":
    main()
