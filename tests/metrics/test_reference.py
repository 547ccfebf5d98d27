"""The reference as a state: it adds up, it is saved, it knows its images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from captum_proto import PathReference, PathSimilarity
from captum_proto._utils.errors import InputError, StateError
from captum_proto.metrics import SortedSimilarity


@pytest.fixture
def reference(make_cnn, make_images) -> PathReference:
    return PathSimilarity(make_cnn()).fit(make_images(5)).reference


def test_parts_add_up_to_the_whole(make_cnn, make_images):
    images = make_images(7).double()
    model = make_cnn(dtype=torch.float64)

    def fit(part):
        return PathSimilarity(model).fit(part).reference

    whole, parts = fit(images), fit(images[:3]) + fit(images[3:])
    assert parts.count == whole.count == 7
    assert parts.digests == whole.digests
    for a, b in zip(parts.sums, whole.sums, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(parts.mean_image(), whole.mean_image())
    similarity = PathSimilarity(model)
    similarity._reference = parts
    expected = PathSimilarity(model).fit(images).evaluate(images, leave_one_out=True)
    scores = similarity.evaluate(images, leave_one_out=True)
    torch.testing.assert_close(scores.l1, expected.l1, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(scores.spearman, expected.spearman, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", [PathSimilarity, SortedSimilarity])
def test_parts_are_summed_and_scored_apart(kind, make_cnn, make_images):
    """What several processes do: references of parts, of one image too, and a comparison from scores of parts."""
    images, other, pictures, model = make_images(5), make_images(4, seed=1), make_images(2, seed=2), make_cnn()
    similarity = kind(model, layers="block")
    parts = [similarity.fit_part(part) for part in (images[:4], images[4:])]
    with pytest.raises(RuntimeError, match="there is no reference yet"):
        similarity.evaluate(images)  # nothing is fitted by it
    parts[0].merge(parts[1])
    similarity.with_reference(parts[0])
    expected = similarity.compare(pictures, images, other, controls=["gray"])
    scores = similarity.evaluate(images, leave_one_out=True)
    found = similarity.compare(pictures, scores, similarity.evaluate(other), controls=["gray"])
    assert found.settings == expected.settings
    assert found.table() == expected.table()
    assert found.settings["left_out"] == 5
    fresh = kind(model, layers="block")
    with pytest.raises(StateError, match="same_class holds scores, and there is no reference that they are of"):
        fresh.compare(pictures, scores, other)
    with pytest.raises(InputError, match="other_class holds scores of other layers than the reference's"):
        similarity.compare(pictures, scores, kind(model, layers="head").fit(images).evaluate(other))


def test_scores_have_to_hold_every_measure(make_cnn, make_images):
    images, model = make_images(3), make_cnn()
    scores = PathSimilarity(model).fit(images).evaluate(images, leave_one_out=True)
    more = PathSimilarity(model, measures=["pearson"]).fit(images)
    with pytest.raises(InputError, match="same_class holds scores without pearson; score the images with this object"):
        more.compare(images[:1], scores, images)


def test_adding_changes_neither_part(reference, make_cnn, make_images):
    other = PathSimilarity(make_cnn()).fit(make_images(2, seed=9)).reference
    before = [total.clone() for total in reference.sums], list(reference.digests)
    together = reference + other
    together.sums[0] += 1
    assert all(torch.equal(a, b) for a, b in zip(before[0], reference.sums, strict=True))
    assert reference.digests == before[1]
    assert together.count == 7


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"repeat": "first"}, "repeat"),
        ({"alias": "reference"}, "alias"),
        ({"layers": "block"}, "layers"),
    ],
)
def test_only_references_of_one_kind_add_up(make_cnn, make_images, options, what):
    reference = PathSimilarity(make_cnn(), "head").fit(make_images(2)).reference
    other = PathSimilarity(make_cnn(), **{"layers": "head", **options}).fit(make_images(2)).reference
    with pytest.raises(ValueError, match=f"the references differ in {what} and cannot be added"):
        reference + other


def test_references_of_other_models_and_sizes_do_not_add_up(reference, make_cnn, make_images):
    with pytest.raises(ValueError, match="differ in model and cannot be added"):
        reference + PathSimilarity(make_cnn(seed=1)).fit(make_images(2)).reference
    for layers in (None, "head"):  # the head's output has one shape for images of any size
        reference = PathSimilarity(make_cnn(), layers).fit(make_images(2)).reference
        with pytest.raises(ValueError, match="differ in image_shape and cannot be added"):
            reference + PathSimilarity(make_cnn(), layers).fit(make_images(2, (3, 8, 8))).reference


def test_it_knows_its_images_by_their_values(reference, make_images):
    inside, outside = make_images(5), make_images(5, seed=1)
    assert all(reference.contains(image.clone()) for image in inside)
    assert not any(reference.contains(image) for image in outside)
    almost = inside[0].clone()
    almost[0, 0, 0] += 1e-6
    assert not reference.contains(almost)
    assert reference.contains(inside[0].double())
    grown = reference + reference
    assert grown.contains(inside[0])
    reference.digests.append("another")
    assert reference.contains(inside[0])


def test_mean_image_and_means(reference, make_images):
    images = make_images(5)
    torch.testing.assert_close(reference.mean_image(), images.mean(0))
    assert reference.mean_image().dtype == torch.float32
    assert reference.image_shape == (3, 12, 12)
    assert reference.count == 5
    assert reference.mean(0).dtype == torch.float32
    assert torch.equal(reference.mean(0, torch.float64), reference.sums[0] / 5)


def test_distances_against_scipy(reference):
    generator = torch.Generator().manual_seed(2)
    rows = torch.rand(3, len(reference.sums[0]), generator=generator)
    spearman, l1 = reference.distance(0, rows)
    mean = (reference.sums[0] / 5).float().numpy()
    for i, row in enumerate(rows.numpy()):
        assert float(spearman[i]) == pytest.approx(stats.spearmanr(row, mean).statistic, abs=1e-12)
        assert float(l1[i]) == pytest.approx(np.abs(row.astype(np.float64) - mean).sum(), rel=1e-12)


def test_leaving_out_in_small_portions_is_leaving_out_at_once(reference, monkeypatch):
    from captum_proto.metrics import reference as module

    rows = torch.rand(4, len(reference.sums[0]))
    at_once = reference.distance_without(0, rows)
    monkeypatch.setattr(module, "_LEAVE_ONE_OUT_VALUES", rows.shape[1])
    one_by_one = reference.distance_without(0, rows)
    assert all(torch.equal(a, b) for a, b in zip(at_once, one_by_one, strict=True))
    mean = (reference.sums[0].numpy() - rows[1].double().numpy()) / 4
    assert float(at_once[1][1]) == pytest.approx(
        np.abs(rows[1].double().numpy() - mean.astype(np.float32)).sum(), rel=1e-9
    )


def test_rows_of_another_precision_are_compared_in_theirs(reference):
    rows = torch.rand(2, len(reference.sums[0]), dtype=torch.float64)
    in_single = reference.distance(0, rows.float())
    in_double = reference.distance(0, rows)
    again = reference.distance(0, rows.float())
    assert reference.prepared(0, rows)[0].dtype == torch.float64
    assert all(torch.equal(a, b) for a, b in zip(in_single, again, strict=True))
    torch.testing.assert_close(in_double[1], in_single[1], rtol=1e-5, atol=0)
    exact = (rows - reference.sums[0] / 5).abs().sum(1)
    torch.testing.assert_close(in_double[1], exact, rtol=1e-14, atol=0)


def test_saved_and_loaded_is_the_same(reference, tmp_path):
    file = tmp_path / "reference.safetensors"
    reference.save(file)
    loaded = PathReference.load(file)
    for name in ("layers", "shapes", "digests", "model", "repeat", "alias", "skipped", "count", "image_shape"):
        assert getattr(loaded, name) == getattr(reference, name), name
    assert all(torch.equal(a, b) for a, b in zip(loaded.sums, reference.sums, strict=True))
    assert torch.equal(loaded.pixel_sum, reference.pixel_sum)
    assert (loaded + reference).count == 10
