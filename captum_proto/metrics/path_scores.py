"""What path similarity says of images, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class PathScores:
    r"""
    Both distances of images from a reference, in every layer, and further ones that were asked for.

    Attributes:
        layers (list[str]): L names, in the order in which the layers return.
        spearman (Tensor): (N, L), float64 on the CPU. NaN where the image's or the reference's activations are constant.
        l1 (Tensor): (N, L), float64 on the CPU.
        left_out (Tensor): (N,), bool on the CPU: which images were part of the reference and left out of the mean they were compared with.
        cosine (Tensor, optional): (N, L), float64 on the CPU: the cosine of the image's activations and the mean; NaN where one is zero
            throughout. None where it was not asked for.
        pearson (Tensor, optional): (N, L), float64 on the CPU: their linear correlation; NaN where one is constant. None where it was not
            asked for.
    """

    layers: list[str]
    spearman: Tensor
    l1: Tensor
    left_out: Tensor
    cosine: Tensor | None = None
    pearson: Tensor | None = None

    def __len__(self) -> int:
        return len(self.spearman)

    @classmethod
    def concatenate(cls, parts: Sequence[PathScores]) -> PathScores:
        """The scores of several batches, one after the other, with the measures that all of them have."""

        def together(tensors: list[Tensor | None]) -> Tensor | None:
            there = [tensor for tensor in tensors if tensor is not None]
            return torch.cat(there) if len(there) == len(parts) else None

        return cls(
            parts[0].layers,
            torch.cat([part.spearman for part in parts]),
            torch.cat([part.l1 for part in parts]),
            torch.cat([part.left_out for part in parts]),
            together([part.cosine for part in parts]),
            together([part.pearson for part in parts]),
        )


__all__ = ["PathScores"]
