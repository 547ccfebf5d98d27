"""Activation atlases against brute force, closed forms and planted data."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from networks import SmallCNN
from torch import Tensor, nn

from captum_proto._utils.errors import MissingPackageError
from captum_proto.features import ActivationAtlas, AtlasResult
from captum_proto.features.activation_atlas import AtlasVectors, lay_out, neighbors_kept, normalize_layout, try_patch
from captum_proto.features.activation_atlas.grid import AtlasLevel, cells_of
from captum_proto.features.activation_atlas.layout import principal_components


def vectors_of(values: Tensor, attributions: Tensor | None = None, targets: Any = ()) -> AtlasVectors:
    count = len(values)
    return AtlasVectors(
        values,
        torch.arange(count),
        torch.zeros(count, 2, dtype=torch.int64),
        torch.zeros(count, 0) if attributions is None else attributions,
        list(targets),
    )


@pytest.fixture(scope="module")
def cones() -> tuple[Tensor, Tensor]:
    """Ten Gaussian cones in 512 dimensions: random directions, and rows of random lengths near them."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(400) % 10
    axes = nn.functional.normalize(torch.randn(10, 512, generator=generator), dim=1)
    noise = torch.randn(400, 512, generator=generator) * 0.02
    lengths = 0.5 + 4 * torch.rand(400, 1, generator=generator)
    return (axes[labels] + noise) * lengths, labels


def purity(coordinates: Tensor, labels: Tensor, count: int = 10) -> float:
    distances = torch.cdist(coordinates, coordinates).fill_diagonal_(float("inf"))
    nearest = distances.topk(count, dim=1, largest=False).indices
    return float((labels[nearest] == labels.unsqueeze(1)).double().mean())


# Collecting


