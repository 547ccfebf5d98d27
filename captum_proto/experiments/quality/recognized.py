"""The figures of recognition: by the network that pictures were made with, and by other networks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from torch import Tensor

from captum_proto._utils.targets import Target
from captum_proto.experiments.quality.seen import Seen
from captum_proto.metrics import recognized, relative_recognition
from captum_proto.metrics.quality import Figure, figure, whole_figure
from captum_proto.models import NamedModel
from captum_proto.stats.intervals import Estimate


def by_class(targets: list[Target], values: Tensor, labels: Mapping[Target, str]) -> dict[str, list[float]]:
    """The value of each picture, by the label of its target."""
    found: dict[str, list[float]] = {}
    for target, value in zip(targets, values.tolist(), strict=True):
        found.setdefault(labels[target], []).append(float(value))
    return found


def own_figures(seen: Seen, labels: Mapping[Target, str]) -> Iterator[Figure]:
    """What the network makes of pictures that were made with it, as they were saved: top-1, top-5 and probability."""
    found = recognized(seen.logits, [list(target) for target in seen.targets])
    for name, measure in (("own_top1", "top1"), ("own_top5", "top5"), ("own_p", "probability")):
        yield figure(name, by_class(seen.targets, found.of(measure), labels))


def transfer_figures(
    seen: Seen, natural: Seen, network: NamedModel, classes: Mapping[int, int], labels: Mapping[Target, str]
) -> Iterator[Figure]:
    """
    What another network makes of pictures: top-1, top-5, and the ratio R to natural images of the same classes.

    Args:
        seen (Seen): The pictures.
        natural (Seen): Natural images of the same targets.
        network (NamedModel): That other network.
        classes (mapping[int, int]): Its class by the model's.
        labels (mapping[Target, str]): What targets are called.
    """
    pictures, photographs = (
        recognized(each.logits, [list(target) for target in each.targets], classes=classes)
        for each in (seen, natural.of(set(seen.targets)))
    )
    for measure in ("top1", "top5"):
        yield figure(measure, by_class(seen.targets, pictures.of(measure), labels), network.name)
    if seen is natural:
        yield whole_figure("relative", Estimate(1.0, math.nan, math.nan), network.name)
    else:
        yield whole_figure("relative", relative_recognition(pictures, photographs).ratio, network.name)


__all__ = ["by_class", "own_figures", "transfer_figures"]
