"""What path similarity says of fooled networks, row by row and as tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
from scipy import stats
from torch import Tensor

from captum_proto._utils.model import borrowed
from captum_proto._utils.tables import number, p_equals, percent, text_table
from captum_proto.attr import Prototypes
from captum_proto.metrics import PathComparison
from captum_proto.metrics.comparison import OTHER, SAME
from captum_proto.models import NamedModel
from captum_proto.runs.files import write_rows
from captum_proto.stats.intervals import fisher_exact, holm, spread
from captum_proto.stats.judgments import Order, order_by_test
from captum_proto.testing.fooled import FooledNetwork
from captum_proto.testing.fooling import NOISE_IMAGES, noise_images, prepared_images

#: What the rows of the classifier itself are called.
HONEST = "honest"
_BATCH = 32


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
        normalized (float): (spearman - other) / (same - other): 1 as the class, 0 as other classes; NaN where both are equal.
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


@dataclass(frozen=True)
class FoolingResult:
    """
    What was found.

    Attributes:
        networks (list[str]): "honest", and what was planted.
        rows (list[Row]): For each seed and network, one for each target.
        agreements (list[Agreement]): For each seed and fooled network.
        threshold (float): Below which a normalized Spearman correlation is flagged.
    """

    networks: list[str]
    rows: list[Row]
    agreements: list[Agreement]
    threshold: float

    def of(self, network: str) -> list[Row]:
        """The rows of one network, of all seeds."""
        return [row for row in self.rows if row.network == network]

    def flags(self, network: str) -> tuple[int, int]:
        """How many of a network's rows are flagged, and of how many, which are those that could be measured."""
        measured = [row for row in self.of(network) if not math.isnan(row.normalized)]
        return sum(row.flagged for row in measured), len(measured)

    def noticed(self) -> dict[str, tuple[Order, float]]:
        """By fooled network, whether it is flagged more often than the honest one, and Fisher's p with Holm's correction for all."""
        honest, counts = self.flags(HONEST), {name: self.flags(name) for name in self.networks if name != HONEST}
        tested = {name: count for name, count in counts.items() if count[1] and honest[1]}
        p_values = dict(zip(tested, holm([fisher_exact(count, honest) for count in tested.values()]), strict=True))
        differences = {name: flagged / of - honest[0] / honest[1] for name, (flagged, of) in tested.items()}
        return {
            name: (
                order_by_test(differences.get(name, math.nan), p_values.get(name, math.nan)),
                p_values.get(name, math.nan),
            )
            for name in counts
        }

    def conclusion(self) -> list[str]:
        """Where honest prototypes are, and of each fooled network whether the flag tells it from the honest one, in sentences."""
        means = {name: number(mean_of(self.of(name), "normalized"), 2) for name in self.networks}
        flagged, of = self.flags(HONEST)
        sentences = [
            f"The normalized Spearman correlation of honest prototypes is {means[HONEST]} on average (1: as natural images of the class, "
            f"0: as those of other classes); {flagged} of {of} are flagged."
        ]
        for name, (order, p_value) in self.noticed().items():
            flagged, of = self.flags(name)
            test = "" if math.isnan(p_value) else f" (Fisher's p {p_equals(p_value)} beside the honest ones, corrected)"
            told = order.told(
                *(f"{how} the honest ones" for how in ("more often than", "less often than", "as often as"))
            )
            sentences.append(f"Planted {name}: {means[name]}; {flagged} of {of} flagged{test}: {told}.")
        return sentences

    def table(self) -> str:
        """Both tables as text, with what they say: what path similarity finds, and how the fooled networks agree with the classifier."""
        text = text_table(*summary_rows(self))
        text += f"\n\nflagged: normalized Spearman below {self.threshold:g}. "
        text += (
            "AUC: the chance that fooled prototypes are below honest ones.\n\n" + "\n".join(self.conclusion()) + "\n"
        )
        return text + ("\n" + text_table(*agreement_rows(self.agreements)) if self.agreements else "")

    def write_csv(self, folder: Path) -> None:
        """Every row into ``fooling.csv``, every agreement, if there are any, into ``agreement.csv``."""
        header = [column.name for column in fields(Row)]
        write_rows(folder / "fooling.csv", header, [list(asdict(row).values()) for row in self.rows])
        if self.agreements:
            header = [column.name for column in fields(Agreement)]
            write_rows(folder / "agreement.csv", header, [list(asdict(row).values()) for row in self.agreements])


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
    all_layers = _normalized(comparison)[3]
    if inner is not None:
        comparison = _part(comparison, [name.startswith(f"{inner}.") for name in comparison.layers])
    spearman, same, other, normalized = _normalized(comparison)
    by_image = comparison.spearman[OTHER][:, ~comparison.dead].nanmean(1)
    prototype = comparison.summary("prototype")
    return Row(
        network=network,
        seed=seed,
        target=target,
        spearman=spearman,
        same=same,
        other=other,
        normalized=normalized,
        median_normalized=prototype.normalized_spearman,
        above_other=float((by_image < spearman).double().mean()),
        above_mean=prototype.spearman_above_mean,
        below_mean=prototype.l1_below_mean,
        all_layers=all_layers,
        flagged=bool(normalized < threshold),
    )


def _normalized(comparison: PathComparison) -> tuple[float, float, float, float]:
    spearman, same, other = (comparison.summary(condition).spearman for condition in ("prototype", SAME, OTHER))
    return spearman, same, other, (spearman - other) / (same - other) if same != other else math.nan


