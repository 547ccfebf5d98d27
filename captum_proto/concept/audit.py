"""Audit and edit models by descriptions of their units: which units name a word, and what the model does without them (MILAN)."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from captum_proto._utils.borrowing import borrowed
from captum_proto._utils.checks import check_images, check_int, check_logits
from captum_proto._utils.errors import InputError
from captum_proto._utils.files import alike, intact, load_json
from captum_proto._utils.pipeline import Pipeline
from captum_proto._utils.tables import between, number, p_text, percent, text_table
from captum_proto.capture import Capture, Layer, channel_axis
from captum_proto.concept.description import Description
from captum_proto.concept.dissection_result import LayerDissection
from captum_proto.edit import ablate_units
from captum_proto.runs.files import write_json
from captum_proto.stats.intervals import Estimate, fisher_exact, proportion

_KIND = "ablation effect"
#: How many random choices MILAN compares with.
_CHOICES = 5


def units_described(descriptions: Sequence[Description], words: str | Sequence[str]) -> list[int]:
    """
    The units whose description names one of some words.

    Args:
        descriptions (sequence of Description): Of a layer's units.
        words (str or sequence of str): Any of which will do: whole words, or several in a row, upper or lower case alike.

    Returns:
        list[int]: The units, those of the highest score first.

    Raises:
        ValueError: If a word is empty.

    Paper:
        Evan Hernandez et al., "Natural Language Descriptions of Deep Visual Features", ICLR 2022, arXiv:2201.11114, sections 5 and 6.

    Examples::

        >>> texts = ["written text", "Text on signs", "textures", "a dog"]
        >>> described = [Description(unit, text, -float(unit), -float(unit), 0.0, []) for unit, text in enumerate(texts)]
        >>> units_described(described, ["text", "word"])
        [0, 1]
    """
    wanted = [words] if isinstance(words, str) else list(words)
    if not wanted or not all(isinstance(word, str) and word.strip() for word in wanted):
        raise InputError(f"words are {words!r}; expected one or several, none of them empty.")
    # \b would not do for words that begin or end with a sign.
    pattern = re.compile(rf"(?<!\w)(?:{'|'.join(re.escape(word.strip()) for word in wanted)})(?!\w)", re.IGNORECASE)
    named = [each for each in descriptions if pattern.search(each.text)]
    return [each.unit for each in sorted(named, key=lambda each: -each.score)]


def labels_as_descriptions(dissected: LayerDissection, least: float = 0.1) -> list[Description]:
    """
    What network dissection says of a layer, as descriptions: the name of the concept of the highest intersection over union.

    Args:
        dissected (LayerDissection): Of :class:`~captum_proto.concept.NetworkDissection`.
        least (float, optional): A unit that agrees less with its concept is described by no word, as "". Default: 0.1

    Returns:
        list[Description]: One for each unit; its score is the logarithm of the intersection over union.

    Raises:
        ValueError: If ``least`` is no share.
    """
    if not 0 <= least <= 1:
        raise InputError(f"least is {least}; expected an intersection over union from 0 to 1.")
    described = []
    for label in dissected.labels():
        text = label.concept.name if label.iou >= least else ""
        score = math.log(label.iou) if label.iou > 0 else -math.inf
        described.append(Description(label.unit, text, score, score, 0.0, [(text, score)]))
    return described


@dataclass(frozen=True)
class DescriptionCounts:
    """
    How many units two models have whose descriptions name a word.

    Attributes:
        words (list[str]): Any of which is named.
        named (tuple[int, int]): How many units of the first model, and of the second.
        units (tuple[int, int]): How many units each has.
    """

    words: list[str]
    named: tuple[int, int]
    units: tuple[int, int]

    @property
    def shares(self) -> tuple[Estimate, Estimate]:
        """The share of each model's units, with Wilson's interval."""
        return proportion(self.named[0], self.units[0]), proportion(self.named[1], self.units[1])

    @property
    def p_value(self) -> float:
        """Fisher's exact test, two-sided, which takes units for independent: those of one network are less than that."""
        return fisher_exact((self.named[0], self.units[0]), (self.named[1], self.units[1]))

    def table(self) -> str:
        """A line for each model, and the test."""
        rows = [
            [which, f"{named} of {units}", percent(share.value), between((share.low, share.high), percent)]
            for which, named, units, share in zip(("first", "second"), self.named, self.units, self.shares, strict=True)
        ]
        words = ", ".join(self.words)
        return f"{text_table(['model', f'named {words}', 'share', 'interval'], rows)}\n\nFisher's exact test: p {p_text(self.p_value)}"


