"""The formulas of a layer beside what a search finds by chance: in truth, without truth, and as a file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dense_masks import pack

from captum_proto._utils.errors import InputError
from captum_proto.concept import CompositionalExplainer, ExplainedLayer, PackedMasks, parse_formula
from captum_proto.concept.explained_layer import best_explained
from captum_proto.testing import ShapeDataset

DATASET = ShapeDataset(60, size=32, seed=4)
FORMULAS = ["red OR blue", "(red OR green) AND NOT disc", "disc AND meadow", "ring"]


@pytest.fixture(scope="module")
def masks(tmp_path_factory: pytest.TempPathFactory) -> PackedMasks:
    return PackedMasks.pack(DATASET, tmp_path_factory.mktemp("concepts") / "masks", (32, 32))


def planted(masks: PackedMasks, folder: Path) -> PackedMasks:
    """A unit for each formula, and one that fires nowhere."""
    formulas = [parse_formula(text, masks.concepts) for text in FORMULAS]
    dense = np.stack(
        [
            [
                *(formula.evaluate(lambda label, image=image: masks.mask(image, label)) for formula in formulas),
                np.zeros((32, 32), bool),
            ]
            for image in range(masks.images)
        ]
    )
    return pack(dense, folder)


def random_units(masks: PackedMasks, folder: Path, count: int = 40) -> PackedMasks:
    """Units that fire in a rectangle anywhere, whatever is there."""
    random = np.random.default_rng(1)
    dense = np.zeros((masks.images, count, 32, 32), dtype=bool)
    for image in range(masks.images):
        for unit in range(count):
            row, column = random.integers(0, 24, 2)
            dense[image, unit, row : row + 8, column : column + 8] = random.random() < 0.5
    return pack(dense, folder)


def explained(masks: PackedMasks, units: PackedMasks, draws: int = 10) -> ExplainedLayer:
    explainer = CompositionalExplainer(masks)
    return ExplainedLayer(
        "layer",
        masks.concepts,
        len(units.concepts),
        explainer.interpret(units),
        explainer.chance(units, draws),
        masks.pixels,
    )


def test_planted_formulas_are_beyond_chance(masks: PackedMasks, tmp_path: Path) -> None:
    found = explained(masks, planted(masks, tmp_path))
    assert (found.units, len(found.explanations), found.draws, found.length) == (5, 4, 10, 3)
    for place, text in enumerate(FORMULAS):
        assert found.explanations[place].formula.equivalent(parse_formula(text, masks.concepts))
    assert (found.iou == 1).all()
    assert (found.chance < 0.5).all()
    assert (found.chance > 0).all()
    assert found.p_values == pytest.approx(np.full(4, 1 / 41))
    assert (found.q_values < 0.05).all()
    assert found.of_unit(3) == 3
    assert found.operators() == {"or": 2, "and": 1, "and_not": 1}
    lines = found.table().splitlines()
    assert len(lines) == 6
    assert "none is better" not in lines[0]
    assert sorted(best_explained(found, 9)) == [0, 1, 2, 3]
    with pytest.raises(InputError, match='layer "layer" has no explanation of unit 4; it has 5 units'):
        found.of_unit(4)


def test_units_that_fire_anywhere_are_not(masks: PackedMasks, tmp_path: Path) -> None:
    """A search finds a formula for each of them, and so it does in every draw."""
    found = explained(masks, random_units(masks, tmp_path))
    assert len(found.explanations) == 40
    assert (found.iou > 0.02).all()
    assert not (found.q_values < 0.05).any()
    assert abs(float(found.iou.mean() / found.chance.mean()) - 1) < 0.05


def test_a_formula_of_three_is_better_by_chance_than_one_concept(masks: PackedMasks, tmp_path: Path) -> None:
    units = random_units(masks, tmp_path, 10)
    one, three = (CompositionalExplainer(masks, length).chance(units, 3) for length in (1, 3))
    assert (three >= one).all()
    assert (three > one).any()


def test_draws_are_of_the_same_masks_in_another_order(masks: PackedMasks) -> None:
    other = masks.shuffled(3)
    assert np.array_equal(other.areas, masks.areas)
    assert np.array_equal(other.image_counts, masks.image_counts)
    sums = [sorted(int(each.of_image(index)[1].sum()) for index in range(60)) for each in (masks, other)]
    assert sums[0] == sums[1]
    same = [np.array_equal(masks.of_image(index)[1], other.of_image(index)[1]) for index in range(60)]
    assert sum(same) < 10
    with pytest.raises(InputError, match="take them of masks that are not shuffled"):
        next(other.blocks())


def test_it_comes_back_from_its_file(masks: PackedMasks, tmp_path: Path) -> None:
    units = planted(masks, tmp_path / "units")
    explainer = CompositionalExplainer(masks, search="exact")
    found = ExplainedLayer(
        "layer", masks.concepts, 5, explainer.interpret(units), explainer.chance(units, 3), masks.pixels
    )
    found.save(tmp_path / "layer.json")
    again = ExplainedLayer.load(tmp_path / "layer.json")
    assert again.explanations == found.explanations
    assert again.concepts == found.concepts
    assert np.array_equal(again.chance, found.chance)
    assert again.table() == found.table()
    assert "none is better" in again.table()
    assert all(line.endswith("yes") for line in again.table().splitlines()[2:])
    with pytest.raises(FileExistsError):
        found.save(tmp_path / "layer.json")
    text = (tmp_path / "layer.json").read_text(encoding="utf-8")
    (tmp_path / "short.json").write_text(text[: len(text) // 2], encoding="utf-8")
    with pytest.raises(ValueError, match=r"short\.json"):
        ExplainedLayer.load(tmp_path / "short.json")
    (tmp_path / "other.json").write_text(text.replace('"explained layer"', '"a letter"'), encoding="utf-8")
    with pytest.raises(ValueError, match="a letter"):
        ExplainedLayer.load(tmp_path / "other.json")


def test_without_draws_nothing_is_said_of_chance(masks: PackedMasks, tmp_path: Path) -> None:
    found = explained(masks, planted(masks, tmp_path), draws=0)
    assert np.isnan(found.p_values).all()
    assert np.isnan(found.q_values).all()
    assert found.table().splitlines()[2].endswith("–")
    with pytest.raises(InputError, match=r"chance has shape \(10, 3\); expected \(draws, 4\)"):
        replace(found, chance=np.zeros((10, 3)))


def test_a_layer_of_silent_units(masks: PackedMasks, tmp_path: Path) -> None:
    units = pack(np.zeros((60, 2, 32, 32), dtype=bool), tmp_path)
    found = explained(masks, units, draws=3)
    assert found.explanations == []
    assert found.length == 0
    assert found.p_values.shape == (0,)
    assert found.chance.shape == (3, 0)
    found.save(tmp_path / "silent.json")
    assert ExplainedLayer.load(tmp_path / "silent.json").chance.shape == (3, 0)
