"""The controls are what they are called."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from captum_proto import PRESETS, PrototypeGeneration
from captum_proto._utils.pipeline import Pipeline
from captum_proto.metrics.controls import CONTROLS, check_controls, control_images
from captum_proto.optim import feature_visualization_transform


@pytest.fixture(scope="module")
def pipeline(make_cnn) -> Pipeline:
    return Pipeline(make_cnn(), preprocess=lambda x: (x - 0.5) * 2)


def controls(pipeline, images, target=None, names=CONTROLS, value_range=(0.0, 1.0), steps=4, seed=0, count=None):
    return control_images(
        pipeline,
        images,
        torch.full(images.shape[1:], 0.125),
        target,
        list(names),
        count=count,
        value_range=value_range,
        ascent_steps=steps,
        seed=seed,
        show_progress=False,
    )


def test_what_each_control_is(pipeline, make_images):
    images = make_images(4)
    made = controls(pipeline, images, [0, 1, 2, 3])
    assert list(made) == list(CONTROLS)
    assert torch.equal(made["gray"], torch.full((1, 3, 12, 12), 0.5))
    assert torch.equal(made["mean_image"], torch.full((1, 3, 12, 12), 0.125))
    assert made["noise"].shape == made["ascent"].shape == (4, 3, 12, 12)
    assert stats.kstest(made["noise"].flatten().numpy(), "uniform").pvalue > 1e-3
    assert not any(torch.equal(made["noise"][0], made["noise"][i]) for i in range(1, 4))


def test_the_middle_and_noise_of_another_range(pipeline, make_images):
    made = controls(pipeline, make_images(2), 0, ("gray", "noise"), value_range=(-3.0, 1.0))
    assert torch.equal(made["gray"], torch.full((1, 3, 12, 12), -1.0))
    assert stats.kstest(made["noise"].flatten().numpy(), "uniform", args=(-3, 4)).pvalue > 1e-3


def test_ascent_is_generation_with_nothing_but_the_logit(pipeline, make_images):
    made = controls(pipeline, make_images(3), [[0, 1], [2], [2]], ("ascent",), steps=6, seed=5)
    prototypes = PrototypeGeneration(pipeline.forward_func, pipeline.preprocess).generate(
        [[0, 1], [2], [2]],
        (3, 12, 12),
        seed=[5, 6, 7],
        steps=6,
        transform=None,
        high_frequency_weight=0.0,
        warmup_steps=0,
    )
    torch.testing.assert_close(made["ascent"], prototypes.images, rtol=0, atol=1e-6)


def test_feature_visualization_is_the_preset_at_the_size_of_the_images(pipeline, make_images):
    made = controls(pipeline, make_images(2), [1, 2], ("feature_visualization",), steps=6, seed=5)
    options = {**PRESETS["feature_visualization"], "transform": feature_visualization_transform(12), "steps": 6}
    generation = PrototypeGeneration(pipeline.forward_func, pipeline.preprocess)
    prototypes = generation.generate([1, 2], (3, 12, 12), seed=[5, 6], **options)
    torch.testing.assert_close(made["feature_visualization"], prototypes.images, rtol=0, atol=1e-6)


def test_ascent_keeps_to_the_range(pipeline, make_images):
    made = controls(pipeline, make_images(2), [0, 1], ("ascent",), value_range=(-3.0, 1.0), steps=80)["ascent"]
    assert float(made.min()) == -3
    assert float(made.max()) == 1


def test_without_a_target_the_ascent_is_for_the_classes_seen(pipeline, make_images):
    images = make_images(3)
    seen = pipeline(images).argmax(1).tolist()
    assert torch.equal(
        controls(pipeline, images, None, ("ascent",))["ascent"], controls(pipeline, images, seen, ("ascent",))["ascent"]
    )


def test_one_target_serves_all(pipeline, make_images):
    images = make_images(2)
    assert torch.equal(
        controls(pipeline, images, 3, ("ascent",))["ascent"], controls(pipeline, images, [3, 3], ("ascent",))["ascent"]
    )


@pytest.mark.parametrize("count", [1, 3, 7])
@pytest.mark.parametrize(
    "target",
    [[1, [0, 2], 1], torch.tensor([1, 4, 2]), np.array([1, 4, 2]), range(1, 4), 2, None],
    ids=["list", "tensor", "array", "range", "one for all", "seen"],
)
def test_any_number_of_controls_takes_the_classes_in_turn(pipeline, make_images, target, count):
    images = make_images(3)
    made = controls(pipeline, images, target, steps=3, seed=5, count=count)
    assert {name: len(value) for name, value in made.items()} == {
        name: 1 if name in ("gray", "mean_image") else count for name in CONTROLS
    }
    assert torch.equal(made["noise"][:3], controls(pipeline, images, target, ["noise"], seed=5)["noise"][:count])
    classes = pipeline(images).argmax(1) if target is None else target
    turns = [classes if isinstance(classes, int) else classes[index % 3] for index in range(count)]
    turns = [int(each) if isinstance(each, (torch.Tensor, np.integer)) else each for each in turns]
    expected = controls(
        pipeline, make_images(count, seed=1), turns, ["ascent", "feature_visualization"], steps=3, seed=5
    )
    for name, value in expected.items():
        torch.testing.assert_close(made[name], value, rtol=0, atol=1e-6)
    assert len(set(map(str, made["noise"].flatten(1).tolist()))) == count


def test_unknown_controls_are_refused():
    assert check_controls(CONTROLS) == list(CONTROLS)
    assert check_controls("gray") == ["gray"]
    assert check_controls(()) == []
    with pytest.raises(ValueError, match='there is no control "grey"; it is called "gray" now'):
        check_controls(["noise", "grey"])
    with pytest.raises(ValueError, match='there is no control "xyz"; choose of gray'):
        check_controls("xyz")
