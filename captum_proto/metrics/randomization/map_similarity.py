"""How alike attribution maps are: Spearman's correlation of all values, structural similarity, and histograms of gradients."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from captum_proto import ops
from captum_proto._utils.checks import nearest
from captum_proto._utils.errors import InputError, InputTypeError, MissingPackageError

#: By name, in the order of a table.
MEASURES = ("spearman_abs", "spearman", "ssim", "hog")
#: Of the Gaussian of structural similarity, and the side of its window: 3.5 standard deviations to each side.
_SIGMA, _WINDOW = 1.5, 11
#: Of histograms of gradients: pixels of a cell's side, and cells of a block's.
_CELL, _BLOCK = 16, 3
#: The least side of maps that a measure can look at.
_LEAST = {"ssim": _WINDOW, "hog": _CELL * _BLOCK}


def check_measures(measures: Iterable[str]) -> tuple[str, ...]:
    """
    Names of measures, each once.

    Raises:
        ValueError: If one is unknown, or there are none.
    """
    names = [measures] if isinstance(measures, str) else list(dict.fromkeys(measures))
    for name in names:
        if name not in MEASURES:
            hint = nearest(str(name), MEASURES) or f"; choose of {', '.join(MEASURES)}."
            raise InputError(f'there is no similarity "{name}"{hint}')
    if not names:
        raise InputError(f"similarity is empty; name at least one of {', '.join(MEASURES)}.")
    return tuple(names)


def measures_for(sides: tuple[int, int], measures: Iterable[str] = MEASURES) -> tuple[str, ...]:
    """
    Those of some measures that maps of a size are large enough for.

    Args:
        sides (tuple[int, int]): Height and width of the maps, in pixels.
        measures (iterable of str, optional): Names. Default: all

    Examples::

        >>> measures_for((224, 224)), measures_for((8, 8))
        (('spearman_abs', 'spearman', 'ssim', 'hog'), ('spearman_abs', 'spearman'))
    """
    return tuple(name for name in measures if min(sides) >= _LEAST.get(name, 1))


class MapSimilarity:
    r"""
    How alike attribution maps are to the maps of the same inputs before something was changed, input by input.

    ================ ===================================================================================================================
    ``spearman_abs`` Spearman's correlation of the absolute values, over all values of a map
    ``spearman``     Spearman's correlation of the values with their signs
    ``ssim``         structural similarity (Wang et al. 2004: a Gaussian of 1.5 pixels) of maps between 0 and 1
    ``hog``          Spearman's correlation of histograms of oriented gradients (9 orientations, cells of 16 x 16, blocks of 3 x 3)
    ================ ===================================================================================================================

    These are the measures of Adebayo et al., "Sanity Checks for Saliency Maps" (NeurIPS 2018, section 3). For the last two, which look at a
    map as a picture, its absolute values are summed over channels and divided by the largest; they are scikit-image's. Correlations are
    exact: 1 is exactly 1.

    Args:
        maps (Tensor or tuple[Tensor, ...]): (N, ...) each: the maps to compare with.
        measures (iterable of str, optional): Names of the above. Default: all

    Raises:
        ValueError: If a measure is unknown, or the maps have no height and width that it could look at.
        ImportError: If a measure needs scikit-image and it is not installed.

    Examples::

        >>> maps = torch.randn(4, 3, 64, 64)
        >>> similarity = MapSimilarity(maps)
        >>> {name: round(float(values[0]), 6) for name, values in similarity.own(maps).items()}
        {'spearman_abs': 1.0, 'spearman': 1.0, 'ssim': 1.0, 'hog': 1.0}
        >>> similarity.other(maps)["spearman"].abs().max() < 0.1
        tensor(True)
    """

    def __init__(self, maps: Tensor | tuple[Tensor, ...], measures: Iterable[str] = MEASURES) -> None:
        self.measures = check_measures(measures)
        self.shape = _shapes(maps)
        self._images: NDArray[np.float64] | None = None
        self._descriptors: Tensor | None = None
        rows = _rows(maps)
        self._ranks = {
            name: ops.SpearmanReference(rows.abs() if name == "spearman_abs" else rows)
            for name in ("spearman_abs", "spearman")
            if name in self.measures
        }
        if "ssim" in self.measures or "hog" in self.measures:
            self._images = self._as_images(maps)
            self._descriptors = _histograms(self._images) if "hog" in self.measures else None

    def own(self, maps: Tensor | tuple[Tensor, ...]) -> dict[str, Tensor]:
        """
        Each map beside the one of its own input.

        Args:
            maps (Tensor or tuple[Tensor, ...]): As those that are compared with.

        Returns:
            dict[str, Tensor]: By measure (N,), float64 on the CPU, at most 1. NaN where a map is constant or holds a NaN.

        Raises:
            ValueError: If the maps have another shape.
        """
        return self._compared(maps, 0)

    def other(self, maps: Tensor | tuple[Tensor, ...]) -> dict[str, Tensor]:
        """
        Each map beside the one of the next input, the last beside that of the first: how alike maps are that are of different inputs.

        Returns:
            dict[str, Tensor]: As :meth:`own`; NaN throughout where there is a single input.
        """
        found = self._compared(maps, 1)
        return found if self.shape[0][0] > 1 else {name: torch.full_like(v, torch.nan) for name, v in found.items()}

    def _compared(self, maps: Tensor | tuple[Tensor, ...], shift: int) -> dict[str, Tensor]:
        if _shapes(maps) != self.shape:
            raise InputError(
                f"the attribution returned shape {_told(_shapes(maps))}, and {_told(self.shape)} before; maps can be compared only where "
                "their shape stays."
            )
        rows = _rows(maps).roll(shift, 0)
        found: dict[str, Tensor] = {}
        for name in self.measures:
            if name in self._ranks:
                found[name] = ops.spearman(rows.abs() if name == "spearman_abs" else rows, self._ranks[name])
        if self._images is not None:
            images = np.roll(self._as_images(maps), shift, 0)
            if "ssim" in self.measures:
                found["ssim"] = _structural(images, self._images)
            if self._descriptors is not None:
                found["hog"] = ops.spearman(_histograms(images), self._descriptors)
        return {name: found[name].cpu() for name in self.measures}

    def _as_images(self, maps: Tensor | tuple[Tensor, ...]) -> NDArray[np.float64]:
        """(N, H, W) between 0 and 1; a map that is constant is NaN throughout."""
        each = maps if isinstance(maps, Tensor) else maps[0]
        asked = [name for name in self.measures if name in _LEAST]
        if not isinstance(maps, Tensor) and len(maps) > 1:
            raise InputError(f"there are {len(maps)} maps of each input; {asked[0]} looks at one: leave it out.")
        if each.dim() not in (3, 4):
            raise InputError(
                f"the attribution returned shape {tuple(each.shape)}; {asked[0]} looks at maps (N, C, H, W) or (N, H, W): leave it out."
            )
        for name in asked:
            if min(each.shape[-2:]) < _LEAST[name]:
                raise InputError(
                    f"the attribution returned maps of {each.shape[-2]} by {each.shape[-1]}; {name} looks at no less than {_LEAST[name]} "
                    "pixels a side: leave it out, or have the maps enlarged, as attr.GradCam does."
                )
        magnitude = each.detach().cpu().double().abs()
        image = magnitude.sum(1) if each.dim() == 4 else magnitude
        flat = image.flatten(1)
        low, high = flat.amin(1), flat.amax(1)
        top = torch.where(low == high, torch.nan, high)[:, None, None]
        return np.asarray((image / top).numpy(), dtype=np.float64)


def check_maps(value: Any, count: int) -> Tensor | tuple[Tensor, ...]:
    """
    What an attribution returned, as maps of so many inputs.

    Raises:
        TypeError: If it is something else than tensors.
        ValueError: If there is not one map for each input.
    """
    each = value if isinstance(value, tuple) else (value,)
    for tensor in each:
        if not isinstance(tensor, Tensor) or not (tensor.is_floating_point()):
            kind = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
            raise InputTypeError(
                f"the attribution returned {kind}; expected a floating-point tensor, or a tuple of them."
            )
        if tensor.dim() < 2 or len(tensor) != count:
            raise InputError(
                f"the attribution returned shape {tuple(tensor.shape)} for {count} inputs; maps are compared input by input: expected one "
                f"for each, ({count}, ...)."
            )
    detached = tuple(tensor.detach() for tensor in each)
    return detached if isinstance(value, tuple) and len(value) > 1 else detached[0]


def _shapes(maps: Tensor | tuple[Tensor, ...]) -> list[tuple[int, ...]]:
    return [tuple(tensor.shape) for tensor in ((maps,) if isinstance(maps, Tensor) else maps)]


def _told(shapes: list[tuple[int, ...]]) -> str:
    return " and ".join(map(str, shapes))


def _rows(maps: Tensor | tuple[Tensor, ...]) -> Tensor:
    """All values of each input's maps, (N, D)."""
    return maps.flatten(1) if isinstance(maps, Tensor) else torch.cat([tensor.flatten(1) for tensor in maps], 1)


