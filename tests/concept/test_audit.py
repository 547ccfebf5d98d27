"""Audits and edits by descriptions: a shortcut that a network has learned is named, and gone when the units that carry it are."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from captum_proto._utils.errors import InputError
from captum_proto.concept import (
    AblationEffect,
    CopyPaste,
    Description,
    Formula,
    LayerDissection,
    NetworkDissection,
    ablation_effect,
    compare_descriptions,
    labels_as_descriptions,
    units_described,
)
from captum_proto.testing import (
    ShapeClassifier,
    ShapeDataset,
    images_and_targets,
    spurious_shapes,
    train_shape_classifier,
)

SIZE = (48, 48)
SEEDS = (0, 1)
#: By how much the accuracy without any mark may fall.
MARGIN = 0.05


def described(texts: list[str], scores: list[float] | None = None) -> list[Description]:
    given = scores or [0.0] * len(texts)
    return [
        Description(unit, text, score, score, 0.0, [])
        for unit, (text, score) in enumerate(zip(texts, given, strict=True))
    ]


def descriptions_of(network: ShapeClassifier, labeled: ShapeDataset) -> list[Description]:
    dissection = NetworkDissection(network, ["features"], quantile=0.02, size=SIZE, draws=0).interpret(labeled, SIZE)
    return labels_as_descriptions(dissection["features"])


@pytest.fixture(scope="module")
def labeled() -> ShapeDataset:
    return spurious_shapes(300, "labeled", 1)


@pytest.fixture(scope="module")
def marked(labeled: ShapeDataset) -> list[tuple[ShapeClassifier, list[Description]]]:
    """Networks that were trained with text on discs, and what network dissection says of their units."""
    networks = [train_shape_classifier("marked", seed) for seed in SEEDS]
    return [(network, descriptions_of(network, labeled)) for network in networks]


@pytest.fixture(scope="module")
def clean(labeled: ShapeDataset) -> list[list[Description]]:
    """The same of networks that never saw text."""
    return [descriptions_of(train_shape_classifier("clean", seed), labeled) for seed in SEEDS]


@pytest.fixture(scope="module")
def adversarial() -> tuple[Tensor, Tensor]:
    return images_and_targets(spurious_shapes(300, "adversarial", 2))


def agreement(descriptions: list[Description], words: str) -> float:
    """How well the three units agree with words that agree best: the sum of their intersections over unions."""
    return sum(
        sorted((math.exp(descriptions[unit].score) for unit in units_described(descriptions, words)), reverse=True)[:3]
    )


def accuracy(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    with torch.no_grad():
        return float((network(images).argmax(1) == labels).double().mean())


@pytest.mark.long
def test_an_audit_finds_the_shortcut(
    marked: list[tuple[ShapeClassifier, list[Description]]], clean: list[list[Description]]
) -> None:
    """Each network that was trained with text has units for it; of the units of others hardly any is called so, and shapes are in both."""
    all_marked = list(itertools.chain(*(each for _, each in marked)))
    all_clean = list(itertools.chain(*clean))
    of_text = compare_descriptions(all_marked, all_clean, "text")
    assert of_text.units == (128, 128)
    assert all(len(units_described(descriptions, "text")) >= 3 for _, descriptions in marked)
    assert of_text.named[1] <= 0.03 * 128
    assert of_text.named[0] > of_text.named[1]
    # So few units differ by chance from one processor to another, by which training differs; how well they agree does not.
    assert min(agreement(each, "text") for _, each in marked) > 2 * max(agreement(each, "text") for each in clean)
    shapes = ["disc", "square", "triangle", "ring", "cross", "hole", "corner", "apex", "arm"]
    of_shapes = compare_descriptions(all_marked, all_clean, shapes)
    assert min(of_shapes.named) > 20
    assert of_shapes.p_value > 0.05


@pytest.mark.long
@pytest.mark.parametrize("seed", SEEDS)
def test_without_the_units_of_the_shortcut_it_is_not_taken(
    marked: list[tuple[ShapeClassifier, list[Description]]], adversarial: tuple[Tensor, Tensor], seed: int
) -> None:
    network, descriptions = marked[seed]
    units = units_described(descriptions, "text")
    effect = ablation_effect(network, "features", units, *adversarial, counts=[0, len(units)], random_choices=100)
    assert effect.accuracy(0).value == accuracy(network, *adversarial) < 0.75
    assert effect.accuracy().value > effect.random_best()
    assert effect.accuracy().value > effect.accuracy(0).value + 0.1
    assert effect.p_value() < 0.05
    images, labels = images_and_targets(spurious_shapes(500, "clean", 2))
    before, after = (
        ablation_effect(network, "features", units, images, labels, counts=[count], random_choices=1).accuracy().value
        for count in (0, len(units))
    )
    assert before - after < MARGIN


@pytest.mark.long
def test_units_of_other_words_do_not_help(
    marked: list[tuple[ShapeClassifier, list[Description]]], adversarial: tuple[Tensor, Tensor]
) -> None:
    network, descriptions = marked[0]
    units = units_described(descriptions, ["square", "cross"])[:4]
    effect = ablation_effect(network, "features", units, *adversarial, counts=[4], random_choices=20)
    assert effect.p_value() > 0.05


@pytest.mark.long
def test_pasting_text_gives_the_class_and_other_concepts_do_not(
    marked: list[tuple[ShapeClassifier, list[Description]]], labeled: ShapeDataset
) -> None:
    network, descriptions = marked[0]
    unit = units_described(descriptions, "text")[0]
    formula = Formula(labeled.label("text"))
    tried = CopyPaste(network, "features", trials=80).interpret(unit, formula, 0, labeled, labeled.targets(), SIZE)
    text = tried["text"]
    assert text.success.low > text.control.high
    assert text.success.value > 0.3
    assert tried.p_values[0] < 0.001
    assert text.change().low > text.change(control=True).high
    assert text.change("logit").low > text.change("logit", control=True).high


class Known(nn.Module):
    """Five units: the first two are the shapes' own evidence, the third a shortcut to class 1; two are nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.units = nn.Identity()
        self.head = nn.Linear(5, 2, bias=False)
        with torch.no_grad():
            self.head.weight.copy_(torch.tensor([[3.0, 0, 0, 0, 0], [0, 3.0, 6.0, 0, 0]]))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.units(images.flatten(1)))
        return logits


