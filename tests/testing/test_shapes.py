"""Drawn shapes: labels that are exact, captions that are true, rules that hold, and the same images each time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from captum_proto._utils.errors import InputError
from captum_proto.concept import Selected
from captum_proto.testing import COLOR_TERMS, PARTS, SCENES, TEXTURES, ShapeDataset, Spurious, shape_and_part

SIZE = (112, 112)


@pytest.fixture(scope="module")
def shapes() -> ShapeDataset:
    return ShapeDataset(300, seed=1)


def test_images_depend_on_the_seed_and_their_place_alone(shapes: ShapeDataset) -> None:
    again = ShapeDataset(10, seed=1)
    for index in (0, 9):
        assert torch.equal(again.image(index, SIZE), shapes.image(index, SIZE))
        assert [each.tolist() for each in again.labels(index).maps] == [
            each.tolist() for each in shapes.labels(index).maps
        ]
    assert not torch.equal(ShapeDataset(10, seed=2).image(0, SIZE), shapes.image(0, SIZE))
    assert ShapeDataset(10, seed=1).digest() != ShapeDataset(11, seed=1).digest()
    assert torch.equal(Selected(shapes, [4]).image(0, SIZE), shapes.image(4, SIZE))


def test_every_pixel_of_a_color_has_it(shapes: ShapeDataset) -> None:
    """Of shapes that are plain, the pixels labeled with a color are of that color exactly, and no others of the image are."""
    checked = 0
    for index in range(100):
        labels, image = shapes.checked_labels(index), shapes.image(index, SIZE).permute(1, 2, 0).numpy()
        objects, parts, textures, colors = labels.maps
        for name, color in COLOR_TERMS.items():
            plain = (colors == shapes.label(name, "color")) & (textures == 0)
            if plain.any():
                np.testing.assert_allclose(
                    image[plain], np.broadcast_to(np.float32(color), (plain.sum(), 3)), atol=1e-6
                )
                checked += 1
        # Whatever is of a color is an object, except that text has none; whatever has a texture has a color.
        text = objects == shapes.label("text")
        assert ((objects > 0) == ((colors > 0) | text)).all()
        assert not ((textures > 0) & (colors == 0)).any()
        assert {*np.unique(parts)} <= {0, *(shapes.label(part) for part in PARTS.values() if part)}
    assert checked > 30  # of some 250 shapes an eighth


def test_shapes_have_the_areas_that_geometry_says() -> None:
    """At a radius of many pixels, against closed forms."""
    grid = np.linspace(-1, 1, 1001, dtype=np.float32)
    area = 4 / 1001**2
    expected = {
        "disc": np.pi,
        "square": 1.7**2,
        "triangle": 0.53 * 1.8**2,
        "ring": np.pi * (1 - 0.55**2),
        "cross": 2 * 2 * 0.6 - 0.6**2,
    }
    parts = {"square": 4 * 0.4**2, "triangle": 0.53 * 0.7**2, "ring": np.pi * 0.55**2, "cross": 4 * 0.5 * 0.6}
    for shape, wanted in expected.items():
        mask, part = shape_and_part(shape, grid[:, None], grid[None, :])
        assert mask.sum() * area == pytest.approx(wanted, rel=0.01)
        assert (part is None) == (shape not in parts)
        if part is not None:
            assert part.sum() * area == pytest.approx(parts[shape], rel=0.01)


def test_a_caption_says_what_is_there(shapes: ShapeDataset) -> None:
    for index in range(50):
        (caption,), shown = shapes.labels(index).captions, shapes.scene(index)
        for each in shown.shapes:
            assert each.words() in caption
        first, *others = shown.shapes
        if others:
            relation = caption.removeprefix(first.words()).split(others[0].words())[0].strip()
            down, across = others[0].row - first.row, others[0].column - first.column
            assert {
                "above": down > 0 and abs(down) >= abs(across),
                "below": down < 0 and abs(down) >= abs(across),
                "left of": across > 0 and abs(across) > abs(down),
                "right of": across < 0 and abs(across) > abs(down),
            }[relation]
        assert shapes.labels(index).whole == [shapes.label(shown.scene, "scene")]


def test_everything_is_drawn(shapes: ShapeDataset) -> None:
    drawn = [each for index in range(300) for each in shapes.scene(index).shapes]
    assert {each.shape for each in drawn} == set(PARTS)
    assert {each.color for each in drawn} == set(COLOR_TERMS)
    assert {each.texture for each in drawn} == set(TEXTURES)
    assert {shapes.scene(index).scene for index in range(300)} == set(SCENES)
    counts = np.bincount([len(shapes.scene(index).shapes) for index in range(300)])
    assert (counts[0], len(counts)) == (0, 5)
    assert counts[1:].min() > 40
    assert shapes.targets().tolist() == [list(PARTS).index(shapes.scene(index).shapes[0].shape) for index in range(300)]


@pytest.mark.parametrize("mark", ["text", "red"])
@pytest.mark.parametrize("swapped", [False, True])
def test_a_rule_holds_at_its_rate(mark: str, swapped: bool) -> None:
    shapes = ShapeDataset(1000, seed=4, size=64, spurious=[Spurious("disc", mark, 0.6, swapped)])
    scenes = [shapes.scene(index) for index in range(1000)]
    marked = np.array([each.text if mark == "text" else each.shapes[0].color == mark for each in scenes])
    discs = np.array([each.shapes[0].shape == "disc" for each in scenes])
    chance = 0 if mark == "text" else 1 / len(COLOR_TERMS)
    ruled, free = (~discs, discs) if swapped else (discs, ~discs)
    assert marked[ruled].mean() == pytest.approx(0.6 + 0.4 * chance, abs=0.08)
    assert marked[free].mean() == pytest.approx(chance, abs=0.04)
    if mark == "text":
        index = int(marked.nonzero()[0][0])
        text = shapes.labels(index).maps[0] == shapes.label("text")
        assert text.sum() == 10 * 14  # five by seven pixels, doubled
        assert set(np.unique(shapes.image(index, (64, 64)).numpy()[:, text])) == {0.0, 1.0}


def test_radius_says_how_much_is_labeled() -> None:
    few, many = (ShapeDataset(50, radius=(share, share), shapes=(1, 1)) for share in (0.1, 0.3))
    areas = [np.mean([(each.labels(i).maps[0] > 0).mean() for i in range(50)]) for each in (few, many)]
    assert areas[1] / areas[0] == pytest.approx(9, rel=0.25)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"count": 0}, "count is 0"),
        ({"count": 1, "shapes": (2, 1)}, "shapes is"),
        ({"count": 1, "radius": (0.1, 0.7)}, "radius is"),
        ({"count": 1, "spurious": [Spurious("disk", "red", 1)]}, 'shape of a rule is "disk"; did you mean "disc"'),
        ({"count": 1, "spurious": [Spurious("disc", "rad", 1)]}, 'mark of a rule is "rad"; did you mean "red"'),
        ({"count": 1, "spurious": [Spurious("disc", "red", 2)]}, "the rate of a rule is 2"),
    ],
)
def test_bad_arguments(arguments: dict, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        ShapeDataset(**arguments)
    with pytest.raises(InputError, match="there is no image 3; there are 2"):
        ShapeDataset(2).scene(3)
