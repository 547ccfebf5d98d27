"""A unit that answers to a shape and to its word is planted in a network of two towers, and found; others are not."""

from __future__ import annotations

import copy

import pytest
import torch

from captum_proto._utils.errors import InputError
from captum_proto.features.multimodal import (
    image_directions,
    multimodal_units,
    text_examples,
    visualize_texts,
)
from captum_proto.models import PooledFeatures
from captum_proto.models.two_tower import TwoTower
from captum_proto.optim import Direction, visualize
from captum_proto.testing.captioned_shapes import SHAPES, CaptionedShapes, caption_of, captioned_shapes
from captum_proto.testing.two_tower import train_two_tower, with_concept_units

TEXTS = [caption_of(shape, None, None).replace("None ", "") for shape in SHAPES] + [
    f"the word {shape}" for shape in SHAPES
]


@pytest.fixture(scope="module")
def tower() -> TwoTower:
    """Its first four units answer to a shape each, drawn or written."""
    return with_concept_units(train_two_tower(captioned_shapes(2000)))


@pytest.fixture(scope="module")
def unseen() -> CaptionedShapes:
    return captioned_shapes(500, seed=1)


@pytest.fixture(scope="module")
def scores(tower, unseen) -> torch.Tensor:
    return PooledFeatures(tower, "image_tower.9")(unseen.images)


def says(text: str, concept: int) -> bool:
    return SHAPES[concept] in text


def test_planted_units_are_found_with_the_text_of_their_concept(tower, unseen, scores):
    texts = [each[0] for each in text_examples(tower, torch.eye(16), TEXTS, 1).texts]
    found = multimodal_units(scores, unseen.drawn, unseen.written, nearest_texts=texts, says=says)
    planted = {(each.unit, each.concept) for each in found if each.unit < 4}
    assert planted <= {(unit, unit) for unit in range(4)}
    assert planted >= {(1, 1), (2, 2)}
    for each in found:
        assert each.unit >= 4 or says(each.text or "", each.concept)
        assert min(each.drawn, each.written) > 0.3


def test_a_unit_that_only_sees_and_one_that_only_reads_are_not_found(unseen):
    sees, reads, both = unseen.drawn[:, :1], unseen.written[:, :1], unseen.drawn[:, :1] | unseen.written[:, :1]
    generator = torch.Generator().manual_seed(0)
    noise = 0.1 * torch.rand(len(unseen), 3, generator=generator)
    found = multimodal_units(torch.cat([sees, reads, both], 1) + noise, unseen.drawn, unseen.written)
    assert [(each.unit, each.concept) for each in found] == [(2, 0)]


def test_random_units_and_permuted_captions_find_nothing(unseen, scores):
    generator = torch.Generator().manual_seed(0)
    assert not multimodal_units(torch.randn(len(unseen), 16, generator=generator), unseen.drawn, unseen.written)
    order = torch.randperm(len(unseen), generator=generator)
    assert not multimodal_units(scores, unseen.drawn[order], unseen.written[order])


def test_images_that_hold_a_concept_both_ways_prove_nothing():
    drawn, written = torch.zeros(100, 1, dtype=torch.bool), torch.zeros(100, 1, dtype=torch.bool)
    drawn[:20], written[:20] = True, True
    drawn[20:25], written[95:] = True, True
    scores = torch.zeros(100, 1)
    scores[:20] = 1.0
    scores[20:25] = 0.5
    assert not multimodal_units(scores, drawn, written)


def test_the_text_of_a_direction_is_the_nearest_by_the_cosine(tower):
    vectors = torch.nn.functional.normalize(tower.text(TEXTS).double(), dim=1)
    vectors = torch.nn.functional.normalize(vectors - vectors.mean(0), dim=1)
    found = text_examples(tower, torch.eye(16)[:4], TEXTS, k=3)
    expected = vectors.T[:4].topk(3, dim=1)
    assert torch.allclose(found.scores, expected.values)
    assert torch.equal(found.indices, expected.indices)
    for unit, shape in enumerate(SHAPES):
        assert shape in found.texts[unit][0]


def test_a_hidden_unit_gets_texts_by_where_its_images_lie(tower, unseen):
    embedded = tower.image(unseen.images)
    of_rings = (unseen.written[:, 2] & ~unseen.drawn.any(1)).nonzero().flatten()[:20]
    direction = image_directions(embedded, of_rings.unsqueeze(0))
    assert text_examples(tower, direction, TEXTS, 1).texts == [["the word ring"]]


def test_objectives_look_into_the_image_tower_and_pictures_of_texts_are_near_them(tower):
    units = visualize(tower, Direction("image_tower.9", torch.eye(16)[[0, 5]]), (3, 32, 32), steps=3)
    assert units.images.shape == (2, 3, 32, 32)
    texts = ["the word ring", "a blue square"]
    start = visualize_texts(tower, texts, (3, 32, 32), steps=0)
    pictures = visualize_texts(tower, texts, (3, 32, 32), steps=40, transform=None)
    assert (pictures.activations > start.activations + 0.3).all()
    image = torch.nn.functional.normalize(tower.image(pictures.images), dim=1)
    text = torch.nn.functional.normalize(tower.text(texts), dim=1)
    assert torch.allclose((image * text).sum(1), pictures.activations, atol=1e-4)
    assert (image @ text.T).argmax(1).tolist() == [0, 1]


def test_a_picture_of_a_text_is_what_it_would_be_alone(tower):
    exact, texts = copy.deepcopy(tower).double(), ["the word ring", "a blue square"]
    both, alone = (visualize_texts(exact, some, (3, 32, 32), steps=6) for some in (texts, texts[1:]))
    assert torch.allclose(alone.images[0], both.images[1], atol=1e-9)


def test_bad_input_gets_a_sentence(tower, unseen, scores):
    with pytest.raises(InputError, match="k is 9, but there are 8 texts"):
        text_examples(tower, torch.eye(16), TEXTS, 9)
    with pytest.raises(InputError, match='"a disc" is twice'):
        text_examples(tower, torch.eye(16), ["a disc", "a disc"], 1)
    with pytest.raises(InputError, match="directions have 4 entries, but texts are embedded in 16 dimensions"):
        text_examples(tower, torch.eye(4), TEXTS, 1)
    with pytest.raises(InputError, match=r"written is torch.bool of shape \(3, 4\)"):
        multimodal_units(scores, unseen.drawn, unseen.written[:3])
    with pytest.raises(InputError, match="k is 5000"):
        multimodal_units(scores, unseen.drawn, unseen.written, k=5000)
    with pytest.raises(InputError, match="expected embeddings"):
        visualize_texts(TwoTower(tower.image_tower[:1], tower.text_tower), ["a disc"], (3, 32, 32), steps=1)
