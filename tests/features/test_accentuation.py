"""Accentuated images of a planted network: what is changed, what is kept, and by how much the unit's activation rises."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients
from networks import seeded
from torch import Tensor, nn

from captum_proto.features import Accentuations, FeatureAccentuation
from captum_proto.features.accentuation import POINTS
from captum_proto.optim import (
    AlphaImage,
    ChannelActivation,
    FeatureDistance,
    InputOptimization,
    PixelImage,
    RandomResizedCrop,
    RandomStream,
)
from captum_proto.optim.random import TRANSFORM

SHAPE = (3, 24, 24)


class Planted(nn.Module):
    """Of two units, one sees red edges in the left half, the other blue ones in the right half; an early layer sees gray levels."""

    def __init__(self) -> None:
        super().__init__()
        self.early = nn.Conv2d(3, 4, 3, padding=1)
        self.edges = nn.Conv2d(3, 2, 3, padding=1, bias=False)
        self.units = nn.Softplus(beta=4)
        halves = torch.zeros(2, 24, 24)
        halves[0, :, :12], halves[1, :, 12:] = 1.0, 1.0
        self.register_buffer("halves", halves)
        with torch.no_grad():
            self.edges.weight.zero_()
            for unit, color in ((0, 0), (1, 2)):
                self.edges.weight[unit, color] = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])

    def forward(self, x: Tensor) -> Tensor:
        self.early(x)
        return self.units(self.edges(x) * self.halves)


def network() -> Planted:
    return seeded(Planted).double().eval()


def images_of(count: int) -> Tensor:
    coarse = torch.rand(count, 3, 6, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return nn.functional.interpolate(0.2 + 0.6 * coarse, SHAPE[1:], mode="bilinear")


LOSS = ChannelActivation("units", [0, 1, 0])


@pytest.fixture(scope="module")
def made() -> dict[str, Accentuations]:
    return FeatureAccentuation(network(), "early", strength=2.0, steps=40).with_controls(images_of(3), LOSS)


def test_activations_rise_and_the_term_keeps_images_what_they_are(made):
    accentuated, free = made["accentuated"], made["nothing kept"]
    expected = network()(accentuated.start)[[0, 1, 2], [0, 1, 0]].mean((1, 2))
    torch.testing.assert_close(accentuated.before, expected)
    torch.testing.assert_close(accentuated.after, network()(accentuated.images)[[0, 1, 2], [0, 1, 0]].mean((1, 2)))
    assert bool((accentuated.after > 1.1 * accentuated.before).all())
    assert bool((free.after > accentuated.after).all())
    assert bool((accentuated.distances < 0.7 * free.distances).all())
    early = network().early
    moved = (early(accentuated.images) - early(accentuated.start)).flatten(1).norm(dim=1)
    torch.testing.assert_close(accentuated.distances, moved / early(accentuated.start).flatten(1).norm(dim=1))


def test_another_unit_does_not_do_it(made):
    other = made["other unit"]
    assert other.settings["loss"]["channels"] == [1, 0, 1]
    assert bool((other.after - other.before < 0.3 * (made["accentuated"].after - other.before)).all())


def test_the_changes_that_count_are_where_the_unit_looks(made):
    accentuated = made["accentuated"]
    for row, half in enumerate([slice(0, 13), slice(11, 24), slice(0, 13)]):
        for maps in (accentuated.attributions.abs(), accentuated.sensitivities):
            assert float(maps[row, :, half].sum() / maps[row].sum()) > 0.999
    # Of the colors, the one that the unit sees changes most.
    change = (accentuated.images - accentuated.start).abs().mean((2, 3))
    assert change.shape == (3, 3)
    masks = accentuated.masks(sigma=1.0)
    assert masks.shape == (3, 1, 24, 24)
    assert float(masks.min()) >= 0
    assert float(masks.max()) == 1
    assert float(masks[0, 0, :, :8].mean()) > 5 * float(masks[0, 0, :, 16:].mean())
    torch.testing.assert_close(accentuated.differences, (accentuated.images - accentuated.start).abs().mean(1))


def test_attributions_are_captums_and_sum_to_the_rise(made):
    accentuated, model = made["accentuated"], network()
    torch.testing.assert_close(
        accentuated.attributions.sum((1, 2)), accentuated.after - accentuated.before, rtol=5e-3, atol=1e-4
    )

    def activation(images: Tensor) -> Tensor:
        values = model(images).mean((2, 3))
        return values[torch.arange(len(values)), torch.tensor([0, 1, 0]).repeat(len(values) // 3)]

    by_captum = IntegratedGradients(activation).attribute(
        accentuated.images, accentuated.start, n_steps=POINTS, method="riemann_middle"
    )
    torch.testing.assert_close(accentuated.attributions, by_captum.sum(1))


def test_an_image_is_alone_what_it_is_in_a_batch():
    accentuation = FeatureAccentuation(network(), "early", steps=8)
    together = accentuation.accentuate(images_of(3), LOSS, seed=[4, 5, 6])
    parted = accentuation.accentuate(images_of(3), LOSS, seed=[4, 5, 6], batch_size=2)
    torch.testing.assert_close(parted.images, together.images, rtol=0, atol=1e-9)
    torch.testing.assert_close(parted.attributions, together.attributions, rtol=0, atol=1e-9)
    alone = accentuation.accentuate(images_of(3)[1:2], ChannelActivation("units", [1]), seed=5)
    torch.testing.assert_close(alone.images[0], together.images[1], rtol=0, atol=1e-9)


def test_the_objective_negated_takes_away():
    lessened = FeatureAccentuation(network(), "early", steps=20).accentuate(images_of(3), -LOSS)
    activations = network()(lessened.images)[[0, 1, 2], [0, 1, 0]].mean((1, 2))
    torch.testing.assert_close(lessened.after, -activations)
    assert bool((lessened.after > lessened.before).all())


def test_a_crop_is_compared_with_the_same_crop():
    """The distance that an optimization records is that of two crops by the same draws."""
    model, given = network(), images_of(2)
    transform = RandomResizedCrop((0.3, 0.6))
    start = (given + 0.1 * torch.rand_like(given)).clamp(0, 1)
    optimization = InputOptimization(
        model,
        ChannelActivation("units", [0, 1]) + FeatureDistance("early", given),
        steps=3,
        transform=transform,
        lr=0.0,
    )
    result = optimization.optimize(start=start)
    for step in range(3):
        crops = [transform(each, RandomStream(result.rows.keys, TRANSFORM, step)) for each in (start, given)]
        features = [model.early(crop).flatten(1) for crop in crops]
        expected = (features[0] - features[1]).norm(dim=1) / features[1].norm(dim=1)
        torch.testing.assert_close(result.history["feature_distance"][step], expected.detach())
    # After the optimization, and its turn with the model, as well.
    (outputs,) = optimization.outputs(result, [RandomStream(result.rows.keys, TRANSFORM, 2)])
    optimization.loss(outputs, result.images)
    torch.testing.assert_close(outputs.terms["feature_distance"], result.history["feature_distance"][2])


def test_at_the_image_itself_the_distance_is_zero_and_has_a_gradient_of_zero():
    given = images_of(2)
    loss = FeatureDistance("early", given)
    result = InputOptimization(network(), ChannelActivation("units", [0, 1]) + loss, steps=2).optimize(start=given)
    assert result.history["feature_distance"][0].tolist() == [0.0, 0.0]
    assert bool(result.images.isfinite().all())
    assert loss.rows(range(1, 2)).settings() == FeatureDistance("early", given[1:]).settings()
    assert loss.settings() != FeatureDistance("early", given + 1e-3).settings()


def test_the_model_is_left_as_it_was_and_results_are_read_back(untouched, tmp_path, make_cnn, make_images):
    model = make_cnn()
    accentuation = FeatureAccentuation(model, "stem", steps=3, parametrization=PixelImage())
    with untouched(model):
        made = accentuation.accentuate(make_images(2), ChannelActivation("block", [1, 3]))
    made.save(tmp_path / "made.safetensors")
    read = Accentuations.load(tmp_path / "made.safetensors")
    for name in ("images", "start", "before", "after", "distances", "attributions", "sensitivities"):
        assert torch.equal(getattr(read, name), getattr(made, name))
    assert (read.seeds, read.settings) == (made.seeds, json.loads(json.dumps(made.settings)))
    assert len(read) == 2
    np.testing.assert_array_less(made.before.numpy(), made.after.numpy())
    with pytest.raises(FileExistsError):
        made.save(tmp_path / "made.safetensors")


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: FeatureAccentuation(network(), "early", strength=-1.0), "strength is -1.0"),
        (lambda: FeatureAccentuation(network(), "early", parametrization=AlphaImage()), "has an alpha channel"),
        (lambda: FeatureAccentuation(network(), "erly").accentuate(images_of(3), LOSS), 'there is no layer "erly"'),
        (lambda: FeatureAccentuation(network(), "early").accentuate(images_of(2), LOSS), "3 targets for 2 images"),
        (lambda: FeatureAccentuation(network(), "early").accentuate(2 + images_of(3), LOSS), "images"),
        (
            lambda: InputOptimization(network(), FeatureDistance("early", images_of(2)), steps=1).optimize(SHAPE),
            "2 images were given for 1 rows; give one for each row",
        ),
    ],
)
def test_bad_input_is_told_in_a_sentence(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


def test_masks_and_controls_refuse(made):
    with pytest.raises(ValueError, match="percentile is 0"):
        made["accentuated"].masks(percentile=0)
    with pytest.raises(TypeError, match="other is missing"):
        FeatureAccentuation(network(), "early").with_controls(images_of(3), 2 * LOSS)
    with pytest.raises(TypeError, match="images are a list"):
        FeatureDistance("early", [1.0])  # type: ignore[arg-type]
