"""Annotated sets of drawn images: what is common to some images, marked by masks, and what a person may say of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from captum_proto._utils.checks import check_int
from captum_proto._utils.errors import InputError
from captum_proto.testing.shapes import PARTS, SCENES, TEXT, ShapeDataset, Spurious

#: What can be said of anything that is drawn, and is said most often.
GENERIC = "a shape"
_PARTS_OF = {str(part): shape for shape, part in PARTS.items() if part}
_PHRASES: Mapping[str, str] = {
    **{part: f"{part} of a {shape}" for part, shape in _PARTS_OF.items()},
    **{scene: f"a {scene}" for scene in SCENES},
}
#: Rows and columns of the coarse masks, such as those of a late layer of a network.
_COARSE = (6, 10, 14)
#: The label maps, and the scene as a further one.
_MAPS = ("object", "part", "texture", "color", "scene")
#: Pixels from which on a concept is on an image.
_LEAST = 4
#: How much the images of a set are alike beyond what they have in common, as those that excite a unit often are: the standard deviation of
#: the logarithms of the odds with which images of each other concept are preferred.
_ALIKE = 1.5


def phrase_of(concept: str) -> str:
    """
    What a person says who names a concept of :class:`~captum_proto.testing.ShapeDataset`.

    Args:
        concept (str): Its name.

    Returns:
        str: Such as "red", "rising stripes", "ring", "hole of a ring", "a meadow".

    Examples::

        >>> phrase_of("red"), phrase_of("hole"), phrase_of("meadow")
        ('red', 'hole of a ring', 'a meadow')
    """
    return _PHRASES.get(concept, concept)


@dataclass(frozen=True)
class AnnotatedSets:
    """
    Sets of images with something in common, each with what several annotators said of it.

    Attributes:
        examples (Tensor): (B, k) in int64: which masked images of :class:`ShapeAnnotations` each set has.
        texts (list[list[str]]): Of each set, a description by each annotator.
        concepts (list[str]): What each set has in common.
    """

    examples: Tensor
    texts: list[list[str]]
    concepts: list[str]


class ShapeAnnotations:
    """
    Sets of drawn images that have a concept in common, with masks of it and descriptions, to train captioners of units on.

    In the manner of MILANNOTATIONS (Hernandez et al., arXiv:2201.11114), where three people each described what excites a unit. Here a
    concept of :class:`~captum_proto.testing.ShapeDataset` stands for the unit: a color, a texture, a shape, a part, a scene or text. An
    annotator says "a shape" of most sets, whatever they show, and otherwise names the concept. Of the masks, half are exact; the others are
    coarse, like the enlarged map of a late layer, or leave out the darker pixels, like a unit that fires at a part of what it is for.

    Args:
        count (int, optional): Images to choose from. Default: 2500
        size (int, optional): Their side in pixels, at least 16. Default: 40
        seed (int, optional): Of the images and the masks. Default: 0
        generic (float, optional): How often an annotator says "a shape", from 0 to 1. Default: 0.6

    Attributes:
        concepts (list[str]): The names of all concepts, of which sets are drawn with equal probability.
        texts (list[str]): Everything that an annotator may say, "a shape" first.
        masks (Tensor): (P, H, W), bool: of each image and each concept on it, where that is.
        images (Tensor): (N, 3, H, W) in [0, 1].
        image_of (Tensor): (P,), int64: the image of each mask.
        concept_of (Tensor): (P,), int64: the concept of each mask.
        shares (Tensor): (P, concepts), float32: of each mask, the share of its pixels that are of each concept.

    Raises:
        ValueError: If an argument is out of its range, or ``count`` is so small that a concept is on no image.

    Examples::

        >>> annotations = ShapeAnnotations(200)
        >>> sets = annotations.draw(4, 3, torch.Generator().manual_seed(0))
        >>> annotations.masks[sets.examples].shape, len(sets.texts), len(sets.texts[0])
        (torch.Size([4, 3, 40, 40]), 4, 3)
    """

    def __init__(self, count: int = 2500, size: int = 40, seed: int = 0, generic: float = 0.6) -> None:
        if not 0 <= generic <= 1:
            raise InputError(f"generic is {generic}; expected a share from 0 to 1.")
        rules = [Spurious(shape, TEXT, 0.3) for shape in PARTS]
        dataset = ShapeDataset(check_int(count, "count", 1), size=size, seed=seed, spurious=rules)
        self.generic, self.concepts = generic, [concept.name for concept in dataset.concepts]
        self.texts = [GENERIC, *map(phrase_of, self.concepts)]
        labels = [dataset.labels(index) for index in range(count)]
        scenes = torch.tensor([each.whole[0] for each in labels], dtype=torch.uint8).view(-1, 1, 1, 1)
        maps = torch.stack([torch.stack([torch.from_numpy(each) for each in found.maps]) for found in labels])
        self._maps = torch.cat([maps.to(torch.uint8), scenes.expand(-1, 1, size, size)], 1)
        self._map_of = [_MAPS.index(concept.category) for concept in dataset.concepts]
        self.images = torch.stack([dataset.image(index, (size, size)) for index in range(count)])
        generator = torch.Generator().manual_seed(seed)
        masks, image_of = list[Tensor](), list[Tensor]()
        for place, name in enumerate(self.concepts):
            there = self._maps[:, self._map_of[place]] == place + 1
            shown = (there.flatten(1).sum(1) >= _LEAST).nonzero().flatten()
            if not len(shown):
                raise InputError(f'no image of {count} shows the concept "{name}"; give a count of at least 200.')
            part = dataset.concepts[place].category == "part"
            masks.append(_as_units_fire(self.images[shown], there[shown], part, generator))
            image_of.append(shown)
        self.masks, self.image_of = torch.cat(masks), torch.cat(image_of)
        self._counts = torch.tensor([len(each) for each in masks])
        self.concept_of = torch.arange(len(masks)).repeat_interleave(self._counts)
        self.shares = self._shares()

    def __len__(self) -> int:
        """How many masks there are, P."""
        return len(self.masks)

    def _shares(self) -> Tensor:
        """Of each mask, the share of its pixels that are of each concept: (P, concepts), float32."""
        most = len(self.concepts) + 1
        found = []
        for rows in torch.split(torch.arange(len(self)), 512):
            inside = self._maps[self.image_of[rows]] * self.masks[rows].unsqueeze(1)  # 0 is no concept
            numbers = torch.arange(len(rows)).view(-1, 1) * most + inside.flatten(1)
            counts = torch.bincount(numbers.flatten(), minlength=most * len(rows)).view(-1, most)
            found.append(counts[:, 1:] / self.masks[rows].flatten(1).sum(1, keepdim=True))
        return torch.cat(found)

    def said_of(self, concept: str) -> list[tuple[str, float]]:
        """
        What annotators say of sets that have a concept in common.

        Args:
            concept (str): Of ``concepts``.

        Returns:
            list[tuple[str, float]]: Each text, and how often it is said.
        """
        return [(GENERIC, self.generic), (phrase_of(concept), 1 - self.generic)]

    def draw(self, count: int, k: int, generator: torch.Generator, annotators: int = 3) -> AnnotatedSets:
        """
        Draw sets.

        Args:
            count (int): How many, B.
            k (int): Masked images of each; of a concept that is on fewer, some come twice.
            generator (torch.Generator): Of every choice.
            annotators (int, optional): How many describe each set. Default: 3

        Returns:
            AnnotatedSets: Of concepts drawn with equal probability.
        """
        for name, value in (("count", count), ("k", k), ("annotators", annotators)):
            check_int(value, name, 1)
        chosen = torch.randint(len(self.concepts), (count,), generator=generator)
        first = self._counts.cumsum(0) - self._counts
        examples = []
        for concept, liked in zip(
            chosen.tolist(), _ALIKE * torch.randn(count, self.shares.shape[1], generator=generator), strict=True
        ):
            begin, many = int(first[concept]), int(self._counts[concept])
            # Gumbel noise: a draw without replacement, with probabilities proportional to the exponential of the other term.
            noise = -torch.empty(many).exponential_(generator=generator).log()
            order = (self.shares[begin : begin + many] @ liked + noise).argsort(descending=True)
            examples.append(begin + order[torch.arange(k) % many])
        generic = (torch.rand(count, annotators, generator=generator) < self.generic).tolist()
        names = [self.concepts[concept] for concept in chosen.tolist()]
        texts = [
            [GENERIC if each else phrase_of(name) for each in said] for said, name in zip(generic, names, strict=True)
        ]
        return AnnotatedSets(torch.stack(examples), texts, names)


def _as_units_fire(images: Tensor, masks: Tensor, part: bool, generator: torch.Generator) -> Tensor:
    """Two masks in ten without what is dark, three coarse, except of a part, which a coarse map does not tell from the whole."""
    found = masks.clone()
    how = torch.rand(len(masks), generator=generator)
    for place, side in enumerate(() if part else _COARSE):
        rows = ((how >= 0.1 * place) & (how < 0.1 * (place + 1))).nonzero().flatten()
        found[rows] = coarse(masks[rows], side)
    rows = (how >= 0.8).nonzero().flatten()
    found[rows] = _lighter(images[rows], masks[rows])
    return found


def coarse(masks: Tensor, side: int) -> Tensor:
    """
    Masks as a map of few rows and columns gives them: enlarged, and cut at half of each map's highest value.

    Args:
        masks (Tensor): (k, H, W), bool.
        side (int): Rows and columns of the map, at least 1.

    Returns:
        Tensor: (k, H, W), bool.

    Examples::

        >>> mask = torch.zeros(1, 40, 40, dtype=torch.bool)
        >>> mask[0, 9:15, 9:15] = True
        >>> int(mask.sum()), bool(coarse(mask, 6).sum() > 36)
        (36, True)
    """
    small = torch.nn.functional.adaptive_avg_pool2d(masks.float().unsqueeze(1), check_int(side, "side", 1))
    size = (masks.shape[-2], masks.shape[-1])
    large = torch.nn.functional.interpolate(small, size=size, mode="bilinear", align_corners=False).squeeze(1)
    return large > 0.5 * small.flatten(1).amax(1).view(-1, 1, 1)


def _lighter(images: Tensor, masks: Tensor) -> Tensor:
    """Without the pixels that are darker than the middle between the darkest and the lightest of each mask."""
    light = images.mean(1)
    low = light.masked_fill(~masks, 2.0).flatten(1).amin(1)
    high = light.masked_fill(~masks, -1.0).flatten(1).amax(1)
    return masks & (light >= ((low + high) / 2).view(-1, 1, 1))


__all__ = ["GENERIC", "AnnotatedSets", "ShapeAnnotations", "coarse", "phrase_of"]
