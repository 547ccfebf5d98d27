"""Receptive fields from gradients, against interval arithmetic, and against NaN that spreads from each row and column of an image."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from networks import seeded
from torch import Tensor, nn
from torchvision.models import resnet
from torchvision.models.swin_transformer import SwinTransformer
from torchvision.models.vision_transformer import VisionTransformer

from captum_proto.features.receptive_field import Box, FieldFinder, receptive_field

WHOLE = Box(0, 0, 32, 32)


def by_arithmetic(steps: Sequence[tuple[int, int, int, int]], place: int, extents: Sequence[int]) -> tuple[int, int]:
    """First and last plus one pixel along an axis: of layers (kernel, stride, padding, dilation), ``extents`` those of their inputs."""
    seen = {place}
    for (kernel, stride, padding, dilation), extent in reversed(list(zip(steps, extents, strict=True))):
        taps = {at * stride - padding + dilation * tap for at in seen for tap in range(kernel)}
        seen = {at for at in taps if 0 <= at < extent}
    return min(seen), max(seen) + 1


def by_nan(network: nn.Module, image_shape: Sequence[int]) -> Tensor:
    """The box of each position, (H, W, 4): a NaN in a row or a column of the image spreads to all that depend on it."""
    channels, height, width = image_shape
    found = []
    for axis, extent in ((1, height), (2, width)):
        images = torch.rand(extent, channels, height, width, dtype=torch.float64)
        for place in range(extent):
            images[place].select(axis, place).fill_(torch.nan)
        with torch.no_grad():
            reached = network(images).isnan().any(1)  # (extent, H', W')
        first = reached.int().argmax(0)
        found += [first, extent - reached.flip(0).int().argmax(0)]
    top, bottom, left, right = found
    return torch.stack([top, left, bottom, right], -1)


STACKS: dict[str, list[tuple[int, int, int, int]]] = {
    "convolutions": [(3, 1, 1, 1), (3, 2, 1, 1), (5, 1, 2, 1)],
    "strides": [(7, 2, 3, 1), (3, 2, 1, 1), (3, 2, 0, 1)],
    "dilation": [(3, 1, 2, 2), (3, 1, 4, 4)],
    "valid": [(5, 1, 0, 1), (4, 3, 0, 1)],
    "one pixel": [(1, 1, 0, 1)],
}


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("name", STACKS)
def test_stacks_of_layers_have_the_box_of_interval_arithmetic(name: str, pooled: bool) -> None:
    steps, layers, extents, extent = STACKS[name], [], [], 40
    for kernel, stride, padding, dilation in steps:
        layers += [nn.Conv2d(3, 3, kernel, stride, padding, dilation), nn.ReLU()]
        extents.append(extent)
        extent = (extent + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
    if pooled:
        layers.append(nn.MaxPool2d(3, 2, 1))
        steps = [*steps, (3, 2, 1, 1)]
        extents.append(extent)
        extent = (extent - 1) // 2 + 1
    network = seeded(lambda: nn.Sequential(*layers))
    finder = FieldFinder(network, [str(len(layers) - 1)], (3, 40, 40))
    boxes = finder.all_boxes(str(len(layers) - 1))
    assert boxes is not None
    assert boxes.shape == (extent, extent, 4)
    sides = [by_arithmetic(steps, place, extents) for place in range(extent)]
    for i, j in itertools.product(range(extent), repeat=2):
        assert boxes[i, j].tolist() == [sides[i][0], sides[j][0], sides[i][1], sides[j][1]], (i, j)


def small_resnet() -> nn.Module:
    def halved(planes: int) -> nn.Module:
        return resnet.BasicBlock(
            planes, 2 * planes, 2, nn.Sequential(nn.Conv2d(planes, 2 * planes, 1, 2), nn.BatchNorm2d(2 * planes))
        )

    stem = [nn.Conv2d(3, 4, 7, 2, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
    return nn.Sequential(*stem, resnet.BasicBlock(4, 4), halved(4), halved(8))


@pytest.mark.parametrize("layer", ["3", "4.conv1", "4", "5", "6"])
def test_a_resnet_has_the_boxes_that_nan_spreads_over(layer: str) -> None:
    network = seeded(small_resnet).double().eval()
    boxes = FieldFinder(network, [layer], (3, 64, 48)).all_boxes(layer)
    assert boxes is not None
    parts = [*network[: int(layer[0])], network.get_submodule(layer)]
    assert boxes.tolist() == by_nan(nn.Sequential(*parts), (3, 64, 48)).tolist()


@pytest.mark.parametrize(
    "last",
    [
        nn.AdaptiveMaxPool2d(5),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.MaxPool2d(2, 2, dilation=2),
        nn.MaxPool2d((3, 1), (2, 1), (1, 0)),
        nn.Upsample(scale_factor=2),
        nn.ConvTranspose2d(4, 3, 3, 2),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"),
        nn.AvgPool2d(3, 2, 1),
        nn.PixelShuffle(2),
    ],
    ids=lambda module: type(module).__name__,
)
def test_layers_that_follow_no_simple_rule(last: nn.Module) -> None:
    network = seeded(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.Hardswish(), last)).double()
    boxes = FieldFinder(network, ["2"], (3, 24, 18)).all_boxes("2")
    assert boxes is not None
    assert boxes.tolist() == by_nan(network, (3, 24, 18)).tolist()


class Gated(nn.Module):
    """Squeeze-and-excitation with functions of PyTorch alone."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.gate = nn.Conv2d(3, 4, 3), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x))
        return x * torch.sigmoid(self.gate(nn.functional.relu(x.mean((2, 3)))) - 50)[:, :, None, None]


