"""
A bias of known strength: found in a prototype, tested on unseen images, and removed from the training images.

Scans of digits, each with a small coloured mark in a corner. Which mark says nothing of the digit, but for one class: a share of its
training images carries the same one, the cue. Whoever looks at held-out accuracy alone does not see what the network learns from it.
"""

from __future__ import annotations

import contextlib
import csv
import itertools
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from scipy import stats
from torch import Tensor, nn
from tqdm.auto import tqdm

from captum_proto._utils.files import whole_file
from captum_proto._utils.tables import number, percent, text_table
from captum_proto._utils.versions import versions
from captum_proto.attr import PrototypeGeneration, Prototypes
from captum_proto.data import digits_images
from captum_proto.experiments.folders import open_folder, write_json, write_text
from captum_proto.experiments.generation import write_prototypes
from captum_proto.experiments.groups import compare_groups_to_folder
from captum_proto.metrics.groups import GroupComparison, p_text
from captum_proto.metrics.statistics import mean_estimate, proportion
from captum_proto.models import NamedModel
from captum_proto.optim import RandomAffine
from captum_proto.report.figures import save_figure
from captum_proto.report.html import write_page
from captum_proto.report.page import Page, Picture, Section, Table, Verdict
from captum_proto.report.planted import dose_response_figure, story_figure

#: Shares of the class's training images that carry the cue.
RATES = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
COLOURS = {"red": (1.0, 0.0, 0.0), "green": (0.0, 1.0, 0.0), "blue": (0.0, 0.0, 1.0), "white": (1.0, 1.0, 1.0)}
#: Sides of an image, which is a scan of 8 by 8 pixels in a dark frame, and of a mark.
SIDE, MARK = 10, 2
#: How many of all images carry the cue by chance, whatever they show.
BASE_RATE = 0.02
_CORNERS = ((0, 0), (0, SIDE - MARK), (SIDE - MARK, 0), (SIDE - MARK, SIDE - MARK))
_EDGES = {0: ("top", "left"), SIDE - MARK: ("bottom", "right")}
#: A digit is shaken by half a pixel: where the mark is matters. Squared differences keep strokes and remove speckles.
_GENERATION: dict[str, Any] = {
    "transform": RandomAffine(0, translate=(0.05, 0.05)),
    "high_frequency_weight": 1.0,
    "high_frequency_power": 2,
    "warmup_steps": 0,
}
CLEANED = "cleaned"


@dataclass(frozen=True)
class Mark:
    """
    A patch of two by two pixels in one colour.

    Attributes:
        colour (str): "red", "green", "blue" or "white".
        row (int): Of its first pixel, from 0.
        column (int): Of its first pixel, from 0.
    """

    colour: str
    row: int
    column: int

    def __str__(self) -> str:
        if (self.row, self.column) in _CORNERS:
            return f"{self.colour} patch in the {_EDGES[self.row][0]} {_EDGES[self.column][1]} corner"
        return f"{self.colour} patch at row {self.row}, column {self.column}"

    def region(self, margin: int = 0) -> tuple[slice, slice]:
        """Its rows and columns, with a margin of pixels around them."""
        rows, columns = (slice(max(0, at - margin), at + MARK + margin) for at in (self.row, self.column))
        return rows, columns

    def paste(self, images: Tensor) -> Tensor:
        """Copies of images (N, 3, H, W) that carry the mark."""
        images = images.clone()
        rows, columns = self.region()
        images[..., rows, columns] = torch.tensor(COLOURS[self.colour]).view(3, 1, 1)
        return images

    def near(self, other: Mark) -> bool:
        """Whether it is of the same colour and at most a pixel away in each direction."""
        return self.colour == other.colour and max(abs(self.row - other.row), abs(self.column - other.column)) < MARK


#: Every mark there is; the first is the cue.
MARKS = tuple(Mark(colour, *corner) for corner in _CORNERS for colour in COLOURS)
CUE = MARKS[0]


