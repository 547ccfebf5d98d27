"""Shifts, parts, frames, backgrounds and blurs against NumPy, SciPy and torch, and whose numbers they draw."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage, stats
from torch import Tensor

from captum_proto.optim import (
    BlendAlpha,
    CenterCrop,
    EachAffine,
    GaussianNoise,
    GaussianSmoothing,
    IgnoreAlpha,
    Pad,
    RandomAffine,
    RandomChoiceAffine,
    RandomCrop,
    RandomResizedCrop,
    RandomRotation,
    RandomScale,
    RandomSpatialJitter,
    RandomStream,
    SameSize,
    feature_visualization_transform,
    prototype_keys,
)
from captum_proto.optim.random import TRANSFORM

#: What NumPy calls the ways in which torch fills a frame.
NUMPY_MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def stream(count: int, seed: int = 0) -> RandomStream:
    return RandomStream(prototype_keys([seed + i for i in range(count)], [(1,)] * count), TRANSFORM)


def images_of(count: int, height: int = 9, width: int = 12, channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(count, channels, height, width, generator=generator, dtype=torch.float64)


EVERY: list[Any] = [
    Pad(2, mode="reflect"),
    RandomSpatialJitter(3),
    RandomSpatialJitter(3, mode="constant"),
    RandomCrop((6, 7)),
    CenterCrop(5),
    RandomResizedCrop((0.4, 0.9)),
    RandomResizedCrop((0.4, 0.9), output=(5, 7)),
    RandomAffine(40, (0.3, 0.3), (0.6, 1.2), fill="reflect"),
    RandomAffine(40, (0.3, 0.3), (0.6, 1.2), fill="replicate"),
    RandomChoiceAffine([-30, 30], [0.7, 1.1], 3, fill="reflect"),
    RandomRotation([-20, 0, 20], fill="reflect"),
    GaussianNoise(0.3),
    RandomScale([0.8, 1.0, 1.2]),
    RandomRotation([-20, 0, 20]),
    GaussianSmoothing(3, 0.8),
]


@pytest.mark.parametrize("transform", EVERY, ids=lambda transform: type(transform).__name__)
def test_a_row_gets_alone_what_it_gets_in_a_batch_and_its_gradient(transform):
    images = images_of(6).requires_grad_(True)
    together = transform(images, stream(6))
    for row in (0, 3, 5):
        alone = transform(images[row : row + 1], RandomStream(prototype_keys([row], [(1,)]), TRANSFORM))
        assert torch.equal(together[row : row + 1], alone)
    assert torch.equal(together, transform(images, stream(6)))
    (gradient,) = torch.autograd.grad(together[2].square().sum(), images)
    assert float(gradient[2].abs().sum()) > 0
    assert float(gradient[[0, 1, 3, 4, 5]].abs().sum()) == 0
    json.dumps(transform.settings())


def by_numpy(image: np.ndarray, down: int, right: int, pixels: int, mode: str) -> np.ndarray:
    frame = [(0, 0), (pixels, pixels), (pixels, pixels)]
    kind = {"mode": "constant", "constant_values": 0.25} if mode == "constant" else {"mode": NUMPY_MODES[mode]}
    padded = np.pad(image, frame, **kind)
    height, width = image.shape[1:]
    return padded[:, pixels - down : pixels - down + height, pixels - right : pixels - right + width]


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
def test_jitter_moves_whole_pixels_and_every_shift_is_as_likely_as_the_others(mode):
    count, pixels = 600, 2
    images = images_of(1).repeat(count, 1, 1, 1)
    moved = RandomSpatialJitter(pixels, mode, fill=0.25)(images, stream(count)).numpy()
    shifts = range(-pixels, pixels + 1)
    known = {
        (down, right): by_numpy(images[0].numpy(), down, right, pixels, mode) for down in shifts for right in shifts
    }
    found = {place: sum(np.array_equal(one, image) for one in moved) for place, image in known.items()}
    assert sum(found.values()) == count  # each is one of the twenty-five, to the last bit
    assert min(found.values()) > 5
    assert max(found.values()) < 50


def test_jitter_by_nothing_is_the_image():
    assert torch.equal(RandomSpatialJitter(0)(images_of(2), stream(2)), images_of(2))


def test_the_gradient_of_a_crop_is_torchs():
    images = images_of(3).requires_grad_(True)
    cut = RandomCrop((4, 6))(images, stream(3))
    weights = torch.rand_like(cut)
    (gradient,) = torch.autograd.grad((cut * weights).sum(), images)
    for row in range(3):
        places = [
            (down, right)
            for down in range(6)
            for right in range(7)
            if torch.equal(images[row, :, down : down + 4, right : right + 6], cut[row])
        ]
        ((down, right),) = places
        expected = torch.nn.functional.pad(weights[row], [right, 12 - 6 - right, down, 9 - 4 - down])
        assert torch.equal(gradient[row], expected)


def test_center_crop_is_torchvisions():
    from torchvision.transforms.v2 import functional

    for size in ((4, 6), (5, 5), (9, 12)):
        expected = functional.center_crop(images_of(2, 9, 12), list(size))
        ours = CenterCrop(size)(images_of(2, 9, 12), None)
        # Where a pixel is left over, torchvision rounds half to even; ours leaves it at the bottom and the right.
        if (9 - size[0]) % 2 == 0 and (12 - size[1]) % 2 == 0:
            assert torch.equal(ours, expected)
        assert ours.shape == expected.shape


def test_a_resized_part_is_of_the_image_alone_and_of_the_drawn_size():
    height = width = 32
    ramp = torch.arange(width, dtype=torch.float64).expand(400, 1, height, width).contiguous()
    seen = RandomResizedCrop((0.25, 1.0))(ramp, stream(400))
    assert float(seen.min()) >= -1e-9
    assert float(seen.max()) <= width - 1 + 1e-9
    # Of a ramp an enlarged part is a ramp, whose slope is the side of the part.
    slope = (seen[:, 0, 16, 20] - seen[:, 0, 16, 12]) / 8
    assert 0.25 <= float(slope.min()) < 0.3
    assert 0.95 < float(slope.max()) <= 1
    middle = (seen[:, 0, 16, 15] + seen[:, 0, 16, 16]) / 2 - (width - 1) / 2
    assert bool((middle.abs() <= (1 - slope) * width / 2 + 1e-9).all())
    assert float(middle.abs().max()) > 8
    whole = RandomResizedCrop((1.0, 1.0))(images_of(2), stream(2))
    torch.testing.assert_close(whole, images_of(2), rtol=0, atol=1e-12)


def test_a_resized_part_is_what_interpolation_makes_of_it():
    images = images_of(1, 16, 16)
    seen = RandomResizedCrop((0.5, 0.5))(images, stream(1))[0]
    unit = stream(1).uniform(3)[0]
    # The part's corner in pixels, from the drawn numbers, and SciPy's bilinear values on its grid.
    left, top = (8 - 16 * ((2 * unit[1:] - 1) / 2) / 2 - 4).tolist()
    grid = [corner + (np.arange(16) + 0.5) / 2 - 0.5 for corner in (top, left)]
    rows, columns = np.meshgrid(*grid, indexing="ij")
    expected = [ndimage.map_coordinates(plane.numpy(), [rows, columns], order=1, mode="nearest") for plane in images[0]]
    np.testing.assert_allclose(seen.numpy(), np.stack(expected), atol=1e-9)


@pytest.mark.parametrize("output", [8, (8, 4), (16, 12)])
def test_a_part_of_another_size_is_what_interpolation_makes_of_it(output):
    images, transform = images_of(3, 16, 12), RandomResizedCrop((0.2, 0.7), output)
    height, width = output if isinstance(output, tuple) else (output, output)
    seen, unit = transform(images, stream(3)), stream(3).uniform(3).numpy()
    assert seen.shape == (3, 3, height, width)
    for image, part, (size, across, down) in zip(images, seen, unit, strict=True):
        side = 0.2 + 0.5 * size
        rows = (1 - down) * (1 - side) * 16 + (np.arange(height) + 0.5) * side * 16 / height - 0.5
        columns = (1 - across) * (1 - side) * 12 + (np.arange(width) + 0.5) * side * 12 / width - 0.5
        grid = np.meshgrid(rows, columns, indexing="ij")
        expected = [ndimage.map_coordinates(plane.numpy(), grid, order=1, mode="nearest") for plane in image]
        np.testing.assert_allclose(part.numpy(), np.stack(expected), atol=1e-9)
    assert transform.settings()["output"] == [height, width]


def test_a_part_of_the_size_of_the_image_is_the_same_part():
    images = images_of(3, 16, 12)
    expected = RandomResizedCrop((0.3, 1.0))(images, stream(3))
    same = RandomResizedCrop((0.3, 1.0), output=(16, 12))(images, stream(3))
    torch.testing.assert_close(same, expected, rtol=0, atol=1e-12)


def test_noise_is_normal_and_its_own_for_each_image_and_value():
    noisy = GaussianNoise(0.25)(torch.full((40, 3, 20, 20), 0.5, dtype=torch.float64), stream(40)).numpy() - 0.5
    assert stats.kstest(noisy.ravel() / 0.25, "norm").pvalue > 0.01
    assert abs(np.corrcoef(noisy.reshape(40, -1)) - np.eye(40)).max() < 0.15
    values = noisy.reshape(40, 3, -1)
    assert abs(np.corrcoef(values.transpose(1, 0, 2).reshape(3, -1)) - np.eye(3)).max() < 0.03
    assert torch.equal(GaussianNoise(0)(images_of(2), stream(2)), images_of(2))
    assert GaussianNoise(0.1)(images_of(2).half(), stream(2)).dtype == torch.float16


def test_each_image_goes_on_under_its_own_transform():
    each = [RandomAffine(30, fill="reflect"), RandomAffine(90, (0.5, 0.5), (0.5, 1.0), fill="reflect")]
    together = EachAffine(each)(images_of(2), stream(2))
    for row, transform in enumerate(each):
        alone = transform(images_of(2)[row : row + 1], RandomStream(prototype_keys([row], [(1,)]), TRANSFORM))
        assert torch.equal(together[row : row + 1], alone)
    with pytest.raises(ValueError, match=r"fills \[0.5, 'reflect'\]"):
        EachAffine([RandomAffine(3, fill=0.5), RandomAffine(3, fill="reflect")])


@pytest.mark.parametrize(("fill", "mode"), [("reflect", "symmetric"), ("replicate", "edge")])
def test_a_turned_image_goes_on_as_numpys_frame_does(fill, mode):
    """A constant would show where there is nothing; here there is what SciPy finds in a frame of the image's own."""
    images, transform = images_of(2, 9, 12), RandomAffine(180, (0.3, 0.3), (0.7, 1.3), fill=fill)
    pad = 24
    frame = np.pad(images.numpy(), [(0, 0), (0, 0), (pad, pad), (pad, pad)], mode=mode)
    unit = stream(2).uniform(4).numpy()
    for image, seen, (turn, across, down, size) in zip(frame, transform(images, stream(2)), unit, strict=True):
        angle, scale = np.deg2rad(-180 + 360 * turn), 0.7 + 0.6 * size
        rows, columns = np.mgrid[0:9, 0:12].astype(float)
        y, x = rows - 4 - (-0.3 + 0.6 * down) * 9, columns - 5.5 - (-0.3 + 0.6 * across) * 12
        from_x = (np.cos(angle) * x + np.sin(angle) * y) / scale + 5.5
        from_y = (-np.sin(angle) * x + np.cos(angle) * y) / scale + 4
        expected = [ndimage.map_coordinates(plane, [from_y + pad, from_x + pad], order=1) for plane in image]
        np.testing.assert_allclose(seen.numpy(), np.stack(expected), atol=1e-9)