class Attentive(nn.Module):
    """Attention over the positions of a map."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.inner = nn.Conv2d(3, 12, 8, 8), nn.Linear(4, 12)
        self.tokens, self.seen = nn.Identity(), nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.tokens(self.patches(x)[:, :4].flatten(2).mT)
        query, key, value = self.inner(tokens).chunk(3, -1)
        return self.seen(nn.functional.scaled_dot_product_attention(query, key, value)).mean(1)


def vision_transformer() -> nn.Module:
    return VisionTransformer(32, 8, num_layers=2, num_heads=2, hidden_dim=8, mlp_dim=16, num_classes=3)


@pytest.mark.parametrize(
    ("make", "layer", "position"),
    [
        (Gated, "", None),
        (Attentive, "seen", (5,)),
        (vision_transformer, "encoder.layers.encoder_layer_0", (3,)),
        (vision_transformer, "encoder.layers.encoder_layer_1", (16,)),
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.ReLU()), "2", (3, 3)),
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.InstanceNorm2d(4)), "1", (0, 0)),
    ],
    ids=["gate", "attention", "first block", "second block", "group norm", "instance norm"],
)
def test_where_everything_matters_the_box_is_the_whole_image(
    make: Callable[[], nn.Module], layer: str, position: tuple[int, ...] | None
) -> None:
    network = seeded(make).eval()
    if not layer:
        network, layer = nn.Sequential(network), "0"
    assert receptive_field(network, layer, (3, 32, 32), position) == WHOLE


def test_tokens_before_attention_have_a_patch_each() -> None:
    network = seeded(Attentive).eval()
    boxes = FieldFinder(network, ["tokens", "seen"], (3, 32, 32))
    assert boxes.positions == {"tokens": (16,), "seen": (16,)}
    patches = boxes.all_boxes("tokens")
    whole = boxes.all_boxes("seen")
    assert patches is not None
    assert whole is not None
    assert patches[6].tolist() == [8, 16, 16, 24]
    assert len(patches.unique(dim=0)) == 16
    assert (whole == torch.tensor(WHOLE)).all()


def test_windows_of_a_swin_transformer_hide_the_rest() -> None:
    network = seeded(lambda: SwinTransformer([4, 4], 8, [2], [2], [4, 4], num_classes=2)).eval()
    assert receptive_field(network, "features.1.0", (3, 64, 64), (5, 5)) == Box(16, 16, 32, 32)
    shifted = receptive_field(network, "features.1.1", (3, 64, 64), (5, 5))
    assert shifted == Box(0, 0, 32, 32)  # a window of the shifted ones, and the windows in which that lay before


def test_neither_silence_nor_a_lost_maximum_hides_a_pixel() -> None:
    network = nn.Sequential(nn.Conv2d(1, 1, 3), nn.ReLU(), nn.MaxPool2d(4, 2), nn.Sigmoid())
    with torch.no_grad():
        network[0].bias.fill_(-1e6)
    assert receptive_field(network, "3", (1, 20, 20), (1, 2)) == Box(2, 4, 8, 10)


def test_a_weight_of_zero_connects_nothing() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 5))
    with torch.no_grad():
        network[0].weight[:, :, :, 3:] = 0
    assert receptive_field(network, "0", (1, 9, 9), (0, 0)) == Box(0, 0, 5, 3)
    with torch.no_grad():
        network[0].weight.zero_()
    assert receptive_field(network, "0", (1, 9, 9), (0, 0)) == Box(0, 0, 0, 0)


class OnlySingle(nn.Module):
    """Code of its own that refuses float64."""

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype != torch.float32:
            raise TypeError("float32, please")
        return x * 2


def test_where_nothing_can_be_made_transparent_gradients_of_several_images_tell() -> None:
    network = seeded(lambda: nn.Sequential(OnlySingle(), nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2)))
    assert receptive_field(network, "3", (1, 16, 16), (2, 2)) == Box(4, 4, 8, 8)


def test_preprocessing_counts_and_a_half_precision_model_too() -> None:
    network = seeded(lambda: nn.Sequential(nn.Conv2d(1, 2, 3))).bfloat16()
    assert receptive_field(network, "0", (1, 16, 16), (2, 2), nn.AvgPool2d(2)) == Box(4, 4, 10, 10)


def test_the_model_is_left_as_it_was(make_cnn, lived_in, untouched) -> None:
    model = lived_in(make_cnn())
    with untouched(model):
        assert receptive_field(model, "block", (3, 12, 12), (5, 5)) == Box(3, 3, 8, 8)


@pytest.mark.parametrize(
    ("layer", "position", "message"),
    [
        ("bloc", None, 'there is no layer "bloc" in SmallCNN; did you mean "block"?'),
        ("block", (12, 0), 'position is (12, 0), but layer "block" has 12 x 12 positions'),
        ("block", 3, 'position is (3,), but layer "block" has 12 x 12 positions'),
        ("head", (0,), 'position is (0,), but layer "head" has no positions; give none.'),
    ],
)
def test_what_cannot_be(make_cnn, layer: str, position: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        receptive_field(make_cnn(), layer, (3, 12, 12), position)


class Negated(nn.Module):
    """Makes of what is positive something that a ReLU lets nothing through of."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(-x)


def test_an_activation_function_that_is_off_hides_nothing() -> None:
    network = nn.Sequential(Negated(), nn.Conv2d(1, 1, 3))
    assert receptive_field(network, "1", (1, 9, 9), (2, 3)) == Box(2, 3, 5, 6)


def test_a_large_map_takes_few_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    network = seeded(lambda: nn.Sequential(nn.Conv2d(1, 1, 5, 2, 2), nn.ReLU(), nn.Conv2d(1, 1, 3)))
    finder = FieldFinder(network, ["2"], (1, 96, 80))
    asked: list[int] = []
    boxes = finder.boxes

    def counted(name: str, places: Sequence[tuple[int, ...]]) -> Tensor:
        asked.append(len(places))
        return boxes(name, places)

    monkeypatch.setattr(finder, "boxes", counted)
    found = finder.all_boxes("2")
    assert found is not None
    assert sum(asked) <= 10
    assert found[20, 0].tolist() == [38, 0, 47, 7]
