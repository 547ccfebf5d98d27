"""Whether a model processes pictures as it processes natural images: references, scores and their figures."""

from __future__ import annotations

import contextlib
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from captum_proto._utils.batches import Images
from captum_proto._utils.class_names import file_stem
from captum_proto._utils.files import files_written, intact, load_tensors, save_tensors
from captum_proto._utils.model import dtype_of
from captum_proto._utils.targets import Target
from captum_proto.data.natural import NaturalImages
from captum_proto.experiments.quality.seen import picture_batches
from captum_proto.metrics import NearestClass, PathComparison, PathSimilarity, SortedComparison, SortedSimilarity
from captum_proto.metrics.quality import NATURAL, Figure, figure
from captum_proto.metrics.summaries import OTHER, SAME
from captum_proto.metrics.verifier import sized_for
from captum_proto.models import NamedModel

REFERENCES, SCORES, CLASSES = "references", "paths", "classes"
PROTOTYPE = "prototype"
_KIND, _RANKS = "path scores", "ranks of classes"
#: The shares of layers that the paper finds, which count as meeting its criteria.
_ABOVE_MEAN, _BELOW_L1 = 0.567, 0.82
#: So many bytes of ranks are held in memory; more of them lie in a file while the classes are compared.
_IN_MEMORY = 2**30
_MEASURES = ("spearman", "l1", "cosine", "pearson", "sorted")


