"""
Claim: prototypes as good as Lucent's after 512 steps are there in a tenth of the time or less.

EfficientNet-Lite0 with its ImageNet weights. The measure of quality is the expected class logit under the paper's random affine
transforms, over 16 draws: for Lucent's picture after 512 steps with its own defaults, and for ours after every eighth step in the Fourier
parametrization, each class by itself. Ours is timed up to the first snapshot that is at least as good, on a machine that does nothing
else; the pixels of the paper are shown beside it. ``python benchmarks/time_to_quality.py [--quick]``
"""

from __future__ import annotations

import time
import warnings
from typing import Any

import torch
from harness import Case, Contender, Goal, Report, parser, peer
from torch import Tensor

from captum_proto import PrototypeGeneration
from captum_proto.attr import PAPER_TRANSFORM
from captum_proto.models import load_model
from captum_proto.optim import EVALUATION, RandomStream, prototype_keys

OURS, LUCENT = "generate, Fourier parametrization, to the same logit", "Lucent 0.1.8, 512 steps"
CLASSES = {558: "flute", 207: "golden retriever"}


def main() -> None:
    args = parser(__doc__).parse_args()
    if peer("lucent.optvis.render") is None:
        raise SystemExit(1)
    from lucent.optvis import param, transform

    report = Report(
        "time_to_quality",
        "Time to the expected class logit under the transforms that Lucent's picture has after 512 steps",
        "python benchmarks/time_to_quality.py",
        args.out,
    )
    named = load_model("efficientnet-lite0")
    model, preprocess = named.model, named.preprocess
    assert preprocess is not None

    @torch.no_grad()
    def quality(image: Tensor, index: int) -> float:
        keys = prototype_keys([99], [(index,)])
        drawn = [PAPER_TRANSFORM(image, RandomStream(keys, EVALUATION, draw)) for draw in range(16)]
        return float(model(preprocess(torch.cat(drawn)))[:, index].mean())

    def with_lucent(index: int, steps: int) -> tuple[float, Tensor]:
        """Lucent's own parts in its own loop; its ``render_vis`` knows only the preprocessing of torchvision's models."""
        torch.manual_seed(0)
        parameters, image = param.image(224)
        optimizer = torch.optim.Adam(parameters, lr=5e-2)
        transforms = transform.compose(transform.standard_transforms)
        begin = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for _ in range(steps):
                optimizer.zero_grad()
                loss = -model(preprocess(transforms(image())))[:, index].mean()
                loss.backward()
                optimizer.step()
        model.zero_grad()
        return time.perf_counter() - begin, image().detach()

    def ours(index: int, steps: int, parametrization: str) -> tuple[float, dict[int, Tensor]]:
        generation = PrototypeGeneration(model, preprocess)
        every = range(8, steps + 1, 8)
        options: dict[str, Any] = {"parametrization": parametrization, "warmup_steps": 0, "evaluation_draws": 0}
        if parametrization == "fourier":
            options |= {"lr": 0.1, "high_frequency_weight": 0.0}  # the basis itself favors what is smooth, as Lucent's
        begin = time.perf_counter()
        made = generation.generate(index, (3, 224, 224), steps=steps, snapshot_steps=every, **options)
        return time.perf_counter() - begin, made.snapshots

    steps_of_lucent, steps = (64, 48) if args.quick else (512, 112)
    ours(558, 2, "fourier")
    for index in list(CLASSES)[: 1 if args.quick else None]:
        lucent_seconds, picture = with_lucent(index, steps_of_lucent)
        goal = quality(picture, index)
        logits = {
            basis: {step: quality(image, index) for step, image in ours(index, steps, basis)[1].items()}
            for basis in ("fourier", "pixels")
        }
        reached = {
            basis: next((step for step, logit in values.items() if logit >= goal), None)
            for basis, values in logits.items()
        }
        need = reached["fourier"]
        seconds_needed = [ours(index, need or steps, "fourier")[0] for _ in range(3)]
        after = {
            basis: f"after {step} steps" if step else f"not within {steps} steps ({logits[basis][steps]:.2f})"
            for basis, step in reached.items()
        }
        case = Case(
            f"{CLASSES[index]} ({index})",
            [Contender(OURS, lambda: None), Contender(LUCENT, lambda: None)],
            [Goal(LUCENT, OURS, least=10)] if need else [],
            note=f"Lucent's logit {goal:.2f}; reached in the Fourier basis {after['fourier']}, in pixels {after['pixels']}",
        )
        report.add(
            case,
            {OURS: list(seconds_needed), LUCENT: [lucent_seconds] * 3},
            lucent_logit=goal,
            steps_needed=reached,
            logits=logits,
        )


if __name__ == "__main__":
    main()
