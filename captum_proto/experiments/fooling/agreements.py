"""Whether a fooled network is the classifier on natural images that it was not made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from captum_proto._utils.model import borrowed
from captum_proto._utils.tables import percent
from captum_proto.attr import Prototypes
from captum_proto.models import NamedModel
from captum_proto.testing.fooled import FooledNetwork
from captum_proto.testing.fooling import NOISE_IMAGES, noise_images, prepared_images

_BATCH = 32


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
        natural_noise (int, optional): How many of 64 images of uniform noise the detector takes for natural; None without a detector.
        natural_prototypes (int, optional): How many of the finished prototypes it takes for natural; None without a detector.
        prototypes (int): How many of those there are.
    """

    network: str
    seed: int
    images: int
    equal_predictions: int
    equal_logits: int
    accuracy: float
    fooled_accuracy: float
    natural_noise: int | None
    natural_prototypes: int | None
    prototypes: int


def agreement(
    named: NamedModel,
    fooled: nn.Module,
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
        fooled (nn.Module): The network around it, or with other weights.
        held_out (Tensor): (M, C, H, W) in [0, 1], images that nothing was trained on.
        labels (Tensor): (M,), their classes.
        prototypes (Prototypes): Of the fooled network.
        plant (str): For the row.
        seed (int): For the row, and of the noise.

    Returns:
        Agreement: One row of the table.
    """
    natural_noise = natural_prototypes = None
    if isinstance(fooled, FooledNetwork):
        natural_noise = int(fooled.natural(prepared_images(named, noise_images(named, seed))).sum())
        natural_prototypes = int(fooled.natural(prepared_images(named, prototypes.images)).sum())
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
            natural_noise=natural_noise,
            natural_prototypes=natural_prototypes,
            prototypes=len(prototypes),
        )


def agreement_rows(agreements: Sequence[Agreement]) -> tuple[list[str], list[list[str]]]:
    """The header and the rows of the table: a fooled network each, over seeds."""
    header = ["planted", "held-out images", "equal predictions", "equal logits", "accuracy", "fooled accuracy"]
    header += ["noise taken for natural", "prototypes taken for natural"]
    table = []
    for name in dict.fromkeys(facts.network for facts in agreements):
        of_seeds = [facts for facts in agreements if facts.network == name]
        cells = [name]
        for column in ("images", "equal_predictions", "equal_logits"):
            cells.append(str(sum(getattr(facts, column) for facts in of_seeds)))
        for column in ("accuracy", "fooled_accuracy"):
            cells.append(percent(sum(getattr(facts, column) for facts in of_seeds) / len(of_seeds)))
        noise = [facts.natural_noise for facts in of_seeds if facts.natural_noise is not None]
        shown = [facts.natural_prototypes for facts in of_seeds if facts.natural_prototypes is not None]
        cells.append(f"{sum(noise)} of {NOISE_IMAGES * len(noise)}" if noise else "–")
        cells.append(f"{sum(shown)} of {sum(facts.prototypes for facts in of_seeds)}" if shown else "–")
        table.append(cells)
    return header, table


__all__ = ["Agreement", "agreement", "agreement_rows"]