@pytest.fixture(scope="module")
def cases() -> tuple[Tensor, Tensor]:
    """Images of two classes, of which those of class 0 have the shortcut to class 1."""
    labels = torch.arange(40) % 2
    images = torch.zeros(40, 5, 1, 1)
    images[:, 0, 0, 0], images[:, 1, 0, 0], images[:, 2, 0, 0] = 1.0 - labels, labels.float(), 1.0 - labels
    return images, labels


def test_an_effect_is_counted_as_by_hand(cases: tuple[Tensor, Tensor]) -> None:
    effect = ablation_effect(Known(), "units", [2, 4], *cases, random_choices=200)
    assert (effect.counts, effect.correct) == ([0, 1, 2], [20, 40, 40])
    assert effect.random_correct[0] == [20] * 200
    # One of five units is the shortcut: a fifth of random choices do as well.
    share = effect.random_at_least(1)
    assert share.low < 0.2 < share.high
    assert effect.p_value(1) == (1 + effect.random_correct[1].count(40)) / 201
    # Of two: with the shortcut gone all are right, unless unit 0 is as well, whose absence makes ties, which go to class 0.
    assert set(effect.random_correct[2]) <= {0, 20, 40}
    assert effect.random_at_least(2).value == effect.random_correct[2].count(40) / 200
    chosen = {name: ablation_effect(Known(), "units", [2], *cases, random_choices=5, seed=name) for name in (0, 0, 1)}
    assert chosen[0].random_correct != chosen[1].random_correct


def test_the_best_of_a_few_is_that_of_all_choices() -> None:
    values = [3, 9, 4, 4, 7, 1]
    effect = AblationEffect("units", [0], [1], 10, [8], [values])
    for of in (1, 2, 5, 6):
        best = [max(chosen) for chosen in itertools.combinations(values, of)]
        assert effect.random_best(1, of) == pytest.approx(sum(best) / len(best) / 10)
    assert effect.random_best(1, 1) == pytest.approx(effect.random_mean(1))
    assert effect.p_value() == pytest.approx(2 / 7)
    with pytest.raises(InputError, match="of is 7; expected from 1 to 6"):
        effect.random_best(1, 7)
    with pytest.raises(InputError, match="3 units were not ablated together; expected one of 1"):
        effect.accuracy(3)


def test_validation_puts_the_best_unit_first(cases: tuple[Tensor, Tensor]) -> None:
    effect = ablation_effect(Known(), "units", [0, 3, 2], *cases, validation=cases, counts=[1], random_choices=3)
    assert effect.units[0] == 2
    assert effect.correct == [40]
    plain = ablation_effect(Known(), "units", [0, 3, 2], *cases, counts=[1], random_choices=3)
    assert plain.units == [0, 3, 2]