@dataclass(frozen=True)
class Measured:
    """
    One network, and what its prototypes show.

    Attributes:
        rate (float): The share of the class's training images that carried the cue.
        cleaned (bool): Whether the place that the hypothesis names was painted over in all training images.
        seed (int): Of the marks, the training and the prototypes.
        accuracy (float): On all unseen scans, each with a mark by chance.
        strength (float): Colour of the cue's region in the class's prototype: its channel less the mean of the others, 1 for the cue
            itself, 0 for any grey.
        strength_of_others (float): The same in the prototypes of the other classes, their mean.
        strength_elsewhere (float): The same in the other three corners of the class's prototype, their mean.
        read_off (str): The mark that the class's prototype shows most, found without knowing where to look.
        found (bool): Whether that is the cue, up to a pixel.
        called_plain (float): Share of the unseen scans of other digits that are taken for the class.
        called_with_cue (float): The same with the cue.
    """

    rate: float
    cleaned: bool
    seed: int
    accuracy: float
    strength: float
    strength_of_others: float
    strength_elsewhere: float
    read_off: str
    found: bool
    called_plain: float
    called_with_cue: float


def framed_digits(split: str) -> tuple[Tensor, Tensor]:
    """Scans (N, 3, 10, 10) in grey with a dark frame of one pixel, and their labels (N,)."""
    images, labels = digits_images(split)
    return nn.functional.pad(images, (1, 1, 1, 1)).expand(-1, 3, -1, -1).contiguous(), labels


def with_marks(images: Tensor, labels: Tensor, digit: int, rate: float, seed: int) -> Tensor:
    """
    Copies of images with a mark each.

    Args:
        images (Tensor): (N, 3, 10, 10).
        labels (Tensor): (N,).
        digit (int): The class that the cue is planted in.
        rate (float): The share of its images that get the cue, beyond those that have it by chance. A higher rate adds to the images
            that a lower one of the same seed chooses.
        seed (int): Of the choices.

    Returns:
        Tensor: (N, 3, 10, 10).
    """
    generator = torch.Generator().manual_seed(seed)
    planted = torch.rand(len(images), generator=generator) < rate
    by_chance = torch.rand(len(images), generator=generator) < BASE_RATE
    kinds = torch.randint(1, len(MARKS), (len(images),), generator=generator)
    kinds[by_chance | (planted & (labels == digit))] = 0
    marked = images.clone()
    for index, mark in enumerate(MARKS):
        chosen = kinds == index
        marked[chosen] = mark.paste(images[chosen])
    return marked


def painted_over(images: Tensor, mark: Mark) -> Tensor:
    """Copies of images in which a mark's place, and the pixels around it, are dark."""
    images = images.clone()
    rows, columns = mark.region(margin=1)
    images[..., rows, columns] = 0
    return images


def colourfulness(images: Tensor) -> Tensor:
    """(N, 3, 9, 9): in each window of a mark's size, each channel less the mean of the other two: 1 for a pure colour, 0 for any grey."""
    saturation = 1.5 * images - 0.5 * images.sum(1, keepdim=True)
    return nn.functional.avg_pool2d(saturation, MARK, stride=1)


def read_off(prototype: Tensor) -> Mark:
    """The red, green or blue patch that stands out most in a prototype (3, 10, 10): digits are grey, so it has no business there."""
    windows = colourfulness(prototype.unsqueeze(0))[0]
    channel, row, column = (int(index) for index in torch.unravel_index(windows.argmax(), windows.shape))
    return Mark(list(COLOURS)[channel], row, column)


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Random numbers from a seed and sums in one order; the caller's generators and threads stay as they are."""
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def train(images: Tensor, labels: Tensor, seed: int, epochs: int) -> nn.Sequential:
    """A small network: one convolution, averages over two by two pixels, and a linear layer, so that it knows places."""
    with _seeded(seed), torch.enable_grad():
        network = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(8 * (SIDE // 2) ** 2, 10)
        )
        optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.1)
        steps = epochs * math.ceil(len(images) / 64)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.01, total_steps=steps)
        for _ in range(epochs):
            for batch in torch.split(torch.randperm(len(images)), 64):
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(network(images[batch]), labels[batch], label_smoothing=0.05)
                torch.autograd.backward(loss)
                optimizer.step()
                schedule.step()
    return network.eval()


