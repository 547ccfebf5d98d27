"""Every choice of an activation atlas that a command makes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from captum_proto._utils.checks import as_int, check_int
from captum_proto._utils.errors import InputError
from captum_proto.features.activation_atlas.collect import POSITIONS
from captum_proto.features.activation_atlas.layout import METHODS
from captum_proto.features.activation_atlas.patch import CORNERS

#: A single number of cells a side is halved for further levels down to this.
_COARSEST = 4


@dataclass(frozen=True, kw_only=True)
class AtlasSettings:
    """
    Every choice of an atlas, its model, layer, images and classes aside.

    Args:
        positions (str): Of each image one random position, or all.
        vectors (int, optional): At most so many activation vectors.
        method (str): How vectors are laid out: UMAP (needs umap-learn), t-SNE (needs openTSNE) or principal components.
        reduce (int, optional): To how many dimensions vectors are projected before UMAP or t-SNE.
        min_density (int): The fewest vectors of a cell that is drawn.
        labels (int): So many of the classes that the model takes the images for most often label the cells; 0 for none but the classes
            of a comparison.
        examples (int): Parts of images shown for each cell; 0 for none.
        icon_size (int, optional): The height and width of a cell's picture, for a model that takes any size: 96 draws five times as fast
            as 224.
        steps (int): Steps of each picture.
        power (float): How much the angle to a cell's direction counts.
        whiten (bool): Whether directions are whitened, which takes out what all cells share.
        regularization (float): Of the whitening.
        attempts (int): Pictures of each cell from different seeds, of which the best is kept.
        pair_vectors (int): Of the atlas of two classes: the most vectors of each.
        pair_grid (int): Of the atlas of two classes: cells a side.
        pair_min_density (int): Of the atlas of two classes: the fewest vectors of a cell that is drawn.
        patch_size (float): The suggested patch's side over the image's.
        patch_corner (str): Where it is pasted.
        seed (int): Of positions, layouts, pictures and controls.

    Raises:
        InputError: If a value is out of its range.
    """

    positions: str = field(default="random", metadata={"choices": POSITIONS})
    vectors: int | None = None
    method: str = field(default="umap", metadata={"choices": METHODS})
    reduce: int | None = 50
    min_density: int = 10
    labels: int = 50
    examples: int = 3
    icon_size: int | None = None
    steps: int = 256
    power: float = 4.0
    whiten: bool = True
    regularization: float = 0.01
    attempts: int = 1
    pair_vectors: int = 2500
    pair_grid: int = 10
    pair_min_density: int = 5
    patch_size: float = 0.4
    patch_corner: str = field(default="bottom right", metadata={"choices": CORNERS})
    seed: int = 0

    def __post_init__(self) -> None:
        least = {"labels": 0, "examples": 0, "steps": 0, "seed": 0, "reduce": 1, "vectors": 1, "icon_size": 1}
        for name in (*least, "min_density", "attempts", "pair_vectors", "pair_grid", "pair_min_density"):
            value = getattr(self, name)
            if value is not None:
                check_int(value, name, least.get(name, 1))
        for name, known in (("positions", POSITIONS), ("method", METHODS), ("patch_corner", CORNERS)):
            if getattr(self, name) not in known:
                raise InputError(f'{name} is "{getattr(self, name)}"; expected one of {", ".join(known)}.')
        if not 0 < self.patch_size <= 1:
            raise InputError(f"patch_size is {self.patch_size}; expected more than 0 and at most 1.")
        if not self.regularization > 0:
            raise InputError(f"regularization is {self.regularization}; expected a positive number, such as 0.01.")

    def to_json(self) -> dict[str, Any]:
        """The choices as JSON can hold them."""
        return asdict(self)


def levels_of(grid: int | Sequence[int]) -> list[int]:
    """
    Cells a side of each level, the coarsest first: what was given, or of a single number its half and its quarter too, if not below 4.

    Raises:
        InputError: If a number is less than 1, or there is none.

    Examples::

        >>> levels_of(20), levels_of(10), levels_of([3, 12])
        ([5, 10, 20], [5, 10], [3, 12])
    """
    given = [grid] if as_int(grid) is not None else list(grid)  # type: ignore[arg-type]  # it is no int
    sizes = [check_int(size, "grid", 1) for size in given]
    if not sizes:
        raise InputError("grid is empty; expected a number of cells a side, or several.")
    if len(sizes) == 1:
        sizes += [sizes[0] // part for part in (2, 4) if sizes[0] // part >= _COARSEST]
    return sorted(set(sizes))


__all__ = ["AtlasSettings", "levels_of"]
