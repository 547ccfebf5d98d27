"""Pictures of the target classes of a network that is given, and whether they tell the triggers of its trojans: the protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from captum_proto._utils.checks import check_int
from captum_proto._utils.errors import InputError
from captum_proto.attr import Prototypes
from captum_proto.experiments.blind import BlindSettings, MakeForm
from captum_proto.experiments.generate import Generate, rehearse
from captum_proto.experiments.trojans.page import given_page
from captum_proto.experiments.trojans.results import (
    CLEAN,
    NOISE,
    TWO_TOWER,
    Choice,
    TrojanResult,
    load_choices,
    save_choices,
)
from captum_proto.experiments.trojans.sheets import QUESTION, form_sources, write_sheets
from captum_proto.experiments.trojans.table import BENCHMARK, Trojan, check_trojans, recorded
from captum_proto.metrics.multiple_choice import Answered, answer_scores, check_encoder
from captum_proto.models import ImageTextEncoder, NamedModel
from captum_proto.optim.presets import preset_for
from captum_proto.report.html import write_page
from captum_proto.report.views.prototypes import PROTOTYPES
from captum_proto.runs.files import write_text
from captum_proto.runs.provenance import provenance
from captum_proto.runs.tasks import Protocol, Run, Task, carry_out

#: The methods whose pictures are made where none are named: a prototype, and a feature visualization of the class logit.
METHODS = ("best", "feature_visualization")
#: The side of a sheet on the form, in pixels.
_FORM_SIDE = 448


def method_options(names: Sequence[str], image_shape: tuple[int, ...], **changes: Any) -> dict[str, dict[str, Any]]:
    """
    By the name of a preset, the arguments of a generation, for images of a size.

    Args:
        names (sequence of str): Of presets.
        image_shape (tuple[int, ...]): (C, H, W).
        **changes (Any): What is other than the presets have it, such as ``steps``; None: as they have it.
    """
    given = {name: value for name, value in changes.items() if value is not None}
    return {name: {**preset_for(name, image_shape), **given} for name in names}


@dataclass(frozen=True)
class Trojans(Protocol[TrojanResult]):
    """
    Pictures of the target class of each trojan, scored by an eight-way choice (Casper et al., arXiv:2302.10894, section 5).

    It makes pictures by every method, of the network and if there is one of its clean counterpart, and noise. A two-tower model, if there
    is one, chooses one of eight answers for each trojan. A form asks people the same; ``captum-proto blind DIR/people --answers …`` scores
    what they say.

    Args:
        named (NamedModel): The network with trojans.
        trojans (sequence of Trojan): Which they are. Default: the twelve of the benchmark's ResNet-50
        methods (mapping, optional): By name, arguments of :meth:`~captum_proto.PrototypeGeneration.generate`. Default: ``METHODS``
        count (int): Pictures of each trojan and method. Default: 4
        clean (NamedModel, optional): The network without trojans, as control. Default: None
        two_tower (ImageTextEncoder, optional): Which chooses. Default: None
        prompt (str): What its text tower is given, with the answer in place of ``{}``. Default: "{}"
        two_tower_file (Path, optional): The file that made it, to record. Default: None
        batch_size (int): Pictures at a time. Default: 8
        seed (int): The first of each class. Default: 0

    Raises:
        InputError: If there are no trojans or no methods, or a number is out of its range.
        InputTypeError: If ``two_tower`` lacks a method.
    """

    named: NamedModel
    trojans: Sequence[Trojan] = BENCHMARK
    methods: Mapping[str, Mapping[str, Any]] | None = None
    count: int = 4
    clean: NamedModel | None = None
    two_tower: ImageTextEncoder | None = None
    prompt: str = "{}"
    two_tower_file: Path | None = None
    batch_size: int = 8
    seed: int = 0

    unit = "part"

    def __post_init__(self) -> None:
        check_trojans(self.trojans)
        check_int(self.count, "count", 1)
        check_int(self.batch_size, "batch_size", 1)
        check_int(self.seed, "seed", 0)
        if self.methods is not None and not self.methods:
            raise InputError("there are no methods; give at least one, such as best.")
        if NOISE in (self.methods or {}):
            raise InputError(f'a method is called "{NOISE}", which is the control; give it another name.')
        if self.two_tower is not None:
            check_encoder(self.two_tower)
        if self.clean is not None and tuple(self.clean.image_shape) != tuple(self.named.image_shape):
            raise InputError(
                f"the clean network takes images of shape {tuple(self.clean.image_shape)}, the other one {tuple(self.named.image_shape)}; "
                "give the same network without trojans."
            )

    @cached_property
    def _methods(self) -> Mapping[str, Mapping[str, Any]]:
        return method_options(METHODS, self.named.image_shape) if self.methods is None else self.methods

    @cached_property
    def _conditions(self) -> dict[str, tuple[NamedModel, Mapping[str, Any]]]:
        """By what pictures are called, the network and the arguments that make them."""
        found = {name: (self.named, options) for name, options in self._methods.items()}
        if self.clean is not None:
            found |= {name + CLEAN: (self.clean, options) for name, options in self._methods.items()}
        first = next(iter(self._methods.values()))
        # What an ascent begins with: made in the same way, but for the ascent.
        found[NOISE] = (self.named, {**first, "steps": 0, "warmup_steps": 0})
        return found

    def provenance(self) -> dict[str, Any]:
        return provenance(
            "trojans",
            {
                "step": "given",
                "model": self.named.provenance(),
                "clean": None if self.clean is None else self.clean.provenance(),
                "trojans": recorded(self.trojans),
                "methods": self._methods,
                "count": self.count,
                "two_tower": None if self.two_tower is None else type(self.two_tower).__name__,
                "prompt": self.prompt,
                "batch_size": self.batch_size,
                "seed": self.seed,
            },
            {"two_tower_file": self.two_tower_file},
        )

    def tasks(self) -> list[Task]:
        targets = list(dict.fromkeys((trojan.target,) for trojan in self.trojans))
        for condition, (named, options) in self._conditions.items():
            if condition != NOISE:  # which is the first of them, without a step
                rehearse(named, targets, options)
        pictures = [f"pictures/{place:02d}" for place in range(len(self._conditions))]
        choices = [Task("choices", needs=tuple(pictures))] if self.two_tower is not None else []
        return [*map(Task, pictures), *choices, Task("people", needs=tuple(pictures))]

    def begun(self) -> dict[str, Any]:
        return {"conditions": list(self._conditions), "methods": list(self._methods)}

    def make(self, task: Task, run: Run) -> None:
        if task.name == "choices":
            save_choices(list(self._choices(run)), run.folder / "choices.json")
        elif task.name == "people":
            sources = form_sources(self.trojans, list(self._conditions), run.folder)
            settings = BlindSettings(size=_FORM_SIDE, question=QUESTION, seed=self.seed)
            carry_out(MakeForm(sources, settings=settings, within=run.folder), run.folder / "people", resume=True)
        else:
            place = int(task.name.rpartition("/")[2])
            condition = list(self._conditions)[place]
            made = carry_out(self._generate(condition), run.folder / task.name, resume=True)
            write_sheets(self.trojans, place, self._of_each(made), run.folder)

    def summarize(self, run: Run) -> TrojanResult:
        choices = load_choices(run.folder / "choices.json") if self.two_tower is not None else []
        result = TrojanResult(choices, list(self._methods))
        result.write(run.folder)
        write_text(run.folder / "summary.txt", "\n\n".join([result.table(), *result.conclusion()]), overwrite=True)
        write_page(given_page(run.folder), run.folder)
        return result

    def _generate(self, condition: str) -> Generate:
        named, options = self._conditions[condition]
        targets = [(trojan.target,) for trojan in self.trojans for _ in range(self.count)]
        return Generate(named, targets, options, self.seed, self.batch_size, page=False)

    def _of_each(self, made: Prototypes) -> list[Tensor]:
        """The pictures of each trojan (N, C, H, W)."""
        return list(torch.split(made.images.detach().cpu(), self.count))

    def _choices(self, run: Run) -> list[Choice]:
        assert self.two_tower is not None  # else there is no such task
        found = []
        for place, condition in enumerate(self._conditions):
            made = Prototypes.load(run.folder / f"pictures/{place:02d}" / PROTOTYPES)
            for trojan, images in zip(self.trojans, self._of_each(made), strict=True):
                scores = answer_scores(self.two_tower, images, trojan.answers, self.prompt)
                found.append(Choice(condition, TWO_TOWER, Answered(trojan.question(), scores.tolist())))
        return found


__all__ = ["METHODS", "Trojans", "method_options"]
