"""What a randomization did to maps: similarities by seed, stage and input, their intervals, and what is left between two controls."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from captum_proto._utils.checks import nearest
from captum_proto._utils.errors import InputError
from captum_proto._utils.files import alike, intact, load_tensors, save_tensors
from captum_proto._utils.tables import between, number, text_table
from captum_proto.stats.crossed import CrossedMean, crossed_mean
from captum_proto.stats.intervals import Estimate

#: The first stage: nothing is changed, and maps are exactly those before.
NOTHING = "none"
#: A similarity of maps of different inputs above this is no chance: such maps are alike whatever is shown.
MOST_CHANCE = 0.9
#: Of what there is between chance and no change: correlations from 0.3 on are no longer small by Cohen's convention ("Statistical Power
#: Analysis for the Behavioral Sciences", 1988, section 3.2).
MARGIN = 0.3
_KIND = "randomization"


@dataclass(frozen=True)
class Retained:
    """
    How much of a similarity is left, between chance and no change at all.

    Attributes:
        share (Estimate): 1 where maps are what they were, 0 where they are as alike as maps of different inputs.
        p_value (float): Of the share being ``margin``, two-sided; NaN where the data do not tell.
        margin (float): The share that the test is about.
    """

    share: Estimate
    p_value: float
    margin: float


@dataclass
class RandomizationResult:
    r"""
    How alike maps are to those before a randomization.

    Attributes:
        stages (list[str]): K + 1 names, the first "none".
        similarity (dict[str, Tensor]): By measure (S, K + 1, N), float64: of S seeds, and of N inputs each map beside that of its own input
            before. NaN where a map is constant.
        chance (dict[str, Tensor]): The same of maps of different inputs: each map beside that of another input before.
        settings (dict): What was done. JSON.
        whole (dict[str, Tensor]): By measure (N,): what the similarity is of each input where nothing is changed. Default: 1

    Examples::

        >>> same, chance = torch.ones(3, 2, 4), torch.zeros(3, 2, 4)
        >>> result = RandomizationResult(["none", "fc"], {"spearman": same}, {"spearman": chance})
        >>> result.retained("spearman").share.value
        1.0
    """

    stages: list[str]
    similarity: dict[str, Tensor]
    chance: dict[str, Tensor]
    settings: dict[str, Any] = field(default_factory=dict)
    whole: dict[str, Tensor] = field(default_factory=dict)

    @property
    def measures(self) -> list[str]:
        """The names of the similarities."""
        return list(self.similarity)

    def mean(self, measure: str, stage: int | str | None = -1) -> CrossedMean:
        """
        The mean similarity at a stage over inputs and seeds, with the error of both.

        Args:
            measure (str): A similarity.
            stage (int or str, optional): Its place or name; None: the mean over all stages but the first. Default: -1, the last

        Raises:
            ValueError: If there is no such measure or stage.
        """
        return crossed_mean(self._at(self.similarity, measure, stage))

    def chance_mean(self, measure: str, stage: int | str | None = -1) -> CrossedMean:
        """The same of maps of different inputs."""
        return crossed_mean(self._at(self.chance, measure, stage))

    def undefined(self, measure: str, stage: int | str | None = -1) -> float:
        """The share of maps at a stage that are constant, or whose counterpart is, so that they have no similarity."""
        return float(np.isnan(self._at(self.similarity, measure, stage)).mean())

    def retained(
        self, measure: str, stage: int | str | None = -1, *, margin: float = MARGIN, confidence: float = 0.95
    ) -> Retained:
        r"""
        How much of the similarity is left at a stage.

        .. math::
            r = \frac{\sum (s - c)}{\sum (1 - c)}

        with s the similarity of a map to that of its own input before, and c that to the map of another input, at most 0.9: an edge
        detector has r = 1, maps that have nothing of their input any more r = 0. Where no change has another value than 1 (``whole``),
        it takes the place of 1. That r is equal to a margin m is the linear hypothesis that the mean of :math:`s - c - m (1 - c)` is zero,
        tested over inputs and seeds (:func:`~captum_proto.stats.crossed.crossed_mean`).

        Args:
            measure (str): A similarity.
            stage (int or str, optional): Its place or name; None: the mean over all stages but the first. Default: -1, the last
            margin (float, optional): The share that is tested, between 0 and 1. Default: 0.3
            confidence (float, optional): Of the interval. Default: 0.95

        Returns:
            Retained: With NaN where there is a single input, no map has a similarity, or chance gives no less than no change.

        Raises:
            ValueError: If there is no such measure or stage, or ``margin`` is out of its range.
        """
        if not 0 < margin < 1:
            raise InputError(f"margin is {margin}; expected between 0 and 1, such as 0.3.")
        own, chance = self._at(self.similarity, measure, stage), self._at(self.chance, measure, stage)
        whole = np.broadcast_to(
            np.asarray(self.whole.get(measure, torch.ones(own.shape[1])), dtype=np.float64), own.shape
        )
        chance = np.where(whole > 0, np.minimum(chance, MOST_CHANCE * whole), chance)
        there = ~np.isnan(own) & ~np.isnan(chance) & ~np.isnan(whole)
        own, chance, whole = (np.where(there, values, np.nan) for values in (own, chance, whole))
        room = float(np.nanmean(whole - chance)) if there.any() else 0.0
        if room <= 0:
            return Retained(Estimate(math.nan, math.nan, math.nan), math.nan, margin)
        if bool((own[there] == whole[there]).all()):
            spread = CrossedMean(1.0, 0.0 if there.sum() > 1 else math.nan, math.inf)  # exactly, whatever chance gives
        else:
            share = float(np.nanmean(own - chance)) / room
            around = crossed_mean(own - chance - share * (whole - chance))
            spread = CrossedMean(share, around.error / room, around.freedom)
        test = crossed_mean(own - chance - margin * (whole - chance))
        return Retained(spread.estimate(confidence), test.p_value(), margin)

    def table(self, measure: str | None = None) -> str:
        """
        The mean similarity at each stage as text, with 95 % intervals over inputs and seeds.

        Args:
            measure (str, optional): A similarity. Default: None, all
        """
        names = self.measures if measure is None else [measure]
        rows = []
        for place, stage in enumerate(self.stages):
            cells = [stage]
            for name in names:
                mean = self.mean(name, place).estimate()
                cells += [number(mean.value), between((mean.low, mean.high))]
            rows.append(cells)
        return text_table(["stage", *(cell for name in names for cell in (name, "95 %"))], rows)

    def content(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything, as tensors and as what JSON can hold."""
        parts = {"similarity": self.similarity, "chance": self.chance, "whole": self.whole}
        tensors = {f"{part}.{name}": values for part, by_name in parts.items() for name, values in by_name.items()}
        return tensors, {"stages": self.stages, "measures": self.measures, "settings": self.settings}

    @classmethod
    def of_content(cls, tensors: dict[str, Tensor], content: dict[str, Any]) -> RandomizationResult:
        """
        From what :meth:`content` gave.

        Raises:
            LookupError, ValueError: If a part is missing, or does not fit the others.
        """
        names = content["measures"]
        similarity, chance = ({name: tensors[f"{part}.{name}"] for name in names} for part in ("similarity", "chance"))
        whole = {name: tensors[f"whole.{name}"] for name in names if f"whole.{name}" in tensors}
        alike(
            "stages", len(content["stages"]), *(values.shape[1] for values in (*similarity.values(), *chance.values()))
        )
        alike("inputs", *(values.shape[-1] for values in tensors.values()))
        return cls(content["stages"], similarity, chance, content["settings"], whole)

    def save(self, path: str | os.PathLike[str], overwrite: bool = False) -> None:
        """Write everything into one safetensors file."""
        save_tensors(path, _KIND, *self.content(), overwrite=overwrite)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> RandomizationResult:
        """
        What :meth:`save` wrote.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it holds something else.
        """
        tensors, content = load_tensors(path, _KIND)
        with intact(path, _KIND):
            return cls.of_content(tensors, content)

    def _at(self, values: dict[str, Tensor], measure: str, stage: int | str | None) -> np.ndarray:
        if measure not in values:
            raise InputError(f'there is no similarity "{measure}" here{nearest(str(measure), values) or "."}')
        if stage is None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of a map that is constant at each stage there is no mean
                return np.asarray(np.nanmean(values[measure][:, 1:].numpy(), 1), dtype=np.float64)
        if isinstance(stage, str):
            if stage not in self.stages:
                raise InputError(f'there is no stage "{stage}"{nearest(stage, self.stages) or "."}')
            stage = self.stages.index(stage)
        if not -len(self.stages) <= stage < len(self.stages):
            raise InputError(f"stage is {stage}; there are {len(self.stages)}, the first of them with nothing changed.")
        return np.asarray(values[measure][:, stage].numpy(), dtype=np.float64)


def gather(
    stages: Sequence[str],
    found: Sequence[Sequence[tuple[dict[str, Tensor], dict[str, Tensor]]]],
    settings: dict[str, Any],
) -> RandomizationResult:
    """Similarities and those by chance, of each seed and stage, as one result."""
    measures = list(found[0][0][0])
    own, other = (
        {name: torch.stack([torch.stack([at[part][name] for at in of_seed]) for of_seed in found]) for name in measures}
        for part in (0, 1)
    )
    return RandomizationResult(list(stages), own, other, settings)


__all__ = ["MARGIN", "MOST_CHANCE", "NOTHING", "RandomizationResult", "Retained", "gather"]
