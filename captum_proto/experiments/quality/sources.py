"""Where the pictures of a comparison come from: settings of generation, folders of finished pictures, and controls."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from captum_proto._utils.class_names import file_stem, label_of, model_stem, parse_classes
from captum_proto._utils.errors import InputError
from captum_proto._utils.files import sha256
from captum_proto._utils.targets import Target
from captum_proto.data.images import decoded
from captum_proto.data.labels import existing_folder
from captum_proto.data.natural import NaturalImages
from captum_proto.experiments.natural_data import needs_images, needs_spectrum
from captum_proto.experiments.sweep.grid import Combination
from captum_proto.metrics.quality import CONTROL, DATA_CONTROL, METHOD, NATURAL
from captum_proto.models import NamedModel
from captum_proto.optim.presets import preset_for
from captum_proto.optim.random import CONTROL as CONTROL_STREAM
from captum_proto.optim.random import RandomStream, prototype_keys
from captum_proto.report.views.prototypes import PROTOTYPES

#: A picture: of which classes, and from which seed.
Key = tuple[Target, int]
#: Controls that are optimized, and those that are not.
_ASCENTS, _PLAIN = ("ascent", "feature_visualization"), ("gray", "noise", "mean_image")
#: So many natural images a mean image needs: that of one is the image itself.
_LEAST_FOR_MEAN = 2
#: In folders that our own commands wrote: the sheet of all pictures.
_SHEETS = (Path(PROTOTYPES).with_suffix(".png").name,)


@dataclass(frozen=True)
class Source:
    """
    A method or a control.

    Attributes:
        name (str): In tables.
        kind (str): "method", "control" or "control with data".
        values (mapping, optional): Arguments of generate as a TOML file has them. Default: None, it is not generated from settings
        folder (Path, optional): Of finished pictures. Default: None
        steps (int, optional): Of a control by gradient ascent. Default: None, its preset's
    """

    name: str
    kind: str
    values: Mapping[str, Any] | None = None
    folder: Path | None = None
    steps: int | None = None

    @property
    def stem(self) -> str:
        """What files call it."""
        return model_stem(self.name.replace(" ", "-"))

    @property
    def label(self) -> str:
        """What a sentence calls it."""
        return self.name.replace("_", " ") if self.kind in (CONTROL, DATA_CONTROL) else self.name

    @property
    def generated(self) -> bool:
        """Whether generate makes its pictures."""
        return self.values is not None or self.name in _ASCENTS

    @property
    def combination(self) -> Combination:
        return Combination(self.name, dict(self.values or {}))

    def options(self, image_shape: tuple[int, int, int]) -> dict[str, Any]:
        """Keyword arguments of generate; measured magnitudes, which differ from class to class, are left out."""
        if self.values is not None:
            return self.combination.options(image_shape)
        options = preset_for(self.name, image_shape)
        return options if self.steps is None else {**options, "steps": self.steps}

    def from_data(self, image_shape: tuple[int, int, int]) -> bool:
        """Whether it is made from natural images, or from the spectrum of some, that are given beside those it is judged by."""
        if self.values is None:
            return False
        options = self.options(image_shape)
        return needs_images(options) or needs_spectrum(options)


def controls_of(names: Sequence[str], steps: int | None) -> list[Source]:
    """The controls of a table, by name; all but the mean image know no data."""
    return [
        Source(name, DATA_CONTROL if name == "mean_image" else CONTROL, steps=steps if name in _ASCENTS else None)
        for name in names
    ]


def check_sources(sources: Sequence[Source]) -> None:
    """
    See that sources can be told apart.

    Raises:
        ValueError: If two have one name, or would share the names of their files, or one is called as a control or natural images are.
    """
    names = [source.name for source in sources]
    for source in sources:
        if source.kind == METHOD and source.name in (*_ASCENTS, *_PLAIN):
            raise InputError(
                f'"{source.name}" is among the controls of every table already; leave it out, or give other settings another name.'
            )
        if source.name == NATURAL or not source.stem.strip("-_."):
            raise InputError(f'a method is called "{source.name}"; choose another name.')
    stems = [source.stem for source in sources]
    if len(set(names)) < len(names) or len(set(stems)) < len(stems):
        raise InputError(f"methods are {names}, of which two would share the names of their files; rename one.")


@dataclass(frozen=True)
class Finished:
    """
    Finished pictures in a folder, by class.

    Args:
        folder (Path): With a PNG for each picture, named by its class as our own commands name theirs: ``0558_flute.png``,
            ``0151-0268_seed2.png``, or by the index or the name alone.
        named (NamedModel): Whose classes they are.
        targets (sequence of Target): The classes asked for; pictures of other classes of the model are passed over.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If a picture is of no class of the model, or there is none of the classes asked for.
    """

    folder: Path
    named: NamedModel
    targets: Sequence[Target]
    files: dict[Key, Path] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        existing_folder(self.folder)
        stems: dict[str, Target] = {}
        for target in self.targets:
            stems |= {file_stem(target, names): target for names in (None, self.named.class_names)}
            if len(target) == 1:
                stems[label_of(target, self.named.class_names)] = target
        counts: dict[Target, int] = {}
        paths = [path for path in sorted(self.folder.glob("*.png")) if path.name not in _SHEETS]
        for path in paths:
            base = re.sub(r"_seed\d+$", "", path.stem)
            target = stems.get(base) or self._class_of(path, base)
            if target in self.targets:
                counts[target] = counts.get(target, 0) + 1
                self.files[target, counts[target] - 1] = path
        if not self.files:
            raise InputError(
                f'"{self.folder}" has {len(paths)} PNG, none of the classes asked for; name each by its class, such as '
                f'"{file_stem(self.targets[0], self.named.class_names)}.png".'
            )

    def _class_of(self, path: Path, base: str) -> Target:
        """The class of a picture that is not named as ours are: an index before other words, or a name."""
        number = re.match(r"(\d+)(?:-(\d+))?(?=_|$)", base)
        names = self.named.class_names
        count = len(names) if names else None
        if number:
            first, last = int(number[1]), int(number[2] or number[1])
            if first <= last and (count is None or last < count):
                return tuple(range(first, last + 1))
        words = re.sub(r"[-_]+", " ", base)
        try:
            return parse_classes([base if names and base in names else words], names)[0]
        except InputError as error:
            raise InputError(
                f'the picture "{path}" is of no class of {self.named.name} ({error}); name it by its class, such as '
                f'"{file_stem(self.targets[0], names)}.png", or take it away.'
            ) from error

    def listed(self) -> dict[str, str]:
        """The name and the SHA-256 of each picture."""
        return {path.name: sha256(path) for path in self.files.values()}


def batches_of(source: Source, targets: Sequence[Target], seeds: Sequence[int], batch_size: int) -> list[list[Key]]:
    """
    The pictures of a source that is generated, batch by batch: seed by seed, so that another seed leaves all batches as they are.

    Prototypes that are to differ from each other are in one batch with those of their class; where magnitudes are measured on images of
    other classes, each class has batches of its own.
    """
    if source.combination.values.get("diversity") is not None:
        each = max(1, batch_size // len(seeds))
        parts = [targets[begin : begin + each] for begin in range(0, len(targets), each)]
        return [[(target, seed) for target in part for seed in seeds] for part in parts]
    each = 1 if source.combination.measured else batch_size
    return [
        [(target, seed) for target in targets[begin : begin + each]]
        for seed in seeds
        for begin in range(0, len(targets), each)
    ]


def plain_pictures(source: Source, targets: Sequence[Target], seeds: Sequence[int]) -> list[Key]:
    """The pictures of a control that is not generated: one for each class, and of noise one for each seed."""
    return [(target, seed) for target in targets for seed in (seeds if source.name == "noise" else seeds[:1])]


def plain_control(name: str, key: Key, named: NamedModel, natural: NaturalImages) -> Tensor | None:
    """
    A control that is not generated.

    Args:
        name (str): "gray", "noise" or "mean_image".
        key (Key): The class that it is scored as, and the seed of noise.
        named (NamedModel): For the shape of images.
        natural (NaturalImages): For the mean image.

    Returns:
        Tensor: (C, H, W), or None: of a mean image of fewer than two natural images.
    """
    shape = named.image_shape
    if name == "gray":
        return torch.full(shape, 0.5)
    if name == "noise":
        stream = RandomStream(prototype_keys([key[1]], [key[0]]), CONTROL_STREAM)
        return stream.uniform(int(np.prod(shape))).view(shape).float()
    total, count = torch.zeros(shape, dtype=torch.float64), 0
    for batch in natural.afresh().of(key[0]).same:
        total += batch.double().sum(0).cpu()
        count += len(batch)
    return (total / count).float() if count >= _LEAST_FOR_MEAN else None


def read_picture(path: Path, channels: int) -> Tensor:
    """A picture as it was saved: (C, H, W) in [0, 1], whatever its size."""
    with decoded(path) as file:
        pixels = np.asarray(file.convert("L" if channels == 1 else "RGB"))
    image = torch.from_numpy(pixels.copy()).float().div(255)
    return image.unsqueeze(0) if image.dim() == 2 else image.permute(2, 0, 1).contiguous()


__all__ = [
    "Finished",
    "Key",
    "Source",
    "batches_of",
    "check_sources",
    "controls_of",
    "plain_control",
    "plain_pictures",
    "read_picture",
]
