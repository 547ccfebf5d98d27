"""Sanity check of prototypes: the prototype of a network that knows nothing must lose its class and its path similarity."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from captum.log import log_usage
from torch import Tensor, nn
from tqdm.auto import tqdm

from captum_proto._utils.batches import Images
from captum_proto._utils.checks import check_int, nearest
from captum_proto._utils.errors import InputError, InputTypeError
from captum_proto._utils.files import intact, load_tensors, save_tensors
from captum_proto._utils.model import borrowed
from captum_proto._utils.pipeline import Pipeline
from captum_proto._utils.targets import class_probabilities, parse_targets
from captum_proto.capture import LayerSelection
from captum_proto.metrics.path_similarity import PathSimilarity
from captum_proto.metrics.randomization.explained import check_refers, check_seeds
from captum_proto.metrics.randomization.result import NOTHING, RandomizationResult
from captum_proto.metrics.randomization.weights import ORDERS, Init, find_stages, spare_weights
from captum_proto.optim.random import CONTROL, RandomStream, prototype_keys

#: What a prototype has to lose: the probability that the network itself gives its class, and its path similarity.
CLASS, PATH = "class", "path"
_KIND = "randomization of prototypes"


@dataclass
class PrototypeRandomization:
    """
    What is left of prototypes where the network that they are made with is randomized.

    Attributes:
        result (RandomizationResult): Of P prototypes the probability of their class ("class") and their path similarity ("path"), each in
            the network as it is; what they are by chance; where nothing is changed, those of the network's own prototypes.
        pictures (Tensor): (S, K + 1, P, C, H, W), of S seeds and K stages after the one in which nothing is changed.
        natural_path (Tensor): (P,): the path similarity of natural images of each class, each left out of its own mean.
    """

    result: RandomizationResult
    pictures: Tensor
    natural_path: Tensor

    def save(self, path: str | os.PathLike[str], overwrite: bool = False) -> None:
        """Write everything into one safetensors file."""
        tensors, content = self.result.content()
        save_tensors(
            path,
            _KIND,
            {**tensors, "pictures": self.pictures, "natural_path": self.natural_path},
            content,
            overwrite=overwrite,
        )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> PrototypeRandomization:
        """
        What :meth:`save` wrote.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it holds something else.
        """
        tensors, content = load_tensors(path, _KIND)
        with intact(path, _KIND):
            pictures, natural = tensors.pop("pictures"), tensors.pop("natural_path")
            return cls(RandomizationResult.of_content(tensors, content), pictures, natural)


@log_usage()
def prototype_randomization(
    generation: Any,
    model: nn.Module,
    natural: Iterable[Images],
    target: Any,
    image_shape: tuple[int, int, int],
    order: str = "cascading",
    init: Init = "reset",
    *,
    stages: int | Sequence[str] | None = 1,
    seeds: int | Sequence[int] = 5,
    layers: LayerSelection = None,
    preprocess: Callable[[Tensor], Tensor] | None = None,
    value_range: tuple[float, float] = (0.0, 1.0),
    controls: int = 8,
    show_progress: bool = False,
    **kwargs: Any,
) -> PrototypeRandomization:
    r"""
    What is left of prototypes when the network that they are made with is randomized, stage by stage.

    The prototype of a class is made with the network, and again, from the same start, with networks whose weights are random. All are then
    shown to the network as it is, which is asked two things: how probable the class is, and how alike its layers' activations are to the
    mean over natural images of the class (path similarity, the mean over layers). A prototype that is what the network has learned loses
    both. What chance gives: of the class, how probable it is in the pictures of the other classes by the same random network, for which
    one class is as good as another; of path similarity, that of uniform noise, which knows no network at all.

    The network comes back exactly as it was, after an error too.

    Args:
        generation (PrototypeGeneration): Made from ``model``; or any object with its ``generate``.
        model (nn.Module): The network whose weights are randomized.
        natural (sequence of Tensor or iterable): For each target natural images of it, (N, C, H, W) in ``value_range``.
        target (TargetType or nested list): As in :meth:`~captum_proto.PrototypeGeneration.generate`: one prototype of each.
        image_shape (tuple[int, int, int]): (C, H, W) of a prototype.
        order (str, optional): As in :func:`~captum_proto.metrics.parameter_randomization`. Default: "cascading"
        init (str or Callable, optional): As there. Default: "reset"
        stages (int or sequence of str, optional): As there; each takes as long as making the prototypes. Default: 1, all layers at once
        seeds (int or sequence of int, optional): As there. Default: 5
        layers (LayerSelection, optional): Of path similarity. Default: None, all
        preprocess (Callable, optional): From images to what the network takes. Default: None
        value_range (tuple[float, float], optional): Of images. Default: (0, 1)
        controls (int, optional): Images of noise. Default: 8
        show_progress (bool, optional): Whether to show a progress bar. Default: False
        **kwargs: Further arguments of ``generate``, such as ``steps``.

    Returns:
        PrototypeRandomization: Values of the measures "class" and "path", what they are by chance, and the pictures.

    Raises:
        TypeError, ValueError: As :func:`~captum_proto.metrics.parameter_randomization` and ``generate``; or there are not as many sets of
            natural images as targets.

    Examples::

        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3)).eval()
        >>> natural = [torch.rand(4, 1, 8, 8), torch.rand(4, 1, 8, 8)]
        >>> found = prototype_randomization(
        ...     PrototypeGeneration(model), model, natural, [0, 2], (1, 8, 8), seeds=2, steps=8, warmup_steps=0
        ... )
        >>> found.result.stages, found.pictures.shape
        (['none', '3 … 1'], torch.Size([2, 2, 2, 1, 8, 8]))
    """
    if not callable(getattr(generation, "generate", None)):
        raise InputTypeError(
            f"generation is a {type(generation).__name__}; expected an object with generate, such as PrototypeGeneration(model)."
        )
    if order not in ORDERS:
        hint = nearest(str(order), ORDERS) or f"; choose of {', '.join(ORDERS)}."
        raise InputError(f'there is no order "{order}"{hint}')
    check_refers(generation, model)
    targets, chosen = parse_targets(target), check_seeds(seeds)
    sets = list(natural)
    if isinstance(natural, Tensor) or len(sets) != len(targets):
        raise InputError(
            f"natural holds {len(sets)} entries for {len(targets)} targets; expected a list of the natural images of each, in their order."
        )
    check_int(controls, "controls", 1)
    classes = [list(each) for each in targets]
    pipeline = Pipeline(model, preprocess)
    measured = []
    for each, images in zip(targets, sets, strict=True):
        similarity = PathSimilarity(model, layers, preprocess, value_range=value_range)
        similarity.fit(images)
        own = similarity.evaluate(images, leave_one_out=True)
        measured.append((each, similarity, float(own.spearman.nanmean())))

    def make() -> Tensor:
        pictures: Tensor = generation.generate(classes, image_shape, **kwargs).images
        return pictures.cpu()

    original = make()
    pictures = []
    with borrowed(model), spare_weights(model, init) as weights:
        parts = find_stages(model, lambda: pipeline(original[:1].to(pipeline.device, pipeline.image_dtype)), stages)
        parts = parts[::-1] if order == "bottom_up" else parts
        with tqdm(total=len(chosen) * len(parts), desc="prototypes", unit="stage", disable=not show_progress) as bar:
            for seed in chosen:
                of_seed = [original]
                for _ in weights.drawn(parts, order, seed):
                    of_seed.append(make())
                    bar.update()
                pictures.append(torch.stack(of_seed))
    stacked = torch.stack(pictures)  # (S, K + 1, P, C, H, W)
    keys = prototype_keys(list(range(controls)), [()] * controls)
    noise = RandomStream(keys, CONTROL).uniform(original[0].numel(), *value_range).view(controls, *image_shape).float()

    values, chance = _scored(pipeline, measured, stacked, noise)
    settings = {
        "attribution": type(generation).__name__,
        "order": order,
        "init": init if isinstance(init, str) else getattr(init, "__name__", type(init).__name__),
        "seeds": chosen,
        "targets": classes,
        "inputs": len(targets),
        "stages": {part.name: part.modules for part in parts},
    }
    whole = {name: of[0, 0].clone() for name, of in values.items()}
    result = RandomizationResult([NOTHING, *(part.name for part in parts)], values, chance, settings, whole)
    natural_path = torch.tensor([path for _, _, path in measured], dtype=torch.float64)
    return PrototypeRandomization(result, stacked, natural_path)


def _scored(
    pipeline: Pipeline,
    measured: Sequence[tuple[tuple[int, ...], PathSimilarity, float]],
    pictures: Tensor,
    noise: Tensor,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """By measure (S, K + 1, P): what the network makes of pictures; and by chance."""
    shape, flat = pictures.shape[:3], pictures.flatten(0, 2)
    with torch.no_grad(), borrowed(pipeline.forward_func):
        parts = [
            pipeline(batch.to(pipeline.device, pipeline.image_dtype)).cpu().double() for batch in torch.split(flat, 16)
        ]
    each_class = class_probabilities(torch.cat(parts))
    of_class = torch.stack([each_class[:, list(target)].sum(1) for target, _, _ in measured], 1).view(*shape, shape[2])
    own = of_class.diagonal(dim1=2, dim2=3)  # (S, K + 1, P, P): pictures of each class, and how probable each is
    values = {CLASS: own.clone(), PATH: torch.empty(shape, dtype=torch.float64)}
    chance = {CLASS: (of_class.sum(2) - own) / max(1, shape[2] - 1), PATH: torch.empty(shape, dtype=torch.float64)}
    if shape[2] == 1:
        chance[CLASS].fill_(1 / max(2, each_class.shape[1]))
    for place, (_, similarity, _) in enumerate(measured):
        found = similarity.evaluate(torch.cat([pictures[:, :, place].flatten(0, 1), noise])).spearman.nanmean(1)
        values[PATH][:, :, place] = found[: -len(noise)].view(shape[:2])
        chance[PATH][:, :, place] = found[-len(noise) :].nanmean()
    return values, chance


__all__ = ["CLASS", "PATH", "prototype_randomization"]
