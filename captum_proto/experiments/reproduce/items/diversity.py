"""Figure 9: prototypes of one class that are to differ (appendix C)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from captum_proto._utils.errors import InputError
from captum_proto._utils.model import named_modules
from captum_proto.attr import PRESETS, Prototypes
from captum_proto.experiments.generate import Generate
from captum_proto.experiments.reproduce.items.registry import Item, item, lacks_nothing
from captum_proto.experiments.reproduce.stages import OpenStage, StageResults
from captum_proto.metrics import pairwise_similarity
from captum_proto.report.blocks import Verdict
from captum_proto.report.figures import picture_grid
from captum_proto.report.views.prototypes import PROTOTYPES
from captum_proto.runs.tasks import Protocol

#: So many prototypes of the class.
_COUNT = 4
#: The folders of the runs: without diversity, in pixels, and in the Gram matrices of a layer.
_NONE, _PIXELS, _GRAM = "fig9/none", "fig9/pixels", "fig9/gram"


def _runs(stage: OpenStage) -> dict[str, Protocol[Any]]:
    """Four prototypes of the first class with each kind of diversity."""
    target = next(iter(stage.labels))
    kinds = {_NONE: None, _PIXELS: "pixels", _GRAM: f"gram:{middle_layer(stage.named.model)}"}
    return {
        folder: Generate(
            stage.named,
            [target] * _COUNT,
            {**PRESETS["paper"], **stage.stage.options, "diversity": diversity},
            seed=stage.settings.seed,
            batch_size=_COUNT,  # a class that is to differ is optimized in one batch
            page=False,
        )
        for folder, diversity in kinds.items()
    }


@item("fig9", runs=_runs, lacks=lacks_nothing)
def figure_9(results: StageResults) -> Item:
    """Four prototypes of one class, pulled apart in pixels and in a layer's Gram matrices."""
    named = results.stage.named
    label = next(iter(results.stage.labels.values()))
    layer = middle_layer(named.model)
    made = Item(
        f"four prototypes of {label} that are to differ",
        header=["diversity", "pixel difference", "pixel correlation", f"Gram cosine, {layer}", "logit"],
        text=[
            "Means over the six pairs of four prototypes. Pixels may differ by noise and inverted colors alone; Gram matrices "
            "say which channels fire together."
        ],
    )
    sheet: dict[str, dict[str, Tensor]] = {}
    pairs = torch.triu_indices(_COUNT, _COUNT, 1)
    for folder, name in ((_NONE, "none"), (_PIXELS, "pixels"), (_GRAM, f"Gram, {layer}")):
        prototypes = Prototypes.load(results.folder / folder / PROTOTYPES)
        sheet[name] = {f"seed {seed}": image for seed, image in zip(prototypes.seeds, prototypes.images, strict=True)}
        measured = pairwise_similarity(prototypes.images, named.model, [layer], preprocess=named.preprocess)
        matrices = (measured.difference, measured.correlation, measured.gram[layer])
        means = [float(matrix[pairs[0], pairs[1]].mean()) for matrix in matrices]
        made.rows.append([name, *means, float(prototypes.logits.mean())])
    without, pixels, gram = made.rows
    changes = (
        ("pixel difference", "pixels", without[1], pixels[1]),
        (f"Gram cosine in {layer}", f"Gram, {layer}", without[3], gram[3]),
    )
    # Of a cosine less is more different.
    for name, more in (("pixels", pixels[1] > without[1]), (f"the Gram matrices of {layer}", gram[3] < without[3])):
        made.text.append(f"Asked to differ in {name}, they differ {'more' if more else 'no more'} there than unasked.")
    made.verdicts = [
        Verdict(f"{space}, asked to differ in {name}", f"{before:.3f} → {after:.3f}")
        for space, name, before, after in changes
    ]
    made.figure = picture_grid(sheet)
    return made


def middle_layer(model: nn.Module) -> str:
    """
    The convolution in the middle of a network, or else its middle layer: where there are objects' parts, for Gram matrices.

    Raises:
        InputError: If the model has no layers.
    """
    convolutions = [name for name, module in named_modules(model) if isinstance(module, nn.Conv2d)]
    names = convolutions or [name for name, module in named_modules(model) if name and not list(module.children())]
    if not names:
        raise InputError(
            f"the model is a single {type(model).__name__} without layers; leave fig9 out of the items, it needs a layer."
        )
    return names[len(names) // 2]
