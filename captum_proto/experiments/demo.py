"""The demonstration: prototypes of a real ImageNet network, and digits with the full comparison."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from captum_proto import ops
from captum_proto._utils.class_names import label_of
from captum_proto._utils.targets import Target
from captum_proto.attr import PAPER_TRANSFORM, PrototypeGeneration, Prototypes
from captum_proto.data import digits_images
from captum_proto.data.natural import ClassImages, spaced_images
from captum_proto.experiments.evaluate import evaluate_to_folder, evaluation_page
from captum_proto.experiments.generate import generate_to_folder, generation_page
from captum_proto.metrics import PathSimilarity
from captum_proto.models import load_model
from captum_proto.optim import RandomAffine
from captum_proto.report.html import write_page
from captum_proto.report.page import Curves, Page, Section
from captum_proto.runs.folder import SETTINGS, open_folder, read_settings
from captum_proto.runs.provenance import versions

#: Flute, house finch, mosquito net: classes of the paper, an object, an animal and a texture.
IMAGENET_CLASSES: list[Target] = [(558,), (12,), (669,)]
#: A digit turned upside down is another digit, so digits are shaken, not spun; squared differences keep strokes and remove speckles.
DIGITS_OPTIONS: dict[str, Any] = {
    "transform": RandomAffine(15, translate=(0.1, 0.1), scale=(0.9, 1.1)),
    "high_frequency_weight": 30.0,
    "high_frequency_power": 2,
}


def run_demo(
    folder: Path,
    *,
    device: torch.device | str = "cpu",
    seed: int = 0,
    steps: int = 512,
    warmup_steps: int = 64,
    overwrite: bool = False,
    show_progress: bool = False,
) -> None:
    """
    Prototypes of three ImageNet classes on EfficientNet-Lite0; ten digits, compared with real scans and controls.

    Args:
        folder (Path): Where to write.
        device (torch.device, optional): Default: "cpu"
        seed (int, optional): Default: 0
        steps (int, optional): Of every ascent. Default: 512
        warmup_steps (int, optional): Before every prototype. Default: 64
        overwrite (bool, optional): Whether files in ``folder`` may be replaced. Default: False
        show_progress (bool, optional): Whether to show progress bars. Default: False

    Raises:
        FileExistsError: If ``folder`` is not empty and ``overwrite`` is False.
        ImportError: If what the extra ``[demo]`` brings is not installed.
    """
    story = {"command": "demo", "seed": seed, "steps": steps, "versions": versions()}
    open_folder(folder, story, overwrite=overwrite, resume=False)
    begin = time.perf_counter()
    native = ops.backend()["cpu"]
    print("operators: " + ("native C++" if native["native"] else f"PyTorch ({native['reason']})"))

    print("\n1. What three ImageNet classes look like to EfficientNet-Lite0")
    imagenet = load_model("efficientnet-lite0", device=device)
    prototypes = generate_to_folder(
        PrototypeGeneration(imagenet.model, imagenet.preprocess),
        IMAGENET_CLASSES,
        imagenet.image_shape,
        folder / "imagenet",
        options={"steps": steps, "warmup_steps": warmup_steps, "transform": PAPER_TRANSFORM},
        seed=seed,
        class_names=imagenet.class_names,
        overwrite=overwrite,
        show_progress=show_progress,
    )
    _print_probabilities(prototypes, imagenet.class_names)

    print("\n2. What digits look like to a small network, and whether that can be trusted")
    digits = load_model("digits", device=device, seed=seed)
    print(f"held-out accuracy: {digits.settings['held_out_accuracy']:.1%}")
    groups: list[Target] = [(digit,) for digit in range(10)]
    prototypes = generate_to_folder(
        PrototypeGeneration(digits.model, digits.preprocess),
        groups,
        digits.image_shape,
        folder / "digits",
        options={"steps": steps, "warmup_steps": warmup_steps, **DIGITS_OPTIONS},
        seed=seed,
        batch_size=len(groups),
        class_names=digits.class_names,
        overwrite=overwrite,
        show_progress=show_progress,
    )
    _print_probabilities(prototypes, digits.class_names)
    scans = digits_images()

    evaluate_to_folder(
        lambda: PathSimilarity(digits.model, preprocess=digits.preprocess),
        lambda group, _: prototypes.of(group),
        lambda target: ClassImages(*spaced_images(scans, target)),
        groups,
        folder / "digits-similarity",
        options={"ascent_steps": steps, "seed": seed},
        class_names=digits.class_names,
        story=story,
        overwrite=overwrite,
        say=lambda text: print(text) if "mean over" in text else None,
    )
    report = write_page(demo_page(folder), folder)
    print(f"\n{time.perf_counter() - begin:.0f} s. Everything on one page: {report}")
    print(f"Pictures, tables and figures are in {folder}:")
    for name in (
        "imagenet/prototypes.png",
        "digits/prototypes.png",
        "digits-similarity/summary.txt",
        "digits-similarity/curves.png",
    ):
        print(f"  {folder / name}")


def demo_page(folder: Path) -> Page:
    """
    What the demonstration has to show, from the files in its folder; of an interrupted one, the parts it finished.

    Args:
        folder (Path): That :func:`run_demo` wrote to.

    Returns:
        Page: Paths are relative to ``folder``.

    Raises:
        FileExistsError: If the folder holds no readable settings.
    """
    page = Page("Demonstration", settings=read_settings(folder))
    parts: dict[str, tuple[str, Callable[[Path], Page]]] = {
        "imagenet": ("Three ImageNet classes", generation_page),
        "digits": ("Ten digits", generation_page),
        "digits-similarity": ("Path similarity of the digits", evaluation_page),
    }
    for name, (title, make) in parts.items():
        if not (folder / name / SETTINGS).exists():
            page.failures.append(
                f"{title}: not there, the demonstration is not finished; start it again with --overwrite."
            )
            continue
        part = make(folder / name)
        page.failures += [f"{title}: {sentence}" for sentence in part.failures]
        page.settings[name] = part.settings
        for section in part.sections:
            section = _inside(section, name)
            if make is generation_page:
                section.title = title
                section.text += part.summary if name == "imagenet" else []  # of the digits, more is known below
            elif section.title.startswith("Mean"):
                section.title = f"{title}: {section.title.lower()}"
            else:
                section.title = f"Digit {section.title}"
            page.sections.append(section)
        if make is evaluation_page:
            page.summary = ["Of the ten digits, path similarity was measured as well.", *part.summary]
    return page


def _inside(section: Section, folder: str) -> Section:
    """A section whose files are seen from the folder above."""
    return replace(
        section,
        pictures=[replace(one, path=f"{folder}/{one.path}") for one in section.pictures],
        curves=[
            Curves(f"{folder}/{one.comparison}", one.caption, [f"{folder}/{path}" for path in one.more])
            for one in section.curves
        ],
        files=[f"{folder}/{path}" for path in section.files],
    )


def _print_probabilities(prototypes: Prototypes, class_names: list[str] | None) -> None:
    for group, plain, transformed in zip(
        prototypes.target, prototypes.probabilities.tolist(), prototypes.transformed_probabilities.tolist(), strict=True
    ):
        print(f"  {label_of(group, class_names)}: p = {plain:.4f}, expected under the transforms {transformed:.4f}")
