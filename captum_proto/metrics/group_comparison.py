"""Subgroups of images of one class beside each other: does the model do as well on each? (arXiv:2309.17144, section 4)"""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from captum_proto._utils.checks import check_logits
from captum_proto._utils.errors import InputError, InputTypeError
from captum_proto._utils.files import intact, load_json
from captum_proto._utils.tables import bare_percent, between, number, p_text, percent, text_table
from captum_proto._utils.targets import Target, class_probabilities, class_set, outcomes, target_mask
from captum_proto.runs.files import write_json, write_rows
from captum_proto.stats.intervals import Estimate, difference_estimate, fisher_exact, holm, mean_estimate, proportion
from captum_proto.stats.judgments import Order, order_by_test

_KIND = "subgroup comparison"
_TOP = 5


@dataclass(frozen=True)
class SubgroupResult:
    """
    What the model makes of one subgroup.

    Attributes:
        subgroup (str): Its name.
        images (int): How many were looked at.
        skipped (int): Files that could not be read.
        correct (int): Images whose prediction is the target.
        accuracy (Estimate): Their share, with Wilson's interval.
        top5 (Estimate, optional): The share with the target among the five highest logits; None for models of five classes or fewer.
        probabilities (dict[str, Estimate]): The mean probability of each class of interest, with its bootstrap interval.
    """

    subgroup: str
    images: int
    skipped: int
    correct: int
    accuracy: Estimate
    top5: Estimate | None
    probabilities: dict[str, Estimate]


@dataclass(frozen=True)
class PairResult:
    """
    Two subgroups beside each other.

    Attributes:
        first (str): One subgroup.
        second (str): The other.
        accuracy_difference (float): Accuracy of the first less that of the second.
        p_value (float): Fisher's exact test of whether the accuracies differ, two-sided.
        corrected_p_value (float): The same after Holm's correction for all pairs.
        probability_differences (dict[str, Estimate]): Of each class of interest, the mean probability in the first less that in the
            second, with its bootstrap interval. Not corrected for the number of pairs.
    """

    first: str
    second: str
    accuracy_difference: float
    p_value: float
    corrected_p_value: float
    probability_differences: dict[str, Estimate]


