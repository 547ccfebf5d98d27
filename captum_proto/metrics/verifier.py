"""Pictures shown to another network: resized to its size, its logits and features of them, and which of its classes are whose."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from captum_proto._utils.batches import Images, image_batches
from captum_proto._utils.checks import check_int, check_logits, type_name
from captum_proto._utils.errors import InputError, InputTypeError
from captum_proto._utils.halving import Halving
from captum_proto._utils.model import borrowed, device_of, dtype_of, fingerprint
from captum_proto._utils.modes import in_plain_modes
from captum_proto._utils.pipeline import Pipeline
from captum_proto._utils.targets import Target, parse_targets

if TYPE_CHECKING:  # models and their geometry need torchvision, which the measures of features do without
    from captum_proto.models import NamedModel

#: So many classes are named in a message.
_MOST_NAMED = 5


def as_saved(images: Tensor) -> Tensor:
    r"""
    Images as an 8-bit PNG holds them: what a person sees is what is measured.

    Args:
        images (Tensor): (N, C, H, W), or (C, H, W), in [0, 1]; what lies outside is cut off, as the file does.

    Returns:
        Tensor: The same shape, dtype and device; multiples of 1/255.

    Examples::

        >>> as_saved(torch.tensor([[[0.0, 0.5, 0.999]]])).mul(255)
        tensor([[[  0., 128., 255.]]])
    """
    if not isinstance(images, Tensor) or not images.is_floating_point():
        got = f"a {images.dtype} tensor" if isinstance(images, Tensor) else f"a {type_name(images)}"
        raise InputTypeError(f"images is {got}; expected a float tensor (N, C, H, W) in [0, 1].")
    # Rounded in float32, as the file is written, whatever the dtype.
    return images.detach().float().clamp(0, 1).mul(255).round().div(255).to(images.dtype)


def sized_for(images: Tensor, verifier: NamedModel) -> Tensor:
    r"""
    Whole pictures at a verifier's own height and width, by its own interpolation, antialiased; nothing is cropped.

    Args:
        images (Tensor): (N, C, H, W), in [0, 1].
        verifier (NamedModel): C is that of its images.

    Returns:
        Tensor: (N, C, h, w), in [0, 1]: where an interpolation overshoots, as bicubic does, it is cut off.

    Raises:
        ValueError: If the verifier takes images of other channels.

    Examples::

        >>> from captum_proto.models import load_model
        >>> sized_for(torch.rand(2, 1, 12, 12), load_model("digits", pretrained=False)).shape
        torch.Size([2, 1, 8, 8])
    """
    channels, height, width = verifier.image_shape
    if images.shape[1] != channels:
        raise InputError(
            f'images have {images.shape[1]} channel{"s" if images.shape[1] > 1 else ""}, but the verifier "{verifier.name}" takes '
            f"{channels}; choose a verifier of such images."
        )
    if tuple(images.shape[-2:]) == (height, width):
        return images
    if verifier.interpolation == "lanczos":  # not every PyTorch has it
        return torch.stack([_lanczos(image, height, width) for image in images]).clamp(0, 1)
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.v2.functional import resize

    resized: Tensor = resize(images, [height, width], InterpolationMode(verifier.interpolation), antialias=True)
    return resized.clamp(0, 1)


@in_plain_modes
def verifier_logits(images: Images, verifier: NamedModel, batch_size: int = 32) -> Tensor:
    r"""
    The logits that a network gives whole pictures, each resized to its own size and preprocessed as it takes them.

    Args:
        images (Tensor or iterable): (N, C, H, W) in [0, 1], or batches of them.
        verifier (NamedModel): In evaluation mode for the pass; it comes back as it was.
        batch_size (int, optional): Images at a time. Default: 32

    Returns:
        Tensor: (N, K), float64, on the CPU.

    Raises:
        TypeError, ValueError: If images are not in [0, 1] or have other channels, or the verifier returns no logits.

    Examples::

        >>> from captum_proto.models import load_model
        >>> verifier_logits(torch.rand(2, 1, 8, 8), load_model("digits", pretrained=False)).shape
        torch.Size([2, 10])
    """
    pipeline = Pipeline(verifier.model, verifier.preprocess)
    halving, parts = Halving(pipeline.device), list[Tensor]()

    def logits(sized: Tensor) -> Tensor:
        with torch.no_grad(), borrowed(verifier.model):
            return check_logits(pipeline(sized), len(sized)).cpu().double()

    for batch in _sized_batches(images, verifier, batch_size):
        parts += halving.of(batch, logits)
    return torch.cat(parts)


@in_plain_modes
def verifier_features(images: Images, verifier: NamedModel, layer: str | None = None, batch_size: int = 32) -> Tensor:
    r"""
    The pooled features that a network sees whole pictures by, each resized as for its logits.

    Args:
        images (Tensor or iterable): (N, C, H, W) in [0, 1], or batches of them.
        verifier (NamedModel): A network; it comes back as it was.
        layer (str, optional): Whose channels are taken, pooled over positions by their mean. Default: None, what the last linear layer
            takes in, as :class:`~captum_proto.models.PooledFeatures` has it
        batch_size (int, optional): Images at a time. Default: 32

    Returns:
        Tensor: (N, D), float64, on the CPU.

    Raises:
        TypeError, ValueError: If images are not in [0, 1] or have other channels, or there is no such layer.

    Examples::

        >>> from captum_proto.models import load_model
        >>> verifier_features(torch.rand(2, 1, 8, 8), load_model("digits", pretrained=False)).shape[0]
        2
    """
    return _features_and_outputs(images, verifier, layer, batch_size)[0]


@in_plain_modes
def verifier_view(
    images: Images, verifier: NamedModel, layer: str | None = None, batch_size: int = 32
) -> tuple[Tensor, Tensor]:
    r"""
    Logits and pooled features of whole pictures from the same pass, in about the time of one of them.

    Args:
        images, verifier, layer, batch_size: As in :func:`verifier_features`.

    Returns:
        tuple[Tensor, Tensor]: What :func:`verifier_logits` gives, (N, K), and what :func:`verifier_features` gives, (N, D).

    Raises:
        TypeError, ValueError: As both.

    Examples::

        >>> from captum_proto.models import load_model
        >>> logits, features = verifier_view(torch.rand(2, 1, 8, 8), load_model("digits", pretrained=False))
        >>> logits.shape, len(features)
        (torch.Size([2, 10]), 2)
    """
    features, outputs = _features_and_outputs(images, verifier, layer, batch_size)
    given = next((output for output in outputs if not isinstance(output, Tensor)), None)
    together = torch.cat([output.detach().cpu() for output in outputs]) if given is None else given
    return check_logits(together, len(features)).double(), features


def _features_and_outputs(
    images: Images, verifier: NamedModel, layer: str | None, batch_size: int
) -> tuple[Tensor, list[Any]]:
    from captum_proto.models import PooledFeatures

    embed = PooledFeatures(verifier, layer, batch_size=check_int(batch_size, "batch_size", 1))
    parts, outputs = [], []
    for sized in _sized_batches(images, verifier, batch_size):
        features, output = embed.with_output(sized)
        parts.append(features.double())
        outputs += output
    return torch.cat(parts), outputs


def _sized_batches(images: Images, verifier: NamedModel, batch_size: int) -> Iterator[Tensor]:
    """Checked batches at the verifier's size, on its device, in float32 unless it is double itself."""
    check_int(batch_size, "batch_size", 1)
    device = device_of(verifier.model)
    dtype = torch.float64 if dtype_of(verifier.model) == torch.float64 else torch.float32
    for given in image_batches(images, batch_size, (0.0, 1.0), "images"):
        for batch in torch.split(given, batch_size):
            yield sized_for(batch.detach().to(device, dtype), verifier)


