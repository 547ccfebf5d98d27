"""
Controls of a comparison: images that nobody would call a prototype, scored like prototypes.

A criterion of trust that these pass proves nothing. All but the mean image know no data.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from captum_proto._utils.checks import check_logits, nearest
from captum_proto._utils.errors import InputError
from captum_proto._utils.model import borrowed
from captum_proto._utils.pipeline import Pipeline
from captum_proto._utils.targets import parse_targets
from captum_proto.optim.input_optimization import InputOptimization
from captum_proto.optim.loss import ClassLogit
from captum_proto.optim.presets import preset_for
from captum_proto.optim.random import CONTROL, RandomStream, prototype_keys
from captum_proto.optim.settings import OptimizationSettings

#: Those that know no data, by name.
DATA_FREE = ("gray", "noise", "ascent", "feature_visualization")
#: By name, in the order of a report.
CONTROLS = (*DATA_FREE, "mean_image")

_CHOICES = frozenset(OptimizationSettings.__dataclass_fields__)


def check_controls(controls: Iterable[str]) -> list[str]:
    """
    Names of controls.

    Raises:
        ValueError: If one is unknown.
    """
    names = [controls] if isinstance(controls, str) else list(controls)
    for name in names:
        if name not in CONTROLS:
            hint = nearest(str(name), CONTROLS) or f"; choose of {', '.join(CONTROLS)}."
            raise InputError(f'there is no control "{name}"{hint}')
    return names


def control_images(
    pipeline: Pipeline,
    images: Tensor,
    mean_image: Tensor,
    target: Any,
    controls: list[str],
    *,
    count: int | None = None,
    value_range: tuple[float, float],
    ascent_steps: int,
    seed: int,
    show_progress: bool,
) -> dict[str, Tensor]:
    """
    The controls for some prototypes.

    Args:
        pipeline (Pipeline): The model and its preprocessing.
        images (Tensor): The prototypes that the controls are for, (P, C, H, W).
        mean_image (Tensor): The pixelwise mean of the natural images, (C, H, W).
        target (TargetType or nested list, optional): The classes of the prototypes; None: those the model sees in them.
        controls (list[str]): Of :data:`CONTROLS`.
        count (int, optional): How many images K there are of each control that is made by chance; ascents take the classes of the
            prototypes in turn. None: as many as prototypes. Default: None
        value_range (tuple[float, float]): The valid range of a pixel.
        ascent_steps (int): Steps of plain gradient ascent, and of feature visualization.
        seed (int): Of noise and ascents.
        show_progress (bool): Whether to show a progress bar.

    Returns:
        dict[str, Tensor]: "gray": one image of the middle of the range. "noise": K images of uniform noise. "ascent": K images by gradient
        ascent on the logit, without transforms, high-frequency loss or warm-up. "feature_visualization": K images as Olah, Mordvintsev and
        Schubert make them (Distill 2017): Fourier coefficients under shifts, scales and rotations of a few pixels and degrees. "mean
        image": one.
    """
    shape = tuple(images.shape[1:])
    ascents = [name for name in ("ascent", "feature_visualization") if name in controls]
    if ascents and len(shape) != 3:
        raise InputError(
            f"inputs have shape {shape}, and {ascents[0]} is a control of images (C, H, W); leave it out of controls."
        )
    count = len(images) if count is None else count
    low, high = value_range
    made: dict[str, Tensor] = {}
    if "gray" in controls:
        made["gray"] = torch.full((1, *shape), (low + high) / 2)
    if "noise" in controls:
        keys = prototype_keys([seed + i for i in range(count)], [()] * count)
        made["noise"] = RandomStream(keys, CONTROL).uniform(images[0].numel(), low, high).view(count, *shape).float()
    for name in ascents:
        classes = _classes_seen(pipeline, images) if target is None else target
        each = parse_targets(classes, expand_to=len(images))
        targets = [each[index % len(each)] for index in range(count)]
        # Of the presets all but the weight of the high-frequency loss, which both leave out.
        choices = {key: value for key, value in preset_for(name, shape).items() if key in _CHOICES}
        optimization = InputOptimization(
            pipeline.forward_func,
            ClassLogit([list(classes) for classes in targets]),
            pipeline.preprocess,
            additional_forward_args=pipeline.additional_forward_args,
            **{**choices, "steps": ascent_steps, "value_range": value_range},
        )
        seeds = [seed + index for index in range(count)]
        with tqdm(
            total=count * ascent_steps, desc=f"control: {name}", unit="step", disable=not show_progress
        ) as progress:
            made[name] = optimization.optimize(shape, seed=seeds, progress=progress).images
    if "mean_image" in controls:
        made["mean_image"] = mean_image.unsqueeze(0)
    return {name: made[name] for name in CONTROLS if name in made}


def _classes_seen(pipeline: Pipeline, images: Tensor) -> list[int]:
    with torch.no_grad(), borrowed(pipeline.forward_func):
        logits = check_logits(pipeline(images.to(pipeline.device, pipeline.image_dtype)), len(images))
    return [int(index) for index in logits.argmax(1).tolist()]
