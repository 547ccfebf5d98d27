"""The demonstration: prototypes and units of a real ImageNet network, and digits with the full comparison."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from captum_proto import ops
from captum_proto._utils.class_names import label_of
from captum_proto._utils.targets import Target
from captum_proto.attr import PRESETS, Prototypes
from captum_proto.data import digits_images, photographs
from captum_proto.data.natural import ClassImages, spaced_images
from captum_proto.experiments.evaluate import Evaluate, comparison_tables
from captum_proto.experiments.evaluation_page import evaluation_page
from captum_proto.experiments.generate import Generate, generation_page
from captum_proto.experiments.visualize import (
    LayerUnits,
    NaturalExamples,
    Visualize,
    channels_in,
    stem_of,
    visualization_page,
)
from captum_proto.models import NamedModel, load_model
from captum_proto.optim import RandomAffine
from captum_proto.report.html import write_page
from captum_proto.report.page import Page
from captum_proto.report.views.prototypes import PROTOTYPES
from captum_proto.runs.folder import SETTINGS, read_settings
from captum_proto.runs.group import Share
from captum_proto.runs.provenance import provenance
from captum_proto.runs.tasks import Protocol, Run, Task, carry_out

#: Flute, house finch, mosquito net: classes of the paper, an object, an animal and a texture.
IMAGENET_CLASSES: list[Target] = [(558,), (12,), (669,)]
#: Of the pictures of ImageNet's classes.
IMAGENET_OPTIONS: dict[str, Any] = dict(PRESETS["best"])
#: A digit turned upside down is another digit, so digits are shaken, not spun; squared differences keep strokes and remove speckles.
DIGITS_OPTIONS: dict[str, Any] = {
    "transform": RandomAffine(15, translate=(0.1, 0.1), scale=(0.9, 1.1)),
    "high_frequency_weight": 10.0,
    "high_frequency_power": 2,
    "warmup_steps": 0,
    "parametrization": "fourier",
    "lr": 0.1,
}
_DIGITS: list[Target] = [(digit,) for digit in range(10)]
#: A layer in the middle, before its activation function, and units of it; at half the steps of prototypes these are as clear.
_LAYER, _UNITS_SHOWN = "_blocks.8._bn0", (1, 5, 60, 105, 210, 333)
_UNIT_OPTIONS: dict[str, Any] = {"lr": 0.2}
#: The parts, which are tasks and folders.
_IMAGENET, _UNITS, _GENERATED, _COMPARED = "imagenet", "units", "digits", "digits-similarity"


@dataclass(frozen=True)
class Demo(Protocol[None]):
    """
    Prototypes of three ImageNet classes on EfficientNet-Lite0, six units of it beside the photographs that excite them most; ten digits,
    compared with real scans and controls.

    Args:
        device (torch.device, optional): Default: "cpu"
        seed (int, optional): Default: 0
        steps (int, optional): Of every ascent. Default: 128

    Raises:
        MissingPackageError: If what the extra ``[demo]`` brings is not installed.
    """

    device: torch.device | str = "cpu"
    seed: int = 0
    steps: int = 128

    @cached_property
    def imagenet(self) -> NamedModel:
        return load_model("efficientnet-lite0", device=self.device)

    @cached_property
    def digits(self) -> NamedModel:
        return load_model("digits", device=self.device, seed=self.seed)

    def provenance(self) -> dict[str, Any]:
        models = {"models": {named.name: named.provenance() for named in (self.imagenet, self.digits)}}
        return provenance("demo", {**models, "seed": self.seed, "steps": self.steps})

    def tasks(self) -> list[Task]:
        for part in (_IMAGENET, _GENERATED):
            self._generation(part).tasks()
        self._visualization().tasks()
        return [Task(_IMAGENET), Task(_UNITS), Task(_GENERATED), Task(_COMPARED, needs=(_GENERATED,))]

    def make(self, task: Task, run: Run) -> None:
        folder = run.folder / task.name
        options: dict[str, Any] = {"resume": True, "show_progress": run.show_progress}
        if task.name == _COMPARED:
            comparisons = carry_out(self._evaluation(run.folder), folder, **options)
            print(f"\n{comparison_tables(comparisons, self.digits.class_names)[-1]}")
            return
        if task.name == _UNITS:
            print(f"\n2. What six units of its layer {_LAYER} respond to, and the photographs that excite them most")
            carry_out(self._visualization(), folder, **options)
            return
        if task.name == _IMAGENET:
            print("\n1. What three ImageNet classes look like to EfficientNet-Lite0")
            print(f"each picture appears in {folder} when it is finished")
        else:
            print("\n3. What digits look like to a small network, and whether that can be trusted")
            print(f"held-out accuracy: {self.digits.settings['held_out_accuracy']:.1%}")
        generation = self._generation(task.name)
        _print_probabilities(carry_out(generation, folder, **options), generation.named.class_names)

    def summarize(self, run: Run) -> None:
        write_page(demo_page(run.folder), run.folder)

    def _generation(self, part: str) -> Generate:
        if part == _IMAGENET:  # one after the other, so that there is soon one to look at
            options = {**IMAGENET_OPTIONS, "steps": self.steps}
            return Generate(self.imagenet, IMAGENET_CLASSES, options, seed=self.seed, batch_size=1)
        options = {**DIGITS_OPTIONS, "steps": self.steps}
        return Generate(self.digits, _DIGITS, options, seed=self.seed, batch_size=len(_DIGITS))

    def _visualization(self) -> Visualize:
        width = channels_in(self.imagenet, [_LAYER])[_LAYER]
        natural = NaturalExamples(photographs(self.imagenet.geometry), k=8)
        options = {**_UNIT_OPTIONS, "steps": self.steps // 2}
        units = [LayerUnits(_LAYER, _UNITS_SHOWN, width)]
        return Visualize(self.imagenet, units, options, self.seed, len(_UNITS_SHOWN), natural)

    def _evaluation(self, folder: Path) -> Evaluate:
        return Evaluate(
            self.digits,
            _DIGITS,
            EvenlySpacedScans(),
            prototypes=folder / _GENERATED / PROTOTYPES,
            comparison={"ascent_steps": self.steps, "seed": self.seed},
        )


class EvenlySpacedScans:
    """Scans of a digit, and every ninth scan of the others: about as many as of the digit itself."""

    def of(self, target: Target) -> ClassImages:
        return ClassImages(*spaced_images(digits_images(), target))

    def settings(self) -> dict[str, Any]:
        return {"source": "digits", "others": "evenly spaced"}

    def afresh(self, **_: Any) -> EvenlySpacedScans:
        return self


def run_demo(
    folder: Path,
    demo: Demo,
    *,
    overwrite: bool = False,
    resume: bool = False,
    show_progress: bool = False,
    share: Share | None = None,
    snapshot_every: int | None = None,
) -> None:
    """
    Carry a demonstration out, and print what it finds and where.

    Args:
        folder (Path): Where to write.
        demo (Demo): What to do.
        overwrite (bool, optional): Whether files in ``folder`` may be replaced. Default: False
        resume (bool, optional): Whether to go on with what an interrupted run left in ``folder``. Default: False
        show_progress (bool, optional): Whether to show progress bars. Default: False
        share (Share, optional): Of a job array, which part to make. Default: None, all
        snapshot_every (int, optional): As in :func:`~captum_proto.runs.tasks.carry_out`. Default: None
    """
    begin = time.perf_counter()
    native = ops.backend()["cpu"]
    print("operators: " + ("native C++" if native["native"] else f"PyTorch ({native['reason']})"))
    carry_out(
        demo,
        folder,
        overwrite=overwrite,
        resume=resume,
        show_progress=show_progress,
        share=share,
        snapshot_every=snapshot_every,
    )
    print(f"\n{time.perf_counter() - begin:.0f} s. Everything on one page: {folder / 'report.html'}")
    print(f"Pictures, tables and figures are in {folder}:")
    for name in (
        "imagenet/prototypes.png",
        f"units/{stem_of(_LAYER)}.png",
        "digits/prototypes.png",
        "digits-similarity/summary.txt",
        "digits-similarity/curves.png",
    ):
        print(f"  {folder / name}")


def demo_page(folder: Path) -> Page:
    """
    What the demonstration has to show, from the files in its folder; of an interrupted one, the parts it finished.

    Args:
        folder (Path): That :class:`Demo` wrote to.

    Returns:
        Page: Paths are relative to ``folder``.

    Raises:
        FileExistsError: If the folder holds no readable settings.
    """
    page = Page("Demonstration", settings=read_settings(folder))
    parts: dict[str, tuple[str, Callable[[Path], Page]]] = {
        _IMAGENET: ("Three ImageNet classes", generation_page),
        _UNITS: ("Six units", visualization_page),
        _GENERATED: ("Ten digits", generation_page),
        _COMPARED: ("Path similarity of the digits", evaluation_page),
    }
    found: dict[str, Page] = {}
    for name, (title, make) in parts.items():
        if not (folder / name / SETTINGS).exists():
            page.failures.append(
                f"{title}: not there, the demonstration is not finished; the same command with --resume goes on."
            )
            continue
        part = found[name] = make(folder / name).within(name)
        page.failures += [f"{title}: {sentence}" for sentence in part.failures]
        page.left_out += [f"{title}: {sentence}" for sentence in part.left_out]
        page.settings[name] = part.settings
        for section in part.sections:
            if make is visualization_page:
                section.title = f"{title}, {section.title[0].lower()}{section.title[1:]}"
            elif make is generation_page:
                section.title = title
            elif section.title.startswith("Mean"):
                section.title = f"{title}: {section.title.lower()}"
            else:
                section.title = f"Digit {section.title}"
            page.sections.append(section)
    if _COMPARED in found and found[_COMPARED].lead:  # more is known of the same pictures
        found.pop(_GENERATED, None)
    page.lead = [block for part in found.values() for block in part.lead]
    page.legend = list(dict.fromkeys(sentence for part in found.values() for sentence in part.legend))
    page.summary = [
        "Prototypes: each picture was computed, step by step, to raise a network's output for the class named beneath it: an attempt "
        "to show what the network finds typical of that class."
    ]
    compared = sum(section.title.startswith("Digit ") for section in page.sections)
    page.summary += [f"Of {compared} digits, path similarity was measured as well."] if compared else []
    page.summary += [f"{parts[name][0]}: {sentence}" for name, part in found.items() for sentence in part.summary]
    told = {
        _IMAGENET: parts[_IMAGENET][0],
        _UNITS: parts[_UNITS][0],
        _GENERATED: parts[_GENERATED][0],
        _COMPARED: f"{compared} digits",
    }
    page.trust = " ".join(
        f"{told[name]}: {part.trust[0].lower()}{part.trust[1:]}" for name, part in reversed(found.items()) if part.trust
    )
    return page


def _print_probabilities(prototypes: Prototypes, class_names: list[str] | None) -> None:
    for target, plain, transformed in zip(
        prototypes.target, prototypes.probabilities.tolist(), prototypes.transformed_probabilities.tolist(), strict=True
    ):
        print(f"  {label_of(target, class_names)}: p = {plain:.4f}, expected under the transforms {transformed:.4f}")
