"""A bias of known strength: found in a prototype, tested on unseen images, and removed from the training images."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from captum_proto._utils.errors import InputError
from captum_proto._utils.tables import text_table
from captum_proto.attr import PrototypeGeneration, Prototypes
from captum_proto.experiments.compare_groups import compare_groups_to_folder
from captum_proto.experiments.generate import write_prototypes
from captum_proto.experiments.planted_bias.figures import dose_response_figure, story_figure
from captum_proto.experiments.planted_bias.results import (
    CLEANED,
    Measured,
    _finite,
    _trend_sentence,
    _write_csv,
    dose_rows,
    measure,
    planted_page,
    trend,
)
from captum_proto.metrics.group_comparison import SubgroupComparison
from captum_proto.models import NamedModel
from captum_proto.optim import RandomAffine
from captum_proto.report.figures import save_figure
from captum_proto.report.html import write_page
from captum_proto.runs.files import write_json, write_text
from captum_proto.runs.folder import open_folder
from captum_proto.runs.provenance import versions
from captum_proto.testing.marked_digits import (
    BASE_RATE,
    CUE,
    MARK,
    SIDE,
    Mark,
    _seeded,
    framed_digits,
    painted_over,
    read_off,
    train,
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


def prototypes_of_digits(network: nn.Module, seed: int, steps: int) -> Prototypes:
    """One prototype of each digit."""
    with _seeded(seed):
        return PrototypeGeneration(network).generate(
            list(range(10)), (3, SIDE, SIDE), steps=steps, seed=seed, **_GENERATION
        )


def planted_bias_to_folder(
    folder: Path,
    *,
    digit: int = 8,
    rate: float = 1.0,
    rates: Sequence[float] = RATES,
    networks: int = 5,
    epochs: int = 8,
    steps: int = 128,
    seed: int = 0,
    overwrite: bool = False,
    resume: bool = False,
    show_progress: bool = False,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """
    Plant a bias, find it in the prototype, test it on unseen images, remove it, and see how its strength follows the rate.

    Args:
        folder (Path): Where to write. Each network's measurements are on disk as soon as they are there.
        digit (int, optional): The class that the cue is planted in, 0 to 9. Default: 8
        rate (float, optional): The share of its training images that carry the cue in the network that is looked into. Default: 1.0
        rates (sequence of float, optional): Of the dose–response, at least two, rising, from 0 to 1. Default: 0, 0.1, 0.25, 0.5, 0.75, 1
        networks (int, optional): How many at each rate, with seeds ``seed``, ``seed + 1``, …. Default: 5
        epochs (int, optional): Of training. Default: 8
        steps (int, optional): Of each prototype's ascent. Default: 128
        seed (int, optional): The first seed, and that of the network that is looked into. Default: 0
        overwrite (bool, optional): Whether files in ``folder`` may be replaced. Default: False
        resume (bool, optional): Whether to keep what an interrupted run finished. Default: False
        show_progress (bool, optional): Whether to show a progress bar. Default: False
        say (Callable, optional): Where results are printed. Default: print

    Returns:
        dict: "hypothesis" (Mark), "comparisons" (dict[str, SubgroupComparison]: of the biased and the retrained network, unseen scans of
        the class and of other digits), "measured" (list[Measured]) and "trends" (dict[str, Trend]).

    Raises:
        FileExistsError, ValueError: As :func:`~captum_proto.runs.folder.open_folder`; and if an argument is out of its range.
        ImportError: If scikit-learn is not installed.
    """
    rates = [float(one) for one in rates]
    _check(digit, rate, rates, networks, epochs)
    settings = {
        "command": "planted-bias",
        "digit": digit,
        "rate": float(rate),
        "rates": rates,
        "networks": networks,
        "epochs": epochs,
        "steps": steps,
        "seed": seed,
        "base_rate": BASE_RATE,
        "cue": asdict(CUE),
        "versions": versions(),
    }
    places = {name: folder / name for name in ("networks", "comparisons", "prototypes")}
    open_folder(folder, settings, overwrite=overwrite, resume=resume, results=list(places.values()))
    seeds = range(seed, seed + networks)
    wanted: list[tuple[float, bool, int]] = [
        (one, False, number) for one in dict.fromkeys([*rates, rate]) for number in seeds
    ]
    wanted += [(float(rate), True, number) for number in seeds]
    measured: dict[tuple[float, bool, int], Measured] = {}
    made: dict[tuple[float, bool, int], Prototypes] = {}
    for one in tqdm(wanted, desc="networks", unit="network", disable=not show_progress):
        # The cleaned network of a seed comes after its biased one, whose prototype says what to clean.
        hypothesis = read_off(made[(float(rate), False, one[2])].images[digit]) if one[1] else None
        measured[one], made[one] = _one_network(places["networks"], digit, *one, hypothesis, epochs, steps, resume)
    biased, cleaned = made[(float(rate), False, seed)], made[(float(rate), True, seed)]
    hypothesis = read_off(biased.images[digit])
    say(f"\nhypothesis, read off the prototype of {digit}: a {hypothesis} makes an image count as {digit}")
    comparisons: dict[str, SubgroupComparison] = {}
    for state, prototypes in (("biased", biased), (CLEANED, cleaned)):
        network = _network(digit, rate, seed, epochs, hypothesis if state == CLEANED else None)
        comparisons |= _tests(
            network, state, hypothesis, prototypes, digit, seed, places["comparisons"], settings, resume, say
        )
        write_prototypes(prototypes, places["prototypes"] / state, None)
    everything = list(measured.values())
    dosed = {one: [measured[(one, False, number)] for number in seeds] for one in rates}
    trends = {
        name: trend(rates, [[getattr(dosed[one][i], name) for one in rates] for i in range(networks)])
        for name in ("strength", "called_with_cue")
    }
    again = [measured[(float(rate), True, number)] for number in seeds]
    _write_csv(everything, folder / "networks.csv")
    header, rows = dose_rows(dosed, again)
    result = trends["strength"]
    text = f"{text_table(header, rows)}\n\n{_trend_sentence(result)}"
    say(f"\nstrength of the cue in the prototype of {digit}, by the rate at which it was planted\n{text}")
    write_text(folder / "summary.txt", text, overwrite=True)
    write_json(
        folder / "results.json",
        {
            "hypothesis": asdict(hypothesis),
            "trends": {name: _finite(asdict(one)) for name, one in trends.items()},
            "networks": [asdict(one) for one in everything],
        },
        overwrite=True,
    )
    training, labels = framed_digits("training")
    examples = with_marks(training, labels, digit, rate, seed)[labels == digit][:5]
    at_rate = [made[(float(rate), False, number)].images[digit] for number in list(seeds)[:5]]
    after = [made[(float(rate), True, number)].images[digit] for number in list(seeds)[:5]]
    figures = {
        "story": story_figure(
            {
                f"training scans of {digit}, the cue in {100 * rate:g} %": list(examples),
                f"prototypes of {digit}, a network each": at_rate,
                "retrained on cleaned scans": after,
            }
        ),
        "dose_response": dose_response_figure(
            {one: [asdict(row) for row in group] for one, group in dosed.items()}, [asdict(row) for row in again], digit
        ),
    }
    for name, figure in figures.items():
        for ending in ("png", "svg"):
            save_figure(figure, folder / f"{name}.{ending}", overwrite=True)
    page = planted_page(digit, rate, hypothesis, comparisons, dosed, again, result, settings)
    write_page(page, folder)
    return {"hypothesis": hypothesis, "comparisons": comparisons, "measured": everything, "trends": trends}


def _network(digit: int, rate: float, seed: int, epochs: int, hypothesis: Mark | None) -> nn.Sequential:
    """The network of a rate and a seed; with a hypothesis, trained on images cleaned of it."""
    images, labels = framed_digits("training")
    images = with_marks(images, labels, digit, rate, seed)
    return train(images if hypothesis is None else painted_over(images, hypothesis), labels, seed, epochs)


def _one_network(
    folder: Path,
    digit: int,
    rate: float,
    cleaned: bool,
    seed: int,
    hypothesis: Mark | None,
    epochs: int,
    steps: int,
    resume: bool,
) -> tuple[Measured, Prototypes]:
    """A network trained, its prototypes made, both measured; or what an interrupted run left of it."""
    stem = f"rate{rate:g}{'_' + CLEANED if cleaned else ''}_seed{seed}"
    done, tensors = folder / f"{stem}.json", folder / f"{stem}.safetensors"
    if resume and done.exists():
        return Measured(**json.loads(done.read_text(encoding="utf-8"))), Prototypes.load(tensors)
    network = _network(digit, rate, seed, epochs, hypothesis)
    prototypes = prototypes_of_digits(network, seed, steps)
    result = measure(network, prototypes, digit, rate, seed, cleaned)
    prototypes.save(tensors, overwrite=True)
    write_json(done, asdict(result), overwrite=True)  # last: its presence says that the network is finished
    return result, prototypes


def _tests(
    network: nn.Module,
    state: str,
    hypothesis: Mark,
    prototypes: Prototypes,
    digit: int,
    seed: int,
    folder: Path,
    settings: dict[str, Any],
    resume: bool,
    say: Callable[[str], None],
) -> dict[str, SubgroupComparison]:
    """The hypothesis on unseen scans: of the class, and of other digits with a control patch beside. Each scan is in one group."""
    named = NamedModel(
        f"digits with marks, {state}", network, None, (3, SIDE, SIDE), [str(one) for one in range(10)], resize_ratio=1.0
    )
    unseen, labels = framed_digits("held_out")
    # A patch of another color in the opposite corner: a patch as such should do nothing.
    opposite = Mark(
        "green" if hypothesis.color != "green" else "red",
        SIDE - MARK - hypothesis.row,
        SIDE - MARK - hypothesis.column,
    )
    patches: dict[str, Callable[[Tensor], Tensor]] = {
        "no patch": lambda images: images,
        f"{hypothesis.color} patch": hypothesis.paste,
        f"{opposite.color} patch (control)": opposite.paste,
    }
    comparisons = {}
    for name, chosen in (("class", labels == digit), ("others", labels != digit)):
        scans = unseen[chosen]
        order = torch.randperm(len(scans), generator=torch.Generator().manual_seed(seed))
        used = dict(list(patches.items())[: 2 if name == "class" else 3])
        parts = order.tensor_split(len(used))
        groups = {one: patch(scans[part]) for (one, patch), part in zip(used.items(), parts, strict=True)}
        what = f"unseen scans of {digit}" if name == "class" else f"unseen scans of other digits, taken for {digit}"
        comparisons[f"{state}-{name}"] = compare_groups_to_folder(
            named,
            groups,
            (digit,),
            folder / f"{state}-{name}",
            title=f"{what}: {'trained on cleaned scans' if state == CLEANED else 'biased network'}",
            seed=seed,
            story={**settings, "hypothesis": asdict(hypothesis), "state": state},
            overwrite=not resume,
            resume=resume,
            say=say,
        )
    return comparisons


def _check(digit: int, rate: float, rates: Sequence[float], networks: int, epochs: int) -> None:
    if digit not in range(10):
        raise InputError(f"digit is {digit}; expected 0 to 9.")
    if not 0 < rate <= 1:
        raise InputError(
            f"rate is {rate:g}; expected above 0, up to 1: the share of the class's images that carry the cue."
        )
    rising = all(a < b for a, b in itertools.pairwise(rates))
    if len(rates) < 2 or not rising or rates[0] < 0 or rates[-1] > 1:
        raise InputError(
            f"rates are {', '.join(f'{one:g}' for one in rates) or 'none'}; expected at least two, rising, between 0 and 1."
        )
    if networks < 1:
        raise InputError(f"networks is {networks}; expected at least 1, and 5 or more to see a spread.")
    if epochs < 1:
        raise InputError(f"epochs is {epochs}; expected at least 1.")
