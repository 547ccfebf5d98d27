"""Nearest class: of the references of all classes, which one an image's activations are nearest to."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from captum.log import log_usage
from torch import Tensor, nn

from captum_proto import ops
from captum_proto._utils.batches import Images
from captum_proto._utils.checks import as_int, nearest, type_name
from captum_proto._utils.errors import InputError, InputTypeError
from captum_proto._utils.files import image_digest
from captum_proto._utils.halving import Halving
from captum_proto._utils.model import dtype_of
from captum_proto._utils.modes import in_plain_modes
from captum_proto._utils.pipeline import Pipeline
from captum_proto.capture import LayerSelection, PreviousOutput
from captum_proto.metrics.class_similarities import Similarity, checked_similarities, chosen_layers, warn_of_counts
from captum_proto.metrics.nearest_result import MEASURES, Label, NearestClassResult
from captum_proto.metrics.path_similarity import PathSimilarity
from captum_proto.metrics.rank_correlation import rank_correlations
from captum_proto.metrics.rank_store import RankStore, doubled_ranks
from captum_proto.metrics.reference import PathReference
from captum_proto.metrics.sorted_reference import SortedReference
from captum_proto.metrics.sorted_similarity import SortedSimilarity
from captum_proto.ops.double import exact


class NearestClass:
    r"""
    Which of several classes an image's activations are nearest to, and where its own class comes among them.

    A prototype may be more like natural images of its class than other images are, and still be more like those of another class: a
    picture of another class planted in the network is. So each image is compared with the references of *all* classes, in one forward
    pass, by the mean over layers of Spearman's correlation (:class:`PathSimilarity`) or of the sorted distance
    (:class:`SortedSimilarity`, there in units of the mean over classes of what natural images have, so that a class that varies much is
    not near to everything). The rank of the image's own class is 1 where it is the nearest.

    A layer counts for an image where it can compare the image with every class; constant layers of images or references do not.

    An image that is *part* of its class's reference is left out of that mean, or it would be compared with itself. But this makes its own
    class look farther than the others, whose means are whole: for a ceiling take images that are in no reference (:meth:`ceiling`).

    The mean of few images is farther from everything than the mean of many: fit all references on equally many images. And a class that
    varies much has a mean that is near to none of its images, so not even natural images come first everywhere: the ceiling says how many.

    Memory: for each class and activation of one image 8 bytes of the reference, and by Spearman's correlation 4 more for its ranks. Over
    all layers of EfficientNet-Lite0 (about 8 million activations) that is about 96 MB a class, 9.6 GB for 100 classes. References that
    were loaded lie in their files, which the system reads when it needs them; ``store`` puts the ranks into a file too, and then any number
    of classes takes no more memory than one layer's comparison. Or fit with the layers of interest, or name some of the references' in
    ``layers``: of the others no ranks are made.

    Args:
        similarities (mapping[str or int, PathSimilarity or SortedSimilarity]): By class, each fitted or loaded; of one model, with one
            preprocessing and the same layers.
        layers (iterable of str, optional): Which of the references' layers to compare by. Default: None, all
        store (str or Path, optional): A file for the ranks of all references, of :class:`PathSimilarity` and a model that is not in
            float64. It is made where it is not there: 4 bytes for each class and activation. Default: None, in memory

    Raises:
        TypeError: If ``similarities`` are of another type, or of several.
        ValueError: If there are fewer than two, or they are of different models, options, layers or image sizes; or the store is of others.

    Warns:
        UserWarning: If references are over so different numbers of images that it matters.

    Examples::

        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
        >>> dark, bright = torch.rand(4, 1, 8, 8), torch.rand(4, 1, 8, 8)
        >>> dark[..., :4], bright[..., 4:] = 0, 0
        >>> fitted = {name: PathSimilarity(model).fit(images) for name, images in {"dark": dark, "bright": bright}.items()}
        >>> result = NearestClass(fitted).evaluate(dark, "dark")
        >>> result.summary().median_rank
        1.0
    """

    def __init__(
        self,
        similarities: Mapping[Label, Similarity],
        layers: Iterable[str] | None = None,
        store: str | os.PathLike[str] | None = None,
    ) -> None:
        self.similarities = checked_similarities(similarities)
        self.labels: list[Label] = list(self.similarities)
        self._first = next(iter(self.similarities.values()))
        names = self._first.reference.layers
        self._chosen = frozenset(chosen_layers(names, layers))
        self.measure = "spearman" if isinstance(self._first, PathSimilarity) else "sorted"
        warn_of_counts(self.similarities)
        self._ranks: dict[tuple[int, torch.dtype, torch.device], Tensor] = {}
        members: dict[str, list[int]] = {}
        for number, similarity in enumerate(self.similarities.values()):
            for known in similarity.reference.members():
                members.setdefault(known, []).append(number)
        self._members = members
        self._store = None if store is None else self._stored(Path(store))

    @property
    def layers(self) -> list[str]:
        """The layers to compare by."""
        return [self._first.reference.layers[index] for index in sorted(self._chosen)]

    @log_usage()
    @in_plain_modes
    def evaluate(
        self,
        images: Images,
        target: Label | Sequence[Label] | Tensor,
        additional_forward_args: Any = None,
        *,
        leave_one_out: bool = True,
        show_progress: bool = False,
    ) -> NearestClassResult:
        r"""
        Compare images with the references of all classes, in one forward pass.

        Args:
            images (Tensor or iterable): (N, C, H, W), or a DataLoader or any iterable of such batches. In the ``value_range`` of the
                similarities.
            target (str, int or sequence of them): The class of the images, as the similarities are named, or one for each image.
            additional_forward_args (any, optional): Further arguments of the model, the same for every batch. Default: None
            leave_one_out (bool, optional): Whether an image that is part of a reference is compared with the mean of the others in it.
                Default: True
            show_progress (bool, optional): Whether to show a progress bar. Default: False

        Returns:
            NearestClassResult: (N, K).

        Raises:
            TypeError, ValueError: If the images are not as described, a target is none of the classes, there are more or fewer targets than
                images, or the model's weights are others than the references were fitted on.
        """
        self._first.check_weights()
        targets = self._targets(target)
        pipeline = self._first.pipeline(additional_forward_args)
        halving = Halving(pipeline.device)
        parts: list[tuple[Tensor, Tensor]] = []
        for batch in self._first.batches(images, "images", show_progress, "comparing with all classes"):

            def work(rows: slice, batch: Tensor = batch) -> tuple[Tensor, Tensor]:
                return self._batch(pipeline.of_rows(rows, len(batch)), batch[rows], leave_one_out)

            parts += halving.parts(len(batch), work)
        found, inside = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
        own = targets if len(targets) != 1 else targets.expand(len(found)).clone()
        if len(own) != len(found):
            raise InputError(
                f"there are {len(found)} images and {len(own)} targets; give one target for each image, or one for all of them."
            )
        left_out = inside.gather(1, own[:, None]).squeeze(1)
        return NearestClassResult(self.labels, found, own, left_out, self.measure, self.layers)

    def ceiling(
        self,
        images: Images,
        target: Label | Sequence[Label] | Tensor,
        additional_forward_args: Any = None,
        *,
        show_progress: bool = False,
    ) -> NearestClassResult:
        r"""
        What natural images of the classes reach that are in no reference: the ceiling of what pictures of a class can be asked for.

        Args:
            images, target, additional_forward_args, show_progress: As in :meth:`evaluate`.

        Returns:
            NearestClassResult: (N, K).

        Raises:
            ValueError: If an image is part of a reference; and as :meth:`evaluate`.
        """

        def held_out() -> Iterable[Tensor]:
            for batch in self._first.batches(images, "images", False, ""):
                for image in batch.to(pipeline.device, pipeline.image_dtype):
                    if (known := image_digest(image)) in self._members:
                        label = self.labels[self._members[known][0]]
                        raise InputError(
                            f'an image is part of the reference of class "{label}", which makes that class look nearer than it is; give '
                            "images that no reference was fitted on."
                        )
                yield batch

        pipeline = self._first.pipeline(additional_forward_args)
        return self.evaluate(
            held_out(), target, additional_forward_args, leave_one_out=False, show_progress=show_progress
        )

    def _targets(self, target: Label | Sequence[Label] | Tensor) -> Tensor:
        given: Any = target.tolist() if isinstance(target, (Tensor, np.ndarray)) else target
        each = [given] if isinstance(given, str) or as_int(given) is not None else given
        if not isinstance(each, Iterable):
            raise InputTypeError(
                f"target is a {type_name(target)}; expected the name of a class, or one for each image."
            )
        found = []
        for label in each:
            number = as_int(label)
            label = label if number is None else number
            if label not in self.similarities:
                known = [str(name) for name in self.labels]
                raise InputError(
                    f'target "{label}" is none of the {len(known)} classes that have a reference'
                    f"{nearest(str(label), known) or f'; expected one such as {self.labels[0]!r}.'}"
                )
            found.append(self.labels.index(label))
        return torch.tensor(found, dtype=torch.int64)

    def _stored(self, path: Path) -> RankStore:
        if self.measure != "spearman":
            raise InputError("store is for ranks, which SortedSimilarity does not have; leave it out.")
        if dtype_of(self._first.forward_func) == torch.float64:
            raise InputError("store is for models that are not in float64, whose ranks may be others; leave it out.")
        references, layers = self._references(), sorted(self._chosen)
        found = RankStore(path) if path.exists() else RankStore.write(path, references, self.labels, layers)
        found.check(references, self.labels, layers)
        return found

    def _references(self) -> list[Any]:
        return [similarity.reference for similarity in self.similarities.values()]

    def _alike(self, index: int, other: int) -> bool:
        return all(reference.is_alike(index, other) for reference in self._references())

    def _batch(self, pipeline: Pipeline, batch: Tensor, leave_one_out: bool) -> tuple[Tensor, Tensor]:
        """(N, K): the mean over layers, NaN where there is none; and which images are left out of which reference."""
        plan = self._first.planned(pipeline, batch)
        batch = batch.to(pipeline.device, pipeline.image_dtype)
        self._first.probe(plan, batch)
        inside = torch.zeros(len(batch), len(self.labels), dtype=torch.bool)
        for row, image in enumerate(batch if leave_one_out else ()):
            inside[row, self._members.get(image_digest(image), [])] = True
        total, count = torch.zeros(inside.shape, dtype=torch.float64), torch.zeros(len(batch), 1, dtype=torch.int64)
        previous, latest = PreviousOutput(), [total]

        def add(index: int, rows: Tensor) -> None:
            if index not in self._chosen:
                return
            if not (previous.is_same(rows) and self._alike(index, previous.index)):
                latest[0] = self._layer(index, exact(rows), inside).cpu()
                previous.set(index, rows)
            defined = ~latest[0].isnan().any(1, keepdim=True)
            total.add_(torch.where(defined, latest[0], 0.0))
            count.add_(defined)

        plan.stream(batch, add)
        return total / count, inside

    def _layer(self, index: int, rows: Tensor, inside: Tensor) -> Tensor:
        """(N, K), float64: a layer's rows compared with the reference of each class."""
        return (self._spearman if self.measure == "spearman" else self._sorted)(index, rows, inside)

    def _spearman(self, index: int, rows: Tensor, inside: Tensor) -> Tensor:
        values = rank_correlations(ops.SpearmanReference(rows).doubled_ranks, self._ranks_of(index, rows))
        for number in inside.any(0).nonzero().flatten().tolist():
            known = inside[:, number].to(rows.device)
            values[known, number] = self._references()[number].distance_without(index, rows[known])[0]
        return values

    def _ranks_of(self, index: int, rows: Tensor) -> Tensor:
        """(K, D), int32: the doubled ranks of each class's mean activations, made at first use or in the store."""
        dtype = torch.float64 if rows.dtype == torch.float64 else torch.float32
        if self._store is not None and dtype == torch.float32:
            return self._store.ranks(index)
        key = index, dtype, rows.device
        if key not in self._ranks:
            self._ranks[key] = torch.stack(
                [doubled_ranks(reference, index, dtype, rows.device) for reference in self._references()]
            )
        return self._ranks[key]

    def _sorted(self, index: int, rows: Tensor, inside: Tensor) -> Tensor:
        references: list[SortedReference] = self._references()
        ordered = references[0].sort(index, rows)
        values = torch.stack([reference.squared_distance(index, ordered) for reference in references], 1)
        without = torch.tensor([reference.without for reference in references], dtype=torch.float64)
        values *= torch.where(inside, without, 1.0).to(values.device)
        units = [reference.natural_distance(index) for reference in references]
        return values * len(units) / sum(units) if all(units) else torch.full_like(values, torch.nan)


