"""The random affine transform against torchvision's, and whose random numbers a transform uses."""

from __future__ import annotations

import importlib
import json
import math

import numpy as np
import pytest
import torch
import torchvision
from scipy import ndimage, stats
from torch import Tensor
from torchvision.transforms import v2

from captum_proto.optim import (
    Compose,
    EachAffine,
    Pad,
    PerImage,
    RandomAffine,
    RandomChoiceAffine,
    RandomStream,
    SameSize,
    Transform,
    affine,
    feature_visualization_transform,
    prototype_keys,
)
from captum_proto.optim.random import TRANSFORM
from captum_proto.optim.transforms import as_transform
from captum_proto.optim.transforms.affine import affine_matrix, sampled


def stream(count: int, step: int = 0, seed: int = 0) -> RandomStream:
    return RandomStream(prototype_keys([seed + i for i in range(count)], [(1,)] * count), TRANSFORM, step)


def double(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def same_for_one(image: Tensor, angle: float, shift: tuple[int, int], scale: float) -> Tensor:
    return torchvision.transforms.functional.affine(
        image,
        angle=angle,
        translate=list(shift),
        scale=scale,
        shear=[0.0, 0.0],
        interpolation=torchvision.transforms.InterpolationMode.BILINEAR,
    )


@pytest.fixture
def parameters(monkeypatch) -> list[dict[str, Tensor]]:
    """What RandomAffine asks of affine_matrix(), and the fill with which it samples, call by call."""
    asked: list[dict[str, Tensor]] = []

    def spy(angle, translate, scale, height, width):
        asked.append({"angle": angle, "translate": translate, "scale": scale})
        return affine_matrix(angle, translate, scale, height, width)

    def spy_on_fill(images, matrix, fill, **options):
        asked[-1]["fill"] = fill
        return sampled(images, matrix, fill, **options)

    module = importlib.import_module("captum_proto.optim.transforms.affine")
    monkeypatch.setattr(module, "affine_matrix", spy)
    monkeypatch.setattr(module, "sampled", spy_on_fill)
    return asked


# --- the geometry --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(16, 16), (15, 15), (12, 20), (21, 9), (1, 8), (8, 1)])
@pytest.mark.parametrize("fill", [0.0, 0.5, -1.25])
def test_equals_torchvision(size, fill):
    height, width = size
    angles = [0.0, 30.0, -77.0, 180.0, 90.0, 12.5]
    shifts = [(0, 0), (3, -2), (-1, 4), (2, 2), (0, -3), (7, 7)]
    scales = [1.0, 0.7, 1.3, 1.1, 0.5, 2.0]
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(len(angles), 3, height, width, generator=generator, dtype=torch.float64)
    transformed = affine(
        images,
        angle=double(angles),
        translate=torch.stack([double([x / width, y / height]) for x, y in shifts]),
        scale=double(scales),
        fill=fill,
    )
    for i in range(len(angles)):
        # torchvision's own fill is not used: along the border it fades the image twice.
        expected = same_for_one(images[i : i + 1] - fill, angles[i], shifts[i], scales[i]) + fill
        torch.testing.assert_close(transformed[i : i + 1], expected, rtol=0, atol=1e-9)


def test_equals_torchvision_in_float32():
    images = torch.rand(4, 3, 14, 10)
    transformed = affine(
        images,
        double([20, 100, -45, 3]),
        torch.stack([double([x / 10, y / 14]) for x, y in [(1, 2), (0, 0), (-3, 1), (2, -5)]]),
        double([0.8, 1.2, 1, 0.9]),
    )
    assert transformed.dtype == torch.float32
    for i, (angle, shift, scale) in enumerate(
        [(20.0, (1, 2), 0.8), (100.0, (0, 0), 1.2), (-45.0, (-3, 1), 1.0), (3.0, (2, -5), 0.9)]
    ):
        expected = same_for_one(images[i : i + 1], angle, shift, scale)
        torch.testing.assert_close(transformed[i : i + 1], expected, rtol=0, atol=1e-4)


def test_nothing_to_do_does_nothing():
    images = torch.rand(2, 3, 9, 13, dtype=torch.float64)
    same = affine(images, double([0, 0]), torch.zeros(2, 2, dtype=torch.float64), double([1, 1]))
    torch.testing.assert_close(same, images, rtol=0, atol=1e-12)


def test_quarter_and_half_turns_move_whole_pixels():
    images = torch.rand(2, 3, 9, 9, dtype=torch.float64)
    still = torch.zeros(2, 2, dtype=torch.float64)
    quarter = affine(images, double([90, -90]), still, double([1, 1]))
    torch.testing.assert_close(quarter[0], images[0].rot90(-1, (1, 2)), rtol=0, atol=1e-9)  # clockwise
    torch.testing.assert_close(quarter[1], images[1].rot90(1, (1, 2)), rtol=0, atol=1e-9)
    oblong = torch.rand(1, 3, 6, 11, dtype=torch.float64)
    half = affine(oblong, double([180]), still[:1], double([1]))
    torch.testing.assert_close(half, oblong.flip(2, 3), rtol=0, atol=1e-9)


@pytest.mark.parametrize("shift", [(0.5, 0.0), (-1.25, 2.75), (0.1, -0.9)])
@pytest.mark.parametrize("fill", [0.0, 0.7])
def test_translations_are_not_rounded_and_the_border_blends_into_the_fill(shift, fill):
    images = torch.rand(1, 1, 10, 14, dtype=torch.float64)
    x, y = shift
    moved = affine(images, double([0]), double([x / 14, y / 10]).unsqueeze(0), double([1]), fill)
    # Bilinear, with the fill beyond the edge spelled out for SciPy.
    padded = np.pad(images[0, 0].numpy(), 4, constant_values=fill)
    expected = ndimage.shift(padded, (y, x), order=1, cval=fill)[4:-4, 4:-4]
    torch.testing.assert_close(moved[0, 0], torch.from_numpy(expected), rtol=0, atol=1e-9)


def test_what_comes_from_outside_is_the_fill():
    images = torch.rand(1, 3, 8, 8, dtype=torch.float64)
    away = affine(images, double([0]), double([1, 0]).unsqueeze(0), double([1]), fill=0.25)
    torch.testing.assert_close(away, torch.full_like(away, 0.25), rtol=0, atol=1e-12)


def test_gradients_reach_the_images():
    images = torch.rand(2, 1, 5, 4, dtype=torch.float64, requires_grad=True)

    def turn(x):
        return affine(x, double([33, -120]), double([0.1, 0.2, 0.0, -0.3]).view(2, 2), double([0.8, 1.2]), 0.3)

    assert torch.autograd.gradcheck(turn, images)
    # One image's output depends on that image alone.
    (gradient,) = torch.autograd.grad(turn(images)[0].sum(), images)
    assert float(gradient[0].abs().sum()) > 0
    assert torch.equal(gradient[1], torch.zeros_like(gradient[1]))


# --- the draws -----------------------------------------------------------------------------------------------------------------------


def test_every_image_has_its_own_draw_from_the_ranges(parameters):
    count = 3000
    transform = RandomAffine((-20, 70), translate=(0.5, 0.25), scale=(0.7, 1.3), fill=0.5)
    transform(torch.rand(count, 1, 2, 2), stream(count))
    (asked,) = parameters
    assert asked["fill"] == 0.5
    drawn = {
        "angle": (asked["angle"], -20, 70),
        "x": (asked["translate"][:, 0], -0.5, 0.5),
        "y": (asked["translate"][:, 1], -0.25, 0.25),
        "scale": (asked["scale"], 0.7, 1.3),
    }
    for name, (values, low, high) in drawn.items():
        assert values.shape == (count,)
        assert len(values.unique()) == count, name
        assert stats.kstest(values.numpy(), "uniform", args=(low, high - low)).pvalue > 1e-3, name
    correlations = np.corrcoef([values.numpy() for values, _, _ in drawn.values()]) - np.eye(4)
    assert np.abs(correlations).max() < 5 / math.sqrt(count)


def test_two_prototypes_of_one_batch_are_transformed_differently_and_anew_at_each_step(parameters):
    transform = RandomAffine(180, translate=(0.5, 0.5), scale=(0.7, 1.3))
    image = torch.rand(1, 3, 8, 8).expand(2, -1, -1, -1)
    outputs = [transform(image, stream(2, step)) for step in range(3)]
    every = torch.cat([asked["angle"] for asked in parameters])
    assert len(every.unique()) == 6
    assert not torch.allclose(outputs[0][0], outputs[0][1])
    assert not torch.allclose(outputs[0][0], outputs[1][0])


def test_an_image_is_transformed_the_same_alone_and_in_a_batch():
    transform = RandomAffine(180, translate=(0.5, 0.5), scale=(0.7, 1.3), fill=0.5)
    images = torch.rand(5, 3, 8, 10, dtype=torch.float64)
    together = transform(images, stream(5))
    for i in range(5):
        assert torch.equal(together[i : i + 1], transform(images[i : i + 1], stream(1, seed=i)))


def test_one_range_does_not_change_the_draws_of_another(parameters):
    images = torch.rand(3, 1, 4, 4)
    for transform in (RandomAffine(180), RandomAffine(180, (0.5, 0.5)), RandomAffine(180, (0.1, 0.5), (0.5, 1.5))):
        transform(images, stream(3))
    first, second, third = parameters
    assert torch.equal(first["angle"], second["angle"])
    assert torch.equal(first["angle"], third["angle"])
    assert torch.equal(second["translate"][:, 1], third["translate"][:, 1])
    assert torch.equal(first["translate"], torch.zeros(3, 2, dtype=torch.float64))
    assert torch.equal(first["scale"], torch.ones(3, dtype=torch.float64))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"degrees": -5}, "degrees is -5; a single number must be at least 0"),
        ({"degrees": (10, -10)}, r"degrees is \(10, -10\); expected \(least, most\)"),
        ({"degrees": (1, 2, 3)}, r"degrees is \(1, 2, 3\)"),
        ({"degrees": 0, "translate": (0.5,)}, r"translate is \(0.5,\); expected two fractions"),
        ({"degrees": 0, "translate": (0.5, 1.5)}, r"translate is \(0.5, 1.5\); expected two fractions"),
        ({"degrees": 0, "translate": (-0.5, 0.5)}, "expected two fractions"),
        ({"degrees": 0, "scale": (1.2, 0.8)}, r"scale is \(1.2, 0.8\); expected \(least, most\)"),
        ({"degrees": 0, "scale": (0, 1)}, "expected positive factors"),
    ],
)
def test_impossible_ranges_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        RandomAffine(**arguments)


