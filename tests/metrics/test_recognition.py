"""Whether a network recognizes pictures: against scikit-learn, SciPy, Pillow, closed forms and planted networks."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2.functional import resize

from captum_proto._utils.errors import InputError, InputTypeError
from captum_proto.metrics import (
    as_saved,
    classes_in,
    recognition,
    recognized,
    relative_recognition,
    verifier_features,
    verifier_logits,
    verifier_view,
)
from captum_proto.metrics.verifier import mapped_targets, sized_for
from captum_proto.models import NamedModel
from captum_proto.report.figures import to_display
from captum_proto.report.views.visualizations import save_png
from captum_proto.stats.intervals import mean_estimate, proportion

NAMES = ["ash", "birch", "cedar", "elm", "fir", "oak", "pine", "yew"]


class Colors(nn.Module):
    """Eight logits: how much of each of eight fixed colors an image of 3 channels holds, on average."""

    def __init__(self, classes: int = 8) -> None:
        super().__init__()
        corners = torch.tensor([[float(i >> bit & 1) for bit in range(3)] for i in range(8)]) * 2 - 1
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.fc = nn.Linear(3, classes)
        with torch.no_grad():
            self.fc.weight.copy_(corners[:classes])
            self.fc.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.pool(x))


def verifier(side: int = 10, interpolation: str = "bilinear", names: list[str] | None = NAMES) -> NamedModel:
    return NamedModel(
        "colors", Colors().eval(), lambda x: 8 * (x - 0.5), (3, side, side), names, interpolation=interpolation
    )


def of_color(index: int, count: int, side: int = 16, noise: float = 0.2) -> Tensor:
    """Images of one of the eight colors, with noise."""
    color = torch.tensor([float(index >> bit & 1) for bit in range(3)])
    generator = torch.Generator().manual_seed(index)
    return (
        (1 - noise) * color[None, :, None, None] + noise * torch.rand(count, 3, side, side, generator=generator)
    ).clamp(0, 1)


def test_pictures_of_a_class_are_recognized_and_others_are_not(untouched):
    network = verifier()
    images = torch.cat([of_color(3, 4), of_color(6, 2)])
    with untouched(network.model):
        found = recognition(images, [3] * 5 + [0], network, batch_size=4)
    assert found.top1.tolist() == [True] * 4 + [False] * 2
    assert found.top1_share == proportion(4, 6)
    assert found.top5_share == proportion(int(found.top5.sum()), 6)
    assert found.mean_probability == mean_estimate(found.probability.numpy())
    assert found.table().splitlines()[2].split()[1:3] == ["66.7", "%"]


def test_shares_are_scikit_learns_top_k_accuracy():
    metrics = pytest.importorskip("sklearn.metrics")
    generator = torch.Generator().manual_seed(0)
    logits, labels = 3 * torch.randn(200, 30, generator=generator), torch.randint(30, (200,), generator=generator)
    found = recognized(logits, labels)
    for k, share in ((1, found.top1_share), (5, found.top5_share)):
        expected = metrics.top_k_accuracy_score(labels, logits, k=k, labels=range(30))
        assert share.value == pytest.approx(expected, abs=1e-12)
    assert torch.allclose(found.probability, logits.double().softmax(1)[torch.arange(200), labels])


def test_a_superclass_is_recognized_by_any_of_its_classes_and_has_the_sum_of_their_probabilities():
    logits = torch.tensor([[0.0, 3.0, 1.0, 0.5, 0.2, 0.1, 5.0], [9.0, 3.0, 1.0, 3.0, 3.0, 3.0, 4.0]])
    found = recognized(logits, [[1, 6], [1, 2]])
    assert found.top1.tolist() == [True, False]
    assert found.top5.tolist() == [True, False]  # class 1 is tied with three others, and a tie is no recognition
    assert torch.allclose(
        found.probability,
        torch.stack([logits.double().softmax(1)[0, [1, 6]].sum(), logits.double().softmax(1)[1, 1:3].sum()]),
    )


def test_a_network_that_tells_nothing_recognizes_nothing():
    found = recognized(torch.zeros(6, 8), [0, 1, 2, 3, 4, [5, 6]])
    assert not found.top1.any()
    assert not found.top5.any()
    assert found.probability.tolist() == pytest.approx([1 / 8] * 5 + [2 / 8])


def test_chance_is_what_random_logits_get():
    generator = torch.Generator().manual_seed(0)
    targets = [[1], [2, 7], [0, 3, 4]] * 4000
    found = recognized(torch.randn(12000, 9, generator=generator), targets)
    for measure in ("top1", "top5"):
        error = 4 * 0.5 / math.sqrt(12000)
        assert float(found.of(measure).mean()) == pytest.approx(found.chance[measure], abs=error)
    assert found.chance["top1"] == pytest.approx(2 / 9)
    missed = [stats.hypergeom.pmf(0, 9, size, 5) for size in (1, 2, 3)]
    assert found.chance["top5"] == pytest.approx(1 - np.mean(missed))


def test_a_network_of_a_single_logit_chooses_between_a_class_and_none():
    found = recognized(torch.tensor([[2.0], [-1.0]]), 0)
    assert found.top1.tolist() == [True, False]
    assert found.probability.tolist() == pytest.approx([1 / (1 + math.exp(-2)), 1 / (1 + math.exp(1))])
    assert found.chance["top1"] == 0.5


@pytest.mark.parametrize("shape", [(3, 9, 7), (1, 5, 5)])
def test_as_saved_is_what_the_packages_own_png_holds(shape, tmp_path):
    image = torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 1.2 - 0.1
    image.view(-1)[:3] = torch.tensor([0.5 / 255, 1.5 / 255, 254.5 / 255])  # ties of the rounding
    save_png(to_display(image), tmp_path / "picture.png")
    with Image.open(tmp_path / "picture.png") as file:
        read = np.asarray(file)
    read = read[None] if read.ndim == 2 else read.transpose(2, 0, 1)
    assert torch.equal((as_saved(image) * 255).round().to(torch.uint8), torch.from_numpy(read.copy()))
    assert torch.equal(as_saved(image), torch.from_numpy(read / np.float32(255)))
    assert torch.equal(as_saved(as_saved(image)), as_saved(image))
    assert as_saved(image.double()).dtype == torch.float64


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_whole_pictures_are_resized_as_pillow_does_it(interpolation, make_images):
    images = as_saved(make_images(2, (3, 23, 31)))
    found = sized_for(images, verifier(12, interpolation))
    assert found.shape == (2, 3, 12, 12)
    assert 0 <= float(found.min()) <= float(found.max()) <= 1
    for mine, image in zip(found, images, strict=True):
        pixels = Image.fromarray((image * 255).round().to(torch.uint8).permute(1, 2, 0).numpy())
        other = resize(pixels, [12, 12], InterpolationMode(interpolation), antialias=True)
        if interpolation != "nearest":  # Pillow takes the nearest center, PyTorch the nearest corner
            assert np.abs(np.asarray(other) / 255 - mine.permute(1, 2, 0).numpy()).max() < 1.5 / 255


def test_what_has_the_size_already_stays_as_it_is(make_images):
    images = make_images(2, (3, 10, 10))
    assert sized_for(images, verifier(10, "lanczos")) is images


def test_logits_and_features_are_the_networks_own(make_images):
    network, images = verifier(), make_images(7, (3, 10, 10))
    logits, features = verifier_logits(images, network, 3), verifier_features([images[:4], images[4:]], network)
    with torch.no_grad():
        assert torch.allclose(logits, network.logits(images).double(), atol=1e-6)
    assert torch.allclose(features, (8 * (images - 0.5)).mean((2, 3)).double(), atol=1e-6)
    assert logits.dtype == features.dtype == torch.float64
    larger = make_images(3, (3, 25, 20))
    sized = sized_for(larger, network)
    assert torch.equal(verifier_features(larger, network), verifier_features(sized, network))


def test_a_view_is_logits_and_features_in_one_pass(make_images, untouched):
    passes = []

    class Counted(Colors):
        def forward(self, x: Tensor) -> Tensor:
            passes.append(len(x))
            return super().forward(x)

    network, images = verifier(), make_images(40, (3, 25, 20))
    network.model = Counted().eval()
    with untouched(network.model):
        logits, features = verifier_view(images, network, batch_size=7)
    assert sum(passes) <= 40 + 6  # some of single images, to learn the layers
    assert torch.equal(logits, verifier_logits(images, network, 7))
    assert torch.equal(features, verifier_features(images, network, batch_size=7))
    network.model = nn.Sequential(*Colors().pool, nn.Linear(3, 2), nn.Softmax(1)).eval()
    with pytest.raises(InputError, match="the model returned probabilities"):
        verifier_view(images, network)


def test_classes_are_found_by_name_where_the_verifier_has_others():
    other = verifier(names=["Yew", "Scots_Pine", "crane", "crane", "elm", "x", "y", "z"])
    assert classes_in(other, ["elm", "scots pine", "yew"]) == {0: 4, 1: 1, 2: 0}
    assert classes_in(other, ["rose", "elm"], target=1) == {1: 4}
    assert classes_in(verifier(), list(NAMES)) == {index: index for index in range(8)}
    with pytest.raises(
        InputError, match='"colors" has no class of its own for "a", "b", "c", "d", "rose" and 1 more; leave'
    ):
        classes_in(other, ["a", "b", "c", "d", "elm", "rose", "tulip"])
    images = of_color(4, 2)
    found = recognition(images, [[1, 2]], verifier(), classes={1: 4, 2: 5})
    assert found.target == [(4, 5)] * 2
    assert found.top1.all()
    assert mapped_targets(3, 1, {3: 0}) == [(0,)]


def test_an_ambiguous_name_stands_for_no_class():
    other = verifier(names=["crane", "crane", *NAMES[2:]])
    with pytest.raises(InputError, match='no class of its own for "crane";'):
        classes_in(other, ["crane", "elm"])
    with pytest.raises(InputError, match='no class of its own for "elm", "elm";'):
        classes_in(other, ["elm", "oak", "elm"])


def independent(classes: int, mine: float, natural: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.random(classes) < mine, random.random(classes) < natural


def right_or_wrong(right: np.ndarray) -> Tensor:
    """Logits (C, C + 1) by which class i is recognized in row i, or the last class is."""
    count = len(right)
    logits = torch.zeros(count, count + 1)
    logits[np.arange(count), np.where(right, np.arange(count), count)] = 9
    return logits


def test_the_ratio_is_scipys_relative_risk_where_nothing_is_paired():
    mine, natural = independent(400, 0.55, 0.8, 0)
    found = relative_recognition(
        recognized(right_or_wrong(mine), list(range(400))), recognized(right_or_wrong(natural), list(range(400)))
    )
    expected = stats.contingency.relative_risk(int(mine.sum()), 400, int(natural.sum()), 400)
    interval = expected.confidence_interval(0.95)
    assert found.ratio.value == pytest.approx(expected.relative_risk, abs=1e-12)
    assert found.ratio.low == pytest.approx(interval.low, abs=0.015)
    assert found.ratio.high == pytest.approx(interval.high, abs=0.015)
    assert found.chance == pytest.approx(1 / 401 / natural.mean())
    assert found.classes == 400


def test_classes_that_are_hard_for_both_make_the_interval_narrower():
    mine, natural = independent(300, 0.7, 0.7, 1)
    paired = natural ^ (np.random.default_rng(2).random(300) < 0.03)
    alone, together = (
        relative_recognition(
            recognized(right_or_wrong(each), list(range(300))), recognized(right_or_wrong(natural), list(range(300)))
        ).ratio
        for each in (mine, paired)
    )
    assert together.high - together.low < (alone.high - alone.low) / 2


def test_each_class_counts_alike_however_many_images_it_has():
    pictures = recognized(9 * torch.eye(3)[[0, 1]], [0, 1])
    natural = recognized(9 * torch.eye(3)[[0, 2, 1, 1, 1, 1, 2]], [0, 0, 1, 1, 1, 1, 2])
    found = relative_recognition(pictures, natural)
    assert found.natural.value == pytest.approx(0.75)  # a half and all; class 2 has no pictures
    assert found.ratio.value == pytest.approx(1 / 0.75)
    with pytest.raises(InputError, match=r"no natural images of the target \[2\]; give some"):
        relative_recognition(natural, pictures)


def test_where_all_are_recognized_the_interval_still_has_a_width():
    every = recognized(right_or_wrong(np.ones(50, bool)), list(range(50)))
    ratio = relative_recognition(every, every).ratio
    low = proportion(50, 50).low
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((1.0, low, 1 / low))
    assert relative_recognition(every, every).natural == proportion(50, 50)
    none = recognized(right_or_wrong(np.zeros(50, bool)), list(range(50)))
    nothing = relative_recognition(none, every).ratio
    assert nothing.value == nothing.low == 0
    assert 0.05 < nothing.high < 0.15
    undefined = relative_recognition(every, none)
    assert all(math.isnan(each) for each in (undefined.ratio.value, undefined.ratio.low, undefined.chance))
    single = relative_recognition(recognized(9 * torch.eye(2)[:1], 0), recognized(9 * torch.eye(2)[:1], 0))
    assert single.ratio.value == 1
    assert math.isnan(single.ratio.low)


def test_few_recognized_natural_images_make_an_interval_without_an_upper_end():
    mine, natural = np.ones(6, bool), np.array([True, False, False, False, False, False])
    found = relative_recognition(
        *(recognized(right_or_wrong(each), list(range(6))) for each in (mine, natural)), resamples=999
    )
    assert found.ratio.value == pytest.approx(6)
    assert found.ratio.low <= 6
    assert found.ratio.high == math.inf


def test_the_interval_holds_the_true_ratio_about_as_often_as_it_says():
    held = []
    for seed in range(120):
        random = np.random.default_rng(seed)
        hard = random.random(80) < 0.4  # for both
        mine, natural = (random.random(80) < np.where(hard, low, high) for low, high in ((0.3, 0.9), (0.5, 0.95)))
        ratio = relative_recognition(
            *(recognized(right_or_wrong(each), list(range(80))) for each in (mine, natural)), resamples=499, seed=seed
        ).ratio
        held.append(ratio.low <= (0.4 * 0.3 + 0.6 * 0.9) / (0.4 * 0.5 + 0.6 * 0.95) <= ratio.high)
    assert np.mean(held) > 0.88


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: recognition(torch.rand(2, 1, 8, 8), 0, verifier()),
            InputError,
            "images have 1 channel, but the verifier",
        ),
        (lambda: recognition(2 * torch.ones(2, 3, 8, 8), 0, verifier()), InputError, r"expected \[0, 1\]"),
        (
            lambda: recognition(torch.rand(2, 3, 8, 8), 8, verifier()),
            InputError,
            "target 8 is out of range: the model has 8 classes",
        ),
        (
            lambda: recognition(torch.rand(2, 3, 8, 8), [0, 1, 2], verifier()),
            InputError,
            "3 targets were given for 2 images",
        ),
        (
            lambda: recognition(torch.rand(2, 3, 8, 8), 5, verifier(), classes={0: 1}),
            InputError,
            "the verifier has no class for class 5 of",
        ),
        (lambda: recognition(torch.rand(2, 3, 8, 8), 0, verifier(), batch_size=0), InputError, "batch_size is 0"),
        (lambda: recognized(torch.rand(4), 0), InputError, r"logits is shape \(4,\)"),
        (lambda: recognized(torch.full((2, 3), torch.nan), 0), InputError, "NaN"),
        (lambda: recognized(torch.zeros(2, 3), 0).of("top3"), InputError, 'measure is "top3"; did you mean "top5"'),
        (lambda: classes_in(verifier(names=None), NAMES), InputError, 'the verifier "colors" has no class names'),
        (lambda: classes_in(verifier(), None), InputError, "the model has no class names"),
        (lambda: as_saved([0.5]), InputTypeError, "images is a list"),
        (
            lambda: relative_recognition(recognized(torch.zeros(2, 3), 0), recognized(torch.zeros(2, 4), 0)),
            InputError,
            "a network of 3 classes and the natural images to one of 4",
        ),
    ],
)
def test_bad_input_gets_a_sentence(call, error, message):
    with pytest.raises(error, match=message):
        call()
