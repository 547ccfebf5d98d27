"""Cosine and Pearson's correlation beside Spearman's, against NumPy and SciPy, and how they are asked for, saved and shown."""

from __future__ import annotations

import csv
import math

import numpy as np
import pytest
import torch
from scipy import spatial, stats
from torch import Tensor, nn

from captum_proto import PathComparison, PathScores, PathSimilarity, capture, path_similarity
from captum_proto.metrics import summarize
from captum_proto.metrics.comparison import pooled, save_summaries, summary_table
from captum_proto.metrics.linear_similarity import cosine_and_pearson

BOTH = ("spearman", "l1", "cosine", "pearson")


def by_scipy(x: np.ndarray, mean: np.ndarray) -> tuple[float, float]:
    constant = bool(np.all(x == x[0]) or np.all(mean == mean[0]))
    pearson = math.nan if constant else float(stats.pearsonr(x, mean).statistic)
    cosine = 1 - float(spatial.distance.cosine(x, mean)) if x.any() and mean.any() else math.nan
    return cosine, pearson


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
@pytest.mark.parametrize("each", [False, True])
def test_against_scipy(dtype: torch.dtype, each: bool) -> None:
    rows = torch.randn(4, 300).to(dtype)
    reference = torch.randn(4, 300, dtype=torch.float64) if each else torch.randn(300, dtype=torch.float64)
    cosine, pearson = cosine_and_pearson(rows, reference)
    assert cosine.dtype == pearson.dtype == torch.float64
    for i, row in enumerate(rows.double().numpy()):
        expected = by_scipy(row, (reference[i] if each else reference).numpy())
        assert (float(cosine[i]), float(pearson[i])) == pytest.approx(expected, rel=0, abs=1e-13)


def test_what_has_no_direction_or_does_not_vary_is_undefined() -> None:
    rows = torch.tensor([[0.0, 0, 0, 0], [0.1, 0.1, 0.1, 0.1], [1, 2, 3, math.nan], [1, 2, 3, 4]])
    cosine, pearson = cosine_and_pearson(rows, torch.tensor([1.0, 2, 3, 4]))
    assert cosine.isnan().tolist() == [True, False, True, False]
    assert pearson.isnan().tolist() == [True, True, True, False]
    cosine, pearson = cosine_and_pearson(rows, torch.full((4,), 0.3))
    assert cosine.isnan().tolist() == [True, False, True, False]
    assert bool(pearson.isnan().all())
    assert all(bool(values.isnan().all()) for values in cosine_and_pearson(rows, torch.zeros(4)))


@pytest.mark.parametrize("scale", [1e-200, 1e-30, 1.0, 1e30, 1e200])
def test_neither_large_nor_small_values_overflow(scale: float) -> None:
    x, y = torch.randn(2, 50, dtype=torch.float64), torch.randn(50, dtype=torch.float64)
    scaled = cosine_and_pearson(scale * x, scale * y)
    for values, expected in zip(scaled, cosine_and_pearson(x, y), strict=True):
        torch.testing.assert_close(values, expected, rtol=0, atol=1e-14)
    assert all(float(value) == pytest.approx(1, abs=1e-15) for value in cosine_and_pearson(scale * y[None], y))


@pytest.mark.parametrize("leave_one_out", [False, True])
def test_every_layer_against_scipy(make_cnn, make_images, leave_one_out: bool) -> None:
    model, natural = make_cnn(dtype=torch.float64), make_images(5).double()
    images = torch.cat([natural[:2], make_images(2, seed=1).double()])
    similarity = PathSimilarity(model, measures=BOTH).fit(natural)
    scores = similarity.evaluate(images, leave_one_out=leave_one_out)
    assert scores.left_out.tolist() == [leave_one_out, leave_one_out, False, False]
    known, scored = capture(model, natural), capture(model, images)
    assert scores.cosine is not None
    assert scores.pearson is not None
    for column, name in enumerate(scores.layers):
        rows = known[name].flatten(1).numpy()
        for i, row in enumerate(scored[name].flatten(1).numpy()):
            mean = (np.delete(rows, i, 0) if leave_one_out and i < 2 else rows).mean(0)
            expected = by_scipy(row, mean)
            found = float(scores.cosine[i, column]), float(scores.pearson[i, column])
            assert found == pytest.approx(expected, rel=0, abs=1e-10, nan_ok=True), name