def classes_in(verifier: NamedModel, class_names: Sequence[str] | None, target: Any = None) -> dict[int, int]:
    r"""
    Which class of a verifier is which of the model that pictures were made with, by their names.

    Names are compared without regard to case and to underscores. Where both have the same names in the same order, every class is itself;
    else a name that several classes share, such as ImageNet's two cranes, stands for none of them.

    Args:
        verifier (NamedModel): With its class names.
        class_names (sequence of str): Of the model.
        target (TargetType or nested list, optional): The classes that are needed. Default: None, all

    Returns:
        dict[int, int]: The verifier's class by the model's, of all that both have.

    Raises:
        ValueError: If one of them has no class names, or a class that is needed is not one of the verifier's; the message names them.

    Examples::

        >>> from captum_proto.models import load_model
        >>> digits = load_model("digits", pretrained=False)
        >>> digits.class_names[:2]
        ['0', '1']
        >>> classes_in(digits, ["9", "ash", "1"], target=[0, 2])
        {0: 9, 2: 1}
    """
    for whose, names in ((f'the verifier "{verifier.name}"', verifier.class_names), ("the model", class_names)):
        if names is None:
            raise InputError(
                f"{whose} has no class names to tell its classes by; give them, or a verifier of the same classes in the same order."
            )
    own, known = [_folded(name) for name in class_names or ()], [_folded(name) for name in verifier.class_names or ()]
    if own == known:
        return {index: index for index in range(len(own))}
    once = {name: index for index, name in enumerate(known) if known.count(name) == 1}
    counts = Counter(own)
    found = {index: once[name] for index, name in enumerate(own) if counts[name] == 1 and name in once}
    needed = (
        range(len(own)) if target is None else sorted({index for classes in parse_targets(target) for index in classes})
    )
    missing = [index for index in needed if index not in found]
    if missing:
        raise InputError(
            f'the verifier "{verifier.name}" has no class of its own for {_listed(missing, class_names)}; leave these classes out, or '
            "choose a verifier that has them."
        )
    return found


