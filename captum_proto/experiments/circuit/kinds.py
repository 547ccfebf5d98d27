"""Of how many kinds a unit's top examples are, beside what as many random images give."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from captum_proto._utils.errors import UnreadableImageError
from captum_proto.circuits import Clusters, example_clusters
from captum_proto.data.numbered import NumberedImages
from captum_proto.features import LayerExamples
from captum_proto.models import LayerActivations
from captum_proto.report.views.examples import framed_crop, write_strip

#: So many clusters are looked for, each against so many sets of points that are spread evenly.
_MOST, _REFERENCES = 5, 10
#: From so many times as many random images as there are examples the control is drawn.
_POOL = 4


class ExampleKinds:
    """
    Clusters of the examples of a unit, by what the other units of its layer say where it responds most.

    Args:
        activations (LayerActivations): Of the layer.
        examples (LayerExamples): Of it.
        images (NumberedImages): Those that were gone through.
        unit (int): Whose examples.
        seed (int): Of the clusters, and of the random images.
    """

    def __init__(
        self, activations: LayerActivations, examples: LayerExamples, images: NumberedImages, unit: int, seed: int
    ) -> None:
        self._activations, self._examples, self._images = activations, examples, images
        self._unit, self._seed = unit, seed

    @cached_property
    def clusters(self) -> Clusters:
        """What is found."""
        numbers = self._examples.chosen(self._unit)[1]
        values = self._activations(self._images.at(numbers)).numpy()
        rows = []
        for value, place in zip(values, self._examples.places(self._unit), strict=True):
            flat = 0 if not place else int(np.ravel_multi_index(place, self._examples.shape))
            rows.append(np.delete(value[:, flat], self._unit))
        return self._of(np.stack(rows))

    def by_chance(self, sets: int) -> list[int]:
        """How many clusters there are in sets of as many random images, each at a random position."""
        random = np.random.default_rng(self._seed)
        count = self._examples.scores.shape[1]
        pool = self._activations(self._some(random.permutation(self._images.count or 0).tolist(), _POOL * count))
        places = random.integers(pool.shape[2], size=len(pool))
        vectors = np.delete(pool.numpy()[np.arange(len(pool)), :, places], self._unit, axis=1)
        return [
            self._of(vectors[random.choice(len(vectors), size=min(count, len(vectors)), replace=False)]).count
            for _ in range(sets)
        ]

    def draw(self, folder: Path, shown: int) -> None:
        """Write a strip of examples for each kind, where there are several."""
        if self.clusters.count < 2:
            return
        boxes, places = self._examples.chosen(self._unit)[2], self._examples.places(self._unit)
        crops = self._examples.crops(self._images, self._unit)
        for label in range(self.clusters.count):
            rows = [row for row, each in enumerate(self.clusters.labels) if each == label][:shown]
            framed = [framed_crop(crops[row], boxes[row], self._examples, places[row]) for row in rows]
            write_strip(framed, folder / f"{self._unit:05d}_kind{label}.png")

    def _of(self, features: NDArray[Any]) -> Clusters:
        return example_clusters(features, max_clusters=_MOST, draws=_REFERENCES, seed=self._seed)

    def _some(self, numbers: list[int], count: int) -> Tensor:
        """The first images that can be read, of those of some numbers; of the others the examples have warned."""
        found: list[Tensor] = []
        for number in numbers:
            if len(found) == count:
                break
            try:
                found.append(self._images.at([number]))
            except UnreadableImageError:
                continue
        return torch.cat(found)


__all__ = ["ExampleKinds"]
