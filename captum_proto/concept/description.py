"""Descriptions of units in words that say what they are for and not what everything is (MILAN; Hernandez et al., arXiv:2201.11114)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from tqdm.auto import tqdm

from captum_proto._utils.checks import check_int
from captum_proto._utils.errors import InputError, InputTypeError
from captum_proto.concept.exemplars import Exemplars


class Captioner(Protocol):
    """What says how likely descriptions are, given what excites a unit."""

    def describe(self, images: Tensor, masks: Tensor, beam: int) -> tuple[Sequence[str], Tensor]:
        """
        The likeliest descriptions.

        Args:
            images (Tensor): (k, C, H, W) in [0, 1].
            masks (Tensor): (k, H, W), bool: where the unit fires.
            beam (int): How many descriptions are wanted.

        Returns:
            tuple[sequence of str, Tensor]: Different texts, at most so many, and the logarithm of the probability of each.
        """
        ...


class LanguageModel(Protocol):
    """What says how likely descriptions are by themselves."""

    def log_probability(self, texts: Sequence[str]) -> Tensor:
        """
        Args:
            texts (sequence of str): T of them.

        Returns:
            Tensor: (T,), the logarithm of the probability of each.
        """
        ...


@dataclass(frozen=True)
class Description:
    """
    What a unit is for, in words.

    Attributes:
        unit (int): Its channel.
        text (str): The description of the highest score.
        score (float): log p(d | E) − λ log p(d).
        given (float): log p(d | E), how well it fits what excites the unit.
        prior (float): log p(d), how common such a description is; 0 without a language model.
        others (list[tuple[str, float]]): All that were weighed, with their scores, the best first.
    """

    unit: int
    text: str
    score: float
    given: float
    prior: float
    others: list[tuple[str, float]]


class NeuronDescriber:
    r"""
    Describe units by pointwise mutual information of descriptions and exemplars.

    .. math::
        \hat d = \arg\max_d\ \log p(d \mid E) - \lambda \log p(d)

    over the likeliest ``beam`` descriptions of a captioner. With :math:`\lambda = 0` the likeliest wins, which is what can be said of most
    images ("a shape"); what is left with λ is what is said of these more than of others.

    Args:
        captioner (Captioner): p(d | E).
        language_model (LanguageModel, optional): p(d). Default: None, for ``weight=0``
        weight (float, optional): λ. Default: 0.2
        beam (int, optional): How many descriptions are weighed. Default: 50

    Raises:
        ValueError: If ``weight`` is negative or not finite, or needs a language model.
        TypeError: If one of the models has not the method that it needs.

    Examples::

        >>> class Two:
        ...     def describe(self, images, masks, beam):
        ...         return ["a shape", "a red shape"], torch.tensor([-1.0, -2.0])
        ...     def log_probability(self, texts):
        ...         return torch.tensor([{"a shape": -0.5, "a red shape": -8.0}[text] for text in texts])
        >>> exemplars = [Exemplars(7, torch.rand(3, 3, 8, 8), torch.ones(3, 8, 8, dtype=torch.bool))]
        >>> [NeuronDescriber(Two(), Two(), weight).interpret(exemplars)[0].text for weight in (0.0, 0.2)]
        ['a shape', 'a red shape']
    """

    def __init__(
        self,
        captioner: Captioner,
        language_model: LanguageModel | None = None,
        weight: float = 0.2,
        beam: int = 50,
    ) -> None:
        for name, model, method in (
            ("captioner", captioner, "describe"),
            ("language_model", language_model, "log_probability"),
        ):
            if model is not None and not callable(getattr(model, method, None)):
                raise InputTypeError(f"{name} is a {type(model).__name__}, which has no method {method}.")
        if not 0 <= weight < float("inf"):
            raise InputError(f"weight is {weight}; expected a finite number, at least 0.")
        if weight and language_model is None:
            raise InputError(
                f"weight is {weight}, but language_model is None, which says how common texts are; give one, or weight=0."
            )
        self.captioner, self.language_model = captioner, language_model
        self.weight, self.beam = float(weight), check_int(beam, "beam", 1)

    def interpret(self, exemplars: Iterable[Exemplars], show_progress: bool = False) -> list[Description]:
        """
        Describe several units.

        Args:
            exemplars (iterable of Exemplars): Of each unit.
            show_progress (bool, optional): Whether to show a progress bar. Default: False

        Raises:
            ValueError: If a model gives no text, a text twice, or a logarithm that is no number; says of which unit. To keep what was
                finished before, take units one by one with :meth:`describe`.
        """
        return list(self.each(exemplars, show_progress))

    def each(self, exemplars: Iterable[Exemplars], show_progress: bool = False) -> Iterator[Description]:
        """The same, one by one as they are finished."""
        for unit in tqdm(exemplars, desc="descriptions", unit="unit", disable=not show_progress):
            yield self.describe(unit)

    def describe(self, exemplars: Exemplars) -> Description:
        """
        Describe one unit.

        Args:
            exemplars (Exemplars): Of the unit.
        """
        with torch.no_grad():
            texts, given = self.captioner.describe(exemplars.images, exemplars.masks, self.beam)
            texts = [str(text) for text in texts][: self.beam]
            given = self._checked(given, len(texts), "captioner", exemplars.unit)[: self.beam]
            if not texts:
                raise InputError(
                    f"the captioner has no description of unit {exemplars.unit}; expected at least one text."
                )
            if len(set(texts)) < len(texts):
                twice = next(text for text in texts if texts.count(text) > 1)
                raise InputError(
                    f'the captioner gives "{twice}" twice for unit {exemplars.unit}; expected different texts.'
                )
            prior = torch.zeros(len(texts), dtype=torch.float64)
            if self.language_model is not None:
                prior = self._checked(
                    self.language_model.log_probability(texts), len(texts), "language model", exemplars.unit
                )
        scores = given - self.weight * prior
        order = scores.argsort(descending=True, stable=True).tolist()
        best = order[0]
        return Description(
            exemplars.unit,
            texts[best],
            float(scores[best]),
            float(given[best]),
            float(prior[best]),
            [(texts[place], float(scores[place])) for place in order],
        )

    @staticmethod
    def _checked(values: Any, count: int, what: str, unit: int) -> Tensor:
        """Logarithms of probabilities, as many as texts; minus infinity is one."""
        found = torch.as_tensor(values).detach().cpu().double()
        if found.dim() != 1 or len(found) < count:
            raise InputError(
                f"the {what} gives shape {tuple(found.shape)} for {count} texts of unit {unit}; expected one number each."
            )
        if bool(found.isnan().any()) or bool((found > 1e-6).any()):
            place = int((found.isnan() | (found > 1e-6)).nonzero()[0, 0])
            raise InputError(
                f"the {what} gives {float(found[place])} for text {place} of unit {unit}; expected the logarithm of a probability, at most "
                "0."
            )
        return found


__all__ = ["Captioner", "Description", "LanguageModel", "NeuronDescriber"]
