"""Copy-paste examples: what is pasted, planted formulas that must change the prediction, controls that must not, and bad input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from captum_proto._utils.errors import InputError, InputTypeError
from captum_proto.concept import (
    ConceptPastes,
    CopyPaste,
    CopyPasteResult,
    Formula,
    Selected,
    literals,
    parse_formula,
    paste,
)
from captum_proto.testing import COLOR_TERMS, PlantedNetwork, ShapeDataset

SIZE = (40, 40)
COLORS = list(COLOR_TERMS)


class ByUnit(nn.Module):
    """Class 1 where the unit "(red or green) and not blue" fires at more than forty pixels, on balance; class 0 elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.planted = PlantedNetwork(8, [([COLORS.index("red"), COLORS.index("green")], [COLORS.index("blue")])])

    def forward(self, images: Tensor) -> Tensor:
        fired = self.planted(images)[:, -1] / 1e-5
        return torch.stack([torch.full_like(fired, 40.0), fired], 1)


@pytest.fixture(scope="module")
def shapes() -> ShapeDataset:
    return ShapeDataset(150, size=40, radius=(0.15, 0.2), drawn={"texture": ["plain"]}, seed=6)


@pytest.fixture(scope="module")
def classes(shapes: ShapeDataset) -> Tensor:
    with torch.no_grad():
        return ByUnit()(torch.cat(list(shapes.image_batches(SIZE)))).argmax(1)


@pytest.fixture(scope="module")
def tried(shapes: ShapeDataset, classes: Tensor) -> CopyPasteResult:
    formula = parse_formula("(red OR green) AND NOT blue", shapes.concepts)
    return CopyPaste(ByUnit(), "planted.logic", trials=60).interpret(0, formula, 1, shapes, classes, SIZE)


def test_a_paste_copies_the_pixels_of_the_mask_alone() -> None:
    image, source = torch.rand(3, 10, 12), torch.rand(3, 10, 12)
    mask = torch.zeros(10, 12, dtype=torch.bool)
    mask[2:5, 3:7] = True
    mask[2, 3] = False
    before = image.clone()
    pasted, where = paste(image, source, mask)
    assert torch.equal(image, before)
    assert torch.equal(where, mask)
    assert torch.equal(pasted, torch.where(mask, source, image))
    moved, where = paste(image, source, mask, place=(0, 11))  # at a corner: moved to have all of it inside
    assert where.nonzero().amin(0).tolist() == [0, 8]
    assert where.nonzero().amax(0).tolist() == [2, 11]
    assert torch.equal(moved[:, where], source[:, mask])
    assert torch.equal(moved[:, ~where], image[:, ~where])


def test_a_paste_is_scaled_without_its_surroundings() -> None:
    source, mask = torch.zeros(3, 20, 20), torch.zeros(20, 20, dtype=torch.bool)
    mask[5:15, 5:15] = torch.ones(10, 10, dtype=torch.bool).tril()
    source[:, mask] = 0.7
    for area in (20.0, 55.0, 110.0):
        pasted, where = paste(torch.zeros(3, 20, 20), source, mask, area=area)
        assert int(where.sum()) == pytest.approx(area, rel=0.2)
        torch.testing.assert_close(pasted[:, where], torch.full((3, int(where.sum())), 0.7))
    whole, where = paste(torch.zeros(3, 8, 9), source, mask, area=10_000)
    assert where.nonzero().amin(0).tolist()[0] == 0
    assert int(where.sum()) <= 72
    assert bool(whole[:, where].gt(0).all())


def test_literals_know_what_stands_after_not() -> None:
    a, b, c = Formula(1), Formula(2), Formula(3)
    assert literals((a | b) - c) == [(1, True), (2, True), (3, False)]
    assert literals(a - (b - c)) == [(1, True), (2, False), (3, True)]
    assert literals((a - b) | (b - a)) == [(1, True), (2, False), (2, True), (1, False)]


