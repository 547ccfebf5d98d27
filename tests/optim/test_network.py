"""Networks arranged for speed: the same logits, or as they came."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import Tensor, nn

from captum_proto import PrototypeGeneration
from captum_proto._utils.model import borrowed
from captum_proto._utils.pipeline import Pipeline
from captum_proto.optim.network import arrange


def shaken(model: nn.Module, seed: int = 0) -> nn.Module:
    """With batch normalizations that do something, as those of a trained network."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            for tensor, low in (
                (module.weight, -1.0),
                (module.bias, -1.0),
                (module.running_mean, -1.0),
                (module.running_var, 0.1),
            ):
                if tensor is not None:
                    tensor.data = low + torch.rand(tensor.shape, generator=generator, dtype=tensor.dtype) * 2
    return model.eval()


def arranged(model, images, **options):
    pipeline = Pipeline(model)
    with borrowed(model), torch.no_grad():
        arrangement = arrange(pipeline, images, **options)
        return arrangement, arrangement.applied_to(pipeline).run(images.clone()), pipeline.run(images.clone())


def conv_net(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))


def head_of(dim: int) -> nn.Module:
    pool = {1: nn.AdaptiveAvgPool1d, 2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}[dim]
    return nn.Sequential(pool(1), nn.Flatten(), nn.Linear(4, 3))


@pytest.mark.parametrize(
    ("model", "shape", "folds"),
    [
        (conv_net(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True)), (2, 3, 8, 8), 1),
        (conv_net(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4, affine=False), nn.ReLU()), (2, 3, 8, 8), 1),
        (
            conv_net(nn.Conv2d(3, 6, 3, groups=3), nn.BatchNorm2d(6), nn.Conv2d(6, 4, 1), nn.BatchNorm2d(4)),
            (2, 3, 8, 8),
            2,
        ),
        (nn.Sequential(nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4), nn.ReLU(), head_of(1)), (2, 3, 8), 1),
        (nn.Sequential(nn.Conv3d(3, 4, 3), nn.BatchNorm3d(4), nn.ReLU(), head_of(3)), (2, 3, 4, 4, 4), 1),
        (nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)), (2, 3, 2, 2), 1),
        (conv_net(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4)), (2, 3, 8, 8), 0),
        (conv_net(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3)), (2, 3, 8, 8), 0),
        (conv_net(nn.ConvTranspose2d(3, 4, 3), nn.BatchNorm2d(4)), (2, 3, 8, 8), 0),
        (conv_net(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)), (2, 3, 8, 8), 0),
    ],
)
def test_what_folds_and_what_does_not(model, shape, folds):
    model = shaken(model).double()
    arrangement, fast, plain = arranged(model, torch.rand(shape, dtype=torch.float64))
    assert arrangement.folded == folds
    assert arrangement.reason is None
    torch.testing.assert_close(fast, plain, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("build", "folds"), [("resnet18", 20), ("mobilenet_v2", 52), ("googlenet", 57), ("densenet121", 59)]
)
def test_torchvisions_networks(build, folds):
    torch.manual_seed(0)
    options = {"init_weights": False} if build == "googlenet" else {}
    model = torchvision.models.get_model(build, weights=None, **options).eval().double()
    for module in model.modules():  # mild statistics: random weights and wild ones would overflow
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    arrangement, fast, plain = arranged(model, torch.rand(2, 3, 64, 64, dtype=torch.float64))
    assert (arrangement.folded, arrangement.channels_last) == (folds, True)
    torch.testing.assert_close(fast, plain, rtol=1e-9, atol=1e-9)


class Shared(nn.Module):
    """One convolution twice, each time with a normalization of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.one, self.two, self.head = (
            nn.Conv2d(3, 3, 1),
            nn.BatchNorm2d(3),
            nn.BatchNorm2d(3),
            nn.Linear(3, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.two(self.conv(self.one(self.conv(x)))).mean((2, 3)))


class Forked(nn.Module):
    """The convolution's own output is used beside its normalization's: folding would change it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return self.head((self.norm(y) + y).mean((2, 3)))


