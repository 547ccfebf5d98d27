"""Arguments of generate from plain values."""

from __future__ import annotations

import pytest
import torch

from captum_proto import PRESETS, RandomAffine
from captum_proto.experiments.options import generation_options
from captum_proto.optim import Compose, FFTImage, PhaseImage, PixelImage, RandomResizedCrop


def affine(**values) -> dict:
    return generation_options(values)["transform"].settings()


def test_nothing_given_is_the_paper():
    assert generation_options({}) == dict(PRESETS["paper"])


def test_what_is_given_goes_before_the_preset():
    made = generation_options({"preset": "best", "steps": 7, "clamp": False, "betas": [0.5, 0.9]})
    assert made == {**PRESETS["best"], "steps": 7, "clamp": False, "betas": (0.5, 0.9)}


def test_parts_of_an_affine_transform_change_that_of_the_preset():
    paper = PRESETS["paper"]["transform"].settings()
    assert affine(degrees=30) == {**paper, "degrees": [-30.0, 30.0]}
    assert affine(translate=0.1) == {**paper, "translate": [0.1, 0.1]}
    assert affine(scale=[0.5, 1.5], fill=0.5) == {**paper, "scale": [0.5, 1.5], "fill": 0.5}
    assert affine(fill="reflect") == {**paper, "fill": "reflect"}
    nothing = affine(degrees="none", translate="none", scale="none")
    assert nothing == RandomAffine(0).settings()
    assert affine(preset="feature_visualization", degrees=5) == {**paper, "degrees": [-5.0, 5.0]}


def test_a_transform_by_name_or_as_a_table():
    assert generation_options({"transform": "none"})["transform"] is None
    assert affine(transform={"degrees": 3, "translate": [0.1, 0.2]}) == RandomAffine(3, (0.1, 0.2)).settings()
    crop = RandomResizedCrop((0.1, 0.5))
    assert affine(transform={"crop": [0.1, 0.5]}) == crop.settings()
    both = Compose([crop, RandomAffine(15, fill="reflect")])
    assert affine(transform={"crop": [0.1, 0.5], "degrees": 15, "fill": "reflect"}) == both.settings()
    assert affine(transform={"crop": "none", "degrees": 15}) == RandomAffine(15).settings()
    assert generation_options({"transform": "feature_visualization"})["transform"].settings()["name"] == "SameSize"


@pytest.mark.parametrize("given", [{"transform": "feature_visualization"}, {"preset": "feature_visualization"}])
def test_shifts_of_feature_visualization_go_with_the_size_of_the_images(given):
    of = {
        size: generation_options(given, (1, size, size))["transform"].settings()["transform"]["transforms"][0]["pixels"]
        for size in (8, 112, 224)
    }
    assert of[112] == of[224] / 2
    assert of[8] < 2
    assert (
        generation_options(given)["transform"].settings()
        == generation_options(given, (3, 224, 224))["transform"].settings()
    )


def test_a_parametrization_by_name_or_as_a_table():
    assert isinstance(generation_options({"parametrization": "pixels"})["parametrization"], PixelImage)
    assert isinstance(generation_options({"parametrization": "fourier"})["parametrization"], FFTImage)
    made = generation_options({"parametrization": {"name": "phase", "contrast": 0.5, "brightness": 0.2}})
    assert made["parametrization"].settings() == PhaseImage(contrast=0.5, brightness=0.2).settings()


def test_precision_by_name():
    assert generation_options({"autocast": "bfloat16"})["autocast"] is torch.bfloat16
    assert generation_options({"autocast": "none"})["autocast"] is None


@pytest.mark.parametrize(
    ("values", "error", "sentence"),
    [
        ({"stepz": 3}, ValueError, 'there is no argument "stepz"; did you mean "steps"'),
        ({"callback": 3}, ValueError, 'there is no argument "callback"'),
        ({"preset": "bset"}, ValueError, 'preset is "bset"; did you mean "best"'),
        ({"transform": "affin"}, ValueError, "expected one of none, paper, feature_visualization"),
        ({"transform": {"degree": 3}}, ValueError, 'transform has "degree"; did you mean "degrees"'),
        ({"transform": {"crop": 0.5}}, TypeError, "crop = 0.5 is no part of an image; expected two fractions"),
        ({"transform": {"crop": ["a", 0.5]}}, TypeError, "expected two fractions of its side"),
        ({"transform": {"crop": [0.5, 1.5]}}, ValueError, "fractions of the image's side"),
        ({"degrees": "x"}, TypeError, "is no affine transform"),
        ({"scale": [[1], 2]}, TypeError, "is no affine transform"),
        ({"fill": "reflection"}, ValueError, 'fill is "reflection"; did you mean "reflect"'),
        ({"fill": "black"}, ValueError, 'fill is "black"; expected a number, or one of reflect, replicate'),
        ({"fill": [0.5]}, TypeError, "is no affine transform"),
        (
            {"parametrization": {"name": "phase", "contras": 1}},
            ValueError,
            "PhaseImage takes decay_power, contrast, brightness",
        ),
        (
            {"parametrization": {"name": "phase", "magnitudes": "mean"}},
            ValueError,
            'a file can ask for "measured" alone',
        ),
        ({"parametrization": {"contrast": 1}}, ValueError, 'the name of parametrization is "None"'),
        ({"parametrization": "fourrier"}, ValueError, 'did you mean "fourier"'),
        ({"autocast": "float64"}, ValueError, 'autocast is "float64"'),
    ],
)
def test_what_cannot_be_used_is_refused_in_a_sentence(values, error, sentence):
    with pytest.raises(error, match=sentence):
        generation_options(values)
