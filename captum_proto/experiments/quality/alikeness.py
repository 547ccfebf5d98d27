"""The figures in a network's features: kernel distance, retrieval, naming and coverage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from captum_proto._utils.targets import Target
from captum_proto.experiments.quality.recognized import by_class
from captum_proto.experiments.quality.seen import Seen
from captum_proto.metrics import coverage, kernel_distance, name_by_features, name_by_logits, retrieval
from captum_proto.metrics.quality import COVERAGES, Figure, figure, whole_figure

#: Neighbors of a natural image among which a prototype covers it.
NEIGHBORS = 5


@dataclass(frozen=True)
class Judge:
    """
    A network in whose features pictures are compared with photographs.

    Attributes:
        name (str): The network's.
        photographs (Seen): Of all classes.
        targets (sequence of Target): Of the table.
        labels (mapping[Target, str]): What targets are called, those of other tables too: naming chooses among all of them.
        classes (mapping[int, int]): The network's class by the model's.
    """

    name: str
    photographs: Seen
    targets: Sequence[Target]
    labels: Mapping[Target, str]
    classes: Mapping[int, int]

    def notes(self) -> list[str]:
        """What cannot be measured, and why."""
        found = []
        if len(self.photographs) <= NEIGHBORS:
            found.append(
                f"Coverage looks at {NEIGHBORS} neighbors, and there are {len(self.photographs)} photographs: not measured."
            )
        if len(self.labels) < 2:
            found.append("Naming needs two classes to choose from: not measured.")
        elif self._overlap:
            found.append("Naming needs classes that do not overlap: not measured.")
        alone = sum(self._counts[target] < 2 for target in self.targets)
        if alone:
            found.append(
                f"Of {alone} of {len(self.targets)} classes there is a single photograph: beside it there is none for it to find or to be "
                "named by, so it is not in these figures of natural images."
            )
        return found

    def figures(self, seen: Seen, natural: Seen) -> Iterator[Figure]:
        """
        Every figure of some pictures.

        Args:
            seen (Seen): The pictures; of natural images, these themselves.
            natural (Seen): The photographs of the targets.
        """
        labels = torch.tensor([label for (label,), _ in self.photographs.keys])
        features, itself = self.photographs.features, seen is natural
        same = natural.of(set(seen.targets))
        if len(seen) > 1 and len(same) > 1:
            yield self._distance(seen, same, itself)
        if itself:  # a photograph that is alone in its class finds no other
            seen = seen.take([row for row, target in enumerate(seen.targets) if self._counts[target] > 1])
            if not len(seen):
                return
        targets = [list(target) for target in seen.targets]
        own = torch.tensor([seed if itself else -1 for _, seed in seen.keys])
        found = retrieval(seen.features, targets, features, labels, own=own)
        yield figure("retrieval", by_class(seen.targets, found.rank, self.labels), self.name)
        if not self._overlap:
            groups = {label: target for target, label in self.labels.items() if self._counts[target] > itself}
            if len(groups) > 1:
                named = name_by_features(seen.features, targets, features, labels, groups, own=own)
                yield figure("naming", by_class(seen.targets, named.right.double(), self.labels), self.name)
                mapped = {name: self._mapped(target) for name, target in groups.items()}
                told = name_by_logits(seen.logits, [self._mapped(target) for target in seen.targets], mapped)
                yield figure("naming_logits", by_class(seen.targets, told.right.double(), self.labels), self.name)
        if len(self.photographs) > NEIGHBORS:
            covered = coverage(seen.features, targets, features, labels, k=NEIGHBORS, counts=COVERAGES).targets
            for count in COVERAGES:
                shares = {each.target: each.photographs if itself else each.prototypes for each in covered}
                values = {
                    self.labels[target]: [float(share[count].mean())]
                    for target, share in shares.items()
                    if count in share
                }
                yield figure(f"coverage_{count}", values, self.name)

    def _distance(self, seen: Seen, natural: Seen, itself: bool) -> Figure:
        """The kernel distance; of natural images the floor, between halves of them."""
        found = kernel_distance(seen.features, natural.features)
        if itself:
            return whole_figure("kid", found.floor, self.name)
        values = by_class(seen.targets, distance_parts(seen.features, natural.features), self.labels)
        return Figure("kid", found.distance, values, self.name)

    def _mapped(self, target: Target) -> list[int]:
        return sorted({self.classes[index] for index in target})

    @cached_property
    def _overlap(self) -> bool:
        return len({index for target in self.labels for index in target}) < sum(map(len, self.labels))

    @cached_property
    def _counts(self) -> dict[Target, int]:
        """How many photographs there are of each target."""
        classes = [label for (label,), _ in self.photographs.keys]
        return {target: sum(label in target for label in classes) for target in self.labels}


def distance_parts(features: Tensor, natural: Tensor) -> Tensor:
    r"""
    What each picture adds to the kernel distance: values whose mean is the distance, and which tests of two methods are made of.

    With the cubic kernel k, the picture :math:`x_i` of m and the natural images y of n, its value is that of the infinitesimal jackknife,
    :math:`2 a_i - \bar a - 2 b_i + c`, with :math:`a_i` its mean kernel with other pictures, :math:`\bar a` the mean of these,
    :math:`b_i` its mean kernel with natural images, and c that between different natural images.

    Args:
        features (Tensor): (m, d), of pictures, at least two.
        natural (Tensor): (n, d), of natural images, at least two.

    Returns:
        Tensor: (m,), float64.
    """
    x, y = features.double(), natural.double()

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (a @ b.T / a.shape[1] + 1) ** 3

    within_x, within_y = kernel(x, x).fill_diagonal_(0), kernel(y, y).fill_diagonal_(0)
    a = within_x.sum(1) / (len(x) - 1)
    return 2 * a - a.mean() - 2 * kernel(x, y).mean(1) + within_y.sum() / (len(y) * (len(y) - 1))


__all__ = ["NEIGHBORS", "Judge", "distance_parts"]
