"""
Claim: ``ops.high_frequency_loss`` and its gradient cost little more than reading the images and writing the gradient.

Peers are the same formula in eager PyTorch, ``torch.compile`` of it, and kornia's total variation, which sums where this takes means. The
floor is copies of as many bytes, into new memory where the operator returns new memory.
``python benchmarks/high_frequency_loss.py [--quick]``
"""

from __future__ import annotations

import torch
from harness import Case, Contender, Goal, Report, parser, peer
from torch import Tensor

from captum_proto import ops

OURS, EAGER, COMPILED, KORNIA, FLOOR = (
    "ops.high_frequency_loss",
    "eager PyTorch",
    "torch.compile",
    "kornia total_variation",
    "copies of as many bytes",
)


def eager(images: Tensor) -> Tensor:
    """The formula as anyone would write it."""
    vertical = images[:, :, 1:] - images[:, :, :-1]
    horizontal = images[:, :, :, 1:] - images[:, :, :, :-1]
    return vertical.abs().mean((1, 2, 3)) + horizontal.abs().mean((1, 2, 3))


def step(loss: object, images: Tensor) -> Tensor:
    """The gradient of the sum over the batch."""
    leaf = images.detach().requires_grad_()
    return torch.autograd.grad(loss(leaf).sum(), leaf)[0]  # type: ignore[operator]


def floor(source: Tensor, target: Tensor) -> None:
    """Forward reads the images: half of what a copy moves. Backward reads them once more, and writes into memory that is new."""
    half = source.flatten()[: source.numel() // 2] if source.is_contiguous() else source[: len(source) // 2]
    (target.flatten()[: len(half)] if source.is_contiguous() else target[: len(half)]).copy_(half)
    source.clone()


def cases(quick: bool) -> list[Case]:
    kornia = peer("kornia")
    compiled = torch.compile(eager, dynamic=False)
    made = []
    for shape in ((16, 3, 224, 224), (64, 3, 512, 512)):
        for dtype in (torch.float32, torch.bfloat16):
            for layout in (torch.contiguous_format, torch.channels_last):
                images = (
                    torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(dtype).to(memory_format=layout)
                )
                ours, theirs = step(ops.high_frequency_loss, images), step(eager, images.double())
                torch.testing.assert_close(
                    ours.double(), theirs, rtol=1e-5 if dtype == torch.float32 else 1e-2, atol=1e-9
                )
                source, target = images.clone(), torch.empty_like(images)
                last = layout == torch.channels_last
                plain = dtype == torch.float32 and not last
                contenders = [
                    Contender(OURS, lambda x=images: step(ops.high_frequency_loss, x)),
                    Contender(EAGER, lambda x=images: step(eager, x)),
                    Contender(FLOOR, lambda t=target, s=source: floor(s, t)),
                ]
                goals = [Goal(EAGER, OURS, least=10)]
                if shape[0] == 64 and dtype == torch.float32:
                    goals.append(Goal(OURS, FLOOR, most=1 / 0.6))
                if plain:
                    contenders.append(Contender(COMPILED, lambda x=images: step(compiled, x)))
                    if kornia is not None:
                        contenders.append(Contender(KORNIA, lambda x=images: step(kornia.losses.total_variation, x)))
                name = f"{' x '.join(map(str, shape))}, {str(dtype).removeprefix('torch.')}{', channels_last' if last else ''}"
                rounds = 5 if quick else (21 if shape[0] == 16 else 9)
                made.append(
                    Case(f"{name}, forward and backward", contenders, goals, images.numel(), 3 * images.nbytes, rounds)
                )
    return made


def main() -> None:
    args = parser(__doc__).parse_args()
    report = Report(
        "high_frequency_loss",
        "High-frequency loss, forward and backward",
        "python benchmarks/high_frequency_loss.py",
        args.out,
    )
    report.run(cases(args.quick))


if __name__ == "__main__":
    main()