def test_pasting_what_a_planted_formula_names_changes_the_class(tried: CopyPasteResult, shapes: ShapeDataset) -> None:
    assert [(each.concept, each.speaks_for) for each in tried.pastes] == [
        ("red", True),
        ("green", True),
        ("blue", False),
    ]
    for each, p_value in zip(tried.pastes, tried.p_values, strict=True):
        assert p_value < 0.001
        assert each.success.low > each.control.high
        if each.speaks_for:
            assert each.success.value > 0.6
            # More than forty pixels do, unless the image has blue, each pixel of which takes one of them away.
            for host, area, taken in zip(each.hosts, each.areas, each.taken, strict=True):
                assert taken[1] or area <= 40 or any(one.color == "blue" for one in shapes.scene(host).shapes)
            assert each.control.value <= 0.1  # no other color makes the unit fire, but one may hide blue
            assert each.change().low > 0
            assert each.change("logit").low > 0
            assert each.change("logit").low > each.change("logit", control=True).high
    blue = tried["blue"]
    assert blue.change().high < blue.change(control=True).low  # both cover red, and blue counts against it besides
    assert blue.change("logit").high < 0


def test_trials_are_what_they_say(tried: CopyPasteResult, shapes: ShapeDataset, classes: Tensor) -> None:
    for each in tried.pastes:
        assert len(each) == 60
        for trial in range(60):
            host, control = each.hosts[trial], each.controls[trial]
            assert int(classes[host]) == (0 if each.speaks_for else 1)
            assert each.taken[trial][0] != each.speaks_for
            assert all(one.color != each.concept for one in shapes.scene(host).shapes)
            assert int(classes[each.control_sources[trial]]) == int(classes[host])
            assert control not in ("red", "green", "blue")
            label = shapes.label(each.concept, "color")
            assert any((one == label).sum() >= 16 for one in shapes.labels(each.sources[trial]).maps)
        areas = torch.tensor([each.areas, each.control_areas], dtype=torch.float64)
        assert float((areas[1] / areas[0]).median()) == pytest.approx(1, abs=0.1)
    # By hand: the first paste of red, and what the network says of it.
    red = tried["red"]
    label, host, source = shapes.label("red", "color"), red.hosts[0], red.sources[0]
    mask = torch.from_numpy((shapes.labels(source).maps[3] == label).copy())
    pasted = torch.where(mask, shapes.image(source, SIZE), shapes.image(host, SIZE))
    with torch.no_grad():
        assert red.logit[0][1] == pytest.approx(
            float(ByUnit()(pasted.unsqueeze(0))[0, 1]), rel=0.02
        )  # of sums of near ones
    assert red.areas[0] == int(mask.sum())


def test_a_wrong_formula_does_no_better_than_its_controls(shapes: ShapeDataset, classes: Tensor) -> None:
    """Yellow and pink are nothing to the unit."""
    formula = parse_formula("yellow OR pink", shapes.concepts)
    controls = [shapes.label(name) for name in ("black", "orange", "white")]
    found = CopyPaste(ByUnit(), "planted.logic", trials=40).interpret(0, formula, 1, shapes, classes, SIZE, controls)
    for each, p_value in zip(found.pastes, found.p_values, strict=True):
        assert each.success.value <= 0.1  # either may hide blue
        assert p_value > 0.05
        assert set(each.controls) <= {"black", "orange", "white"}


def test_the_same_seed_tries_the_same_and_places_may_be_random(shapes: ShapeDataset, classes: Tensor) -> None:
    formula = Formula(shapes.label("red"))
    runs = [
        CopyPaste(ByUnit(), "planted.logic", trials=10, batch_size=batch, **options).interpret(
            0, formula, 1, shapes, classes, SIZE
        )
        for batch, options in ((64, {}), (3, {}), (64, {"seed": 1}), (64, {"place": "random"}))
    ]
    for name in ("hosts", "sources", "controls", "control_sources", "areas", "taken"):
        assert getattr(runs[0].pastes[0], name) == getattr(runs[1].pastes[0], name)
    assert runs[0].pastes[0].hosts != runs[2].pastes[0].hosts
    assert runs[3].pastes[0].success.value > runs[3].pastes[0].control.value


def test_a_result_comes_back(tried: CopyPasteResult, tmp_path: Path) -> None:
    path = tmp_path / "tried.json"
    tried.save(path)
    assert CopyPasteResult.load(path) == tried
    text = tried.table()
    for word in ("(red OR green) AND NOT blue", "NOT blue", "control", "Before pasting, 0.0 %"):
        assert word in text
    content = json.loads(path.read_text())
    content["pastes"][0]["hosts"].pop()
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="is damaged"):
        CopyPasteResult.load(path)
    path.write_text(json.dumps({"kind": "something"}))
    with pytest.raises(InputError, match="holds something else"):
        CopyPasteResult.load(path)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        CopyPasteResult.load(tmp_path / "none.json")


