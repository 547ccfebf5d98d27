"""Activation vectors of many images, what they contribute to classes, and the file they are kept in."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from captum_proto._utils.errors import InputError
from captum_proto._utils.files import alike, intact, load_tensors, save_tensors
from captum_proto._utils.targets import Target, class_set

_TENSORS = ("vectors", "images", "positions", "attributions")
#: Rows that are worked on at a time in float64: so many that they stay in the processor's cache.
ROWS = 1024


@dataclass
class AtlasVectors:
    r"""
    Activation vectors: what a layer's channels say at one position of one image each.

    Attributes:
        vectors (Tensor): (N, C), on the CPU, ordered by image and position.
        images (Tensor): (N,), int64: the number of the image that each is of.
        positions (Tensor): (N, D), int64: where in the layer's output it is; D is 0 for a layer without positions.
        attributions (Tensor): (N, T), what each vector contributes to each target, to first order: :math:`h \cdot \nabla_h \, \text{logit}`
            (Carter et al. 2019); T is 0 where none were asked for.
        targets (list[tuple[int, ...]]): The classes, or superclasses, of the attributions.
        settings (dict): What they were collected from, as JSON can hold it; "sizes" says how many positions the layer has along each axis.
    """

    vectors: Tensor
    images: Tensor
    positions: Tensor
    attributions: Tensor
    targets: list[Target] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], targets: list[Target], settings: dict[str, Any]) -> AtlasVectors:
        """What is put together from tensors by name."""
        return cls(
            tensors["vectors"], tensors["images"], tensors["positions"], tensors["attributions"], targets, settings
        )

    def __len__(self) -> int:
        return len(self.vectors)

    def attribution(self, target: Any) -> Tensor:
        """
        What each vector contributes to one class or superclass.

        Args:
            target (int or iterable of int): One of ``targets``.

        Returns:
            Tensor: (N,).

        Raises:
            ValueError: If attributions to it were not collected.
        """
        return self.attributions[:, self.column(target)]

    def column(self, target: Any) -> int:
        """The place of a target among ``targets``; a ``ValueError`` says which there are."""
        wanted = class_set(target)
        if wanted not in self.targets:
            there = ", ".join(str(each[0] if len(each) == 1 else list(each)) for each in self.targets[:8])
            more = ", …" if len(self.targets) > 8 else ""
            raise InputError(
                f"attributions to {wanted[0] if len(wanted) == 1 else list(wanted)} were not collected, only to {there or 'no class'}"
                f"{more}; give it to collect(…, targets=…)."
            )
        return self.targets.index(wanted)

    def second_moment(self) -> Tensor:
        """The mean of :math:`v v^T` over all vectors, not centered: (C, C) in float64."""
        total = torch.zeros(self.vectors.shape[1], self.vectors.shape[1], dtype=torch.float64)
        for rows in torch.split(self.vectors, ROWS):
            double = rows.double()
            total.addmm_(double.T, double)
        return total / len(self)

    def whitening(self, regularization: float = 0.01) -> Tensor:
        r"""
        The matrix by which directions are whitened: :math:`S = (A^T A / N + \lambda \bar{e} I)^{-1}`, not centered, as Lucid has it.

        It takes out of a direction what most vectors have in common. :math:`\bar{e}` is the mean of the eigenvalues of
        :math:`A^T A / N`, so that :math:`\lambda` has no unit; it also makes up for directions of which no vector has any part.

        Args:
            regularization (float, optional): :math:`\lambda`, positive. Default: 0.01

        Returns:
            Tensor: (C, C), symmetric, in float64.

        Raises:
            ValueError: If ``regularization`` is not positive, or all vectors are zero.
        """
        if not 0 < regularization < float("inf"):
            raise InputError(f"regularization is {regularization}; expected a positive number, such as 0.01.")
        moment = self.second_moment()
        mean = moment.diagonal().mean()
        if mean == 0:
            raise InputError("every activation vector is zero; choose another layer, or other images.")
        identity = torch.eye(len(moment), dtype=torch.float64)
        return torch.cholesky_inverse(torch.linalg.cholesky(moment + regularization * mean * identity))

    def select(self, rows: Tensor) -> AtlasVectors:
        """Some of the vectors, in the order of ``rows`` (M,)."""
        return replace(self, **{name: getattr(self, name)[rows] for name in _TENSORS})

    def favoring(self, targets: Sequence[Any], count: int = 2500) -> AtlasVectors:
        """
        The vectors that speak for some classes: those that contribute more to one of them than to any other target, and the ``count``
        that contribute most to each, as far as that is positive.

        Args:
            targets (sequence of int or iterable of int): Of those that were collected.
            count (int, optional): For each target. Default: 2500

        Raises:
            ValueError: If attributions to a target were not collected, or no vector speaks for any.
        """
        columns = [self.column(target) for target in targets]
        chosen = torch.zeros(len(self), dtype=torch.bool)
        winners = self.attributions.argmax(1)
        for column in columns:
            values = self.attributions[:, column]
            if len(self.targets) > len(columns):  # among no more than these, every vector would win for one
                chosen |= (winners == column) & (values > 0)
            best = values.argsort(descending=True, stable=True)[:count]
            chosen[best[values[best] > 0]] = True
        if not bool(chosen.any()):
            raise InputError(
                f"no vector contributes to {[list(self.targets[column]) for column in columns]}; collect more."
            )
        return self.select(chosen.nonzero().flatten())

    def save(self, path: str | os.PathLike[str], overwrite: bool = False) -> None:
        """
        Write everything to one safetensors file.

        Raises:
            FileExistsError: If the file exists and ``overwrite`` is False.
        """
        described = {"targets": [list(target) for target in self.targets], "settings": self.settings}
        save_tensors(path, "atlas vectors", {name: getattr(self, name) for name in _TENSORS}, described, overwrite)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> AtlasVectors:
        """
        Read what :meth:`save` wrote.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is damaged or holds something else.
        """
        tensors, metadata = load_tensors(path, "atlas vectors")
        with intact(path, "atlas vectors file"):
            targets = [tuple(target) for target in metadata["targets"]]
            loaded = cls.of(tensors, targets, dict(metadata["settings"]))
            alike("vectors", *(len(tensors[name]) for name in _TENSORS))
            alike("targets", loaded.attributions.shape[1], len(targets))
        return loaded

    @classmethod
    def concatenate(cls, parts: Sequence[AtlasVectors]) -> AtlasVectors:
        """
        The vectors of several parts of the images, ordered as if they had been collected at once: the order of the parts makes no
        difference.

        Raises:
            ValueError: If there are none, an image is in two of them, or they are of different layers or targets.
        """
        if not parts:
            raise InputError("there are no vectors to concatenate; give at least one part.")
        first = parts[0]
        for part in parts[1:]:
            different = part.settings != first.settings or part.targets != first.targets
            if different or part.vectors.shape[1] != first.vectors.shape[1]:
                raise InputError(
                    "the parts were collected in different ways; give parts of one layer, with the same choices."
                )
        owners = Counter(image for part in parts for image in set(part.images.tolist()))
        twice = sorted(image for image, count in owners.items() if count > 1)
        if twice:
            raise InputError(
                f"image {twice[0]} is in two of the parts; number the images of each part with collect(…, first=…)."
            )
        tensors = {name: torch.cat([getattr(part, name) for part in parts]) for name in _TENSORS}
        joined = cls.of(tensors, first.targets, first.settings)
        return joined.select(joined.images.argsort(stable=True))


__all__ = ["AtlasVectors"]