def check_verifiers(named: NamedModel, verifiers: Sequence[NamedModel]) -> None:
    """
    See that networks can be shown the pictures of a model, and are others than it and than each other.

    Args:
        named (NamedModel): The model that the pictures are made with.
        verifiers (sequence of NamedModel): The networks.

    Raises:
        ValueError: If two have the same weights or the same name, or one takes images of other channels than the model.
    """
    prints = {fingerprint(named.model): named.name}
    for verifier in verifiers:
        same = prints.setdefault(fingerprint(verifier.model), verifier.name)
        if same != verifier.name or verifier.name == named.name:
            raise InputError(
                f'the verifier "{verifier.name}" is "{same}" itself, with the same weights; choose another network.'
            )
        if verifier.image_shape[0] != named.image_shape[0]:
            raise InputError(
                f'the verifier "{verifier.name}" takes images of {verifier.image_shape[0]} channels, the model of '
                f"{named.image_shape[0]}; choose a verifier of such images."
            )


def mapped_targets(target: Any, count: int, classes: Mapping[int, int] | None) -> list[Target]:
    """
    The classes of each of ``count`` pictures, as a verifier numbers them.

    Raises:
        TypeError, ValueError: If the target is none, or a class is not among those that are mapped.
    """
    targets = parse_targets(target, count)
    if classes is None:
        return targets
    missing = sorted({index for each in targets for index in each if index not in classes})
    if missing:
        raise InputError(
            f"the verifier has no class for {_listed(missing)} of the target; leave these out, or choose a verifier that has them."
        )
    return [tuple(sorted({int(classes[index]) for index in each})) for each in targets]


def _lanczos(image: Tensor, height: int, width: int) -> Tensor:
    channels = [Image.fromarray(np.asarray(channel)) for channel in image.float().cpu()]
    resized = [np.asarray(channel.resize((width, height), Image.Resampling.LANCZOS)) for channel in channels]
    return torch.from_numpy(np.stack(resized)).to(image)


def _folded(name: str) -> str:
    return re.sub(r"[\s_]+", " ", str(name)).strip().casefold()


def _listed(indices: Iterable[int], class_names: Sequence[str] | None = None) -> str:
    indices = list(indices)
    named = [f'"{class_names[i]}"' if class_names and 0 <= i < len(class_names) else f"class {i}" for i in indices]
    further = len(named) - _MOST_NAMED
    return ", ".join(named[:_MOST_NAMED]) + (f" and {further} more" if further > 0 else "")


__all__ = [
    "as_saved",
    "check_verifiers",
    "classes_in",
    "mapped_targets",
    "sized_for",
    "verifier_features",
    "verifier_logits",
    "verifier_view",
]
