"""Path similarity (arXiv:2309.17144, section 3.2): whether a model processes an image as it processes natural images of a class."""

from __future__ import annotations

import operator
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from captum._utils.common import _format_additional_forward_args
from captum.log import log_usage
from torch import Tensor, nn
from tqdm.auto import tqdm

from captum_proto._utils.batches import Images, image_batches
from captum_proto._utils.checks import check_images, check_int
from captum_proto._utils.errors import InputError, InputTypeError, StateError
from captum_proto._utils.model import fingerprint
from captum_proto._utils.pipeline import Pipeline
from captum_proto.capture import Capture, LayerSelection, PreviousOutput, warn_of_layers
from captum_proto.metrics.comparison import PathComparison
from captum_proto.metrics.controls import CONTROLS, check_controls, control_images
from captum_proto.metrics.reference import PathReference, digest
from captum_proto.stats.moments import Moments


@dataclass
class PathScores:
    r"""
    Both distances of images from a reference, in every layer.

    Attributes:
        layers (list[str]): L names, in the order in which the layers return.
        spearman (Tensor): (N, L), float64 on the CPU. NaN where the image's or the reference's activations are constant.
        l1 (Tensor): (N, L), float64 on the CPU.
        left_out (Tensor): (N,), bool on the CPU: which images were part of the reference and left out of the mean they were compared with.
    """

    layers: list[str]
    spearman: Tensor
    l1: Tensor
    left_out: Tensor

    def __len__(self) -> int:
        return len(self.spearman)

    @classmethod
    def concatenate(cls, parts: Sequence[PathScores]) -> PathScores:
        """The scores of several batches, one after the other."""
        return cls(
            parts[0].layers,
            torch.cat([part.spearman for part in parts]),
            torch.cat([part.l1 for part in parts]),
            torch.cat([part.left_out for part in parts]),
        )


