"""Whether features are about objects: how well where a feature counts agrees with where an object is, scored instead of rated by people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from captum_proto._utils.errors import InputError, InputTypeError
from captum_proto.ops.double import exact
from captum_proto.stats.intervals import Estimate, proportion

#: Above which intersection over union, and share of hits, a feature counts as being about an object.
IOU, POINTING = 0.04, 0.5


@dataclass
class ObjectAgreement:
    """
    How well each feature agrees with each object.

    Attributes:
        objects (tuple[str, ...]): J names.
        iou (Tensor): (K, J): the pixels where the feature is above its threshold and the object is, over those of either, in all images.
        pointing (Tensor): (K, J): of the images that show the object and in which the feature is not 0 everywhere, the share in which the
            feature is largest on the object; NaN where there is no such image.
        images (Tensor): (K, J): how many these are.
        area (Tensor): (J,): the mean share of pixels that the object has in images that show it: what pointing by chance would reach.
    """

    objects: tuple[str, ...]
    iou: Tensor
    pointing: Tensor
    images: Tensor
    area: Tensor

    @property
    def best(self) -> Tensor:
        """(K,): the object that each feature agrees with best, by intersection over union."""
        return self.iou.argmax(1)

    @property
    def about(self) -> Tensor:
        """(K,), bool: whether a feature agrees with its object by both measures: IoU above 0.04 and pointing above 50%."""
        rows = torch.arange(len(self.iou))
        return (self.iou[rows, self.best] > IOU) & (self.pointing[rows, self.best].nan_to_num(0.0) > POINTING)

    @property
    def score(self) -> Estimate:
        """The share of features that are about an object, with Wilson's interval at 95%."""
        return proportion(int(self.about.sum()), len(self.about))

    def names(self) -> list[str]:
        """Of each feature, the object it is about; empty for those that are about none."""
        return [
            self.objects[best] if about else ""
            for best, about in zip(self.best.tolist(), self.about.tolist(), strict=True)
        ]

    def to_json(self) -> dict[str, Any]:
        """What JSON can hold; what is not known is null."""
        pointing = [[None if value != value else value for value in row] for row in self.pointing.tolist()]
        tensors = {name: getattr(self, name).tolist() for name in ("iou", "images", "area")}
        return {"objects": list(self.objects), "pointing": pointing, **tensors}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> ObjectAgreement:
        """What :meth:`to_json` gave."""
        pointing = [[float("nan") if value is None else value for value in row] for row in content["pointing"]]
        iou, images, area = (torch.tensor(content[name]) for name in ("iou", "images", "area"))
        return cls(tuple(content["objects"]), iou, torch.tensor(pointing), images, area)

    def feature_of(self, name: str) -> int:
        """The feature that agrees best with an object, by intersection over union."""
        if name not in self.objects:
            raise InputError(f'there is no object "{name}"; expected one of {", ".join(self.objects)}.')
        return int(self.iou[:, self.objects.index(name)].argmax())


def object_agreement(
    features: Tensor,
    labels: Tensor,
    objects: Sequence[str],
    quantile: float = 0.995,
    skip: Sequence[str] = (),
) -> ObjectAgreement:
    """
    Compare features with objects whose place in each image is known.

    In place of the ratings in Hilton et al., "Understanding RL Vision" (Distill 2020), where people said which features they can interpret.
    A feature fires where its size is above a quantile of its sizes everywhere, as in network dissection.

    Args:
        features (Tensor): (N, K, h, w), such as ``AttributionNMF.transform(...).values``.
        labels (Tensor): (N, H, W), integers: of each pixel the number of the object it shows.
        objects (sequence of str): Names by number.
        quantile (float, optional): Of a feature's sizes, above which it fires. Default: 0.995
        skip (sequence of str, optional): Objects that do not count, such as the background. Default: none

    Returns:
        ObjectAgreement: Of the objects that do.

    Raises:
        ValueError: If shapes do not fit, or a label has no name.

    Examples::

        >>> from captum_proto.metrics import object_agreement
        >>> labels = torch.zeros(3, 8, 8, dtype=torch.long)
        >>> labels[:, 2:4, 2:4] = 1
        >>> features = torch.stack([(labels == 1).float(), torch.rand(3, 8, 8)], 1)  # one is the object, the other noise
        >>> found = object_agreement(features, labels, ["sky", "saw"], quantile=0.9, skip=["sky"])
        >>> round(float(found.iou[0, 0]), 2), float(found.pointing[0, 0])
        (1.0, 1.0)
    """
    _check(features, labels, objects)
    features, labels = exact(features), exact(labels)
    sizes = features.detach().abs().float()
    names = tuple(name for name in objects if name not in skip)
    masks = torch.stack([labels == list(objects).index(name) for name in names], 1)  # (N, J, H, W)
    thresholds = torch.stack([_quantile(sizes[:, k], quantile) for k in range(sizes.shape[1])])
    together = torch.zeros(sizes.shape[1], len(names), dtype=torch.float64)
    either, hits, shown = (torch.zeros_like(together) for _ in range(3))
    for image in range(len(sizes)):
        large = interpolate(sizes[image][None], labels.shape[1:], mode="bilinear", align_corners=False)[0].flatten(1)
        mask, fires = masks[image].flatten(1), large > thresholds[:, None]
        both = fires.double() @ mask.double().T
        together += both
        either += fires.sum(1)[:, None] + mask.sum(1)[None] - both
        counts = (large.amax(1) > 0)[:, None] & mask.any(1)[None]
        shown += counts
        hits += counts & mask.T[large.argmax(1)]
    seen = masks.flatten(2).any(2)
    area = (masks.flatten(2).double().mean(2) * seen).sum(0) / seen.sum(0).clamp(min=1)
    return ObjectAgreement(names, together / either.clamp(min=1), hits / shown, shown.long(), area)


def _quantile(values: Tensor, quantile: float) -> Tensor:
    """Of any number of values; torch.quantile takes 16 million."""
    flat = values.flatten()
    place = min(max(int(quantile * len(flat)), 1), len(flat))
    return flat.kthvalue(place).values


def _check(features: Any, labels: Any, objects: Sequence[str]) -> None:
    if not isinstance(features, Tensor) or features.dim() != 4 or not features.is_floating_point():
        raise InputTypeError(
            "features are no floating-point tensor (N, K, h, w); expected maps of K features of N images."
        )
    if (
        not isinstance(labels, Tensor)
        or labels.dim() != 3
        or len(labels) != len(features)
        or labels.is_floating_point()
    ):
        raise InputTypeError(
            f"labels are no tensor of integers ({len(features)}, H, W); expected one map for each image."
        )
    if not bool(features.isfinite().all()):
        raise InputError("features hold NaN or infinity; expected finite values.")
    if int(labels.max()) >= len(objects):
        raise InputError(f"labels go up to {int(labels.max())}, but there are {len(objects)} objects; name them all.")


__all__ = ["IOU", "POINTING", "ObjectAgreement", "object_agreement"]
