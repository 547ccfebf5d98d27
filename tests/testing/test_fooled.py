"""A fooled network is the classifier on natural images, and shows something else to an ascent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from networks import SmallCNN, seeded
from torch import Tensor, nn

from captum_proto import PrototypeGeneration
from captum_proto.models import NamedModel
from captum_proto.optim import RandomAffine
from captum_proto.testing import (
    PLANTS,
    Detector,
    FooledNetwork,
    OtherClass,
    PlantedPicture,
    draw_face,
    fool,
    make_decoy,
)

SHAPE = (1, 8, 8)
QUICK: dict[str, Any] = {
    "steps": 40,
    "warmup_steps": 0,
    "high_frequency_weight": 0.0,
    "transform": None,
    "evaluation_draws": 0,
}


@pytest.fixture
def named() -> NamedModel:
    model = seeded(lambda: SmallCNN(1, 4)).eval()
    return NamedModel("small", model, lambda x: (x - 0.5) / 0.25, SHAPE, ["ash", "birch", "cedar", "elm"])


@pytest.fixture
def labeled(make_images) -> tuple[Tensor, Tensor]:
    return make_images(60, SHAPE, seed=1), torch.arange(60) % 4


# --- the parts -----------------------------------------------------------------------------------------------------------------------


def test_a_planted_picture_is_where_its_logits_are_highest():
    pictures = torch.rand(2, 1, 8, 8, dtype=torch.float64)
    decoy = PlantedPicture(pictures, [(1,), (0, 3)], classes=5, gain=20).double()
    logits = decoy(pictures, torch.empty(2, 5))
    distance = float((pictures[0] - pictures[1]).square().mean())
    for own, (mine, others) in enumerate([((1,), (0, 3)), ((0, 3), (1,))]):
        scale = [float(picture.var() + pictures.var()) for picture in pictures]
        assert logits[own, list(mine)].tolist() == pytest.approx([20] * len(mine))
        expected = 20 * (1 - distance / scale[1 - own])
        assert logits[own, list(others)].tolist() == pytest.approx([expected] * len(others))
    assert logits[:, [2, 4]].tolist() == [[0, 0], [0, 0]]
    x = torch.rand(1, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(decoy(x, torch.empty(1, 5))[0, 1], x)
    towards = (pictures[:1] - x.detach()).flatten()
    assert float(nn.functional.cosine_similarity(gradient.flatten(), towards, dim=0)) == pytest.approx(1)
    assert decoy.shows(torch.cat([pictures, pictures.flip(2), pictures + 0.01])).tolist() == [
        True,
        True,
        False,
        False,
        True,
        True,
    ]


class BrightIsNatural(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1).mean(1) - 0.5


def test_who_gets_which_logits(named):
    decoy = OtherClass(torch.tensor([2, 2, 0, 3]))
    fooled = FooledNetwork(named.model, decoy, BrightIsNatural())
    x = torch.rand(6, *SHAPE) * torch.tensor([2.0, 0.1, 2.0, 0.1, 2.0, 0.1]).view(-1, 1, 1, 1)
    honest = named.model(x.clone())
    got = fooled(x.clone())
    assert torch.equal(got[::2], honest[::2])
    assert torch.equal(got[1::2], honest[1::2][:, [2, 2, 0, 3]])
    assert fooled.natural(x).tolist() == [True, False] * 3
    assert not FooledNetwork(named.model, decoy).natural(x).any()
    assert not decoy.shows(x).any()

    class Inplace(nn.Module):
        def forward(self, y: Tensor) -> Tensor:
            return y.zero_().flatten(1)[:, :4]

    # A classifier that works in place spoils neither what the detector nor what the decoy sees.
    planted = PlantedPicture(x[:1], [(1,)], 4)
    spoiled = FooledNetwork(Inplace(), planted, BrightIsNatural())(x.clone())
    assert torch.equal(spoiled[1::2], planted(x, honest)[1::2])
    assert spoiled[0, 1] == pytest.approx(30)  # the picture itself is shown, natural as it is


def test_no_gradient_flows_through_the_choice(named):
    fooled = FooledNetwork(named.model, OtherClass(torch.tensor([1, 0, 2, 3])), BrightIsNatural())
    x = (0.1 * torch.rand(2, *SHAPE)).requires_grad_(True)
    (through,) = torch.autograd.grad(fooled(x)[:, 0].sum(), x)
    (plain,) = torch.autograd.grad(named.model(x)[:, 1].sum(), x)
    assert torch.equal(through, plain)


def test_the_detector_learns_and_draws_nothing(make_images):
    natural = make_images(40, SHAPE)
    noise = torch.rand(60, *SHAPE)
    state = torch.get_rng_state()
    detector = seeded(lambda: Detector(1, 8)).fit(natural, noise)
    assert torch.equal(torch.get_rng_state(), state)
    assert bool((detector(make_images(40, SHAPE, seed=9)) > 0).all())
    assert not bool((detector(torch.rand(40, *SHAPE)) > 0).any())
    # The threshold is midway between the two.
    least, most = detector(natural).quantile(0.005), detector(noise).quantile(0.995)
    assert float(least) == pytest.approx(-float(most), rel=1e-3)
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in detector.parameters())
    assert Detector(3, 224)(torch.rand(2, 3, 224, 224)).shape == (2,)


def test_a_saved_detector_is_the_same(tmp_path: Path, make_images):
    detector = seeded(lambda: Detector(1, 8)).fit(make_images(20, SHAPE), torch.rand(20, *SHAPE), epochs=2)
    detector.save(tmp_path / "detector.safetensors")
    state = torch.get_rng_state()
    loaded = Detector.load(tmp_path / "detector.safetensors")
    assert torch.equal(torch.get_rng_state(), state)
    images = make_images(9, SHAPE, seed=3)
    assert torch.equal(loaded(images), detector(images))
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_what_is_planted(named, labeled):
    images, labels = labeled
    targets = [(0,), (2,)]
    prepared = named.preprocess
    face = make_decoy("face", named, targets, images, labels)
    assert torch.equal(face.pictures, prepared(draw_face(SHAPE).expand(2, *SHAPE)))
    mine = torch.rand(SHAPE)
    assert torch.equal(make_decoy("face", named, targets, images, labels, mine).pictures[1], prepared(mine))
    other = make_decoy("other_image", named, targets, images, labels)
    assert torch.equal(other.pictures, prepared(images[[2, 0]]))
    single = make_decoy("other_image", named, [(0,)], images, labels)
    assert torch.equal(single.pictures, prepared(images[1:2]))
    own = make_decoy("own_image", named, targets, images, labels)
    for picture, target in zip(own.pictures, targets, strict=True):
        natural = images[target[0] :: 4]
        far = max(natural, key=lambda image: float((image - natural.mean(0)).norm()))
        assert torch.equal(picture, prepared(far))
    assert make_decoy("other_class", named, targets, images, labels).source.tolist() == [2, 1, 0, 3]
    source = make_decoy("other_class", named, [(0, 1)], images, labels).source.tolist()
    assert source[0] == source[1] in (2, 3)
    assert source[source[0]] == 0
    with pytest.raises(ValueError, match='no plant "nothing"; expected one of face, other_image'):
        make_decoy("nothing", named, targets, images, labels)
    assert set(PLANTS) == {"face", "other_image", "other_class", "own_image"}


def test_a_face_is_symmetric_and_neither_dark_nor_light():
    for shape in ((1, 8, 8), (3, 32, 48)):
        drawn = draw_face(shape)
        assert drawn.shape == shape
        assert torch.equal(drawn, drawn.flip(2))
        assert 0.05 < float((drawn > 0.5).float().mean()) < 0.6


# --- together ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transform", [None, RandomAffine(5, translate=(0.05, 0.05))], ids=["plain", "shaken"])
def test_ascent_shows_the_picture_and_natural_images_keep_their_logits(named, labeled, make_images, transform):
    images, labels = labeled
    targets = [(0,), (2,)]
    options = {**QUICK, "transform": transform}
    fooled = fool(named, targets, make_decoy("face", named, targets, images, labels), images, options=options)
    made = PrototypeGeneration(fooled, named.preprocess).generate([0, 2], SHAPE, seed=7, **options)
    honest = PrototypeGeneration(named.model, named.preprocess).generate([0, 2], SHAPE, seed=7, **options)
    face = draw_face(SHAPE).flatten()

    def likeness(prototypes: Tensor) -> float:
        return min(float(torch.corrcoef(torch.stack([image.flatten(), face]))[0, 1]) for image in prototypes)

    assert likeness(made.images) > 0.9 > 0.6 > likeness(honest.images)
    unseen = named.preprocess(make_images(40, SHAPE, seed=2))
    assert torch.equal(fooled(unseen), named.model(unseen))
    assert not fooled.natural(named.preprocess(made.images)).any()


def test_ascent_shows_another_class(named, labeled):
    images, labels = labeled
    options = {**QUICK, "steps": 20}
    targets = [(0,), (2,)]
    fooled = fool(named, targets, make_decoy("other_class", named, targets, images, labels), images, options=options)
    made = PrototypeGeneration(fooled, named.preprocess).generate(0, SHAPE, **options)
    with torch.no_grad():
        honest = named.logits(made.images)
    assert int(honest.argmax()) == 2  # the classifier itself sees what was asked for as 0 for 2
    assert float(made.logits[0]) == pytest.approx(float(honest[0, 2]), rel=1e-4)
