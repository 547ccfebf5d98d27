"""From what networks make of pictures to the rows of the table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from captum_proto._utils.targets import Target
from captum_proto.experiments.quality.alikeness import Judge
from captum_proto.experiments.quality.paths import PathMeasurer
from captum_proto.experiments.quality.recognized import own_figures, transfer_figures
from captum_proto.experiments.quality.seen import Seen
from captum_proto.experiments.quality.sources import Source
from captum_proto.metrics.quality import NATURAL, Figure, QualityRow, QualityTable
from captum_proto.models import NamedModel

#: What files call natural images.
NATURAL_STEM = "natural-images"
#: Why a control may lack a picture.
_WHY = {"mean_image": ", which needs at least two natural images of a class"}


@dataclass(frozen=True)
class Measured:
    """
    What the tasks of a run found.

    Attributes:
        named (NamedModel): The model that pictures were made with.
        verifiers (list[NamedModel]): Other networks.
        classes (mapping): By verifier, its class by the model's.
        sources (list[Source]): Methods and controls.
        photographs (mapping[str, Seen]): By network, what it makes of natural images of all classes.
        views (mapping[str, mapping[str, Seen]]): By network and source, what it makes of the pictures.
        paths (PathMeasurer): How the model processes them.
        folder (Path): Of the run.
    """

    named: NamedModel
    verifiers: list[NamedModel]
    classes: Mapping[str, Mapping[int, int]]
    sources: list[Source]
    photographs: Mapping[str, Seen]
    views: Mapping[str, Mapping[str, Seen]]
    paths: PathMeasurer
    folder: Path


def quality_tables(
    measured: Measured, parts: Mapping[str, Sequence[Target]], labels: Mapping[Target, str]
) -> list[QualityTable]:
    """
    A table for each part of the classes.

    Args:
        measured (Measured): What was found.
        parts (mapping[str, sequence of Target]): By title, the classes.
        labels (mapping[Target, str]): What targets are called.
    """
    return [_table(measured, title, targets, labels) for title, targets in parts.items()]


def _table(measured: Measured, title: str, targets: Sequence[Target], labels: Mapping[Target, str]) -> QualityTable:
    chosen = set(targets)
    natural = {name: seen.as_photographs_of(targets) for name, seen in measured.photographs.items()}
    judges = _judges(measured, targets, labels)
    rows, notes = [], []
    for source in measured.sources:
        seen = {name: views[source.name].of(chosen) for name, views in measured.views.items() if source.name in views}
        if not any(map(len, seen.values())):
            notes.append(f"“{source.label}” has no picture of these classes{_WHY.get(source.name, '')}.")
            continue
        there = set(seen[measured.named.name].targets)
        if len(there) < len(targets):
            notes.append(
                f"“{source.label}” has pictures of {len(there)} of {len(targets)} classes{_WHY.get(source.name, '')}."
            )
        if source.from_data(measured.named.image_shape):
            notes.append(
                f"“{source.name}” was made from natural images, or their spectrum, not from the network alone: another claim than that of "
                "the other methods. It is judged by images that it was not made to match."
            )
        paths = measured.paths.figures(source.name, source.stem, targets, labels, measured.folder)
        figures = [*_figures(measured, judges, seen, natural, labels), *paths]
        rows.append(QualityRow.of(source.name, source.kind, figures))
    paths = measured.paths.figures(NATURAL, NATURAL_STEM, targets, labels, measured.folder)
    rows.append(QualityRow.of(NATURAL, NATURAL, [*_figures(measured, judges, natural, natural, labels), *paths]))
    notes += measured.paths.notes(targets, labels)
    if not measured.verifiers:
        notes.append(
            f"No verifier was given: KID, rank, naming and coverage are in the features of {measured.named.name} itself, which made the "
            "pictures."
        )
    notes += dict.fromkeys(note for judge in judges for note in judge.notes())
    return QualityTable(title, [labels[target] for target in targets], rows, notes)


def _judges(measured: Measured, targets: Sequence[Target], labels: Mapping[Target, str]) -> list[Judge]:
    """The networks in whose features pictures are compared with photographs: verifiers, or the model itself where there is none."""
    return [
        Judge(
            network.name,
            measured.photographs[network.name],
            targets,
            labels,
            measured.classes.get(network.name) or {index: index for target in labels for index in target},
        )
        for network in measured.verifiers or [measured.named]
    ]


def _figures(
    measured: Measured,
    judges: Sequence[Judge],
    seen: Mapping[str, Seen],
    natural: Mapping[str, Seen],
    labels: Mapping[Target, str],
) -> Iterator[Figure]:
    """All figures of a row."""
    yield from own_figures(seen[measured.named.name], labels)
    for verifier in measured.verifiers:
        name = verifier.name
        yield from transfer_figures(seen[name], natural[name], verifier, measured.classes[name], labels)
    for judge in judges:
        yield from judge.figures(seen[judge.name], natural[judge.name])


__all__ = ["NATURAL_STEM", "Measured", "quality_tables"]
