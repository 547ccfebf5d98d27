"""Activation vectors of images that stream by, one random position each or all, with what they contribute to classes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from captum_proto._utils.batches import Images, image_batches
from captum_proto._utils.checks import callers_level, check_images_or_inputs, check_int, check_logits, nearest
from captum_proto._utils.errors import InputError
from captum_proto._utils.halving import Halving
from captum_proto._utils.model import borrowed
from captum_proto._utils.pipeline import Pipeline
from captum_proto._utils.targets import Target, parse_targets, target_mask
from captum_proto.capture import Layer, LayerRecorder, Source, channels_first
from captum_proto.data.batches import ImageBatches
from captum_proto.data.numbered import NumberedImages
from captum_proto.features.activation_atlas.vectors import AtlasVectors
from captum_proto.optim.random import START, RandomStream

POSITIONS = ("random", "all")
#: What is taken where nothing is said: as many images as Carter et al. (2019) had.
MOST = 1_000_000


@dataclass(frozen=True)
class Collecting:
    """
    How vectors are collected.

    Args:
        layer (str or nn.Module): The layer.
        positions (str): "random", one of each image, or "all".
        border (int): How many positions at each end of each axis are left out, of an axis that is long enough.
        targets (list[tuple[int, ...]], str or None): The classes of attributions; "all"; None for none.
        seed (int): Of the positions.
        channel_axis (int, optional): Which axis of the layer's output holds the channels.
    """

    layer: Layer
    positions: str
    border: int
    targets: list[Target] | str | None
    seed: int
    channel_axis: int | None = None
    #: Whether this model's gradients have gradients; found out once.
    _no_second_gradient: list[bool] = field(default_factory=list, repr=False, compare=False)

    def settings(self) -> dict[str, Any]:
        """What vectors depend on beside the model and the images, as JSON can hold it."""
        return {"layer": str(self.layer), "positions": self.positions, "border": self.border, "seed": self.seed}

    def numbers(self, sizes: tuple[int, ...], images: Tensor) -> Tensor:
        """
        Which positions are taken of each image: (N, J), int64, into the flattened positions.

        A random position belongs to the image's number and the seed: it is the same in any batch and in any process.
        """
        inner = torch.zeros(sizes, dtype=torch.bool)
        inner[
            tuple(slice(self.border, size - self.border) if size > 2 * self.border else slice(None) for size in sizes)
        ] = True
        allowed = inner.flatten().nonzero().flatten()
        if self.positions == "all":
            return allowed.expand(len(images), -1)
        draws = RandomStream(images + (self.seed << 40), START).uniform(1)
        return allowed[(draws * len(allowed)).long()]

    def contributions(
        self, source: Source, axis: int, logits: Tensor, values: Tensor, places: Tensor
    ) -> tuple[Tensor, list[Target]]:
        """
        What the vectors at some positions contribute to each target, to first order.

        Args:
            source (Source): Of what the layer returned.
            axis (int): Which axis of it holds the channels.
            logits (Tensor): (N, K).
            values (Tensor): (N, C, P), what the layer returned.
            places (Tensor): (N, J), positions.

        Returns:
            tuple[Tensor, list[tuple[int, ...]]]: (N, J, T), and the T targets.
        """
        if self.targets is None:
            return values.new_zeros(*places.shape, 0), []
        every: list[Target] = [(index,) for index in range(logits.shape[1])]
        targets = every if isinstance(self.targets, str) else self.targets
        target_mask(targets, logits.shape[1], logits.device)  # raises where a class is out of range
        scores = torch.stack([logits[:, list(target)].logsumexp(1) for target in targets], 1)
        vectors = at_places(values.detach(), places)
        if source.edge is None:
            raise InputError(
                f'what "{self.layer}" returned has no gradient with respect to the images; choose another layer, or a model that is '
                "differentiable up to it."
            )

        def gradient(weights: Tensor, create_graph: bool = False) -> Tensor:
            found = source.gradient(scores, weights, create_graph)
            if found is None:  # the scores do not depend on the layer, as those of a branch that leads elsewhere
                return torch.zeros_like(vectors)
            return at_places(channels_first(found, axis).unsqueeze(-1).flatten(2), places)

        # The products of a Jacobian with vectors at J positions take J passes, through the gradient's own gradient, for any number of
        # targets; row by row the Jacobian takes one for each target.
        if len(targets) > places.shape[1] and not self._no_second_gradient:
            try:
                weights = torch.zeros_like(scores, requires_grad=True)
                products = (gradient(weights, create_graph=True) * vectors).sum((0, 2))
                columns = [torch.autograd.grad(each, weights, retain_graph=True)[0] for each in products]
                return torch.stack(columns, 1), targets
            except RuntimeError as error:  # such as fused attention, which has a gradient but not that gradient's
                if "derivative" not in str(error) and "not implemented" not in str(error):
                    raise
                self._no_second_gradient.append(True)
        rows = []
        for column in range(len(targets)):
            weights = torch.zeros_like(scores)
            weights[:, column] = 1
            rows.append((gradient(weights) * vectors).sum(2))
        return torch.stack(rows, 2), targets


def at_places(values: Tensor, places: Tensor) -> Tensor:
    """The vectors at some positions: (N, C, P) and (N, J) give (N, J, C)."""
    index = places.to(values.device).unsqueeze(1).expand(-1, values.shape[1], -1)
    return values.gather(2, index).transpose(1, 2)


def collecting(
    layer: Layer, positions: str, border: int | None, targets: Any, seed: int, channel_axis: int | None
) -> Collecting:
    """
    How vectors are collected, checked.

    Raises:
        InputError, InputTypeError: If a choice is out of its range.
    """
    if positions not in POSITIONS:
        raise InputError(f'positions is "{positions}"{nearest(str(positions), POSITIONS)}; expected "random" or "all".')
    ends = check_int((1 if positions == "random" else 0) if border is None else border, "border", 0)
    chosen: list[Target] | str | None = None
    if isinstance(targets, str):
        if targets != "all":
            raise InputError(f'targets is "{targets}"; expected class indices, "all", or None for no attributions.')
        chosen = targets
    elif targets is not None:
        chosen = list(dict.fromkeys(parse_targets(targets)))
    return Collecting(layer, positions, ends, chosen, check_int(seed, "seed", 0), channel_axis)


def collect(
    forward_func: Callable[..., Any],
    how: Collecting,
    images: Images,
    preprocess: Callable[[Tensor], Tensor] | None,
    most: int | None,
    batch_size: int,
    first: int,
    value_range: tuple[float, float] | None,
    show_progress: bool,
) -> AtlasVectors:
    """The vectors of images, at most so many, as :meth:`ActivationAtlas.collect` describes it."""
    recorder = LayerRecorder(forward_func, [how.layer])
    pipeline = Pipeline(forward_func, preprocess)
    halving = Halving(pipeline.device)
    parts: list[AtlasVectors] = []
    there, targets = 0, list[Target]()
    numbered = _numbered(images, check_int(batch_size, "batch_size", 1), check_int(first, "first", 0), value_range)
    with tqdm(total=most, desc="vectors", unit="vector", disable=not show_progress) as progress:
        for batch, numbers in numbered:

            def work(rows: slice, batch: Tensor = batch, numbers: Tensor = numbers) -> AtlasVectors:
                return _vectors_of(pipeline, recorder, how, batch[rows], numbers[rows])

            for part in halving.parts(len(batch), work):
                targets = part.targets
                taken = len(part) if most is None else min(len(part), most - there)
                parts.append(part.select(torch.arange(taken)))
                there += len(parts[-1])
                progress.update(len(parts[-1]))
                if there == most:
                    break
            if there == most:
                break
    names = ("vectors", "images", "positions", "attributions")
    tensors = {name: torch.cat([getattr(part, name) for part in parts]) for name in names}
    return AtlasVectors.of(tensors, targets, parts[0].settings)


def warn_of_fewer(there: int, asked: int | None, positions: str) -> None:
    """Say that images gave fewer vectors than were asked for, if they did."""
    if asked is not None and there < asked:
        warnings.warn(
            f"{there} vectors were collected, fewer than the {asked} asked for, since there are no more images"
            + ('; positions="all" gives more.' if positions == "random" else "."),
            stacklevel=callers_level(),
        )


def _numbered(
    images: Images, batch_size: int, first: int, value_range: tuple[float, float] | None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches with the numbers of their images: files that cannot be read leave a gap, so that those after them keep theirs."""
    if isinstance(images, ImageBatches):
        for batch, numbers in NumberedImages(images).batches():
            yield check_images_or_inputs(batch, value_range, "images"), numbers + first
        return
    for batch in image_batches(images, batch_size, value_range, "images"):
        yield batch, torch.arange(first, first + len(batch))
        first += len(batch)


