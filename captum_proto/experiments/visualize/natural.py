"""What natural images make of units, and whether the units' pictures tell which of them excite each."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from captum_proto._utils.errors import InputError
from captum_proto._utils.model import borrowed, device_of
from captum_proto.capture import LayerRecorder, channels_first
from captum_proto.data import Collection
from captum_proto.data.numbered import NumberedImages
from captum_proto.experiments.visualize.units import LayerUnits
from captum_proto.features import Examples, LayerExamples, TopExamples
from captum_proto.metrics import visualization_scores
from captum_proto.models import NamedModel, PooledFeatures
from captum_proto.report.views.visualizations import BESIDE, STRIPS, Natural, write_strip
from captum_proto.stats.intervals import Estimate

#: How a unit's activations over the positions of its map become one number for an image.
POOLS = ("max", "mean")
_QUANTILE = 0.99


@dataclass(frozen=True)
class NaturalExamples:
    """
    Natural images that are shown to units, and the network that judges by them.

    Args:
        images (Collection): Of any classes.
        k (int): How many of the highest and of the lowest are kept for each unit. Default: 15
        pool (str): What an image scores: "max", the highest activation of the unit's map, or "mean". Default: "max"
        judge (NamedModel, optional): Another network, in whose features pictures and images are compared. Default: None, no score
        batch_size (int): Images at a time. Default: 32
        workers (int): Threads that read files. Default: 2

    Raises:
        InputError: If there are fewer images than ``k``, or there is no such pool.
    """

    images: Collection
    k: int = 15
    pool: str = "max"
    judge: NamedModel | None = None
    batch_size: int = 32
    workers: int = 2

    def __post_init__(self) -> None:
        count = len(self.images.all_labels)
        if not 1 <= self.k <= count:
            raise InputError(f"k is {self.k}; expected 1 to {count}, as many as there are images.")
        if self.pool not in POOLS:
            raise InputError(f'pool is "{self.pool}"; expected one of {", ".join(POOLS)}.')

    def settings(self) -> dict[str, Any]:
        """What results depend on, as JSON can hold it."""
        digest = hashlib.sha256()
        listed = self.images.listed()
        for _, each in listed:
            digest.update(each.encode())
        judge = None if self.judge is None else self.judge.provenance()
        return {"count": len(listed), "sha256": digest.hexdigest(), "k": self.k, "pool": self.pool, "judge": judge}

    def numbered(self, named: NamedModel) -> NumberedImages:
        """The images as the model takes them, by their place among all of them."""
        return NumberedImages(self.images.batches_for(named.geometry, self.batch_size, self.workers), self.batch_size)

    def find(self, named: NamedModel, layers: Sequence[str], show_progress: bool = False) -> Examples:
        """The examples of all units of some layers, in one pass over the images, and their quantiles in a second."""
        found = TopExamples(named.model, list(layers), self.k, self.pool, named.preprocess, quantiles=(_QUANTILE,))
        return found.fit(self.numbered(named), show_progress=show_progress)

    def of(
        self, units: LayerUnits, pictures: Tensor, responds: Tensor, examples: LayerExamples, named: NamedModel
    ) -> list[Natural]:
        """
        What the images make of some units of a layer.

        Args:
            units (LayerUnits): The units.
            pictures (Tensor): (N, C, H, W), one for each.
            responds (Tensor): (N,), bool: which of them are pictures of their unit.
            examples (LayerExamples): Of the layer.
            named (NamedModel): The model.

        Returns:
            list[Natural]: One for each unit.
        """
        reached = pooled_activations(named, units, pictures, self.pool).tolist()
        found = []
        for channel, value in zip(units.channels, reached, strict=True):
            found.append(
                Natural(
                    greatest=float(examples.scores[channel, 0]),
                    least=float(examples.lowest_scores[channel, 0]),
                    count=examples.count,
                    quantile=float(examples.quantiles[channel, 0]),
                    reached=value,
                    pool=self.pool,
                    silent=examples.silence(channel),
                )
            )
        return self._scored(found, units, pictures, responds, examples, named)

    def _scored(
        self,
        found: list[Natural],
        units: LayerUnits,
        pictures: Tensor,
        responds: Tensor,
        examples: LayerExamples,
        named: NamedModel,
    ) -> list[Natural]:
        """With the score of each picture, where there is a judge, and enough images to tell the highest from the lowest."""
        each = min(self.k, examples.count // 2)
        if self.judge is None or each < 2:
            return found
        channels = torch.tensor(units.channels)
        top, bottom = examples.indices[channels, :each], examples.lowest_indices[channels, :each]
        rows = [
            row
            for row, (one, is_picture) in enumerate(zip(found, responds.tolist(), strict=True))
            # Of a unit that does the same for many images, an image may be among the highest and the lowest.
            if is_picture and not one.silent and not set(top[row].tolist()) & set(bottom[row].tolist())
        ]
        if not rows:
            return found
        used = torch.cat([top[rows], bottom[rows]], 1)
        numbers = torch.unique(used)
        images = self.numbered(named).at(numbers.tolist())
        scores = visualization_scores(
            pictures[rows].unsqueeze(1).float().cpu(),
            images,
            torch.searchsorted(numbers, top[rows].contiguous()),
            torch.searchsorted(numbers, bottom[rows].contiguous()),
            PooledFeatures(self.judge),
            batch_size=self.batch_size,
        )
        scored = list(found)
        for place, row in enumerate(rows):
            others = float(scores.others[place])
            scored[row] = replace(
                found[row],
                score=Estimate(float(scores.auc[place]), float(scores.low[place]), float(scores.high[place])),
                control=None if math.isnan(others) else Estimate(others, math.nan, math.nan),
                ceiling=Estimate(float(scores.ceiling[place]), math.nan, math.nan),
            )
        return scored

    def write_strips(self, units: LayerUnits, examples: LayerExamples, named: NamedModel, folder: Path) -> None:
        """The highest, the lowest and some random images of each unit, cut to what the unit sees, side by side."""
        images = self.numbered(named)
        for channel, stem in zip(units.channels, units.stems, strict=True):
            for which in STRIPS:
                write_strip(examples.crops(images, channel, which, BESIDE), folder / f"{stem}_{which}.jpg")


@torch.no_grad()
def pooled_activations(named: NamedModel, units: LayerUnits, pictures: Tensor, pool: str) -> Tensor:
    """(N,): what each picture reaches of its own unit, over the positions of the map as natural images are scored."""
    recorder = LayerRecorder(named.model, [units.layer])
    values = []
    for begin in range(0, len(pictures), 16):
        batch = pictures[begin : begin + 16].to(device_of(named.model))
        with borrowed(named.model), recorder.recording():
            named.logits(batch)
            taken = recorder.take(len(batch))[units.layer]
        maps = channels_first(taken, recorder.channel_axis(units.layer, taken))
        channels = list(units.channels[begin : begin + 16])
        own = maps[torch.arange(len(batch)), channels].flatten(1).float().cpu()
        values.append(own.amax(1) if pool == "max" else own.mean(1))
    return torch.cat(values)


__all__ = ["POOLS", "NaturalExamples", "pooled_activations"]
