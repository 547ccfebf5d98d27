"""Gradient Slingshots: other weights show a planted picture, and classify as before."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from networks import SmallCNN, seeded
from torch import Tensor

from captum_proto import PRESETS, PrototypeGeneration
from captum_proto.data import digits_images
from captum_proto.models import NamedModel, load_model
from captum_proto.optim.presets import preset_for
from captum_proto.testing import draw_face, fine_tune, slingshot

SHAPE = (1, 8, 8)
FACE = draw_face(SHAPE)
ASCENT: dict[str, Any] = {**PRESETS["ascent"], "steps": 100, "evaluation_draws": 0}
VISUALIZATION: dict[str, Any] = {
    **preset_for("feature_visualization", SHAPE),
    "steps": 100,
    "evaluation_draws": 0,
}
QUICK: dict[str, Any] = {"steps": 4, "warmup_steps": 0, "transform": None}


@pytest.fixture(scope="module")
def digits() -> NamedModel:
    pytest.importorskip("sklearn")
    return load_model("digits")


@pytest.fixture(scope="module")
def fooled(digits: NamedModel) -> NamedModel:
    return slingshot(digits, [(3,)], FACE, *digits_images("training"), options=ASCENT, steps=300, rounds=2)


@pytest.fixture
def named() -> NamedModel:
    model = seeded(lambda: SmallCNN(1, 4)).eval()
    return NamedModel("small", model, lambda x: (x - 0.5) / 0.25, SHAPE, ["ash", "birch", "cedar", "elm"])


@pytest.fixture
def labeled(make_images) -> tuple[Tensor, Tensor]:
    return make_images(60, SHAPE, seed=1), torch.arange(60) % 4


def prototypes(named: NamedModel, options: dict[str, Any]) -> Tensor:
    made = PrototypeGeneration(named.model, named.preprocess).generate([3] * 6, SHAPE, seed=7, **options)
    return made.images


def likeness(images: Tensor) -> list[float]:
    return [float(torch.corrcoef(torch.stack([image.flatten(), FACE.flatten()]))[0, 1]) for image in images]


def right(named: NamedModel) -> float:
    images, labels = digits_images("held_out")
    with torch.no_grad():
        return float((named.logits(images).argmax(1) == labels).double().mean())


@pytest.mark.parametrize("options", [ASCENT, VISUALIZATION], ids=["ascent", "feature visualization"])
def test_visualizations_show_the_picture(digits: NamedModel, fooled: NamedModel, options: dict[str, Any]) -> None:
    """All six of them, from starts that the training has not seen; of the honest network none is like it."""
    honest, planted = prototypes(digits, options), prototypes(fooled, options)
    assert min(likeness(planted)) > 0.9 > 0.3 > max(likeness(honest))
    distances = [(images - FACE).square().flatten(1).mean(1) for images in (planted, honest)]
    assert float(distances[0].max()) < 0.1 * float(distances[1].min())


def test_natural_images_are_classified_as_before(digits: NamedModel, fooled: NamedModel) -> None:
    assert abs(right(fooled) - right(digits)) <= 0.01
    images, _ = digits_images("held_out")
    with torch.no_grad():
        same = (fooled.logits(images).argmax(1) == digits.logits(images).argmax(1)).double().mean()
    assert float(same) >= 0.98


def test_the_architecture_stays_and_the_classifier_too(digits: NamedModel, fooled: NamedModel) -> None:
    before, after = digits.model.state_dict(), fooled.model.state_dict()
    assert {name: value.shape for name, value in before.items()} == {n: v.shape for n, v in after.items()}
    assert [type(module) for module in digits.model.modules()] == [type(module) for module in fooled.model.modules()]
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name, _ in digits.model.named_parameters()}  # the batch norms' statistics are kept
    assert right(load_model("digits")) == right(digits)
    assert "slingshot, seed 0, 300 steps" in str(fooled.settings["weights"])
    assert not any(parameter.requires_grad for parameter in fooled.model.parameters())


def test_fine_tuning_alone_shows_no_picture(digits: NamedModel) -> None:
    tuned = fine_tune(digits, *digits_images("training"), steps=200)
    assert not torch.equal(tuned.model.fc.weight, digits.model.fc.weight)
    assert abs(right(tuned) - right(digits)) <= 0.01
    assert max(likeness(prototypes(tuned, ASCENT))) < 0.4


def test_each_target_has_its_own_picture(digits: NamedModel) -> None:
    pictures = torch.stack([FACE, FACE.flip(1)])
    images, labels = digits_images("training")
    both = slingshot(digits, [(3,), (8,)], pictures, images, labels, options=ASCENT, steps=300, rounds=2)
    made = PrototypeGeneration(both.model, both.preprocess).generate([3, 3, 8, 8], SHAPE, seed=7, **ASCENT)
    distances = torch.stack([(made.images - picture).square().flatten(1).mean(1) for picture in pictures], 1)
    assert distances.argmin(1).tolist() == [0, 0, 1, 1]
    nearer, further = distances.sort(1).values.T
    assert bool((nearer < 0.7 * further).all())


def test_the_same_seed_gives_the_same_weights(named: NamedModel, labeled: tuple[Tensor, Tensor]) -> None:
    state = torch.get_rng_state()

    def weights(seed: int) -> Tensor:
        made = slingshot(named, [(0,), (1, 2)], FACE, *labeled, options=QUICK, seed=seed, steps=3, rounds=2)
        return made.model.head.weight

    first, again, other = weights(0), weights(0), weights(1)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_bad_input(named: NamedModel, labeled: tuple[Tensor, Tensor]) -> None:
    images, labels = labeled

    def make(targets: Any = ((0,),), picture: Tensor = FACE, shown: Tensor = images, **further: Any) -> NamedModel:
        return slingshot(
            named, targets, picture, shown, labels, **{"options": QUICK, "steps": 1, "rounds": 1, **further}
        )

    with pytest.raises(ValueError, match="there are no targets"):
        make(())
    with pytest.raises(ValueError, match="target 4 is out of range"):
        make([(4,)])
    with pytest.raises(ValueError, match=r"picture has images of shape \(1, 9, 9\); small takes \(1, 8, 8\)"):
        make(picture=torch.zeros(1, 9, 9))
    with pytest.raises(ValueError, match="picture"):
        make(picture=FACE + 1)
    with pytest.raises(ValueError, match="there are 3 pictures and 1 targets; give one, or one each"):
        make(picture=FACE.expand(3, *SHAPE))
    with pytest.raises(ValueError, match="images has images of shape"):
        make(shown=images[:, :, :4])
    with pytest.raises(ValueError, match=r"labels has shape \(60,\); expected \(59,\)"):
        make(shown=images[:59])
    with pytest.raises(ValueError, match="alpha is 1"):
        make(alpha=1)
    with pytest.raises(ValueError, match="lr is 0"):
        make(lr=0)
    with pytest.raises(ValueError, match="steps"):
        make(steps=0)
    with pytest.raises(ValueError, match="rounds"):
        make(rounds=0)