def test_mcnemar_is_of_the_pairs_that_differ() -> None:
    one = [True] * 6 + [False] * 4
    other = [True] + [False] * 9
    taken = [[False, a, b] for a, b in zip(one, other, strict=True)]
    ten = list(range(10))
    trials = ConceptPastes(
        "red", True, ten, ten, ["blue"] * 10, ten, ten, ten, [[0.0] * 3] * 10, [[0.0] * 3] * 10, taken
    )
    assert (trials.success.value, trials.control.value) == (0.6, 0.1)
    assert trials.p_value == pytest.approx(2 * 0.5**5)


def test_bad_input(shapes: ShapeDataset, classes: Tensor) -> None:
    red = Formula(shapes.label("red"))
    none_red = Selected(shapes, [i for i in range(150) if all(s.color != "red" for s in shapes.scene(i).shapes)])
    kept = classes[torch.tensor(none_red.places)]
    copy_paste = CopyPaste(ByUnit(), "planted.logic", trials=3)
    for arguments, sentence in (
        ((0, Formula(99), 1, shapes, classes, SIZE), "the formula has the label 99; the drawn shapes has 32 concepts"),
        ((0, red, 1, none_red, kept, SIZE), "no image of the drawn shapes has 16 pixels of red or more"),
        (
            (0, Formula(shapes.label("sky")), 1, shapes, classes, SIZE),
            "has 16 pixels of sky or more; expected a concept that pixels",
        ),
        (
            (0, red, 1, shapes, torch.ones_like(classes), SIZE),
            "all images are of class 1; expected some of it and some of others",
        ),
        ((0, red, 1, shapes, torch.zeros_like(classes), SIZE), "no image is of class 1"),
        ((0, red, 1, shapes, classes[:5], SIZE), r"labels have shape \(5,\)"),
        ((0, red, 1, shapes, classes.float(), SIZE), "torch.float32; expected"),
        ((1, red, 1, shapes, classes, SIZE), 'layer "planted.logic" has 1 units, numbered from 0; there is no unit 1'),
        ((0, red, 2, shapes, classes, SIZE), "target is 2; the model has 2 classes"),
        (
            (0, red, 1, shapes, 1 - classes, SIZE),
            "there is no image of another class than 1 that the model does not take for it",
        ),
        ((0, Formula(1) - red, 1, shapes, classes, SIZE, [99]), "controls have the label 99"),
        ((0, red, 1, shapes, classes, SIZE, list(red.labels())), "which the formula names"),
        ((0, red, 1, shapes, classes, SIZE, [shapes.label("sky")]), "to copy a control from"),
    ):
        with pytest.raises(InputError, match=sentence):
            copy_paste.interpret(*arguments)  # type: ignore[arg-type]
    for options, kind, sentence in (
        ({"trials": 0}, InputError, "trials is 0"),
        ({"least": 0}, InputError, "least is 0"),
        ({"place": "rondom"}, InputError, 'place is "rondom"; did you mean "random"'),
    ):
        with pytest.raises(kind, match=sentence):
            CopyPaste(ByUnit(), "planted.logic", **options)  # type: ignore[arg-type]
    with pytest.raises(InputTypeError, match=r"expected a torch\.nn\.Module"):
        CopyPaste(lambda images: images, "0")  # type: ignore[arg-type]
    image, mask = torch.rand(3, 4, 4), torch.ones(4, 4, dtype=torch.bool)
    for arguments, sentence in (
        ((image, image, ~mask), "mask has no pixel"),
        ((image, image, mask[:2]), r"mask has shape \(2, 4\)"),
        ((image[:1], image, mask), "image has 1 channels and source 3"),
        ((image, image, mask, None, 0.0), r"area is 0\.0"),
    ):
        with pytest.raises(InputError, match=sentence):
            paste(*arguments)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"expected floats \(C, H, W\)"):
        paste(image.int(), image, mask)
