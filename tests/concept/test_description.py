"""Descriptions of units: the generic word without the prior, the planted one with it; and models that say no numbers are told."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from captum_proto._utils.errors import InputError
from captum_proto.concept import Exemplars, NeuronDescriber, exemplars_of, firing_on
from captum_proto.features import TopExamples
from captum_proto.testing import COLOR_TERMS, PlantedNetwork, ShapeDataset

SIZE = (40, 40)


class Attributes:
    """A captioner and language model in closed form: of shapes that are or are not of a color, from the pixels where a unit fires."""

    texts = ("a shape", *(f"a {color} shape" for color in COLOR_TERMS))

    def describe(self, images: Tensor, masks: Tensor, beam: int) -> tuple[Sequence[str], Tensor]:
        pixels = images.permute(0, 2, 3, 1)[masks]
        colors = torch.tensor(list(COLOR_TERMS.values()))
        share = (torch.cdist(pixels, colors) < 0.01).float().mean(0)
        # Nine in ten say "a shape" whatever it is; a color is named as often as it is there, by every second of the others.
        return self.texts[:beam], torch.cat([torch.tensor([0.9]), 0.05 * share + 1e-4]).log()

    def log_probability(self, texts: Sequence[str]) -> Tensor:
        return torch.tensor([math.log(0.9 if text == "a shape" else 1e-7) for text in texts])


@pytest.fixture(scope="module")
def exemplars() -> list[Exemplars]:
    """Of the eleven units of a network that fire at colors, found as those of any network are."""
    dataset = ShapeDataset(150, size=40, radius=(0.2, 0.2), drawn={"texture": ["plain"]}, seed=6)
    network = PlantedNetwork(8)
    examples = TopExamples(network, ["exact"], k=15, quantiles=(0.95,), receptive_fields=False).fit(
        torch.cat(list(dataset.image_batches(SIZE)))
    )["exact"]
    return [
        exemplars_of(network, examples, unit, lambda number: dataset.image(number, SIZE), 0.95) for unit in range(11)
    ]


def test_without_the_prior_every_unit_is_a_shape(exemplars: list[Exemplars]) -> None:
    found = NeuronDescriber(Attributes(), weight=0.0).interpret(exemplars)
    assert {each.text for each in found} == {"a shape"}
    assert {each.prior for each in found} == {0.0}


@pytest.mark.parametrize("weight", [0.2, 0.5, 1.0])
def test_with_it_units_are_what_was_planted(exemplars: list[Exemplars], weight: float) -> None:
    found = NeuronDescriber(Attributes(), Attributes(), weight).interpret(exemplars)
    right = [each.text == f"a {color} shape" for each, color in zip(found, COLOR_TERMS, strict=True)]
    assert sum(right) >= 0.95 * len(right)
    for each in found:
        assert each.score == pytest.approx(each.given - weight * each.prior)
        assert each.others[0] == (each.text, each.score)
        assert [score for _, score in each.others] == sorted((score for _, score in each.others), reverse=True)


def test_exemplars_are_the_top_images_where_the_unit_fires(exemplars: list[Exemplars]) -> None:
    for each, color in zip(exemplars, COLOR_TERMS.values(), strict=True):
        assert (each.images.shape, each.masks.shape, len(each)) == ((15, 3, *SIZE), (15, *SIZE), 15)
        assert each.masks.any()
        pixels = each.images.permute(0, 2, 3, 1)[each.masks]
        torch.testing.assert_close(pixels, torch.tensor(color).expand_as(pixels), atol=0.01, rtol=0)


class Given:
    def __init__(self, texts: Sequence[str], values: Sequence[float]) -> None:
        self.texts, self.values = list(texts), torch.tensor(values)

    def describe(self, images: Tensor, masks: Tensor, beam: int) -> tuple[Sequence[str], Tensor]:
        return self.texts, self.values

    def log_probability(self, texts: Sequence[str]) -> Tensor:
        return self.values[: len(texts)]


ONE = [Exemplars(3, torch.rand(2, 3, 8, 8), torch.ones(2, 8, 8, dtype=torch.bool))]


@pytest.mark.parametrize(
    ("captioner", "sentence"),
    [
        (
            Given(["a", "b"], [-1.0, math.nan]),
            "the captioner gives nan for text 1 of unit 3; expected the logarithm of a probability",
        ),
        (Given(["a"], [0.5]), r"the captioner gives 0\.5 for text 0 of unit 3"),
        (Given([], []), "the captioner has no description of unit 3"),
        (Given(["a", "a"], [-1.0, -2.0]), 'the captioner gives "a" twice for unit 3'),
        (Given(["a", "b"], [-1.0]), r"the captioner gives shape \(1,\) for 2 texts of unit 3"),
    ],
)
def test_a_captioner_that_says_no_probability_is_told(captioner: Given, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        NeuronDescriber(captioner, weight=0.0).interpret(ONE)


def test_what_was_finished_is_not_lost() -> None:
    units = [*ONE, Exemplars(4, torch.rand(0, 3, 8, 8), torch.ones(0, 8, 8, dtype=torch.bool))]

    class Empty(Given):
        def describe(self, images: Tensor, masks: Tensor, beam: int) -> tuple[Sequence[str], Tensor]:
            return self.texts, self.values if len(images) else self.values * math.nan

    described = NeuronDescriber(Empty(["a"], [-1.0]), weight=0.0).each(units)
    assert next(described).unit == 3
    with pytest.raises(InputError, match="of unit 4"):
        next(described)
    impossible = NeuronDescriber(Given(["a", "b"], [-math.inf, -2.0]), weight=0.0).interpret(ONE)
    assert impossible[0].text == "b"


def test_a_language_model_that_says_no_probability_is_told() -> None:
    with pytest.raises(InputError, match="the language model gives nan for text 0 of unit 3"):
        NeuronDescriber(Given(["a"], [-1.0]), Given([], [math.nan])).interpret(ONE)


def test_bad_arguments() -> None:
    good = Given(["a"], [-1.0])
    for arguments, error, sentence in (
        ((good,), InputError, r"weight is 0\.2, but language_model is None"),
        ((good, good, -1.0), InputError, "weight is -1.0"),
        ((good, good, 0.2, 0), InputError, "beam is 0"),
        ((object(), good), TypeError, "captioner is a object, which has no method describe"),
        ((good, object()), TypeError, "language_model is a object, which has no method log_probability"),
    ):
        with pytest.raises(error, match=sentence):
            NeuronDescriber(*arguments)  # type: ignore[arg-type]
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten())
    with pytest.raises(InputError, match="expected a map with a unit 4"):
        firing_on(model, "0", 4, 0.0, torch.rand(1, 3, 8, 8))
    with pytest.raises(InputError, match="expected a map with a unit 0"):
        firing_on(model, "1", 0, 0.0, torch.rand(1, 3, 8, 8))
    examples = TopExamples(model, ["0"], k=2).fit(torch.rand(4, 3, 8, 8))["0"]
    with pytest.raises(InputError, match=r"the examples have the quantiles \[0\.99, 0\.995\], and not 0\.5"):
        exemplars_of(model, examples, 0, lambda number: torch.rand(3, 8, 8), 0.5)
    with pytest.raises(InputError, match="there is no unit 9"):
        exemplars_of(model, examples, 9, lambda number: torch.rand(3, 8, 8))