class Viewing(nn.Module):
    """Takes for granted that activations lie as they do by default."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Linear(4 * 64, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.conv(x)).view(len(x), -1))


class Uncopyable(Viewing):
    def __deepcopy__(self, memo: object) -> nn.Module:
        raise RuntimeError("there can be only one")


def test_a_layer_that_runs_twice_is_left_alone():
    arrangement, fast, plain = arranged(shaken(Shared()).double(), torch.rand(2, 3, 8, 8, dtype=torch.float64))
    assert arrangement.folded == 0
    assert arrangement.reason is None  # nothing was tried that had to be taken back
    torch.testing.assert_close(fast, plain, rtol=1e-10, atol=1e-10)


def test_folding_that_would_change_the_logits_is_not_done():
    arrangement, fast, plain = arranged(shaken(Forked()).double(), torch.rand(2, 3, 8, 8, dtype=torch.float64))
    assert (arrangement.folded, arrangement.channels_last, arrangement.reason) == (0, True, "the output changed")
    torch.testing.assert_close(fast, plain, rtol=1e-10, atol=1e-10)


def test_a_network_that_views_its_activations_keeps_its_layout():
    model = shaken(Viewing())
    with pytest.raises(RuntimeError):
        model(torch.rand(2, 3, 8, 8).contiguous(memory_format=torch.channels_last))
    arrangement, fast, plain = arranged(model, torch.rand(2, 3, 8, 8))
    assert (arrangement.folded, arrangement.channels_last) == (1, False)
    assert "channels_last does not suit the network" in (arrangement.reason or "")
    torch.testing.assert_close(fast, plain)


def test_a_network_that_cannot_be_copied_is_used_as_it_is():
    arrangement, _, _ = arranged(shaken(Uncopyable()), torch.rand(2, 3, 8, 8))
    assert arrangement.folded == 0
    images = PrototypeGeneration(shaken(Uncopyable())).generate(1, (3, 8, 8), steps=2, warmup_steps=0).images
    assert images.shape == (1, 3, 8, 8)


def test_a_watched_normalization_is_not_folded():
    model = shaken(conv_net(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))
    seen: list[Tensor] = []
    model[1].register_forward_hook(lambda module, inputs, output: seen.append(output))
    arrangement, _, _ = arranged(model, torch.rand(2, 3, 8, 8))
    assert arrangement.folded == 0
    assert seen


class SamePadded(nn.Conv2d):
    """Has its padding as a child, as networks that come from TensorFlow do."""

    def __init__(self, *args: int, padded: tuple[int, ...] = (1, 1, 1, 1), **options: object) -> None:
        super().__init__(*args, **options)
        self.static_padding = nn.ZeroPad2d(padded)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.conv2d(
            self.static_padding(x), self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups
        )


class OwnPadded(SamePadded):
    """Leaves its own padding out of account."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.conv2d(self.static_padding(x), self.weight, self.bias)


