"""What path similarity says of fooled networks: rows, tables and the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from scipy import stats

from captum_proto._utils.tables import number, percent, text_table
from captum_proto._utils.targets import Target
from captum_proto.attr import Prototypes
from captum_proto.metrics import PathComparison
from captum_proto.metrics.comparison import OTHER, SAME
from captum_proto.models import NamedModel
from captum_proto.report.blocks import Files, Paragraphs, Picture, Pictures, Table, Verdict, Verdicts
from captum_proto.report.figures import to_display
from captum_proto.report.html import write_page
from captum_proto.report.page import Page, Section
from captum_proto.runs.files import write_rows
from captum_proto.stats.intervals import spread


@dataclass(frozen=True)
class Row:
    """
    What path similarity says of the prototypes of one class on one network.

    Attributes:
        network (str): "honest", or what was planted.
        seed (int): Of prototypes and detector, and of the network where it is trained.
        target (str): The class.
        spearman (float): Mean over layers of the prototypes' Spearman correlation with the mean natural activations.
        same (float): The same, of natural images of the class.
        other (float): The same, of natural images of other classes.
        normalized (float): (spearman - other) / (same - other): 1 as the class, 0 as other classes.
        median_normalized (float): The median over layers of the same, layer by layer.
        above_other (float): Share of the images of other classes that are below the prototypes.
        above_mean (float): Share of layers in which assertion (2) holds, against the mean over images of the class.
        below_mean (float): Share of layers in which assertion (1) holds.
        all_layers (float): ``normalized``, with the layers of detector and decoy.
        flagged (bool): Whether ``normalized`` is below the threshold.
    """

    network: str
    seed: int
    target: str
    spearman: float
    same: float
    other: float
    normalized: float
    median_normalized: float
    above_other: float
    above_mean: float
    below_mean: float
    all_layers: float
    flagged: bool


@dataclass(frozen=True)
class Agreement:
    """
    Whether a fooled network is the classifier on natural images it was not trained on.

    Attributes:
        network (str): What was planted.
        seed (int): As in :class:`Row`.
        images (int): How many were held out.
        equal_predictions (int): On how many both name the same class.
        equal_logits (int): On how many all logits are equal to the last bit.
        accuracy (float): The share of them the classifier is right about.
        fooled_accuracy (float): The share of them the fooled network is right about.
        natural_noise (int): How many of 64 images of uniform noise the detector takes for natural.
        natural_prototypes (int): How many of the finished prototypes it takes for natural.
        prototypes (int): How many of those there are.
    """

    network: str
    seed: int
    images: int
    equal_predictions: int
    equal_logits: int
    accuracy: float
    fooled_accuracy: float
    natural_noise: int
    natural_prototypes: int
    prototypes: int


def judge(
    comparison: PathComparison, network: str, seed: int, target: str, threshold: float, inner: str | None = None
) -> Row:
    """
    What path similarity says of one class's prototypes, and whether it flags them.

    Args:
        comparison (PathComparison): Of the prototypes with natural images.
        network (str): For the row.
        seed (int): For the row.
        target (str): For the row.
        threshold (float): Prototypes are flagged whose normalized Spearman correlation is below this.
        inner (str, optional): Look only at layers whose names begin with this and a dot. Default: None, all

    Returns:
        Row: One row of the table.
    """
    whole = _normalized(comparison)[3]
    if inner is not None:
        comparison = _part(comparison, [name.startswith(f"{inner}.") for name in comparison.layers])
    spearman, same, other, normalized = _normalized(comparison)
    living = ~comparison.dead
    each = comparison.spearman[OTHER][:, living].nanmean(1)
    prototype = comparison.summary("prototype")
    return Row(
        network,
        seed,
        target,
        spearman,
        same,
        other,
        normalized,
        prototype.normalized_spearman,
        float((each < spearman).double().mean()),
        prototype.spearman_above_mean,
        prototype.l1_below_mean,
        whole,
        bool(normalized < threshold),
    )


def _normalized(comparison: PathComparison) -> tuple[float, float, float, float]:
    spearman, same, other = (comparison.summary(group).spearman for group in ("prototype", SAME, OTHER))
    return spearman, same, other, (spearman - other) / (same - other)


def _part(comparison: PathComparison, keep: list[bool]) -> PathComparison:
    """Of some layers alone."""
    chosen = torch.tensor(keep)
    return PathComparison(
        [name for name, wanted in zip(comparison.layers, keep, strict=True) if wanted],
        {group: values[:, chosen] for group, values in comparison.spearman.items()},
        {group: values[:, chosen] for group, values in comparison.l1.items()},
        comparison.settings,
    )


def separation(rows: Sequence[Row], network: str) -> float:
    """The chance that a fooled network's prototypes have a lower normalized Spearman correlation than the honest one's: the AUC."""
    honest = [row.normalized for row in rows if row.network == "honest"]
    fooled = [row.normalized for row in rows if row.network == network]
    if not (honest and fooled):
        return math.nan
    return float(stats.mannwhitneyu(honest, fooled).statistic) / (len(honest) * len(fooled))


_HEADER = [
    "network",
    "Spearman",
    "other",
    "same",
    "normalized",
    "± seeds",
    "above other",
    "SS ≥ SS_I",
    "D ≤ D_I",
    "all layers",
]


def _summary_rows(rows: Sequence[Row], networks: Sequence[str]) -> list[list[str]]:
    table = []
    for name in networks:
        mine = [row for row in rows if row.network == name]

        def mean(field: str, mine: list[Row] = mine) -> float:
            return sum(getattr(row, field) for row in mine) / len(mine)

        by_seed = [
            sum(row.normalized for row in mine if row.seed == seed) / sum(row.seed == seed for row in mine)
            for seed in sorted({row.seed for row in mine})
        ]
        table.append(
            [
                name,
                *(number(mean(field)) for field in ("spearman", "other", "same")),
                number(mean("normalized"), 2),
                number(spread(by_seed), 2),
                *(percent(mean(field)) for field in ("above_other", "above_mean", "below_mean")),
                number(mean("all_layers"), 2),
                f"{sum(row.flagged for row in mine)} of {len(mine)}",
                "–" if name == "honest" else number(separation(rows, name), 2),
            ]
        )
    return table


def _tables(rows: Sequence[Row], agreements: Sequence[Agreement], networks: Sequence[str], threshold: float) -> str:
    """Both tables as text."""
    text = text_table([*_HEADER, "flagged", "AUC"], _summary_rows(rows, networks))
    text += f"\n\nflagged: normalized Spearman below {threshold:g}. AUC: the chance that fooled prototypes are below honest ones.\n"
    return text + ("\n" + text_table(_AGREEMENT_HEADER, _agreement_rows(agreements)) if agreements else "")


_AGREEMENT_HEADER = [
    "planted",
    "held-out images",
    "equal predictions",
    "equal logits",
    "accuracy",
    "fooled accuracy",
    "noise taken for natural",
    "prototypes taken for natural",
]


def _agreement_rows(agreements: Sequence[Agreement]) -> list[list[str]]:
    """Over seeds."""
    table = []
    for name in dict.fromkeys(one.network for one in agreements):
        mine = [one for one in agreements if one.network == name]
        images, seeds = sum(one.images for one in mine), len(mine)
        table.append(
            [
                name,
                str(images),
                str(sum(one.equal_predictions for one in mine)),
                str(sum(one.equal_logits for one in mine)),
                percent(sum(one.accuracy for one in mine) / seeds),
                percent(sum(one.fooled_accuracy for one in mine) / seeds),
                f"{sum(one.natural_noise for one in mine)} of {64 * seeds}",
                f"{sum(one.natural_prototypes for one in mine)} of {sum(one.prototypes for one in mine)}",
            ]
        )
    return table


def _write_csv(items: Sequence[Row] | Sequence[Agreement], kind: type, path: Path) -> None:
    write_rows(path, [field.name for field in fields(kind)], (list(asdict(item).values()) for item in items))


def _sheet(
    places: dict[tuple[int, str], Path], networks: Sequence[str], groups: Sequence[Target], labels: Sequence[str]
) -> Figure:
    """The first seed's prototypes: a row for each network, a column for each class."""
    sets = {name: Prototypes.load(places[0, name] / "prototypes.safetensors") for name in networks}
    columns = min(10, len(next(iter(sets.values()))))
    figure = Figure(figsize=(1.3 * columns + 1.2, 1.35 * len(networks) + 0.3), layout="constrained")
    axes = figure.subplots(len(networks), columns, squeeze=False)
    for row, (name, prototypes) in enumerate(sets.items()):
        line = axes[row]
        for column, axis in enumerate(line):
            axis.set_xticks([])
            axis.set_yticks([])
            shown = to_display(prototypes.images[column], tuple(prototypes.settings["value_range"]))
            axis.imshow(shown, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            if row == 0:
                axis.set_title(labels[list(groups).index(prototypes.target[column])], fontsize=8)
        line[0].set_ylabel(name, fontsize=9)
    return figure


def _page(
    rows: Sequence[Row],
    agreements: Sequence[Agreement],
    networks: Sequence[str],
    named: NamedModel,
    threshold: float,
    story: dict[str, Any],
    folder: Path,
) -> None:
    """What was found, as a page."""
    honest = [row for row in rows if row.network == "honest"]
    verdicts = []
    for name in networks:
        mine = [row for row in rows if row.network == name]
        flagged = sum(row.flagged for row in mine)
        verdicts.append(
            Verdict(
                f"{name}: flagged",
                f"{flagged} of {len(mine)}",
                "none" if name == "honest" else "all",
                "" if name == "honest" else f"AUC {separation(rows, name):.2f}",
                flagged == (0 if name == "honest" else len(mine)),
            )
        )
    page = Page(
        f"Fooling feature visualization: {named.name}",
        summary=[
            f"The normalized Spearman correlation of honest prototypes is {sum(row.normalized for row in honest) / len(honest):.2f} "
            "on average (1: as natural images of the class, 0: as those of other classes).",
            *(
                f"Planted {name}: {sum(row.normalized for row in rows if row.network == name) / len(honest):.2f}; "
                f"{sum(row.flagged for row in rows if row.network == name)} of {len(honest)} flagged."
                for name in networks[1:]
            ),
        ],
        sections=[
            Section(
                "Prototypes of the honest and of the fooled networks",
                [
                    Pictures(
                        [
                            Picture(
                                "prototypes.png",
                                "A row for each network, a column for each class; first seed.",
                                small=False,
                            )
                        ]
                    )
                ],
            ),
            Section(
                "Does path similarity notice?",
                [
                    Paragraphs(
                        [f"Prototypes are flagged whose normalized Spearman correlation is below {threshold:g}."]
                    ),
                    Verdicts(verdicts),
                    Table([*_HEADER, "flagged", "AUC"], _summary_rows(rows, networks), "Means over classes and seeds."),
                    Files(["fooling.csv"]),
                ],
            ),
            Section(
                "Is the fooled network the classifier?",
                [
                    Paragraphs(["On natural images that the detector was not trained on."]),
                    *([Table(_AGREEMENT_HEADER, _agreement_rows(agreements), "Over all seeds.")] if agreements else []),
                    Files(["agreement.csv"] if agreements else []),
                ],
            ),
        ],
        settings=story,
    )
    write_page(page, folder)
