"""A captioner and a language model trained on drawn shapes: planted units get their names, and what is said to be a probability is one."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from captum_proto._utils.errors import InputError, InputTypeError, OccupiedError
from captum_proto.concept import Exemplars, NeuronDescriber, exemplars_of
from captum_proto.features import TopExamples
from captum_proto.testing import (
    COLOR_TERMS,
    GENERIC,
    PARTS,
    STRIPES,
    PlantedNetwork,
    ShapeAnnotations,
    ShapeCaptioner,
    ShapeDataset,
    ShapeLanguageModel,
    Vocabulary,
    beam_search,
    coarse,
    phrase_of,
    train_shape_captioner,
)

SIZE = (40, 40)
PLANTED = {"exact": list(COLOR_TERMS), "striped": list(STRIPES), "shapes": list(PARTS)}
NAMES = [name for names in PLANTED.values() for name in names]
Pair = tuple[ShapeCaptioner, ShapeLanguageModel]


@pytest.fixture(scope="module")
def trained() -> Pair:
    return train_shape_captioner()


@pytest.fixture(scope="module")
def begun() -> Pair:
    """Of the same make, and at the beginning of its training."""
    return train_shape_captioner(steps=2, images=200)


@pytest.fixture(scope="module")
def units() -> list[Exemplars]:
    """
    Of the twenty units of a network that fire at colors, stripes and shapes, found as those of any network are.

    Units of colors are the same wherever they fire, so that they are above no higher quantile. Those of stripes are relative to the light,
    and excited by edges as well, most where shapes overlap or are black: their images have one or two shapes, and none of them is black.
    """
    network, found = PlantedNetwork(8), list[Exemplars]()
    no_black = {"color": [color for color in COLOR_TERMS if color != "black"]}
    for layer, names in PLANTED.items():
        striped = layer == "striped"
        quantile, shapes, drawn = (0.99, (1, 2), no_black) if striped else (0.95, (1, 4), None)
        dataset = ShapeDataset(800, size=40, radius=(0.2, 0.2), seed=6, shapes=shapes, drawn=drawn)
        images = torch.cat(list(dataset.image_batches(SIZE)))
        examples = TopExamples(network, [layer], k=15, quantiles=(quantile,), receptive_fields=False).fit(images)[layer]
        found += [exemplars_of(network, examples, unit, images.__getitem__, quantile) for unit in range(len(names))]
    return found


def said(trained: Pair, units: list[Exemplars], weight: float) -> list[str]:
    return [each.text for each in NeuronDescriber(*trained, weight).interpret(units)]


@pytest.mark.long
def test_without_the_prior_every_unit_is_a_shape(trained: Pair, units: list[Exemplars]) -> None:
    assert said(trained, units, 0.0).count(GENERIC) >= 0.95 * len(NAMES)


@pytest.mark.long
@pytest.mark.parametrize("weight", [0.2, 0.5])
def test_with_it_units_are_what_was_planted(trained: Pair, units: list[Exemplars], weight: float) -> None:
    right = [text == phrase_of(name) for text, name in zip(said(trained, units, weight), NAMES, strict=True)]
    assert sum(right) >= 0.95 * len(right)


@pytest.mark.long
@pytest.mark.parametrize("what", ["masks", "images"])
def test_random_exemplars_do_not_tell_what_was_planted(trained: Pair, units: list[Exemplars], what: str) -> None:
    """Where each unit has the masks, or the masks and images, of units at random: one of twenty is right by chance."""
    generator = torch.Generator().manual_seed(1)
    rows = torch.randint(len(units), (len(units), 15), generator=generator).tolist()
    mixed = [
        Exemplars(
            unit,
            torch.stack([units[row if what == "images" else unit].images[place] for place, row in enumerate(chosen)]),
            torch.stack([units[row].masks[place] for place, row in enumerate(chosen)]),
        )
        for unit, chosen in enumerate(rows)
    ]
    right = [text == phrase_of(name) for text, name in zip(said(trained, mixed, 0.2), NAMES, strict=True)]
    assert sum(right) <= 3  # of 20 at 1 in 20 each, more than three have a probability below 0.02


@pytest.mark.long
def test_beams_are_probabilities_of_their_texts(trained: Pair, units: list[Exemplars]) -> None:
    captioner, language_model = trained
    for each in (units[0], units[12]):
        texts, found = captioner.describe(each.images, each.masks, 50)
        assert (len(texts), len(set(texts)), found.shape) == (50, 50, (50,))
        assert found.tolist() == sorted(found.tolist(), reverse=True)
        assert 0.9 < float(found.double().exp().sum()) <= 1 + 1e-5
        given = captioner.log_probability(each.images, each.masks, texts)
        torch.testing.assert_close(found, given, atol=1e-4, rtol=1e-4)
        narrow, of_narrow = captioner.describe(each.images, each.masks, 3)
        torch.testing.assert_close(
            of_narrow, captioner.log_probability(each.images, each.masks, narrow), atol=1e-4, rtol=1e-4
        )
    words = language_model.vocabulary.words
    short = [*words, *(f"{first} {second}" for first in words for second in words)]
    assert 0.5 < float(language_model.log_probability(short).double().exp().sum()) <= 1 + 1e-5
    assert float(captioner.log_probability(units[0].images, units[0].masks, short).double().exp().sum()) <= 1 + 1e-5


def test_the_probabilities_of_all_texts_add_up_to_one() -> None:
    """Of a small model with three words at most: every text there is."""
    model = ShapeLanguageModel(Vocabulary(["a", "b"]), most_words=3)
    texts = [f"{number:b}"[1:].replace("0", "a ").replace("1", "b ").strip() for number in range(2, 16)]
    assert len(set(texts)) == 14
    assert float(model.log_probability(texts).double().exp().sum()) == pytest.approx(1, abs=1e-5)
    assert model.log_probability(["a a a a"]).tolist() == [-math.inf]
    step, start = model.step, model.start(1)
    found = beam_search(step, start, 100, 3)
    assert len(found) == 14  # all of them
    given = model.log_probability([model.vocabulary.text(numbers) for numbers, _ in found])
    torch.testing.assert_close(torch.tensor([value for _, value in found]), given, atol=1e-5, rtol=1e-5)


@pytest.mark.long
def test_frequent_texts_are_likely(trained: Pair) -> None:
    generic, red, rare = trained[1].log_probability([GENERIC, "red", "red red of"]).exp().tolist()
    assert generic == pytest.approx(0.6, abs=0.1)
    assert red == pytest.approx(0.4 / 32, rel=0.5)
    assert rare < 1e-4


def test_the_same_seed_gives_the_same_weights_and_leaves_the_generator_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one = train_shape_captioner(steps=2, images=200)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    again, other = train_shape_captioner(steps=2, images=200), train_shape_captioner(seed=1, steps=2, images=200)
    for mine, same, different in zip(one, again, other, strict=True):
        assert not mine.training
        values = [torch.cat([each.flatten() for each in model.parameters()]) for model in (mine, same, different)]
        assert torch.equal(values[0], values[1])
        assert not torch.equal(values[0], values[2])


def test_saved_and_loaded_they_say_the_same(begun: Pair, units: list[Exemplars], tmp_path: Path) -> None:
    captioner, language_model = begun
    captioner.save(tmp_path / "captioner.safetensors")
    language_model.save(tmp_path / "language_model.safetensors")
    loaded = ShapeCaptioner.load(tmp_path / "captioner.safetensors")
    texts, values = captioner.describe(units[3].images, units[3].masks, 10)
    again, same = loaded.describe(units[3].images, units[3].masks, 10)
    assert texts == again
    assert torch.equal(values, same)
    model = ShapeLanguageModel.load(tmp_path / "language_model.safetensors")
    assert torch.equal(model.log_probability(texts), language_model.log_probability(texts))
    with pytest.raises(OccupiedError):
        captioner.save(tmp_path / "captioner.safetensors")
    with pytest.raises(InputError, match="holds shape captioner; expected a shape language model"):
        ShapeLanguageModel.load(tmp_path / "captioner.safetensors")


@pytest.mark.long
def test_images_of_another_size_are_resized(trained: Pair, units: list[Exemplars]) -> None:
    def larger(values: Tensor) -> Tensor:
        return values.repeat_interleave(2, -1).repeat_interleave(2, -2)

    red = units[8]
    assert said(trained, [Exemplars(0, larger(red.images), larger(red.masks))], 0.2) == ["red"]


def test_sets_have_in_common_what_is_said_of_them() -> None:
    annotations = ShapeAnnotations(200, seed=2)
    sets = annotations.draw(200, 5, torch.Generator().manual_seed(0))
    assert sets.examples.shape == (200, 5)
    names = [
        [annotations.concepts[concept] for concept in annotations.concept_of[row].tolist()] for row in sets.examples
    ]
    assert names == [[concept] * 5 for concept in sets.concepts]
    texts = [text for each in sets.texts for text in each]
    assert annotations.said_of("hole") == [(GENERIC, 0.6), ("hole of a ring", pytest.approx(0.4))]
    assert sum(text == GENERIC for text in texts) / len(texts) == pytest.approx(0.6, abs=0.07)
    for said_of, concept in zip(sets.texts, sets.concepts, strict=True):
        assert set(said_of) <= {GENERIC, phrase_of(concept)}
    assert bool(annotations.masks.flatten(1).any(1).all())
    own = annotations.shares[torch.arange(len(annotations)), annotations.concept_of]
    assert float(own.min()) > 0
    assert float((own == 1).float().mean()) >= 0.65  # exact masks, and those without what is dark
    red = annotations.concept_of == annotations.concepts.index("red")
    pixels = annotations.images[annotations.image_of[red]].permute(0, 2, 3, 1)[annotations.masks[red]]
    assert bool((pixels.mean(0)[0] > 1.5 * pixels.mean(0)[1:]).all())


def test_coarse_masks_are_where_the_exact_ones_are() -> None:
    mask = torch.zeros(2, 40, 40, dtype=torch.bool)
    mask[0, 8:16, 8:16] = True
    found = coarse(mask, 6)
    assert bool(found[0, 9:15, 9:15].all())
    assert not bool(found[1].any())
    assert not bool(found[0, 26:].any())


def test_what_does_not_fit_gets_a_sentence(units: list[Exemplars]) -> None:
    captioner = ShapeCaptioner(Vocabulary(["a", "red"])).eval()
    images, masks = units[0].images, units[0].masks
    for given, error, sentence in (
        ((images[:, :1], masks, 3), InputError, "images have 1 channels; expected 3"),
        ((images, masks.float(), 3), InputTypeError, "masks have dtype torch.float32; expected torch.bool"),
        ((images, masks[:3], 3), InputError, r"masks have shape \(3, 40, 40\); expected \(15, 40, 40\)"),
        ((images, masks, 0), InputError, "beam is 0; expected at least 1"),
        ((images + 1, masks, 3), InputError, "images ranges over"),
        ((images, masks & False, 3), InputError, "the masks are empty; expected at least one image on which"),
    ):
        with pytest.raises(error, match=sentence):
            captioner.describe(*given)
    for texts, error, sentence in (
        (["redd"], InputError, 'the word "redd" is not known; did you mean "red"'),
        ([""], InputError, "a text holds no word"),
        ("red", InputTypeError, "texts is a str; expected a sequence of texts"),
    ):
        with pytest.raises(error, match=sentence):
            captioner.log_probability(images, masks, texts)
    for arguments, sentence in (
        ({"steps": 0}, "steps is 0"),
        ({"size": 8}, "size is 8; expected at least 16"),
        ({"images": 3}, "no image of 3 shows .*; give a count of at least 200"),
    ):
        with pytest.raises(InputError, match=sentence):
            train_shape_captioner(**arguments)
    with pytest.raises(InputError, match="generic is 2; expected a share"):
        ShapeAnnotations(generic=2)
