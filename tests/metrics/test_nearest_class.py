"""Which class an image is nearest to: planted answers, path similarity class by class, and SciPy's ranks."""

from __future__ import annotations

import csv
import math

import numpy as np
import pytest
import torch
from networks import seeded
from scipy import stats
from torch import Tensor, nn

from captum_proto import PathSimilarity, ops
from captum_proto.metrics import (
    NearestClass,
    NearestClassResult,
    SortedSimilarity,
    nearest_class,
    nearest_class_table,
)
from captum_proto.metrics import rank_correlation as module
from captum_proto.metrics.rank_correlation import rank_correlations

nan = math.nan
KINDS = {"spearman": PathSimilarity, "sorted": SortedSimilarity}


@pytest.fixture(scope="module")
def classes(make_images) -> dict[str, Tensor]:
    """Three classes, each a layout of its own with some noise."""
    layouts = make_images(3, seed=5)
    generator = torch.Generator().manual_seed(0)
    return {
        name: (layout + 0.15 * torch.randn(6, *layout.shape, generator=generator)).clamp(0, 1)
        for name, layout in zip(("cat", "dog", "owl"), layouts, strict=True)
    }


@pytest.fixture(scope="module")
def model(make_cnn) -> nn.Module:
    return make_cnn(dtype=torch.float64)


def fitted(model: nn.Module, classes: dict[str, Tensor], kind: str = "spearman", **options):
    return {name: KINDS[kind](model, **options).fit(images[:4].double()) for name, images in classes.items()}


# --- what it finds --------------------------------------------------------------------------------------------------------------


def test_images_are_nearest_to_their_own_class(model, classes) -> None:
    measure = NearestClass(fitted(model, classes))
    unseen = torch.cat([images[4:].double() for images in classes.values()])
    result = measure.ceiling(unseen, ["cat", "cat", "dog", "dog", "owl", "owl"])
    assert result.ranks().tolist() == [1] * 6
    assert result.nearest() == ["cat", "cat", "dog", "dog", "owl", "owl"]
    # Said to be of another class, as a picture planted in a network is, none of them is.
    planted = measure.evaluate(unseen, ["dog", "dog", "owl", "owl", "cat", "cat"])
    assert bool((planted.ranks() > 1).all())
    assert planted.summary().top1.value == 0
    assert torch.equal(planted.values, result.values)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("leave_one_out", [False, True])
def test_each_class_against_its_own_similarity(model, classes, kind: str, leave_one_out: bool) -> None:
    similarities = fitted(model, classes, kind, batch_size=3)
    images = torch.cat([classes["cat"][:2], classes["owl"][3:6]]).double()
    targets = ["cat", "cat", "owl", "owl", "owl"]
    result = NearestClass(similarities).evaluate(images, targets, leave_one_out=leave_one_out)
    by_class = []
    for similarity in similarities.values():
        scores = similarity.evaluate(images, leave_one_out=leave_one_out)
        if kind == "spearman":
            by_class.append(scores.spearman)
        else:
            units = [similarity.reference.natural_distance(i) for i in range(7)]
            by_class.append(scores.distance * torch.tensor(units, dtype=torch.float64))
    expected = torch.stack(by_class, 2)  # (N, L, K)
    if kind == "sorted":
        units = [[s.reference.natural_distance(i) for s in similarities.values()] for i in range(7)]
        expected = expected / torch.tensor(units, dtype=torch.float64).mean(1)[:, None]
    torch.testing.assert_close(result.values, expected.mean(1), rtol=1e-9, atol=1e-9)
    assert result.left_out.tolist() == [leave_one_out, leave_one_out, leave_one_out, False, False]
    assert (result.measure, result.labels, result.layers) == (kind, list(classes), similarities["cat"].reference.layers)
    ordered = expected.mean(1) if kind == "sorted" else -expected.mean(1)
    own = [result.labels.index(target) for target in targets]
    assert result.ranks().tolist() == [stats.rankdata(row)[i] for row, i in zip(ordered.numpy(), own, strict=True)]


