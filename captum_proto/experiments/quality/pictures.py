"""The pictures of a comparison of methods: the tasks that make them, and the files that hold them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from PIL import Image

from captum_proto._utils.class_names import file_stem
from captum_proto._utils.errors import InputError
from captum_proto._utils.files import sha256, whole_file
from captum_proto._utils.reading import read_json
from captum_proto._utils.targets import Target
from captum_proto.attr import PrototypeGeneration
from captum_proto.data.natural import NaturalImages
from captum_proto.experiments.generate import rehearse
from captum_proto.experiments.natural_data import needs_images, needs_spectrum, with_natural_images
from captum_proto.experiments.quality.sources import (
    Finished,
    Key,
    Source,
    batches_of,
    plain_control,
    plain_pictures,
    read_picture,
)
from captum_proto.experiments.sweep.plan import Point, batch_options
from captum_proto.models import NamedModel
from captum_proto.report.figures import to_display
from captum_proto.runs.files import write_json
from captum_proto.runs.provenance import plain
from captum_proto.runs.tasks import Task

PICTURES = "pictures"


@dataclass(frozen=True)
class PictureMaker:
    """
    Makes the pictures of every source, task by task: each a PNG, and what generate makes as safetensors too.

    Args:
        named (NamedModel): The model that pictures are made with.
        natural (NaturalImages): For mean images and measured magnitudes.
        images (str): A digest of these.
        targets (sequence of Target): Classes and superclasses.
        seeds (sequence of int): Of each method and class.
        sources (sequence of Source): Methods and controls.
        batch_size (int): Pictures at a time.
        made_from (NaturalImages, optional): Natural images for methods that are made from some. Default: None
        spectrum (Path, optional): A file with the magnitude spectrum of photographs, for methods that need one. Default: None
    """

    named: NamedModel
    natural: NaturalImages
    images: str
    targets: Sequence[Target]
    seeds: Sequence[int]
    sources: Sequence[Source]
    batch_size: int
    made_from: NaturalImages | None = None
    spectrum: Path | None = None
    _spectra: dict[str, dict[str, Any]] = field(default_factory=dict, init=False, repr=False, compare=False)

    @cached_property
    def finished(self) -> dict[str, Finished]:
        """By source, the finished pictures in its folder."""
        given = [source for source in self.sources if source.folder is not None]
        return {source.name: Finished(source.folder, self.named, self.targets) for source in given if source.folder}

    def check(self) -> None:
        """See that everything can be made, as far as that can be seen before anything takes time."""
        for source in self.sources:
            if not source.generated:
                continue
            options = source.options(self.named.image_shape)
            if needs_images(options):
                self._check_unseen(source)
                # What is matched is measured on the images of each class: of one it is seen whether that works.
                options = self._options(source, [(self.targets[0], self.seeds[0])])
                rehearse(self.named, self.targets[:1], options)
                continue
            if needs_spectrum(options) and self.made_from is None and self.spectrum is None:
                raise InputError(
                    f'the method "{source.name}" needs the magnitude spectrum of photographs; give a file, or images to measure it on.'
                )
            self._options(source, [(self.targets[0], self.seeds[0])])
            rehearse(self.named, self.targets, options if not needs_spectrum(options) else self._spectra[source.name])
        _ = self.finished

    def _check_unseen(self, source: Source) -> None:
        """See that a method that is made from natural images of the classes is not judged by the same ones."""
        if self.made_from is None:
            raise InputError(
                f'the method "{source.name}" is made from natural images; give some that are not among those it is judged by.'
            )
        made_from, judged_by = (
            {digest: name for name, digest in each.afresh().collection.listed()}
            for each in (self.made_from, self.natural)
        )
        if both := sorted(made_from.keys() & judged_by.keys()):
            raise InputError(
                f'the method "{source.name}" is made from {len(both)} of the images that it is to be judged by, such as '
                f'"{made_from[both[0]]}"; give others for one of the two.'
            )

    def tasks(self, source: Source) -> list[Task]:
        """The tasks of a source: their inputs are all that their pictures depend on, so that other sources leave them as they are."""
        name = f"{PICTURES}/{source.stem}"
        if source.folder is not None:
            finished = self.finished[source.name]
            return [Task(f"{name}/given", {"files": finished.listed()}, weight=len(finished.files))]
        if not source.generated:
            keys = plain_pictures(source, self.targets, self.seeds)
            images = self.images if source.name == "mean_image" else None
            return [Task(f"{name}/all", {"pictures": plain(keys), "images": images}, weight=len(keys))]
        inputs = plain({"options": source.options(self.named.image_shape), "values": source.values})
        if source.combination.measured:
            inputs["images"] = self.images
        if source.from_data(self.named.image_shape):
            inputs["made_from"] = self._made_from
        return [
            Task(f"{name}/{number:04d}", {**inputs, "pictures": plain(keys)}, weight=len(keys))
            for number, keys in enumerate(batches_of(source, self.targets, self.seeds, self.batch_size))
        ]

    def make(self, name: str, folder: Path) -> None:
        """
        The pictures of one task, and a list of them.

        Args:
            name (str): Of the task.
            folder (Path): Of the run.
        """
        _, stem, part = name.split("/")
        source = next(source for source in self.sources if source.stem == stem)
        if source.generated:
            keys = batches_of(source, self.targets, self.seeds, self.batch_size)[int(part)]
            made = PrototypeGeneration(self.named.model, self.named.preprocess).generate(
                [list(target) for target, _ in keys],
                self.named.image_shape,
                seed=[seed for _, seed in keys],
                **self._options(source, keys),
            )
            made.save(folder / f"{name}.safetensors", overwrite=True)
            value_range = tuple(made.settings.get("value_range", (0.0, 1.0)))
            shown = {key: to_display(image, value_range) for key, image in zip(keys, made.images, strict=True)}
        elif source.folder is not None:
            channels = self.named.image_shape[0]
            files = self.finished[source.name].files
            shown = {key: to_display(read_picture(path, channels)) for key, path in files.items()}
        else:
            shown = {}
            for key in plain_pictures(source, self.targets, self.seeds):
                image = plain_control(source.name, key, self.named, self.natural)
                if image is not None:
                    shown[key] = to_display(image)
        for key, pixels in shown.items():
            with whole_file(folder / self._path(source, key), overwrite=True) as temporary:
                Image.fromarray(pixels).save(temporary, format="png")
        write_json(folder / f"{name}.json", plain(list(shown)), overwrite=True)

    def listed(self, source: Source, folder: Path) -> list[tuple[Key, Path]]:
        """The pictures of a source whose tasks are all finished: the classes and the seed of each, and its file."""
        found = []
        for task in self.tasks(source):
            content = read_json(folder / f"{task.name}.json")
            keys = [(tuple(target), int(seed)) for target, seed in content]
            found += [(key, folder / self._path(source, key)) for key in keys]
        return found

    def _options(self, source: Source, keys: Sequence[Key]) -> dict[str, Any]:
        """Keyword arguments of generate for a batch."""
        if source.values is None:
            return source.options(self.named.image_shape)
        if source.name in self._spectra:
            return self._spectra[source.name]
        points = [Point(0, target, seed) for target, seed in keys]
        options = batch_options([source.combination], points, self.natural, self.named.image_shape)
        targets = [target for target, _ in keys]
        if needs_images(options):
            return with_natural_images(options, self.named, targets, self._afresh())
        if needs_spectrum(options):  # the same for all classes
            given = self.spectrum
            images = self._afresh() if given is None else None
            self._spectra[source.name] = with_natural_images(options, self.named, targets, images, given)
            return self._spectra[source.name]
        return options

    def _afresh(self) -> NaturalImages | None:
        return None if self.made_from is None else self.made_from.afresh()

    @cached_property
    def _made_from(self) -> dict[str, Any]:
        """What methods that know data are made from."""
        listed = [] if self.made_from is None else self.made_from.afresh().collection.listed()
        return {
            "images": hashlib.sha256(json.dumps(listed).encode(errors="surrogateescape")).hexdigest(),
            "settings": plain(self.made_from),
            "spectrum": None if self.spectrum is None else sha256(self.spectrum),
        }

    def _path(self, source: Source, key: Key) -> str:
        """The file of a picture, relative to the folder of the run."""
        return f"{PICTURES}/{source.stem}/{file_stem(key[0], self.named.class_names)}_seed{key[1]}.png"


__all__ = ["PICTURES", "PictureMaker"]