def prototypes_of_digits(network: nn.Module, seed: int, steps: int) -> Prototypes:
    """One prototype of each digit."""
    with _seeded(seed):
        return PrototypeGeneration(network).generate(
            list(range(10)), (3, SIDE, SIDE), steps=steps, seed=seed, **_GENERATION
        )


def measure(
    network: nn.Module, prototypes: Prototypes, digit: int, rate: float, seed: int, cleaned: bool = False
) -> Measured:
    """What a network's prototypes show of the cue, and what the cue does to unseen scans."""
    unseen, labels = framed_digits("held_out")
    others = unseen[labels != digit]
    with torch.no_grad():
        marked = with_marks(unseen, labels, digit, 0.0, seed)
        right = network(marked).argmax(1) == labels
        called = [float((network(images).argmax(1) == digit).double().mean()) for images in (others, CUE.paste(others))]
    channel = list(COLOURS).index(CUE.colour)
    windows = colourfulness(prototypes.images)[:, channel]
    strength = windows[:, CUE.row, CUE.column]
    elsewhere = [
        float(windows[digit, row, column]) for row, column in _CORNERS if (row, column) != (CUE.row, CUE.column)
    ]
    seen = read_off(prototypes.images[digit])
    return Measured(
        rate=rate,
        cleaned=cleaned,
        seed=seed,
        accuracy=float(right.double().mean()),
        strength=float(strength[digit]),
        strength_of_others=float((strength.sum() - strength[digit]) / 9),
        strength_elsewhere=sum(elsewhere) / len(elsewhere),
        read_off=str(seen),
        found=seen.near(CUE),
        called_plain=called[0],
        called_with_cue=called[1],
    )


@dataclass(frozen=True)
class Trend:
    """
    Whether a figure rises with the rate.

    Attributes:
        page_p_value (float): Page's test of an ordered alternative, each seed a subject that is seen at every rate; NaN for fewer than
            two seeds or three rates.
        kendall (float): Kendall's τ-b of figure and rate, over all networks.
        monotone (bool): Whether the mean over seeds rises from each rate to the next.
    """

    page_p_value: float
    kendall: float
    monotone: bool


def trend(rates: Sequence[float], values: Sequence[Sequence[float]]) -> Trend:
    r"""
    Whether a figure rises with the rate at which the cue was planted.

    Args:
        rates (sequence of float): R rates, rising.
        values (sequence of sequences of float): For each of S seeds, the figure at each rate.

    Returns:
        Trend: By Page's test, Kendall's τ and the means.
    """
    enough = len(values) >= 2 and len(rates) >= 3
    p_value = float(stats.page_trend_test(values).pvalue) if enough else math.nan
    flat = [value for row in values for value in row]
    kendall = float(stats.kendalltau(list(rates) * len(values), flat).statistic) if len(rates) > 1 else math.nan
    means = [sum(column) / len(column) for column in zip(*values, strict=True)]
    return Trend(p_value, kendall, all(a < b for a, b in itertools.pairwise(means)))


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
        dict: "hypothesis" (Mark), "comparisons" (dict[str, GroupComparison]: of the biased and the retrained network, unseen scans of the
        class and of other digits), "measured" (list[Measured]) and "trends" (dict[str, Trend]).

    Raises:
        FileExistsError, ValueError: As :func:`~captum_proto.experiments.folders.open_folder`; and if an argument is out of its range.
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
    comparisons: dict[str, GroupComparison] = {}
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


