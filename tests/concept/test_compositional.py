"""Formulas of units: counted as dense masks are, found where they were planted, and as good as any where all can be tried."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from dense_masks import pack
from torch import nn

from captum_proto._utils.errors import InputError
from captum_proto.concept import CompositionalExplainer, Formula, NetworkDissection, PackedMasks, pack_units
from captum_proto.concept.formula import OPERATORS
from captum_proto.concept.packed import unpacked
from captum_proto.testing import PlantedNetwork, ShapeDataset

SIZE = (6, 7)


def random_masks(seed: int, concepts: int, images: int = 8, share: float = 0.15) -> np.ndarray:
    random = np.random.default_rng(seed)
    there = random.random((images, concepts, 1, 1)) < 0.6
    return there & (random.random((images, concepts, *SIZE)) < share * 2)


def iou(formula: Formula, masks: np.ndarray, unit: np.ndarray) -> float:
    found = formula.evaluate(lambda label: masks[:, label - 1])
    return float((found & unit).sum() / (found | unit).sum())


def all_formulas(concepts: int, length: int) -> list[Formula]:
    found = [[Formula(label) for label in range(1, concepts + 1)]]
    for _ in range(1, length):
        found.append(
            [
                Formula(operator=operator, left=formula, right=Formula(label))
                for formula, operator, label in product(found[-1], OPERATORS, range(1, concepts + 1))
            ]
        )
    return [formula for each in found for formula in each]


def test_every_figure_is_that_of_dense_masks(tmp_path: Path) -> None:
    masks, units = random_masks(0, 9), random_masks(1, 5, share=0.1)
    units[:, 3] = False  # a unit that never fires
    explained = CompositionalExplainer(pack(masks, tmp_path / "masks"), length=4, beam=3).interpret(
        pack(units, tmp_path / "units")
    )
    assert [each.unit for each in explained] == [0, 1, 2, 4]
    for each in explained:
        unit = units[:, each.unit]
        found = each.formula.evaluate(lambda label: masks[:, label - 1])
        assert (each.together, each.fired, each.area) == ((found & unit).sum(), unit.sum(), found.sum())
        assert each.iou == pytest.approx(iou(each.formula, masks, unit), abs=1e-12)
        assert [len(formula) <= place for place, (formula, _) in enumerate(each.best, 1)] == [True] * 4
        assert [value for _, value in each.best] == sorted(value for _, value in each.best)
        for formula, value in each.best:
            assert value == pytest.approx(iou(formula, masks, unit), abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_a_beam_as_wide_as_all_concepts_finds_the_best_formula_of_two(tmp_path: Path, seed: int) -> None:
    """Exhaustive: of seven concepts there are 154 formulas of at most two."""
    masks, units = random_masks(10 + seed, 7), random_masks(20 + seed, 3, share=0.1)
    found = CompositionalExplainer(pack(masks, tmp_path / "m"), length=2, beam=7).interpret(pack(units, tmp_path / "u"))
    for each in found:
        best = max(iou(formula, masks, units[:, each.unit]) for formula in all_formulas(7, 2))
        assert each.iou == pytest.approx(best, abs=1e-12)


def test_a_planted_formula_is_found(tmp_path: Path) -> None:
    """(A or B) and not C, by a unit that is just that: with an intersection over union of 1."""
    masks = random_masks(3, 10, images=20)
    masks[:, 2] |= masks[:, 0] & (np.random.default_rng(0).random((20, *SIZE)) < 0.4)
    planted = (Formula(1) | Formula(2)) - Formula(3)
    unit = planted.evaluate(lambda label: masks[:, label - 1])[:, None]
    concepts, units = pack(masks, tmp_path / "masks"), pack(unit, tmp_path / "units")
    (found,) = CompositionalExplainer(concepts).interpret(units)
    assert found.iou == 1.0
    assert found.formula.equivalent(planted)
    (short,) = CompositionalExplainer(concepts, length=2).interpret(units)
    assert short.iou < 1.0
    (without,) = CompositionalExplainer(concepts, operators=["or", "and"]).interpret(units)
    assert without.iou < 1.0
    noisy = unit ^ (np.random.default_rng(1).random(unit.shape) < 0.01)
    (almost,) = CompositionalExplainer(concepts).interpret(pack(noisy, tmp_path / "noisy"))
    assert almost.formula.equivalent(planted)
    assert almost.iou == pytest.approx(iou(planted, masks, noisy[:, 0]), abs=1e-12)


def test_a_beam_misses_what_no_good_concept_begins(tmp_path: Path) -> None:
    """The best formula, the overlap of two large concepts, begins with none of the best concepts: a beam of one never gets there."""
    random = np.random.default_rng(5)
    unit = random.random((10, *SIZE)) < 0.1
    others = random.random((2, 10, *SIZE)) < 0.6
    parts = [unit | (others[0] & ~others[1]), unit | (others[1] & ~others[0])]
    decoys = [unit & (random.random(unit.shape) < 0.4) for _ in range(3)]
    masks = np.stack([*parts, *decoys], 1)
    planted = Formula(1) & Formula(2)
    assert iou(planted, masks, unit) == 1.0
    concepts, units = pack(masks, tmp_path / "m"), pack(unit[:, None], tmp_path / "u")
    (narrow,) = CompositionalExplainer(concepts, length=2, beam=1).interpret(units)
    assert narrow.iou < 1.0
    (wide,) = CompositionalExplainer(concepts, length=2, beam=5).interpret(units)
    assert wide.iou == 1.0
    assert wide.formula.equivalent(planted)


@pytest.mark.parametrize("seed", range(3))
def test_an_exact_search_is_exhaustive(tmp_path: Path, seed: int) -> None:
    """Of seven concepts there are 3,241 formulas of at most three; the search counts few of them and proves that none is better."""
    masks, units = random_masks(30 + seed, 7), random_masks(40 + seed, 3, share=0.1)
    concepts, firing = pack(masks, tmp_path / "m"), pack(units, tmp_path / "u")
    formulas = all_formulas(7, 3)
    beam = CompositionalExplainer(concepts, beam=2).interpret(firing)
    for each, narrow in zip(
        CompositionalExplainer(concepts, beam=2, search="exact").interpret(firing), beam, strict=True
    ):
        best = max(iou(formula, masks, units[:, each.unit]) for formula in formulas)
        assert each.iou == pytest.approx(best, abs=1e-12)
        assert each.iou == pytest.approx(iou(each.formula, masks, units[:, each.unit]), abs=1e-12)
        assert each.proved
        assert each.iou >= narrow.iou
        assert not narrow.proved
        assert each.visited - narrow.visited < len(formulas)
    short = CompositionalExplainer(concepts, length=2, beam=1, search="exact").interpret(firing)
    for each in short:
        assert each.iou == pytest.approx(max(iou(f, masks, units[:, each.unit]) for f in all_formulas(7, 2)), abs=1e-12)
        assert each.proved


def test_an_exact_search_finds_what_a_beam_misses(tmp_path: Path) -> None:
    """Three concepts of which each is bad by itself, among decoys: found by the exact search alone."""
    random = np.random.default_rng(8)
    unit = random.random((10, *SIZE)) < 0.1
    noise = random.random((3, 10, *SIZE)) < 0.8
    parts = [unit | (noise[i] & ~(noise[i - 1] & noise[i - 2])) for i in range(3)]
    decoys = [unit & (random.random(unit.shape) < 0.5) for _ in range(6)]
    masks = np.stack([*parts, *decoys], 1)
    planted = (Formula(1) & Formula(2)) & Formula(3)
    assert iou(planted, masks, unit) == 1.0
    concepts, units = pack(masks, tmp_path / "m"), pack(unit[:, None], tmp_path / "u")
    (beam,) = CompositionalExplainer(concepts, beam=3).interpret(units)
    (exact,) = CompositionalExplainer(concepts, beam=3, search="exact").interpret(units)
    assert beam.iou < 1.0
    assert exact.iou == 1.0
    assert exact.formula.equivalent(planted)
    assert exact.proved
    (poor,) = CompositionalExplainer(concepts, beam=3, search="exact", budget=0).interpret(units)
    assert not poor.proved
    assert poor.bound is not None
    assert poor.bound >= 1.0 > poor.iou


def test_units_of_a_network_are_packed_as_dissection_counts_them(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 5, 5, stride=4), nn.ReLU())
    dataset = ShapeDataset(11, size=48, seed=3)
    for align_corners in (False, True):
        options = {"size": (30, 25), "align_corners": align_corners}
        found = NetworkDissection(model, ["1"], 0.05, draws=0, denominator="global", **options).interpret(
            dataset, (48, 48)
        )["1"]  # type: ignore[arg-type]
        folder = tmp_path / str(align_corners)
        units = pack_units(model, "1", found.thresholds, dataset, (48, 48), folder / "units", batch_size=4, **options)  # type: ignore[arg-type]
        masks = PackedMasks.pack(dataset, folder / "masks", (30, 25))
        assert units.areas[1:].tolist() == found.fired[0, :, -1].tolist()
        explained = CompositionalExplainer(masks, length=1).interpret(units)
        for each in explained:
            assert each.iou == pytest.approx(float(found.iou[each.unit].max()), abs=1e-12)
            assert each.together == int(found.together[0, each.unit, each.formula.label - 1])


def test_planted_logic_of_colors_is_found(tmp_path: Path) -> None:
    """Units of a network that fire at red or blue, and at red or green: by their formulas, with an intersection over union of 1."""
    dataset = ShapeDataset(60, size=40, radius=(0.2, 0.2), drawn={"texture": ["plain"]}, seed=6)
    network = PlantedNetwork(8)
    thresholds = torch.zeros(2, dtype=torch.float64)
    units = pack_units(network, "logic", thresholds, dataset, (40, 40), tmp_path / "units", size=(40, 40))
    masks = PackedMasks.pack(dataset, tmp_path / "masks", (40, 40))
    either, both = CompositionalExplainer(masks).interpret(units)
    red, blue, green = (Formula(dataset.label(name, "color")) for name in ("red", "blue", "green"))
    assert (either.iou, both.iou) == (1.0, 1.0)
    assert either.formula.equivalent(red | blue)
    assert either.formula.text(dataset.concepts) in ("red OR blue", "blue OR red")
    # Colors are on different pixels: without blue is the same as with no more.
    assert sorted(both.formula.labels())[:2] == sorted([*red.labels(), *green.labels()])


def test_bad_input(tmp_path: Path) -> None:
    masks = pack(random_masks(0, 3), tmp_path / "masks")
    for arguments, sentence in (
        ({"length": 0}, "length is 0"),
        ({"beam": 0}, "beam is 0"),
        ({"operators": ["nand"]}, 'there is no operator "nand"; did you mean "and"'),
        ({"operators": []}, "there is no operator; give at least one"),
        ({"search": "exat"}, 'search is "exat"; did you mean "exact"'),
        ({"search": "exact", "length": 4}, "length is 4; an exact search goes to 3 concepts"),
        ({"budget": -1}, "budget is -1"),
    ):
        with pytest.raises(InputError, match=sentence):
            CompositionalExplainer(masks, **arguments)  # type: ignore[arg-type]
    others = pack(random_masks(0, 3, images=5), tmp_path / "others")
    with pytest.raises(InputError, match="units are masks of 5 images at 6 x 7, concepts of 8"):
        CompositionalExplainer(masks).interpret(others)
    with pytest.raises(InputError, match=r"thresholds have shape \(2,\); expected a map"):
        pack_units(nn.Sequential(nn.Conv2d(3, 5, 3)), "0", torch.zeros(2), ShapeDataset(2, size=32), (32, 32), tmp_path)


def test_masks_come_back(tmp_path: Path) -> None:
    masks = random_masks(7, 4)
    found = pack(masks, tmp_path)
    for index in range(len(masks)):
        labels, words = found.of_image(index)
        assert np.array_equal(unpacked(words, SIZE), masks[index][labels - 1])
