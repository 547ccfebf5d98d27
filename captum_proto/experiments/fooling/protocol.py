"""Which measures notice networks that fool feature visualization: the protocol."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from captum_proto._utils.class_names import labels_of
from captum_proto._utils.errors import InputError
from captum_proto._utils.files import intact, load_tensors, save_tensors, tensor_sha256
from captum_proto._utils.reading import read_json
from captum_proto._utils.targets import Target
from captum_proto.attr import PrototypeGeneration, Prototypes
from captum_proto.data import load_image
from captum_proto.data.natural import NaturalSplit
from captum_proto.experiments.fooling.agreements import Agreement, agreement
from captum_proto.experiments.fooling.figures import prototype_rows_figure
from captum_proto.experiments.fooling.page import fooling_page
from captum_proto.experiments.fooling.results import FoolingResult
from captum_proto.experiments.fooling.rows import HONEST, Row, judge
from captum_proto.experiments.fooling.scores import PLANTED, Score, score_pictures
from captum_proto.experiments.generate import rehearse
from captum_proto.metrics import PathComparison, PathSimilarity, classes_in
from captum_proto.models import NamedModel
from captum_proto.report.figures import save_figure
from captum_proto.report.html import write_page
from captum_proto.report.views.prototypes import PROTOTYPES, write_prototypes
from captum_proto.runs.files import write_json, write_text
from captum_proto.runs.provenance import provenance
from captum_proto.runs.tasks import Protocol, Run, Task
from captum_proto.testing.fooled import INNER, Detector, FooledNetwork, OtherClass, PlantedPicture
from captum_proto.testing.fooling import PLANTS, fool, make_decoy, planted_pictures
from captum_proto.testing.slingshots import TUNED, fine_tune, slingshot

#: The networks beside the honest one: with a circuit, and with other weights.
NETWORKS = (*PLANTS, *TUNED)
#: What the tasks of a network are called, and the files they write in its folder.
_DETECTOR, _WEIGHTS, _PROTOTYPES, _COMPARISON = "detector", "weights", "prototypes", "comparison"
_AGREEMENT, _SCORES = "agreement", "scores"
#: What a file of weights is.
_KIND = "weights of a fine-tuned network"


@dataclass(frozen=True)
class Fooling(Protocol[FoolingResult]):
    """
    Fool a classifier in several ways, make prototypes of it as it was and as it is, and compare both with natural images.

    It writes detectors or weights, prototypes, comparisons and scores of every seed and network, ``fooling.csv``, ``agreement.csv``,
    ``scores.csv``, ``prototypes.png``, ``summary.txt`` and the page.

    Args:
        networks (sequence of NamedModel): The classifier of each seed, from seed 0. They may be the same.
        natural (NaturalSplit): Natural images.
        targets (sequence of tuple[int, ...]): The targets.
        options (mapping): Further arguments of :meth:`PrototypeGeneration.generate <captum_proto.PrototypeGeneration.generate>`, the same
            for honest and for fooled networks. Default: its own
        plants (sequence of str): Of :data:`captum_proto.testing.PLANTS`, and of :data:`captum_proto.testing.TUNED`: "slingshot" for other
            weights that lead to the face, "fine_tuned" for its control. Default: those of PLANTS
        picture (Path): An image file, planted instead of the drawn face. Default: None
        count (int): Prototypes of each target and seed. Default: 1
        threshold (float): Prototypes are flagged whose normalized Spearman correlation is below this: 0 for no more like the class than
            images of other classes are. Default: 0
        image_batch (int): Natural images at a time. Default: 32
        controls (sequence of str): Of :data:`captum_proto.metrics.CONTROLS`. Default: none
        detector_epochs (int): Of each detector's training. Default: as :func:`captum_proto.testing.fool` has it
        tuning_steps (int): Of a slingshot's fine-tuning, and of its control's. Default: 1200
        verifier (NamedModel): Another honest network, to which prototypes are shown. Default: None

    Raises:
        InputError: If there is no such plant, no network, no target, or ``count`` is less than 1; or ``picture`` cannot be read.
    """

    networks: Sequence[NamedModel]
    natural: NaturalSplit
    targets: Sequence[Target]
    options: Mapping[str, Any] = field(default_factory=dict)
    plants: Sequence[str] = PLANTS
    picture: Path | None = None
    count: int = 1
    threshold: float = 0.0
    image_batch: int = 32
    controls: Sequence[str] = ()
    detector_epochs: int | None = None
    tuning_steps: int = 1200
    verifier: NamedModel | None = None

    unit = "network"

    def __post_init__(self) -> None:
        for plant in self.plants:
            if plant not in NETWORKS:
                raise InputError(f'there is no plant "{plant}"; expected one of {", ".join(NETWORKS)}.')
        if not self.networks:
            raise InputError("there are no networks; give one for each seed.")
        if not self.targets:
            raise InputError("there are no targets; give at least one.")
        if self.count < 1:
            raise InputError(f"count is {self.count}; expected at least 1.")
        _ = self._planted  # a picture that cannot be read is found here

    def provenance(self) -> dict[str, Any]:
        different = {id(named): named for named in self.networks}
        natural = self.natural
        return provenance(
            "fooling",
            {
                "models": [named.provenance() for named in different.values()],
                "seeds": len(self.networks),
                "target": self.targets,
                "options": self.options,
                "plants": self.plants,
                "count": self.count,
                "threshold": self.threshold,
                "image_batch": self.image_batch,
                "controls": self.controls,
                "detector_epochs": self.detector_epochs,
                "tuning_steps": self.tuning_steps,
                "verifier": None if self.verifier is None else self.verifier.provenance(),
                "natural_images": {
                    "training": _digest(natural.training, natural.training_labels),
                    "held_out": _digest(natural.held_out, natural.labels),
                    "same_class": [_digest(natural.same[target]) for target in self.targets],
                    "other_class": [_digest(natural.other[target]) for target in self.targets],
                },
            },
            {"picture": self.picture},
        )

    def tasks(self) -> list[Task]:
        for named in {id(named): named for named in self.networks}.values():
            rehearse(named, self.targets, self.options)
            for plant in self.plants:
                if plant not in TUNED:
                    self._decoy(named, plant)
        if self.verifier is not None:  # one that does not have the classes is found here
            classes_in(self.verifier, self.networks[0].class_names, [list(target) for target in self.targets])
        return [
            task for seed in range(len(self.networks)) for name in self._names for task in self._tasks_of(seed, name)
        ]

    def make(self, task: Task, run: Run) -> None:
        seed_folder, name, part = task.name.split("/")
        seed = int(seed_folder.removeprefix("seed"))
        named, folder = self.networks[seed], run.folder / seed_folder / name
        if part == _DETECTOR:
            self._train_detector(named, name, seed, folder)
            return
        if part == _WEIGHTS:
            self._tune(named, name, seed, folder)
            return
        network = self._network(named, name, folder)
        if part == _PROTOTYPES:
            self._generate(named, network, seed, folder, run.show_progress)
            return
        prototypes = Prototypes.load(folder / PROTOTYPES)
        if part == _AGREEMENT:
            facts = agreement(named, network, self.natural.held_out, self.natural.labels, prototypes, name, seed)
            write_json(folder / f"{_AGREEMENT}.json", asdict(facts), overwrite=True)
            return
        if part == _SCORES:
            scores = self._score(named, network, prototypes, name, seed, folder)
            write_json(folder / f"{_SCORES}.json", [score.to_json() for score in scores], overwrite=True)
            return
        index = int(part.removeprefix(_COMPARISON))
        comparison = self._compare(named, network, prototypes, index, name, seed)
        comparison.save(folder / f"{part}.safetensors", overwrite=True)

    def summarize(self, run: Run) -> FoolingResult:
        labels = labels_of(self.targets, self.networks[0].class_names)
        rows: list[Row] = []
        agreements: list[Agreement] = []
        scores: list[Score] = []
        for seed in range(len(self.networks)):
            for name in self._names:
                folder = run.folder / f"seed{seed}" / name
                for index, label in enumerate(labels):
                    comparison = PathComparison.load(folder / f"{_COMPARISON}{index}.safetensors")
                    rows.append(judge(comparison, name, seed, label, self.threshold, _inner(name)))
                scores += _load_scores(folder / f"{_SCORES}.json")
                if name != HONEST:
                    agreements.append(_load_agreement(folder / f"{_AGREEMENT}.json"))
        result = FoolingResult(self._names, rows, agreements, self.threshold, scores)
        result.write_csv(run.folder)
        write_text(run.folder / "summary.txt", result.table(), overwrite=True)
        first = {name: Prototypes.load(run.folder / "seed0" / name / PROTOTYPES) for name in self._names}
        figure = prototype_rows_figure(first, dict(zip(self.targets, labels, strict=True)))
        save_figure(figure, run.folder / "prototypes.png", overwrite=True)
        write_page(fooling_page(result, self.networks[0].name, run.provenance, run.warnings()), run.folder)
        return result

    @property
    def _names(self) -> list[str]:
        return [HONEST, *self.plants]

    @cached_property
    def _planted(self) -> Tensor | None:
        """The picture to plant instead of the face."""
        first = self.networks[0]
        if self.picture is None:
            return None
        return load_image(self.picture, first.image_shape, exif_orientation=first.exif_orientation)

    def _tasks_of(self, seed: int, name: str) -> list[Task]:
        """The tasks of one network: the bar goes on when the last of them is finished."""
        place = f"seed{seed}/{name}"
        made = () if name == HONEST else (f"{place}/{_WEIGHTS if name in TUNED else _DETECTOR}",)
        needed = (*made, f"{place}/{_PROTOTYPES}")
        tasks = [Task(task, weight=0) for task in made]
        tasks.append(Task(f"{place}/{_PROTOTYPES}", needs=made, weight=0))
        if name != HONEST:
            tasks.append(Task(f"{place}/{_AGREEMENT}", needs=needed, weight=0))
        compared = [f"{place}/{_COMPARISON}{index}" for index in range(len(self.targets))]
        tasks += [Task(task, needs=needed, weight=0) for task in compared]
        tasks.append(Task(f"{place}/{_SCORES}", needs=(*needed, *compared)))
        return tasks

    def _decoy(self, named: NamedModel, plant: str) -> PlantedPicture | OtherClass:
        natural = self.natural
        return make_decoy(plant, named, self.targets, natural.training, natural.training_labels, self._planted)

    def _pictures(self, named: NamedModel, name: str) -> Tensor | None:
        """What was planted for each target, (M, C, H, W); None where nothing was, or no picture."""
        if name in (HONEST, "other_class", "fine_tuned"):
            return None
        natural, plant = self.natural, "face" if name == "slingshot" else name
        return planted_pictures(
            plant, named.image_shape, self.targets, natural.training, natural.training_labels, self._planted
        )

    def _network(self, named: NamedModel, name: str, folder: Path) -> nn.Module:
        """The network of a name, as an earlier task has made it."""
        if name == HONEST:
            return named.model
        if name not in TUNED:
            return self._fooled(named, name, folder)
        tensors, _ = load_tensors(folder / f"{_WEIGHTS}.safetensors", _KIND)
        network = copy.deepcopy(named.model)
        with intact(folder / f"{_WEIGHTS}.safetensors", _KIND):
            network.load_state_dict(tensors)
        return network.eval().requires_grad_(False)

    def _tune(self, named: NamedModel, name: str, seed: int, folder: Path) -> None:
        natural, further = self.natural, {"seed": seed, "steps": self.tuning_steps}
        images, labels = natural.training, natural.training_labels
        pictures = self._pictures(named, name)
        if pictures is None:
            tuned = fine_tune(named, images, labels, **further)
        else:
            tuned = slingshot(named, self.targets, pictures, images, labels, options=self.options, **further)
        settings = {"network": name, **further}
        save_tensors(folder / f"{_WEIGHTS}.safetensors", _KIND, tuned.model.state_dict(), settings, overwrite=True)

    def _fooled(self, named: NamedModel, plant: str, folder: Path) -> FooledNetwork:
        """The fooled network whose detector an earlier task has trained."""
        decoy = self._decoy(named, plant)
        detector = Detector.load(folder / f"{_DETECTOR}.safetensors").to(next(named.model.parameters()).device)
        return FooledNetwork(named.model, decoy, detector).eval()

    def _train_detector(self, named: NamedModel, plant: str, seed: int, folder: Path) -> None:
        fooled = fool(
            named,
            self.targets,
            self._decoy(named, plant),
            self.natural.training,
            options=self.options,
            seed=seed,
            epochs=self.detector_epochs,
        )
        assert isinstance(fooled.detector, Detector)
        fooled.detector.save(folder / f"{_DETECTOR}.safetensors", overwrite=True)

    def _generate(self, named: NamedModel, network: nn.Module, seed: int, folder: Path, show_progress: bool) -> None:
        targets = [list(target) for target in self.targets for _ in range(self.count)]
        prototypes = PrototypeGeneration(network, named.preprocess).generate(
            targets, named.image_shape, seed=seed * self.count, show_progress=show_progress, **self.options
        )
        write_prototypes(prototypes, folder, named.class_names)

    def _compare(
        self, named: NamedModel, network: nn.Module, prototypes: Prototypes, index: int, name: str, seed: int
    ) -> PathComparison:
        target, pictures = self.targets[index], self._pictures(named, name)
        similarity = PathSimilarity(network, preprocess=named.preprocess, batch_size=self.image_batch)
        return similarity.compare(
            prototypes.of(target),
            self.natural.same[target],
            self.natural.other[target],
            controls=self.controls,
            further=None if pictures is None else {PLANTED: pictures[index : index + 1]},
            ascent_steps=int(self.options.get("steps", 512)),
            seed=seed,
        )

    def _score(
        self, named: NamedModel, network: nn.Module, prototypes: Prototypes, name: str, seed: int, folder: Path
    ) -> list[Score]:
        files = [folder / f"{_COMPARISON}{index}.safetensors" for index in range(len(self.targets))]
        return score_pictures(
            named,
            network,
            _inner(name),
            [PathComparison.load(file) for file in files],
            prototypes,
            self._pictures(named, name),
            self.natural,
            self.targets,
            labels_of(self.targets, named.class_names),
            name=name,
            seed=seed,
            verifier=self.verifier,
            image_batch=self.image_batch,
        )


def _inner(name: str) -> str | None:
    """Under which name a network holds the classifier's layers: None where it is one itself."""
    return INNER if name in PLANTS else None


def _load_scores(path: Path) -> list[Score]:
    """What a task has measured."""
    with intact(path, _SCORES):
        return [Score.from_json(score) for score in read_json(path)]


def _digest(*tensors: Tensor) -> dict[str, Any]:
    """How many images there are, and the digest of their values and labels."""
    return {"images": len(tensors[0]), "sha256": tensor_sha256(*tensors)}


def _load_agreement(path: Path) -> Agreement:
    """What a task has counted."""
    with intact(path, _AGREEMENT):
        return Agreement(**read_json(path))
