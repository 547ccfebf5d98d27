"""The images that go furthest in each direction of a layer, found in one pass over one half of the images; the other half fits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from captum_proto._utils.errors import InputError
from captum_proto.data import Collection, ImageBatches, ImageCollection, ImageGeometry
from captum_proto.experiments.direction_agreement.settings import DirectionSettings
from captum_proto.metrics.directions import nonnegative_directions, principal_directions, random_frame, whitening
from captum_proto.models import LayerActivations, pooled

#: The kinds of directions, in the order of a table.
BASIS, RANDOM, WHITENED, PRINCIPAL, NONNEGATIVE = "basis", "random", "whitened random", "PCA", "NMF"
#: So many products of images, directions and positions are in memory at once.
_AT_A_TIME = 20_000_000


@dataclass(frozen=True)
class Numbered:
    """Images and which of the collection's they are."""

    numbers: Tensor
    images: Tensor


def numbered_batches(
    collection: Collection, places: Tensor, geometry: ImageGeometry, batch_size: int, workers: int
) -> Iterator[Numbered]:
    """
    Some images of a collection, batch by batch, with their places in it; files that cannot be read are left out.

    Args:
        collection (Collection): Of all images.
        places (Tensor): (N,), which of them, in the order in which they are to come.
        geometry (ImageGeometry): The shape of the images.
        batch_size (int): Images at a time.
        workers (int): Threads that read files.
    """
    part = collection.take(places.tolist())
    if isinstance(part, ImageCollection):
        # Each pass finds for itself what cannot be read, so that a resumed run warns of the same as one that was not interrupted.
        part.unreadable, part.turned = {}, set()
    batches = part.batches_for(geometry, batch_size, workers)
    if isinstance(batches, ImageBatches):
        files = batches.collection.files
        place_of = {path: place for (path, _), place in zip(files, places.tolist(), strict=True)}
        for batch in batches.items():
            yield Numbered(torch.tensor([place_of[str(path)] for path in batch.paths]), batch.images)
        return
    begin = 0
    for images in batches:
        yield Numbered(places[begin : begin + len(images)], images)
        begin += len(images)


def halves(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Places of the images that fit and of those that score, each in random order: ties between scores favor no class."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    return order[: count // 2], order[count // 2 :]


def fitting_rows(activations: LayerActivations, batches: Iterable[Numbered], positions: int, seed: int) -> Tensor:
    """The layer's activations at random positions of each image: (N, C)."""
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for batch in batches:
        values = activations(batch.images)
        keys = torch.rand(len(values), values.shape[2], generator=generator)
        chosen = keys.topk(min(positions, values.shape[2]), dim=1).indices
        picked = values.gather(2, chosen.unsqueeze(1).expand(-1, values.shape[1], -1))
        rows.append(picked.movedim(1, 2).flatten(0, 1))
    return torch.cat(rows)


def directions_of(rows: Tensor, settings: DirectionSettings) -> tuple[dict[str, Tensor], Tensor]:
    """
    The directions of each kind in a layer's space.

    Args:
        rows (Tensor): (N, C), activations that principal and non-negative directions and the whitening are fitted to.
        settings (DirectionSettings): How many of each, and the seed.

    Returns:
        tuple[dict[str, Tensor], Tensor]: By kind (count, C), of random kinds (frames · count, C); and which channels the basis is.

    Raises:
        InputError: If the layer has a single channel, or there are fewer rows than directions.
    """
    size = rows.shape[1]
    if size < 2:
        raise InputError("the layer has 1 channel; expected at least 2 to compare directions.")
    count = min(settings.count, size)
    if len(rows) <= count:
        raise InputError(
            f"there are {len(rows)} vectors to fit {count} directions to; give more images, or a smaller count."
        )
    generator = torch.Generator().manual_seed(settings.seed + 1)
    channels = torch.randperm(size, generator=generator)[:count].sort().values
    frames = torch.cat([random_frame(size, count, generator) for _ in range(settings.frames)])
    found = {BASIS: torch.eye(size, dtype=torch.float64)[channels], RANDOM: frames}
    if settings.whitened:
        drawn = torch.cat([random_frame(size, count, generator) for _ in range(settings.frames)])
        found[WHITENED] = torch.nn.functional.normalize(drawn @ whitening(rows), dim=1)
    found[PRINCIPAL] = principal_directions(rows, count)
    found[NONNEGATIVE] = nonnegative_directions(rows, count, settings.seed)
    return found, channels


@dataclass(frozen=True)
class TopImages:
    """
    The images that go furthest in each direction.

    Attributes:
        numbers (Tensor): (U, k), places in the collection, the furthest first.
        alive (Tensor): (U,), bool: whether the direction tells any two images apart.
    """

    numbers: Tensor
    alive: Tensor


def top_images(
    activations: LayerActivations, batches: Iterable[Numbered], directions: Tensor, k: int, pool: str
) -> TopImages:
    """
    Find the images that go furthest in each direction.

    Args:
        activations (LayerActivations): The layer.
        batches (iterable of Numbered): The images; of equal scores the one that comes first is taken.
        directions (Tensor): (U, C).
        k (int): How many images.
        pool (str): "max" or "mean" over positions.

    Returns:
        TopImages: Of each direction.

    Raises:
        InputError: If there are fewer than k images.
    """
    best = torch.empty(len(directions), 0)
    numbers = torch.empty(len(directions), 0, dtype=torch.int64)
    lowest = torch.full((len(directions),), torch.inf)
    seen = 0
    for batch in batches:
        scores = _scores(activations(batch.images), directions, pool).T  # (U, n)
        lowest = torch.minimum(lowest, scores.amin(1))
        best = torch.cat([best, scores], 1)
        numbers = torch.cat([numbers, batch.numbers.expand(len(directions), -1)], 1)
        best, order = best.sort(dim=1, descending=True, stable=True)
        best, numbers = best[:, :k], numbers.gather(1, order[:, :k])
        seen += len(batch.numbers)
    if seen < k:
        raise InputError(
            f"k is {k}, but {seen} images are left to score directions by; choose a smaller k, or give more."
        )
    return TopImages(numbers, best[:, 0] > lowest)


def _scores(values: Tensor, directions: Tensor, pool: str) -> Tensor:
    """(n, U), from activations (n, C, P)."""
    weights = directions.to(values)
    if pool == "mean":
        return pooled(values, pool) @ weights.T
    flat = values.movedim(1, 2).flatten(0, 1)  # (n · P, C)
    step = max(1, _AT_A_TIME // len(flat))
    parts = [(flat @ part.T).view(len(values), -1, len(part)).amax(1) for part in torch.split(weights, step)]
    return torch.cat(parts, 1)


__all__ = [
    "BASIS",
    "NONNEGATIVE",
    "PRINCIPAL",
    "RANDOM",
    "WHITENED",
    "Numbered",
    "TopImages",
    "directions_of",
    "fitting_rows",
    "halves",
    "numbered_batches",
    "top_images",
]
