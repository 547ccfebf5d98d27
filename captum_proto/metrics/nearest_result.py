"""Of each image, how near it is to the references of all classes, and where its own class comes among them."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from captum_proto._utils.errors import InputError
from captum_proto._utils.files import alike, intact, load_tensors, save_tensors
from captum_proto._utils.tables import between, number, percent, text_table
from captum_proto.runs.files import write_rows
from captum_proto.stats.intervals import Estimate, proportion

#: What a class is called.
Label = str | int
#: By what images and references are compared, and whether what is near has a high value.
MEASURES = {"spearman": True, "sorted": False}
#: Values nearer to each other than this are equal: sums of the same numbers in another order may differ by less.
_EQUAL = 1e-12


@dataclass(frozen=True)
class NearestClassSummary:
    r"""
    What the nearest-class measure says of images together.

    Attributes:
        images (int): How many.
        classes (int): K, among how many classes.
        top1 (Estimate): Share of the images to which their own class is the nearest, with Wilson's interval.
        median_rank (float): Median over images of the rank of the own class, 1 to K.
        chance_top1 (float): 1/K.
        chance_rank (float): (K + 1)/2.
        left_out (int): Images that are part of their own class's reference and were left out of its mean, which makes that class look
            farther than the others.
        undefined (int): Images that no layer can compare with all classes. All classes are equally near to them: their rank is chance.
    """

    images: int
    classes: int
    top1: Estimate
    median_rank: float
    chance_top1: float
    chance_rank: float
    left_out: int
    undefined: int


@dataclass
class NearestClassResult:
    r"""
    Images and the references of K classes.

    Attributes:
        labels (list): K names of classes.
        values (Tensor): (N, K), float64 on the CPU: the mean over layers of an image's similarity to each class. NaN throughout a row
            where no layer can compare the image with all classes.
        own (Tensor): (N,), int64: which of the classes is the image's own.
        left_out (Tensor): (N,), bool: which images are part of their own class's reference and were left out of its mean.
        measure (str): "spearman", which is high for what is near, or "sorted", a distance, which is low.
        layers (list[str]): Whose similarities were averaged.

    Examples::

        >>> values = torch.tensor([[0.6, 0.4], [0.5, 0.5]], dtype=torch.float64)
        >>> result = NearestClassResult(["cat", "dog"], values, torch.tensor([0, 1]), torch.tensor([False, False]))
        >>> result.ranks().tolist()
        [1.0, 1.5]
    """

    labels: list[Label]
    values: Tensor
    own: Tensor
    left_out: Tensor
    measure: str = "spearman"
    layers: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.values)

    def ranks(self) -> Tensor:
        """(N,), float64: the rank of each image's own class, 1 for the nearest; classes that are equally near share the mean rank."""
        nearness = self._nearness().nan_to_num(0.0)  # a row without values is equally near to all
        own = nearness.gather(1, self.own[:, None])
        apart = nearness - own
        equal = apart.abs() <= _EQUAL * own.abs().clamp(min=1.0)
        nearer = (apart > 0) & ~equal
        return 1.0 + nearer.sum(1).double() + (equal.sum(1).double() - 1) / 2

    def nearest(self) -> list[Label | None]:
        """The class that is nearest to each image, the first of those that are equally near; None where nothing tells."""
        found = self._nearness().nan_to_num(-math.inf).argmax(1).tolist()
        return [
            None if bool(row.isnan().any()) else self.labels[index]
            for row, index in zip(self.values, found, strict=True)
        ]

    def _nearness(self) -> Tensor:
        return self.values if MEASURES[self.measure] else -self.values

    def summary(self) -> NearestClassSummary:
        """The share of images to which their own class is the nearest and the median rank, chance beside them."""
        ranks, count = self.ranks(), len(self.labels)
        return NearestClassSummary(
            images=len(self),
            classes=count,
            top1=proportion(int((ranks == 1).sum()), len(self)),
            median_rank=float(ranks.quantile(0.5)),
            chance_top1=1 / count,
            chance_rank=(count + 1) / 2,
            left_out=int(self.left_out.sum()),
            undefined=int(self.values.isnan().any(1).sum()),
        )

    def to_csv(self, path: str | os.PathLike[str], overwrite: bool = False) -> None:
        """
        Write every value: one line for each image and class.

        Raises:
            FileExistsError: If the file exists and ``overwrite`` is False.
        """
        rows = (
            [image, self.labels[int(self.own[image])], label, repr(value)]
            for image, values in enumerate(self.values.tolist())
            for label, value in zip(self.labels, values, strict=True)
        )
        write_rows(path, ["image", "own class", "class", self.measure], rows, overwrite)

    def save(self, path: str | os.PathLike[str], overwrite: bool = False) -> None:
        """Write everything to one safetensors file; :meth:`load` reads it."""
        tensors = {"values": self.values, "own": self.own, "left_out": self.left_out}
        described = {"labels": self.labels, "measure": self.measure, "layers": self.layers}
        save_tensors(path, "nearest classes", tensors, described, overwrite)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> NearestClassResult:
        """
        Read what :meth:`save` wrote.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is damaged or holds something else.
        """
        tensors, metadata = load_tensors(path, "nearest classes")
        with intact(path, "nearest classes"):
            if metadata["measure"] not in MEASURES:
                raise ValueError(f"its measure is {metadata['measure']!r}")
            loaded = cls(
                list(metadata["labels"]),
                tensors["values"],
                tensors["own"],
                tensors["left_out"],
                metadata["measure"],
                list(metadata["layers"]),
            )
            alike("images", len(loaded.values), len(loaded.own), len(loaded.left_out))
            alike("classes", len(loaded.labels), loaded.values.shape[1])
        return loaded


def nearest_class_table(results: Mapping[str, NearestClassResult] | Sequence[tuple[str, NearestClassResult]]) -> str:
    """
    Conditions beside each other, as text: one row for each name, chance in the last.

    Raises:
        ValueError: If there are none, or they are of other classes than each other.
    """
    each = list(results.items() if isinstance(results, Mapping) else results)
    if not each:
        raise InputError("there are no results to show; give at least one.")
    if any(result.labels != each[0][1].labels for _, result in each):
        raise InputError(
            "the results are of different classes; show those that were compared with the same references."
        )
    rows = []
    for name, result in each:
        row = result.summary()
        cells = [percent(row.top1.value), between((row.top1.low, row.top1.high), percent), number(row.median_rank, 1)]
        rows.append([name, str(row.images), *cells, str(row.left_out), str(row.undefined)])
    last = each[0][1].summary()
    rows.append(["chance", "", percent(last.chance_top1), "", number(last.chance_rank, 1), "", ""])
    header = ["condition", "images", "own class nearest", "95 %", f"median rank of {last.classes}"]
    return text_table([*header, "left out", "undefined"], rows)


__all__ = ["MEASURES", "Label", "NearestClassResult", "NearestClassSummary", "nearest_class_table"]