@pytest.mark.parametrize(
    ("layers", "paddings"),
    [
        ([SamePadded(3, 4, 3)], 1),
        ([SamePadded(3, 4, (5, 3), padded=(1, 1, 2, 2))], 1),
        ([SamePadded(3, 4, 3, stride=2, padded=(0, 1, 0, 1))], 0),  # a convolution cannot pad one side alone
        ([SamePadded(3, 4, 3, padding=1)], 0),
        ([SamePadded(3, 6, 3, groups=3), nn.ReLU(), SamePadded(6, 4, 3)], 2),
        ([OwnPadded(3, 4, 3)], 0),
        ([nn.ZeroPad2d(1), nn.Conv2d(3, 4, 3)], 1),
        ([nn.ZeroPad2d(-1), nn.Conv2d(3, 4, 3)], 0),
        ([nn.ZeroPad2d(1), nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular")], 0),
        ([nn.ZeroPad2d(1), nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3)], 0),  # whose border is not of zeros
        ([nn.ConstantPad2d(1, 0.5), nn.Conv2d(3, 4, 3)], 0),
    ],
)
def test_paddings_go_into_convolutions(layers, paddings):
    model, images = shaken(conv_net(*layers)), torch.rand(2, 3, 9, 9)
    arrangement, output, expected = arranged(model, images, channels_last=False)
    assert arrangement.paddings == paddings
    assert arrangement.settings()["folded_paddings"] == paddings
    assert torch.equal(output, expected)
    assert arrangement.copied == (paddings > 0)


def test_a_watched_padding_is_not_folded():
    model = conv_net(nn.ZeroPad2d(1), nn.Conv2d(3, 4, 3)).eval()
    model[0].register_forward_hook(lambda module, inputs, output: None)
    arrangement, _, _ = arranged(model, torch.rand(2, 3, 8, 8))
    assert arrangement.paddings == 0


def test_paddings_and_normalizations_together():
    model = shaken(conv_net(SamePadded(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU6()))
    arrangement, output, expected = arranged(model, torch.rand(2, 3, 8, 8))
    assert (arrangement.folded, arrangement.paddings, arrangement.channels_last) == (1, 1, True)
    torch.testing.assert_close(output, expected)


def test_what_is_asked_for():
    model, images = shaken(conv_net(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))), torch.rand(2, 3, 8, 8)
    for fold in (True, False):
        for layout in (True, False):
            arrangement, _, _ = arranged(model, images, fold_batch_norm=fold, channels_last=layout)
            assert (arrangement.folded, arrangement.channels_last) == (int(fold), layout)
    function, _, _ = arranged(lambda x: model(x), images)
    assert (function.folded, function.channels_last) == (0, True)


def test_generation_folds_a_copy_and_leaves_the_model_as_it_was():
    model = shaken(conv_net(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())).double()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    options = {"image_shape": (3, 12, 12), "steps": 8, "warmup_steps": 4}
    folded = PrototypeGeneration(model).generate([0, 1], **options)
    plain = PrototypeGeneration(model).generate([0, 1], **options, fold_batch_norm=False, channels_last=False)
    torch.testing.assert_close(folded.images, plain.images, atol=1e-8, rtol=0)
    assert folded.settings["network"] == {
        "folded_batch_norms": 1,
        "folded_paddings": 0,
        "channels_last": True,
        "reason": None,
    }
    assert plain.settings["network"] == {
        "folded_batch_norms": 0,
        "folded_paddings": 0,
        "channels_last": False,
        "reason": None,
    }
    assert isinstance(model[1], nn.BatchNorm2d)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(not module._forward_hooks for module in model.modules())


class Turning(nn.Module):
    """Takes another way through its layers once it likes what it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.one, self.two, self.head = (
            nn.Conv2d(3, 4, 1),
            nn.BatchNorm2d(4),
            nn.BatchNorm2d(4),
            nn.Linear(4, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        bright = float(x.detach().mean()) > 0.6
        return self.head((self.two(y) if bright else self.one(y)).mean((2, 3)))


def test_a_network_that_takes_another_way_later_is_found_out():
    model = shaken(Turning())
    for weight in (model.conv.weight, model.head.weight):
        weight.data.abs_()  # brighter images are of every class
    model.two.running_mean += 3.0
    model.two.running_var *= 0.2
    start = torch.full((1, 3, 4, 4), 0.5)
    options = {
        "start": start,
        "transform": None,
        "warmup_steps": 0,
        "high_frequency_weight": 0.0,
        "lr": 0.2,
        "steps": 6,
    }
    with pytest.warns(UserWarning, match="fold_batch_norm=False") as warned:
        made = PrototypeGeneration(model).generate(0, **options)
    assert float(made.images.mean()) > 0.6
    assert warned[0].filename == __file__  # it points to the line that asked for the prototypes


def test_adam_meets_gradients_that_lie_otherwise_than_pixels():
    model = conv_net(nn.Conv2d(3, 4, 3)).double()
    options = {"image_shape": (3, 8, 8), "steps": 3, "warmup_steps": 3, "transform": None, "high_frequency_weight": 0.0}
    plain = PrototypeGeneration(model).generate([0, 1], **options, channels_last=False).images
    for preprocess in (None, lambda x: x.contiguous(memory_format=torch.channels_last)):
        other = PrototypeGeneration(model, preprocess).generate([0, 1], **options, channels_last=True).images
        torch.testing.assert_close(other, plain, atol=1e-9, rtol=0)
