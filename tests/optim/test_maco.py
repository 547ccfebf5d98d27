"""The parametrization of MACO against NumPy, and the presets of other methods."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from networks import SmallCNN, seeded
from torch import nn

from captum_proto import PrototypeGeneration
from captum_proto._utils.files import image_digest
from captum_proto.optim import (
    MACOImage,
    NaturalStatistics,
    RandomHorizontalFlip,
    RandomRoll,
    RandomStream,
    prototype_keys,
)
from captum_proto.optim.presets import preset_for
from captum_proto.optim.random import START, TRANSFORM

SHAPE = (3, 12, 10)


def photographs(count: int = 5, shape: tuple[int, ...] = SHAPE) -> torch.Tensor:
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def stream(count: int) -> RandomStream:
    return RandomStream(prototype_keys(list(range(count)), [(1,)] * count), START)


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 7, 9), (2, 6, 5)])
def test_pictures_are_numpys(shape):
    maco = MACOImage.measured(photographs(4, shape)).for_images(shape, (-1.0, 2.0))
    parameters = maco.start(stream(3), shape)
    for image, phases in zip(maco.render(parameters).numpy(), parameters["phases"].numpy(), strict=True):
        phases = (phases - phases.mean()) / (phases.std() + 1e-5)
        planes = np.fft.irfft2(maco.magnitudes.numpy() * np.exp(1j * phases), s=shape[1:], norm="ortho")
        planes = (planes - planes.mean()) / planes.std()
        np.testing.assert_allclose(image, 3 / (1 + np.exp(-planes)) - 1, atol=1e-4)


def test_no_picture_depends_on_the_others():
    maco = MACOImage.measured(photographs()).for_images(SHAPE, (0.0, 1.0))
    parameters = maco.start(stream(3), SHAPE)
    together = maco.render(parameters)
    alone = maco.render({"phases": parameters["phases"][1:2]})
    torch.testing.assert_close(alone[0], together[1], rtol=1e-12, atol=1e-14)


def test_spectra_are_kept_and_read_from_files(tmp_path):
    made = MACOImage.measured(photographs())
    made.save(tmp_path / "spectrum.safetensors")
    published = made.magnitudes.float().numpy() * 7  # whatever its size is in sum
    np.save(tmp_path / "spectrum.npy", published)
    parameters = made.start(stream(2), SHAPE)
    expected = made.for_images(SHAPE, (0.0, 1.0)).render(parameters)
    for name in ("spectrum.safetensors", "spectrum.npy"):
        loaded = MACOImage.load(tmp_path / name)
        found = loaded.for_images(SHAPE, (0.0, 1.0)).render(parameters)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert MACOImage.load(tmp_path / "spectrum.safetensors").settings() == made.settings()
    # A spectrum of another resolution is resized, as the published one is.
    larger = made.for_images((3, 24, 20), (0.0, 1.0))
    assert bool(larger.render(larger.start(stream(1), (3, 24, 20))).isfinite().all())
    np.save(tmp_path / "labels.npy", np.arange(4))
    for name, error in (
        ("labels.npy", ValueError),
        ("nowhere.npy", FileNotFoundError),
        ("nowhere.safetensors", FileNotFoundError),
    ):
        with pytest.raises(error):
            MACOImage.load(tmp_path / name)
    with pytest.raises(ValueError, match="no magnitude spectrum to save"):
        MACOImage().save(tmp_path / "nothing.safetensors")
    with pytest.raises(ValueError, match="has 3 channels"):
        made.for_images((1, 12, 10), (0.0, 1.0))


def test_flips_are_each_pictures_own():
    keys = prototype_keys(list(range(64)), [(1,)] * 64)
    images = photographs(1).expand(64, -1, -1, -1)
    flipped = RandomHorizontalFlip()(images, RandomStream(keys, TRANSFORM))
    mirrored = (flipped == images.flip(-1)).flatten(1).all(1)
    assert bool((mirrored | (flipped == images).flatten(1).all(1)).all())
    assert 20 <= int(mirrored.sum()) <= 44
    alone = RandomHorizontalFlip()(images[:1], RandomStream(keys[5:6], TRANSFORM))
    assert torch.equal(alone[0], flipped[5])
    assert torch.equal(RandomHorizontalFlip(0.0)(images, RandomStream(keys, TRANSFORM)), images)
    with pytest.raises(ValueError, match="between 0 and 1"):
        RandomHorizontalFlip(1.5)


def test_rolls_are_numpys_and_each_pictures_own():
    keys = prototype_keys(list(range(200)), [(1,)] * 200)
    image = photographs(1)
    rolled = RandomRoll(0.3)(image.expand(200, -1, -1, -1), RandomStream(keys, TRANSFORM))
    shifts = [(down, right) for down in range(-4, 5) for right in range(-3, 4)]  # 0.3 of 12 and of 10
    known = np.stack([np.roll(image[0].numpy(), shift, (1, 2)) for shift in shifts])
    drawn = [int(np.flatnonzero((known == each.numpy()).all((1, 2, 3)))[0]) for each in rolled]
    assert len(set(drawn)) > 50  # of 63
    alone = RandomRoll(0.3)(image, RandomStream(keys[7:8], TRANSFORM))
    assert torch.equal(alone[0], rolled[7])
    assert torch.equal(RandomRoll(0.0)(image, RandomStream(keys[:1], TRANSFORM)), image)
    assert RandomRoll().settings()["share"] * 224 == 30
    with pytest.raises(ValueError, match="between 0 and 1"):
        RandomRoll(-0.1)


def options(name: str, **changes) -> dict:
    return {**preset_for(name, (3, 12, 12)), "steps": 3, "evaluation_draws": 1, **changes}


def generated(model: nn.Module, target, **choices):
    return PrototypeGeneration(model).generate(target, (3, 12, 12), **choices)


def test_the_presets_of_other_methods_run_and_are_told_by_their_settings():
    model = seeded(SmallCNN).double().eval()
    inversion = generated(model, [1, 2], **options("deep_inversion"))
    parts = inversion.settings["regularizer"]["parts"]
    assert [part["loss"]["name"] for part in parts] == ["FeatureDistribution", "ImagePrior"]
    assert [part["weight"] for part in parts] == [0.01, 1]
    assert inversion.settings["class_loss"] == "cross_entropy"
    torch.testing.assert_close(
        inversion.history["loss"],
        -inversion.history["probability"].log()
        + 0.01 * inversion.history["feature_distribution"]
        + inversion.history["image_prior"],
        rtol=1e-9,
        atol=1e-9,
    )
    natural = photographs(4, (3, 12, 12))
    maco = generated(model, 1, **options("maco", parametrization=MACOImage.measured(natural)))
    assert maco.settings["parametrization"]["name"] == "MACOImage"
    matched = generated(model, [1, 2], **options("matched", match={1: natural, 2: natural[:3], 4: natural}))
    recorded = matched.settings["match"]["images"]
    assert [(each["target"], each["count"], len(each["images"])) for each in recorded] == [([1], 4, 4), ([2], 3, 3)]
    history = matched.history
    torch.testing.assert_close(history["loss"], history["match_loss"] + 20 * history["exact_loss"])
    for name in ("match_loss", "exact_loss"):
        assert bool((history[name][-1] < history[name][0]).all())


def test_a_matched_prototype_starts_where_one_from_the_model_alone_does():
    model, natural = seeded(SmallCNN).double().eval(), photographs(3, (3, 12, 12))
    plain, matched = (generated(model, [1, 1], steps=0, warmup_steps=0, match=match) for match in (None, {1: natural}))
    assert torch.equal(plain.images, matched.images)
    assert (plain.target, plain.seeds) == (matched.target, matched.seeds)


def test_batches_are_matched_row_by_row():
    model, natural = seeded(SmallCNN).double().eval(), photographs(3, (3, 12, 12))
    choices = options("matched", match={1: natural, 2: natural**2})
    whole, parted = (generated(model, [1, 2, 1], **choices, batch_size=size) for size in (3, 1))
    torch.testing.assert_close(whole.images, parted.images, rtol=1e-9, atol=1e-10)


def test_natural_statistics_are_a_choice_of_generate():
    model = seeded(SmallCNN).double().eval()
    made = generated(
        model, [1, 2], steps=2, warmup_steps=0, natural_statistics="running", natural_statistics_weight=2.0
    )
    assert made.settings["natural_statistics"]["layers"] == ["stem.1"]
    assert not made.seen_images
    measured = NaturalStatistics.measured(model, photographs(4, (3, 12, 12)))
    told = generated(model, 1, steps=1, warmup_steps=0, natural_statistics=measured)
    assert told.settings["natural_statistics_weight"] == 1.0
    assert told.seen_images == {image_digest(image) for image in photographs(4, (3, 12, 12))}
    history = made.history
    expected = -history["logit"] + made.settings["high_frequency_weight"] * history["high_frequency_loss"]
    torch.testing.assert_close(history["loss"], expected + 2.0 * history["natural_statistics"], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("choices", "sentence"),
    [
        (options("matched"), "match is None: such prototypes need natural images of their classes"),
        (options("maco"), "MACO needs the mean magnitude spectrum of photographs"),
        ({"class_loss": "none"}, 'class_loss is "none", but match is None'),
        (options("matched", match={2: photographs(2, (3, 12, 12))}), r"no natural images of target \[1\]"),
    ],
)
def test_a_preset_that_needs_data_says_so(choices, sentence):
    with pytest.raises(ValueError, match=sentence):
        generated(seeded(SmallCNN), 1, **choices)


def test_a_network_without_batch_normalization_has_no_deep_inversion():
    model = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(200, 3))
    for choices in (options("deep_inversion"), {"natural_statistics": "running"}):
        with pytest.raises(ValueError, match="the model has no batch normalization"):
            generated(model, 1, **choices)
