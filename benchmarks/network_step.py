"""
Claim: what is left of a step of generation is the network, and what PyTorch brings to make that faster on a CPU.

The network of a step, forward and backward to its input, folded and in channels_last as ``generate`` runs it; beside it what
``torch.compile`` makes of it, bfloat16, and of the forward pass alone what freezing and 8-bit integers do. A forward pass of 8-bit integers
has no gradient, so as a preview it could only take the place of the forward pass: what a step would then take is computed from the two.
EfficientNet-Lite0 and ResNet-18 (random weights), batches of 8. ``python benchmarks/network_step.py [--quick]``
"""

from __future__ import annotations

import copy
import statistics
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import torch
import torchvision
from harness import Case, Contender, Goal, Report, measure, parser
from torch import Tensor, nn

from captum_proto._utils.pipeline import Pipeline
from captum_proto.models import NamedModel, load_model
from captum_proto.optim.network import arrange

NETWORK, COMPILED, AUTOTUNED, BFLOAT16 = (
    "the network",
    "torch.compile",
    "torch.compile, max-autotune",
    "bfloat16 where autocast takes it",
)
FORWARD, FROZEN, INTEGERS = "forward alone", "forward, compiled and frozen", "forward, 8-bit integers"
NORMALIZE = torchvision.transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
#: A way that makes a step less than so many times as fast is not worth minutes of compilation, or results that differ.
WORTH = 1.25


def networks() -> Iterable[NamedModel]:
    yield load_model("efficientnet-lite0")
    torch.manual_seed(0)
    yield NamedModel("resnet18", torchvision.models.resnet18().eval(), NORMALIZE, (3, 224, 224), None)


def there_and_back(model: Callable[[Tensor], Tensor], images: Tensor, autocast: bool = False) -> Callable[[], Tensor]:
    """One step's use of a network: the gradient of a logit with respect to its input."""

    def run() -> Tensor:
        inputs = images.detach().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            logit = model(inputs)[:, 3].sum()
        return torch.autograd.grad(logit, inputs)[0]

    return run


def integers(model: nn.Module, images: Tensor) -> nn.Module:
    """The network in 8-bit integers, its ranges those of the images."""
    from torch.ao.quantization import get_default_qconfig_mapping
    from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch is about to move these functions to another package
        prepared = prepare_fx(copy.deepcopy(model).eval(), get_default_qconfig_mapping("x86"), (images,))
        with torch.no_grad():
            prepared(images)
        return convert_fx(prepared)


def frozen(model: nn.Module) -> Callable[[Tensor], Tensor]:
    """The network compiled for inference, its weights constants."""
    import torch._inductor.config as inductor

    compiled = torch.compile(copy.deepcopy(model), dynamic=False)

    def run(images: Tensor) -> Tensor:
        with inductor.patch(freezing=True):
            return compiled(images)

    return run


def of_network(named: NamedModel, batch: int, rounds: int, report: Report) -> None:
    pipeline = Pipeline(named.model, named.preprocess)
    images = torch.rand(batch, *named.image_shape, generator=torch.Generator().manual_seed(0))
    network: Any = arrange(pipeline, pipeline.prepare(images)).forward_func
    normalized = pipeline.preprocess(images).to(memory_format=torch.channels_last)
    small, quick = integers(network, normalized), frozen(network)

    def forward(model: Callable[[Tensor], Tensor]) -> Callable[[], Tensor]:
        def run() -> Tensor:
            with torch.no_grad():
                return model(normalized)

        return run

    case = Case(
        f"{named.name}, {batch} pictures",
        [
            Contender(NETWORK, there_and_back(network, normalized)),
            Contender(COMPILED, there_and_back(torch.compile(copy.deepcopy(network), dynamic=False), normalized)),
            Contender(
                AUTOTUNED,
                there_and_back(torch.compile(copy.deepcopy(network), dynamic=False, mode="max-autotune"), normalized),
            ),
            Contender(BFLOAT16, there_and_back(network, normalized, autocast=True)),
            Contender(FORWARD, forward(network)),
            Contender(FROZEN, forward(quick)),
            Contender(INTEGERS, forward(small)),
        ],
        goals=[Goal(NETWORK, name, least=WORTH) for name in (COMPILED, AUTOTUNED, BFLOAT16)],
        rounds=rounds,
        note="forward and backward, but for the last three",
    )
    times = measure(case)
    whole, alone = times[NETWORK], times[FORWARD]
    saved = {
        name: statistics.median(
            w / (w - f + t) for w, f, t in zip(whole, alone, times[name], strict=True) if w and f and t
        )
        for name in (FROZEN, INTEGERS)
    }
    report.add(case, times, steps_with=saved)
    for name, gain in saved.items():
        print(f"  a step with {name}: {gain:.2f} times as fast, were its gradient to be had")


def main() -> None:
    args = parser(__doc__).parse_args()
    report = Report(
        "network_step",
        "What is left of a step of generation is the network, and what PyTorch brings to make that faster on a CPU.",
        "python benchmarks/network_step.py" + (" --quick" if args.quick else ""),
        args.out,
    )
    for named in networks():
        of_network(named, 2 if args.quick else 8, 3 if args.quick else 7, report)


if __name__ == "__main__":
    main()
