"""What every comparison with natural images, layer by layer, has in common: fit on them, score images, compare conditions."""

from __future__ import annotations

import operator
import os
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import torch
from captum._utils.common import _format_additional_forward_args
from captum.log import log_usage
from torch import Tensor, nn
from tqdm.auto import tqdm

from captum_proto._utils.batches import Images, image_batches
from captum_proto._utils.checks import callers_level, check_images, check_int
from captum_proto._utils.errors import InputError, InputTypeError, StateError
from captum_proto._utils.model import fingerprint
from captum_proto._utils.pipeline import Pipeline
from captum_proto.capture import Capture, LayerSelection, PreviousOutput, warn_of_layers
from captum_proto.metrics.controls import CONTROLS, check_controls, control_images
from captum_proto.metrics.reference import ActivationSums, digest

if TYPE_CHECKING:
    from typing_extensions import Self

ReferenceType = TypeVar("ReferenceType", bound=ActivationSums)
ScoresType = TypeVar("ScoresType")
ComparisonType = TypeVar("ComparisonType")
#: The scores of one condition: by measure (N, L), and (N,) which images were left out of what they were compared with.
Values = tuple[dict[str, Tensor], Tensor]


class LayerSimilarity(ABC, Generic[ReferenceType, ScoresType, ComparisonType]):
    r"""
    Compares what a model's layers make of images with what they make of natural images of a class: the part that
    :class:`PathSimilarity` and :class:`SortedSimilarity` share. Their documentation has the arguments.
    """

    _reference_type: ClassVar[type[ActivationSums]]
    #: What scores are called, in the order in which :meth:`_measure` returns them.
    _measures: tuple[str, ...] = ()

    def __init__(
        self,
        forward_func: nn.Module,
        layers: LayerSelection,
        preprocess: Callable[[Tensor], Tensor] | None,
        repeat: str,
        alias: str,
        value_range: tuple[float, float] | None,
        batch_size: int,
    ) -> None:
        if not isinstance(forward_func, nn.Module):
            raise InputTypeError(
                f"forward_func is a {type(forward_func).__name__}; expected a torch.nn.Module, whose layers can be watched."
            )
        self.forward_func = forward_func
        self.layers = layers
        self.preprocess = preprocess
        self.repeat = repeat
        self.alias = alias
        self.value_range = value_range
        self.batch_size = check_int(batch_size, "batch_size", 1)
        self._reference: ReferenceType | None = None
        self._capture: Capture | None = None
        #: How many images a batch had at most when it was seen whether the model treats each by itself: 2 is as good as more.
        self._probed = 0

    @property
    def reference(self) -> ReferenceType:
        """
        What is known of the natural images.

        Raises:
            RuntimeError: If nothing has been fitted or loaded.
        """
        if self._reference is None:
            raise StateError("there is no reference yet; call fit(natural_images) or load(path) first.")
        return self._reference

    @log_usage()
    def fit(self, images: Images, additional_forward_args: Any = None, *, show_progress: bool = False) -> Self:
        r"""
        Sum what every layer makes of natural images, in one pass over them.

        Args:
            images (Tensor or iterable): (N, C, H, W), or a DataLoader or any iterable of such batches, alone or first in a tuple. At least
                two images, all of one size, in ``value_range``.
            additional_forward_args (any, optional): Further arguments of the model, the same for every batch. Default: None
            show_progress (bool, optional): Whether to show a progress bar. Default: False

        Returns:
            PathSimilarity or SortedSimilarity: Itself.

        Raises:
            TypeError: If ``images`` is of another type.
            ValueError: If there are fewer than two images, or they are not images in ``value_range``.
        """
        pipeline = self.pipeline(additional_forward_args)
        plan: Capture | None = None
        for batch in self.batches(images, "images", show_progress, "fitting"):
            if plan is None:
                plan = self._plan(pipeline, batch)
                model, add, finish = fingerprint(self.forward_func), *self._collecting(plan, pipeline, batch)
                pixel_sum, digests = torch.zeros(batch.shape[1:], dtype=torch.float64), list[str]()
            batch = batch.to(pipeline.device, pipeline.image_dtype)
            self.probe(plan, batch)
            plan.stream(batch, add())
            pixel_sum += batch.to("cpu", torch.float64).sum(0)
            digests += [digest(image) for image in batch]
        if plan is None or len(digests) < 2:
            count = 0 if plan is None else len(digests)
            raise InputError(
                f"{count} image was given to fit; a mean needs at least two, and leaving one out must leave one in."
            )
        self._reference = finish(
            {
                "layers": plan.names,
                "shapes": [output.shape for output in plan.outputs],
                "pixel_sum": pixel_sum,
                "digests": digests,
                "model": model,
                "repeat": self.repeat,
                "alias": self.alias,
                "skipped": plan.skipped,
            }
        )
        self._capture = plan
        return self

    @log_usage()
    def evaluate(
        self,
        images: Images,
        additional_forward_args: Any = None,
        *,
        leave_one_out: bool = False,
        show_progress: bool = False,
    ) -> ScoresType:
        r"""
        Score each image in every layer, in one forward pass.

        That the weights are those of the reference is seen by a digest of them, which costs about as much as one image's pass on a CPU:
        give many images at a time rather than one by one.

        Args:
            images (Tensor or iterable): As in :meth:`fit`; one image is enough.
            additional_forward_args (any, optional): As in :meth:`fit`. Default: None
            leave_one_out (bool, optional): Whether an image that is part of the reference is compared with the mean of the others. Images
                are recognized by their values; for those that are not part of it, it makes no difference. Default: False
            show_progress (bool, optional): Whether to show a progress bar. Default: False

        Returns:
            PathScores or SortedScores: Of every image in every layer, (N, L).

        Raises:
            RuntimeError: If nothing has been fitted.
            ValueError: If the images are of another size than the reference's, or the model's weights are others than it was fitted on.
        """
        self.check_weights()
        return self._scores(*self._evaluate(images, additional_forward_args, leave_one_out, show_progress))

    @log_usage()
    def compare(
        self,
        prototypes: Any,
        same_class: Images,
        other_class: Images,
        additional_forward_args: Any = None,
        *,
        target: Any = None,
        controls: Iterable[str] = CONTROLS,
        control_count: int | None = None,
        further: Mapping[str, Images] | None = None,
        leave_one_out: bool = True,
        ascent_steps: int = 512,
        seed: int = 0,
        show_progress: bool = False,
    ) -> ComparisonType:
        r"""
        The paper's three-way comparison of prototypes with images of the same and of other classes, beside controls.

        A criterion that a gray square passes proves nothing: so mid-gray, uniform noise, plain gradient ascent and feature visualization
        (which know no data) and the mean image (which does) are scored in the same way.

        Args:
            prototypes (Prototypes or Tensor): Images (P, C, H, W) in ``value_range``.
            same_class (Tensor or iterable): Natural images of the class. Where nothing has been fitted yet, the reference is fitted on
                them; an iterable must then be one that can be gone through twice, such as a list or a DataLoader.
            other_class (Tensor or iterable): Natural images of other classes.
            additional_forward_args (any, optional): As in :meth:`fit`. Default: None
            target (TargetType or nested list, optional): The class of the prototypes, for the control by gradient ascent. Default: None,
                that of ``prototypes`` if they know it, else the class the model sees in each
            controls (iterable of str, optional): Of "gray", "noise", "ascent", "feature_visualization" and "mean_image". Default: all
            control_count (int, optional): How many images of noise, of ascent and of feature visualization there are, be they fewer or
                more than prototypes; ascents take the classes of the prototypes in turn. Default: None, as many as prototypes
            further (mapping[str, Tensor or iterable], optional): Other conditions to score, by name: another method's pictures.
                Default: None
            leave_one_out (bool, optional): Whether each natural image is compared with the mean of the others. False is the paper's way, in
                which every image is part of what it is compared with. Default: True
            ascent_steps (int, optional): Steps of the controls by gradient ascent. Default: 512
            seed (int, optional): Of the controls. Default: 0
            show_progress (bool, optional): Whether to show progress bars. Default: False

        Returns:
            PathComparison or SortedComparison: Scores of every condition, curves, and what they say together.

        Raises:
            TypeError, ValueError: As :meth:`fit` and :meth:`evaluate`; and if a control is unknown.
        """
        controls = check_controls(controls)
        if control_count is not None:
            control_count = check_int(control_count, "control_count", 1, ", or None for as many as prototypes")
        ascent_steps, seed = check_int(ascent_steps, "ascent_steps", 0), operator.index(seed)
        images = check_images(getattr(prototypes, "images", prototypes), self.value_range, "prototypes")
        if target is None and hasattr(prototypes, "target"):
            target = [list(classes) for classes in prototypes.target]
        fitted_here = self._reference is None
        if fitted_here:
            self.fit(same_class, additional_forward_args, show_progress=show_progress)
        else:
            self.check_weights()
        reference = self.reference
        reference.check_image_shape(images)
        conditions: dict[str, Images] = {"prototype": images, "same_class": same_class, "other_class": other_class}
        conditions |= control_images(
            self.pipeline(additional_forward_args),
            images,
            reference.mean_image(),
            target,
            controls,
            count=control_count,
            value_range=self.value_range or (0.0, 1.0),
            ascent_steps=ascent_steps,
            seed=seed,
            show_progress=show_progress,
        )
        for name, further_images in (further or {}).items():
            if name in conditions:
                raise InputError(
                    f'a further condition is called "{name}", as one of the comparison\'s own; choose another name.'
                )
            conditions[name] = further_images
        scores = {
            name: self._evaluate(
                condition_images,
                additional_forward_args,
                leave_one_out and name in ("same_class", "other_class"),
                show_progress,
            )
            for name, condition_images in conditions.items()
        }
        _, natural = scores["same_class"]
        left_out = int(natural.sum())
        if fitted_here and leave_one_out and left_out < len(natural):
            warnings.warn(
                f"only {left_out} of {len(natural)} same-class images came again as they were fitted, so the others were not "
                "left out of their own mean; give same_class without random augmentation.",
                stacklevel=callers_level(),
            )
        by_measure = {
            measure: {name: values[measure] for name, (values, _) in scores.items()} for measure in self._measures
        }
        settings = {
            "leave_one_out": leave_one_out,
            "left_out": left_out,
            "reference_images": reference.count,
            "repeat": self.repeat,
            "alias": self.alias,
            "ascent_steps": ascent_steps,
            "seed": seed,
            "skipped": reference.skipped,
        }
        return self._comparison(by_measure, settings)

    def save(self, path: str | os.PathLike[str], overwrite: bool = False) -> None:
        """
        Write the fitted reference to one safetensors file.

        Raises:
            RuntimeError: If nothing has been fitted.
            FileExistsError: If the file exists and ``overwrite`` is False.
        """
        self.reference.save(path, overwrite)

    def load(self, path: str | os.PathLike[str]) -> Self:
        """
        Take a saved reference instead of fitting one.

        Returns:
            PathSimilarity or SortedSimilarity: Itself.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is damaged, or was fitted on another model or with other options.
        """
        reference: Any = self._reference_type.load(path)
        if reference.model != fingerprint(self.forward_func):
            raise InputError(
                f'the reference in "{path}" was fitted on another model or other weights; fit it again on this one.'
            )
        for name in ("repeat", "alias"):
            if getattr(reference, name) != getattr(self, name):
                raise InputError(
                    f'the reference in "{path}" was fitted with {name}="{getattr(reference, name)}", here it is "{getattr(self, name)}"; '
                    "use the same."
                )
        self._reference, self._capture = reference, None
        return self

    # What the other parts of this room use.

    def with_reference(self, reference: ReferenceType) -> Self:
        """Take a reference that was fitted elsewhere."""
        self._reference, self._capture = reference, None
        return self

    def check_weights(self) -> None:
        """Refuse a model with other weights than the reference was fitted on."""
        # The versions of the tensors would not do: what is written through .data leaves them as they are.
        if self.reference.model != fingerprint(self.forward_func):
            raise InputError("the reference was fitted on another model or other weights; fit it again on this one.")

    def pipeline(self, additional_forward_args: Any) -> Pipeline:
        """The model with its preprocessing and further arguments."""
        return Pipeline(
            self.forward_func, self.preprocess, _format_additional_forward_args(additional_forward_args) or ()
        )

    def batches(self, images: Images, name: str, show_progress: bool, description: str) -> Iterable[Tensor]:
        """Checked batches, with a progress bar."""
        batches = image_batches(images, self.batch_size, self.value_range, name)
        return tqdm(batches, desc=description, unit="batch", disable=not show_progress)

    def planned(self, pipeline: Pipeline, batch: Tensor) -> Capture:
        """
        What to read of images that are compared with the reference.

        Raises:
            ValueError: If the images are of another size than the reference's, or the layers are others.
        """
        reference = self.reference
        reference.check_image_shape(batch)
        if self._capture is None:
            self._capture = self._plan(pipeline, batch)
            if [(o.name, o.shape) for o in self._capture.outputs] != list(
                zip(reference.layers, reference.shapes, strict=True)
            ):
                raise InputError(
                    "the reference was fitted on other layers than this model gives; fit it again with these layers."
                )
        return self._capture.with_forward(pipeline)  # a copy: another thread may evaluate with other arguments

    def probe(self, plan: Capture, batch: Tensor) -> None:
        """Warn, once, if the model mixes the images of a batch or is random."""
        if self._probed < min(2, len(batch)):
            self._probed = min(2, len(batch))
            warn_of_layers(plan, batch)

    def _plan(self, pipeline: Pipeline, batch: Tensor) -> Capture:
        images = batch[:1].to(pipeline.device, pipeline.image_dtype)
        return Capture(self.forward_func, pipeline, images, self.layers, self.repeat, self.alias)

    def _evaluate(
        self, images: Images, additional_forward_args: Any, leave_one_out: bool, show_progress: bool
    ) -> Values:
        reference, pipeline = self.reference, self.pipeline(additional_forward_args)
        parts = [
            self._evaluate_batch(pipeline, reference, batch, leave_one_out)
            for batch in self.batches(images, "images", show_progress, "evaluating")
        ]
        values = {measure: torch.cat([part[measure] for part, _ in parts]) for measure in self._measures}
        return values, torch.cat([inside for _, inside in parts])

    def _evaluate_batch(
        self, pipeline: Pipeline, reference: ReferenceType, batch: Tensor, leave_one_out: bool
    ) -> Values:
        plan = self.planned(pipeline, batch)
        batch = batch.to(pipeline.device, pipeline.image_dtype)
        self.probe(plan, batch)
        inside = torch.tensor([leave_one_out and reference.contains(image) for image in batch], device=pipeline.device)
        some, every = bool(inside.any()), bool(inside.all())
        columns: list[tuple[Tensor, ...]] = [()] * len(reference.layers)
        previous = PreviousOutput()

        def score(index: int, rows: Tensor) -> None:
            if previous.is_same(rows) and reference.is_alike(index, previous.index):
                columns[index] = columns[previous.index]
                return
            if every:
                columns[index] = self._measure(reference, index, rows, True)
            else:
                columns[index] = self._measure(reference, index, rows, False)
                if some:
                    known = inside.to(rows.device)
                    without = self._measure(reference, index, rows[known], True)
                    for column, values in zip(columns[index], without, strict=True):
                        column[known] = values
            previous.set(index, rows)

        plan.stream(batch, score)
        values = {
            # a model may be spread over several devices
            measure: torch.stack([column[number].to(pipeline.device) for column in columns], 1).cpu()
            for number, measure in enumerate(self._measures)
        }
        return values, inside.cpu()

    # What tells one kind of comparison from another.

    @abstractmethod
    def _collecting(
        self, plan: Capture, pipeline: Pipeline, batch: Tensor
    ) -> tuple[Callable[[], Callable[[int, Tensor], None]], Callable[[dict[str, Any]], ReferenceType]]:
        """What gives, for each batch, the function that takes its layers' rows; and what makes the reference of all."""

    @abstractmethod
    def _measure(self, reference: ReferenceType, index: int, rows: Tensor, leave_one_out: bool) -> tuple[Tensor, ...]:
        """Each measure of a layer's rows (N, D) against the reference, (N,) in float64; or against that of the other images."""

    @abstractmethod
    def _scores(self, values: dict[str, Tensor], left_out: Tensor) -> ScoresType:
        """The scores of images, by measure (N, L)."""

    @abstractmethod
    def _comparison(self, values: dict[str, dict[str, Tensor]], settings: dict[str, Any]) -> ComparisonType:
        """The scores of all conditions, by measure and condition."""


__all__ = ["LayerSimilarity"]
