"""Units of networks that share a space with texts: which texts a direction is near, what a text looks like, units that see and read."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from scipy import stats
from torch import Tensor
from torch.nn.functional import normalize

from captum_proto._utils.checks import check_int
from captum_proto._utils.errors import InputError
from captum_proto._utils.targets import Target
from captum_proto.models.two_tower import ImageTextEncoder, TwoTower, checked_embedding
from captum_proto.optim import Visualizations, visualize
from captum_proto.optim.loss.direction import digest_of, directions_of
from captum_proto.optim.loss.objective import Loss, Outputs
from captum_proto.stats.intervals import holm


@dataclass(frozen=True)
class TextExamples:
    """
    The texts that directions are nearest to.

    Attributes:
        texts (list[list[str]]): Of each direction, the nearest first.
        scores (Tensor): (U, k), their cosines.
        indices (Tensor): (U, k), their numbers among the texts given.
    """

    texts: list[list[str]]
    scores: Tensor
    indices: Tensor


def text_examples(
    encoder: ImageTextEncoder, directions: Tensor, texts: Sequence[str], k: int = 5, *, center: bool = True
) -> TextExamples:
    r"""
    The texts that excite directions of the shared space most: top examples of a unit, of texts in place of images.

    .. math::
        s_{u,t} = \cos\bigl(v_u,\; \hat e_t - \bar e\bigr)
        \qquad \hat e_t = \frac{e_t}{\lVert e_t \rVert}, \quad \bar e = \frac{1}{T} \sum_t \hat e_t

    Args:
        encoder (ImageTextEncoder): Whose ``text`` embeds the texts.
        directions (Tensor): (D,) or (U, D): rows of the identity for units of the shared space, :func:`image_directions` for any others.
        texts (sequence of str): T texts, each once.
        k (int, optional): How many of each, at most T. Default: 5
        center (bool, optional): Whether to leave out :math:`\bar e`, what all the texts have in common. Default: True

    Returns:
        TextExamples: Of each direction; of equal scores the text that was given first.

    Raises:
        TypeError, ValueError: If the directions are of another length, a text is twice, or there are fewer than k.
    """
    given = list(texts)
    if len(set(given)) < len(given):
        twice = next(text for text in given if given.count(text) > 1)
        raise InputError(f'"{twice}" is twice among the texts; give each once.')
    if check_int(k, "k", 1) > len(given):
        raise InputError(f"k is {k}, but there are {len(given)} texts; choose a smaller k, or give more.")
    vectors = normalize(checked_embedding(encoder.text(given), len(given), "text").cpu().double(), dim=1)
    if center:
        vectors = normalize(vectors - vectors.mean(0), dim=1)
    rows = normalize(directions_of(directions).cpu().double(), dim=1)
    if rows.shape[1] != vectors.shape[1]:
        raise InputError(
            f"directions have {rows.shape[1]} entries, but texts are embedded in {vectors.shape[1]} dimensions; give directions of "
            "that space, image_directions makes them of units of other layers."
        )
    scores, indices = (rows @ vectors.T).sort(dim=1, descending=True, stable=True)
    scores, indices = scores[:, :k].clone(), indices[:, :k].clone()
    return TextExamples([[given[place] for place in row] for row in indices.tolist()], scores, indices)


def image_directions(embeddings: Tensor, top: Tensor) -> Tensor:
    """
    Directions of the shared space for units of any layer: where their top images lie, from the mean of all images.

    Args:
        embeddings (Tensor): (N, D), all images in the shared space.
        top (Tensor): (U, k), int64, the numbers of each unit's top images.

    Returns:
        Tensor: (U, D), for :func:`text_examples`.

    Examples::

        >>> image_directions(torch.tensor([[3.0, 0.0], [2.0, 0.0], [0.0, 1.0], [0.0, 4.0]]), torch.tensor([[0, 1], [2, 3]]))
        tensor([[ 0.5000, -0.5000],
                [-0.5000,  0.5000]])
    """
    if top.is_floating_point() or top.dim() != 2 or int(top.min()) < 0 or int(top.max()) >= len(embeddings):
        raise InputError(f"top has shape {tuple(top.shape)}; expected (U, k), numbers of {len(embeddings)} images.")
    units = normalize(embeddings, dim=1)
    return units[top].mean(1) - units.mean(0)


class EmbeddingSimilarity(Loss):
    r"""
    The cosine between the model's output and a vector, negated: maximized.

    .. math::
        L_i = -\cos\bigl(f(x_i), v_i\bigr)

    As Goh et al., "Multimodal Neurons in Artificial Neural Networks" (Distill 2021), draw the picture of a text. It records "similarity".

    Args:
        vectors (Tensor): (D,), or (N, D) for one vector each row.
        names (sequence of str, optional): Of each row. A row's random numbers are told by its name, which no rounding of an embedding
            changes. Default: None, told by the vector itself

    Raises:
        ValueError: If a vector is zero or has another length than the model's output.
    """

    terms = ("similarity",)

    def __init__(self, vectors: Any, names: Sequence[str] | None = None) -> None:
        self.vectors, self.names = directions_of(vectors), None if names is None else list(names)
        if self.names is not None and len(self.names) != len(self.vectors):
            raise InputError(f"there are {len(self.names)} names for {len(self.vectors)} vectors; give one for each.")
        told = self.vectors if self.names is None else [torch.tensor(list(name.encode())) for name in self.names]
        self.targets: list[Target] | None = [(digest_of(row),) for row in told]

    def rows(self, rows: range) -> Loss:
        names = None if self.names is None else self.names[rows.start : rows.stop]
        return EmbeddingSimilarity(self.vectors[rows.start : rows.stop], names)

    def settings(self) -> dict[str, Any]:
        return {"name": type(self).__name__, "vectors": [row[0] for row in self.targets or []]}

    def check(self, outputs: Outputs) -> None:
        found = outputs.output
        shape = tuple(found.shape) if isinstance(found, Tensor) else ()
        if len(shape) != 2 or shape[1] != self.vectors.shape[1]:
            raise InputError(
                f"the model returned {f'shape {shape}' if shape else f'a {type(found).__name__}'}; expected embeddings "
                f"(N, {self.vectors.shape[1]}), as long as the vectors."
            )

    def __call__(self, outputs: Outputs, images: Tensor) -> Tensor:
        found = outputs.output
        cosine = torch.nn.functional.cosine_similarity(found, self.vectors.to(found), dim=1)
        return -outputs.record("similarity", cosine)


def visualize_texts(
    tower: TwoTower,
    texts: Sequence[str],
    image_shape: tuple[int, int, int],
    **choices: Any,
) -> Visualizations:
    """
    Pictures of texts: what an image tower takes for what a text says.

    Args:
        tower (TwoTower): Which puts both into one space.
        texts (sequence of str): One for each picture.
        image_shape (tuple[int, int, int]): (C, H, W) of a picture.
        **choices: Further arguments of :func:`~captum_proto.optim.visualize`.

    Returns:
        Visualizations: In the order of the texts; ``activations`` are cosines with the texts.
    """
    pictures = visualize(tower, EmbeddingSimilarity(tower.text(texts), texts), image_shape, **choices)
    pictures.settings["texts"] = list(texts)
    return pictures


@dataclass(frozen=True)
class MultimodalUnit:
    """
    A unit whose top images hold a concept drawn and written.

    Attributes:
        unit (int): Which.
        concept (int): Which.
        drawn (float): The share of the images that show the concept that are among the unit's top images.
        written (float): The same of those that hold its word.
        drawn_p, written_p (float): How often as many would be among images drawn at random: hypergeometric, by Holm's correction for all
            units, concepts and both ways.
        text (str, optional): The nearest text to the unit, where texts were given.
    """

    unit: int
    concept: int
    drawn: float
    written: float
    drawn_p: float
    written_p: float
    text: str | None = None


def multimodal_units(
    scores: Tensor,
    drawn: Tensor,
    written: Tensor,
    *,
    k: int | None = None,
    confidence: float = 0.95,
    seed: int = 0,
    nearest_texts: Sequence[str] | None = None,
    says: Callable[[str, int], bool] | None = None,
) -> list[MultimodalUnit]:
    r"""
    Find units that answer to a concept whether it is drawn or written, as the multimodal neurons of Goh et al. (2021) do.

    For each concept, images that hold it both ways are left out: they would excite a unit that sees and one that reads. Of the others, the
    k that excite the unit most are looked at. A unit is found where those that show the concept *and* those that hold its word are both
    among them more often than chance allows.

    Args:
        scores (Tensor): (N, U), how much each image excites each unit.
        drawn (Tensor): (N, K), bool, whether each image shows each concept.
        written (Tensor): (N, K), bool, whether each image holds its word.
        k (int, optional): How many top images. Default: None, as many as hold the concept in one of both ways
        confidence (float, optional): A unit is found where both p-values are below what this leaves. Default: 0.95
        seed (int, optional): Of the order in which images of equal scores come. Default: 0
        nearest_texts (sequence of str, optional): The nearest text to each unit, of :func:`text_examples`. Default: None
        says (Callable, optional): Whether a text names a concept: units whose nearest text does not are left out. Default: None

    Returns:
        list[MultimodalUnit]: In the order of their units; a unit that answers to several concepts is there for each.

    Raises:
        ValueError: If shapes do not match, scores are not finite, or k is larger than there are images.

    Examples::

        >>> drawn, written = torch.zeros(60, 1, dtype=torch.bool), torch.zeros(60, 1, dtype=torch.bool)
        >>> drawn[:10], written[10:20] = True, True
        >>> both, sees = (drawn | written).float(), drawn.float()
        >>> [(found.unit, found.drawn, found.written) for found in multimodal_units(torch.cat([both, sees], 1), drawn, written)]
        [(0, 1.0, 1.0)]
    """
    count, units = _check_scores(scores, drawn, written)
    found: list[tuple[int, int]] = []
    shares: list[float] = []
    p_values: list[float] = []
    for concept in range(drawn.shape[1]):
        pool = ~(drawn[:, concept] & written[:, concept])
        shown, read = drawn[pool, concept], written[pool, concept]
        size = int((shown | read).sum()) if k is None else check_int(k, "k", 1)
        if size > int(pool.sum()):
            raise InputError(f"k is {size}, but {int(pool.sum())} of {count} images are looked at; choose a smaller k.")
        # Of a unit that is silent on many images most scores are equal: none of them is to be first for its place.
        order = torch.randperm(int(pool.sum()), generator=torch.Generator().manual_seed(seed))
        top = order[scores[pool][order].sort(dim=0, descending=True, stable=True).indices[:size]]  # (k, U)
        for unit in range(units):
            found.append((unit, concept))
            for holds in (shown, read):
                hits, all_of_them = int(holds[top[:, unit]].sum()), int(holds.sum())
                p_values.append(float(stats.hypergeom.sf(hits - 1, len(holds), all_of_them, size)))
                shares.append(hits / all_of_them if all_of_them else math.nan)
    corrected = holm(p_values)
    rows = [
        MultimodalUnit(
            unit,
            concept,
            drawn=shares[2 * i],
            written=shares[2 * i + 1],
            drawn_p=corrected[2 * i],
            written_p=corrected[2 * i + 1],
            text=nearest_texts[unit] if nearest_texts else None,
        )
        for i, (unit, concept) in enumerate(found)
    ]
    level = round(1 - confidence, 12)
    chosen = [
        row
        for row in rows
        if max(row.drawn_p, row.written_p) < level and (says is None or row.text is None or says(row.text, row.concept))
    ]
    return sorted(chosen, key=lambda row: (row.unit, row.concept))


def _check_scores(scores: Tensor, drawn: Tensor, written: Tensor) -> tuple[int, int]:
    if scores.dim() != 2 or not bool(scores.isfinite().all()):
        raise InputError(f"scores have shape {tuple(scores.shape)}; expected (N, U), finite.")
    for name, given in (("drawn", drawn), ("written", written)):
        if given.dtype != torch.bool or given.dim() != 2 or len(given) != len(scores) or given.shape != drawn.shape:
            raise InputError(
                f"{name} is {given.dtype} of shape {tuple(given.shape)}; expected bool ({len(scores)}, K), one row for each image."
            )
    return len(scores), scores.shape[1]


__all__ = [
    "EmbeddingSimilarity",
    "MultimodalUnit",
    "TextExamples",
    "image_directions",
    "multimodal_units",
    "text_examples",
    "visualize_texts",
]
