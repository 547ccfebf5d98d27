"""Pictures that are larger than what the network takes, of which it sees parts."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from networks import seeded
from torch import Tensor, nn
from torchvision.transforms import v2

from captum_proto import PRESETS, PrototypeGeneration
from captum_proto.optim import Compose, GaussianNoise, PhaseImage, RandomAffine, RandomResizedCrop

CANVAS, TAKES = (1, 24, 20), 8
CROPS = RandomResizedCrop((0.2, 0.5), output=TAKES)
OPTIONS: dict[str, Any] = {
    "steps": 6,
    "warmup_steps": 3,
    "lr": 0.1,
    "high_frequency_weight": 0.0,
    "evaluation_draws": 4,
}


def of_one_size() -> nn.Module:
    """Of 8 x 8 pixels, and no others."""
    return seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(TAKES**2, 12), nn.Tanh(), nn.Linear(12, 4))).double()


def of_any_size() -> nn.Module:
    layers = [nn.Conv2d(1, 5, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(20, 4)]
    return seeded(lambda: nn.Sequential(*layers)).double()


@pytest.mark.parametrize("parametrization", ["pixels", PhaseImage(coarse_to_fine=0.5)], ids=["pixels", "phases"])
@pytest.mark.parametrize(
    ("model", "preprocess"),
    [(of_one_size, v2.Resize((TAKES, TAKES))), (of_any_size, None), (of_any_size, v2.Normalize([0.4], [0.3]))],
)
def test_the_canvas_comes_back_and_alone_it_is_what_it_is_in_a_batch(model, preprocess, parametrization):
    generation = PrototypeGeneration(model(), preprocess)
    options = {**OPTIONS, "transform": CROPS, "noise": 0.05, "parametrization": parametrization}
    made = generation.generate([1, 2, 1], CANVAS, **options)
    assert made.images.shape == (3, *CANVAS)
    for row, (target, seed) in enumerate(((1, 0), (2, 0), (1, 1))):
        alone = generation.generate(target, CANVAS, seed=seed, **options)
        torch.testing.assert_close(alone.images, made.images[row : row + 1], rtol=0, atol=1e-9)
        torch.testing.assert_close(alone.transformed_logits, made.transformed_logits[row : row + 1])
    assert made.settings["transform"] == {"name": "RandomResizedCrop", "size": [0.2, 0.5], "output": [8, 8]}
    assert made.settings["noise"] == 0.05
    json.dumps(made.settings)


def test_what_is_recorded_of_the_canvas_is_of_the_whole_of_it_resized():
    model, resize = of_one_size(), v2.Resize((TAKES, TAKES))
    made = PrototypeGeneration(model, resize).generate([0, 3], CANVAS, **OPTIONS, transform=CROPS)
    logits = model(resize(made.images)).detach()
    torch.testing.assert_close(made.logits, logits[[0, 1], [0, 3]])


def test_the_network_sees_parts_of_its_own_size_and_all_but_a_few_pixels_at_the_corners_move():
    sizes: list[tuple[int, ...]] = []

    class Watched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = of_any_size()

        def forward(self, x: Tensor) -> Tensor:
            sizes.append(tuple(x.shape[-2:]))
            return self.body(x)

    options = {**OPTIONS, "warmup_steps": 0, "steps": 60, "evaluation_draws": 0, "fold_batch_norm": False}
    start = torch.full((1, *CANVAS), 0.5, dtype=torch.float64)
    made = PrototypeGeneration(Watched()).generate([2], start=start, transform=CROPS, **options)
    assert sizes.count((TAKES, TAKES)) >= 60
    assert set(sizes) == {(TAKES, TAKES), CANVAS[1:]}
    assert float((made.images != 0.5).double().mean()) > 0.9
    assert bool((made.images != 0.5)[..., 4:-4, 4:-4].all())


def test_parts_turned_and_noisy_are_a_transform_like_any_other():
    transform = Compose([CROPS, RandomAffine(15, fill="reflect"), GaussianNoise(0.08)])
    made = PrototypeGeneration(of_any_size()).generate(
        1, CANVAS, **{**PRESETS["best"], **OPTIONS, "transform": transform}
    )
    names = [each["name"] for each in made.settings["transform"]["transforms"]]
    assert names == ["RandomResizedCrop", "RandomAffine", "GaussianNoise"]


def test_a_canvas_that_is_too_small_is_told_in_a_sentence():
    with pytest.raises(ValueError, match="output 8 x 8 and images are 6 x 6; make larger images, or take a smaller"):
        PrototypeGeneration(of_any_size()).generate(1, (1, 6, 6), **OPTIONS, transform=CROPS)
