"""Where the units of a layer fire, and what is labeled there: counts that add up over batches and processes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from captum_proto import ops
from captum_proto._utils.errors import InputError
from captum_proto.concept.dataset import ConceptDataset
from captum_proto.ops.double import exact


@dataclass(frozen=True)
class LabelBatch:
    """
    The labels of some images, as tallies take them.

    Attributes:
        maps (Tensor): (N, M, H, W), int16: no label twice at a pixel, and none that its whole image has.
        whole (Tensor): (N, 1 + K), bool: the labels of whole images.
        carried (Tensor): (N, 1 + C), bool: which categories an image has any label of; in the last column, all.
        areas (Tensor): (1 + K,), int64: how many pixels are of each concept.
    """

    maps: Tensor
    whole: Tensor
    carried: Tensor
    areas: Tensor

    def __len__(self) -> int:
        return len(self.maps)

    def shuffled(self, random: np.random.Generator) -> LabelBatch:
        """The labels of other images of the batch, none its own: what chance pairs with each image."""
        order = random.permutation(len(self))
        places = torch.empty(len(self), dtype=torch.int64)
        places[order] = torch.from_numpy(np.roll(order, 1))  # a single cycle through all
        maps, whole, carried = (each[places.to(each.device)] for each in (self.maps, self.whole, self.carried))
        return LabelBatch(maps, whole, carried, torch.zeros_like(self.areas))

    def rows(self, rows: slice) -> LabelBatch:
        """The labels of some of the images; areas are of all."""
        return LabelBatch(self.maps[rows], self.whole[rows], self.carried[rows], self.areas)

    def to(self, device: torch.device) -> LabelBatch:
        """The same on a device."""
        return LabelBatch(*(each.to(device) for each in (self.maps, self.whole, self.carried, self.areas)))

    @classmethod
    def read(cls, dataset: ConceptDataset, indices: Sequence[int], size: tuple[int, int]) -> LabelBatch:
        """
        The labels of some images of a data set.

        Args:
            dataset (ConceptDataset): Of which.
            indices (sequence of int): Of the images.
            size (tuple[int, int]): To which label maps are resized.
        """
        concepts, categories = len(dataset.concepts), len(dataset.categories)
        whole = np.zeros((len(indices), concepts + 1), dtype=bool)
        found: list[list[NDArray[np.int16]]] = []
        present = np.zeros((len(indices), concepts + 1), dtype=bool)
        areas = np.zeros(concepts + 1, dtype=np.int64)
        for place, index in enumerate(indices):
            labels = dataset.checked_labels(index)
            whole[place, labels.whole] = True
            maps: list[NDArray[np.int16]] = []
            for each in labels.resized(size):
                kept = np.where(whole[place][each], np.int16(0), each)
                for earlier in maps:
                    kept = np.where(kept == earlier, np.int16(0), kept)
                counts = np.bincount(kept.ravel(), minlength=concepts + 1)
                areas += counts
                present[place] |= counts > 0
                maps.append(kept)
            found.append(maps)
        whole[:, 0] = False
        present |= whole
        areas += whole.sum(0) * size[0] * size[1]
        areas[0] = 0
        most = max(map(len, found), default=0)
        maps_of_all = np.zeros((len(indices), most, *size), dtype=np.int16)
        for place, maps in enumerate(found):
            for number, each in enumerate(maps):
                maps_of_all[place, number] = each
        carried = np.ones((len(indices), categories + 1), dtype=bool)
        for category in range(categories):
            carried[:, category] = present[:, dataset.category_of == category].any(1)
        return cls(*map(torch.from_numpy, (maps_of_all, whole, carried, areas)))


@dataclass
class Tally:
    r"""
    The counts of a layer.

    Attributes:
        together (Tensor): (1 + D, U, 1 + K), int64: first, at how many pixels of each concept each unit fires; then the same for D draws
            in which images have the labels of others.
        fired (Tensor): (1 + D, U, 1 + C), int64: at how many pixels of images that have any label of a category each unit fires; in the
            last column, of all images.
        pixels (int): How many pixels all images have.
        images (int): How many there were.
        first (int): How many images go before these, in other tallies: a draw of chance depends on how many went before.
    """

    together: Tensor
    fired: Tensor
    pixels: int = 0
    images: int = 0
    first: int = 0

    @classmethod
    def empty(
        cls,
        units: int,
        concepts: int,
        categories: int,
        draws: int,
        device: torch.device | None = None,
        first: int = 0,
    ) -> Tally:
        """Counts of nothing; ``first`` as in the attributes."""
        together = torch.zeros(1 + draws, units, concepts + 1, dtype=torch.int64, device=device)
        fired = torch.zeros(1 + draws, units, categories + 1, dtype=torch.int64, device=device)
        return cls(together, fired, first=first)

    @property
    def draws(self) -> int:
        return len(self.together) - 1

    def update(self, maps: Tensor, thresholds: Tensor, labels: LabelBatch, align_corners: bool = False) -> None:
        """
        Count some images.

        Args:
            maps (Tensor): (N, U, h, w), the layer's activations.
            thresholds (Tensor): (U,), float64.
            labels (LabelBatch): Of the same images.
            align_corners (bool, optional): As in :func:`captum_proto.ops.unit_concept_counts`. Default: False

        Raises:
            ValueError: If there are not as many images as labels, or one alone has nobody to draw labels from.
        """
        for step in self.steps(maps, thresholds, self.drawn(labels), align_corners):
            step()

    def drawn(self, labels: LabelBatch) -> list[LabelBatch]:
        """
        The labels of a batch that comes next, and for each draw those of others.

        Raises:
            ValueError: If one alone has nobody to draw labels from.
        """
        if self.draws and len(labels) < 2:
            raise InputError(
                "a batch of one image has no labels of others, which draws of chance need; give more, or no draws."
            )
        # Of the images so far and the draw alone, so that a part that is counted anew, or by another process, is counted alike.
        before = self.first + self.images
        others = [labels.shuffled(np.random.default_rng([before, draw])) for draw in range(1, 1 + self.draws)]
        return [labels, *others]

    def steps(
        self, maps: Tensor, thresholds: Tensor, drawn: Sequence[LabelBatch], align_corners: bool = False
    ) -> Iterator[Callable[[], None]]:
        """
        The steps of :meth:`update`: each adds its counts, or none of them where there is no memory.

        Args:
            maps, thresholds, align_corners: As in :meth:`update`.
            drawn (sequence of LabelBatch): Of these images, from :meth:`drawn`.
        """
        if len(maps) != len(drawn[0]):
            raise InputError(f"there are activations of {len(maps)} images and labels of {len(drawn[0])}.")
        for draw, given in enumerate(drawn):
            yield functools.partial(self._count, draw, maps, thresholds, given, align_corners)
        yield functools.partial(self._note, len(maps), drawn[0].maps.shape[2] * drawn[0].maps.shape[3])

    def _count(self, draw: int, maps: Tensor, thresholds: Tensor, given: LabelBatch, align_corners: bool) -> None:
        maps, together = exact(maps), torch.zeros_like(self.together[draw])
        hits = ops.unit_concept_counts(together, maps, thresholds, given.maps, align_corners)
        # Products of counts below 2⁵³ and of zeros and ones: exact in float64.
        firing = hits.T.double()
        together += (firing @ given.whole.double()).long()
        fired = (firing @ given.carried.double()).long()
        self.together[draw].add_(together)
        self.fired[draw].add_(fired)

    def _note(self, images: int, pixels: int) -> None:
        self.pixels += images * pixels
        self.images += images

    def merge(self, other: Tally) -> None:
        """Take the counts of other images."""
        if other.together.shape != self.together.shape or other.fired.shape != self.fired.shape:
            raise InputError(
                f"a tally of shape {tuple(self.together.shape)} cannot take one of {tuple(other.together.shape)}; both have to be of the "
                "same layer, concepts and draws."
            )
        self.together += other.together.to(self.together.device)
        self.fired += other.fired.to(self.fired.device)
        self.pixels, self.images = self.pixels + other.pixels, self.images + other.images
        self.first = min(self.first, other.first)

    def state_dict(self) -> dict[str, Tensor]:
        """The counts as tensors: of concepts at which no unit fires, as of most in a few of many images, nothing."""
        columns = self.together.flatten(0, 1).any(0).nonzero()[:, 0]
        return {
            "together": _narrow(self.together[:, :, columns]),
            "columns": columns,
            "width": torch.tensor(self.together.shape[2]),
            "fired": _narrow(self.fired),
            "seen": torch.tensor([self.pixels, self.images, self.first]),
        }

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Become the counts that :meth:`state_dict` described."""
        there = state["together"].long()
        self.together = there.new_zeros(*there.shape[:2], int(state["width"]))
        self.together[:, :, state["columns"]] = there
        self.fired = state["fired"].long()
        self.pixels, self.images, self.first = state["seen"].tolist()


