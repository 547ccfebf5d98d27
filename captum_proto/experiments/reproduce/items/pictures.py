"""Figure 1: prototypes beside the pictures of other methods."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from captum_proto._utils.targets import Target
from captum_proto.experiments.reproduce.items.registry import Item, item, lacks_nothing
from captum_proto.experiments.reproduce.stages import BASELINES, PROTOTYPES, StageResults
from captum_proto.metrics.comparison import condition_label
from captum_proto.optim import CONTROL, RandomStream, prototype_keys
from captum_proto.report.figures import picture_grid
from captum_proto.stats.moments import Moments


@item("fig1", lacks=lacks_nothing)
def figure_1(results: StageResults) -> Item:
    """The prototype of each class, feature visualization, plain ascent, gray, noise, and the mean of the natural images."""
    stage = results.stage
    shape = stage.named.image_shape
    noise = RandomStream(prototype_keys([stage.settings.seed], [()]), CONTROL).uniform(math.prod(shape))
    sheet: dict[str, dict[str, Tensor]] = {}
    rows: list[list[Any]] = []
    for target, label in stage.labels.items():
        made = {name: results.prototypes(target, name) for name in (PROTOTYPES, *BASELINES)}
        sheet[label] = {
            "prototype" if name == PROTOTYPES else condition_label(name): prototypes.images[0]
            for name, prototypes in made.items()
        }
        sheet[label]["gray"] = torch.full(shape, 0.5)
        sheet[label]["noise"] = noise.view(shape)  # that which is scored
        if stage.natural is not None:
            sheet[label]["mean image"] = _mean_image(results, target)
        rows += [
            [label, name, float(prototypes.probabilities[0]), float(prototypes.transformed_probabilities[0])]
            for name, prototypes in made.items()
        ]
    beside = (
        "a gray square, noise, and the mean of the natural images"
        if stage.natural is not None
        else "a gray square, and noise"
    )
    return Item(
        "prototypes beside what came before",
        header=["class", "picture", "probability as it is", "expected under its transforms"],
        rows=rows,
        figure=picture_grid(sheet),
        text=[
            "For each class: the prototype; feature visualization as Olah, Mordvintsev and Schubert make it (Distill 2017); gradient "
            f"ascent on the logit alone; {beside}."
        ],
    )


def _mean_image(results: StageResults, target: Target) -> Tensor:
    """The mean of the natural images of a class."""
    assert results.stage.natural is not None
    same = results.stage.natural.afresh().of(target).same
    moments = Moments()
    for batch in torch.split(same, 64) if isinstance(same, Tensor) else same:
        moments.update(batch)
    return moments.compute().float()
