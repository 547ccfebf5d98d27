"""Copy-paste adversarial examples: paste what a unit's formula names into images, and see whether the prediction follows it."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor, nn
from tqdm.auto import tqdm

from captum_proto._utils.checks import check_images, check_int, check_logits, nearest
from captum_proto._utils.errors import InputError, InputTypeError
from captum_proto._utils.files import alike, intact, load_json
from captum_proto._utils.halving import Halving
from captum_proto._utils.pipeline import Pipeline
from captum_proto._utils.tables import between, number, p_text, percent, text_table
from captum_proto.capture import Capture, Layer, channel_axis, channels_first
from captum_proto.concept.dataset import ConceptDataset
from captum_proto.concept.formula import AND_NOT, Formula
from captum_proto.runs.files import write_json
from captum_proto.stats.intervals import Estimate, holm, mean_estimate, proportion

_KIND = "copy-paste result"
_PLACES = ("source", "random")


def paste(
    image: Tensor,
    source: Tensor,
    mask: Tensor,
    place: tuple[int, int] | None = None,
    area: float | None = None,
) -> tuple[Tensor, Tensor]:
    """
    Copy the pixels of a mask from one image into another.

    Args:
        image (Tensor): (C, H, W), floats: what is pasted into. It stays as it is.
        source (Tensor): (C, h, w), floats: what is copied from.
        mask (Tensor): (h, w), bool: which of its pixels.
        place (tuple[int, int], optional): Row and column of the image at which the middle of the mask's bounding box comes to lie; moved
            as little as possible to have all of the box within the image. Default: None, where it is in the source
        area (float, optional): To how many pixels the mask is enlarged or reduced, its proportions kept. Default: None, as it is. Either
            way it becomes no larger than fits into the image.

    Returns:
        tuple[Tensor, Tensor]: The new image (C, H, W), and the mask (H, W), bool, of the pixels that were pasted.

    Raises:
        ValueError: If the mask is empty or of another size than the source, or the images have different channels.

    Paper:
        Jesse Mu and Jacob Andreas, "Compositional Explanations of Neurons", NeurIPS 2020, arXiv:2006.14032, section 7.

    Examples::

        >>> source, mask = torch.ones(3, 4, 4), torch.zeros(4, 4, dtype=torch.bool)
        >>> mask[0, :2] = True
        >>> pasted, where = paste(torch.zeros(3, 4, 4), source, mask, place=(2, 2))
        >>> where.nonzero().tolist(), pasted.sum().item()
        ([[2, 1], [2, 2]], 6.0)
    """
    _check_paste(image, source, mask, area)
    rows, columns = (mask.any(1 - axis).nonzero().flatten() for axis in (0, 1))
    top, left = int(rows[0]), int(columns[0])
    box = (slice(top, int(rows[-1]) + 1), slice(left, int(columns[-1]) + 1))
    cut, shape = source[:, box[0], box[1]], mask[box[0], box[1]]
    height, width = shape.shape
    scale = 1.0 if area is None else math.sqrt(area / int(shape.sum()))
    scale = min(scale, image.shape[1] / height, image.shape[2] / width)
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    middle = (top + height // 2, left + width // 2)
    if place is None:
        # Where the source is of another size, at the same share of the way down and across.
        place = (middle[0] * image.shape[1] // source.shape[1], middle[1] * image.shape[2] // source.shape[2])
    if size != (height, width):
        cut, shape = _resized(cut, shape, size)
    first = [
        min(max(0, at - extent // 2), whole - extent)
        for at, extent, whole in zip(place, size, image.shape[1:], strict=True)
    ]
    where = torch.zeros(image.shape[1:], dtype=torch.bool, device=image.device)
    where[first[0] : first[0] + size[0], first[1] : first[1] + size[1]] = shape.to(image.device)
    pasted = image.clone()
    pasted[:, where] = cut[:, shape].to(image)
    return pasted, where


def _resized(cut: Tensor, shape: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """A cutting at another size; each pixel is a mean of pixels within the mask, so that nothing of what was around them comes along."""

    def scaled(values: Tensor) -> Tensor:
        found: Tensor = nn.functional.interpolate(values.unsqueeze(0), size=size, mode="bilinear", antialias=True)[0]
        return found

    weight = scaled(shape.to(cut.dtype).unsqueeze(0))
    inside = weight[0] >= 0.5
    if not bool(inside.any()):
        inside = weight[0] == weight.max()
    return scaled(cut * shape) / weight.clamp(min=1e-6), inside


def _check_paste(image: Tensor, source: Tensor, mask: Tensor, area: float | None) -> None:
    for name, value in (("image", image), ("source", source)):
        if value.dim() != 3 or not value.is_floating_point():
            raise InputTypeError(
                f"{name} has shape {tuple(value.shape)} and type {value.dtype}; expected floats (C, H, W)."
            )
    if image.shape[0] != source.shape[0]:
        raise InputError(
            f"image has {image.shape[0]} channels and source {source.shape[0]}; expected images of the same channels."
        )
    if mask.shape != source.shape[1:] or mask.dtype != torch.bool:
        raise InputError(
            f"mask has shape {tuple(mask.shape)} and type {mask.dtype}; expected {tuple(source.shape[1:])}, as the source, in bool."
        )
    if not bool(mask.any()):
        raise InputError("mask has no pixel; give one that marks what is to be pasted.")
    if area is not None and not 0 < area < math.inf:
        raise InputError(f"area is {area}; expected a number of pixels above 0.")


def literals(formula: Formula) -> list[tuple[int, bool]]:
    """
    The concepts of a formula, each with whether it speaks for the formula.

    Args:
        formula (Formula): Any.

    Returns:
        list[tuple[int, bool]]: Labels from left to right; False after an odd number of AND NOT. One that occurs both ways is there twice.

    Examples::

        >>> literals((Formula(1) | Formula(2)) - (Formula(3) - Formula(1)))
        [(1, True), (2, True), (3, False)]
    """

    def walk(part: Formula, speaks_for: bool) -> list[tuple[int, bool]]:
        if part.left is None or part.right is None:
            return [(part.label, speaks_for)]
        return walk(part.left, speaks_for) + walk(part.right, speaks_for != (part.operator == AND_NOT))

    return list(dict.fromkeys(walk(formula, True)))


@dataclass(frozen=True)
class ConceptPastes:
    """
    What pasting one concept of a formula did, in T trials, each beside a control in the same image at the same place.

    Attributes:
        concept (str): Its name.
        speaks_for (bool): Whether it stands in the formula without NOT: it is then pasted into images of other classes, and a success is
            that they are taken for the class. One with NOT is pasted into images of the class, and a success is that they no longer are.
        hosts (list[int]): (T,), the images that were pasted into. None has the concept or is a success before.
        sources (list[int]): (T,), the images that were copied from.
        controls (list[str]): (T,), the concepts that were pasted as control.
        control_sources (list[int]): (T,), where they were copied from.
        areas, control_areas (list[int]): (T,), how many pixels were pasted.
        activation (list[list[float]]): (T, 3), the mean of the unit's map: before, with the concept, and with the control.
        logit (list[list[float]]): (T, 3), of the class.
        taken (list[list[bool]]): (T, 3), whether the image is taken for the class.
    """

    concept: str
    speaks_for: bool
    hosts: list[int]
    sources: list[int]
    controls: list[str]
    control_sources: list[int]
    areas: list[int]
    control_areas: list[int]
    activation: list[list[float]]
    logit: list[list[float]]
    taken: list[list[bool]]

    def __len__(self) -> int:
        return len(self.hosts)

    @cached_property
    def _succeeded(self) -> NDArray[np.bool_]:
        """(T, 2): with the concept, and with the control."""
        found: NDArray[np.bool_] = np.array(self.taken, dtype=bool)[:, 1:] == self.speaks_for
        return found

    @property
    def success(self) -> Estimate:
        """The share of trials in which pasting the concept changed the prediction as the formula says, with Wilson's interval."""
        return proportion(int(self._succeeded[:, 0].sum()), len(self))

    @property
    def control(self) -> Estimate:
        """The share in which pasting a concept that the formula does not name did."""
        return proportion(int(self._succeeded[:, 1].sum()), len(self))

    @property
    def p_value(self) -> float:
        """McNemar's exact test, two-sided: trials in which the concept alone succeeded against those in which the control alone did."""
        one, other = self._succeeded.T
        alone, control_alone = int((one & ~other).sum()), int((other & ~one).sum())
        return float(stats.binomtest(alone, alone + control_alone).pvalue) if alone + control_alone else 1.0

    def change(self, of: str = "activation", control: bool = False) -> Estimate:
        """
        By how much a paste changes something on the average, with its bootstrap interval over trials.

        Args:
            of (str, optional): "activation" or "logit". Default: "activation"
            control (bool, optional): Whether of the control. Default: False

        Raises:
            ValueError: If there is no such thing.
        """
        if of not in ("activation", "logit"):
            raise InputError(f'of is "{of}"; expected "activation" or "logit".')
        values = np.array(getattr(self, of), dtype=np.float64)
        return mean_estimate(values[:, 2 if control else 1] - values[:, 0])