def compare_descriptions(
    first: Sequence[Description], second: Sequence[Description], words: str | Sequence[str]
) -> DescriptionCounts:
    """
    Audit: whether more units of one model than of another are described by a word, such as one of what only one of them was trained with.

    Args:
        first (sequence of Description): Of all units of a model; those of several layers or models may stand one after the other.
        second (sequence of Description): Of the other.
        words (str or sequence of str): As for :func:`units_described`.

    Returns:
        DescriptionCounts: The counts, with intervals and a test.

    Raises:
        ValueError: If a model has no descriptions, or a word is empty.

    Paper:
        Evan Hernandez et al., "Natural Language Descriptions of Deep Visual Features", ICLR 2022, arXiv:2201.11114, section 5.

    Examples::

        >>> faces, none = ([Description(unit, text, 0.0, 0.0, 0.0, []) for unit in range(20)] for text in ("a face", "a wheel"))
        >>> counts = compare_descriptions(faces, none, "face")
        >>> counts.named, counts.p_value < 0.001
        ((20, 0), True)
    """
    if not first or not second:
        raise InputError(
            f"the models have {len(first)} and {len(second)} descriptions; expected those of all units of both."
        )
    named = len(units_described(first, words)), len(units_described(second, words))
    return DescriptionCounts([words] if isinstance(words, str) else list(words), named, (len(first), len(second)))


@dataclass(frozen=True)
class AblationEffect:
    """
    How accurate a model is without some of its units, beside random choices of as many.

    Attributes:
        layer (str): Of the units.
        units (list[int]): In the order in which they were ablated.
        counts (list[int]): How many of them were, ascending.
        images (int): How many the accuracy is of.
        correct (list[int]): (counts,), how many of the images the model has right.
        random_correct (list[list[int]]): (counts, R), in each of R random ablations of as many units of the layer.
        settings (dict): What it was made with.
    """

    layer: str
    units: list[int]
    counts: list[int]
    images: int
    correct: list[int]
    random_correct: list[list[int]]
    settings: dict[str, Any] = field(default_factory=dict)

    def _place(self, count: int | None) -> int:
        if count is None:
            return len(self.counts) - 1
        if count not in self.counts:
            raise InputError(
                f"{count} units were not ablated together; expected one of {', '.join(map(str, self.counts))}."
            )
        return self.counts.index(count)

    def accuracy(self, count: int | None = None) -> Estimate:
        """
        The accuracy without so many units, with Wilson's interval.

        Args:
            count (int, optional): Of ``counts``. Default: None, the last
        """
        return proportion(self.correct[self._place(count)], self.images)

    def random_mean(self, count: int | None = None) -> float:
        """The mean accuracy of the random ablations of so many units."""
        values = self.random_correct[self._place(count)]
        return sum(values) / len(values) / self.images

    def random_best(self, count: int | None = None, of: int = _CHOICES) -> float:
        """
        What the best of a few random ablations may be expected to reach: the mean over all choices of as many from those that were made.

        Args:
            count (int, optional): Of ``counts``. Default: None, the last
            of (int, optional): Of how many the best, at most all. Default: 5, as in MILAN
        """
        values = sorted(self.random_correct[self._place(count)])
        if not 1 <= of <= len(values):
            raise InputError(f"of is {of}; expected from 1 to {len(values)}, as many as there are random ablations.")
        # Of all choices, the one in which the value at a place is the largest has the others from the places before it.
        total = sum(value * math.comb(place, of - 1) for place, value in enumerate(values))
        return total / math.comb(len(values), of) / self.images

    def random_at_least(self, count: int | None = None) -> Estimate:
        """The share of random ablations after which the model is at least as accurate, with Wilson's interval."""
        place = self._place(count)
        values = self.random_correct[place]
        return proportion(sum(value >= self.correct[place] for value in values), len(values))

    def p_value(self, count: int | None = None) -> float:
        """How often chance would give units that do at least as well: (1 + k) / (1 + R), of R random ablations k of which did."""
        place = self._place(count)
        values = self.random_correct[place]
        return (1 + sum(value >= self.correct[place] for value in values)) / (1 + len(values))

    def cells(self) -> tuple[list[str], list[list[str]]]:
        """The header and the rows of a table: a row for each number of units."""
        rows = []
        for count in self.counts:
            accuracy, few = self.accuracy(count), min(_CHOICES, len(self.random_correct[0]))
            share = self.random_at_least(count)
            rows.append(
                [
                    str(count),
                    percent(accuracy.value),
                    between((accuracy.low, accuracy.high), percent),
                    percent(self.random_mean(count)),
                    percent(self.random_best(count, few)),
                    "–" if not count else p_text(self.p_value(count)),
                    "–" if not count else between((share.low, share.high), number),
                ]
            )
        best = f"best of {min(_CHOICES, len(self.random_correct[0]))}"
        return ["ablated", "accuracy", "interval", "random", best, "p", "interval of p"], rows

    def table(self) -> str:
        """The accuracy without each number of units, beside the mean and the best of five of random ablations, with the p-value."""
        return text_table(*self.cells())

    def save(self, path: str | os.PathLike[str], overwrite: bool = False) -> None:
        """Write everything as JSON; :meth:`load` reads it."""
        write_json(Path(path), {"kind": _KIND, **asdict(self)}, overwrite)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> AblationEffect:
        """
        What :meth:`save` wrote.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is damaged or holds something else.
        """
        content = load_json(path, _KIND)
        with intact(path, _KIND):
            loaded = cls(**content)
            alike("numbers of units", len(loaded.counts), len(loaded.correct), len(loaded.random_correct))
            loaded.table()  # every figure of it is there
            return loaded