@dataclass
class SubgroupComparison:
    r"""
    Subgroups of images beside each other; :func:`compare_groups` makes it.

    Attributes:
        target (str): The class that counts as right.
        classes (list[str]): The classes of interest, the target first.
        subgroups (list[SubgroupResult]): One for each subgroup, in the order given.
        pairs (list[PairResult]): One for each pair of subgroups.
        settings (dict): How it was made.

    Examples::

        >>> lighter, darker = torch.randn(40, 10), torch.randn(40, 10)
        >>> comparison = compare_groups({"lighter": lighter, "darker": darker}, target=3)
        >>> print(comparison.table())
        >>> comparison.to_csv("subgroups.csv")
    """

    target: str
    classes: list[str]
    subgroups: list[SubgroupResult]
    pairs: list[PairResult]
    settings: dict[str, Any] = field(default_factory=dict)

    def subgroup_rows(self) -> tuple[list[str], list[list[str]]]:
        """The header and the rows of the table of subgroups, as they are read."""
        header = ["subgroup", "images", "skipped", "accuracy", "interval"]
        top5 = any(result.top5 is not None for result in self.subgroups)
        header += ["top-5", "interval"] if top5 else []
        for name in self.classes:
            header += [f"p({name})", "interval"]
        rows = []
        for result in self.subgroups:
            row = [
                result.subgroup,
                str(result.images),
                str(result.skipped),
                percent(result.accuracy.value),
                between(_ends(result.accuracy), bare_percent),
            ]
            if top5:
                row += (
                    ["–", "–"]
                    if result.top5 is None
                    else [percent(result.top5.value), between(_ends(result.top5), bare_percent)]
                )
            for name in self.classes:
                row += [number(result.probabilities[name].value), between(_ends(result.probabilities[name]))]
            rows.append(row)
        return header, rows

    def pair_rows(self) -> tuple[list[str], list[list[str]]]:
        """The header and the rows of the table of pairs, as they are read."""
        several = len(self.pairs) > 1
        header = ["pair", "accuracy", "Fisher's p", *(["Holm's p"] if several else [])]
        for name in self.classes:
            header += [f"p({name})", "interval"]
        rows = []
        for pair in self.pairs:
            row = [f"{pair.first} − {pair.second}", f"{100 * pair.accuracy_difference:+.1f} %", p_text(pair.p_value)]
            row += [p_text(pair.corrected_p_value)] if several else []
            for name in self.classes:
                difference = pair.probability_differences[name]
                row += [f"{difference.value:+.3f}", between(_ends(difference), "{:+.3f}".format, " to ")]
            rows.append(row)
        return header, rows

    def order(self, pair: PairResult) -> Order:
        """How the accuracy of a pair's first stands to that of its second, by Fisher's test as corrected for all pairs."""
        return order_by_test(
            pair.accuracy_difference, pair.corrected_p_value, float(self.settings.get("confidence", 0.95))
        )

    def note(self) -> str:
        """What the figures are: which intervals, which test."""
        level = f"{100 * self.settings.get('confidence', 0.95):g} %"
        text = (
            f"accuracy: the share of images that the model takes for {self.target}; {level} intervals: Wilson's for shares, "
            f"bootstrap (BCa, {self.settings.get('resamples')} resamples) for mean probabilities and their differences; Fisher's exact "
            "test, two-sided"
        )
        if len(self.pairs) > 1:
            text += f"; Holm's correction is for the {len(self.pairs)} pairs, the bootstrap intervals are not corrected"
        return f"{text}."

    def table(self) -> str:
        """Subgroups, then pairs, as text, with what the figures are beneath."""
        return "\n\n".join([text_table(*self.subgroup_rows()), text_table(*self.pair_rows()), self.note()])

    def to_csv(self, path: str | os.PathLike[str], overwrite: bool = False) -> None:
        """
        Write every figure, a line each: of which subgroup or pair, which figure, of which class, value, interval and p-values.

        Args:
            path (path): The file.
            overwrite (bool, optional): Whether an existing file may be replaced. Default: False
        """
        columns = ["subgroup", "second", "images", "skipped", "figure", "class", "value", "low", "high", "p_value"]
        write_rows(path, [*columns, "corrected_p_value"], self._csv_rows(), overwrite)

    def _csv_rows(self) -> Iterator[list[Any]]:
        for result in self.subgroups:
            start = [result.subgroup, "", result.images, result.skipped]
            yield [*start, "accuracy", self.target, *asdict(result.accuracy).values(), "", ""]
            if result.top5 is not None:
                yield [*start, "top-5", self.target, *asdict(result.top5).values(), "", ""]
            for name, estimate in result.probabilities.items():
                yield [*start, "mean probability", name, *asdict(estimate).values(), "", ""]
        for pair in self.pairs:
            start = [pair.first, pair.second, "", ""]
            difference = ["accuracy difference", self.target, pair.accuracy_difference, "", ""]
            yield [*start, *difference, pair.p_value, pair.corrected_p_value]
            for name, estimate in pair.probability_differences.items():
                yield [*start, "mean probability difference", name, *asdict(estimate).values(), "", ""]

    def save(self, path: str | os.PathLike[str], overwrite: bool = False) -> None:
        """
        Write everything as JSON; :meth:`load` reads it.

        Args:
            path (path): The file, by custom ``….json``.
            overwrite (bool, optional): Whether an existing file may be replaced. Default: False
        """
        write_json(Path(path), _without_nan({"kind": _KIND, **asdict(self)}), overwrite)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> SubgroupComparison:
        """
        Read what :meth:`save` wrote.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is damaged or holds something else.
        """
        content = load_json(path, _KIND)
        with intact(path, _KIND):
            subgroups = [
                SubgroupResult(
                    **{
                        **result,
                        "accuracy": _estimate(result["accuracy"]),
                        "top5": None if result["top5"] is None else _estimate(result["top5"]),
                        "probabilities": _estimates(result["probabilities"]),
                    }
                )
                for result in content.pop("subgroups")
            ]
            pairs = [
                PairResult(**{**pair, "probability_differences": _estimates(pair["probability_differences"])})
                for pair in content.pop("pairs")
            ]
            loaded = cls(subgroups=subgroups, pairs=pairs, **content)
            loaded.subgroup_rows(), loaded.pair_rows()  # every figure of the tables is there
            return loaded