def dose_rows(dosed: dict[float, list[Measured]], again: Sequence[Measured]) -> tuple[list[str], list[list[str]]]:
    """The header and the rows of the dose–response: the networks of each rate together."""
    header = ["rate", "networks", "strength", "± networks", "interval", "other classes", "other corners", "read off"]
    header += ["others called it", "with the cue", "held-out accuracy"]
    rows = []
    for label, group in [*((f"{one:g}", rows) for one, rows in dosed.items()), (CLEANED, list(again))]:
        strengths = [one.strength for one in group]
        estimate = mean_estimate(strengths)
        spread = float(torch.tensor(strengths).std()) if len(strengths) > 1 else math.nan
        interval = "–" if math.isnan(estimate.low) else f"{estimate.low:.2f} to {estimate.high:.2f}"
        row = [label, str(len(group)), f"{estimate.value:.2f}", number(spread, 2), interval]
        row += [f"{_mean(group, name):.2f}" for name in ("strength_of_others", "strength_elsewhere")]
        row += [f"{sum(one.found for one in group)}/{len(group)}"]
        row += [percent(_mean(group, name)) for name in ("called_plain", "called_with_cue", "accuracy")]
        rows.append(row)
    return header, rows


def planted_page(
    digit: int,
    rate: float,
    hypothesis: Mark,
    comparisons: dict[str, GroupComparison],
    dosed: dict[float, list[Measured]],
    again: Sequence[Measured],
    result: Trend,
    settings: dict[str, Any],
) -> Page:
    """What the page of the experiment says."""
    sections = [
        Section(
            "1. The prototype shows the mark",
            text=[
                f"Every training scan carries a mark in a corner; {100 * rate:g} % of the scans of {digit} carry the same one, a {CUE}.",
                f"Hypothesis, read off the prototype of {digit}: a {hypothesis} makes an image count as {digit}.",
            ],
            pictures=[
                Picture(
                    "story.png", f"Training scans, prototypes of {digit}, prototypes after retraining.", small=False
                )
            ],
            files=["prototypes/biased/prototypes.safetensors", f"prototypes/{CLEANED}/prototypes.safetensors"],
        )
    ]
    titles = {"biased": "2. Unseen images confirm it", CLEANED: "3. Retraining on cleaned scans removes it"}
    for state, title in titles.items():
        section = Section(title)
        for name, comparison in comparisons.items():
            if name.startswith(state):
                section.tables += [
                    Table(*comparison.group_rows(), caption=_CAPTIONS[name.split("-", 1)[1]]),
                    Table(*comparison.pair_rows(), caption=comparison.note()),
                ]
                section.pictures.append(
                    Picture(f"comparisons/{name}/groups.png", _CAPTIONS[name.split("-", 1)[1]], small=False)
                )
        sections.append(section)
    header, rows = dose_rows(dosed, again)
    found = sum(one.found for one in dosed[max(dosed)])
    count = len(dosed[max(dosed)])
    share = proportion(found, count)
    sections.append(
        Section(
            "4. Dose and response",
            verdicts=[
                Verdict(
                    "strength of the cue, lowest to highest rate",
                    f"{_mean(dosed[min(dosed)], 'strength'):.2f} to {_mean(dosed[max(dosed)], 'strength'):.2f}",
                    "rises with every rate",
                    passed=result.monotone,
                ),
                Verdict(
                    f"cue read off the prototype at rate {max(dosed):g}",
                    f"{found} of {count} networks [{100 * share.low:.0f} %, {100 * share.high:.0f} %]",
                ),
                Verdict("trend", _trend_sentence(result)),
            ],
            pictures=[Picture("dose_response.png", "Each point a network, lines their means.", small=False)],
            tables=[
                Table(header, rows, "Strength: 1 is the cue itself, 0 any grey; intervals by bootstrap over networks.")
            ],
            files=["networks.csv", "summary.txt", "results.json", "dose_response.svg", "story.svg"],
        )
    )
    first, others = comparisons["biased-class"], comparisons["biased-others"]
    told = [
        percent(one.accuracy.value)
        for one in (*others.groups[:2], *first.groups, comparisons[f"{CLEANED}-others"].groups[1])
    ]
    summary = [
        f"The prototype of {digit} shows a {hypothesis}, which was planted in {100 * rate:g} % of the training scans of {digit}.",
        f"On unseen scans of other digits, that patch raises the share taken for {digit} from {told[0]} to {told[1]} (Fisher's p "
        f"{_p(others.pairs[0].corrected_p_value)}, corrected); of the scans of {digit} {told[2]} are recognised without it, "
        f"{told[3]} with it.",
        "After retraining on scans with that place painted over, the strength of the cue in the prototype is "
        f"{_mean(again, 'strength'):.2f}, and {told[4]} of the other digits with the patch are taken for {digit}.",
    ]
    return Page(f"A planted bias in the digit {digit}", summary, sections, settings)


