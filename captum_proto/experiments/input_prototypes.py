"""What commands share that make prototypes of inputs that are no images: several networks, the best of several ascents, controls."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, TypeVar

import torch

from captum_proto._utils.checks import check_int
from captum_proto._utils.errors import InputError
from captum_proto.attr import PrototypeGeneration, Prototypes
from captum_proto.optim import Loss, Parametrization
from captum_proto.runs.provenance import provenance
from captum_proto.runs.tasks import Protocol, Task

#: Where tasks write, and how the names of comparisons begin after that of the network.
NETWORKS, COMPARISON = "networks", "comparison"
Result = TypeVar("Result")


class InputPrototypes(Protocol[Result]):
    """
    A protocol over networks that take the same kind of input and know the same classes: a task for each.

    Attributes:
        load (sequence of Callable): Each gives a model with a ``name``, a ``model``, ``class_names`` and a ``provenance()``.
        targets (sequence of int, optional): Classes; None: all.
        options (mapping): Arguments of :meth:`~captum_proto.PrototypeGeneration.generate` beside the class and the input.
        count (int): Prototypes of each class.
        attempts (int): Ascents for each of them.
        seed (int): The first seed of each class.
        defaults (mapping): What stands for options that are not given.
        kind (str): Of input, as the command line calls it.
    """

    load: Sequence[Callable[[], Any]]
    targets: Sequence[int] | None
    options: Mapping[str, Any]
    count: int
    attempts: int
    seed: int
    defaults: Mapping[str, Any] = {}
    kind: str = ""

    unit = "network"

    def check(self) -> None:
        """See that arguments are in their range."""
        for name in ("count", "attempts"):
            check_int(getattr(self, name), name, 1)
        if not self.load:
            raise InputError("there is no network; give at least one.")

    @abstractmethod
    def parametrization(self, model: Any) -> Parametrization:
        """What is optimized."""

    @abstractmethod
    def penalty(self, model: Any) -> Loss | None:
        """What is minimized beside the loss of the class."""

    @cached_property
    def models(self) -> list[Any]:
        """The networks."""
        made = [load() for load in self.load]
        for model in made[1:]:
            if model.class_names != made[0].class_names:
                raise InputError("the networks have different classes; give networks of the same.")
        return made

    @property
    def classes(self) -> list[int]:
        """The classes, by index."""
        known = len(self.models[0].class_names)
        chosen = list(range(known)) if self.targets is None else list(self.targets)
        for target in chosen:
            if not 0 <= target < known:
                raise InputError(f"target is {target}, but {self.models[0].name} has classes 0 to {known - 1}.")
        return chosen

    def recorded(self, choices: Sequence[str]) -> dict[str, Any]:
        """The provenance of a command whose results depend on these attributes, beside what all have in common."""
        return provenance(
            "generate",
            {
                "input": self.kind,
                "model": self.models[0].provenance(),
                "networks": [model.provenance()["fingerprint"] for model in self.models],
                "target": self.classes,
                "options": {**self.defaults, **self.options},
                **{name: getattr(self, name) for name in ("count", "attempts", "seed", *choices)},
            },
        )

    def tasks(self) -> list[Task]:
        self.generate(
            self.models[0], self.classes[:1], attempts=1, steps=1
        )  # what is wrong with the options is found here
        return [Task(f"{NETWORKS}/{number:02d}") for number in range(len(self.models))]

    def unit_of(self, place: str, target: int) -> str:
        """What intervals are over: networks, or where there is one, classes."""
        return place if len(self.models) > 1 else str(self.models[0].class_names[target])

    def generate(
        self,
        model: Any,
        classes: Sequence[int],
        attempts: int | None = None,
        show_progress: bool = False,
        **options: Any,
    ) -> Prototypes:
        """Of several ascents for each prototype the one whose class is likeliest, under the noise of the ascent if there is some."""
        tries, penalty = self.attempts if attempts is None else attempts, self.penalty(model)
        made = PrototypeGeneration(model.model).generate(
            [target for target in classes for _ in range(self.count * tries)],
            parametrization=self.parametrization(model),
            seed=self.seed,
            show_progress=show_progress,
            **{**self.defaults, "regularizer": penalty, **self.options, **options},
        )
        best = made.transformed_probabilities.view(-1, tries).argmax(1) + tries * torch.arange(
            self.count * len(classes)
        )
        return made.select(best.tolist())


__all__ = ["COMPARISON", "NETWORKS", "InputPrototypes"]