def ablation_effect(
    forward_func: nn.Module,
    layer: Layer,
    units: Sequence[int],
    images: Tensor,
    labels: Tensor,
    preprocess: Callable[[Tensor], Tensor] | None = None,
    *,
    counts: Sequence[int] | None = None,
    validation: tuple[Tensor, Tensor] | None = None,
    random_choices: int = 100,
    value: float = 0.0,
    seed: int = 0,
    batch_size: int = 256,
    show_progress: bool = False,
) -> AblationEffect:
    r"""
    Edit: the accuracy of a model while some units say nothing, beside random choices of as many units of the layer.

    The first unit is ablated, then the first two, and so on to all. A random choice puts all units of the layer into an order, and its
    first units are ablated instead, so that the same share of it as of the layer are units of the description. If these were units like any
    other, their ablation would do as well as a random one, and the p-value says how often a random one does.

    Args:
        forward_func (nn.Module): The classifier: images to logits (N, K). It comes back as it was.
        layer (str or nn.Module): Whose output has the units.
        units (sequence of int): Such as :func:`units_described` gives them, in the order in which to ablate them.
        images (Tensor): (N, C, H, W) in [0, 1], such as those in which what is spurious is no longer true.
        labels (Tensor): (N,), int64, their classes.
        preprocess (Callable, optional): From images to what the model takes. Default: None
        counts (sequence of int, optional): How many of the units to ablate together. Default: None, each number from 0 to all
        validation (tuple[Tensor, Tensor], optional): Other images and labels: units are then ablated in the order of the accuracy that each
            gives when it alone is, the highest first, as in MILAN. Default: None, in the order given
        random_choices (int, optional): R; no p-value is below 1 / (1 + R). Default: 100
        value (float, optional): What ablated units say. Default: 0.0
        seed (int, optional): Of the random choices. Default: 0
        batch_size (int, optional): Images at a time. Default: 256
        show_progress (bool, optional): Whether to show a progress bar. Default: False

    Returns:
        AblationEffect: The numbers of images that the model has right; accuracies, intervals and p-values are its methods.

    Raises:
        ValueError: If there are no units, one is not of the layer, there are not as many labels as images, or a count is out of its range.

    Paper:
        Evan Hernandez et al., "Natural Language Descriptions of Deep Visual Features", ICLR 2022, arXiv:2201.11114, section 6.

    Examples::

        >>> model = torch.nn.Sequential(torch.nn.Conv2d(1, 6, 1), torch.nn.ReLU(), torch.nn.AvgPool2d(4), torch.nn.Flatten())
        >>> images, labels = torch.rand(20, 1, 4, 4), torch.arange(20) % 6
        >>> effect = ablation_effect(model, "1", [2, 5], images, labels, random_choices=10)
        >>> effect.counts, len(effect.random_correct[2]), 1 / 11 <= effect.p_value() <= 1
        ([0, 1, 2], 10, True)
    """
    pipeline = Pipeline(forward_func, preprocess)
    images = check_images(images)
    _check_labels(images, labels, "")
    plan = Capture(forward_func, pipeline, images[:1].to(pipeline.device, pipeline.image_dtype), [layer])
    output = plan.outputs[-1]
    total = output.shape[channel_axis(plan.modules[output.layer], (1, *output.shape)) - 1]
    order = [check_int(unit, "a unit", 0) for unit in units]
    if not order or len(set(order)) < len(order) or max(order) >= total:
        raise InputError(
            f'units are {list(units)}; expected at least one of the {total} units of layer "{output.name}", numbered from 0, each once.'
        )
    random_choices = check_int(random_choices, "random_choices", 1)
    chosen = (
        list(range(len(order) + 1)) if counts is None else sorted({check_int(each, "a count", 0) for each in counts})
    )
    if not chosen or chosen[-1] > len(order):
        raise InputError(
            f"counts are {list(counts or ())}; expected some from 0 to {len(order)}, as many as there are units."
        )

    def right(ablated: Sequence[int], shown: Tensor, classes: Tensor) -> int:
        return _correct(pipeline, layer, ablated, value, shown, classes, check_int(batch_size, "batch_size", 1))

    if validation is not None:
        shown = check_images(validation[0], name="the validation images")
        _check_labels(shown, validation[1], " of the validation images")
        alone = {unit: right([unit], shown, validation[1]) for unit in order}
        order.sort(key=lambda unit: -alone[unit])
    generator = torch.Generator().manual_seed(check_int(seed, "seed", 0))
    orders = [torch.randperm(total, generator=generator).tolist() for _ in range(random_choices)]
    correct, random_correct = [], []
    with tqdm(total=len(chosen), desc="ablations", unit="number", disable=not show_progress) as progress:
        for count in chosen:
            correct.append(right(order[:count], images, labels))
            # Without any unit ablated all of them are the same.
            random_correct.append(
                [right(each[:count], images, labels) for each in orders] if count else [correct[-1]] * random_choices
            )
            progress.update(1)
    settings = {"value": float(value), "seed": seed, "by_validation": validation is not None, "units": total}
    return AblationEffect(output.name, order, chosen, len(images), correct, random_correct, settings)