def test_in_small_portions_as_at_once(make_cnn, make_images, monkeypatch: pytest.MonkeyPatch) -> None:
    from captum_proto.metrics import reference as module

    reference = PathSimilarity(make_cnn()).fit(make_images(5)).reference
    rows = torch.rand(4, len(reference.sums[0]))
    for leave_one_out in (False, True):
        at_once = reference.linear_similarity(0, rows, leave_one_out)
        with monkeypatch.context() as patch:
            patch.setattr(module, "_LINEAR_VALUES", rows.shape[1])
            one_by_one = reference.linear_similarity(0, rows, leave_one_out)
        for a, b in zip(at_once, one_by_one, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-14)


def test_they_are_computed_only_where_they_are_asked_for(make_cnn, make_images) -> None:
    model, natural, image = make_cnn(), make_images(4), make_images(1, seed=1)
    plain = PathSimilarity(model).fit(natural).evaluate(image)
    assert plain.cosine is plain.pearson is None
    for measures in (["pearson"], ("l1", "pearson"), iter(["spearman", "pearson"])):
        scores = PathSimilarity(model, measures=measures).fit(natural).evaluate(image)
        assert scores.cosine is None
        assert scores.pearson is not None
        assert torch.equal(scores.spearman.nan_to_num(-9), plain.spearman.nan_to_num(-9))
        assert torch.equal(scores.l1, plain.l1)
    assert path_similarity(model, image, natural, measures=BOTH).cosine is not None