@dataclass(frozen=True)
class CopyPasteResult:
    """
    What pasting the concepts of a unit's formula did to the predictions of a classifier.

    Attributes:
        layer (str): Of the unit.
        unit (int): Its channel.
        formula (str): In words.
        target (int): The class.
        others, others_taken (int): How many images of other classes there are, and how many of them the model takes for the class as they
            are, which are not pasted into.
        pastes (list[ConceptPastes]): One for each concept of the formula.
        settings (dict): What it was made with.
    """

    layer: str
    unit: int
    formula: str
    target: int
    others: int
    others_taken: int
    pastes: list[ConceptPastes]
    settings: dict[str, Any] = field(default_factory=dict)

    def __getitem__(self, concept: str) -> ConceptPastes:
        """What the pastes of a concept did, by its name in the formula."""
        for each in self.pastes:
            if each.concept == concept:
                return each
        names = [each.concept for each in self.pastes]
        raise InputError(
            f'"{concept}" was not pasted{nearest(concept, names) or "; there are " + ", ".join(names) + "."}'
        )

    @property
    def before(self) -> Estimate:
        """The share of images of other classes that are taken for the class as they are, with Wilson's interval."""
        return proportion(self.others_taken, self.others)

    @property
    def p_values(self) -> list[float]:
        """Of each concept against its control, after Holm's correction for all concepts of the formula."""
        return holm([each.p_value for each in self.pastes])

    def cells(self) -> tuple[list[str], list[list[str]]]:
        """The header and the rows of a table: two for each concept, its own and that of its control."""
        header = ["pasted", "into", "trials", "success", "interval", "activation", "logit", "pixels", "p"]
        rows = []
        for each, p_value in zip(self.pastes, self.p_values, strict=True):
            hosts = "other classes" if each.speaks_for else "the class"
            for control in (False, True):
                share, areas = (each.control, each.control_areas) if control else (each.success, each.areas)
                changes = [each.change(of, control).value for of in ("activation", "logit")]
                rows.append(
                    [
                        "  control" if control else each.concept if each.speaks_for else f"NOT {each.concept}",
                        hosts,
                        str(len(each)),
                        percent(share.value),
                        between((share.low, share.high), percent),
                        *(f"{value:+.3g}" for value in changes),
                        number(float(np.mean(areas)), 0),
                        "" if control else p_text(p_value),
                    ]
                )
        return header, rows

    def table(self) -> str:
        """How often each concept and its control changed the prediction, and what they did to the unit and to the class's logit."""
        before = f"{percent(self.before.value)} ({between((self.before.low, self.before.high), percent)})"
        return (
            f"unit {self.unit} of {self.layer}: {self.formula}; class {self.target}\n\n{text_table(*self.cells())}\n\n"
            f"Before pasting, {before} of {self.others} images of other classes are taken for the class; these are not pasted into. "
            "Success: they then are; with NOT, images of the class no longer are. Wilson's 95 % intervals; McNemar's exact test with "
            "Holm's correction."
        )

    def save(self, path: str | os.PathLike[str], overwrite: bool = False) -> None:
        """Write everything as JSON; :meth:`load` reads it."""
        write_json(Path(path), {"kind": _KIND, **asdict(self)}, overwrite)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> CopyPasteResult:
        """
        What :meth:`save` wrote.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is damaged or holds something else.
        """
        content = load_json(path, _KIND)
        with intact(path, _KIND):
            pastes = [ConceptPastes(**each) for each in content.pop("pastes")]
            for each in pastes:
                lists = [value for value in vars(each).values() if isinstance(value, list)]
                alike("trials of a concept", *map(len, lists))
            loaded = cls(pastes=pastes, **content)
            loaded.table()  # every figure of it is there
            return loaded