# --- transforms of the global generator --------------------------------------------------------------------------------------------------


def test_per_image_draws_from_the_images_stream_and_leaves_the_global_generator():
    transform = PerImage(v2.RandomAffine(180, translate=(0.3, 0.3), scale=(0.7, 1.3)))
    images = torch.rand(1, 3, 9, 9, dtype=torch.float64).repeat(4, 1, 1, 1)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    together = transform(images, stream(4))
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(100)  # whatever the global generator does between, the draws are the same
    assert torch.equal(transform(images, stream(4)), together)
    for i in range(4):
        assert torch.equal(transform(images[i : i + 1], stream(1, seed=i)), together[i : i + 1])
        assert not any(torch.allclose(together[i], together[j]) for j in range(i))
    assert not torch.allclose(transform(images, stream(4, step=1)), together)


def test_per_image_puts_the_generator_back_after_an_error():
    def fail(image):
        torch.rand(1)
        raise RuntimeError("torn")

    state = torch.get_rng_state()
    with pytest.raises(RuntimeError, match="torn"):
        PerImage(fail)(torch.rand(2, 1, 2, 2, generator=torch.Generator()), stream(2))
    assert torch.equal(torch.get_rng_state(), state)


def test_per_image_seeds_no_device_that_it_does_not_put_back(monkeypatch):
    def forbidden(*_):
        raise AssertionError("seeded")

    for name in ("manual_seed", "manual_seed_all", "seed", "seed_all"):
        monkeypatch.setattr(torch.cuda, name, forbidden)
    PerImage(lambda image: image + torch.rand(1))(torch.rand(2, 1, 2, 2), stream(2))


