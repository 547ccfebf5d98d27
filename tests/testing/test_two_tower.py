"""Captioned shapes, and a network of two towers that learns them."""

from __future__ import annotations

import pytest
import torch

from captum_proto._utils.errors import InputError
from captum_proto.models.two_tower import TwoTower
from captum_proto.testing.captioned_shapes import COLORS, SHAPES, caption_of, captioned_shapes, shape_mask, word_mask
from captum_proto.testing.two_tower import WordBag, small_two_tower, train_two_tower


def test_the_same_seed_draws_the_same_images_and_contents_are_what_captions_say():
    first, again, other = captioned_shapes(90), captioned_shapes(90), captioned_shapes(90, seed=1)
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.images, other.images)
    for place, caption in enumerate(first.captions):
        shape, color, word = (int(each[place]) for each in (first.shapes, first.colors, first.words))
        names = [
            None if index < 0 else each[index]
            for index, each in ((shape, SHAPES), (color, list(COLORS)), (word, SHAPES))
        ]
        assert caption == caption_of(*names)
        assert caption
    assert torch.equal(first.drawn.any(1), first.shapes >= 0)
    assert torch.equal(first.written.any(1), first.words >= 0)
    held = torch.stack([first.drawn.any(1), first.written.any(1)], 1)
    assert {tuple(row) for row in held.tolist()} == {(True, False), (False, True), (True, True)}


def test_what_is_drawn_is_in_its_color_and_what_is_written_is_white():
    shapes = captioned_shapes(60)
    colors = torch.tensor(list(COLORS.values()))
    for place in range(len(shapes)):
        image = shapes.images[place]
        if shapes.shapes[place] >= 0:
            color = colors[shapes.colors[place]].view(3, 1, 1)
            assert int((image == color).all(0).sum()) >= 25
        white = (image == 1).all(0)
        expected = int(word_mask(SHAPES[shapes.words[place]]).sum()) if shapes.words[place] >= 0 else 0
        assert int(white.sum()) >= expected
        assert (int(white.sum()) > 20) == (shapes.words[place] >= 0)


def test_shapes_and_words_that_are_not_known_get_a_sentence():
    with pytest.raises(InputError, match='there is no shape "disk"; did you mean "disc"'):
        shape_mask("disk", 4, 4, 2)
    with pytest.raises(InputError, match='"zebra" cannot be written'):
        word_mask("zebra")
    with pytest.raises(InputError, match="count is 0"):
        captioned_shapes(0)
    with pytest.raises(InputError, match='the word "purple" is not known'):
        WordBag()(["a purple disc"])
    with pytest.raises(InputError, match="text 1 holds no word"):
        WordBag()(["a red disc", "!"])


def test_the_network_is_small_and_learns_the_same_each_time():
    shapes = captioned_shapes(128)
    one, two = train_two_tower(shapes, epochs=1), train_two_tower(shapes, epochs=1)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert sum(each.numel() * each.element_size() for each in one.parameters()) < 1_000_000


def test_a_tower_that_returns_something_else_gets_a_sentence():
    tower = small_two_tower()
    with pytest.raises(InputError, match=r"the text tower returned shape \(1, 3\) for 2 inputs"):
        TwoTower(tower.image_tower, lambda texts: torch.rand(1, 3)).text(["a", "b"])
    with pytest.raises(InputError, match="the image tower returned NaN"):
        TwoTower(torch.nn.Flatten(), tower.text_tower, lambda images: images / 0).image(torch.zeros(1, 3, 4, 4))
    with pytest.raises(TypeError, match="the text tower returned a list"):
        TwoTower(tower.image_tower, list).text(["a"])
    with pytest.raises(TypeError, match="expected at least one text"):
        tower.text([])
