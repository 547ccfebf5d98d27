"""What was found of fooled networks: tables, sentences and files."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from captum_proto._utils.tables import number, p_equals, percent, text_table
from captum_proto.experiments.fooling.agreements import Agreement, agreement_rows
from captum_proto.experiments.fooling.areas import area_rows, mean_rows, sentences
from captum_proto.experiments.fooling.rows import FINE_TUNED, HONEST, Row, mean_of, separation
from captum_proto.experiments.fooling.scores import PLANTED, Score
from captum_proto.runs.files import write_rows
from captum_proto.stats.intervals import fisher_exact, holm, spread
from captum_proto.stats.judgments import Order, order_by_test


@dataclass(frozen=True)
class FoolingResult:
    """
    What was found.

    Attributes:
        networks (list[str]): "honest", and what was planted.
        rows (list[Row]): For each seed and network, one for each target.
        agreements (list[Agreement]): For each seed and fooled network.
        threshold (float): Below which a normalized Spearman correlation is flagged.
        scores (list[Score]): For each seed, network and target, one for each picture. Default: none
    """

    networks: list[str]
    rows: list[Row]
    agreements: list[Agreement]
    threshold: float
    scores: list[Score] = field(default_factory=list)

    @property
    def others(self) -> list[str]:
        """The networks that are not honest, and the control that was fine-tuned."""
        return [name for name in self.networks if name != HONEST]

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
        said = [
            f"The normalized Spearman correlation of honest prototypes is {means[HONEST]} on average (1: as natural images of the class, "
            f"0: as those of other classes); {flagged} of {of} are flagged."
        ]
        for name, (order, p_value) in self.noticed().items():
            flagged, of = self.flags(name)
            test = "" if math.isnan(p_value) else f" (Fisher's p {p_equals(p_value)} beside the honest ones, corrected)"
            told = order.told(
                *(f"{how} the honest ones" for how in ("more often than", "less often than", "as often as"))
            )
            planted = "Fine-tuned, nothing planted" if name == FINE_TUNED else f"Planted {name}"
            said.append(f"{planted}: {means[name]}; {flagged} of {of} flagged{test}: {told}.")
        return said

    def table(self) -> str:
        """Both tables as text, with what they say: what path similarity finds, and how the fooled networks agree with the classifier."""
        text = text_table(*summary_rows(self))
        text += f"\n\nflagged: normalized Spearman below {self.threshold:g}. "
        text += (
            "AUC: the chance that fooled prototypes are below honest ones.\n\n" + "\n".join(self.conclusion()) + "\n"
        )
        text += "\n" + text_table(*agreement_rows(self.agreements)) if self.agreements else ""
        return f"{text}\n\n{self.measures_table()}" if self.scores else text

    def measures_table(self) -> str:
        """Which measure tells fooled prototypes, and planted pictures, from honest prototypes, as text; empty without scores."""
        if not self.scores:
            return ""
        planted = text_table(*area_rows(self.scores, self.others, PLANTED))
        return (
            f"{text_table(*area_rows(self.scores, self.others))}\n\n"
            f"The planted pictures themselves:\n\n{planted}\n\n"
            f"{text_table(*mean_rows(self.scores, self.networks))}\n\n" + "\n".join(sentences(self.scores, self.others))
        )

    def write_csv(self, folder: Path) -> None:
        """Every row into ``fooling.csv``, and what there is of agreements and scores into ``agreement.csv`` and ``scores.csv``."""
        header = [column.name for column in fields(Row)]
        write_rows(folder / "fooling.csv", header, [list(asdict(row).values()) for row in self.rows])
        if self.agreements:
            header = [column.name for column in fields(Agreement)]
            write_rows(folder / "agreement.csv", header, [list(asdict(row).values()) for row in self.agreements])
        if self.scores:
            header = [column.name for column in fields(Score)]
            write_rows(folder / "scores.csv", header, [list(asdict(row).values()) for row in self.scores])


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
