"""How the prototypes of a run are compared with natural images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from captum_proto._utils.errors import InputError
from captum_proto._utils.targets import Target
from captum_proto.data.natural import NaturalImages
from captum_proto.metrics import CONTROLS, PathComparison, PathSimilarity
from captum_proto.metrics.controls import check_controls
from captum_proto.models import NamedModel

#: Settings that do not change a result: how many images are read at a time, and by how many threads.
_OF_THE_MACHINE = ("image_batch", "workers")


@dataclass(frozen=True)
class ComparisonSettings:
    """
    Which natural images prototypes are compared with, and how.

    Args:
        images (str): A folder of natural images, or "digits", as :class:`~captum_proto.data.natural.NaturalImages` takes it.
        split (str, optional): Of an ImageNet-style tree. Default: None
        limit (int, optional): Images of each target. Default: None, all
        others (int, optional): Images of other classes. Default: None, as many as of the target
        layers (str or sequence of str, optional): Of :class:`~captum_proto.PathSimilarity`, as are ``repeat`` and ``alias``. Default: None
        repeat (str): Which call of a layer counts. Default: "last"
        alias (str): Which value of a layer counts. Default: "value"
        leave_one_out (bool): Of :meth:`~captum_proto.PathSimilarity.compare`, as are ``controls``, ``control_count`` and
            ``ascent_steps``. Default: True
        controls (sequence of str): Default: all
        control_count (int, optional): Default: None, as many as prototypes
        ascent_steps (int): Default: 512
        seed (int): Of the draw of images and of the controls. Default: 0
        image_batch (int): Images at a time. Default: 32
        workers (int): Threads that read images. Default: 2

    Raises:
        InputError: If a control is unknown, or a number is less than 1.
    """

    images: str
    split: str | None = None
    limit: int | None = None
    others: int | None = None
    layers: str | Sequence[str] | None = None
    repeat: str = "last"
    alias: str = "value"
    leave_one_out: bool = True
    controls: Sequence[str] = CONTROLS
    control_count: int | None = None
    ascent_steps: int = 512
    seed: int = 0
    image_batch: int = 32
    workers: int = 2

    def __post_init__(self) -> None:
        check_controls(self.controls)
        for name in ("control_count", "ascent_steps", "image_batch"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} is {value}; expected at least 1.")

    def settings(self) -> dict[str, Any]:
        """What the results depend on."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__ if name not in _OF_THE_MACHINE}

    def natural_images(self, named: NamedModel) -> NaturalImages:
        """The natural images for a model."""
        return NaturalImages(
            self.images,
            named,
            split=self.split,
            limit=self.limit,
            others=self.others,
            seed=self.seed,
            batch_size=self.image_batch,
            workers=self.workers,
        )

    def compare(self, named: NamedModel, natural: NaturalImages, prototypes: Tensor, target: Target) -> PathComparison:
        """
        Compare prototypes of a target with natural images and controls.

        Args:
            named (NamedModel): The model.
            natural (NaturalImages): Of :meth:`natural_images`.
            prototypes (Tensor): (N, C, H, W), in [0, 1].
            target (tuple[int, ...]): The class or superclass they are of.

        Returns:
            PathComparison: Its settings hold, as ``failures``, a sentence for each file that could not be read.
        """
        images = natural.of(target)
        similarity = PathSimilarity(
            named.model,
            self.layers,
            named.preprocess,
            repeat=self.repeat,
            alias=self.alias,
            batch_size=self.image_batch,
        )
        comparison = similarity.fit(images.same).compare(
            prototypes,
            images.same,
            images.other,
            target=[list(target)] * len(prototypes),
            controls=self.controls,
            control_count=self.control_count,
            leave_one_out=self.leave_one_out,
            ascent_steps=self.ascent_steps,
            seed=self.seed,
        )
        comparison.settings["failures"] = images.failures()
        return comparison