def test_the_model_comes_back(cases: tuple[Tensor, Tensor]) -> None:
    model = Known().train()
    ablation_effect(model, "units", [2], *cases, random_choices=2)
    assert model.training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    assert not model.units._forward_hooks


def test_an_effect_comes_back_from_its_file(cases: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    effect = ablation_effect(Known(), "units", [2, 4], *cases, random_choices=6)
    effect.save(tmp_path / "effect.json")
    assert AblationEffect.load(tmp_path / "effect.json") == effect
    assert [line.split()[0] for line in effect.table().splitlines()[2:]] == ["0", "1", "2"]
    content = json.loads((tmp_path / "effect.json").read_text())
    content["correct"].pop()
    (tmp_path / "effect.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="is damaged"):
        AblationEffect.load(tmp_path / "effect.json")
    (tmp_path / "effect.json").write_text("{}")
    with pytest.raises(InputError, match="holds something else"):
        AblationEffect.load(tmp_path / "effect.json")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        AblationEffect.load(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("words", "units"),
    [
        ("text", [3, 0, 5]),
        ("TEXT", [3, 0, 5]),
        (["word", "letters"], [1, 4]),
        ("written text", [0]),
        ("dog", []),
        ("c++", [6]),
    ],
)
def test_whole_words_are_found(words: str | list[str], units: list[int]) -> None:
    texts = [
        "written text",
        "a word",
        "textures of context",
        "Text.",
        "letters, wordless",
        "a text-like thing",
        "c++ code",
    ]
    assert units_described(described(texts, [2.0, 5.0, 9.0, 3.0, 1.0, 0.5, 0.0]), words) == units


def test_labels_become_descriptions(labeled: ShapeDataset) -> None:
    together = torch.zeros(1, 2, 32, dtype=torch.int64)
    together[0, 0, 5] = 50
    areas, fired = torch.full((32,), 100), torch.full((1, 2, 6), 100)
    layer = LayerDissection("conv", labeled.concepts, labeled.categories, torch.zeros(2), together, fired, areas, 1000)
    found = labels_as_descriptions(layer)
    assert [each.text for each in found] == ["text", ""]
    assert found[0].score == pytest.approx(math.log(1 / 3))
    assert [each.text for each in labels_as_descriptions(layer, 0.34)] == ["", ""]
    with pytest.raises(InputError, match="least is 2"):
        labels_as_descriptions(layer, 2)


def test_counts_are_compared_by_fishers_test() -> None:
    counts = compare_descriptions(described(["text"] * 8 + ["dog"] * 12), described(["text"] + ["dog"] * 29), "text")
    assert (counts.named, counts.units) == ((8, 1), (20, 30))
    assert counts.p_value == pytest.approx(0.0017, abs=5e-4)
    assert counts.shares[0].low > counts.shares[1].value
    assert "8 of 20" in counts.table()


def test_bad_input(cases: tuple[Tensor, Tensor]) -> None:
    images, labels = cases
    for arguments, options, sentence in (
        ((images, labels), {"units": []}, r"units are \[\]; expected at least one of the 5 units"),
        ((images, labels), {"units": [5]}, r"units are \[5\]"),
        ((images, labels), {"units": [1, 1]}, "each once"),
        ((images, labels[:3]), {}, r"labels have shape \(3,\)"),
        ((images, labels.float()), {}, "torch.float32; expected"),
        ((images, labels), {"counts": [4]}, r"counts are \[4\]; expected some from 0 to 1"),
        ((images, labels), {"counts": []}, r"counts are \[\]"),
        ((images, labels), {"random_choices": 0}, "random_choices is 0"),
        ((images, labels), {"batch_size": 0}, "batch_size is 0"),
        ((images, labels), {"validation": (images, labels[:2])}, "labels of the validation images have shape"),
    ):
        with pytest.raises(InputError, match=sentence):
            ablation_effect(Known(), "units", options.pop("units", [2]), *arguments, **options)  # type: ignore[attr-defined, arg-type]
    with pytest.raises(InputError, match='split is "dirty"; expected one of marked'):
        spurious_shapes(3, "dirty")
    with pytest.raises(InputError, match="count is 3"):
        train_shape_classifier(count=3)
    with pytest.raises(InputError, match="words are"):
        units_described(described(["a"]), "  ")
    with pytest.raises(InputError, match="the models have 1 and 0 descriptions"):
        compare_descriptions(described(["a"]), [], "a")
