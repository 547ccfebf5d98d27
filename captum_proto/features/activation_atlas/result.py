"""An atlas: vectors, where they lie, the grids over them, and the file it is kept in."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from captum_proto._utils.errors import InputError
from captum_proto._utils.files import alike, intact, load_tensors, save_tensors
from captum_proto.features.activation_atlas.grid import AtlasLevel
from captum_proto.features.activation_atlas.vectors import AtlasVectors

_OF_VECTORS = ("vectors", "images", "positions", "attributions")
_OF_LEVELS = ("members", "counts", "cells", "means", "attributions", "icons", "activations")


@dataclass
class AtlasResult:
    """
    What :class:`ActivationAtlas` has made so far.

    Attributes:
        vectors (AtlasVectors): N activation vectors.
        coordinates (Tensor, optional): (N, 2), float64 in [0, 1]: where each lies; the first runs to the right, the second downward.
        levels (list[AtlasLevel]): Grids over them, the coarsest first.
        settings (dict): Every choice, as JSON can hold it.
    """

    vectors: AtlasVectors
    coordinates: Tensor | None = None
    levels: list[AtlasLevel] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.vectors)

    def level(self, size: int) -> AtlasLevel:
        """
        The grid of a size.

        Raises:
            ValueError: If there is none.
        """
        for level in self.levels:
            if level.size == size:
                return level
        sizes = ", ".join(str(level.size) for level in self.levels)
        raise InputError(f"there is no grid of {size} by {size}, only of {sizes or 'no size'}; call grid({size}).")

    def attribute(self, target: Any) -> list[Tensor]:
        """
        What the vectors of each cell contribute to a class, in the mean.

        Args:
            target (int or iterable of int): One of those that were collected.

        Returns:
            list[Tensor]: (M,), float64, for the drawn cells of each level.

        Raises:
            ValueError: If attributions to it were not collected.
        """
        column = self.vectors.column(target)
        return [level.attributions[:, column] for level in self.levels]

    def save(self, path: str | os.PathLike[str], overwrite: bool = False) -> None:
        """
        Write everything to one safetensors file, with what is not tensors as JSON in its header.

        Raises:
            FileExistsError: If the file exists and ``overwrite`` is False.
        """
        tensors = {name: getattr(self.vectors, name) for name in _OF_VECTORS}
        if self.coordinates is not None:
            tensors["coordinates"] = self.coordinates
        for level in self.levels:
            held = {name: getattr(level, name) for name in _OF_LEVELS}
            tensors |= {f"level.{level.size}.{name}": value for name, value in held.items() if value is not None}
        described = {
            "targets": [list(target) for target in self.vectors.targets],
            "collected": self.vectors.settings,
            "levels": [{"size": level.size, "min_density": level.min_density} for level in self.levels],
            "settings": self.settings,
        }
        save_tensors(path, "activation atlas", tensors, described, overwrite)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> AtlasResult:
        """
        Read what :meth:`save` wrote.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is damaged or holds something else.
        """
        tensors, metadata = load_tensors(path, "activation atlas")
        with intact(path, "activation atlas"):
            targets = [tuple(target) for target in metadata["targets"]]
            vectors = AtlasVectors.of(tensors, targets, dict(metadata["collected"]))
            alike("vectors", *(len(tensors[name]) for name in _OF_VECTORS))
            levels = []
            for each in metadata["levels"]:
                held = {name: tensors.get(f"level.{each['size']}.{name}") for name in _OF_LEVELS}
                level = AtlasLevel(int(each["size"]), int(each["min_density"]), **held)  # type: ignore[arg-type]
                alike("vectors", len(vectors), len(level.members), int(level.counts.sum()))
                alike("cells", len(level.cells), len(level.means), len(level.attributions))
                levels.append(level)
            coordinates = tensors.get("coordinates")
            if coordinates is not None:
                alike("vectors", len(vectors), len(coordinates))
            return cls(vectors, coordinates, levels, dict(metadata["settings"]))


__all__ = ["AtlasResult"]