def _check_labels(images: Tensor, labels: Tensor, of: str) -> None:
    if labels.shape != (len(images),) or labels.is_floating_point() or labels.dtype == torch.bool:
        raise InputError(
            f"labels{of} have shape {tuple(labels.shape)} and type {labels.dtype}; expected ({len(images)},) whole numbers, the class of "
            "each image."
        )


def _correct(
    pipeline: Pipeline,
    layer: Layer,
    units: Sequence[int],
    value: float,
    images: Tensor,
    labels: Tensor,
    batch_size: int,
) -> int:
    """How many images a model has right without some units."""
    found = 0
    with torch.no_grad(), borrowed(pipeline.forward_func):
        for shown, classes in zip(torch.split(images, batch_size), torch.split(labels, batch_size), strict=True):
            given = shown.to(pipeline.device, pipeline.image_dtype)
            if units:
                with ablate_units(pipeline.forward_func, layer, units, value):
                    output = pipeline(given)
            else:
                output = pipeline(given)
            found += int((check_logits(output, len(shown)).argmax(1).cpu() == classes.cpu()).sum())
    return found


__all__ = [
    "AblationEffect",
    "DescriptionCounts",
    "ablation_effect",
    "compare_descriptions",
    "labels_as_descriptions",
    "units_described",
]
