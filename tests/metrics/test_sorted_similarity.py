"""Sorted path similarity against an optimal assignment and brute force, and what it sees and does not see of positions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from networks import seeded
from numpy.typing import NDArray
from scipy import optimize
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from captum_proto import PathSimilarity, capture
from captum_proto.metrics import SortedReference, SortedSimilarity

Array = NDArray[np.float64]


def channels(values: Tensor, axis: int = 1) -> Array:
    """(N, C, P)."""
    return values.movedim(axis, 1).reshape(len(values), values.shape[axis], -1).double().numpy()


def wasserstein(x: Array, q: Array) -> float:
    """Squared 2-Wasserstein distance of two samples of equal size, as the cheapest assignment of one to the other."""
    cost = (x[:, None] - q[None, :]) ** 2
    return float(cost[optimize.linear_sum_assignment(cost)].mean())


def distance(x: Array, others: Array) -> float:
    """The mean over channels of the squared distance of (C, P) to the mean quantile function of (n, C, P)."""
    quantiles = np.sort(others, -1).mean(0)
    return float(np.mean([wasserstein(a, q) for a, q in zip(x, quantiles, strict=True)]))


def expected_distances(natural: Array, scored: Array, own: list[int | None]) -> Array:
    unit = np.mean([distance(image, np.delete(natural, i, 0)) for i, image in enumerate(natural)])
    rows = [
        distance(image, natural if index is None else np.delete(natural, index, 0))
        for image, index in zip(scored, own, strict=True)
    ]
    return np.array(rows) / unit


@pytest.mark.parametrize("leave_one_out", [False, True])
def test_every_layer_against_the_cheapest_assignment(make_cnn, make_images, leave_one_out: bool) -> None:
    model, natural = make_cnn(dtype=torch.float64), make_images(4, (3, 5, 6)).double()
    images = torch.cat([natural[1:3], make_images(2, (3, 5, 6), seed=1).double()])
    scores = SortedSimilarity(model).fit(natural).evaluate(images, leave_one_out=leave_one_out)
    assert scores.left_out.tolist() == [leave_one_out, leave_one_out, False, False]
    assert len(scores) == 4
    known, scored = capture(model, natural), capture(model, images)
    assert scores.layers == list(known)
    for column, name in enumerate(scores.layers):
        own = [1, 2, None, None] if leave_one_out else [None] * 4
        expected = expected_distances(channels(known[name]), channels(scored[name]), own)
        np.testing.assert_allclose(scores.distance[:, column].numpy(), expected, rtol=1e-9, err_msg=name)


def test_natural_images_are_at_distance_one_on_average(make_cnn, make_images) -> None:
    natural = make_images(7)
    scores = SortedSimilarity(make_cnn()).fit(natural).evaluate(natural, leave_one_out=True)
    torch.testing.assert_close(scores.distance.mean(0), torch.ones(7, dtype=torch.float64), rtol=1e-6, atol=0)
    within = SortedSimilarity(make_cnn()).fit(natural).evaluate(natural)
    torch.testing.assert_close(within.distance * (7 / 6) ** 2, scores.distance, rtol=1e-12, atol=0)


def test_without_positions_it_is_the_squared_difference_from_the_mean(make_images) -> None:
    model = seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(48, 5))).double()
    natural, image = make_images(4, (3, 4, 4)).double(), make_images(1, (3, 4, 4), seed=1).double()
    similarity = SortedSimilarity(model).fit(natural)
    known, scored = capture(model, natural)["1"], capture(model, image)["1"]
    squared = (scored - known.mean(0)).square().mean(1)
    index = similarity.reference.layers.index("1")
    reference = similarity.reference
    torch.testing.assert_close(reference.squared_distance(index, reference.sort(index, scored)), squared)
    without = torch.stack(
        [(row - torch.cat([known[:i], known[i + 1 :]]).mean(0)).square().mean() for i, row in enumerate(known)]
    )
    torch.testing.assert_close(similarity.evaluate(image).distance[:, index], squared / without.mean())
    torch.testing.assert_close(reference.quantiles(index), known.mean(0).unsqueeze(1))


# --- positions -------------------------------------------------------------------------------------------------------------------------


def shuffled(images: Tensor, seed: int = 0) -> Tensor:
    order = torch.randperm(images[0, 0].numel(), generator=torch.Generator().manual_seed(seed))
    return images.flatten(2)[:, :, order].view(images.shape)


def pointwise() -> nn.Sequential:
    """1 × 1 convolutions see no neighbors; the last layer does."""
    return seeded(
        lambda: nn.Sequential(
            nn.Conv2d(3, 6, 1), nn.ReLU(), nn.Conv2d(6, 4, 1), nn.Conv2d(4, 4, 3, padding=1), nn.AdaptiveAvgPool2d(1)
        ).double()
    )


def test_a_shuffled_image_scores_like_the_image_where_no_layer_sees_neighbors(make_images) -> None:
    natural, image = make_images(5).double(), make_images(1, seed=1).double()
    moved = [shuffled(image), image.flip(3), image.roll(3, 2)]
    similarity = SortedSimilarity(pointwise()).fit(natural)
    assert similarity.reference.layers == ["0", "1", "2", "3", "4"]
    scores = similarity.evaluate(torch.cat([image, *moved])).distance
    for row in scores[1:]:
        torch.testing.assert_close(row[:3], scores[0, :3], rtol=1e-10, atol=0)
    assert float((scores[1, 3] / scores[0, 3]).log().abs()) > 0.01  # a 3 × 3 convolution sees that it was shuffled
    # Path similarity compares position by position: where the natural images have a common layout, it sees all of them.
    ordered = PathSimilarity(pointwise()).fit(natural).evaluate(torch.cat([natural[:1], shuffled(natural[:1])]))
    assert bool((ordered.spearman[0, :3] - ordered.spearman[1, :3] > 0.03).all())


def test_a_reference_is_the_same_for_shuffled_natural_images(make_images) -> None:
    natural, image = make_images(4).double(), make_images(2, seed=1).double()
    others = torch.cat([shuffled(each[None], seed) for seed, each in enumerate(natural)])
    layers = ["0", "1", "2"]
    scores = [SortedSimilarity(pointwise(), layers).fit(images).evaluate(image) for images in (natural, others)]
    torch.testing.assert_close(scores[0].distance, scores[1].distance, rtol=1e-10, atol=0)


def textured(count: int, seed: int, phase: float = 0.0) -> Tensor:
    """A layout that all share, and a texture that each has for itself."""
    generator = torch.Generator().manual_seed(seed)
    ramp = torch.linspace(0, 3.0, 16)
    layout = 0.5 + 0.15 * torch.sin(ramp[:, None] + phase) * torch.cos(ramp[None, :] - phase)
    return (layout + 0.2 * torch.randn(count, 3, 16, 16, generator=generator)).clamp(0, 1)


def test_the_blurred_mean_wins_by_spearman_and_not_here() -> None:
    model = seeded(
        lambda: nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Conv2d(8, 6, 3))
    )
    same, other, unseen = textured(12, 0), textured(6, 1, phase=1.5), textured(6, 2)
    mean = same.mean(0)
    blurred = torch.from_numpy(gaussian_filter(mean.numpy(), (0, 1.5, 1.5)))
    conditions = {"unseen": unseen, "blurred": blurred[None]}
    arguments = (unseen, same, other)
    ordered = PathSimilarity(model).compare(*arguments, controls=("mean_image", "gray"), further=conditions)
    ranked = SortedSimilarity(model).compare(*arguments, controls=("mean_image", "gray"), further=conditions)
    for image in ("mean_image", "blurred"):
        assert bool((ordered.mean_spearman(image) > ordered.spearman["same_class"].amax(0)).all())
        assert bool((ranked.mean(image) > ranked.distance["same_class"].amax(0)).all())
        assert ranked.summary(image).below_median == 0
    assert bool(((ranked.mean("unseen") > 0.5) & (ranked.mean("unseen") < 2)).all())
    assert ranked.summary("blurred").distance > 5 * ranked.summary("unseen").distance


# --- which axis holds the channels -------------------------------------------------------------------------------------------------------


class Tokens(nn.Module):
    """Patches as tokens (N, T, C), each seen by itself; then one value for each channel."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(12, 7)
        self.norm = nn.LayerNorm(7)
        self.head = nn.Linear(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        tokens = nn.functional.unfold(x, 2, stride=2).mT
        return self.head(self.norm(self.embed(tokens)).mean(1))


def test_tokens_have_their_channels_last(make_images) -> None:
    model = seeded(Tokens).double()
    natural, image = make_images(4, (3, 8, 8)).double(), make_images(1, (3, 8, 8), seed=1).double()
    similarity = SortedSimilarity(model).fit(natural)
    reference = similarity.reference
    assert dict(zip(reference.layers, reference.shapes, strict=True))["embed"] == (16, 7)
    assert reference.axes == [-1, -1, -1]
    known, scored = capture(model, natural), capture(model, image)
    scores = similarity.evaluate(image).distance
    for column, name in enumerate(reference.layers):
        expected = expected_distances(channels(known[name], -1), channels(scored[name], -1), [None])
        np.testing.assert_allclose(scores[:, column].numpy(), expected, rtol=1e-9)
    # The very same tokens in another order are the same; with the axes mixed up they are not.
    patches = nn.functional.unfold(image, 2, stride=2)[:, :, torch.randperm(16)]
    moved = nn.functional.fold(patches, (8, 8), 2, stride=2)
    torch.testing.assert_close(similarity.evaluate(moved).distance, scores, rtol=1e-10, atol=0)
    mixed = SortedSimilarity(model, channel_axis={"embed": 1, "norm": -2}).fit(natural)
    assert mixed.reference.axes == [-2, -2, -1]
    assert not torch.allclose(mixed.evaluate(moved).distance[:, :2], mixed.evaluate(image).distance[:, :2])


def test_an_activation_function_has_its_channels_where_the_layer_before_it_has_them() -> None:
    model = seeded(lambda: nn.Sequential(nn.Conv1d(3, 5, 1), nn.ReLU(), nn.Flatten(1), nn.Linear(45, 2)))

    class Strip(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x.mean(2))

    similarity = SortedSimilarity(Strip(), ["inner.0", "inner.1", "inner.3"]).fit(torch.rand(3, 3, 4, 9))
    assert similarity.reference.shapes == [(5, 9), (5, 9), (2,)]
    assert similarity.reference.axes == [-2, -2, -1]


@pytest.mark.parametrize(
    ("axis", "message"),
    [
        (0, r'channel_axis is 0 for layer "stem.0", whose output has shape \(N, 6, 12, 12\); expected 1 to 3, or -1'),
        (4, "channel_axis is 4"),
        (1.5, "channel_axis is 1.5"),
        ({"head": 2}, r'channel_axis is 2 for layer "head", whose output has shape \(N, 5\); expected 1 to 1'),
        ({"stem": 1, "tail": 1}, 'channel_axis names layer "tail", which is not read; name some of "stem.0" … "head"'),
    ],
)
def test_axes_that_are_not_there(make_cnn, make_images, axis, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SortedSimilarity(make_cnn(), channel_axis=axis).fit(make_images(3))


# --- streams, files, models ------------------------------------------------------------------------------------------------------------


def test_batches_make_no_difference(make_cnn, make_images) -> None:
    model, natural, images = make_cnn(dtype=torch.float64), make_images(7).double(), make_images(5, seed=1).double()
    whole = SortedSimilarity(model).fit(natural)
    parted = SortedSimilarity(model, batch_size=2).fit([(natural[:3], "labels"), (natural[3:],)])
    for a, b in zip(whole.reference.sums, parted.reference.sums, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    assert whole.reference.digests == parted.reference.digests
    both = torch.cat([images, natural[:2]])
    torch.testing.assert_close(
        whole.evaluate(both, leave_one_out=True).distance, parted.evaluate(both, leave_one_out=True).distance
    )


def test_portions_make_no_difference(make_cnn, make_images, monkeypatch: pytest.MonkeyPatch) -> None:
    from captum_proto.metrics import sorted_reference

    similarity, images = SortedSimilarity(make_cnn()).fit(make_images(4)), make_images(3, seed=1)
    at_once = similarity.evaluate(images).distance
    monkeypatch.setattr(sorted_reference, "_VALUES", 1)
    assert torch.equal(similarity.evaluate(images).distance, at_once)


def test_parts_add_up_to_the_whole(make_cnn, make_images) -> None:
    images, model = make_images(7).double(), make_cnn(dtype=torch.float64)

    def fit(part: Tensor) -> SortedReference:
        return SortedSimilarity(model).fit(part).reference

    whole, parts = fit(images), fit(images[:3]) + fit(images[3:])
    assert parts.count == 7
    assert parts.digests == whole.digests
    for name in ("sums", "squares"):
        for a, b in zip(getattr(parts, name), getattr(whole, name), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    scores = [
        SortedSimilarity(model).with_reference(each).evaluate(images, leave_one_out=True) for each in (whole, parts)
    ]
    assert scores[1].left_out.all()
    torch.testing.assert_close(scores[0].distance, scores[1].distance, rtol=1e-9, atol=0)


def test_only_references_of_one_kind_add_up(make_cnn, make_images) -> None:
    first = SortedSimilarity(make_cnn(), "stem.0").fit(make_images(2)).reference
    for options, what in (
        ({"channel_axis": 2}, "axes"),
        ({"repeat": "first"}, "repeat"),
        ({"layers": "head"}, "layers"),
    ):
        other = SortedSimilarity(make_cnn(), **{"layers": "stem.0", **options}).fit(make_images(2)).reference
        with pytest.raises(ValueError, match=f"the references differ in {what} and cannot be added"):
            first + other


def test_saved_and_loaded_is_the_same(make_cnn, make_images, tmp_path) -> None:
    model, images = make_cnn(), make_images(3, seed=1)
    similarity = SortedSimilarity(model).fit(make_images(4))
    similarity.save(tmp_path / "reference")
    loaded = SortedSimilarity(model).load(tmp_path / "reference")
    for name in ("layers", "shapes", "axes", "digests", "model", "repeat", "alias", "skipped", "image_shape"):
        assert getattr(loaded.reference, name) == getattr(similarity.reference, name), name
    assert torch.equal(loaded.evaluate(images).distance, similarity.evaluate(images).distance)
    with pytest.raises(FileExistsError, match="overwrite=True"):
        similarity.save(tmp_path / "reference")
    with pytest.raises(ValueError, match="fitted on another model or other weights"):
        SortedSimilarity(make_cnn(seed=1)).load(tmp_path / "reference")
    with pytest.raises(ValueError, match='was fitted with repeat="last", here it is "first"'):
        SortedSimilarity(model, repeat="first").load(tmp_path / "reference")
    with pytest.raises(ValueError, match="holds sorted path reference; expected a path reference"):
        PathSimilarity(model).load(tmp_path / "reference")


def test_the_model_is_left_alone(lived_in, untouched, make_cnn, make_images) -> None:
    model = lived_in(make_cnn())
    with untouched(model):
        SortedSimilarity(model).fit(make_images(3)).evaluate(make_images(2, seed=1))


class WithConstant(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.same, self.silent, self.lively = nn.Identity(), nn.ReLU(), nn.Conv2d(1, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        self.same(torch.linspace(0, 0.1, 16).view(1, 1, 4, 4).expand(len(x), 1, 4, 4) + 0.0)
        self.silent(-x)
        return self.lively(x)


def test_layers_that_are_the_same_for_all_images_are_dead() -> None:
    model = seeded(WithConstant)
    natural = torch.rand(5, 1, 4, 4)
    similarity = SortedSimilarity(model).fit(natural)
    scores = similarity.evaluate(natural, leave_one_out=True)
    assert scores.layers == ["same", "silent", "lively"]
    assert scores.distance.isnan().all(0).tolist() == [True, True, False]
    report = similarity.compare(torch.rand(1, 1, 4, 4), natural, 1 - natural.square(), controls=("gray",))
    assert report.dead.tolist() == [True, True, False]
    assert report.summary("gray").distance == pytest.approx(float(report.distance["gray"][0, 2]))
    assert "3 layers, 2 dead" in report.table()


def test_a_layer_of_which_rounding_alone_is_left_is_dead() -> None:
    class Normalized(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.out = nn.Identity()
            self.weight = nn.Parameter(torch.ones(1))

        def forward(self, x: Tensor) -> Tensor:
            total = x.flatten(1).softmax(1).sum(1)  # 1 but for rounding
            return self.out(total[:, None] * self.weight)

    natural = torch.rand(6, 3, 9, 9)
    assert bool(SortedSimilarity(Normalized()).fit(natural).evaluate(natural).distance.isnan().all())


def test_bad_input(make_cnn, make_images) -> None:
    model, images = make_cnn(), make_images(3)
    with pytest.raises(RuntimeError, match="there is no reference yet; call fit"):
        SortedSimilarity(model).evaluate(images)
    with pytest.raises(TypeError, match=r"forward_func is a function; expected a torch\.nn\.Module"):
        SortedSimilarity(lambda x: x)
    with pytest.raises(ValueError, match="1 image was given to fit; a mean needs at least two"):
        SortedSimilarity(model).fit(images[:1])
    similarity = SortedSimilarity(model).fit(images)
    with pytest.raises(ValueError, match=r"the images have shape \(3, 9, 9\), the reference was made from"):
        similarity.evaluate(make_images(2, (3, 9, 9)))
    other = SortedSimilarity(model, "head").with_reference(similarity.reference)
    for _ in range(2):  # not only the first time
        with pytest.raises(ValueError, match="the reference was fitted on other layers than this model gives"):
            other.evaluate(images)
    with pytest.raises(ValueError, match="fitted on another model or other weights"):
        SortedSimilarity(make_cnn(seed=1)).with_reference(similarity.reference).evaluate(images)
    assert not math.isnan(float(similarity.evaluate(images[0][None]).distance.sum()))