def test_leaving_out_makes_the_own_class_look_farther(model, classes) -> None:
    measure, members = NearestClass(fitted(model, classes)), classes["dog"][:4].double()
    inside = measure.evaluate(members, "dog", leave_one_out=False)
    without = measure.evaluate(members, "dog")
    assert bool((inside.values[:, 1] > without.values[:, 1]).all())
    assert torch.equal(inside.values[:, [0, 2]], without.values[:, [0, 2]])
    assert (inside.summary().left_out, without.summary().left_out) == (0, 4)
    # It is the same as never to have been part of it.
    for i, image in enumerate(members):
        others = {
            **fitted(model, classes),
            "dog": PathSimilarity(model).fit(torch.cat([members[:i], members[i + 1 :]])),
        }
        with pytest.warns(
            UserWarning, match='class "dog" is the mean of 3 images and that of class "cat" of 4; a mean of fewer'
        ):
            never = NearestClass(others).ceiling(image[None], "dog")
        torch.testing.assert_close(never.values[0], without.values[i], rtol=0, atol=1e-9)
        assert never.summary().left_out == 0


@pytest.mark.parametrize("kind", KINDS)
def test_each_image_goes_through_the_model_once(classes, make_cnn, kind: str) -> None:
    model, seen = make_cnn(dtype=torch.float64), []
    measure = NearestClass(fitted(model, classes, kind))
    images = classes["cat"].double()
    measure.evaluate(images, "cat")  # whose first batch is looked at for whether the model treats each image by itself
    hook = model.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    measure.evaluate([images[:4], images[4:]], "cat")
    hook.remove()
    assert seen == [4, 2]


def test_some_layers_alone(model, classes) -> None:
    similarities, images = fitted(model, classes), classes["owl"].double()
    chosen = NearestClass(similarities, ["head", "stem.0"])
    assert chosen.layers == ["stem.0", "head"]
    alone = [NearestClass(similarities, name).evaluate(images, "owl").values for name in ("stem.0", "head")]
    torch.testing.assert_close(chosen.evaluate(images, "owl").values, (alone[0] + alone[1]) / 2)
    narrow = NearestClass(fitted(model, classes, layers=["stem.0", "head"])).evaluate(images, "owl")
    torch.testing.assert_close(narrow.values, chosen.evaluate(images, "owl").values)
    for whole in (False, True):  # a container that returns what its last child does
        pair = ["stem.1", "stem"] if whole else ["stem.1"]
        both = NearestClass(similarities, pair).evaluate(images, "owl").values
        torch.testing.assert_close(both, NearestClass(similarities, "stem").evaluate(images, "owl").values)


def test_classes_that_are_equally_near_share_the_mean_rank(model, classes) -> None:
    twins = {**classes, "twin": classes["cat"], 7: classes["cat"]}
    for kind in KINDS:
        result = NearestClass(fitted(model, twins, kind)).evaluate(classes["cat"][4:].double(), ["cat", 7])
        assert result.ranks().tolist() == [2, 2]
        assert result.summary().top1.value == 0
    assert result.labels == ["cat", "dog", "owl", "twin", 7]


@pytest.mark.parametrize("measure", KINDS)
def test_ranks_are_scipys(measure: str) -> None:
    random = np.random.default_rng(0)
    values = random.integers(0, 6, (200, 9)) / 8
    own = random.integers(0, 9, 200)
    result = NearestClassResult(
        list("abcdefghi"), torch.tensor(values), torch.tensor(own), torch.zeros(200).bool(), measure
    )
    sign = 1 if measure == "sorted" else -1
    expected = [stats.rankdata(sign * row)[i] for row, i in zip(values, own, strict=True)]
    assert result.ranks().tolist() == expected
    best = values.argmin(1) if measure == "sorted" else values.argmax(1)
    assert result.nearest() == ["abcdefghi"[i] for i in best]
    summary = result.summary()
    hits, n, z = sum(rank == 1 for rank in expected), 200, stats.norm.ppf(0.975)
    center = (hits + z**2 / 2) / (n + z**2)  # Wilson's interval, as it is written down
    half = z / (n + z**2) * math.sqrt(hits * (n - hits) / n + z**2 / 4)
    assert (summary.top1.value, summary.top1.low, summary.top1.high) == pytest.approx(
        (hits / n, center - half, center + half)
    )
    assert summary.median_rank == np.median(expected)
    assert (summary.chance_top1, summary.chance_rank) == (1 / 9, 5)
    assert (summary.images, summary.classes, summary.undefined) == (200, 9, 0)


