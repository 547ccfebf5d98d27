"""Sums of what a model's layers make of natural images: fitted, saved, loaded, and ready to be compared with."""

from __future__ import annotations

import functools
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import torch
from captum._utils.common import _format_additional_forward_args
from captum.log import log_usage
from torch import Tensor, nn
from tqdm.auto import tqdm

from captum_proto._utils.batches import Images, image_batches
from captum_proto._utils.checks import check_int
from captum_proto._utils.errors import InputError, InputTypeError, StateError
from captum_proto._utils.files import image_digest
from captum_proto._utils.halving import Halving, Once
from captum_proto._utils.model import fingerprint
from captum_proto._utils.modes import in_plain_modes
from captum_proto._utils.pipeline import Pipeline
from captum_proto.capture import Capture, LayerSelection, warn_of_layers
from captum_proto.metrics.reference import ActivationSums

if TYPE_CHECKING:
    from typing_extensions import Self

ReferenceType = TypeVar("ReferenceType", bound=ActivationSums)
#: Takes a layer's index and its rows (N, D).
Add = Callable[[int, Tensor], None]


class FittedLayers(ABC, Generic[ReferenceType]):
    r"""
    A model and the sums of its layers' activations over natural images: what every comparison with them starts from.

    :class:`PathSimilarity` and :class:`SortedSimilarity` document the arguments.
    """

    #: What :meth:`load` reads.
    _reference_type: ClassVar[type[ActivationSums]]

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
    @in_plain_modes
    def fit(
        self,
        images: Images,
        additional_forward_args: Any = None,
        *,
        distributed: bool = False,
        show_progress: bool = False,
    ) -> Self:
        r"""
        Sum what every layer makes of natural images, in one pass over them.

        Args:
            images (Tensor or iterable): (N, C, H, W), or a DataLoader or any iterable of such batches, alone or first in a tuple. At least
                two images, all of one size, in ``value_range``.
            additional_forward_args (any, optional): Further arguments of the model, the same for every batch. Default: None
            distributed (bool, optional): Whether ``images`` are the part of this process, one at least, and the sums to be those of all
                processes of ``torch.distributed``, added in the order of ranks; all call this together. Default: False
            show_progress (bool, optional): Whether to show a progress bar. Default: False

        Returns:
            PathSimilarity or SortedSimilarity: Itself.

        Raises:
            TypeError: If ``images`` is of another type.
            ValueError: If there are fewer than two images, or they are not images in ``value_range``.
        """
        reference, plan = self._summed(images, additional_forward_args, show_progress)
        if reference.count < 2 and not distributed:
            raise InputError(
                f"{reference.count} image was given to fit; a mean needs at least two, and leaving one out must leave one in."
            )
        if distributed:
            reference.gather()
        self._reference, self._capture = reference, plan
        return self

    @in_plain_modes
    def fit_part(
        self, images: Images, additional_forward_args: Any = None, *, show_progress: bool = False
    ) -> ReferenceType:
        r"""
        Sum what every layer makes of a part of the natural images.

        The references of all parts are added with their method ``merge``, and taken with :meth:`with_reference`. They are sums of sums:
        equal to those of one pass but for the last digits of float64, and always the same for the same parts in the same order.

        Args:
            images, additional_forward_args, show_progress: As in :meth:`fit`; one image is enough.

        Returns:
            PathReference or SortedReference: Of these images alone; what was fitted before stays.

        Raises:
            TypeError, ValueError: As :meth:`fit`.

        Examples::

            >>> from captum_proto import PathSimilarity
            >>> images = torch.rand(5, 3, 8, 8)
            >>> similarity = PathSimilarity(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU()))
            >>> reference = similarity.fit_part(images[:2])
            >>> reference.merge(similarity.fit_part(images[2:]))
            >>> similarity.with_reference(reference).evaluate(images).spearman.shape
            torch.Size([5, 2])
        """
        return self._summed(images, additional_forward_args, show_progress)[0]

    def _summed(
        self, images: Images, additional_forward_args: Any, show_progress: bool
    ) -> tuple[ReferenceType, Capture]:
        """The sums of images, in one pass, and what was read of them."""
        pipeline = self.pipeline(additional_forward_args)
        plan: Capture | None = None
        halving = Halving(pipeline.device)
        for batch in self.batches(images, "images", show_progress, "fitting"):
            if plan is None:
                plan = self._plan(pipeline, batch)
                model, add, finish = fingerprint(self.forward_func), *self._collecting(plan, pipeline, batch)
                pixel_sum, digests = torch.zeros(batch.shape[1:], dtype=torch.float64), list[str]()
            batch = batch.to(pipeline.device, pipeline.image_dtype)
            self.probe(plan, batch)
            self._add(plan, batch, halving, add)
            pixel_sum += batch.cpu().double().sum(0)
            digests += [image_digest(image) for image in batch]
        if plan is None:
            raise InputError("images holds no images; give at least one.")
        known = {
            "layers": plan.names,
            "shapes": [output.shape for output in plan.outputs],
            "pixel_sum": pixel_sum,
            "digests": digests,
            "model": model,
            "repeat": self.repeat,
            "alias": self.alias,
            "skipped": plan.skipped,
        }
        return finish(known), plan

    def _add(self, plan: Capture, batch: Tensor, halving: Halving, collecting: Callable[[], list[Add]]) -> None:
        """Give a batch's rows to what collects them, in parts as large as memory allows, each row once."""
        once = Once()

        def work(rows: slice) -> None:
            adding = collecting()

            def take(index: int, values: Tensor) -> None:
                for number, add in enumerate(adding):
                    once((index, number), rows, functools.partial(add, index, values))

            plan.of_rows(rows, len(batch)).stream(batch[rows], take)

        halving.whole(len(batch), work)

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
            plan = self._plan(pipeline, batch)
            if [(o.name, o.shape) for o in plan.outputs] != list(zip(reference.layers, reference.shapes, strict=True)):
                raise InputError(
                    "the reference was fitted on other layers than this model gives; fit it again with these layers."
                )
            self._capture = plan
        return self._capture.with_forward(pipeline)  # a copy: another thread may evaluate with other arguments

    def probe(self, plan: Capture, batch: Tensor) -> None:
        """Warn, once, if the model mixes the images of a batch or is random."""
        if self._probed < min(2, len(batch)):
            self._probed = min(2, len(batch))
            warn_of_layers(plan, batch)

    def _plan(self, pipeline: Pipeline, batch: Tensor) -> Capture:
        images = batch[:1].to(pipeline.device, pipeline.image_dtype)
        return Capture(self.forward_func, pipeline, images, self.layers, self.repeat, self.alias)

    @abstractmethod
    def _collecting(
        self, plan: Capture, pipeline: Pipeline, batch: Tensor
    ) -> tuple[Callable[[], list[Add]], Callable[[dict[str, Any]], ReferenceType]]:
        """What gives, for each part of a batch, the functions that take its layers' rows; and what makes the reference of all."""


__all__ = ["Add", "FittedLayers", "ReferenceType"]
