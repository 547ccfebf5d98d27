"""What layers make of natural images: the measurements that losses compare a picture with."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from captum_proto._utils.batches import Images, image_batches
from captum_proto._utils.errors import InputError
from captum_proto._utils.halving import Halving, Once
from captum_proto._utils.model import Loan, modules_of
from captum_proto._utils.modes import in_plain_modes
from captum_proto._utils.pipeline import Pipeline
from captum_proto.capture import Capture, Layer, LayerRecorder, channel_axis, channels_first
from captum_proto.optim.random import TRANSFORM, RandomStream, prototype_keys
from captum_proto.optim.transforms import as_transform

#: So many layers are looked at where none are named, as in VITAL (arXiv:2503.22399).
_LAYERS = 5


class NaturalUnits:
    """
    Runs a model on natural images, as an optimization runs it on its pictures, and hands on what some layers return.

    Args:
        forward_func (Callable): The model, or a function that refers to it.
        layers (iterable of str or nn.Module): As :class:`~captum_proto.capture.LayerRecorder` takes them.
        preprocess (Callable, optional): From images in ``value_range`` to what ``forward_func`` takes. Default: None
        transform (Transform or Callable, optional): Drawn anew for each image. Default: None, images as they are
        value_range (tuple[float, float], optional): The range of a pixel. Default: (0, 1)
        batch_size (int, optional): Images at a time, of a tensor. Default: 32
    """

    def __init__(
        self,
        forward_func: Callable[..., Any],
        layers: Iterable[Layer],
        preprocess: Callable[[Tensor], Tensor] | None = None,
        transform: Any = None,
        value_range: tuple[float, float] = (0.0, 1.0),
        batch_size: int = 32,
    ) -> None:
        self.pipeline = Pipeline(forward_func, preprocess)
        self.transform = None if transform is None else as_transform(transform)
        self.value_range, self.batch_size = value_range, batch_size
        self._recorder = LayerRecorder(forward_func, layers)
        self._loan = Loan(forward_func)

    @in_plain_modes
    def run(
        self, images: Images, consume: Callable[[Tensor, Mapping[Layer, Tensor]], Iterable[Callable[[], Any]]]
    ) -> int:
        """
        Hand each batch of images and what the layers return for it, ``(N, C, *positions)``, to a function.

        Args:
            images (Tensor or iterable): (N, C, H, W), or batches of them.
            consume (Callable): Called with a batch as it was given, or a part of it where memory is short, and with the layers' outputs.
                It gives the steps in which it takes them, each of which is taken once.

        Returns:
            int: How many images there were.
        """
        count, halving = 0, Halving(self.pipeline.device)
        for batch in image_batches(images, self.batch_size, self.value_range, "images"):
            once = Once()

            def work(rows: slice, batch: Tensor = batch, first: int = count, once: Once = once) -> None:
                units = self._units(batch[rows], first + rows.start)
                for number, step in enumerate(consume(batch[rows], units)):
                    once(number, rows, step)

            halving.whole(len(batch), work)
            count += len(batch)
        return count

    def _units(self, batch: Tensor, first: int) -> dict[Layer, Tensor]:
        """What the layers return for images that are numbered from ``first``."""
        pipeline, recorder = self.pipeline, self._recorder
        given = batch.detach().to(pipeline.device, pipeline.image_dtype)
        if self.transform is not None:
            seeds = list(range(first, first + len(batch)))
            keys = prototype_keys(seeds, [()] * len(batch), pipeline.device)
            given = self.transform(given, RandomStream(keys, TRANSFORM))
        with torch.no_grad(), self._loan.frozen(), self._loan.turn(), self._loan.own_buffers():
            prepared = pipeline.prepare(given)
            with recorder.recording():
                if not recorder.planned:
                    recorder.plan(lambda few: pipeline.run(few.clone()), prepared[:1])
                pipeline.run(prepared)
                taken = recorder.take(len(batch))
        return {layer: channels_first(value, recorder.channel_axis(layer, value)) for layer, value in taken.items()}


def with_first(images: Images, batch_size: int, value_range: tuple[float, float]) -> tuple[Tensor, Iterator[Tensor]]:
    """The first image, (1, C, H, W), and batches of all of them: what comes in batches may be read only once."""
    batches = image_batches(images, batch_size, value_range, "images")
    first = next(batches)
    return first[:1], itertools.chain([first], batches)


def in_full(values: Tensor) -> Tensor:
    """Values in at least float32: sums of squares leave half precision's range."""
    return values if values.dtype == torch.float64 else values.float()


