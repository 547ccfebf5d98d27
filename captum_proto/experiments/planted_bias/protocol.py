"""A bias of known strength, found in a prototype, tested on unseen images, and removed from the training images: the protocol."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from captum_proto._utils.errors import InputError
from captum_proto._utils.files import intact, load_tensors, save_tensors, tensor_sha256
from captum_proto._utils.reading import read_json
from captum_proto.attr import PrototypeGeneration, Prototypes
from captum_proto.experiments.compare_groups import COMPARISON, CompareGroups
from captum_proto.experiments.planted_bias.figures import dose_response_figure, overview_figure
from captum_proto.experiments.planted_bias.findings import conclusion
from captum_proto.experiments.planted_bias.page import planted_bias_page
from captum_proto.experiments.planted_bias.results import (
    BIASED,
    CLEANED,
    Measured,
    PlantedBiasResult,
    comparison_title,
    measure,
)
from captum_proto.metrics.group_comparison import SubgroupComparison
from captum_proto.models import NamedModel
from captum_proto.optim import RandomAffine
from captum_proto.report.figures import save_figure
from captum_proto.report.html import write_page
from captum_proto.report.views.prototypes import write_prototypes
from captum_proto.runs.files import write_json, write_text
from captum_proto.runs.provenance import provenance
from captum_proto.runs.tasks import Protocol, Run, Task, carry_out
from captum_proto.testing.marked_digits import (
    BASE_RATE,
    CUE,
    MARK,
    SIDE,
    Mark,
    framed_digits,
    planted_classifier,
    read_off,
    seeded,
    small_classifier,
    with_marks,
)

#: Shares of the class's training images that carry the cue.
RATES = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
#: A digit is shaken by half a pixel: where the mark is matters. Squared differences keep strokes and remove speckles.
_GENERATION: dict[str, Any] = {
    "transform": RandomAffine(0, translate=(0.05, 0.05)),
    "high_frequency_weight": 1.0,
    "high_frequency_power": 2,
    "warmup_steps": 0,
}
#: So many training scans and prototypes are shown.
_MOST_SHOWN = 5
_WEIGHTS = "weights of a network"


def prototypes_of_digits(network: nn.Module, seed: int, steps: int) -> Prototypes:
    """
    Make a prototype of each digit.

    Args:
        network (nn.Module): From images (N, 3, 10, 10) to logits (N, 10).
        seed (int): Of each.
        steps (int): Of each ascent.

    Returns:
        Prototypes: Ten, in order.
    """
    with seeded(seed):
        return PrototypeGeneration(network).generate(
            list(range(10)), (3, SIDE, SIDE), steps=steps, seed=seed, **_GENERATION
        )


@dataclass(frozen=True)
class _Network:
    """Which network: trained on scans of which a share carries the cue, as they are or cleaned of the hypothesis."""

    rate: float
    seed: int
    cleaned: bool = False

    @property
    def task(self) -> str:
        return f"networks/rate{self.rate:g}{'_' + CLEANED if self.cleaned else ''}_seed{self.seed}"

    def files(self, folder: Path) -> tuple[Path, Path, Path]:
        """Its weights, its prototypes, and what was measured of it."""
        endings = ("_weights.safetensors", ".safetensors", ".json")
        weights, prototypes, measured = (folder / f"{self.task}{ending}" for ending in endings)
        return weights, prototypes, measured


@dataclass(frozen=True)
class PlantedBias(Protocol[PlantedBiasResult]):
    """
    Plant a bias, find it in the prototype, test it on unseen images, remove it, and see how its strength follows the rate.

    Args:
        digit (int): The class that the cue is planted in, 0 to 9. Default: 8
        rate (float): The share of its training images that carry the cue in the network that is looked into. Default: 1.0
        rates (sequence of float): Of the dose–response, at least two, rising, from 0 to 1. Default: 0, 0.1, 0.25, 0.5, 0.75, 1
        networks (int): How many at each rate, with seeds ``seed``, ``seed + 1``, …. Default: 5
        epochs (int): Of training. Default: 8
        steps (int): Of each prototype's ascent. Default: 128
        seed (int): The first seed, and that of the network that is looked into. Default: 0

    Raises:
        InputError: If an argument is out of its range.
    """

    digit: int = 8
    rate: float = 1.0
    rates: Sequence[float] = RATES
    networks: int = 5
    epochs: int = 8
    steps: int = 128
    seed: int = 0

    unit = "network"

    def __post_init__(self) -> None:
        if self.digit not in range(10):
            raise InputError(f"digit is {self.digit}; expected 0 to 9.")
        if not 0 < self.rate <= 1:
            raise InputError(
                f"rate is {self.rate:g}; expected above 0, up to 1: the share of the class's images that carry the cue."
            )
        rising = all(a < b for a, b in itertools.pairwise(self.rates))
        if len(self.rates) < 2 or not rising or self.rates[0] < 0 or self.rates[-1] > 1:
            given = ", ".join(f"{rate:g}" for rate in self.rates) or "none"
            raise InputError(f"rates are {given}; expected at least two, rising, between 0 and 1.")
        if self.networks < 1:
            raise InputError(f"networks is {self.networks}; expected at least 1, and 5 or more to see a spread.")
        if self.epochs < 1:
            raise InputError(f"epochs is {self.epochs}; expected at least 1.")
        if self.steps < 0:
            raise InputError(f"steps is {self.steps}; expected a whole number of at least 0.")

    def provenance(self) -> dict[str, Any]:
        scans = {split: tensor_sha256(*framed_digits(split)) for split in ("training", "held_out")}
        return provenance(
            "planted-bias",
            {
                "digit": self.digit,
                "rate": float(self.rate),
                "rates": [float(rate) for rate in self.rates],
                "networks": self.networks,
                "epochs": self.epochs,
                "steps": self.steps,
                "seed": self.seed,
                "base_rate": BASE_RATE,
                "cue": asdict(CUE),
                "options": _GENERATION,
                "scans": scans,
            },
        )

    def tasks(self) -> list[Task]:
        networks = [
            Task(network.task, needs=(self._biased(network.seed).task,) if network.cleaned else ())
            for network in self._networks()
        ]
        biased, cleaned = self._biased(self.seed).task, self._cleaned(self.seed).task
        needs = {BIASED: (biased,), CLEANED: (biased, cleaned)}
        comparisons = [
            Task(f"comparisons/{state}-{scans}", needs=needs[state], weight=0)
            for state in needs
            for scans in ("class", "others")
        ]
        return [*networks, *comparisons]

    def make(self, task: Task, run: Run) -> None:
        kind, _, name = task.name.partition("/")
        if kind == "comparisons":
            self._compare(name, run)
            return
        network = next(network for network in self._networks() if network.task == task.name)
        cleaned_of = self._hypothesis(network.seed, run.folder) if network.cleaned else None
        trained = planted_classifier(self.digit, network.rate, network.seed, epochs=self.epochs, cleaned_of=cleaned_of)
        prototypes = prototypes_of_digits(trained, network.seed, self.steps)
        measured = measure(trained, prototypes, self.digit, network.rate, network.seed, network.cleaned)
        weights_file, prototypes_file, measured_file = network.files(run.folder)
        save_tensors(weights_file, _WEIGHTS, trained.state_dict(), {}, overwrite=True)
        prototypes.save(prototypes_file, overwrite=True)
        write_json(measured_file, asdict(measured), overwrite=True)

    def summarize(self, run: Run) -> PlantedBiasResult:
        folder = run.folder
        result = PlantedBiasResult(
            digit=self.digit,
            rate=float(self.rate),
            rates=tuple(float(rate) for rate in self.rates),
            hypothesis=self._hypothesis(self.seed, folder),
            comparisons={
                task.name.partition("/")[2]: SubgroupComparison.load(folder / task.name / COMPARISON)
                for task in run.tasks
                if task.name.startswith("comparisons/")
            },
            measured=[_load_measured(network.files(folder)[2]) for network in self._networks()],
        )
        result.write(folder)
        write_text(folder / "summary.txt", "\n".join([result.table(), "", *conclusion(result)]), overwrite=True)
        biased, cleaned = (
            [Prototypes.load(network(seed).files(folder)[1]) for seed in self._seeds()]
            for network in (self._biased, self._cleaned)
        )
        for state, prototypes in ((BIASED, biased[0]), (CLEANED, cleaned[0])):
            write_prototypes(prototypes, folder / "prototypes" / state, None)
        figures = {
            "overview": overview_figure(
                {
                    f"training scans of {self.digit}, the cue in {100 * self.rate:g} %": self._training_scans(),
                    f"prototypes of {self.digit}, a network each": self._shown(biased),
                    "retrained on cleaned scans": self._shown(cleaned),
                }
            ),
            "dose_response": dose_response_figure(result),
        }
        for name, figure in figures.items():
            for ending in ("png", "svg"):
                save_figure(figure, folder / f"{name}.{ending}", overwrite=True)
        write_page(planted_bias_page(result, run.provenance, run.warnings()), folder)
        return result

    def _seeds(self) -> range:
        return range(self.seed, self.seed + self.networks)

    def _biased(self, seed: int) -> _Network:
        return _Network(float(self.rate), seed)

    def _cleaned(self, seed: int) -> _Network:
        return _Network(float(self.rate), seed, cleaned=True)

    def _networks(self) -> list[_Network]:
        """Every network, the cleaned one of a seed after its biased one, whose prototype says what to clean."""
        rates = dict.fromkeys(float(rate) for rate in (*self.rates, self.rate))
        biased = [_Network(rate, seed) for rate in rates for seed in self._seeds()]
        return [*biased, *(self._cleaned(seed) for seed in self._seeds())]

    def _hypothesis(self, seed: int, folder: Path) -> Mark:
        """The mark that the prototype of a biased network shows."""
        return read_off(Prototypes.load(self._biased(seed).files(folder)[1]).images[self.digit])

    def _training_scans(self) -> list[Tensor]:
        scans, labels = framed_digits("training")
        marked = with_marks(scans, labels, self.digit, self.rate, self.seed)
        return list(marked[labels == self.digit][:_MOST_SHOWN])

    def _shown(self, prototypes: Sequence[Prototypes]) -> list[Tensor]:
        return [network.images[self.digit] for network in prototypes[:_MOST_SHOWN]]

    def _compare(self, name: str, run: Run) -> None:
        """Test the hypothesis on unseen scans of the class, or of other digits with a control beside; each scan is in one subgroup."""
        state, _, scans = name.partition("-")
        network = self._biased(self.seed) if state == BIASED else self._cleaned(self.seed)
        named = NamedModel(
            f"digits with marks, {state}",
            _load_classifier(network.files(run.folder)[0]),
            None,
            (3, SIDE, SIDE),
            [str(digit) for digit in range(10)],
            resize_ratio=1.0,
        )
        hypothesis = self._hypothesis(self.seed, run.folder)
        patches = _patches(hypothesis, control=scans == "others")
        unseen, labels = framed_digits("held_out")
        unseen = unseen[labels == self.digit if scans == "class" else labels != self.digit]
        order = torch.randperm(len(unseen), generator=torch.Generator().manual_seed(self.seed))
        parts = order.tensor_split(len(patches))
        subgroups = {name: patch(unseen[part]) for (name, patch), part in zip(patches.items(), parts, strict=True)}
        comparison = CompareGroups(
            named, subgroups, (self.digit,), seed=self.seed, title=comparison_title(self.digit, name)
        )
        carry_out(comparison, run.folder / "comparisons" / name, resume=True)


def _patches(hypothesis: Mark, control: bool) -> dict[str, Callable[[Tensor], Tensor]]:
    """What is done to the scans of each subgroup. The control is a patch of another color in the opposite corner: it should do nothing."""
    patches: dict[str, Callable[[Tensor], Tensor]] = {
        "no patch": lambda images: images,
        f"{hypothesis.color} patch": hypothesis.paste,
    }
    if control:
        color = "green" if hypothesis.color != "green" else "red"
        opposite = Mark(color, SIDE - MARK - hypothesis.row, SIDE - MARK - hypothesis.column)
        patches[f"{color} patch (control)"] = opposite.paste
    return patches


def _load_classifier(path: Path) -> nn.Sequential:
    """The network that a task has trained."""
    with seeded(0):  # the first weights are drawn, and replaced
        network = small_classifier()
    with intact(path, _WEIGHTS):
        network.load_state_dict(load_tensors(path, _WEIGHTS)[0])
    return network.eval()


def _load_measured(path: Path) -> Measured:
    """What a task has measured."""
    with intact(path, "measurement"):
        return Measured(**read_json(path))