@log_usage()
def nearest_class(
    forward_func: nn.Module,
    inputs: Images,
    target: Label | Sequence[Label] | Tensor,
    references: Mapping[Label, PathReference | SortedReference | Images],
    layers: LayerSelection = None,
    additional_forward_args: Any = None,
    *,
    preprocess: Callable[[Tensor], Tensor] | None = None,
    measure: str = "spearman",
    leave_one_out: bool = True,
    **options: Any,
) -> NearestClassResult:
    r"""
    The nearest class in the style of :mod:`captum.metrics`: one call, no object. See :class:`NearestClass`.

    Args:
        forward_func (nn.Module): The model.
        inputs (Tensor or iterable): Images to compare, (N, C, H, W).
        target (str, int or sequence of them): The class of the images, as in ``references``, or one for each image.
        references (mapping[str or int, PathReference, SortedReference, Tensor or iterable]): By class, a fitted reference, or natural
            images to fit one on.
        layers (LayerSelection, optional): As in :class:`PathSimilarity`. Default: None, every module but the root
        additional_forward_args (any, optional): Further arguments of the model. Default: None
        preprocess (Callable, optional): From images to the model's input. Default: None
        measure (str, optional): "spearman" or "sorted": what is fitted on images. Fitted references have theirs. Default: "spearman"
        leave_one_out (bool, optional): As in :meth:`NearestClass.evaluate`. Default: True
        **options: Further ones of :class:`PathSimilarity` or :class:`SortedSimilarity`; for fitted references ``repeat`` and ``alias`` are
            their own.

    Returns:
        NearestClassResult: (N, K).

    Raises:
        TypeError, ValueError: As :class:`NearestClass` and :meth:`NearestClass.evaluate`.

    Examples::

        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
        >>> natural = {"a": torch.rand(4, 1, 8, 8), "b": 1 - torch.rand(4, 1, 8, 8).square()}
        >>> nearest_class(model, torch.rand(2, 1, 8, 8), "a", natural).values.shape
        torch.Size([2, 2])
    """
    if not isinstance(references, Mapping):
        raise InputTypeError(f"references is a {type_name(references)}; expected a mapping from classes to references.")
    if measure not in MEASURES:
        raise InputError(f'measure is "{measure}"{nearest(str(measure), MEASURES)}; expected "spearman" or "sorted".')
    similarities: dict[Label, Similarity] = {}
    for label, reference in references.items():
        kind: Any = SortedSimilarity if measure == "sorted" else PathSimilarity
        own = dict(options)
        if isinstance(reference, (PathReference, SortedReference)):
            kind = PathSimilarity if isinstance(reference, PathReference) else SortedSimilarity
            own |= {"repeat": reference.repeat, "alias": reference.alias}
            similarities[label] = kind(forward_func, layers, preprocess, **own).with_reference(reference)
        else:
            similarities[label] = kind(forward_func, layers, preprocess, **own).fit(reference, additional_forward_args)
    return NearestClass(similarities).evaluate(inputs, target, additional_forward_args, leave_one_out=leave_one_out)


__all__ = ["NearestClass", "nearest_class"]