@dataclass(frozen=True)
class PathMeasurer:
    """
    Scores pictures against references of natural images, target by target.

    Args:
        named (NamedModel): The model that pictures were made with.
        natural (NaturalImages): Natural images of the targets.
        targets (sequence of Target): Classes and superclasses.
        similarity (mapping): Further arguments of :class:`~captum_proto.PathSimilarity`, such as layers.
        min_images (int): Natural images that a target needs.
    """

    named: NamedModel
    natural: NaturalImages
    targets: Sequence[Target]
    similarity: Mapping[str, Any]
    min_images: int

    @cached_property
    def measured(self) -> list[Target]:
        """The targets of which there are as many natural images as are needed."""
        return [target for target in self.targets if self._count(target) >= self.min_images]

    @cached_property
    def equal(self) -> int:
        """
        How many natural images of each target the references are over among which the nearest is looked for, as many as all have.

        The mean of few images is farther from everything than the mean of many.
        """
        return min(map(self._count, self.measured), default=0)

    def _count(self, target: Target) -> int:
        counts = self.natural.collection.counts
        found = sum(counts.get(index, 0) for index in target)
        return found if self.natural.limit is None else min(found, self.natural.limit)

    def _equal_images(self, target: Target) -> Images:
        natural = self.natural.afresh()
        natural.limit = self.equal
        return natural.of(target).same

    def stem(self, target: Target) -> str:
        """What files call a target."""
        return file_stem(target, self.named.class_names)

    def check(self) -> None:
        """See that the layers are there."""
        if self.measured:
            image = torch.full((2, *self.named.image_shape), 0.5)
            for similarity in self._similarities():
                similarity.fit(image + torch.tensor([0.0, 0.1]).view(-1, 1, 1, 1))

    def fit(self, target: Target, folder: Path) -> None:
        """Write the references of a target, and the scores of natural images of it and of other classes."""
        images = self.natural.afresh().of(target)
        names = self._files(target, folder)
        scores: dict[str, Tensor] = {}
        for similarity, path in zip(self._similarities(), names, strict=False):
            similarity.fit(images.same)
            similarity.save(path, overwrite=True)
            for condition, shown in ((SAME, images.same), (OTHER, images.other)):
                found = _by_measure(similarity.evaluate(shown, leave_one_out=True))
                scores |= {f"{measure}.{condition}": values for measure, values in found.items()}
            layers = similarity.reference.layers
        if self._count(target) > self.equal:
            self._similarities()[0].fit(self._equal_images(target)).save(names[2], overwrite=True)
        save_tensors(names[-1], _KIND, scores, {"layers": layers}, overwrite=True)

    def score(self, target: Target, files: Sequence[Path], folder: Path, path: Path) -> None:
        """Write the scores of a source's pictures of a target."""
        scores: dict[str, Tensor] = {}
        for similarity, reference in zip(self._similarities(), self._files(target, folder), strict=False):
            similarity.load(reference)
            scores |= _by_measure(similarity.evaluate(self._pictures(files)))
        save_tensors(path, _KIND, scores, {}, overwrite=True)

    def rank(self, files: Mapping[Target, Sequence[Path]] | None, folder: Path, path: Path) -> None:
        """
        Write the rank of each picture's own class among the references of all.

        Args:
            files (mapping, optional): Pictures by target. None: the first natural images of each, each left out of its own mean.
            folder (Path): Of the run.
            path (Path): The file to write.
        """
        fitted: dict[str | int, PathSimilarity | SortedSimilarity] = {}
        for target in self.measured:
            names = self._files(target, folder)
            fitted[self.stem(target)] = self._similarities()[0].load(
                names[2 if self._count(target) > self.equal else 0]
            )
        with contextlib.ExitStack() as stack:
            with files_written() as written:
                nearest = NearestClass(fitted, store=self._rank_store(fitted, folder, stack))
                written.clear()  # what is gone when this is done is none of its results
            ranks = self._ranks(nearest, files)
        save_tensors(path, _RANKS, ranks, {}, overwrite=True)

    def _rank_store(self, fitted: Mapping[Any, Any], folder: Path, stack: contextlib.ExitStack) -> Path | None:
        """A file for the ranks of all references, for the length of a block, where they are too many for memory."""
        values = sum(math.prod(shape) for shape in next(iter(fitted.values())).reference.shapes) if fitted else 0
        if 4 * values * len(fitted) <= _IN_MEMORY or dtype_of(self.named.model) == torch.float64:
            return None
        scratch = stack.enter_context(tempfile.TemporaryDirectory(dir=folder, prefix=".ranks."))
        return Path(scratch) / "ranks.safetensors"

    def _ranks(self, nearest: NearestClass, files: Mapping[Target, Sequence[Path]] | None) -> dict[str, Tensor]:
        ranks: dict[str, Tensor] = {}
        for target in self.measured:
            if files is None:
                shown: Images = _first(self._equal_images(target), self.min_images)
            elif files.get(target):
                shown = list(self._pictures(files[target]))
            else:
                continue
            ranks[self.stem(target)] = nearest.evaluate(shown, self.stem(target)).ranks()
        return ranks

    def figures(
        self, name: str, stem: str, targets: Sequence[Target], labels: Mapping[Target, str], folder: Path
    ) -> Iterator[Figure]:
        """
        The figures of a row.

        Args:
            name (str): Of the row.
            stem (str): What files call it.
            targets (sequence of Target): Of the table.
            labels (mapping[Target, str]): What they are called.
            folder (Path): Of the run.
        """
        found: dict[str, dict[str, list[float]]] = {}
        for target in self.measured:
            path = folder / SCORES / stem / f"{self.stem(target)}.safetensors"
            natural = self._files(target, folder)[-1]
            if target not in targets or not (name == NATURAL or path.exists()):
                continue
            comparison = _compared(natural, None if name == NATURAL else path)
            for measure, values in _values(*comparison, SAME if name == NATURAL else PROTOTYPE).items():
                found.setdefault(measure, {})[labels[target]] = values
        ranks = folder / CLASSES / f"{stem}.safetensors"
        if ranks.exists():
            with intact(ranks, _RANKS):
                tensors, _ = load_tensors(ranks, _RANKS)
                there = {target: self.stem(target) for target in self.measured if target in targets}
                own = {labels[target]: tensors[stem].tolist() for target, stem in there.items() if stem in tensors}
                found["nearest"] = own
        yield from (figure(measure, values) for measure, values in found.items() if values)

    def notes(self, targets: Sequence[Target], labels: Mapping[Target, str]) -> list[str]:
        """What cannot be measured, and why; what has to be read with these figures."""
        there = [target for target in targets if target in self.measured]
        notes = []
        if len(there) < len(targets):
            notes.append(
                f"Path similarity needs {self.min_images} natural images of a class: it is of {len(there)} of {len(targets)} classes."
            )
        if not there:
            return notes
        if len(self.measured) < 2:
            notes.append("The rank among the references of all classes needs two of them: not measured.")
        else:
            notes.append(
                f"Class rank: among {len(self.measured)} references, each over {self.equal} images. A natural image is left out of its own "
                "class's mean, which makes that class look farther than the others: its rank is no ceiling."
            )
        return notes

    def _similarities(self) -> list[PathSimilarity | SortedSimilarity]:
        options = dict(self.similarity)
        layers = options.pop("layers", None)
        path = PathSimilarity(self.named.model, layers, self.named.preprocess, measures=_MEASURES[:-1], **options)
        return [path, SortedSimilarity(self.named.model, layers, self.named.preprocess, **options)]

    def _pictures(self, files: Sequence[Path]) -> Iterator[Tensor]:
        """Pictures as they were saved, as large as the model takes them."""
        for batch in picture_batches(files, self.named.image_shape[0], self.natural.batch_size):
            yield sized_for(batch, self.named)

    def _files(self, target: Target, folder: Path) -> tuple[Path, Path, Path, Path]:
        """The references of a target, the last of which is over as many images as all have, and the scores of natural images."""
        stem = folder / REFERENCES / self.stem(target)
        return (
            stem.with_name(f"{stem.name}.path.safetensors"),
            stem.with_name(f"{stem.name}.sorted.safetensors"),
            stem.with_name(f"{stem.name}.equal.safetensors"),
            stem.with_name(f"{stem.name}.natural.safetensors"),
        )