def by_hand(model: SmallCNN, images: Tensor, target: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """The block's output before the sum that is added in place, and its gradient's product with it, by plain autograd."""
    with torch.no_grad():
        x = model.stem(images).relu()
        value = model.block(x)
    value.requires_grad_()
    y = (value + x).relu()
    logits = model.head(nn.functional.adaptive_avg_pool2d(y, 4).flatten(1))
    score = logits[:, list(target)].logsumexp(1)
    (gradient,) = torch.autograd.grad(score.sum(), value)
    return value.detach(), (value * gradient).sum(1).detach()


@pytest.mark.parametrize("targets", [[3, [0, 4]], "all"], ids=["row by row", "through the gradient's gradient"])
def test_attributions_are_those_of_plain_autograd(
    make_cnn: Callable[..., SmallCNN], make_images: Callable[..., Tensor], untouched: Any, targets: Any
) -> None:
    model, images = make_cnn(dtype=torch.float64), make_images(6).double()
    with untouched(model):
        vectors = ActivationAtlas(model, "block").collect(images, targets=targets, batch_size=4)
    assert len(vectors) == 6
    for target in vectors.targets:
        value, product = by_hand(model, images, target)
        for row, (y, x) in enumerate(vectors.positions.tolist()):
            torch.testing.assert_close(vectors.vectors[row], value[row, :, y, x], rtol=0, atol=1e-12)
            torch.testing.assert_close(vectors.attribution(target)[row], product[row, y, x], rtol=1e-9, atol=1e-12)


def test_of_all_positions_none_is_missing_and_each_is_in_its_place(
    make_cnn: Callable[..., SmallCNN], make_images: Callable[..., Tensor]
) -> None:
    model, images = make_cnn(dtype=torch.float64), make_images(2).double()
    vectors = ActivationAtlas(model, "block").collect(images, positions="all", targets=[1])
    value, product = by_hand(model, images, (1,))
    torch.testing.assert_close(vectors.vectors, value.flatten(2).transpose(1, 2).flatten(0, 1))
    torch.testing.assert_close(vectors.attributions[:, 0], product.flatten())
    assert vectors.images.tolist() == [0] * 144 + [1] * 144
    assert vectors.positions[[0, 1, 12, 143]].tolist() == [[0, 0], [0, 1], [1, 0], [11, 11]]


def test_random_positions_belong_to_the_image_and_the_seed(
    make_cnn: Callable[..., SmallCNN], make_images: Callable[..., Tensor]
) -> None:
    model, images = make_cnn(), make_images(200, (3, 4, 5))
    atlas = ActivationAtlas(model, "block")
    whole = atlas.collect(images, batch_size=64, seed=3)
    assert set(map(tuple, whole.positions.tolist())) == {(y, x) for y in (1, 2) for x in (1, 2, 3)}
    assert not torch.equal(atlas.collect(images, seed=4).positions, whole.positions)
    wider = atlas.collect(images, border=0).positions
    assert wider.max(0).values.tolist() == [3, 4]
    assert wider.min(0).values.tolist() == [0, 0]


@pytest.mark.parametrize("positions", ["random", "all"])
def test_any_batches_and_any_parts_give_the_same(
    make_cnn: Callable[..., SmallCNN], make_images: Callable[..., Tensor], positions: str
) -> None:
    model, images = make_cnn(dtype=torch.float64), make_images(7).double()
    atlas = ActivationAtlas(model, "block")
    options: dict[str, Any] = {"positions": positions, "targets": [2, 0], "seed": 5}
    whole = atlas.collect(images, batch_size=7, **options)
    for size in (1, 3):
        same = atlas.collect([images[begin : begin + size] for begin in range(0, 7, size)], **options)
        for name in ("vectors", "images", "positions", "attributions"):
            torch.testing.assert_close(getattr(same, name), getattr(whole, name), rtol=1e-12, atol=1e-14)
    parts = [atlas.collect(images[begin:end], first=begin, **options) for begin, end in ((4, 7), (0, 2), (2, 4))]
    merged = AtlasVectors.concatenate(parts)
    torch.testing.assert_close(merged.vectors, whole.vectors, rtol=1e-12, atol=1e-14)
    assert torch.equal(merged.images, whole.images)
    assert torch.equal(merged.positions, whole.positions)
    with pytest.raises(ValueError, match="image 4 is in two of the parts"):
        AtlasVectors.concatenate([parts[0], parts[0]])


def test_layers_without_positions_tokens_and_fused_attention_give_vectors() -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Linear(12, 8)
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
            self.head = nn.Linear(8, 7)

        def forward(self, x: Tensor) -> Tensor:
            tokens = self.embed(x.flatten(2).transpose(1, 2).reshape(len(x), 4, 12))
            mixed, _ = self.attention(tokens, tokens, tokens, need_weights=False)
            return self.head((tokens + mixed).mean(1))

    model, images = Tokens().eval(), torch.rand(5, 3, 4, 4)
    flat = ActivationAtlas(model, "head").collect(images, targets="all")
    assert flat.vectors.shape == (5, 7)
    assert flat.positions.shape == (5, 0)
    torch.testing.assert_close(flat.attributions, flat.vectors)  # of logits, each contributes itself to its class
    tokens = ActivationAtlas(model, "embed").collect(images, positions="all", targets="all")
    assert tokens.vectors.shape == (20, 8)
    assert set(map(tuple, tokens.positions.tolist())) == {(t,) for t in range(4)}
    one = ActivationAtlas(model, "embed").collect(images, positions="all", targets=[6])
    torch.testing.assert_close(tokens.attribution(6), one.attribution(6), rtol=1e-4, atol=1e-6)


# Layouts


@pytest.mark.parametrize("method", ["pca", "tsne", pytest.param("umap", marks=pytest.mark.slow)])
def test_neighbors_in_a_layout_of_cones_are_of_one_cone(cones: tuple[Tensor, Tensor], method: str) -> None:
    if method != "pca":
        pytest.importorskip({"umap": "umap", "tsne": "openTSNE"}[method])
    values, labels = cones
    choices: dict[str, Any] = {"umap": {"n_neighbors": 15}, "tsne": {"perplexity": 20, "n_iter": 80}}.get(method, {})
    # Principal components show ten directions in nine dimensions, not in two: there the cones that lie apart are looked at.
    kept = labels < (3 if method == "pca" else 10)
    found = lay_out(nn.functional.normalize(values[kept], dim=1), method, **choices)
    assert purity(found, labels[kept]) >= 0.95
    if method != "umap":
        assert torch.equal(found, lay_out(nn.functional.normalize(values[kept], dim=1), method, **choices))


def test_principal_components_are_scikit_learns(cones: tuple[Tensor, Tensor]) -> None:
    decomposition = pytest.importorskip("sklearn.decomposition")
    values = cones[0].double()
    expected = decomposition.PCA(2, svd_solver="full").fit_transform(values.numpy())
    found = lay_out(values, "pca").numpy()
    signs = np.sign((expected * found).sum(0))
    np.testing.assert_allclose(found * signs, expected, atol=1e-8)


def test_what_is_projected_first_keeps_most_of_every_product(cones: tuple[Tensor, Tensor]) -> None:
    values = cones[0].double()
    found = principal_components(values, 50, centered=False)
    left, sizes, _ = np.linalg.svd(values.numpy(), full_matrices=False)
    nearest = (left[:, :50] * sizes[:50] ** 2) @ left[:, :50].T  # of rank 50, the nearest to the matrix of all products
    np.testing.assert_allclose((found @ found.T).numpy(), nearest, atol=1e-9)


def test_layouts_are_normalized_with_equal_margins() -> None:
    points = torch.cat([torch.linspace(0, 100, 101), torch.tensor([1e6, -1e6])]).unsqueeze(1).repeat(1, 2)
    points[:, 1] = 7
    found = normalize_layout(points, percentile=2, margin=0.1)
    low, high = np.percentile(points[:, 0].numpy(), [2, 98])
    margin = 0.1 * (high - low)
    expected = (points[:101, 0] - (low - margin)) / (high - low + 2 * margin)
    torch.testing.assert_close(found[:101, 0], expected.double())
    assert found[101:, 0].tolist() == [1, 0]
    assert bool((found[:, 1] == 0.5).all())


def test_kept_neighbors_are_counted() -> None:
    generator = torch.Generator().manual_seed(0)
    angles = torch.rand(300, generator=generator) * 3
    vectors = torch.stack([angles.cos(), angles.sin()], 1)
    kept, chance = neighbors_kept(vectors, torch.stack([angles, angles], 1).double(), 10)
    assert float(kept.mean()) > 0.98
    assert chance == 10 / 299
    shuffled, _ = neighbors_kept(vectors, torch.rand(300, 2, generator=generator).double(), 10)
    assert float(shuffled.mean()) < 4 * chance


# Grids


def test_cell_means_are_those_of_brute_force_and_counts_sum_to_n(cones: tuple[Tensor, Tensor]) -> None:
    values, _ = cones
    generator = torch.Generator().manual_seed(1)
    places = torch.rand(400, 2, generator=generator, dtype=torch.float64)
    places[:60] = (
        torch.randint(0, 8, (60, 2), generator=generator).double() / 7
    )  # on edges and corners, both ends among them
    contributions = torch.randn(400, 2, generator=generator)
    level = AtlasLevel.of(vectors_of(values, contributions, [(0,), (1,)]), places, 7, 3)
    assert int(level.counts.sum()) == 400
    edges = [i / 7 for i in range(7)]
    for row, cell in enumerate(level.cells.tolist()):
        top, left = divmod(cell, 7)
        inside = [
            n
            for n, (x, y) in enumerate(places.tolist())
            if max(i for i in range(7) if edges[i] <= x) == left and max(i for i in range(7) if edges[i] <= y) == top
        ]
        assert level.members_of(row).tolist() == inside
        assert int(level.counts[top, left]) == len(inside) >= 3
        total = torch.zeros(512, dtype=torch.float64)
        for n in inside:
            total = total + values[n].double()
        assert torch.equal(level.means[row], total / len(inside))
        torch.testing.assert_close(level.attributions[row], contributions[inside].double().mean(0))
    assert set(range(49)) - set(level.cells.tolist()) == set((level.counts.flatten() < 3).nonzero().flatten().tolist())


def test_points_on_edges_are_in_one_cell_whatever_rounding_does() -> None:
    for size in range(1, 60):
        edges = torch.arange(size + 1, dtype=torch.float64) / size
        found = cells_of(torch.stack([edges, torch.zeros_like(edges)], 1), size)
        assert found.tolist() == [*range(size), size - 1]


def test_cells_are_said_to_be_empty_or_too_sparse() -> None:
    places = torch.tensor([[0.1, 0.1]] * 5 + [[0.9, 0.9]] * 2, dtype=torch.float64)
    level = AtlasLevel.of(vectors_of(torch.ones(7, 3)), places, 2, 3)
    assert level.note() == (
        "2 x 2: 1 of 4 cells drawn, 2 empty, 1 with fewer than 3 vectors not drawn; the drawn cells hold 5 of 7 vectors."
    )


def test_nearest_examples_are_of_different_images(cones: tuple[Tensor, Tensor]) -> None:
    values, _ = cones
    vectors = vectors_of(values)
    vectors.images = torch.arange(400) // 2
    level = AtlasLevel.of(vectors, torch.full((400, 2), 0.5, dtype=torch.float64), 1, 1)
    (nearest,) = level.nearest(vectors, 5)
    alike = nn.functional.cosine_similarity(values.double(), level.means)
    best = [int(alike.view(200, 2)[image].argmax()) + 2 * image for image in range(200)]
    assert nearest.tolist() == sorted(best, key=lambda n: -float(alike[n]))[:5]


# Directions and pictures


def test_whitening_is_the_inverse_of_the_second_moment(cones: tuple[Tensor, Tensor]) -> None:
    values = torch.randn(2000, 6) @ torch.randn(6, 6)
    moment = (values.double().T @ values.double()) / 2000
    expected = np.linalg.inv(moment.numpy() + 0.05 * np.trace(moment.numpy()) / 6 * np.eye(6))
    np.testing.assert_allclose(vectors_of(values).whitening(0.05).numpy(), expected, rtol=1e-9)
    assert bool(vectors_of(cones[0]).whitening().isfinite().all())  # 400 vectors in 512 dimensions


def test_of_a_linear_network_the_picture_is_the_optimum() -> None:
    """With h = W x and dot products alone, x* is where each pixel is at the end of its range that the sign of W' S v asks for."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 6, bias=False)).double()
    atlas = ActivationAtlas(model, "1")
    atlas.collect(torch.rand(60, 3, 4, 4).double())
    atlas.layout("pca")
    (level,) = atlas.grid(2, min_density=2)
    plain: dict[str, Any] = {"parametrization": "pixels", "transform": None, "steps": 60, "lr": 0.1}
    atlas.render((3, 4, 4), power=0, **plain)
    weight = model[1].weight.detach()
    whitened = level.means @ atlas.result.vectors.whitening()
    best = ((whitened @ weight) > 0).double().view(-1, 3, 4, 4)
    assert level.icons is not None
    assert bool((level.icons == (best * 255).byte()).double().mean() > 0.999)
    atlas.render((3, 4, 4), power=0, whiten=False, **plain)
    best = ((level.means @ weight) > 0).double().view(-1, 3, 4, 4)
    assert bool((level.icons == (best * 255).byte()).double().mean() > 0.999)


def test_pictures_show_the_directions_of_their_cells(make_cnn: Callable[..., SmallCNN], make_images: Any) -> None:
    atlas = ActivationAtlas(make_cnn(), "block")
    atlas.collect(make_images(40), positions="all")
    atlas.layout("pca")
    (level,) = atlas.grid(2, min_density=5)
    choices: dict[str, Any] = {"transform": None, "steps": 60, "seed": 1, "batch_size": 3}
    atlas.render((3, 12, 12), whiten=False, **choices)
    own = atlas.agreement(level, whiten=False).diagonal()
    assert bool((own >= 0.8).all()), own
    first = level.icons
    assert first is not None
    assert level.activations is not None
    atlas.render((3, 12, 12), whiten=False, attempts=2, **choices)
    assert level.activations is not None
    assert bool((level.activations >= 0).all())
    alone = atlas.icons(atlas.directions(level, whiten=False)[2:3], (3, 12, 12), **choices)
    assert int(((alone.images[0] * 255).round() - first[2]).abs().max()) <= 1


def test_an_atlas_is_saved_and_loaded(make_cnn: Callable[..., SmallCNN], make_images: Any, tmp_path: Path) -> None:
    atlas = ActivationAtlas(make_cnn(), "block")
    atlas.collect(make_images(8), positions="all", targets=[1, [2, 3]])
    atlas.layout("pca")
    atlas.grid([2, 4], min_density=5)
    atlas.render((3, 12, 12), steps=1)
    atlas.result.save(tmp_path / "atlas.safetensors")
    loaded = AtlasResult.load(tmp_path / "atlas.safetensors")
    assert loaded.vectors.targets == [(1,), (2, 3)]
    assert torch.equal(loaded.vectors.vectors, atlas.result.vectors.vectors)
    for before, after in zip(atlas.result.levels, loaded.levels, strict=True):
        for name in ("members", "counts", "cells", "means", "attributions", "icons", "activations"):
            assert torch.equal(getattr(before, name), getattr(after, name)), name
        assert (before.size, before.min_density) == (after.size, after.min_density)
    assert loaded.settings == atlas.result.settings
    for found, expected in zip(loaded.attribute([2, 3]), atlas.attribute([2, 3]), strict=True):
        assert torch.equal(found, expected)
    assert len(loaded.attribute(1)[1]) == len(loaded.level(4))
    going_on = ActivationAtlas(atlas.forward_func, "block", result=loaded)
    assert torch.equal(going_on.grid(4, 5)[0].means, loaded.level(4).means)
    (tmp_path / "broken.safetensors").write_bytes((tmp_path / "atlas.safetensors").read_bytes()[:500])
    with pytest.raises(ValueError, match="damaged"):
        AtlasResult.load(tmp_path / "broken.safetensors")


# Classes


def test_a_class_atlas_holds_what_speaks_for_the_class() -> None:
    generator = torch.Generator().manual_seed(0)
    contributions = torch.randn(300, 3, generator=generator)
    vectors = vectors_of(torch.randn(300, 4, generator=generator), contributions, [(0,), (1,), (2,)])
    part = vectors.favoring([1], count=20)
    winners = {n for n in range(300) if int(contributions[n].argmax()) == 1 and contributions[n, 1] > 0}
    best = set(contributions[:, 1].argsort(descending=True)[:20].tolist())
    assert set(part.images.tolist()) == winners | best


def test_of_a_two_class_atlas_the_first_class_is_on_the_left() -> None:
    generator = torch.Generator().manual_seed(0)
    contributions = torch.randn(500, 2, generator=generator)
    atlas = ActivationAtlas(
        nn.Identity(), "", result=AtlasResult(vectors_of(torch.randn(500, 4), contributions, [(7,), (9,)]))
    )
    pair = atlas.two_class_atlas(7, 9, count=100, method="pca").result
    difference = pair.vectors.attribution(9) - pair.vectors.attribution(7)
    scale = np.percentile(difference.abs().numpy(), 99)
    assert pair.coordinates is not None
    torch.testing.assert_close(pair.coordinates[:, 0], ((difference.double() / scale).clamp(-1, 1) + 1) / 2)
    assert len(pair.vectors) < 500
    assert bool((pair.vectors.attributions.max(1).values > 0).all())
    assert float(pair.coordinates[:, 1].min()) == 0
    assert float(pair.coordinates[:, 1].max()) == 1


class Striped(nn.Module):
    """Class 1 is decided by vertical stripes of two pixels anywhere, class 0 by brightness: planted by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 4, bias=False)
        self.pool = nn.AvgPool2d(9, stride=1)
        self.head = nn.Linear(2, 3, bias=False)
        stripes = torch.tensor([1.0, 1.0, -1.0, -1.0]).repeat(4, 1)
        with torch.no_grad():
            self.conv.weight.copy_(torch.stack([stripes, torch.full((4, 4), 0.25)]).unsqueeze(1))
            self.head.weight.copy_(torch.tensor([[0.0, 1.0], [2.2, 0.0], [-1.0, -1.0]]))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.pool(self.conv(x).relu() ** torch.tensor([2.0, 1.0]).view(1, 2, 1, 1)).mean((2, 3)))


