"""The three-way comparison: figures worked out by hand, and the comparison of a real model put together from its parts."""

from __future__ import annotations

import csv
import math
import warnings
from dataclasses import asdict

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from captum_proto import PathComparison, PathSimilarity, PrototypeGeneration
from captum_proto._utils.files import save_tensors
from captum_proto.metrics import CONTROLS, ConditionSummary, smooth, summarize
from captum_proto.metrics.comparison import condition_label, save_summaries, summary_table

nan = math.nan
SAME, OTHER = "same_class", "other_class"


def table(rows: list[list[float]]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def by_hand(shift: float = 0.0) -> PathComparison:
    """
    Four layers, the third dead. Same-class means: 0.7, 0.5, –, 0.2; other-class means: 0.4, 0.4, –, 0.1.

    L1 of the same class: 2, 2, 0, 4 on average; of other classes: 4, 2, 0, 8.
    """
    return PathComparison(
        layers=["a", "b, with a comma", "dead", "c"],
        spearman={
            "prototype": table([[0.75, 0.45, 0.9, nan]]) + shift,
            SAME: table([[0.6, 0.4, nan, 0.2], [0.8, 0.6, nan, nan]]),
            OTHER: table([[0.5, 0.5, nan, 0.1], [0.3, 0.3, nan, 0.1], [0.4, 0.4, nan, nan]]),
            "gray": table([[0.85, 0.6, nan, 0.05], [0.95, 0.6, nan, 0.15]]),
        },
        l1={
            "prototype": table([[1, 2, 0, 6]]),
            SAME: table([[1, 2, 0, 4], [3, 2, 0, 4]]),
            OTHER: table([[4, 2, 0, 8], [4, 2, 0, 8], [4, 2, 0, 8]]),
            "gray": table([[5, 1, 0, 4], [7, 1, 1, 4]]),
        },
        settings={"leave_one_out": True, "left_out": 2, "reference_images": 2},
    )


def close(values: Tensor, expected: list[float]) -> None:
    torch.testing.assert_close(values, table([expected])[0], rtol=0, atol=1e-12, equal_nan=True)


# --- figures -------------------------------------------------------------------------------------------------------------------------


def test_means_and_dead_layers():
    report = by_hand()
    assert report.conditions == ["prototype", SAME, OTHER, "gray"]
    assert report.dead.tolist() == [False, False, True, False]
    close(report.mean_spearman(SAME), [0.7, 0.5, nan, 0.2])
    close(report.mean_spearman("gray"), [0.9, 0.6, nan, 0.1])
    close(report.mean_l1("gray"), [6, 1, 0.5, 4])


def test_normalized_curves_run_from_the_other_class_to_the_same():
    report = by_hand()
    close(report.normalized_spearman("prototype"), [0.35 / 0.3, 0.5, nan, nan])
    close(report.normalized_spearman(SAME), [1, 1, nan, 1])
    close(report.normalized_spearman(OTHER), [0, 0, nan, 0])
    close(report.normalized_l1("prototype"), [-0.5, nan, nan, 0.5])  # where D_I = D_dc there is no scale
    close(report.normalized_l1(SAME), [0, nan, nan, 0])
    close(report.normalized_l1(OTHER), [1, nan, nan, 1])


def test_both_assertions_layer_by_layer():
    report = by_hand()
    assert report.above_mean("prototype").tolist() == [True, False, False, False]
    assert report.above_every("prototype")[[0, 1, 3]].tolist() == [False, False, False]
    assert report.above_mean("gray").tolist() == [True, True, False, False]
    assert report.above_every("gray")[[0, 1, 3]].tolist() == [True, True, False]  # equal is enough
    assert report.below_mean("prototype").tolist() == [True, True, True, False]
    assert report.below_mean("gray").tolist() == [False, True, False, True]
    assert report.above_mean(SAME)[[0, 1, 3]].tolist() == [True] * 3
    assert report.below_mean(SAME).tolist() == [True] * 4


def test_a_row_of_the_table():
    row = by_hand().summary("prototype")
    assert (row.condition, row.images, row.classes, row.undefined) == ("prototype", 1, 1, 1)
    assert row.spearman == pytest.approx(0.6)  # the dead layer's 0.9 and the undefined one left out
    assert row.spearman_over_layers == pytest.approx(np.std([0.75, 0.45], ddof=1))
    assert math.isnan(row.spearman_over_images)
    assert math.isnan(row.spearman_over_classes)
    assert row.normalized_spearman == pytest.approx(np.median([0.35 / 0.3, 0.5]))
    assert row.normalized_l1 == pytest.approx(np.median([-0.5, 0.5]))
    assert row.spearman_above_mean == pytest.approx(1 / 3)
    assert row.spearman_above_every == 0
    assert row.l1_below_mean == pytest.approx(2 / 3)  # of the living layers

    row = by_hand().summary("gray")
    assert (row.images, row.undefined) == (2, 0)
    assert row.spearman == pytest.approx((0.9 + 0.6 + 0.1) / 3)
    assert row.spearman_over_images == pytest.approx(np.std([1.5 / 3, 1.7 / 3], ddof=1))
    assert row.spearman_above_mean == pytest.approx(2 / 3)
    assert row.spearman_above_every == pytest.approx(2 / 3)
    assert row.l1_below_mean == pytest.approx(2 / 3)

    same = by_hand().summary(SAME)
    assert same.spearman == pytest.approx((0.7 + 0.5 + 0.2) / 3)
    assert same.spearman_over_images == pytest.approx(np.std([1.2 / 3, 1.4 / 2], ddof=1))
    assert (same.normalized_spearman, same.normalized_l1) == (pytest.approx(1), pytest.approx(0))
    assert [row.condition for row in by_hand().summaries()] == by_hand().conditions


def test_nothing_but_dead_layers():
    dead = torch.full((2, 3), nan, dtype=torch.float64)
    report = PathComparison(
        ["a", "b", "c"],
        dict.fromkeys(("prototype", SAME, OTHER), dead),
        dict.fromkeys(("prototype", SAME, OTHER), dead),
    )
    row = report.summary("prototype")
    assert report.dead.all()
    assert all(
        math.isnan(v) for v in (row.spearman, row.normalized_spearman, row.normalized_l1, row.spearman_above_mean)
    )
    assert "3 layers, 3 dead" in report.table()


def test_over_classes():
    first, second = by_hand(), by_hand(shift=0.1)
    rows = {row.condition: row for row in summarize([first, second])}
    row = rows["prototype"]
    assert (row.classes, row.images, row.undefined) == (2, 2, 2)
    assert row.spearman == pytest.approx((0.6 + 0.7) / 2)
    assert row.spearman_over_classes == pytest.approx(np.std([0.6, 0.7], ddof=1))
    # 0.85 and 0.55 lie above the mean in both living layers that have a value, and above every image in the first.
    assert row.spearman_above_mean == pytest.approx((1 / 3 + 2 / 3) / 2)
    assert row.spearman_above_every == pytest.approx((0 + 1 / 3) / 2)
    assert row.l1_below_mean == pytest.approx(2 / 3)
    assert math.isnan(row.spearman_over_images)
    assert rows[SAME].spearman_over_classes == pytest.approx(0)
    assert rows[SAME].images == 4
    (one,) = [row for row in summarize([first]) if row.condition == "gray"]
    alone = asdict(first.summary("gray"))
    assert {k: v for k, v in asdict(one).items() if not (isinstance(v, float) and math.isnan(v))} == pytest.approx(
        {k: v for k, v in alone.items() if not (isinstance(v, float) and math.isnan(v))}
    )


def test_only_comparisons_of_one_kind_are_summarized():
    with pytest.raises(ValueError, match="there are no comparisons to summarize"):
        summarize([])
    other = by_hand()
    other.layers = [*other.layers[:-1], "d"]
    with pytest.raises(ValueError, match="the comparisons differ in their layers or conditions"):
        summarize([by_hand(), other])
    fewer = by_hand()
    del fewer.spearman["gray"]
    with pytest.raises(ValueError, match="differ in their layers or conditions"):
        summarize([by_hand(), fewer])


def test_the_table_shows_figures_and_dashes():
    text = by_hand().table()
    lines = text.splitlines()
    assert len(lines) == 2 + 4 + 2
    assert len({len(line.rstrip()) <= len(lines[1]) for line in lines[:6]}) == 1
    cells = lines[2].split()
    assert cells == ["prototype", "1", "0.600", "0.212", "–", "33.3", "%", "0.0", "%", "66.7", "%", "0.83", "0.00", "1"]
    assert lines[3].split()[-6:] == ["–", "–", "–", "1.00", "0.00", "0"]  # the same class is the measure of the others
    assert lines[-1] == (
        "4 layers, 1 dead; reference: 2 images; "
        "2 of 2 same-class images were left out of the mean they are compared with."
    )
    assert "± classes" in summary_table(summarize([by_hand(), by_hand()]))
    assert "± images" in lines[0]


# --- keeping it ----------------------------------------------------------------------------------------------------------------------


def test_the_csv_holds_every_value_to_the_last_bit(tmp_path):
    report = by_hand()
    report.spearman["prototype"][0, 0] = 1 / 3
    file = tmp_path / "new" / "scores.csv"
    report.to_csv(file)
    with file.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["condition", "image", "index", "layer", "spearman", "l1"]
    assert len(rows) == (1 + 2 + 3 + 2) * 4
    for condition in report.conditions:
        own = [row for row in rows if row["condition"] == condition]
        for name in ("spearman", "l1"):
            values = table([[float(row[name]) for row in own]]).view(-1, 4)
            expected = getattr(report, name)[condition]
            assert torch.equal(values.nan_to_num(-9), expected.nan_to_num(-9))
        assert [(int(row["image"]), int(row["index"]), row["layer"]) for row in own] == [
            (i, j, layer) for i in range(len(own) // 4) for j, layer in enumerate(report.layers)
        ]
    with pytest.raises(FileExistsError, match="overwrite=True"):
        report.to_csv(file)
    report.to_csv(file, overwrite=True)


def test_saved_and_loaded_is_the_same(tmp_path):
    report, file = by_hand(), tmp_path / "comparison.safetensors"
    report.spearman["again"] = report.spearman["gray"]  # one tensor under two names
    report.l1["again"] = report.l1["gray"]
    report.save(file)
    loaded = PathComparison.load(file)
    assert (loaded.layers, loaded.conditions, loaded.settings) == (report.layers, report.conditions, report.settings)
    for condition in report.conditions:
        for name in ("spearman", "l1"):
            assert torch.equal(
                getattr(loaded, name)[condition].nan_to_num(-9), getattr(report, name)[condition].nan_to_num(-9)
            )
    assert loaded.table() == report.table()


def test_summaries_as_csv(tmp_path):
    report = by_hand()
    save_summaries({"dogs, all": report.summaries(), "mean": summarize([report, report])}, tmp_path / "summary.csv")
    lines = (tmp_path / "summary.csv").read_text().splitlines()
    assert len(lines) == 1 + 2 * len(report.conditions)
    assert lines[1].startswith('"dogs, all",prototype,1,')


def test_a_comparison_of_an_earlier_version_is_told_from_a_damaged_one(tmp_path):
    report, file = by_hand(), tmp_path / "comparison.safetensors"
    tensors = {f"spearman.{name}": values for name, values in report.spearman.items()}
    save_tensors(
        file, "path comparison", tensors, {"layers": report.layers, "groups": report.conditions, "settings": {}}
    )
    with pytest.raises(ValueError, match=r"saved by an earlier version of captum_proto; make the comparison again"):
        PathComparison.load(file)


# --- smoothing -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", [1, 2, 5, 10])
def test_smoothing_is_the_moving_mean_of_the_paper(window):
    curve = torch.randn(67, dtype=torch.float64)
    smoothed = smooth(curve, window).numpy()
    assert smoothed.shape == (67,)
    # In the interior it is NumPy's convolution; of an even window the extra value is the next one, as scipy.ndimage has it.
    interior = np.convolve(curve.numpy(), np.full(window, 1 / window), mode="valid")
    begin = (window - 1) // 2
    np.testing.assert_allclose(smoothed[begin : begin + len(interior)], interior, rtol=0, atol=1e-12)
    # At the ends the curve is reflected.
    reflected = np.pad(curve.numpy(), window, mode="symmetric")
    whole = np.convolve(reflected, np.full(window, 1 / window), mode="valid")
    np.testing.assert_allclose(smoothed, whole[window - begin : window - begin + 67], rtol=0, atol=1e-12)


def test_smoothing_keeps_a_constant_and_the_undefined_local():
    np.testing.assert_allclose(smooth(torch.full((30,), 0.25), 10).numpy(), 0.25, rtol=1e-12)
    curve = torch.zeros(40)
    curve[20] = nan
    assert torch.isnan(smooth(curve, 5)).nonzero().flatten().tolist() == [18, 19, 20, 21, 22]


# --- a comparison of a model -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def parts(make_cnn, make_images):
    model = make_cnn()
    return model, make_images(3, seed=2), make_images(6), 1 - make_images(4, seed=1)


def compare(parts, **options) -> PathComparison:
    model, prototypes, same, other = parts
    return PathSimilarity(model).compare(prototypes, same, other, **{"ascent_steps": 3, **options})


def equal(a: PathComparison, b: PathComparison, condition: str) -> bool:
    return all(
        torch.equal(getattr(a, name)[condition].nan_to_num(-9), getattr(b, name)[condition].nan_to_num(-9))
        for name in ("spearman", "l1")
    )


def test_every_comparison_has_its_controls(parts):
    report = compare(parts)
    assert report.conditions == [
        "prototype",
        SAME,
        OTHER,
        "gray",
        "noise",
        "ascent",
        "feature_visualization",
        "mean_image",
    ]
    assert report.conditions[3:] == list(CONTROLS)
    assert {condition: len(value) for condition, value in report.spearman.items()} == {
        "prototype": 3,
        SAME: 6,
        OTHER: 4,
        "gray": 1,
        "noise": 3,
        "ascent": 3,
        "feature_visualization": 3,
        "mean_image": 1,
    }
    for condition in report.conditions:
        assert (
            report.spearman[condition].shape
            == report.l1[condition].shape
            == (len(report.l1[condition]), len(report.layers))
        )
        assert report.spearman[condition].dtype == torch.float64
        assert condition_label(condition) in report.table()


def test_people_read_labels_and_files_hold_keys(tmp_path):
    report = by_hand()
    assert [line.split("  ")[0] for line in report.table().splitlines()[2:6]] == [
        "prototype",
        "same class",
        "other class",
        "gray",
    ]
    report.to_csv(tmp_path / "scores.csv")
    assert "\nsame_class,0,0,a," in (tmp_path / "scores.csv").read_text()


@pytest.mark.parametrize("leave_one_out", [True, False])
def test_natural_images_leave_themselves_out_and_nobody_else(parts, leave_one_out):
    model, prototypes, same, other = parts
    report = compare(parts, leave_one_out=leave_one_out)
    similarity = PathSimilarity(model).fit(same)
    expected = {
        "prototype": similarity.evaluate(prototypes),
        SAME: similarity.evaluate(same, leave_one_out=leave_one_out),
        OTHER: similarity.evaluate(other),
        "gray": similarity.evaluate(torch.full((1, 3, 12, 12), 0.5)),
        "mean_image": similarity.evaluate(same.double().mean(0, keepdim=True).float()),
    }
    for condition, scores in expected.items():
        torch.testing.assert_close(report.spearman[condition], scores.spearman, rtol=0, atol=1e-6, equal_nan=True)
        torch.testing.assert_close(report.l1[condition], scores.l1, rtol=1e-5, atol=1e-6)
    assert report.settings["leave_one_out"] is leave_one_out
    assert report.settings["reference_images"] == 6
    if leave_one_out:
        assert bool((report.l1[SAME] > compare(parts, leave_one_out=False).l1[SAME] - 1e-9).all())


def test_a_prototype_that_is_a_natural_image_is_not_left_out(parts):
    model, _, same, other = parts
    report = PathSimilarity(model).compare(same[:1], same, other, controls=())
    within = PathSimilarity(model).fit(same).evaluate(same[:1])
    torch.testing.assert_close(report.l1["prototype"], within.l1, rtol=1e-5, atol=1e-6)


def test_the_ascent_is_for_the_prototypes_classes(parts):
    model, images, same, other = parts
    prototypes = PrototypeGeneration(model).generate([4, [0, 2], 4], (3, 12, 12), steps=2, warmup_steps=0)
    report = PathSimilarity(model).compare(prototypes, same, other, ascent_steps=5, seed=7)
    plain = PrototypeGeneration(model).generate(
        [4, [0, 2], 4],
        (3, 12, 12),
        steps=5,
        warmup_steps=0,
        transform=None,
        high_frequency_weight=0.0,
        seed=[7, 8, 9],
    )
    scores = PathSimilarity(model).fit(same).evaluate(plain.images)
    torch.testing.assert_close(report.spearman["ascent"], scores.spearman, rtol=0, atol=1e-6)
    # Told otherwise, it is for those classes; told nothing, for those the model sees.
    told = PathSimilarity(model).compare(prototypes, same, other, ascent_steps=5, seed=7, target=1)
    assert not torch.allclose(told.l1["ascent"], report.l1["ascent"])
    seen = model(images).argmax(1).tolist()
    guessed = PathSimilarity(model).compare(images, same, other, ascent_steps=5)
    stated = PathSimilarity(model).compare(images, same, other, ascent_steps=5, target=seen)
    assert equal(guessed, stated, "ascent")


def test_only_the_controls_asked_for(parts):
    assert compare(parts, controls=["mean_image", "gray"]).conditions == [
        "prototype",
        SAME,
        OTHER,
        "gray",
        "mean_image",
    ]
    assert compare(parts, controls="noise").conditions == ["prototype", SAME, OTHER, "noise"]
    assert compare(parts, controls=()).conditions == ["prototype", SAME, OTHER]


def test_fewer_and_more_images_of_the_controls_than_prototypes(parts):
    everything, fewer, more = compare(parts), compare(parts, control_count=2), compare(parts, control_count=5)
    for condition in ("noise", "ascent", "feature_visualization"):
        assert [len(report.spearman[condition]) for report in (everything, fewer, more)] == [3, 2, 5]
        assert torch.equal(fewer.l1[condition], everything.l1[condition][:2])
        torch.testing.assert_close(more.l1[condition][:3], everything.l1[condition], rtol=1e-4, atol=0)
    with pytest.raises(ValueError, match="control_count is 0"):
        compare(parts, control_count=0)


def test_further_conditions_are_scored_as_images_of_their_own(parts):
    model, prototypes, same, other = parts
    report = compare(parts, controls=(), further={"theirs": 1 - prototypes})
    assert report.conditions == ["prototype", SAME, OTHER, "theirs"]
    alone = compare((model, 1 - prototypes, same, other), controls=())
    assert torch.equal(report.l1["theirs"], alone.l1["prototype"])
    with pytest.raises(ValueError, match="choose another name"):
        compare(parts, further={"gray": prototypes})


def test_the_seed_is_that_of_the_controls(parts):
    first, again, other = compare(parts), compare(parts), compare(parts, seed=1)
    assert all(equal(first, again, condition) for condition in first.conditions)
    differ = [condition for condition in first.conditions if not equal(first, other, condition)]
    assert differ == ["noise", "ascent", "feature_visualization"]
    assert other.settings["seed"] == 1


def test_the_global_generators_are_left_alone(parts):
    torch.manual_seed(4)
    state = torch.get_rng_state()
    compare(parts)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_reference_that_is_there_is_used(parts):
    model, prototypes, same, other = parts
    similarity = PathSimilarity(model).fit(same[:3])
    report = similarity.compare(prototypes, same, other, controls=())
    assert report.settings["reference_images"] == 3
    # The first three are left out of the mean they are part of; the other three are not part of it.
    within = similarity.evaluate(same)
    assert torch.equal(report.l1[SAME][3:], within.l1[3:])
    assert bool((report.l1[SAME][:3, -1] > within.l1[:3, -1]).all())


def test_a_list_is_gone_through_twice_but_a_generator_cannot_be(parts):
    model, prototypes, same, other = parts
    whole = PathSimilarity(model).compare(prototypes, same, other, controls=())
    listed = PathSimilarity(model).compare(prototypes, same.split(2), other.split(3), controls=())
    torch.testing.assert_close(listed.l1[SAME], whole.l1[SAME], rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="a list rather than a used-up generator"):
        PathSimilarity(model).compare(prototypes, (batch for batch in same.split(2)), other, controls=())


def test_how_many_were_left_out_is_told(parts):
    model, prototypes, same, other = parts
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # none of these is a mistake
        assert compare(parts).settings["left_out"] == 6
        assert compare(parts, leave_one_out=False).settings["left_out"] == 0
        half = PathSimilarity(model).fit(same[:3]).compare(prototypes, same, other, controls=())
    assert half.settings["left_out"] == 3
    assert "3 of 6 same-class images were left out" in half.table()


def test_images_that_change_from_pass_to_pass_are_noticed(parts):
    model, prototypes, same, other = parts

    class Augmented:
        def __init__(self) -> None:
            self.passes = 0

        def __iter__(self):
            self.passes += 1
            yield same[:3]
            yield same[3:] * (1 - 0.01 * self.passes)

    with pytest.warns(UserWarning, match="only 3 of 6 same-class images came again as they were fitted"):
        PathSimilarity(model).compare(prototypes, Augmented(), other, controls=())


def test_further_arguments_reach_every_part(make_images):
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.seen = nn.Linear(48, 3), set()

        def forward(self, x: Tensor, factor: float) -> Tensor:
            self.seen.add(factor)
            return self.linear(x.flatten(1)) * factor

    model = Scaled()
    same = make_images(4, (3, 4, 4))
    report = PathSimilarity(model).compare(same[:1], same, 1 - same, 2.5, ascent_steps=1)
    assert model.seen == {2.5}
    expected = PathSimilarity(model).fit(same, 2.5).evaluate(same, 2.5, leave_one_out=True)
    torch.testing.assert_close(report.l1[SAME], expected.l1)


def test_dead_and_undefined_layers_are_counted(make_images):
    class Dying(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.dead = nn.Threshold(2.0, 0.0)
            self.bright = nn.Threshold(0.4, 0.0)
            self.flat = nn.Flatten()
            self.head = nn.Linear(48, 3)

        def forward(self, x: Tensor) -> Tensor:
            self.dead(x)
            return self.head(self.flat(self.bright(x)))

    same = 0.5 + make_images(5, (3, 4, 4)) / 2
    dark = make_images(2, (3, 4, 4), seed=1) / 4
    report = PathSimilarity(Dying()).compare(dark, same, same.flip(3), controls=("gray",), ascent_steps=1)
    assert report.layers == ["dead", "bright", "flat", "head"]
    assert report.dead.tolist() == [True, False, False, False]
    assert report.summary("prototype").undefined == 2
    assert report.summary(SAME).undefined == 0
    assert "4 layers, 1 dead" in report.table()
    assert isinstance(report.summary("gray"), ConditionSummary)
    assert report.summary("prototype").spearman_above_mean <= 1 / 3
