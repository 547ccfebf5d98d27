"""The page of the comparison of directions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from captum_proto._utils.tables import between, number, p_equals
from captum_proto.experiments.direction_agreement.measure import BASIS, RANDOM
from captum_proto.experiments.direction_agreement.results import FLOOR, NEAREST, DirectionAgreement
from captum_proto.report.blocks import Files, Paragraphs, Picture, Pictures, Table
from captum_proto.report.page import Page, Section

_LEGEND = [
    "Agreement: the mean cosine between the images that go furthest in a direction, in the features of another network, the judge.",
    "Basis: the layer's own channels. Random: orthonormal directions drawn at random; each point is the mean of a whole frame of them.",
    "PCA and NMF: principal components and factors of non-negative factorization, fitted to other images than those that score them.",
]


def conclusion(result: DirectionAgreement) -> list[str]:
    """A sentence for each layer: how the channels stand to random directions."""
    sentences = []
    for layer in result.layers:
        basis, random = result.of(layer, BASIS), result.of(layer, RANDOM)
        told = basis.order.told(
            "channels agree more than random directions do", "channels agree less than random directions do"
        )
        sentences.append(
            f'In "{layer}" the images of a channel agree by {number(basis.mean.value)} on average, those of a random direction by '
            f"{number(random.mean.value)}: {told} (p {p_equals(basis.p_value)} among random frames; difference "
            f"{number(basis.difference.value)}, interval {between((basis.difference.low, basis.difference.high))})."
        )
    return sentences


def directions_page(result: DirectionAgreement, provenance: dict[str, Any], failures: Sequence[str] = ()) -> Page:
    """
    What the page of the comparison says.

    Args:
        result (DirectionAgreement): What was found.
        provenance (dict): What is recorded of the run.
        failures (sequence of str, optional): What was warned of. Default: nothing

    Returns:
        Page: Its paths are relative to the folder of the run.
    """
    floor, ceiling = result.controls[FLOOR], result.controls[NEAREST]
    header, rows = result.rows()
    caption = (
        f"{result.k} images of {result.images} for each direction. Intervals of means are by bootstrap over directions, of random kinds "
        "over frames; of differences by Welch's t over directions. p: how often a random frame as a whole is as far from the random mean "
        "as the basis is."
    )
    sections = [
        Section(
            "Agreement",
            [
                Table(header, rows, caption, brief=[0, 1, 3, 4, 8]),
                Files(["agreement.csv", "directions.csv", "summary.txt", "results.json", "agreement.svg"]),
            ],
        ),
        Section(
            "Images of some directions, drawn at random",
            [
                Paragraphs(
                    ["Two directions of each kind; the number is their agreement. None was chosen by its images."]
                ),
                Pictures(
                    [
                        Picture(
                            f"images_{number:02d}.png",
                            f'Images that go furthest in directions of "{layer}".',
                            small=False,
                        )
                        for number, layer in enumerate(result.layers)
                    ]
                ),
            ],
        ),
    ]
    trust = (
        f"Images drawn at random agree by {number(floor.value)} and the nearest images there are by {number(ceiling.value)}: between "
        "these two lies what a direction can reach with these images and this judge."
    )
    judge = provenance.get("judge", {}).get("name", "another network")
    return Page(
        f"Directions of {provenance.get('model', {}).get('name', 'a model')}",
        [f"How well do the images of a direction agree, as {judge} sees them?", *conclusion(result)],
        sections,
        provenance,
        list(failures),
        lead=[Pictures([Picture("agreement.png", "Agreement of each direction, by kind and layer.", small=False)])],
        legend=_LEGEND,
        trust=trust,
    )


__all__ = ["conclusion", "directions_page"]