def _scikit_image(name: str) -> Any:
    try:
        import skimage.feature
        import skimage.metrics
    except ImportError as error:
        raise MissingPackageError(
            f"{name} is scikit-image's, which is not installed; run: pip install scikit-image"
        ) from error
    return skimage


def _structural(images: NDArray[np.float64], others: NDArray[np.float64]) -> Tensor:
    similarity = _scikit_image("structural similarity").metrics.structural_similarity
    options = {"data_range": 1.0, "gaussian_weights": True, "sigma": _SIGMA, "use_sample_covariance": False}
    values = [
        float("nan") if np.isnan(a).any() or np.isnan(b).any() else float(similarity(a, b, **options))
        for a, b in zip(images, others, strict=True)
    ]
    return torch.tensor(values, dtype=torch.float64)


def _histograms(images: NDArray[np.float64]) -> Tensor:
    """(N, D); NaN where an image is."""
    hog = _scikit_image("a histogram of oriented gradients").feature.hog
    rows = [
        hog(np.nan_to_num(image), orientations=9, pixels_per_cell=(_CELL, _CELL), cells_per_block=(_BLOCK, _BLOCK))
        for image in images
    ]
    found = torch.from_numpy(np.stack(rows))
    found[torch.from_numpy(np.isnan(images).any((1, 2)))] = torch.nan
    return found


__all__ = ["MEASURES", "MapSimilarity", "check_maps", "check_measures", "measures_for"]
