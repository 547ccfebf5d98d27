"""What every comparison with natural images, layer by layer, has in common: score images, compare conditions."""

from __future__ import annotations

import operator
import warnings
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Generic, TypeVar

import torch
from captum.log import log_usage
from torch import Tensor

from captum_proto._utils.batches import Images
from captum_proto._utils.checks import callers_level, check_images_or_inputs, check_int
from captum_proto._utils.errors import InputError, StateError
from captum_proto._utils.halving import Halving
from captum_proto._utils.modes import in_plain_modes
from captum_proto._utils.pipeline import Pipeline
from captum_proto.capture import PreviousOutput
from captum_proto.metrics.controls import CONTROLS, check_controls, control_images
from captum_proto.metrics.fitting import FittedLayers, ReferenceType
from captum_proto.ops.double import exact, exact_device

ScoresType = TypeVar("ScoresType")
ComparisonType = TypeVar("ComparisonType")
#: The scores of one condition: by measure (N, L), and (N,) which images were left out of what they were compared with.
Values = tuple[dict[str, Tensor], Tensor]


class LayerSimilarity(FittedLayers[ReferenceType], Generic[ReferenceType, ScoresType, ComparisonType]):
    r"""
    Compares what a model's layers make of images with what they make of natural images of a class: the part that
    :class:`PathSimilarity` and :class:`SortedSimilarity` share. Their documentation has the arguments.
    """

    #: What scores are called, in the order in which :meth:`_measure` returns them.
    _measures: tuple[str, ...] = ()
    #: What :meth:`evaluate` gives.
    _scores_type: ClassVar[type[Any]]

    @log_usage()
    @in_plain_modes
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
    @in_plain_modes
    def compare(
        self,
        prototypes: Any,
        same_class: Images | ScoresType,
        other_class: Images | ScoresType,
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
                them; an iterable must then be one that can be gone through twice, such as a list or a DataLoader. Where a reference is
                there: what :meth:`evaluate` has given of them, with ``leave_one_out`` as here, such as of parts that several processes
                have scored.
            other_class (Tensor or iterable): Natural images of other classes; or what :meth:`evaluate` has given of them.
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
        images = check_images_or_inputs(getattr(prototypes, "images", prototypes), self.value_range, "prototypes")
        if target is None and hasattr(prototypes, "target"):
            target = [list(classes) for classes in prototypes.target]
        fitted_here = self._reference is None
        if fitted_here:
            if isinstance(same_class, self._scores_type):
                raise StateError("same_class holds scores, and there is no reference that they are of; load it first.")
            self.fit(same_class, additional_forward_args, show_progress=show_progress)
        else:
            self.check_weights()
        reference = self.reference
        reference.check_image_shape(images)
        conditions: dict[str, Any] = {"prototype": images, "same_class": same_class, "other_class": other_class}
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
            name: self._known(given, name)
            if isinstance(given, self._scores_type)
            else self._evaluate(
                given,
                additional_forward_args,
                leave_one_out and name in ("same_class", "other_class"),
                show_progress,
            )
            for name, given in conditions.items()
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

    def _known(self, scores: Any, name: str) -> Values:
        """What was scored before."""
        missing = [measure for measure in self._measures if getattr(scores, measure, None) is None]
        if scores.layers != self.reference.layers or missing:
            what = f"without {missing[0]}" if missing else "of other layers than the reference's"
            raise InputError(f"{name} holds scores {what}; score the images with this object, or give the images.")
        return {measure: getattr(scores, measure) for measure in self._measures}, scores.left_out

    def _evaluate(
        self, images: Images, additional_forward_args: Any, leave_one_out: bool, show_progress: bool
    ) -> Values:
        reference, pipeline = self.reference, self.pipeline(additional_forward_args)
        halving = Halving(pipeline.device)
        parts: list[Values] = []
        for batch in self.batches(images, "images", show_progress, "evaluating"):

            def work(rows: slice, batch: Tensor = batch) -> Values:
                own = pipeline.of_rows(rows, len(batch))
                return self._evaluate_batch(own, reference, batch[rows], leave_one_out)

            parts += halving.parts(len(batch), work)
        values = {measure: torch.cat([part[measure] for part, _ in parts]) for measure in self._measures}
        return values, torch.cat([inside for _, inside in parts])

    def _evaluate_batch(
        self, pipeline: Pipeline, reference: ReferenceType, batch: Tensor, leave_one_out: bool
    ) -> Values:
        plan, device = self.planned(pipeline, batch), exact_device(pipeline.device)
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
            values = exact(rows)
            if every:
                columns[index] = self._measure(reference, index, values, True)
            else:
                columns[index] = self._measure(reference, index, values, False)
                if some:
                    known = inside.to(values.device)
                    without = self._measure(reference, index, values[known], True)
                    for column, found in zip(columns[index], without, strict=True):
                        column[known] = found
            previous.set(index, rows)

        plan.stream(batch, score)
        values = {
            # a model may be spread over several devices
            measure: torch.stack([column[number].to(device) for column in columns], 1).cpu()
            for number, measure in enumerate(self._measures)
        }
        return values, inside.cpu()

    # What tells one kind of comparison from another.

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