def test_the_patch_that_an_atlas_suggests_turns_images_and_controls_do_not() -> None:
    generator = torch.Generator().manual_seed(0)
    plain = (
        0.4 + 0.1 * torch.rand(30, 1, 1, 1, generator=generator) + 0.01 * torch.rand(30, 1, 32, 32, generator=generator)
    )
    stripes = (torch.arange(32) % 4 < 2).float().expand(32, 32)
    striped = plain[:15] * 0.2 + 0.7 * stripes
    model = Striped()
    assert model(plain).argmax(1).tolist() == [0] * 30
    assert model(striped).argmax(1).tolist() == [1] * 15
    atlas = ActivationAtlas(model, "pool")
    atlas.collect(torch.cat([plain, striped]), positions="all", targets="all")
    pair = atlas.two_class_atlas(0, 1, method="pca")
    pair.grid(3, min_density=5)
    pair.render((1, 16, 16), steps=80, whiten=False, transform=None)
    found = pair.suggest_patch(plain, 0, 1, size=0.5, corners=["bottom right", "top left"])
    favors = pair.result.levels[-1].attributions[:, 1] - pair.result.levels[-1].attributions[:, 0]
    assert found.cell == int(favors.argmax())
    assert found.patch.shape == (1, 16, 16)
    suggested, shuffled = found.trial("suggested").estimate, found.trial("shuffled pixels").estimate
    assert suggested.value > 0.9
    assert shuffled.value < 0.1
    assert shuffled.high < suggested.low
    assert len(found.trial("suggested").flips) == 60
    assert found.settings["images"] == 30
    assert found.to_json()["trials"][0]["flips"] == found.trial("suggested").flips
    with pytest.raises(ValueError, match="takes none of the 15 images for 0"):
        pair.suggest_patch(striped, 0, 1)