def layer_weights(layers: Sequence[Any], weights: Sequence[float] | None) -> list[float]:
    """
    A weight for each layer, together 1.

    Raises:
        ValueError: If there are not as many as layers, or one is negative or not finite, or all are 0.
    """
    if weights is None:
        return [1 / len(layers)] * len(layers)
    given = [float(weight) for weight in weights]
    if len(given) != len(layers):
        raise InputError(f"{len(given)} weights were given for {len(layers)} layers; give one for each.")
    if not all(0 <= weight < float("inf") for weight in given) or not sum(given):
        raise InputError(f"weights is {given}; expected finite numbers of at least 0, and one of them above.")
    return [weight / sum(given) for weight in given]


def stage_layers(
    forward_func: Callable[..., Any], image: Tensor, preprocess: Callable[[Tensor], Tensor] | None = None
) -> list[str]:
    """
    Layers that stand for the stages of a network: one for each resolution of its maps, at most five, the deepest.

    Of each resolution it is the last of the outermost layers: for torchvision's ResNets ``relu``, ``layer1``, ..., ``layer4``. Of a network
    whose maps are all of one resolution, such as a vision transformer, five of its blocks, evenly spaced, the last of them included.

    Args:
        forward_func (Callable): The model, or a function that refers to it.
        image (Tensor): One image, (1, ...), in the model's range of pixels.
        preprocess (Callable, optional): From images to what ``forward_func`` takes. Default: None

    Returns:
        list[str]: In the order in which they return.

    Raises:
        ValueError: If no layer returns values at several positions.

    Examples::

        >>> stage_layers(torchvision.models.resnet18(), torch.rand(1, 3, 64, 64))
        ['relu', 'layer1', 'layer2', 'layer3', 'layer4']
    """
    pipeline = Pipeline(forward_func, preprocess)
    with torch.no_grad():
        prepared = pipeline.prepare(image.detach().to(pipeline.device, pipeline.image_dtype))
    owners = modules_of(forward_func)
    if not owners:
        raise InputError(
            f"the model is a {type(forward_func).__name__} that refers to no module, so its layers cannot be watched; pass the module."
        )
    plan = Capture(owners[0], lambda batch: pipeline.run(batch.clone()), prepared)
    sizes: dict[str, tuple[int, ...]] = {}  # of positions, by name
    for output in plan.outputs:
        axis = channel_axis(plan.modules[output.layer], (1, *output.shape)) - 1
        size = output.shape[:axis] + output.shape[axis + 1 :]
        if math.prod(size) > 1:
            sizes[output.name] = size
    if not sizes:
        raise InputError("no layer of the model returns values at several positions; name the layers to look at.")
    # Layers that pad before a convolution have sizes of their own: of about the same size, the one that most layers have counts.
    octaves: dict[int, Counter[tuple[int, ...]]] = {}
    for size in sizes.values():
        if len(size) > 1:
            octaves.setdefault(_octave(size), Counter())[size] += 1
    if len(octaves) > 1:
        common = {octave: counts.most_common(1)[0][0] for octave, counts in octaves.items()}
        chosen = [_outermost([name for name, size in sizes.items() if size == each]) for each in common.values()]
        return sorted(chosen, key=list(sizes).index)[-_LAYERS:]
    families: dict[tuple[str, tuple[int, ...]], list[str]] = {}
    for name, size in sizes.items():
        families.setdefault((name.rpartition(".")[0], size), []).append(name)
    blocks = max(families.values(), key=len)
    count = min(_LAYERS, len(blocks))
    return [blocks[(place + 1) * len(blocks) // count - 1] for place in range(count)]


def _octave(size: tuple[int, ...]) -> int:
    """Which power of two the side of a map is nearest to."""
    return round(math.log2(math.prod(size)) / len(size))


def _outermost(names: list[str]) -> str:
    """The last of those names that have the fewest parts."""
    fewest = min(name.count(".") for name in names)
    return [name for name in names if name.count(".") == fewest][-1]


__all__ = ["NaturalUnits", "in_full", "layer_weights", "stage_layers", "with_first"]
