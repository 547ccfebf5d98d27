"""All that the package does with a model, each as a small call: what tests of circumstances go through."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from captum.attr import Saliency
from torch import Tensor, nn

from captum_proto import PathSimilarity, PrototypeGeneration, capture, path_similarity
from captum_proto.attr import LayerActivationPath
from captum_proto.circuits import TuningCurve, expanded_weights
from captum_proto.concept import CompositionalExplainer, NetworkDissection, PackedMasks, pack_units
from captum_proto.edit import ablate_units, project_out
from captum_proto.features import (
    ActivationAtlas,
    ActivationGrid,
    NeuronGroups,
    SemanticDictionary,
    TopExamples,
    UnitAttribution,
    receptive_field,
)
from captum_proto.metrics import SortedSimilarity, nearest_class, parameter_randomization, verifier_logits
from captum_proto.models import NamedModel, PooledFeatures
from captum_proto.optim import InputOptimization, visualize
from captum_proto.optim.loss import ChannelActivation, NaturalActivations, NaturalStatistics
from captum_proto.testing import ShapeDataset

#: (C, H, W) of the images that :class:`networks.SmallCNN` is given here.
SHAPE = (3, 8, 8)
QUICK: dict[str, Any] = {"steps": 2, "warmup_steps": 1, "evaluation_draws": 1}
#: The layer that is looked at: its output is changed in place by the next.
LAYER = "block"
Entry = Callable[[Any, Tensor], Any]


def _dissection(model: Any, images: Tensor) -> Any:
    dissection = NetworkDissection(model, [LAYER], size=(12, 12), draws=2)
    return dissection.interpret(ShapeDataset(8, size=16), SHAPE[1:], batch_size=4)


def _explainer(model: Any, images: Tensor) -> Any:
    dataset, levels = ShapeDataset(8, size=16), torch.full((6,), 0.2, dtype=torch.float64)
    with tempfile.TemporaryDirectory() as folder:
        masks = PackedMasks.pack(dataset, f"{folder}/concepts", (12, 12))
        units = pack_units(model, LAYER, levels, dataset, SHAPE[1:], f"{folder}/units", size=(12, 12), batch_size=4)
        found = CompositionalExplainer(masks, length=2).interpret(units)
    return torch.tensor([[each.unit, each.iou] for each in found], dtype=torch.float64)


def _atlas(model: Any, images: Tensor) -> Any:
    atlas = ActivationAtlas(model, LAYER)
    vectors = atlas.collect(images, positions="all", batch_size=4)
    atlas.layout("pca")
    atlas.grid(2, min_density=1)
    atlas.render(SHAPE, steps=1)
    return [vectors.vectors, atlas.result.levels[0].icons]


def _edited(edit: Callable[[Any], Any]) -> Entry:
    def run(model: Any, images: Tensor) -> Any:
        with torch.no_grad(), edit(model):
            return model(images.clone())

    return run


def _named(model: Any) -> NamedModel:
    return NamedModel("small", model, None, SHAPE)


ENTRIES: dict[str, Entry] = {
    "PrototypeGeneration.generate": lambda m, x: PrototypeGeneration(m).generate([0, 1, 1], SHAPE, **QUICK),
    "PrototypeGeneration.attribute": lambda m, x: PrototypeGeneration(m).attribute(x[:3], 1, steps=2),
    "InputOptimization": lambda m, x: (
        InputOptimization(m, ChannelActivation(LAYER, [0, 1]), steps=2).optimize(SHAPE).images
    ),
    "visualize": lambda m, x: visualize(m, ChannelActivation(LAYER, [0, 1, 2]), SHAPE, steps=2).images,
    "capture": lambda m, x: capture(m, x),
    "capture by reference": lambda m, x: capture(m, x, alias="reference"),
    "PathSimilarity.fit": lambda m, x: PathSimilarity(m).fit(x).reference.sums,
    "PathSimilarity.evaluate": lambda m, x: (
        PathSimilarity(m, measures=("spearman", "l1", "cosine")).fit(x).evaluate(x, leave_one_out=True)
    ),
    "PathSimilarity.compare": lambda m, x: PathSimilarity(m).compare(x[:1], x, 1 - x, ascent_steps=1).spearman,
    "path_similarity": lambda m, x: path_similarity(m, x[:3], x),
    "SortedSimilarity": lambda m, x: SortedSimilarity(m).fit(x).evaluate(x),
    "nearest_class": lambda m, x: nearest_class(m, x, "a", {"a": x, "b": 1 - x}).values,
    "TopExamples": lambda m, x: TopExamples(m, [LAYER], k=2).fit(x, 4)[LAYER],
    "ActivationGrid": lambda m, x: ActivationGrid(m, LAYER).interpret(x[0], picture_size=8, steps=1).icons,
    "SemanticDictionary": lambda m, x: SemanticDictionary(m, LAYER).interpret(x[0], target=2, top=2, steps=1).pictures,
    "NeuronGroups": lambda m, x: (
        NeuronGroups(m, "relu#0", n_groups=2).interpret(x[:2], target=1, draw=False).channel_factors
    ),
    "UnitAttribution": lambda m, x: UnitAttribution(m, LAYER).attribute(x[:2], 1).values,
    "ActivationAtlas": _atlas,
    "NetworkDissection": _dissection,
    "CompositionalExplainer": _explainer,
    "expanded_weights": lambda m, x: expanded_weights(m, "stem.0", LAYER, SHAPE).weights,
    "TuningCurve": lambda m, x: TuningCurve(m, LAYER, [0, 1], image_size=8).orientation("line").responses,
    "receptive_field": lambda m, x: torch.tensor([list(receptive_field(m, LAYER, SHAPE, (2, 2)))], dtype=torch.float64),
    "parameter_randomization": lambda m, x: (
        parameter_randomization(Saliency(m), m, x[:2], 1, similarity="spearman", seeds=1, abs=False).similarity
    ),
    "LayerActivationPath": lambda m, x: LayerActivationPath(m, "stem.1").attribute(x[:2], 1, n_steps=3),
    "ablate_units": _edited(lambda m: ablate_units(m, LAYER, [1])),
    "project_out": _edited(lambda m: project_out(m, LAYER, torch.eye(6)[0])),
    "verifier_logits": lambda m, x: verifier_logits(x, _named(m), batch_size=4),
    "PooledFeatures": lambda m, x: PooledFeatures(m, LAYER, batch_size=4)(x),
    "NaturalStatistics": lambda m, x: list(NaturalStatistics.measured(m, x, batch_size=4)._wanted.values()),
    "NaturalActivations": lambda m, x: NaturalActivations.measured(m, {1: x}, [LAYER], batch_size=4),
}


def tensors_of(value: Any) -> list[Tensor]:
    """What there is in a result, in order."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, np.ndarray):
        return [torch.from_numpy(value)]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [tensor for item in value for tensor in tensors_of(item)]
    if isinstance(value, nn.Module):
        return []
    return (
        tensors_of([each for name, each in vars(value).items() if not name.startswith("__")])
        if hasattr(value, "__dict__")
        else []
    )


def differences(found: Any, expected: Any, tolerance: float = 0.0) -> str:
    """How two results differ; "" where they do not, up to a tolerance relative to the largest value of a tensor."""
    ours, theirs = tensors_of(found), tensors_of(expected)
    if len(ours) != len(theirs) or not theirs:
        return f"{len(ours)} tensors in place of {len(theirs)}"
    for number, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        if one.shape != other.shape or one.dtype != other.dtype:
            return f"tensor {number} is {tuple(one.shape)} {one.dtype} in place of {tuple(other.shape)} {other.dtype}"
        a, b = (each.detach().cpu().double().nan_to_num(-9.0, 7e9, -7e9) for each in (one, other))
        scale = float(b.abs().max()) if b.numel() else 0.0
        if b.numel() and float((a - b).abs().max()) > tolerance * max(scale, 1e-30):
            return f"tensor {number} differs by {float((a - b).abs().max()):.3g} of {scale:.3g}"
    return ""


__all__ = ["ENTRIES", "LAYER", "QUICK", "SHAPE", "Entry", "differences", "tensors_of"]