class PathSimilarity:
    r"""
    Whether a model processes an image as it processes natural images of a class, layer by layer.

    .. math::
        SS_l(x) = \operatorname{Spearman}\bigl(A_l(\mathbb{I}), A_l(x)\bigr)
        \qquad D_l(x) = \bigl\lVert A_l(\mathbb{I}) - A_l(x) \bigr\rVert_1

    where :math:`A_l(x)` is the flattened output of layer l and :math:`A_l(\mathbb{I})` its mean over natural images. The measure of
    Prototype Generation (arXiv:2309.17144, section 3.2).

    Images stream through: memory holds one batch, and a sum, a mean and a rank of every activation, whatever the number of images. The
    model is frozen and in evaluation mode while it is looked at, and comes back exactly as it was. Several threads may use one model, and
    models in ``torch.compile``, ``DataParallel`` or ``DistributedDataParallel`` are the models in them: see :ref:`using_a_model`. Scores
    are of an image alone only if the model treats each image by itself, and the same each time: what a BatchNorm2d without running
    statistics does, or a dropout that stays on, is noticed on the first images and warned of.

    Args:
        forward_func (nn.Module): The model; layers are found in it by name.
        layers (LayerSelection, optional): Dotted names, patterns, modules, "leaf" or "all". None: every module but the root, containers
            included, as in the paper: 67 for torchvision's ``resnet18``. What a pattern stands for and does not run is left out; a layer
            named by itself must run. Default: None
        preprocess (Callable, optional): From images in ``value_range`` to the model's input. Default: None
        repeat (str, optional): Which call of a layer counts that runs several times per pass: "last" (the paper's counts), "first" or
            "all". Default: "last"
        alias (str, optional): "value" for what each layer returned, "reference" for what later in-place layers made of it by the end of
            the pass. Default: "value"
        value_range (tuple[float, float], optional): The range images must lie in; None for any. Default: (0, 1)
        batch_size (int, optional): Images at a time, where a tensor is given. Default: 32

    Examples::

        >>> model = torchvision.models.resnet18()
        >>> similarity = PathSimilarity(model, layers="layer?")
        >>> similarity.fit(torch.rand(8, 3, 64, 64))
        >>> scores = similarity.evaluate(torch.rand(2, 3, 64, 64))
        >>> scores.layers, scores.spearman.shape
        (['layer1', 'layer2', 'layer3', 'layer4'], torch.Size([2, 4]))
    """

    def __init__(
        self,
        forward_func: nn.Module,
        layers: LayerSelection = None,
        preprocess: Callable[[Tensor], Tensor] | None = None,
        *,
        repeat: str = "last",
        alias: str = "value",
        value_range: tuple[float, float] | None = (0.0, 1.0),
        batch_size: int = 32,
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
        self._reference: PathReference | None = None
        self._capture: Capture | None = None
        #: How many images a batch had at most when it was seen whether the model treats each by itself: 2 is as good as more.
        self._probed = 0

    @property
    def reference(self) -> PathReference:
        """
        The mean natural activations.

        Raises:
            RuntimeError: If nothing has been fitted or loaded.
        """
        if self._reference is None:
            raise StateError("there is no reference yet; call fit(natural_images) or load(path) first.")
        return self._reference

    @log_usage()
    def fit(
        self, images: Images, additional_forward_args: Any = None, *, show_progress: bool = False
    ) -> PathSimilarity:
        r"""
        Compute the mean natural activations A(𝕀) of every layer, in one pass over the images.

        Args:
            images (Tensor or iterable): (N, C, H, W), or a DataLoader or any iterable of such batches, alone or first in a tuple. At least
                two images, all of one size, in ``value_range``.
            additional_forward_args (any, optional): Further arguments of the model, the same for every batch. Default: None
            show_progress (bool, optional): Whether to show a progress bar. Default: False

        Returns:
            PathSimilarity: Itself.

        Raises:
            TypeError: If ``images`` is of another type.
            ValueError: If there are fewer than two images, or they are not images in ``value_range``.
        """
        pipeline = self._pipeline(additional_forward_args)
        reference: PathReference | None = None
        plan: Capture | None = None
        moments = _LayerMoments(0)
        for batch in self._batches(images, "images", show_progress, "fitting"):
            if plan is None or reference is None:
                plan = self._plan(pipeline, batch)
                reference = self._empty_reference(plan, batch)
                moments = _LayerMoments(len(plan.outputs))
            batch = batch.to(pipeline.device, pipeline.image_dtype)
            self._probe(plan, batch)
            plan.stream(batch, moments.batch())
            reference.pixel_sum += batch.to("cpu", torch.float64).sum(0)
            reference.digests += [digest(image) for image in batch]
        if reference is None or reference.count < 2:
            count = 0 if reference is None else reference.count
            raise InputError(
                f"{count} image was given to fit; a mean needs at least two, and leaving one out must leave one in."
            )
        reference.sums = [layer.total() for layer in moments.layers]
        self._reference, self._capture = reference, plan
        return self

    @log_usage()
    def evaluate(
        self,
        images: Images,
        additional_forward_args: Any = None,
        *,
        leave_one_out: bool = False,
        show_progress: bool = False,
    ) -> PathScores:
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
            PathScores: Spearman and L1, each (N, L).

        Raises:
            RuntimeError: If nothing has been fitted.
            ValueError: If the images are of another size than the reference's, or the model's weights are others than it was fitted on.
        """
        self._check_weights()
        return self._evaluate(images, additional_forward_args, leave_one_out, show_progress)

    def _check_weights(self) -> None:
        # The versions of the tensors would not do: what is written through .data leaves them as they are.
        if self.reference.model != fingerprint(self.forward_func):
            raise InputError("the reference was fitted on another model or other weights; fit it again on this one.")

    def _evaluate(
        self, images: Images, additional_forward_args: Any, leave_one_out: bool, show_progress: bool
    ) -> PathScores:
        reference = self.reference
        pipeline = self._pipeline(additional_forward_args)
        parts = [
            self._evaluate_batch(pipeline, reference, batch, leave_one_out)
            for batch in self._batches(images, "images", show_progress, "evaluating")
        ]
        return PathScores.concatenate(parts)

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
    ) -> PathComparison:
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
            PathComparison: Scores of every condition, curves, and both assertions.

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
            self._check_weights()
        reference = self.reference
        reference.check_image_shape(images)
        conditions: dict[str, Images] = {"prototype": images, "same_class": same_class, "other_class": other_class}
        conditions |= control_images(
            self._pipeline(additional_forward_args),
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
        left_out = int(scores["same_class"].left_out.sum())
        if fitted_here and leave_one_out and left_out < len(scores["same_class"]):
            warnings.warn(
                f"only {left_out} of {len(scores['same_class'])} same-class images came again as they were fitted, so the others were not "
                "left out of their own mean; give same_class without random augmentation.",
                stacklevel=2,
            )
        return PathComparison(
            layers=reference.layers,
            spearman={name: score.spearman for name, score in scores.items()},
            l1={name: score.l1 for name, score in scores.items()},
            settings={
                "leave_one_out": leave_one_out,
                "left_out": left_out,
                "reference_images": reference.count,
                "repeat": self.repeat,
                "alias": self.alias,
                "ascent_steps": ascent_steps,
                "seed": seed,
                "skipped": reference.skipped,
            },
        )

    def save(self, path: str | os.PathLike[str], overwrite: bool = False) -> None:
        """
        Write the fitted reference to one safetensors file.

        Raises:
            RuntimeError: If nothing has been fitted.
            FileExistsError: If the file exists and ``overwrite`` is False.
        """
        self.reference.save(path, overwrite)

    def load(self, path: str | os.PathLike[str]) -> PathSimilarity:
        """
        Take a saved reference instead of fitting one.

        Returns:
            PathSimilarity: Itself.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is damaged, or was fitted on another model or with other options.
        """
        reference = PathReference.load(path)
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

    def _pipeline(self, additional_forward_args: Any) -> Pipeline:
        return Pipeline(
            self.forward_func, self.preprocess, _format_additional_forward_args(additional_forward_args) or ()
        )

    def _batches(self, images: Images, name: str, show_progress: bool, description: str) -> Iterable[Tensor]:
        batches = image_batches(images, self.batch_size, self.value_range, name)
        return tqdm(batches, desc=description, unit="batch", disable=not show_progress)

    def _plan(self, pipeline: Pipeline, batch: Tensor) -> Capture:
        images = batch[:1].to(pipeline.device, pipeline.image_dtype)
        return Capture(self.forward_func, pipeline, images, self.layers, self.repeat, self.alias)

    def _probe(self, plan: Capture, batch: Tensor) -> None:
        """Warn, once, if the model mixes the images of a batch or is random."""
        if self._probed < min(2, len(batch)):
            self._probed = min(2, len(batch))
            warn_of_layers(plan, batch)

    def _empty_reference(self, plan: Capture, batch: Tensor) -> PathReference:
        return PathReference(
            layers=plan.names,
            sums=[],
            shapes=[output.shape for output in plan.outputs],
            pixel_sum=torch.zeros(batch.shape[1:], dtype=torch.float64),
            digests=[],
            model=fingerprint(self.forward_func),
            repeat=self.repeat,
            alias=self.alias,
            skipped=plan.skipped,
        )

    def _evaluate_batch(
        self, pipeline: Pipeline, reference: PathReference, batch: Tensor, leave_one_out: bool
    ) -> PathScores:
        reference.check_image_shape(batch)
        if self._capture is None:
            self._capture = self._plan(pipeline, batch)
            if [(o.name, o.shape) for o in self._capture.outputs] != list(
                zip(reference.layers, reference.shapes, strict=True)
            ):
                raise InputError(
                    "the reference was fitted on other layers than this model gives; fit it again with these layers."
                )
        plan = self._capture.with_forward(pipeline)  # a copy: another thread may evaluate with other arguments
        batch = batch.to(pipeline.device, pipeline.image_dtype)
        self._probe(plan, batch)
        inside = torch.tensor([leave_one_out and reference.contains(image) for image in batch], device=pipeline.device)
        any_inside, all_inside = bool(inside.any()), bool(inside.all())
        spearman: list[Tensor] = [torch.empty(0)] * len(reference.layers)
        l1: list[Tensor] = [torch.empty(0)] * len(reference.layers)
        previous = PreviousOutput()

        def score(index: int, rows: Tensor) -> None:
            if previous.is_same(rows) and torch.equal(reference.sums[index], reference.sums[previous.index]):
                spearman[index], l1[index] = spearman[previous.index], l1[previous.index]
                return
            if all_inside:
                spearman[index], l1[index] = reference.distance_without(index, rows)
            else:
                spearman[index], l1[index] = reference.distance(index, rows)
                if any_inside:
                    known = inside.to(rows.device)
                    spearman[index][known], l1[index][known] = reference.distance_without(index, rows[known])
            previous.set(index, rows)

        plan.stream(batch, score)

        def together(columns: list[Tensor]) -> Tensor:  # a model may be spread over several devices
            return torch.stack([column.to(pipeline.device) for column in columns], 1).cpu()

        return PathScores(reference.layers, together(spearman), together(l1), inside.cpu())


class _LayerMoments:
    """
    The moments of all layers, batch by batch.

    A container returns the tensor of its last child. As long as it has done so in every batch, its moments are copied from the child's,
    which is cheaper than adding all images again.
    """

    def __init__(self, layers: int) -> None:
        self.layers = [Moments() for _ in range(layers)]
        self._copies: dict[int, int] = {}

    def batch(self) -> Callable[[int, Tensor], None]:
        """What to call with each layer's index and its output for one further batch."""
        previous = PreviousOutput()

        def add(index: int, rows: Tensor) -> None:
            moments = self.layers[index]
            same = previous.is_same(rows)
            if same and (not moments.count or self._copies.get(index) == previous.index):
                self._copies[index] = previous.index
                moments.copy(self.layers[previous.index])
            else:
                self._copies.pop(index, None)
                moments.update(rows)
            previous.set(index, rows)

        return add


@log_usage()
def path_similarity(
    forward_func: nn.Module,
    inputs: Images,
    reference: PathReference | Images,
    layers: LayerSelection = None,
    additional_forward_args: Any = None,
    *,
    preprocess: Callable[[Tensor], Tensor] | None = None,
    **options: Any,
) -> PathScores:
    r"""
    Path similarity in the style of :mod:`captum.metrics`: one call, no object. See :class:`PathSimilarity`.

    Args:
        forward_func (nn.Module): The model.
        inputs (Tensor or iterable): Images to score, (N, C, H, W).
        reference (PathReference, Tensor or iterable): A fitted reference, or natural images to fit one on.
        layers (LayerSelection, optional): As in :class:`PathSimilarity`. Default: None, every module but the root
        additional_forward_args (any, optional): Further arguments of the model. Default: None
        preprocess (Callable, optional): From images to the model's input. Default: None
        **options: ``repeat``, ``alias``, ``value_range`` and ``batch_size`` of :class:`PathSimilarity`; for a fitted reference ``repeat``
            and ``alias`` are its own.

    Returns:
        PathScores: Spearman and L1, each (N, L).

    Raises:
        TypeError, ValueError: As :meth:`PathSimilarity.fit` and :meth:`PathSimilarity.evaluate`.

    Examples::

        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
        >>> path_similarity(model, torch.rand(2, 1, 8, 8), torch.rand(16, 1, 8, 8)).spearman.shape
        torch.Size([2, 2])
    """
    if isinstance(reference, PathReference):
        options |= {"repeat": reference.repeat, "alias": reference.alias}
    similarity = PathSimilarity(forward_func, layers, preprocess, **options)
    if isinstance(reference, PathReference):
        similarity._reference = reference
    else:
        similarity.fit(reference, additional_forward_args)
    return similarity.evaluate(inputs, additional_forward_args)