def _part(comparison: PathComparison, keep: list[bool]) -> PathComparison:
    """Of some layers alone."""
    chosen = torch.tensor(keep)
    return PathComparison(
        [name for name, wanted in zip(comparison.layers, keep, strict=True) if wanted],
        {condition: values[:, chosen] for condition, values in comparison.spearman.items()},
        {condition: values[:, chosen] for condition, values in comparison.l1.items()},
        comparison.settings,
    )


def agreement(
    named: NamedModel,
    fooled: FooledNetwork,
    held_out: Tensor,
    labels: Tensor,
    prototypes: Prototypes,
    plant: str,
    seed: int,
) -> Agreement:
    """
    Count on how many held-out natural images a fooled network is the classifier.

    Args:
        named (NamedModel): The classifier.
        fooled (FooledNetwork): The network around it.
        held_out (Tensor): (M, C, H, W) in [0, 1], images that the detector was not trained on.
        labels (Tensor): (M,), their classes.
        prototypes (Prototypes): Of the fooled network.
        plant (str): For the row.
        seed (int): For the row, and of the noise.

    Returns:
        Agreement: One row of the table.
    """
    noise = noise_images(named, seed)
    with torch.no_grad(), borrowed(fooled):
        pairs = [
            (named.model(part.clone()), fooled(part.clone()))
            for part in torch.split(prepared_images(named, held_out), _BATCH)
        ]
        honest, other = (torch.cat(side).cpu() for side in zip(*pairs, strict=True))
        return Agreement(
            network=plant,
            seed=seed,
            images=len(honest),
            equal_predictions=int((honest.argmax(1) == other.argmax(1)).sum()),
            equal_logits=int((honest == other).all(1).sum()),
            accuracy=float((honest.argmax(1) == labels).double().mean()),
            fooled_accuracy=float((other.argmax(1) == labels).double().mean()),
            natural_noise=int(fooled.natural(prepared_images(named, noise)).sum()),
            natural_prototypes=int(fooled.natural(prepared_images(named, prototypes.images)).sum()),
            prototypes=len(prototypes),
        )


def separation(rows: Sequence[Row], network: str) -> float:
    """
    The chance that a fooled network's prototype has a lower normalized Spearman correlation than an honest one: the AUC.

    Args:
        rows (sequence of Row): Of all networks; those whose correlation is NaN are left out.
        network (str): The fooled one.

    Returns:
        float: 0 to 1, equal values counting as half; NaN if either network has no rows.
    """
    honest, fooled = (
        [row.normalized for row in rows if row.network == name and not math.isnan(row.normalized)]
        for name in (HONEST, network)
    )
    if not honest or not fooled:
        return math.nan
    return float(stats.mannwhitneyu(honest, fooled, method="asymptotic").statistic) / (len(honest) * len(fooled))


def mean_of(rows: Sequence[Row], column: str) -> float:
    """The mean of a column over the rows that have a value of it; NaN if none has."""
    values = [value for value in (getattr(row, column) for row in rows) if not math.isnan(value)]
    return float(sum(values) / len(values)) if values else math.nan


def summary_rows(result: FoolingResult) -> tuple[list[str], list[list[str]]]:
    """The header and the rows of the table: a network each, means over targets and seeds."""
    header = ["network", "Spearman", "other", "same", "normalized", "± seeds", "above other", "SS ≥ SS_I", "D ≤ D_I"]
    header += ["all layers", "flagged", "AUC"]
    table = []
    for name in result.networks:
        rows = result.of(name)
        by_seed = [
            mean_of([row for row in rows if row.seed == seed], "normalized")
            for seed in sorted({row.seed for row in rows})
        ]
        cells = [name, *(number(mean_of(rows, column)) for column in ("spearman", "other", "same"))]
        cells += [number(mean_of(rows, "normalized"), 2), number(spread(by_seed), 2)]
        cells += [percent(mean_of(rows, column)) for column in ("above_other", "above_mean", "below_mean")]
        cells += [number(mean_of(rows, "all_layers"), 2), "{} of {}".format(*result.flags(name))]
        cells += ["–" if name == HONEST else number(separation(result.rows, name), 2)]
        table.append(cells)
    return header, table


def agreement_rows(agreements: Sequence[Agreement]) -> tuple[list[str], list[list[str]]]:
    """The header and the rows of the table: a fooled network each, over seeds."""
    header = ["planted", "held-out images", "equal predictions", "equal logits", "accuracy", "fooled accuracy"]
    header += ["noise taken for natural", "prototypes taken for natural"]
    table = []
    for name in dict.fromkeys(facts.network for facts in agreements):
        of_seeds = [facts for facts in agreements if facts.network == name]
        totals = {
            column: sum(getattr(facts, column) for facts in of_seeds)
            for column in (
                "images",
                "equal_predictions",
                "equal_logits",
                "natural_noise",
                "natural_prototypes",
                "prototypes",
            )
        }
        cells = [name, *(str(totals[column]) for column in ("images", "equal_predictions", "equal_logits"))]
        cells += [
            percent(sum(getattr(facts, column) for facts in of_seeds) / len(of_seeds))
            for column in ("accuracy", "fooled_accuracy")
        ]
        cells += [f"{totals['natural_noise']} of {NOISE_IMAGES * len(of_seeds)}"]
        cells += [f"{totals['natural_prototypes']} of {totals['prototypes']}"]
        table.append(cells)
    return header, table