def compare_groups(
    logits: Mapping[str, Tensor],
    target: int | Sequence[int],
    also: Sequence[int | Sequence[int]] = (),
    class_names: Sequence[str] | None = None,
    *,
    skipped: Mapping[str, int] | None = None,
    confidence: float = 0.95,
    resamples: int = 9999,
    seed: int = 0,
) -> SubgroupComparison:
    r"""
    Whether a model does as well on each of several subgroups of images, such as one class photographed in different ways.

    Of each subgroup: the share of images that the model takes for the target, with Wilson's interval, and the mean probability of each
    class of interest with its bootstrap interval. Of each pair of subgroups: the differences, with Fisher's exact test and bootstrap
    intervals. The tests take the subgroups for independent: no image, and no two versions of an image, should be in two subgroups.

    Args:
        logits (mapping[str, Tensor]): By the name of the subgroup, (N, K): the model's logits of its images. At least two subgroups. With
            a single logit, its sigmoid is the probability of the class, and an image is taken for it where that is at least one half.
        target (int or sequence of int): The class that counts as right; several: any of them, as one class.
        also (sequence, optional): Further classes whose mean probabilities are of interest. Default: ()
        class_names (sequence of str, optional): K names, for labels. Default: None
        skipped (mapping[str, int], optional): How many files of each subgroup could not be read, for the table. Default: None
        confidence (float, optional): Of all intervals, between 0 and 1. Default: 0.95
        resamples (int, optional): Of each bootstrap. Default: 9999
        seed (int, optional): Of each bootstrap. Default: 0

    Returns:
        SubgroupComparison: Every figure, in the order of ``logits``.

    Raises:
        TypeError: If a subgroup's logits are not a floating-point tensor.
        ValueError: If there are fewer than two subgroups, one is empty, the classes are out of range, or an argument is.

    Examples::

        >>> with_face = torch.tensor([[2.0, 0.0], [0.0, 1.0]]).repeat(20, 1)
        >>> without = torch.tensor([[2.0, 0.0]]).repeat(40, 1)
        >>> comparison = compare_groups({"without a face": without, "with a face": with_face}, target=0)
        >>> [subgroup.accuracy.value for subgroup in comparison.subgroups]
        [1.0, 0.5]
        >>> comparison.pairs[0].p_value < 0.001
        True
    """
    if len(logits) < 2:
        raise InputError(
            f"{len(logits)} subgroup{'' if len(logits) == 1 else 's'} of images given; expected at least two to compare."
        )
    checked = {name: _check_logits_of(name, values) for name, values in logits.items()}
    widths = {name: values.shape[1] for name, values in checked.items()}
    classes = next(iter(widths.values()))
    if len(set(widths.values())) > 1:
        raise InputError(f"the subgroups have logits of {widths} classes; expected those of one model.")
    interest = classes_of_interest(target, also, class_names)
    members = dict(zip(interest, target_mask(list(interest.values()), classes, torch.device("cpu")), strict=True))
    label = next(iter(interest))
    options: dict[str, Any] = {
        "confidence": confidence,
        "resamples": operator.index(resamples),
        "seed": operator.index(seed),
    }
    results, probabilities = [], {}
    for name, values in checked.items():
        shares = class_probabilities(values)
        of_class = {of: shares[:, mask].sum(1).numpy() for of, mask in members.items()}
        right = members[label]
        correct = int(pad(right, (0, 1))[outcomes(values).argmax(1)].sum())  # past the end: none of the classes
        top5 = None
        if classes > _TOP:
            top5 = proportion(int(right[values.topk(_TOP).indices].any(1).sum()), len(values), confidence)
        probabilities[name] = of_class
        results.append(
            SubgroupResult(
                subgroup=name,
                images=len(values),
                skipped=(skipped or {}).get(name, 0),
                correct=correct,
                accuracy=proportion(correct, len(values), confidence),
                top5=top5,
                probabilities={of: mean_estimate(values, **options) for of, values in of_class.items()},
            )
        )
    pairs = list(combinations(results, 2))
    p_values = [fisher_exact((a.correct, a.images), (b.correct, b.images)) for a, b in pairs]
    return SubgroupComparison(
        target=label,
        classes=list(interest),
        subgroups=results,
        pairs=[
            PairResult(
                first=a.subgroup,
                second=b.subgroup,
                accuracy_difference=a.accuracy.value - b.accuracy.value,
                p_value=p_value,
                corrected_p_value=corrected,
                probability_differences={
                    of: difference_estimate(probabilities[a.subgroup][of], probabilities[b.subgroup][of], **options)
                    for of in interest
                },
            )
            for (a, b), p_value, corrected in zip(pairs, p_values, holm(p_values), strict=True)
        ],
        settings={
            "classes": {name: list(classes) for name, classes in interest.items()},
            "number_of_classes": classes,
            **options,
        },
    )


def classes_of_interest(
    target: int | Sequence[int], also: Sequence[int | Sequence[int]], class_names: Sequence[str] | None
) -> dict[str, Target]:
    """The target and the other classes of interest by label; no class twice, and no two labels alike."""
    wanted = [class_set(classes) for classes in (target, *also)]
    interest: dict[str, Target] = {}
    for classes in dict.fromkeys(wanted):
        name = ", ".join(map(str, classes))
        if len(classes) > 1 and len(classes) == classes[-1] - classes[0] + 1:
            name = f"{classes[0]}–{classes[-1]}"
        elif len(classes) == 1 and class_names is not None and 0 <= classes[0] < len(class_names):
            name = class_names[classes[0]]
            name = f"{name} ({classes[0]})" if name in interest else name
        interest[name] = classes
    return interest


def _check_logits_of(name: str, values: Tensor) -> Tensor:
    count = len(values) if isinstance(values, Tensor) and values.dim() else 0
    if isinstance(values, Tensor) and not count:
        raise InputError(f'the subgroup "{name}" holds no image; give at least one.')
    try:
        check_logits(values, count)
    except TypeError as error:
        raise InputTypeError(f'the logits of the subgroup "{name}": {error}') from error
    except ValueError as error:
        raise InputError(f'the logits of the subgroup "{name}": {error}') from error
    return values.detach().cpu().double()


def _ends(estimate: Estimate) -> tuple[float, float]:
    return estimate.low, estimate.high


def _without_nan(value: Any) -> Any:
    """NaN as null, which is JSON."""
    if isinstance(value, dict):
        return {key: _without_nan(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _estimate(value: dict[str, float | None]) -> Estimate:
    return Estimate(*(math.nan if value[name] is None else float(value[name]) for name in ("value", "low", "high")))  # type: ignore[arg-type]


def _estimates(values: dict[str, dict[str, float | None]]) -> dict[str, Estimate]:
    return {name: _estimate(value) for name, value in values.items()}