@pytest.mark.parametrize(
    ("measures", "error", "message"),
    [
        (["kosine"], ValueError, r'there is no measure "kosine"; did you mean "cosine"\?; expected some of spearman'),
        ([3], ValueError, 'there is no measure "3"'),
        ("cosine", TypeError, "measures is 'cosine'; expected a list or tuple of names"),
        (7, TypeError, "measures is 7; expected a list or tuple of names"),
    ],
)
def test_measures_that_are_not_there(make_cnn, measures, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        PathSimilarity(make_cnn(), measures=measures)


def test_scores_are_put_together_with_what_all_of_them_have() -> None:
    ones = torch.ones(2, 3, dtype=torch.float64)
    left_out = torch.zeros(2, dtype=torch.bool)
    full, plain = PathScores(["a", "b", "c"], ones, ones, left_out, ones, ones), PathScores(["a"], ones, ones, left_out)
    both = PathScores.concatenate([full, full])
    assert both.cosine is not None
    assert both.cosine.shape == (4, 3)
    assert PathScores.concatenate([full, plain]).cosine is None


# --- comparisons -----------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def parts(make_cnn, make_images) -> tuple[nn.Module, Tensor, Tensor, Tensor]:
    return make_cnn(), make_images(2, seed=2), make_images(4), 1 - make_images(3, seed=1)


@pytest.fixture(scope="module")
def compared(parts) -> PathComparison:
    model, prototypes, same, other = parts
    return PathSimilarity(model, measures=BOTH).compare(prototypes, same, other, controls=("gray", "mean_image"))


@pytest.fixture(scope="module")
def plain(parts) -> PathComparison:
    model, prototypes, same, other = parts
    return PathSimilarity(model).compare(prototypes, same, other, controls=("gray", "mean_image"))


def test_a_summary_has_their_means_over_living_layers(compared: PathComparison, plain: PathComparison) -> None:
    for condition in compared.conditions:
        row, living = compared.summary(condition), ~compared.dead
        for name in ("cosine", "pearson"):
            values = getattr(compared, name)[condition]
            assert values.shape == compared.spearman[condition].shape
            expected = np.nanmean(np.nanmean(values[:, living].numpy(), 0))
            assert getattr(row, name) == pytest.approx(expected, abs=1e-14)
        assert plain.summary(condition).cosine is plain.summary(condition).pearson is None


def test_leaving_out_reaches_them(parts, compared: PathComparison) -> None:
    model, prototypes, same, other = parts
    inside = PathSimilarity(model, measures=BOTH).compare(
        prototypes, same, other, controls=("gray",), leave_one_out=False
    )
    assert bool((inside.mean_spearman("same_class") > compared.mean_spearman("same_class")).any())
    for name in ("cosine", "pearson"):
        within, without = (getattr(each, name)["same_class"].nanmean() for each in (inside, compared))
        assert float(within) > float(without)
        torch.testing.assert_close(getattr(inside, name)["prototype"], getattr(compared, name)["prototype"])


def test_tables_show_them_where_they_are(compared: PathComparison, plain: PathComparison) -> None:
    assert "cosine  Pearson" in compared.table().splitlines()[0]
    assert "cosine" not in plain.table()
    mixed = summary_table([*compared.summaries(), *plain.summaries()]).splitlines()
    assert "Pearson" in mixed[0]
    assert mixed[-1].split()[-2:] == ["–", "–"]
    # What was there before is as it was, with two columns more behind it.
    lines = zip(compared.table().splitlines(), plain.table().splitlines(), strict=True)
    assert all(longer.startswith(shorter) for longer, shorter in lines)


def test_csv_has_a_column_for_each(compared: PathComparison, plain: PathComparison, tmp_path) -> None:
    compared.to_csv(tmp_path / "all.csv")
    with open(tmp_path / "all.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["condition", "image", "index", "layer", *BOTH]
    expected = [value for condition in compared.conditions for value in compared.pearson[condition].flatten().tolist()]
    assert [float(row["pearson"]) for row in rows] == pytest.approx(expected, nan_ok=True, abs=0)
    plain.to_csv(tmp_path / "plain.csv")
    assert (tmp_path / "plain.csv").read_text().startswith("condition,image,index,layer,spearman,l1\n")
    for name, report in {"all": compared, "plain": plain}.items():
        save_summaries({"dogs": report.summaries()}, tmp_path / f"summary-{name}.csv")
    header, first = (tmp_path / "summary-all.csv").read_text().splitlines()[:2]
    assert header.endswith(",spearman_over_classes,cosine,pearson")
    assert float(first.rsplit(",", 1)[1]) == pytest.approx(compared.summary("prototype").pearson)
    assert (tmp_path / "summary-plain.csv").read_text().splitlines()[0].endswith(",spearman_over_classes")


def test_saved_and_loaded_with_and_without(compared: PathComparison, plain: PathComparison, tmp_path) -> None:
    for name, report in {"all": compared, "plain": plain}.items():
        report.save(tmp_path / name)
        loaded = PathComparison.load(tmp_path / name)
        for measure in BOTH:
            own, other = getattr(report, measure), getattr(loaded, measure)
            assert own.keys() == other.keys()
            assert all(torch.equal(own[key].nan_to_num(-9), other[key].nan_to_num(-9)) for key in own)
        assert loaded.table() == report.table()


def test_over_classes(compared: PathComparison, plain: PathComparison) -> None:
    (first, *_), alone = summarize([compared, compared]), compared.summary("prototype")
    assert (first.cosine, first.pearson) == pytest.approx((alone.cosine, alone.pearson))
    assert summarize([compared, plain])[0].cosine is None
    both = pooled([compared, compared])
    assert both.pearson["gray"].shape == (2, len(compared.layers))
    assert pooled([compared, plain]).cosine == {}