def test_of_what_tells_nothing_the_rank_is_chance(classes) -> None:
    model = seeded(lambda: nn.Sequential(nn.ReLU(), nn.Conv2d(3, 4, 1, bias=False))).double()
    gray = torch.zeros(1, 3, 12, 12, dtype=torch.float64)
    result = NearestClass(fitted(model, classes)).evaluate(torch.cat([gray, classes["dog"][4:].double()]), "dog")
    assert result.values.isnan().all(1).tolist() == [True, False, False]
    assert result.ranks().tolist() == [2, 1, 1]
    assert result.nearest() == [None, "dog", "dog"]
    assert result.summary().undefined == 1


def test_a_layer_that_is_constant_for_one_class_counts_for_none() -> None:
    class Dark(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.threshold, self.all = nn.Threshold(0.5, 0.0), nn.Identity()
            self.weight = nn.Parameter(torch.ones(1))

        def forward(self, x: Tensor) -> Tensor:
            self.threshold(x * self.weight)
            return self.all(x)

    natural = {"bright": torch.rand(4, 1, 5, 5), "dark": torch.rand(4, 1, 5, 5) / 2.5}
    images = torch.rand(3, 1, 5, 5)
    for kind in ("spearman", "sorted"):
        both = nearest_class(Dark(), images, "bright", natural, measure=kind)
        alone = nearest_class(Dark(), images, "bright", natural, ["all"], measure=kind)
        torch.testing.assert_close(both.values, alone.values)
        assert both.layers == ["threshold", "all"]


def test_a_layer_that_returns_nothing_counts_for_none() -> None:
    class WithEmpty(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.nothing, self.conv = nn.Identity(), nn.Conv2d(1, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            self.nothing(x[:, :0])
            return self.conv(x)

    model, natural = seeded(WithEmpty), {"a": torch.rand(3, 1, 4, 4), "b": torch.rand(3, 1, 4, 4)}
    for kind in KINDS:
        result = nearest_class(model, natural["a"], "a", natural, measure=kind)
        assert result.layers == ["nothing", "conv"]
        alone = nearest_class(model, natural["a"], "a", natural, ["conv"], measure=kind)
        torch.testing.assert_close(result.values, alone.values)
    scores = PathSimilarity(model, measures=("cosine", "pearson")).fit(natural["a"]).evaluate(natural["b"])
    assert scores.cosine is not None
    assert scores.cosine.isnan().all(0).tolist() == [True, False]


# --- correlations of ranks ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [2**15, 7])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_correlations_are_those_of_scipy(columns: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_COLUMNS", columns)
    x, y = torch.randn(3, 100, dtype=dtype).relu(), torch.randn(4, 100, dtype=dtype)  # half of the values are tied
    pairs = rank_correlations(ops.SpearmanReference(x).doubled_ranks, ops.SpearmanReference(y).doubled_ranks)
    expected = [[stats.spearmanr(a, b).statistic for b in y.numpy()] for a in x.numpy()]
    np.testing.assert_allclose(pairs.numpy(), expected, rtol=0, atol=1e-13)
    assert pairs.shape == (3, 4)


def test_correlations_of_long_rows_are_those_of_the_operator() -> None:
    x, y = torch.randn(2, 300_000).relu(), torch.randn(2, 300_000).relu()
    pairs = rank_correlations(ops.SpearmanReference(x).doubled_ranks, ops.SpearmanReference(y).doubled_ranks)
    for column, reference in enumerate(y):
        torch.testing.assert_close(pairs[:, column], ops.spearman(x, reference), rtol=0, atol=1e-13)


def test_what_has_no_rank_correlation() -> None:
    x = torch.tensor([[1.0, 2, 3], [2, 2, 2], [1, nan, 3]])
    ranks = ops.SpearmanReference(x).doubled_ranks
    assert rank_correlations(ranks, ranks).isnan().tolist() == [[False, True, True], [True] * 3, [True] * 3]
    assert float(rank_correlations(ranks, ranks)[0, 0]) == 1


# --- in one call, files, bad input ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_in_one_call(model, classes, kind: str) -> None:
    images = classes["dog"][4:].double()
    similarities = fitted(model, classes, kind)
    expected = NearestClass(similarities).evaluate(images, "dog").values
    references = {name: similarity.reference for name, similarity in similarities.items()}
    natural = {name: given[:4].double() for name, given in classes.items()}
    assert torch.equal(nearest_class(model, images, "dog", references).values, expected)
    assert torch.equal(nearest_class(model, images, "dog", natural, measure=kind, batch_size=5).values, expected)


def test_classes_by_number_and_targets_as_tensors(model, classes) -> None:
    natural = {index: images[:4].double() for index, images in enumerate(classes.values())}
    unseen = torch.cat([images[4:5].double() for images in classes.values()])
    for targets in (torch.arange(3), np.arange(3), [0, 1, 2], (0, 1, 2)):
        result = nearest_class(model, unseen, targets, natural)
        assert result.own.tolist() == [0, 1, 2]
    assert nearest_class(model, unseen, 2, natural).own.tolist() == [2, 2, 2]
    assert nearest_class(model, unseen, torch.tensor(1), natural).own.tolist() == [1, 1, 1]


def test_saved_and_loaded_is_the_same(model, classes, tmp_path) -> None:
    result = NearestClass(fitted(model, classes, "sorted")).evaluate(classes["owl"].double(), "owl")
    result.save(tmp_path / "nearest")
    loaded = NearestClassResult.load(tmp_path / "nearest")
    assert (loaded.labels, loaded.measure, loaded.layers) == (result.labels, "sorted", result.layers)
    assert loaded.summary() == result.summary()
    assert torch.equal(loaded.values, result.values)
    result.to_csv(tmp_path / "nearest.csv")
    with open(tmp_path / "nearest.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6 * 3
    assert (rows[4]["image"], rows[4]["own class"], rows[4]["class"]) == ("1", "owl", "dog")
    assert float(rows[4]["sorted"]) == float(result.values[1, 1])


def test_a_table_has_chance_beneath(model, classes) -> None:
    measure, images = NearestClass(fitted(model, classes)), classes["cat"].double()
    lines = nearest_class_table(
        {"images": measure.evaluate(images, "cat"), "planted": measure.evaluate(images, "owl")}
    ).splitlines()
    assert lines[0].split("  ")[0] == "condition"
    assert lines[2].split()[:4] == ["images", "6", "100.0", "%"]
    assert lines[2].split()[-2:] == ["4", "0"]
    assert lines[3].split()[:4] == ["planted", "6", "0.0", "%"]
    assert lines[4].split() == ["chance", "33.3", "%", "2.0"]
    with pytest.raises(ValueError, match="there are no results to show"):
        nearest_class_table({})
    other = NearestClass(fitted(model, {"a": classes["cat"], "b": classes["dog"]})).evaluate(images, "a")
    with pytest.raises(ValueError, match="the results are of different classes"):
        nearest_class_table({"images": measure.evaluate(images, "cat"), "others": other})


def test_one_class_only(model, classes) -> None:
    for count in (0, 1):
        few = dict(list(fitted(model, classes).items())[:count])
        with pytest.raises(
            ValueError, match=f"there is a reference of {count} class; which class is nearest needs at least two"
        ):
            NearestClass(few)


@pytest.mark.parametrize(
    ("options", "what"),
    [({"layers": "head"}, "layers"), ({"repeat": "first"}, "repeat"), ({"alias": "reference"}, "alias")],
)
def test_references_that_differ(model, classes, options, what: str) -> None:
    similarities = fitted(model, classes)
    similarities["owl"] = PathSimilarity(model, **options).fit(classes["owl"].double())
    with pytest.raises(
        ValueError, match=f'the references of classes "cat" and "owl" differ in {what}; fit all on one model'
    ):
        NearestClass(similarities)


def test_similarities_that_differ(model, classes, make_cnn) -> None:
    similarities = fitted(model, classes)
    for wrong, error, message in (
        (
            SortedSimilarity(model).fit(classes["owl"].double()),
            TypeError,
            'has a PathSimilarity and class "owl" a SortedS',
        ),
        (PathSimilarity(make_cnn()).fit(classes["owl"]), ValueError, "are of different models or preprocessings"),
        (
            PathSimilarity(model, preprocess=torch.sqrt).fit(classes["owl"].double()),
            ValueError,
            "different models or prep",
        ),
        (PathSimilarity(model).fit(torch.rand(3, 3, 9, 9).double()), ValueError, "differ in image_shape"),
        (PathSimilarity(model), RuntimeError, "there is no reference yet"),
        (classes["owl"], TypeError, 'the similarity of class "owl" is a Tensor; expected a fitted PathSimilarity'),
    ):
        with pytest.raises(error, match=message):
            NearestClass({**similarities, "owl": wrong})
    with pytest.raises(TypeError, match="similarities is a list; expected a mapping from classes"):
        NearestClass(list(similarities.values()))
    with pytest.raises(TypeError, match=r"a class is called \(1, 2\); expected a string or a whole number"):
        NearestClass({**similarities, (1, 2): similarities["owl"]})
    with pytest.raises(ValueError, match='the references have no layer "heed"; did you mean "head"'):
        NearestClass(similarities, ["heed"])
    with pytest.raises(ValueError, match="layers is empty"):
        NearestClass(similarities, [])
    with pytest.raises(TypeError, match="references is a list; expected a mapping"):
        nearest_class(model, classes["cat"], "cat", list(similarities.values()))
    with pytest.raises(ValueError, match='measure is "spearmen"; did you mean "spearman"'):
        nearest_class(model, classes["cat"], "cat", classes, measure="spearmen")


def test_images_and_targets_that_do_not_fit(model, classes, make_cnn) -> None:
    measure, images = NearestClass(fitted(model, classes)), classes["cat"].double()
    for target, error, message in (
        ("car", ValueError, 'target "car" is none of the 3 classes that have a reference; did you mean "cat"'),
        (
            ["cat", "zebra"],
            ValueError,
            "target \"zebra\" is none of the 3 classes that have a reference; expected one such as 'cat'",
        ),
        (3, ValueError, 'target "3" is none of the 3 classes'),
        (["cat", "dog"], ValueError, "there are 6 images and 2 targets; give one target for each image"),
        ([], ValueError, "there are 6 images and 0 targets"),
        (None, TypeError, "target is a NoneType; expected the name of a class"),
    ):
        with pytest.raises(error, match=message):
            measure.evaluate(images, target)
    with pytest.raises(ValueError, match='an image is part of the reference of class "cat"'):
        measure.ceiling(images, "cat")
    with pytest.raises(ValueError, match=r"the images have shape \(3, 9, 9\)"):
        measure.evaluate(torch.rand(1, 3, 9, 9), "cat")
    changed = make_cnn(dtype=torch.float64)
    later = NearestClass(fitted(changed, classes))
    with torch.no_grad():
        changed.head.bias += 1
    with pytest.raises(ValueError, match="fitted on another model or other weights"):
        later.evaluate(images, "cat")
