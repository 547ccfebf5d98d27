"""Networks for tests: small, and as awkward as real ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class SmallCNN(nn.Module):
    """Everything that makes a real network awkward, small: batch norm, in-place ReLU used twice, an in-place residual sum, dropout."""

    def __init__(self, channels: int = 3, classes: int = 5, width: int = 6) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width))
        self.relu = nn.ReLU(inplace=True)
        self.block = nn.Conv2d(width, width, 3, padding=1)
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(width * 16, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.stem(x))
        y = self.block(x)
        y += x
        y = nn.functional.adaptive_avg_pool2d(self.relu(y), 4)
        return self.head(self.dropout(y.flatten(1)))


def seeded(make: Callable[[], Any], seed: int = 0) -> Any:
    """What ``make`` makes from a seed, the global generator left as it was."""
    with torch.random.fork_rng([]):
        torch.default_generator.manual_seed(seed)
        return make()
