"""Every measure of prototypes for several methods, beside controls and natural images: pictures, views, references, tables and the page."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from captum_proto._utils.checks import check_int
from captum_proto._utils.class_names import labels_of, model_stem
from captum_proto._utils.errors import InputError
from captum_proto._utils.model import fingerprint
from captum_proto._utils.targets import Target
from captum_proto.data.natural import NaturalImages
from captum_proto.experiments.quality.page import result_page
from captum_proto.experiments.quality.paths import CLASSES, REFERENCES, SCORES, PathMeasurer
from captum_proto.experiments.quality.pictures import PICTURES, PictureMaker
from captum_proto.experiments.quality.result import QualityResult
from captum_proto.experiments.quality.seen import Seen, see_photographs, see_pictures
from captum_proto.experiments.quality.sources import Source, check_sources, controls_of, read_picture
from captum_proto.experiments.quality.summary import NATURAL_STEM, Measured, quality_tables
from captum_proto.metrics import CONTROLS, classes_in
from captum_proto.metrics.controls import check_controls
from captum_proto.metrics.quality import METHOD, NATURAL
from captum_proto.metrics.verifier import check_verifiers
from captum_proto.models import NamedModel
from captum_proto.report.figures import save_figure, to_display
from captum_proto.report.html import write_page
from captum_proto.report.views.quality import quality_sheet, shown_on_sheet
from captum_proto.runs.folder import read_settings
from captum_proto.runs.provenance import plain, provenance
from captum_proto.runs.tasks import Protocol, Run, Task

PHOTOGRAPHS, VIEWS = "photographs", "views"
_EVERY_CLASS = "all classes"


@dataclass(frozen=True)
class Quality(Protocol[QualityResult]):
    """
    Pictures of several methods, and every measure of them in one table, with controls and natural images in it.

    Methods, verifiers, classes and seeds are not part of what a folder is of: a run that goes on in it with more of them keeps what is
    there, and a finished task is made again only where its own inputs have changed.

    References of classes that have enough natural images for path similarity stay in the folder: 8 bytes for each activation of one image,
    two or three times a class, about 0.5 GB for all layers of EfficientNet-Lite0. To find the nearest class, one of them for each class is
    in memory at once, with half as much again for ranks. Fewer layers (``similarity={"layers": "leaf"}``) take less.

    Args:
        named (NamedModel): The model that pictures are made with.
        targets (sequence of Target): Classes and superclasses.
        natural (NaturalImages): Natural images of these classes, and of others.
        methods (mapping[str, mapping]): By name, arguments of generate as a TOML file has them, such as ``{"preset": "best"}``.
        verifiers (sequence of NamedModel): Other networks that pictures are shown to. Default: none, features are the model's own
        pictures (mapping[str, Path]): By name, a folder of finished pictures, such as another program's; see
            :class:`~captum_proto.experiments.quality.sources.Finished`. Default: none
        seeds (sequence of int): Of each method and class. Default: 0
        parts (mapping[str, sequence of Target]): By title, the classes of each table, such as those that a method was tuned on and those
            that were held out. Default: one table of all
        controls (sequence of str): Of :data:`~captum_proto.metrics.CONTROLS`. Default: all
        control_steps (int, optional): Of the controls by gradient ascent. Default: None, their presets'
        similarity (mapping): Further arguments of :class:`~captum_proto.PathSimilarity`, such as layers. Default: its own
        min_images (int): Natural images that a class needs for path similarity. Default: 8
        made_from (NaturalImages, optional): Natural images for methods that are made from some, such as the preset "matched", which is a
            claim about these too; none of those that pictures are judged by. Default: None
        spectrum (Path, optional): A file with the magnitude spectrum of photographs, for the preset "maco". Default: None
        batch_size (int): Pictures at a time; each finished batch is on disk at once. Default: 8

    Raises:
        InputError: If there is no method, two have one name, an argument is out of its range, or a verifier lacks a class.
    """

    named: NamedModel
    targets: Sequence[Target]
    natural: NaturalImages
    methods: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    verifiers: Sequence[NamedModel] = ()
    pictures: Mapping[str, Path] = field(default_factory=dict)
    seeds: Sequence[int] = (0,)
    parts: Mapping[str, Sequence[Target]] = field(default_factory=dict)
    controls: Sequence[str] = CONTROLS
    control_steps: int | None = None
    similarity: Mapping[str, Any] = field(default_factory=dict)
    min_images: int = 8
    made_from: NaturalImages | None = None
    spectrum: Path | None = None
    batch_size: int = 8

    unit = "picture"

    def __post_init__(self) -> None:
        if not self.methods and not self.pictures:
            raise InputError("there is no method; name at least one, or give a folder of finished pictures.")
        check_int(self.batch_size, "batch_size", 1)
        check_int(self.min_images, "min_images", 2)  # that of one image is no mean
        for name, values in (("targets", self.targets), ("seeds", self.seeds)):
            if not values or len(set(values)) < len(values):
                raise InputError(f"{name} are {list(values)}; expected at least one, each once.")
        strangers = [target for part in self.parts.values() for target in part if target not in self.targets]
        if strangers:
            raise InputError(f"a table is of the classes {list(strangers[0])}, which are not among the targets.")
        check_controls(self.controls)
        check_sources(self.sources)
        check_verifiers(self.named, self.verifiers)
        names = [model_stem(network.name) for network in self.networks]
        if len(set(names)) < len(names):
            raise InputError(f"networks are {names}; expected different ones.")
        _ = self.classes

    @cached_property
    def sources(self) -> list[Source]:
        """Methods first, then controls."""
        return [
            *(Source(name, METHOD, values) for name, values in self.methods.items()),
            *(Source(name, METHOD, folder=folder) for name, folder in self.pictures.items()),
            *controls_of(self.controls, self.control_steps),
        ]

    @property
    def networks(self) -> list[NamedModel]:
        """The model, and the verifiers."""
        return [self.named, *self.verifiers]

    @cached_property
    def classes(self) -> dict[str, dict[int, int]]:
        """By verifier, its class by the model's."""
        needed = [list(target) for target in self.targets]
        return {verifier.name: classes_in(verifier, self.named.class_names, needed) for verifier in self.verifiers}

    def provenance(self) -> dict[str, Any]:
        return provenance(
            "quality",
            {"model": self.named.provenance(), "image_shape": self.named.image_shape, "images": self.natural},
        )

    def begun(self) -> dict[str, Any]:
        return {
            "methods": plain(self.methods),
            "pictures": {name: str(folder) for name, folder in self.pictures.items()},
            "verifiers": [verifier.provenance() for verifier in self.verifiers],
            "classes": list(self.labels.values()),
            "seeds": list(self.seeds),
            "parts": {title: [self.labels[target] for target in part] for title, part in self._parts().items()},
            "controls": list(self.controls),
            "control_steps": self.control_steps,
            "made_from": plain(self.made_from),
            "spectrum": None if self.spectrum is None else self.spectrum.name,
            "batch_size": self.batch_size,
        }

    def tasks(self) -> list[Task]:
        self._check()
        made = [task for source in self.sources for task in self._maker.tasks(source)]
        seen = []
        for network in self.networks:
            inputs = {"network": fingerprint(network.model), "shape": list(network.image_shape)}
            stem = model_stem(network.name)
            seen.append(Task(f"{PHOTOGRAPHS}/{stem}", {**inputs, "images": self._images}, weight=0))
            for source in self.sources:
                needs = tuple(task.name for task in made if task.name.startswith(f"{PICTURES}/{source.stem}/"))
                seen.append(Task(f"{VIEWS}/{stem}/{source.stem}", inputs, needs, weight=0))
        return [*made, *seen, *self._path_tasks(made)]

    def _path_tasks(self, made: Sequence[Task]) -> list[Task]:
        paths, fitted, scored, ranked = self._paths, list[Task](), list[Task](), list[Task]()
        inputs = {"images": self._images, "similarity": plain(self.similarity), "others": self.natural.others}
        for target in paths.measured:
            own = {**inputs, "target": list(target), "equal": paths.equal}
            fitted.append(Task(f"{REFERENCES}/{paths.stem(target)}", own, weight=0))
        every = tuple(task.name for task in fitted)
        for source in self.sources:
            pictures = tuple(task.name for task in made if task.name.startswith(f"{PICTURES}/{source.stem}/"))
            for target, reference in zip(paths.measured, every, strict=True):
                name = f"{SCORES}/{source.stem}/{paths.stem(target)}"
                scored.append(Task(name, needs=(reference, *pictures), weight=0))
            ranked.append(Task(f"{CLASSES}/{source.stem}", needs=(*every, *pictures), weight=0))
        ranked.append(Task(f"{CLASSES}/{NATURAL_STEM}", needs=every, weight=0))
        return [*fitted, *scored, *(ranked if len(every) > 1 else [])]

    def make(self, task: Task, run: Run) -> None:
        kind, first, *rest = task.name.split("/")
        path = run.folder / f"{task.name}.safetensors"
        if kind == PICTURES:
            self._maker.make(task.name, run.folder)
        elif kind == PHOTOGRAPHS:
            see_photographs(self._network(first), self.natural).save(path)
        elif kind == VIEWS:
            files = self._maker.listed(self._source(rest[0]), run.folder)
            if files:  # else it has no row
                see_pictures(self._network(first), files, self.batch_size).save(path)
        elif kind == REFERENCES:
            self._paths.fit(self._target(first), run.folder)
        elif kind == SCORES:
            if pictures := self._files(first, run.folder).get(self._target(rest[0])):
                self._paths.score(self._target(rest[0]), pictures, run.folder, path)
        else:
            self._paths.rank(None if first == NATURAL_STEM else self._files(first, run.folder), run.folder, path)

    def _network(self, stem: str) -> NamedModel:
        return next(network for network in self.networks if model_stem(network.name) == stem)

    def _source(self, stem: str) -> Source:
        return next(source for source in self.sources if source.stem == stem)

    def _target(self, stem: str) -> Target:
        return next(target for target in self.targets if self._paths.stem(target) == stem)

    def _files(self, stem: str, folder: Path) -> dict[Target, list[Path]]:
        """The pictures of a source by target."""
        found: dict[Target, list[Path]] = {}
        for (target, _), path in self._maker.listed(self._source(stem), folder):
            found.setdefault(target, []).append(path)
        return found

    def summarize(self, run: Run) -> QualityResult:
        measured = self._measured(run)
        tables = quality_tables(measured, self._parts(), self.labels)
        result = QualityResult(self.named.name, [verifier.name for verifier in self.verifiers], tables)
        result.write(run.folder)
        self._write_sheets(run.folder)
        write_page(result_page(result, read_settings(run.folder), run.warnings()), run.folder)
        return result

    def _measured(self, run: Run) -> Measured:
        """Everything that the tasks found."""
        photographs, views = {}, {}
        for network in self.networks:
            stem = model_stem(network.name)
            photographs[network.name] = Seen.load(run.folder / PHOTOGRAPHS / f"{stem}.safetensors")
            views[network.name] = {
                source.name: Seen.load(run.folder / VIEWS / stem / f"{source.stem}.safetensors")
                for source in self.sources
                if self._maker.listed(source, run.folder)
            }
        return Measured(
            self.named,
            list(self.verifiers),
            self.classes,
            self.sources,
            photographs,
            views,
            self._paths,
            run.folder,
        )

    @cached_property
    def labels(self) -> dict[Target, str]:
        """What targets are called."""
        return dict(zip(self.targets, labels_of(self.targets, self.named.class_names), strict=True))

    @cached_property
    def _maker(self) -> PictureMaker:
        return PictureMaker(
            self.named,
            self.natural,
            self._images,
            self.targets,
            self.seeds,
            self.sources,
            self.batch_size,
            self.made_from,
            self.spectrum,
        )

    @cached_property
    def _paths(self) -> PathMeasurer:
        return PathMeasurer(self.named, self.natural, self.targets, self.similarity, self.min_images)

    @cached_property
    def _images(self) -> str:
        """A digest of all natural images."""
        listed = self.natural.afresh().collection.listed()
        content = json.dumps([*listed, [self.natural.limit, self.natural.seed]])
        return hashlib.sha256(content.encode(errors="surrogateescape")).hexdigest()

    def _parts(self) -> Mapping[str, Sequence[Target]]:
        return self.parts or {_EVERY_CLASS: self.targets}

    def _write_sheets(self, folder: Path) -> None:
        """For each table a sheet: the first picture of a class by each source that has some, and a natural image."""
        channels = self.named.image_shape[0]
        first: dict[str, dict[Target, Path]] = {}
        for source in self.sources:
            for (target, _), path in self._maker.listed(source, folder):
                first.setdefault(source.label, {}).setdefault(target, path)
        for number, part in enumerate(self._parts().values()):
            columns = [name for name, paths in first.items() if any(target in paths for target in part)]
            rows = {}
            for target in shown_on_sheet(part, len(columns) + 1):
                paths = [first[name].get(target) for name in columns]
                made = [None if path is None else to_display(read_picture(path, channels)) for path in paths]
                natural = self.natural.afresh(batch_size=1, workers=0).of(target).same
                rows[self.labels[target]] = [*made, to_display(next(iter(natural))[0])]
            sheet = quality_sheet(rows, [*columns, NATURAL])
            save_figure(sheet, folder / f"sheet_{number}.png", overwrite=True)

    def _check(self) -> None:
        """See that everything can be made, as far as that can be seen before anything takes time."""
        self._maker.check()
        self._paths.check()
        for target in self.targets:
            self.natural.of(target)


__all__ = ["Quality"]
