"""A small network that is trained on the spot on scans of digits."""

from __future__ import annotations

import contextlib
import importlib.metadata
import math
from collections import OrderedDict
from collections.abc import Iterator

import torch
from torch import nn
from torchvision.transforms.v2 import Normalize

from captum_proto.data import digits_images
from captum_proto.models.named import NamedModel
from captum_proto.models.registry import Request, register

_EPOCHS = 5
_BATCH_SIZE = 64


def _network() -> nn.Sequential:
    """Three convolutions for images of 8 by 8 pixels."""

    def block(number: int, channels: int, features: int) -> list[tuple[str, nn.Module]]:
        return [
            (f"conv{number}", nn.Conv2d(channels, features, 3, padding=1, bias=False, dtype=torch.float32)),
            (f"bn{number}", nn.BatchNorm2d(features, dtype=torch.float32)),
            (f"relu{number}", nn.ReLU()),
        ]

    layers = [*block(1, 1, 16), *block(2, 16, 32), ("pool", nn.MaxPool2d(2)), *block(3, 32, 64)]
    head = [("avgpool", nn.AdaptiveAvgPool2d(1)), ("flatten", nn.Flatten())]
    return nn.Sequential(OrderedDict([*layers, *head, ("fc", nn.Linear(64, 10, dtype=torch.float32))]))


@contextlib.contextmanager
def _single_thread() -> Iterator[None]:
    """Compute in a single thread: sums in the same order give the same weights on machines with any number of threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _train(network: nn.Sequential, normalize: Normalize) -> None:
    images, labels = digits_images("training")
    inputs = normalize(images)
    steps = _EPOCHS * math.ceil(len(inputs) / _BATCH_SIZE)
    optimizer = torch.optim.Adam(network.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.01, total_steps=steps)
    network.train()
    for _ in range(_EPOCHS):
        for chosen in torch.split(torch.randperm(len(inputs)), _BATCH_SIZE):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(network(inputs[chosen]), labels[chosen], label_smoothing=0.05)
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
    network.zero_grad()


@register("digits", shown="digits", names=lambda: ["digits"])
def digits(request: Request) -> NamedModel:
    """The small network, trained on the spot unless a checkpoint or random weights are asked for."""
    request.refuse(image_shape=request.image_shape, num_classes=request.num_classes)
    training, _ = digits_images("training")
    normalize = Normalize([float(training.mean())], [float(training.std())])
    network = _network()
    weights = request.random
    with _single_thread():
        if request.checkpoint is not None:
            weights = request.load_checkpoint(network, request.checkpoint, can_resize=False)
        elif request.pretrained:
            _train(network, normalize)
            weights = f"trained on scikit-learn's digits (seed {request.seed})"
        held_out, labels = digits_images("held_out")
        with torch.no_grad():
            right = network.eval()(normalize(held_out)).argmax(1) == labels
    settings = {
        "weights": weights,
        "held_out_accuracy": float(right.double().mean()),
        "held_out_images": len(labels),
        "scikit-learn": importlib.metadata.version("scikit-learn"),
    }
    return NamedModel(
        request.name, network, normalize, (1, 8, 8), [str(digit) for digit in range(10)], settings, resize_ratio=1.0
    )
