"""Small networks that are trojaned here, and whether pictures of their classes tell the triggers: the protocol of known truth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from captum_proto._utils.checks import check_int
from captum_proto._utils.errors import InputError
from captum_proto._utils.files import intact, load_tensors, save_tensors
from captum_proto._utils.reading import read_json
from captum_proto.attr import PrototypeGeneration, Prototypes
from captum_proto.experiments.trojans.page import planted_page
from captum_proto.experiments.trojans.results import (
    CLEAN,
    DRAWING,
    NOISE,
    TRIGGER_IMAGES,
    TWO_TOWER,
    Attack,
    Choice,
    TrojanResult,
    load_choices,
    save_choices,
)
from captum_proto.experiments.trojans.sheets import write_sheets
from captum_proto.experiments.trojans.table import Trojan, recorded
from captum_proto.metrics.multiple_choice import Answered, answer_scores
from captum_proto.optim import RandomAffine
from captum_proto.optim.inputs import FFTImage
from captum_proto.report.html import write_page
from captum_proto.runs.files import write_json, write_text
from captum_proto.runs.provenance import provenance
from captum_proto.runs.tasks import Protocol, Run, Task
from captum_proto.stats.intervals import Estimate
from captum_proto.testing.marked_digits import seeded
from captum_proto.testing.trigger_scores import train_trigger_tower, trigger_evidence, trigger_tower
from captum_proto.testing.triggers import SIDE, TRIGGERS
from captum_proto.testing.trojans import (
    TROJAN_DATA,
    PlantedTrojan,
    TrojanNetwork,
    attack_rates,
    draw_trojans,
    plain_images,
    train_trojaned,
)

#: How pictures of small networks are made: presets are for photographs of 224 pixels. Chosen among three settings by a network of seed 100.
PLANTED_METHODS: Mapping[str, Mapping[str, Any]] = {
    "prototype": {
        "steps": 96,
        "lr": 0.05,
        "transform": RandomAffine(0, translate=(0.15, 0.15)),
        "high_frequency_weight": 10.0,
        "high_frequency_power": 2,
        "warmup_steps": 0,
    },
    "visualization": {
        "steps": 96,
        "lr": 0.1,
        "parametrization": FFTImage(),
        "transform": RandomAffine(5, translate=(0.1, 0.1), scale=(0.95, 1.05), fill="reflect"),
        "high_frequency_weight": 3.0,
        "high_frequency_power": 2,
        "warmup_steps": 0,
    },
}
_WEIGHTS = "weights of a network"
_TROJANED, _CLEAN = "trojaned", "clean"


@dataclass(frozen=True)
class _Planted:
    """Networks of one data set and seed: trojaned, and clean."""

    data: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.data}_seed{self.seed}"

    @property
    def planted(self) -> list[PlantedTrojan]:
        return draw_trojans(self.data, self.seed)

    @property
    def trojans(self) -> list[Trojan]:
        """As questions are asked of them: the eight triggers of the kind, in their own order."""
        return [
            Trojan(one.trigger.name, one.trigger.kind, one.target, TRIGGERS[one.trigger.kind]) for one in self.planted
        ]

    def question(self, trojan: Trojan) -> str:
        """What the question is called, among those of all networks."""
        return f"{self.name}: {trojan.name} → {TROJAN_DATA[self.data][trojan.target]}"


@dataclass(frozen=True)
class PlantedTrojans(Protocol[TrojanResult]):
    """
    Train small networks with trojans and their clean twins, make pictures of the target classes, and see who tells the triggers.

    Two choose among the eight triggers of the kind: a small two-tower model that was trained on images of triggers and their names, and
    the drawing: which trigger's own picture, mask or texture the pictures hold most of. Beside the pictures of the trojaned network are
    those of its clean twin, noise, and, as the most that can be expected, unseen images with the trigger itself.

    Args:
        data (sequence of str): "shapes", "digits" or both. Default: both
        networks (int): Of each data set, with three trojans each, from ``seed`` on. Default: 2
        methods (mapping): By name, arguments of :meth:`~captum_proto.PrototypeGeneration.generate`. Default: ``PLANTED_METHODS``, a
            prototype in pixels and a visualization by Fourier coefficients
        count (int): Pictures of each trojan and method. Default: 4
        images (int): Training images of each network, and of the two-tower model. Default: 4000
        epochs (int): Of each network's training; of the two-tower model twice as many. Default: 8
        unseen (int): Images that the triggers are tried on. Default: 500
        seed (int): The first. Default: 0

    Raises:
        InputError: If an argument is out of its range.
    """

    data: Sequence[str] = tuple(TROJAN_DATA)
    networks: int = 2
    methods: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: PLANTED_METHODS)
    count: int = 4
    images: int = 4000
    epochs: int = 8
    unseen: int = 500
    seed: int = 0

    unit = "part"

    def __post_init__(self) -> None:
        unknown = [name for name in self.data if name not in TROJAN_DATA]
        if unknown or not self.data or len(set(self.data)) < len(self.data):
            raise InputError(
                f"data are {', '.join(self.data) or 'none'}; expected one or more of {', '.join(TROJAN_DATA)}, each once."
            )
        for name, least in (("networks", 1), ("count", 1), ("images", 64), ("epochs", 1), ("unseen", 50), ("seed", 0)):
            check_int(getattr(self, name), name, least)
        if not self.methods or {NOISE, TRIGGER_IMAGES} & self.methods.keys():
            raise InputError(
                f"methods are {', '.join(self.methods) or 'none'}; expected at least one, and none called as a control is."
            )

    @cached_property
    def _planted(self) -> dict[str, _Planted]:
        found = [_Planted(data, self.seed + number) for number in range(self.networks) for data in self.data]
        return {one.name: one for one in found}

    @cached_property
    def _conditions(self) -> dict[str, tuple[str, Mapping[str, Any]]]:
        """By what pictures are called, the state of the network and the arguments that make them; not of images with the trigger."""
        found = {name: (_TROJANED, options) for name, options in self.methods.items()}
        found |= {name + CLEAN: (_CLEAN, options) for name, options in self.methods.items()}
        first = next(iter(self.methods.values()))
        found[NOISE] = (_TROJANED, {**first, "steps": 0, "warmup_steps": 0})
        return found

    def provenance(self) -> dict[str, Any]:
        return provenance(
            "trojans",
            {
                "step": "planted",
                "data": self.data,
                "networks": self.networks,
                "trojans": {name: recorded(one.trojans) for name, one in self._planted.items()},
                "methods": self.methods,
                "count": self.count,
                "images": self.images,
                "epochs": self.epochs,
                "unseen": self.unseen,
                "seed": self.seed,
            },
        )

    def tasks(self) -> list[Task]:
        self._rehearse()
        tasks = [Task("tower")]
        for name in self._planted:
            states = [f"networks/{name}_{state}" for state in (_TROJANED, _CLEAN)]
            pictures = [f"pictures/{name}/{place:02d}" for place in range(len(self._conditions))]
            of_condition = dict(zip(pictures, self._conditions.values(), strict=True))
            tasks += [Task(state) for state in states]
            tasks += [
                Task(task, needs=(f"networks/{name}_{state}",), weight=0) for task, (state, _) in of_condition.items()
            ]
            tasks += [
                Task(f"choices/{name}", needs=("tower", *pictures), weight=0),
                Task(f"attacks/{name}", needs=tuple(states), weight=0),
            ]
        return tasks

    def begun(self) -> dict[str, Any]:
        return {
            "conditions": list(self._conditions),
            "methods": list(self.methods),
            "labels": {name: [one.question(trojan) for trojan in one.trojans] for name, one in self._planted.items()},
        }

    def make(self, task: Task, run: Run) -> None:
        kind, *rest = task.name.split("/")
        path = run.folder / f"{task.name}.safetensors"
        if kind == "tower":
            tower = train_trigger_tower(self.seed, self.images, 2 * self.epochs)
            save_tensors(path, _WEIGHTS, tower.state_dict(), {}, overwrite=True)
        elif kind == "networks":
            name, _, state = rest[0].rpartition("_")
            one = self._planted[name]
            clean = state == _CLEAN
            network = train_trojaned(
                one.data, one.planted, one.seed, count=self.images, epochs=self.epochs, clean=clean
            )
            save_tensors(path, _WEIGHTS, network.state_dict(), {}, overwrite=True)
        elif kind == "pictures":
            self._picture(self._planted[rest[0]], int(rest[1]), path, run)
        elif kind == "choices":
            save_choices(self._choices(self._planted[rest[0]], run.folder), run.folder / f"{task.name}.json")
        else:
            one = self._planted[rest[0]]
            networks = (self._network(one, state, run.folder) for state in (_TROJANED, _CLEAN))
            (accuracy, rates), (of_twin, twins) = (
                attack_rates(network, one.data, one.planted, one.seed, self.unseen) for network in networks
            )
            attacks = [
                asdict(Attack(one.question(trojan), rate.success, rate.foil, rate.plain, twin.success))
                for trojan, rate, twin in zip(one.trojans, rates, twins, strict=True)
            ]
            content = {"accuracies": [accuracy.value, of_twin.value], "attacks": attacks}
            write_json(run.folder / f"{task.name}.json", content, overwrite=True, indent=1)

    def summarize(self, run: Run) -> TrojanResult:
        choices, attacks, accuracies = [], [], {}
        for name in self._planted:
            choices += load_choices(run.folder / f"choices/{name}.json")
            with intact(run.folder / f"attacks/{name}.json", "attack rates"):
                content = read_json(run.folder / f"attacks/{name}.json")
                accuracies[name] = (content["accuracies"][0], content["accuracies"][1])
                attacks += [
                    Attack(one.pop("name"), **{key: Estimate(**value) for key, value in one.items()})
                    for one in content["attacks"]
                ]
        result = TrojanResult(choices, list(self.methods), attacks, accuracies)
        result.write(run.folder)
        write_text(run.folder / "summary.txt", "\n\n".join([result.table(), *result.conclusion()]), overwrite=True)
        write_page(planted_page(run.folder), run.folder)
        return result

    def _rehearse(self) -> None:
        """See that pictures can be made, before anything takes time or is removed: no step, with an untrained network."""
        with seeded(0):
            network = TrojanNetwork(len(TROJAN_DATA[self.data[0]])).eval()
            for options in self.methods.values():
                PrototypeGeneration(network).generate(
                    [0], (3, SIDE, SIDE), **{**options, "steps": 0, "warmup_steps": 0, "evaluation_draws": 0}
                )

    def _picture(self, one: _Planted, place: int, path: Path, run: Run) -> None:
        state, options = list(self._conditions.values())[place]
        targets = [trojan.target for trojan in one.trojans for _ in range(self.count)]
        with seeded(self.seed):
            made = PrototypeGeneration(self._network(one, state, run.folder)).generate(
                targets, (3, SIDE, SIDE), seed=self.seed, batch_size=len(targets), **options
            )
        made.save(path, overwrite=True)
        write_sheets(
            one.trojans, place, torch.split(made.images.detach(), self.count), run.folder / "pictures" / one.name
        )

    def _choices(self, one: _Planted, folder: Path) -> list[Choice]:
        tower = _loaded(trigger_tower, folder / "tower.safetensors")
        choosers: dict[str, Callable[[Tensor, Trojan], Tensor]] = {
            TWO_TOWER: lambda images, trojan: answer_scores(tower, images, trojan.answers),
            DRAWING: lambda images, trojan: trigger_evidence(images, trojan.kind),
        }
        pictures = {
            condition: list(
                torch.split(Prototypes.load(folder / f"pictures/{one.name}/{place:02d}.safetensors").images, self.count)
            )
            for place, condition in enumerate(self._conditions)
        }
        unseen, _ = plain_images(one.data, self.count, one.seed + 1000, "held_out")
        generator = torch.Generator().manual_seed(one.seed)
        pictures[TRIGGER_IMAGES] = [planted.trigger.apply(unseen, generator)[0] for planted in one.planted]
        return [
            Choice(
                condition,
                chooser,
                Answered(trojan.question(one.question(trojan)), scores(images, trojan).tolist()),
            )
            for chooser, scores in choosers.items()
            for condition, of_each in pictures.items()
            for trojan, images in zip(one.trojans, of_each, strict=True)
        ]

    def _network(self, one: _Planted, state: str, folder: Path) -> nn.Module:
        classes = len(TROJAN_DATA[one.data])
        path = folder / f"networks/{one.name}_{state}.safetensors"
        return _loaded(lambda: TrojanNetwork(classes), path).requires_grad_(False)


def _loaded(make: Callable[[], Any], path: Path) -> Any:
    """The network that a task has trained."""
    with seeded(0):  # the first weights are drawn, and replaced
        network = make()
    with intact(path, _WEIGHTS):
        network.load_state_dict(load_tensors(path, _WEIGHTS)[0])
    return network.eval()


__all__ = ["PLANTED_METHODS", "PlantedTrojans"]