def test_gradients_go_through_per_image():
    images = torch.rand(2, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(PerImage(lambda x: 3 * x)(images, stream(2)).sum(), images)
    assert torch.equal(gradient, torch.full_like(images, 3))


# --- putting them together -----------------------------------------------------------------------------------------------------------


def test_compose_goes_on_in_the_same_stream(parameters):
    images = torch.rand(2, 3, 8, 8)
    composed = Compose([RandomAffine(30), RandomAffine(30)])(images, stream(2))
    first, second = parameters
    assert not torch.equal(first["angle"], second["angle"])
    one_by_one = stream(2)
    assert torch.equal(composed, RandomAffine(30)(RandomAffine(30)(images, one_by_one), one_by_one))


def test_what_counts_as_a_transform():
    own = RandomAffine(10)
    assert as_transform(own) is own
    assert isinstance(own, Transform)
    assert isinstance(as_transform([own, torch.nn.Identity()]), Compose)
    assert isinstance(as_transform(lambda images: images), PerImage)
    assert isinstance(as_transform(v2.RandomPerspective(p=1.0)), PerImage)
    for wrong in (5, "affine", {"degrees": 3}):
        with pytest.raises(TypeError, match=f"transform is a {type(wrong).__name__}; expected a Transform"):
            as_transform(wrong)
    with pytest.raises(TypeError, match="transform is a type, the class RandomAffine itself; expected a Transform"):
        as_transform(RandomAffine)


@pytest.mark.parametrize(
    "transform",
    [
        RandomAffine(180, (0.5, 0.5), (0.7, 1.3), 0.5),
        Compose([RandomAffine(5), v2.RandomPerspective()]),
        PerImage(lambda images: images),
    ],
)
def test_settings_are_json(transform):
    settings = json.loads(json.dumps(transform.settings()))
    assert settings["name"] == type(transform).__name__


def test_settings_tell_the_ranges():
    assert RandomAffine(180, (0.5, 0.25), (0.7, 1.3), 0.5).settings() == {
        "name": "RandomAffine",
        "degrees": [-180.0, 180.0],
        "translate": [0.5, 0.25],
        "scale": [0.7, 1.3],
        "fill": 0.5,
    }
    assert "degrees=(-180.0, 180.0)" in repr(RandomAffine(180))


# --- several transforms in one batch, and those of feature visualization ---------------------------------------------------------------


def test_each_image_goes_through_its_own_transform():
    transforms = [RandomAffine(0), RandomAffine(30, (0.1, 0.2)), RandomAffine(180, (0.5, 0.5), (0.7, 1.3))]
    images = torch.rand(3, 2, 11, 13, dtype=torch.float64)
    together = EachAffine(transforms)(images, stream(3))
    for row, transform in enumerate(transforms):
        keys = prototype_keys([row], [(1,)])
        alone = transform(images[row : row + 1], RandomStream(keys, TRANSFORM))
        torch.testing.assert_close(together[row : row + 1], alone, rtol=0, atol=0)
    assert len(EachAffine(transforms).settings()["transforms"]) == 3


def test_each_image_needs_a_transform():
    with pytest.raises(ValueError, match="there are 2 images and 3 transforms"):
        EachAffine([RandomAffine(0)] * 3)(torch.rand(2, 1, 4, 4), stream(2))
    with pytest.raises(ValueError, match="fills"):
        EachAffine([RandomAffine(0), RandomAffine(0, fill=0.5)])
    with pytest.raises(ValueError, match="fills"):
        EachAffine([])


def test_choices_are_those_of_the_list_and_equally_likely(parameters):
    transform = RandomChoiceAffine(degrees=[-7, 0, 0, 0], scales=[0.9, 1.1], jitter=3)
    transform(torch.rand(4000, 1, 4, 6, dtype=torch.float64), stream(4000))
    angle, shift, scale, fill = module_arguments(parameters)
    values, counts = np.unique(angle.numpy(), return_counts=True)
    assert values.tolist() == [-7, 0]
    assert stats.chisquare(counts, [1000, 3000]).pvalue > 1e-4
    assert sorted(set(scale.tolist())) == [0.9, 1.1]
    pixels = shift * torch.tensor([6.0, 4.0], dtype=torch.float64)
    for column in range(2):
        values, counts = np.unique(pixels[:, column].round(decimals=9).numpy(), return_counts=True)
        assert values.tolist() == [0, 1, 2]
        assert stats.chisquare(counts).pvalue > 1e-4
    assert fill == 0.0


def module_arguments(parameters):
    (asked,) = parameters
    return tuple(asked[name] for name in ("angle", "translate", "scale", "fill"))


def test_jitter_moves_by_whole_pixels_to_the_right_and_downwards():
    image = torch.zeros(64, 1, 9, 9, dtype=torch.float64)
    image[:, :, 2, 3] = 1
    moved = RandomChoiceAffine(jitter=4)(image, stream(64))
    where = {tuple(index[2:]) for index in (moved > 1 - 1e-9).nonzero().tolist()}
    assert where == {(2 + y, 3 + x) for x in range(4) for y in range(4)}
    torch.testing.assert_close(moved.sum(dim=(1, 2, 3)), torch.ones(64, dtype=torch.float64))


def test_a_frame_and_its_cut():
    images = torch.rand(2, 3, 5, 7)
    framed = Pad(2, fill=0.25)(images, stream(2))
    assert framed.shape == (2, 3, 9, 11)
    assert torch.equal(framed[..., 2:-2, 2:-2], images)
    assert float(framed[..., 0, :].min()) == float(framed[..., 0, :].max()) == 0.25
    assert torch.equal(SameSize(Pad(2))(images, stream(2)), images)
    with pytest.raises(ValueError, match="expected no smaller ones"):
        SameSize(lambda image: image[..., 1:])(images, stream(2))
    with pytest.raises(ValueError, match="pixels is -1"):
        Pad(-1)
    with pytest.raises(ValueError, match="at least one angle"):
        RandomChoiceAffine(degrees=[])


def test_feature_visualization_shakes_images_a_little_and_keeps_their_size():
    transform = feature_visualization_transform()
    image = torch.zeros(200, 1, 224, 224)
    image[:, :, 104:120, 104:120] = 1
    moved = transform(image, stream(200))
    assert moved.shape == image.shape
    center = torch.tensor([ndimage.center_of_mass((one[0] > 0.75).numpy()) for one in moved]) - 111.5
    assert 3 < float(center.mean()) < 7  # 3.5 + 1.5 on average
    assert float(center.min()) > -4
    assert float(center.max()) < 13
    area = (moved[:, 0, 80:150, 80:150] > 0.75).sum(dim=(1, 2)) / 256
    assert 0.7 < float(area.min()) < 0.9
    assert 1.1 < float(area.max()) < 1.35
    json.dumps(transform.settings())
