"""Does a picture of a unit tell which natural images excite it? Its score, by another network's similarities, and the controls."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from captum_proto._utils.batches import Images, image_batches
from captum_proto._utils.checks import check_images, check_int
from captum_proto._utils.errors import InputError, InputTypeError
from captum_proto._utils.files import tensor_bytes
from captum_proto._utils.tables import between, number, text_table
from captum_proto.metrics.embedding import Embedding, embedded
from captum_proto.stats.intervals import Estimate, mean_estimate
from captum_proto.stats.judgments import mean_difference
from captum_proto.stats.separation import area_intervals, area_under_curve, areas_under_curve


@dataclass(frozen=True)
class VisualizationScore:
    """
    How well pictures of a unit tell its most exciting images from its least exciting ones.

    Attributes:
        auc (float): The chance that a top image is more similar to the pictures than a bottom image is, ties counted half: 1 where the
            pictures tell all of them, 0.5 where they tell nothing.
        interval (tuple[float, float]): Of the AUC, over images: :func:`~captum_proto.stats.separation.area_intervals`.
        top (Tensor): (A,), the similarity of each top image to the pictures.
        bottom (Tensor): (B,), of each bottom image.
    """

    auc: float
    interval: tuple[float, float]
    top: Tensor
    bottom: Tensor


def visualization_score(
    pictures: Tensor,
    top: Tensor,
    bottom: Tensor,
    embed: Embedding,
    *,
    opposite: Tensor | None = None,
    batch_size: int = 32,
    confidence: float = 0.95,
) -> VisualizationScore:
    r"""
    Score pictures of a unit by whether they tell the unit's most exciting natural images from its least exciting ones.

    After the machine interpretability score of Zimmermann, Klindt and Brendel ("Measuring Mechanistic Interpretability at Scale
    Without Humans", 2024): instead of people, another network compares each natural image x with the pictures v,

    .. math::
        s(x) = \frac{1}{P} \sum_{v} \cos\bigl(e(x), e(v)\bigr) - \frac{1}{Q} \sum_{w} \cos\bigl(e(x), e(w)\bigr)

    with w the pictures of the opposite, where they are given. The score is the area under the ROC curve of s: the chance that of a top and
    a bottom image the pictures point to the right one, as in the paper's task of two alternatives. Differences are ranked rather than
    squashed, so no temperature has to be chosen.

    Args:
        pictures (Tensor): (P, C, H, W), visualizations of the unit, in [0, 1].
        top (Tensor): (A, C, H, W), natural images that excite the unit most; none of them may be among the pictures.
        bottom (Tensor): (B, C, H, W), natural images that excite it least.
        embed (Callable): From images to (N, D) features of *another* network, such as :class:`~captum_proto.models.PooledFeatures`.
        opposite (Tensor, optional): (Q, C, H, W), visualizations of what excites the unit least. Default: None
        batch_size (int, optional): Images at a time. Default: 32
        confidence (float, optional): Of the interval. Default: 0.95

    Returns:
        VisualizationScore: The AUC, its interval over images, and the similarities.

    Raises:
        TypeError, ValueError: If there are fewer than two top or bottom images, an image is in two of the sets, or the embedding returns
            another number of rows or NaN.

    Examples::

        >>> red, green = (torch.eye(3)[i].view(1, 3, 1, 1) for i in range(2))
        >>> noise = torch.rand(4, 3, 1, 1, generator=torch.Generator().manual_seed(0)) / 2
        >>> score = visualization_score(red, noise + red / 2, noise + green / 2, lambda images: images.flatten(1))
        >>> score.auc, tuple(round(end, 2) for end in score.interval)
        (1.0, (0.58, 1.0))
    """
    sets = {"pictures": pictures, "top": top, "bottom": bottom, "opposite": opposite}
    given = {name: check_images(images, None, name) for name, images in sets.items() if images is not None}
    for name in ("top", "bottom"):
        if len(given[name]) < 2:
            raise InputError(f"{name} holds {len(given[name])} image; expected at least 2 to tell from the others.")
    _check_apart(given)
    vectors = {name: embedded(images, embed, batch_size, name) for name, images in given.items()}
    direction = vectors["pictures"].mean(0)
    if "opposite" in vectors:
        direction = direction - vectors["opposite"].mean(0)
    of_top, of_bottom = vectors["top"] @ direction, vectors["bottom"] @ direction
    area = area_under_curve(of_top.numpy(), of_bottom.numpy(), confidence)
    return VisualizationScore(area.value, (area.low, area.high), of_top, of_bottom)


@dataclass(frozen=True)
class VisualizationScores:
    """
    Scores of the pictures of many units, with controls.

    Attributes:
        auc (NDArray): (U,), the score of each unit's own pictures.
        low, high (NDArray): (U,), ends of its interval, over images.
        swapped (NDArray): (U, U), the score on the images of the unit of the row of the pictures of the unit of the column.
        ceiling (NDArray): (U,), the score of one half of the unit's top images as pictures, on the other half, both ways round.
        gray (NDArray): (U,), of a gray picture.
        noise (NDArray): (U,), of pictures of noise.
        p_values (NDArray): (U,), the share of all units' pictures that score at least as high on this unit's images as its own do.
        p_value (float): Of the mean score, by permuting whose pictures are whose.
    """

    auc: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    swapped: NDArray[np.float64]
    ceiling: NDArray[np.float64]
    gray: NDArray[np.float64]
    noise: NDArray[np.float64]
    p_values: NDArray[np.float64]
    p_value: float

    @property
    def others(self) -> NDArray[np.float64]:
        """(U,), the mean score of the other units' pictures on each unit's images; NaN for a single unit."""
        count = len(self.auc)
        total: NDArray[np.float64] = self.swapped.sum(1) - self.auc
        return total / (count - 1) if count > 1 else np.full(1, np.nan)

    def summary(self) -> dict[str, Estimate]:
        """The mean over units of each condition, with its bootstrap interval over units."""
        conditions = {
            "own pictures": self.auc,
            "pictures of other units": self.others,
            "noise": self.noise,
            "gray": self.gray,
            "top images (ceiling)": self.ceiling,
        }
        return {name: mean_estimate(values) for name, values in conditions.items() if np.isfinite(values).all()}

    def above_others(self) -> Estimate:
        """By how much own pictures score above those of other units, paired by unit, with its interval by Student's t."""
        return mean_difference(self.auc, self.others, paired=True)

    def table(self) -> str:
        """The summary as text."""
        rows = [[name, number(mean.value), between((mean.low, mean.high))] for name, mean in self.summary().items()]
        return text_table(["pictures", "mean AUC", "interval"], rows)


def visualization_scores(
    pictures: Tensor,
    images: Images,
    top: Tensor,
    bottom: Tensor,
    embed: Embedding,
    *,
    batch_size: int = 32,
    confidence: float = 0.95,
    permutations: int = 9999,
    seed: int = 0,
) -> VisualizationScores:
    r"""
    Score pictures of many units as :func:`visualization_score` does, and the controls without which a score means little.

    The pictures of other units on this unit's images say what the general look of visualizations is worth. Where pictures are given to
    units at random, the mean score has a distribution; the p-value is the share of it that reaches the mean of the right assignment. The
    unit's own top images in place of pictures say what could be reached: one half of them scores the other, so that none is compared with
    itself.

    Args:
        pictures (Tensor): (U, P, C, H, W), visualizations of each unit, in [0, 1].
        images (Tensor or iterable): (N, C, H, W) natural images, or batches of them; each is embedded once.
        top (Tensor): (U, A), int64, the numbers of the images that excite each unit most.
        bottom (Tensor): (U, B), int64, of those that excite it least.
        embed (Callable): From images to (N, D) features of *another* network.
        batch_size (int, optional): Images at a time. Default: 32
        confidence (float, optional): Of the intervals. Default: 0.95
        permutations (int, optional): How many random assignments. Default: 9999
        seed (int, optional): Of the noise and of the permutations. Default: 0

    Returns:
        VisualizationScores: Of each unit, and of the controls.

    Raises:
        TypeError, ValueError: As :func:`visualization_score`, or if a number is not that of an image.

    Examples::

        >>> colors = torch.eye(3).view(3, 3, 1, 1)
        >>> images = (colors.repeat_interleave(4, 0) + torch.rand(12, 3, 1, 1, generator=torch.Generator().manual_seed(0))) / 2
        >>> own, others = torch.arange(12).view(3, 4), torch.arange(12).view(3, 4).roll(1, 0)
        >>> scores = visualization_scores(colors[:, None], images, own, others, lambda images: images.flatten(1))
        >>> scores.auc.tolist(), scores.ceiling.tolist()
        ([1.0, 1.0, 1.0], [1.0, 1.0, 1.0])
    """
    count = _check_units(pictures, top, bottom)
    check_int(permutations, "permutations", 1)
    vectors = _of_used_images(images, _used(top, bottom), embed, batch_size)
    of_top, of_bottom = (vectors[places] for places in _places(top, bottom))  # (U, A, D), (U, B, D)
    flat = pictures.flatten(0, 1)
    means = embedded(flat, embed, batch_size, "pictures").view(count, pictures.shape[1], -1).mean(1)
    swapped = np.stack([_areas(means, of_top[unit], of_bottom[unit]) for unit in range(count)])
    auc = swapped.diagonal().copy()
    low, high = area_intervals(auc, top.shape[1], bottom.shape[1], confidence)
    noise = torch.rand(flat[: pictures.shape[1]].shape, generator=torch.Generator().manual_seed(seed))
    plain = {
        name: embedded(control.to(flat), embed, batch_size, name).mean(0, keepdim=True)
        for name, control in {"gray": torch.full(flat[:1].shape, 0.5), "noise": noise}.items()
    }
    controls = {
        name: np.concatenate([_areas(mean, of_top[unit], of_bottom[unit]) for unit in range(count)])
        for name, mean in plain.items()
    }
    random = np.random.default_rng(seed)
    orders = random.permuted(np.tile(np.arange(count), (permutations, 1)), axis=1)
    assigned = swapped[np.arange(count), orders].mean(1)
    return VisualizationScores(
        auc,
        low,
        high,
        swapped,
        _ceiling(of_top, of_bottom),
        controls["gray"],
        controls["noise"],
        (swapped >= auc[:, None]).mean(1),
        # A rounding of a mean is no difference.
        float((1 + (assigned >= auc.mean() - 1e-12).sum()) / (1 + permutations)),
    )


def _areas(directions: Tensor, top: Tensor, bottom: Tensor) -> NDArray[np.float64]:
    """(V,): how well each of V directions (V, D) tells images (A, D) from images (B, D)."""
    return areas_under_curve((directions @ top.T).numpy(), (directions @ bottom.T).numpy())


def _ceiling(top: Tensor, bottom: Tensor) -> NDArray[np.float64]:
    """Half of the top images in place of pictures, scored on the other half; the mean of both ways round."""
    halves = top[:, ::2], top[:, 1::2]
    both = [
        np.array([_areas(a[unit].mean(0, keepdim=True), b[unit], bottom[unit])[0] for unit in range(len(top))])
        for a, b in (halves, halves[::-1])
    ]
    mean: NDArray[np.float64] = np.mean(both, axis=0)
    return mean


def _check_units(pictures: Any, top: Any, bottom: Any) -> int:
    if not isinstance(pictures, Tensor) or pictures.dim() != 5 or not len(pictures):
        got = f"shape {tuple(pictures.shape)}" if isinstance(pictures, Tensor) else f"a {type(pictures).__name__}"
        raise InputError(f"pictures is {got}; expected a tensor (U, P, C, H, W): P pictures of each of U units.")
    check_images(pictures.flatten(0, 1), None, "pictures")
    count = len(pictures)
    for name, numbers in (("top", top), ("bottom", bottom)):
        if not isinstance(numbers, Tensor) or numbers.is_floating_point() or numbers.dtype == torch.bool:
            raise InputTypeError(f"{name} holds no whole numbers; expected a tensor (U, K), the numbers of images.")
        if numbers.dim() != 2 or len(numbers) != count or numbers.shape[1] < 2:
            raise InputError(
                f"{name} has shape {tuple(numbers.shape)}; expected ({count}, K) with K at least 2: the numbers of images of each unit."
            )
        if bool((numbers < 0).any()):
            raise InputError(f"{name} holds {int(numbers.min())}; expected numbers of images, from 0.")
    for unit, row in enumerate(torch.cat([top, bottom], 1).tolist()):
        if len(set(row)) < len(row):
            twice = next(number for number in row if row.count(number) > 1)
            raise InputError(
                f"image {twice} is twice among the top and bottom images of unit {unit}; give sets that do not overlap, fewer images of "
                "each where there are few."
            )
    return count


def _places(top: Tensor, bottom: Tensor) -> tuple[Tensor, Tensor]:
    """Numbers of images as places among those that are used."""
    used = _used(top, bottom)
    return torch.searchsorted(used, top.contiguous()), torch.searchsorted(used, bottom.contiguous())


def _used(top: Tensor, bottom: Tensor) -> Tensor:
    """The numbers of the images that some unit needs, in order."""
    return torch.tensor(sorted({*top.flatten().tolist(), *bottom.flatten().tolist()}))


def _of_used_images(images: Images, used: Tensor, embed: Embedding, batch_size: int) -> Tensor:
    """The vectors of the images that some unit needs, in the order of their numbers."""
    seen = 0

    def chosen() -> Iterator[Tensor]:
        nonlocal seen
        for batch in image_batches(images, batch_size, None, "images"):
            inside = used[(used >= seen) & (used < seen + len(batch))] - seen
            seen += len(batch)
            if len(inside):
                yield batch[inside]
        if int(used[-1]) >= seen:
            raise InputError(f"image {int(used[-1])} is out of range: there are {seen} images, 0 to {seen - 1}.")

    return embedded(chosen(), embed, batch_size)


def _check_apart(sets: dict[str, Tensor]) -> None:
    """Raise where an image is in two of the sets: to find itself again is no feat."""
    seen: dict[tuple[Any, ...], tuple[str, int]] = {}
    for name, images in sets.items():
        for place, image in enumerate(images.detach().cpu()):
            key = (tuple(image.shape), bytes(tensor_bytes(image.float())))
            before = seen.setdefault(key, (name, place))
            if before[0] != name:
                raise InputError(
                    f"image {place} of {name} is image {before[1]} of {before[0]} as well; give sets that do not overlap."
                )


__all__ = ["VisualizationScore", "VisualizationScores", "visualization_score", "visualization_scores"]