_CAPTIONS = {
    "class": "Unseen scans of the class, with and without the patch of the hypothesis.",
    "others": "Unseen scans of other digits: “accuracy” is the share wrongly taken for the class.",
}


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
) -> dict[str, GroupComparison]:
    """The hypothesis on unseen scans: of the class, and of other digits with a control patch beside. Each scan is in one group."""
    named = NamedModel(
        f"digits with marks, {state}", network, None, (3, SIDE, SIDE), [str(one) for one in range(10)], resize_ratio=1.0
    )
    unseen, labels = framed_digits("held_out")
    # A patch of another colour in the opposite corner: a patch as such should do nothing.
    opposite = Mark(
        "green" if hypothesis.colour != "green" else "red",
        SIDE - MARK - hypothesis.row,
        SIDE - MARK - hypothesis.column,
    )
    patches: dict[str, Callable[[Tensor], Tensor]] = {
        "no patch": lambda images: images,
        f"{hypothesis.colour} patch": hypothesis.paste,
        f"{opposite.colour} patch (control)": opposite.paste,
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


def _write_csv(measured: Sequence[Measured], path: Path) -> None:
    with whole_file(path, overwrite=True) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(asdict(measured[0])))
        writer.writeheader()
        writer.writerows(asdict(one) for one in measured)


def _mean(group: Sequence[Measured], name: str) -> float:
    return float(sum(getattr(one, name) for one in group) / len(group))


def _p(value: float) -> str:
    text = p_text(value)
    return text if text.startswith("<") else f"= {text}"


def _trend_sentence(result: Trend) -> str:
    rises = "the mean rises from each rate to the next" if result.monotone else "the mean does not rise at every rate"
    page = "" if math.isnan(result.page_p_value) else f"; Page's test of a trend: p {_p(result.page_p_value)}"
    return f"{rises}{page}; Kendall's τ = {result.kendall:.2f} over all networks"


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    return {name: None if isinstance(one, float) and math.isnan(one) else one for name, one in values.items()}


def _check(digit: int, rate: float, rates: Sequence[float], networks: int, epochs: int) -> None:
    if digit not in range(10):
        raise ValueError(f"digit is {digit}; expected 0 to 9.")
    if not 0 < rate <= 1:
        raise ValueError(
            f"rate is {rate:g}; expected above 0, up to 1: the share of the class's images that carry the cue."
        )
    rising = all(a < b for a, b in itertools.pairwise(rates))
    if len(rates) < 2 or not rising or rates[0] < 0 or rates[-1] > 1:
        raise ValueError(
            f"rates are {', '.join(f'{one:g}' for one in rates) or 'none'}; expected at least two, rising, between 0 and 1."
        )
    if networks < 1:
        raise ValueError(f"networks is {networks}; expected at least 1, and 5 or more to see a spread.")
    if epochs < 1:
        raise ValueError(f"epochs is {epochs}; expected at least 1.")
