"""
Claim: expanded weights of 64 x 64 units of ResNet-18 take seconds, no longer than a loop over units with a gradient each.

The peer is what users write today, written anew with torch: a copy of the network with the identity for activation functions and average
pooling for max pooling, and ``torch.autograd.grad`` for each unit of the later layer, as captum.optim's extract_expanded_weights does. Both
give the same weights; that is checked in the same run.

``python benchmarks/circuits.py [--quick]``
"""

from __future__ import annotations

import torch
from harness import Case, Contender, Goal, Report, parser
from torch import Tensor, nn
from torchvision.models import resnet18

from captum_proto.circuits import LinearizedNetwork, expanded_weights

OURS, LOOP = "ours", "loop over units"
UNITS = 64
#: By name, the earlier layer and the later one: side by side, and with two blocks between them.
PAIRS = {"layer1 to layer2.0": ("layer1", "layer2.0"), "layer1 to layer3.0": ("layer1", "layer3.0")}


def made_linear(model: nn.Module) -> nn.Module:
    """The network without activation functions, in place."""
    for name, child in model.named_children():
        if isinstance(child, nn.ReLU):
            setattr(model, name, nn.Identity())
        elif isinstance(child, nn.MaxPool2d):
            setattr(model, name, nn.AvgPool2d(child.kernel_size, child.stride, child.padding))
        else:
            made_linear(child)
    return model


def by_loop(model: nn.Module, layers: tuple[str, str], image: Tensor, box: tuple[int, int, int, int]) -> Tensor:
    """The gradient of each unit in the middle of the later layer, one by one, and the field cut out of it."""
    kept: dict[str, Tensor] = {}
    modules = dict(model.named_modules())

    def keep(name: str):  # type: ignore[no-untyped-def]
        def hook(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
            if name == layers[0]:
                output = output.detach().requires_grad_()
            kept[name] = output
            return output

        return hook

    handles = [modules[name].register_forward_hook(keep(name)) for name in layers]
    try:
        model(image)
    finally:
        for handle in handles:
            handle.remove()
    source, output = (kept[name] for name in layers)
    row, column = output.shape[2] // 2, output.shape[3] // 2
    top, left, bottom, right = box
    found = []
    for unit in range(UNITS):
        (gradient,) = torch.autograd.grad(output[0, unit, row, column], source, retain_graph=True)
        found.append(gradient[0, :, top:bottom, left:right])
    return torch.stack(found)


def pair(name: str, layers: tuple[str, str], rounds: int) -> Case:
    torch.manual_seed(0)
    model = resnet18().eval()
    linear = made_linear(resnet18()).eval().requires_grad_(False)
    linear.load_state_dict(model.state_dict())
    image = torch.rand(1, 3, 224, 224)
    ours = expanded_weights(model, *layers, (3, 224, 224), units=range(UNITS))
    theirs = by_loop(linear, layers, image, ours.box)
    if not torch.allclose(ours.weights, theirs, atol=1e-4 * float(theirs.abs().max())):
        raise SystemExit("wrong: weights differ from those of the loop")
    prepared = LinearizedNetwork(model, *layers, (3, 224, 224))
    return Case(
        f"{UNITS} x {ours.weights.shape[1]} units of ResNet-18, {name}, {ours.weights.shape[2]} x {ours.weights.shape[3]} positions",
        [
            Contender(OURS, lambda: expanded_weights(model, *layers, (3, 224, 224), units=range(UNITS))),
            Contender(
                "ours, layers found before",
                lambda: prepared.weights(list(range(UNITS)), list(range(UNITS)), ours.position, UNITS),
            ),
            Contender(LOOP, lambda: by_loop(linear, layers, image, ours.box)),
        ],
        [Goal(LOOP, "ours, layers found before", least=1)],
        rounds=rounds,
        note="the goal of 30 seconds is read off the first line; it finds the layers and the field, and checks the result, as well",
    )


def main() -> None:
    args = parser(__doc__).parse_args()
    report = Report(
        "circuits",
        "Expanded weights of 64 x 64 units of ResNet-18 take seconds, no longer than a loop over units with a gradient each.",
        "python benchmarks/circuits.py" + (" --quick" if args.quick else ""),
        args.out,
    )
    report.run(pair(name, layers, 3 if args.quick else 7) for name, layers in PAIRS.items())


if __name__ == "__main__":
    main()