class CopyPaste:
    """
    Test the formula of a unit by pasting the concepts it names into images, to change what a classifier says.

    Where a formula is right and the class depends on the unit, images of other classes become the class when a concept of the formula is
    pasted into them, and images of the class no longer are when one after NOT is. Images that have the concept already are left out.

    Beside each paste stands a control: a concept that the formula does not name, in the same image, about the same middle, enlarged or
    reduced to as many pixels. Controls are cut from images of the host's own side, of other classes or of the class, so that none brings
    along what the class looks like, and have no pixel of a concept of the formula.

    Args:
        forward_func (nn.Module): The classifier: images to logits (N, K). It comes back as it was.
        layer (str or nn.Module): Whose output has the unit, (N, U) or (N, U, h, w).
        preprocess (Callable, optional): From images in [0, 1] to what the model takes. Default: None
        trials (int, optional): How often each concept is pasted, in different images while there are any: with more trials than these,
            intervals and tests are too narrow. Default: 100
        place (str, optional): Where: "source", as in the image it is copied from, or "random". Default: "source"
        least (int, optional): Masks of fewer pixels are not cut out. Default: 16
        seed (int, optional): Of which images are taken. Default: 0
        batch_size (int, optional): Images at a time. Default: 64

    Raises:
        ValueError: If an argument is out of its range.
        TypeError: If ``forward_func`` is no module.

    Paper:
        Jesse Mu and Jacob Andreas, "Compositional Explanations of Neurons", NeurIPS 2020, arXiv:2006.14032, section 7.

    Examples::

        >>> from captum_proto.testing import ShapeDataset
        >>> dataset = ShapeDataset(60, size=32, radius=(0.2, 0.3))
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.LazyLinear(5))
        >>> _ = model(dataset.image(0, (32, 32)).unsqueeze(0))
        >>> formula = Formula(dataset.label("red")) | Formula(dataset.label("blue"))
        >>> tried = CopyPaste(model, "1", trials=10).interpret(1, formula, 0, dataset, dataset.targets(), (32, 32))
        >>> [(each.concept, len(each)) for each in tried.pastes]
        [('red', 10), ('blue', 10)]
    """

    def __init__(
        self,
        forward_func: nn.Module,
        layer: Layer,
        preprocess: Callable[[Tensor], Tensor] | None = None,
        *,
        trials: int = 100,
        place: str = "source",
        least: int = 16,
        seed: int = 0,
        batch_size: int = 64,
    ) -> None:
        if not isinstance(forward_func, nn.Module):
            raise InputTypeError(
                f"forward_func is a {type(forward_func).__name__}; expected a torch.nn.Module, whose layers can be watched."
            )
        if place not in _PLACES:
            raise InputError(f'place is "{place}"{nearest(str(place), _PLACES) or "; expected source or random."}')
        self.forward_func, self.layer, self.place = forward_func, layer, place
        self.trials, self.least = check_int(trials, "trials", 1), check_int(least, "least", 1)
        self.seed, self.batch_size = check_int(seed, "seed", 0), check_int(batch_size, "batch_size", 1)
        self._pipeline = Pipeline(forward_func, preprocess)

    def interpret(
        self,
        unit: int,
        formula: Formula,
        target: int,
        dataset: ConceptDataset,
        labels: Tensor | Sequence[int],
        image_size: tuple[int, int],
        controls: Sequence[int] | None = None,
        *,
        show_progress: bool = False,
    ) -> CopyPasteResult:
        """
        Paste the concepts of a unit's formula.

        Args:
            unit (int): Its channel.
            formula (Formula): Such as an :class:`~captum_proto.concept.Explanation` has it.
            target (int): The class that the unit speaks for.
            dataset (ConceptDataset): Images with labels of pixels: to paste into, and to copy from.
            labels (Tensor or sequence of int): (N,), the class of each image.
            image_size (tuple[int, int]): Rows and columns at which the model takes images.
            controls (sequence of int, optional): Labels of the concepts to choose from as controls. Default: None, all others
            show_progress (bool, optional): Whether to show a progress bar. Default: False

        Returns:
            CopyPasteResult

        Raises:
            ValueError: If the formula has a label that the data set has not, no image has enough pixels of a concept, there is nothing to
                paste into, no control, no such unit or class, or labels are of other images.
        """
        classes = _checked_classes(labels, dataset)
        named = literals(formula)
        for label, _ in named:
            if label > len(dataset.concepts):
                raise InputError(
                    f"the formula has the label {label}; {dataset.where} has {len(dataset.concepts)} concepts, labeled from 1."
                )
        table = _Cuttings(dataset, image_size, self.least, {label for label, _ in named}, controls)
        run = _Measure(self._pipeline, self.forward_func, self.layer, unit, target, dataset.image(0, image_size))
        taken = run.over(dataset, image_size, self.batch_size)
        if not bool((classes == target).any()) or bool((classes == target).all()):
            which = "no image is" if not bool((classes == target).any()) else "all images are"
            raise InputError(f"{which} of class {target}; expected some of it and some of others.")
        random = np.random.default_rng(self.seed)
        pastes = []
        for label, speaks_for in tqdm(named, desc="pasting", unit="concept", disable=not show_progress):
            side = classes != target if speaks_for else classes == target
            hosts = (side & (taken != speaks_for) & ~table.there[label]).nonzero()[0]
            if not len(hosts):
                concept = dataset.concepts[label - 1].name
                which = (
                    f"another class than {target} that the model does not take for it"
                    if speaks_for
                    else f"class {target} that the model takes for it"
                )
                raise InputError(
                    f"there is no image of {which} and that has no {concept} yet, which pasting {concept} could change; give more "
                    "images, or another class."
                )
            pastes.append(self._paste(label, speaks_for, hosts, side, table, run, random))
        others = classes != target
        settings = {name: getattr(self, name) for name in ("trials", "place", "least", "seed")}
        return CopyPasteResult(
            run.name,
            unit,
            formula.text(dataset.concepts),
            target,
            int(others.sum()),
            int((others & taken).sum()),
            pastes,
            {**settings, "image_size": list(image_size), "dataset": dataset.digest()},
        )

    def _paste(
        self,
        label: int,
        speaks_for: bool,
        hosts: NDArray[np.int64],
        side: NDArray[np.bool_],
        table: _Cuttings,
        run: _Measure,
        random: np.random.Generator,
    ) -> ConceptPastes:
        dataset, size = table.dataset, table.size
        sources, others = table.of(label), table.others(side)
        found = ConceptPastes(dataset.concepts[label - 1].name, speaks_for, *([] for _ in range(9)))
        batch: list[Tensor] = []
        # Each host once before any is there twice.
        order = np.concatenate([random.permutation(hosts) for _ in range(math.ceil(self.trials / len(hosts)))])
        for trial, host in enumerate(order[: self.trials].tolist()):
            source = int(random.choice([index for index in sources if index != host] or sources))
            control, control_source = others[int(random.integers(len(others)))]
            image, mask = dataset.image(host, size), table.mask(label, source)
            anywhere = int(random.integers(size[0])), int(random.integers(size[1]))
            place = anywhere if self.place == "random" else None
            pasted, where = paste(image, dataset.image(source, size), mask, place)
            rows, columns = (where.any(1 - axis).nonzero().flatten() for axis in (0, 1))
            middle = (int(rows[0] + rows[-1] + 1) // 2, int(columns[0] + columns[-1] + 1) // 2)
            beside, control_where = paste(
                image,
                dataset.image(control_source, size),
                table.mask(control, control_source),
                middle,
                int(where.sum()),
            )
            found.hosts.append(host)
            found.sources.append(source)
            found.controls.append(dataset.concepts[control - 1].name)
            found.control_sources.append(control_source)
            found.areas.append(int(where.sum()))
            found.control_areas.append(int(control_where.sum()))
            batch += [image, pasted, beside]
            if len(batch) >= 3 * self.batch_size or trial == self.trials - 1:
                activation, logit, taken = run(torch.stack(batch))
                found.activation.extend(activation.view(-1, 3).tolist())
                found.logit.extend(logit.view(-1, 3).tolist())
                found.taken.extend(taken.view(-1, 3).tolist())
                batch.clear()
        return found


class _Cuttings:
    """Which concepts can be cut out of which images."""

    def __init__(
        self,
        dataset: ConceptDataset,
        size: tuple[int, int],
        least: int,
        named: set[int],
        controls: Sequence[int] | None,
    ) -> None:
        self.dataset, self.size, self.least = dataset, size, least
        wrong = [label for label in controls or () if not 1 <= label <= len(dataset.concepts)]
        if wrong:
            raise InputError(f"controls have the label {wrong[0]}; there are {len(dataset.concepts)} concepts.")
        both = sorted(named & set(controls or ()))
        if both:
            raise InputError(f"controls have the label {both[0]}, which the formula names; expected others.")
        self._images: dict[int, list[int]] = {}
        self._others: list[tuple[int, int]] = []
        #: On which images a concept of the formula is already, however small.
        self.there = {label: np.zeros(len(dataset), dtype=bool) for label in named}
        for index in range(len(dataset)):
            maps = dataset.checked_labels(index).resized(size)
            inside = np.any([np.isin(each, list(named)) for each in maps], axis=0) if maps else None
            for label in sorted({int(value) for each in maps for value in np.unique(each)} - {0}):
                mask = np.any([each == label for each in maps], axis=0)
                if label in named:
                    self.there[label][index] = True
                if mask.sum() < least:
                    continue
                if label in named:
                    self._images.setdefault(label, []).append(index)
                elif (controls is None or label in controls) and not bool((mask & inside).any()):
                    self._others.append((label, index))

    def of(self, label: int) -> list[int]:
        """The images that a concept can be copied from."""
        if label not in self._images:
            concept = self.dataset.concepts[label - 1]
            raise InputError(
                f"no image of {self.dataset.where} has {self.least} pixels of {concept.name} or more; expected a concept that pixels are "
                "labeled with, or a smaller least."
            )
        return self._images[label]

    def others(self, side: NDArray[np.bool_]) -> list[tuple[int, int]]:
        """Controls, as labels and images, from images of one side."""
        found = [(label, index) for label, index in self._others if side[index]]
        if not found:
            raise InputError(
                f"no image of {self.dataset.where} to copy a control from has {self.least} pixels of a concept apart from those of the "
                "formula; give other controls, more images, or a smaller least."
            )
        return found

    def mask(self, label: int, index: int) -> Tensor:
        """(H, W), bool: where a concept is on an image."""
        maps = self.dataset.labels(index).resized(self.size)
        return torch.from_numpy(np.any([each == label for each in maps], axis=0))


class _Measure:
    """The unit's mean activation, the class's logit, and whether images are taken for the class."""

    def __init__(
        self, pipeline: Pipeline, model: nn.Module, layer: Layer, unit: int, target: int, image: Tensor
    ) -> None:
        self.pipeline, self.unit, self.target = pipeline, check_int(unit, "unit", 0), check_int(target, "target", 0)
        self.plan = Capture(model, pipeline, self._on_device(check_images(image.unsqueeze(0))), [layer])
        output = self.plan.outputs[-1]
        self.name = output.name
        self.axis = channel_axis(self.plan.modules[output.layer], (1, *output.shape))
        units = channels_first(torch.empty((1, *output.shape), device="meta"), self.axis).shape[1]
        if self.unit >= units:
            raise InputError(f'layer "{self.name}" has {units} units, numbered from 0; there is no unit {unit}.')

    def _on_device(self, images: Tensor) -> Tensor:
        return images.to(self.pipeline.device, self.pipeline.image_dtype)

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(N,) each, on the CPU."""
        parts = Halving(self.pipeline.device).whole(len(images), lambda rows: self._of_part(images[rows]))
        activations, logits, taken = (torch.cat(each) for each in zip(*parts, strict=True))
        return activations, logits, taken

    def _of_part(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        kept: list[Tensor] = []

        def keep(_: int, value: Tensor) -> None:
            kept[:] = [channels_first(value, self.axis)[:, self.unit].flatten(1).double().mean(1).cpu()]

        logits = check_logits(self.plan.run(self._on_device(images), keep), len(images)).detach().cpu().double()
        if self.target >= logits.shape[1]:
            raise InputError(f"target is {self.target}; the model has {logits.shape[1]} classes, numbered from 0.")
        return kept[0], logits[:, self.target], logits.argmax(1) == self.target

    def over(self, dataset: ConceptDataset, size: tuple[int, int], batch_size: int) -> NDArray[np.bool_]:
        """(N,): which images of a data set are taken for the class."""
        return torch.cat([self(images)[2] for images in dataset.image_batches(size, batch_size)]).numpy()


def _checked_classes(labels: Tensor | Sequence[int], dataset: ConceptDataset) -> NDArray[np.int64]:
    classes = torch.as_tensor(labels).cpu()
    if classes.shape != (len(dataset),) or classes.is_floating_point() or classes.dtype == torch.bool:
        raise InputError(
            f"labels have shape {tuple(classes.shape)} and type {classes.dtype}; expected ({len(dataset)},) whole numbers, the class of "
            "each image."
        )
    found: NDArray[np.int64] = classes.numpy().astype(np.int64)
    return found


__all__ = ["ConceptPastes", "CopyPaste", "CopyPasteResult", "literals", "paste"]