# What cannot be used


def test_what_cannot_be_used_gets_a_sentence(
    make_cnn: Callable[..., SmallCNN], make_images: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, images = make_cnn(), make_images(9)
    atlas = ActivationAtlas(model, "block")
    with pytest.raises(RuntimeError, match="call collect first"):
        atlas.layout()
    with pytest.warns(UserWarning, match="9 vectors were collected, fewer than the 20 asked for"):
        atlas.collect(images, n=20)
    with pytest.raises(RuntimeError, match="call layout first"):
        atlas.grid()
    with pytest.raises(ValueError, match=r'method is "ummap"; did you mean "umap"\?'):
        atlas.layout("ummap")
    atlas.layout("pca")
    with pytest.raises(ValueError, match=r"9 vectors for the 16 cells .* a size of at most 3"):
        atlas.grid(4)
    with pytest.raises(ValueError, match=r"no cell of a grid of 2 by 2 holds 10 vectors, the fullest \d"):
        atlas.grid(2, min_density=10)
    with pytest.raises(RuntimeError, match="call grid first"):
        atlas.render((3, 12, 12))
    with pytest.raises(ValueError, match="attributions to 2 were not collected, only to no class"):
        atlas.attribute(2)
    for package, method in (("umap", "umap"), ("openTSNE", "tsne")):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(
            MissingPackageError, match=r'pip install \S+ \(or captum_proto\[atlas\]\), or choose method "pca"'
        ):
            atlas.layout(method)
    with pytest.raises(ValueError, match='"blocc"'):
        ActivationAtlas(model, "blocc").collect(images)
    with pytest.raises(ValueError, match="target 5 is out of range"):
        atlas.collect(images, targets=[5])
    with pytest.raises(ValueError, match='positions is "al"'):
        atlas.collect(images, positions="al")
    with pytest.raises(ValueError, match=r"layout has shape \(9, 3\); expected \(9, 2\)"):
        ActivationAtlas(model, "block", result=AtlasResult(atlas.result.vectors)).layout(lambda v: v[:, :3])


def test_a_patch_needs_a_size_a_corner_and_another_cell() -> None:
    icons, images = torch.rand(2, 1, 8, 8), torch.rand(3, 1, 16, 16)
    with pytest.raises(ValueError, match="size is 0"):
        try_patch(Striped(), images, icons, torch.zeros(2), (0,), (1,), size=0)
    with pytest.raises(ValueError, match='corner is "botom left"'):
        try_patch(Striped(), images, icons, torch.zeros(2), (0,), (1,), corners=["botom left"])
    with pytest.raises(ValueError, match="1 cells"):
        try_patch(Striped(), images, icons[:1], torch.zeros(1), (0,), (1,))