def _narrow(counts: Tensor) -> Tensor:
    """Counts as numbers of half the size, where these hold them."""
    small = not counts.numel() or int(counts.max()) <= torch.iinfo(torch.int32).max
    return counts.to(torch.int32) if small else counts.clone()


@dataclass
class Counts:
    """
    All that is counted of some images: a tally for each layer, and what the labels have alone.

    Attributes:
        tallies (dict[str, Tally]): By layer.
        areas (Tensor): (1 + K,), int64, on the CPU: how many pixels are of each concept.
    """

    tallies: dict[str, Tally]
    areas: Tensor

    @classmethod
    def empty(
        cls,
        units: Mapping[str, int],
        concepts: int,
        categories: int,
        draws: int,
        device: torch.device | None = None,
        first: int = 0,
    ) -> Counts:
        """
        Counts of nothing.

        Args:
            units (mapping[str, int]): How many each layer has.
            concepts, categories, draws, device, first: As of each tally.
        """
        tallies = {
            name: Tally.empty(count, concepts, categories, draws, device, first) for name, count in units.items()
        }
        return cls(tallies, torch.zeros(concepts + 1, dtype=torch.int64))

    def merge(self, other: Counts) -> None:
        """
        Take the counts of other images.

        Raises:
            ValueError: If they are of other layers, concepts or draws.
        """
        if other.tallies.keys() != self.tallies.keys():
            raise InputError(
                f"counts of {', '.join(self.tallies)} cannot take those of {', '.join(other.tallies)}; give the same layers."
            )
        for name, tally in self.tallies.items():
            tally.merge(other.tallies[name])
        self.areas += other.areas

    def state_dict(self) -> dict[str, Tensor]:
        """The counts as tensors."""
        inner = {name: tally.state_dict() for name, tally in self.tallies.items()}
        tensors = {f"{name}.{key}": value for name, state in inner.items() for key, value in state.items()}
        return {**tensors, "areas": self.areas.clone()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Become the counts that :meth:`state_dict` described."""
        of_layers: dict[str, dict[str, Tensor]] = {}
        for key, value in state.items():
            name, dot, part = key.rpartition(".")
            if dot:
                of_layers.setdefault(name, {})[part] = value
        self.tallies, self.areas = {}, state["areas"].clone()
        for name, tensors in of_layers.items():
            self.tallies[name] = Tally.empty(0, 0, 0, 0)
            self.tallies[name].load_state_dict(tensors)

    @classmethod
    def restored(cls, state: dict[str, Tensor]) -> Counts:
        """The counts that :meth:`state_dict` described."""
        counts = cls({}, torch.empty(0))
        counts.load_state_dict(state)
        return counts


def even_batches(count: int, batch_size: int, seed: int = 0) -> list[list[int]]:
    """
    Images in a random order, in batches of nearly equal size: data sets often come sorted, and chance is to pair any with any.

    Args:
        count (int): Of images.
        batch_size (int): At most so many in each.
        seed (int, optional): Of the order. Default: 0
    """
    order = np.random.default_rng(seed).permutation(count)
    return [part.tolist() for part in np.array_split(order, max(1, -(-count // batch_size)))]


__all__ = ["Counts", "LabelBatch", "Tally", "even_batches"]