def test_scale_and_rotation_are_the_choices_of_lucid():
    images = images_of(4)
    assert torch.equal(
        RandomScale([0.9, 1.1], fill=0.5)(images, stream(4)),
        RandomChoiceAffine(scales=[0.9, 1.1], fill=0.5)(images, stream(4)),
    )
    assert torch.equal(
        RandomRotation(range(-10, 11))(images, stream(4)), RandomChoiceAffine(range(-10, 11))(images, stream(4))
    )


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_frames_are_numpys(mode):
    images = images_of(2)
    expected = np.pad(images.numpy(), [(0, 0), (0, 0), (4, 4), (4, 4)], mode=NUMPY_MODES[mode])
    assert np.array_equal(Pad(4, mode=mode)(images, None).numpy(), expected)
    turned = SameSize([Pad(4, mode=mode), RandomRotation([15], fill=99.0)])(images, stream(2))
    assert float(turned.max()) <= 1  # no fill is seen


def test_smoothing_is_scipys():
    images = images_of(2)
    width, sigma = 5, 1.3
    weights = np.exp(-((np.arange(width) - width // 2) ** 2) / (2 * sigma**2))
    weights /= weights.sum()
    expected = ndimage.correlate1d(images.numpy(), weights, axis=2, mode="mirror")
    expected = ndimage.correlate1d(expected, weights, axis=3, mode="mirror")
    np.testing.assert_allclose(GaussianSmoothing(width, sigma)(images, None).numpy(), expected, atol=1e-12)


def test_backgrounds():
    images = images_of(3, 16, 16, channels=4)
    colors, alpha = images[:, :3], images[:, 3:]
    assert torch.equal(IgnoreAlpha()(images, None), colors)
    torch.testing.assert_close(BlendAlpha(0.25)(images, None), alpha * colors + (1 - alpha) * 0.25)
    behind = torch.rand(3, 16, 16, dtype=torch.float64)
    torch.testing.assert_close(BlendAlpha(behind)(images, None), alpha * colors + (1 - alpha) * behind)
    clear = torch.zeros(64, 4, 16, 16, dtype=torch.float64)
    noise = BlendAlpha("noise", (-1.0, 3.0))(clear, stream(64))
    assert float(noise.mean()) == pytest.approx(1.0, abs=0.05)
    assert -1 <= float(noise.min()) < -0.9
    natural = BlendAlpha("natural")(clear, stream(64))
    assert not torch.equal(natural[0], natural[1])
    power = np.abs(np.fft.fft2(natural.logit().numpy())) ** 2
    frequency = np.hypot(np.fft.fftfreq(16)[:, None], np.fft.fftfreq(16)[None])
    band = frequency > 0
    slope = np.polyfit(np.log(frequency[band]), np.log(power.mean((0, 1))[band]), 1)[0]
    assert slope == pytest.approx(-2, abs=0.1)
    # Without random numbers, and only then, the middle of the range.
    assert bool((BlendAlpha("natural", (0.0, 3.0))(clear, None) == 1.5).all())
    assert torch.equal(natural[5:6], BlendAlpha()(clear[:1], stream(1, seed=5)))


def test_the_standard_transform_is_as_it_was():
    """Numbers that were recorded before frames could be reflected; a frame of constants is what it was."""
    made = feature_visualization_transform(32)(images_of(2, 32, 32), stream(2))
    assert made.shape == (2, 3, 32, 32)
    names = [each["name"] for each in feature_visualization_transform().settings()["transform"]["transforms"]]
    assert names == ["Pad", "RandomChoiceAffine", "RandomChoiceAffine", "RandomChoiceAffine", "RandomChoiceAffine"]
    assert made.sum(dim=(1, 2, 3)).tolist() == pytest.approx(RECORDED, rel=1e-12)


RECORDED = [1518.2233612290197, 1531.5506672370768]


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Pad(9, mode="reflect")(images_of(1), None), "larger than what a 9 x 12 image has .* at most 8 x 11"),
        (lambda: Pad(10, mode="circular")(images_of(1), None), "at most 9 x 12"),
        (lambda: Pad(2, mode="mirror"), "mode is 'mirror'.* expected one of constant, reflect"),
        (lambda: RandomSpatialJitter(-1), "pixels is -1"),
        (lambda: RandomSpatialJitter(20)(images_of(1), stream(1)), "a frame of 20 pixels is larger"),
        (lambda: RandomCrop(10)(images_of(1), stream(1)), "RandomCrop is to cut 10 x 10 pixels from images of 9 x 12"),
        (lambda: CenterCrop((4, 13))(images_of(1), None), "CenterCrop is to cut 4 x 13"),
        (lambda: CenterCrop(0), "size is 0"),
        (lambda: RandomCrop((1, 2, 3)), "size is"),
        (lambda: RandomResizedCrop((0.5, 1.5)), "size is"),
        (lambda: RandomResizedCrop(output=0), "output is 0; expected a positive number"),
        (
            lambda: RandomResizedCrop(output=10)(images_of(1), stream(1)),
            "output 10 x 10 and images are 9 x 12; make lar",
        ),
        (lambda: GaussianNoise(-0.1), "sd is -0.1; expected a standard deviation of at least 0"),
        (lambda: GaussianNoise(float("nan")), "sd is nan"),
        (lambda: RandomAffine(3, fill="reflected"), 'fill is "reflected"; did you mean "reflect"'),
        (lambda: RandomRotation([3], fill="x"), 'fill is "x"; expected a number, or one of reflect, replicate'),
        (lambda: RandomScale([]), "expected at least one angle, positive factors"),
        (lambda: GaussianSmoothing(4, 1.0), "expected an odd number"),
        (lambda: GaussianSmoothing(3, 0.0), "a positive sigma"),
        (lambda: GaussianSmoothing(19, 1.0)(images_of(1), None), "take a smaller kernel"),
        (lambda: BlendAlpha("sky"), "background is 'sky'"),
        (lambda: BlendAlpha(torch.rand(1, 3, 4, 4)), "background is of shape"),
        (lambda: BlendAlpha(torch.rand(3, 4, 4))(images_of(1, channels=4), None), "expected that of an image"),
        (lambda: BlendAlpha()(images_of(1), stream(1)), "AlphaImage makes them"),
        (lambda: IgnoreAlpha()(images_of(1), None), "IgnoreAlpha got images of shape"),
    ],
)
def test_bad_input_is_told_in_a_sentence(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()