def _vectors_of(
    pipeline: Pipeline, recorder: LayerRecorder, how: Collecting, batch: Tensor, numbers: Tensor
) -> AtlasVectors:
    """The vectors of one batch."""
    images = batch.detach().to(pipeline.device, pipeline.image_dtype)
    if not recorder.planned:
        recorder.plan(pipeline, images[:1])
    attributed, count = how.targets is not None, len(images)
    with torch.set_grad_enabled(attributed), borrowed(pipeline.forward_func), recorder.recording():
        output = pipeline(images.requires_grad_(attributed))
        value, source = recorder.take_with_sources(count)[how.layer]
        axis = recorder.channel_axis(how.layer, value) if how.channel_axis is None else how.channel_axis
        units = channels_first(value, axis)
        sizes = tuple(units.shape[2:])
        flat = units.unsqueeze(-1).flatten(2)
        places = how.numbers(sizes, numbers)
        if attributed:
            logits = check_logits(output, count)
            logits = logits if logits.dtype == torch.float64 else logits.float()
            contributions, targets = how.contributions(source, axis, logits, flat, places)
        else:
            contributions, targets = how.contributions(source, axis, flat, flat, places)
    kept = flat.dtype if flat.dtype == torch.float64 else torch.float32
    vectors = at_places(flat.detach(), places).flatten(0, 1).to("cpu", kept)
    if not bool(vectors.isfinite().all()):
        raise InputError(f'layer "{how.layer}" returned NaN or infinity; check the images and the model.')
    index = torch.unravel_index(places.flatten(), sizes) if sizes else ()
    return AtlasVectors(
        vectors,
        numbers.repeat_interleave(places.shape[1]),
        torch.stack(index, 1) if sizes else torch.zeros(len(vectors), 0, dtype=torch.int64),
        contributions.detach().flatten(0, 1).to("cpu", kept),
        targets,
        how.settings() | {"sizes": list(sizes)},
    )


__all__ = ["MOST", "POSITIONS", "Collecting", "collect", "collecting", "warn_of_fewer"]