def _by_measure(scores: Any) -> dict[str, Tensor]:
    """Scores by measure, (N, L) each."""
    if hasattr(scores, "distance"):
        return {"sorted": scores.distance}
    return {name: getattr(scores, name) for name in _MEASURES[:-1]}


def _first(images: Images, count: int) -> list[Tensor]:
    """The first images, as batches."""
    found = list(islice((image for batch in images for image in batch), count))
    return [torch.stack(found)]


def _compared(natural: Path, pictures: Path | None) -> tuple[PathComparison, SortedComparison]:
    """Comparisons put together from the scores of natural images and of pictures."""
    with intact(natural, _KIND):
        tensors, described = load_tensors(natural, _KIND)
        values = {name: {each: tensors[f"{name}.{each}"] for each in (SAME, OTHER)} for name in _MEASURES}
    if pictures is not None:
        with intact(pictures, _KIND):
            own, _ = load_tensors(pictures, _KIND)
            values = {name: {PROTOTYPE: own[name], **values[name]} for name in _MEASURES}
    layers = list(described["layers"])
    further = {"cosine": values["cosine"], "pearson": values["pearson"]}
    return PathComparison(layers, values["spearman"], values["l1"], **further), SortedComparison(
        layers, values["sorted"]
    )


def _values(path: PathComparison, by_channel: SortedComparison, condition: str) -> dict[str, list[float]]:
    """By measure, the values of one class: one for each picture where it is defined for a picture, else one for all."""
    living = ~path.dead
    each = {"spearman": path.spearman, "cosine": path.cosine, "pearson": path.pearson}
    found = {name: values[condition][:, living].nanmean(1).tolist() for name, values in each.items()}
    found["depth"] = [path.depth_above_half(condition)]
    if condition == SAME:  # it is what the others are measured by
        return found
    row, sorted_row = path.summary(condition), by_channel.summary(condition)
    met = (
        row.spearman >= path.summary(SAME).spearman
        and row.spearman_above_mean >= _ABOVE_MEAN
        and row.l1_below_mean >= _BELOW_L1
    )
    found |= {
        "above_mean": [row.spearman_above_mean],
        "above_every": [row.spearman_above_every],
        "l1_below": [row.l1_below_mean],
        "criteria": [float(met)],
        "sorted": [sorted_row.normalized],
        "sorted_median": [sorted_row.below_median],
    }
    return found


__all__ = ["CLASSES", "REFERENCES", "SCORES", "PathMeasurer"]
