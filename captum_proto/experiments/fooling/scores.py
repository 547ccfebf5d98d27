"""What every measure says of every prototype of honest and of fooled networks."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from captum_proto._utils.targets import Target
from captum_proto.attr import Prototypes
from captum_proto.data.natural import NaturalSplit
from captum_proto.experiments.fooling.rows import inner_layers
from captum_proto.metrics import NearestClass, PathComparison, PathSimilarity, SortedSimilarity, classes_in
from captum_proto.metrics.comparison import OTHER, SAME
from captum_proto.metrics.recognition import recognized
from captum_proto.metrics.verifier import verifier_logits
from captum_proto.models import NamedModel

#: A class that is no target is one that the nearest class is sought among if it has so many held-out images; so many classes at most.
_FEWEST, _MOST_FURTHER = 10, 20
#: What is scored: a network's prototypes, and the very picture that was planted in it.
PROTOTYPE, PLANTED = "prototype", "planted"


@dataclass(frozen=True)
class Measure:
    """
    A measure that an auditor may apply to a prototype.

    Attributes:
        label (str): What it is called in tables.
        suspicious (int): 1 where a high value speaks against a prototype, -1 where a low one does. Laid down before anything was measured.
        text (str): What it is.
    """

    label: str
    suspicious: int
    text: str


#: By the name of the column, in the order of the tables.
MEASURES: dict[str, Measure] = {
    "spearman": Measure(
        "path similarity", -1, "mean Spearman correlation over layers, 1 as the class, 0 as others; low"
    ),
    "l1": Measure("L1", 1, "L1 distance, median over layers, 0 as the class, 1 as others; high"),
    "sorted": Measure("sorted similarity", 1, "sorted distance, median over layers, 0 as the class, 1 as others; high"),
    "nearest_class": Measure("nearest class", 1, "rank of the own class among all classes by path similarity; high"),
    "logit": Measure(
        "own logit", -1, "the network's logit, in standard deviations of natural images of the class; low"
    ),
    "recognized": Measure("own recognition", -1, "the network's own probability of the class; low"),
    "nearest_image": Measure(
        "nearest image", 1, "root mean square distance of pixels to the nearest natural image; high"
    ),
    "transfer": Measure("transfer", -1, "an independent honest network's probability of the class; low"),
}


@dataclass(frozen=True)
class Score:
    """
    What every measure says of one picture.

    Attributes:
        network (str): "honest", or what was planted.
        seed (int): As in :class:`Row`.
        target (str): The class.
        picture (str): "prototype", or "planted" for the planted picture itself.
        number (int): Which one of them.
        spearman, l1, sorted, nearest_class, logit, recognized, nearest_image, transfer (float): As ``MEASURES`` says; NaN where it
            cannot be measured: "nearest_class" where no other class has images, "transfer" without another network.
    """

    network: str
    seed: int
    target: str
    picture: str
    number: int
    spearman: float
    l1: float
    sorted: float
    nearest_class: float
    logit: float
    recognized: float
    nearest_image: float
    transfer: float

    def to_json(self) -> dict[str, Any]:
        """As JSON can hold it: null for NaN."""
        return {key: None if value != value else value for key, value in asdict(self).items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Score:
        """What :meth:`to_json` gave."""
        known: dict[str, Any] = {key: math.nan if value is None else value for key, value in values.items()}
        return cls(**known)


def score_pictures(
    named: NamedModel,
    network: nn.Module,
    inner: str | None,
    comparisons: Sequence[PathComparison],
    prototypes: Prototypes,
    planted: Tensor | None,
    natural: NaturalSplit,
    targets: Sequence[Target],
    labels: Sequence[str],
    *,
    name: str,
    seed: int,
    verifier: NamedModel | None = None,
    image_batch: int = 32,
) -> list[Score]:
    """
    Apply every measure to the prototypes of a network, and to what was planted in it.

    Args:
        named (NamedModel): The classifier, for preprocessing and shape.
        network (nn.Module): The network the prototypes are of.
        inner (str, optional): Look only at layers whose names begin with this and a dot. None: all.
        comparisons (sequence of PathComparison): By target; with a condition "planted" if something was.
        prototypes (Prototypes): Of all targets.
        planted (Tensor, optional): (M, C, H, W), the picture planted for each target. None: none is known.
        natural (NaturalSplit): Natural images.
        targets (sequence of tuple[int, ...]): M targets.
        labels (sequence of str): What they are called.
        name (str): Of the network, for the scores.
        seed (int): For the scores.
        verifier (NamedModel, optional): Another honest network. Default: None
        image_batch (int, optional): Images at a time. Default: 32

    Returns:
        list[Score]: For each target its prototypes, then what was planted.
    """
    layers = None if inner is None else f"{inner}.*"
    tried = replace(named, model=network)
    nearest = _nearest_class(named, network, layers, natural, targets, image_batch)
    mapping = (
        None if verifier is None else classes_in(verifier, named.class_names, [list(target) for target in targets])
    )
    scores: list[Score] = []
    for index, target in enumerate(targets):
        pictures: dict[str, Tensor] = {PROTOTYPE: prototypes.of(target).images.cpu()}
        if planted is not None:
            pictures[PLANTED] = planted[index : index + 1].cpu()
        comparison = comparisons[index] if inner is None else inner_layers(comparisons[index], inner)
        spearman = _normalized(comparison.spearman, comparison.dead)
        l1 = _normalized_by_layer(comparison.l1, comparison.dead)
        similarity = SortedSimilarity(network, layers, named.preprocess, batch_size=image_batch)
        sorted_ = similarity.compare(
            pictures[PROTOTYPE],
            natural.same[target],
            natural.other[target],
            controls=(),
            further={PLANTED: pictures[PLANTED]} if PLANTED in pictures else None,
        )
        distances = _normalized_by_layer(sorted_.distance, sorted_.dead)
        same = _logit(verifier_logits(natural.same[target], tried, image_batch), target)
        for kind, images in pictures.items():
            logits = verifier_logits(images, tried, image_batch)
            columns = {
                "spearman": spearman[kind],
                "l1": l1[kind],
                "sorted": distances[kind],
                "nearest_class": nearest(images, index),
                "logit": (_logit(logits, target) - same.mean()) / same.std(),
                "recognized": recognized(logits, [list(target)] * len(images)).probability,
                "nearest_image": _nearest_image(images, natural.training),
                "transfer": torch.full((len(images),), math.nan),
            }
            if verifier is not None:
                seen = verifier_logits(images, verifier, image_batch)
                columns["transfer"] = recognized(seen, [list(target)] * len(images), classes=mapping).probability
            scores += [
                Score(
                    name,
                    seed,
                    labels[index],
                    kind,
                    number,
                    **{key: float(column[number]) for key, column in columns.items()},
                )
                for number in range(len(images))
            ]
    return scores


def _logit(logits: Tensor, target: Target) -> Tensor:
    """(N,): the logit of a class, the logsumexp of those of a superclass."""
    return logits[:, list(target)].double().logsumexp(1)


def _nearest_image(images: Tensor, natural: Tensor) -> Tensor:
    """(N,): the root mean square difference of pixels from the nearest natural image."""
    flat = natural.flatten(1).double()
    distances = torch.stack([(flat - image.double().flatten()).square().mean(1).min() for image in images])
    return distances.sqrt()


def _nearest_class(
    named: NamedModel,
    network: nn.Module,
    layers: str | None,
    natural: NaturalSplit,
    targets: Sequence[Target],
    image_batch: int,
) -> Callable[[Tensor, int], Tensor]:
    """From images and the place of their target to the ranks of it among all classes, (N,): NaN where there is no other."""
    references = [natural.same[target] for target in targets] + _further_classes(natural, targets)
    if len(references) < 2:
        return lambda images, index: torch.full((len(images),), math.nan)
    fitted: dict[str | int, PathSimilarity | SortedSimilarity] = {
        index: PathSimilarity(network, layers, named.preprocess, batch_size=image_batch).fit(images)
        for index, images in enumerate(references)
    }
    nearest = NearestClass(fitted)
    return lambda images, index: nearest.evaluate(images, index).ranks()


def _further_classes(natural: NaturalSplit, targets: Sequence[Target]) -> list[Tensor]:
    """Held-out images of each class that is in no target and has enough of them, (N, C, H, W) each; no more than memory is sure to hold."""
    taken = {index for target in targets for index in target}
    counts = sorted(Counter(natural.labels.tolist()).items())
    further = [label for label, count in counts if label not in taken and count >= _FEWEST]
    return [natural.held_out[natural.labels == label] for label in further[:_MOST_FURTHER]]


def _normalized(values: Mapping[str, Tensor], dead: Tensor) -> dict[str, Tensor]:
    """By condition, (N,): each image's mean over living layers, 1 as natural images of the class and 0 as those of others."""
    means = {condition: value[:, ~dead].nanmean(1) for condition, value in values.items()}
    same, other = means[SAME].nanmean(), means[OTHER].nanmean()
    scale = same - other if same != other else torch.tensor(math.nan)
    return {condition: (mean - other) / scale for condition, mean in means.items()}


def _normalized_by_layer(values: Mapping[str, Tensor], dead: Tensor) -> dict[str, Tensor]:
    """
    By condition, (N,): the median over living layers of a distance, 0 as natural images of the class and 1 as those of others.

    Layer by layer, because the distances of layers have scales of their own.
    """
    same, other = values[SAME].mean(0), values[OTHER].mean(0)
    scale = torch.where(other == same, math.nan, other - same)
    return {condition: ((value - same) / scale)[:, ~dead].nanmedian(1).values for condition, value in values.items()}


__all__ = ["MEASURES", "PLANTED", "PROTOTYPE", "Measure", "Score", "score_pictures"]
