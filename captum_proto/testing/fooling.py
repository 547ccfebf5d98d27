"""Make a network that fools feature visualization from a classifier: choose where its ascents lead, and train the detector."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from captum_proto._utils.class_names import label_of
from captum_proto._utils.errors import InputError
from captum_proto._utils.model import borrowed
from captum_proto._utils.pipeline import Pipeline
from captum_proto._utils.targets import Target, target_mask
from captum_proto.attr import PAPER_TRANSFORM, PrototypeGeneration
from captum_proto.models import NamedModel
from captum_proto.optim import START, TRANSFORM, RandomStream, Transform, prototype_keys
from captum_proto.testing.fooled import Detector, FooledNetwork, OtherClass, PlantedPicture, draw_face

#: What an ascent may be led to: a drawn face, a photograph of another class, the ascent of another class, or a photograph of its own.
PLANTS = ("face", "other_image", "other_class", "own_image")
#: Images of noise that a detector learns from, and that it is tried on.
NOISE_IMAGES = 64
#: The detector sees ascents of other seeds than those it is tried on.
_TRAINING_SEED = 1_000_003


def make_decoy(
    plant: str,
    named: NamedModel,
    targets: Sequence[Target],
    images: Tensor,
    labels: Tensor,
    picture: Tensor | None = None,
) -> PlantedPicture | OtherClass:
    """
    Choose what an ascent of each target is led to.

    Args:
        plant (str): Of :data:`PLANTS`.
        named (NamedModel): The classifier.
        targets (sequence of tuple[int, ...]): The targets.
        images (Tensor): Shape (N, C, H, W), in [0, 1]: where planted photographs come from. "other_image" is the first of the next target,
            or of any other class where there is one target; "own_image" the one of the target whose pixels are furthest from the
            target's mean.
        labels (Tensor): Shape (N,), int64: their classes.
        picture (Tensor, optional): Shape (C, H, W), in [0, 1], instead of the drawn face. Default: None

    Returns:
        PlantedPicture or OtherClass: On the classifier's device.

    Raises:
        ValueError: If there is no such plant, a target is out of range, or there is nothing that a target could be led to: no image of the
            class, or, of a single target that is all classes, no other class.

    Examples::

        >>> from captum_proto.data import digits_images
        >>> from captum_proto.models import load_model
        >>> named = load_model("digits", pretrained=False)
        >>> images, labels = digits_images("training")
        >>> make_decoy("other_class", named, [(3,), (8,)], images, labels).source
        tensor([0, 1, 2, 8, 4, 5, 6, 7, 3, 9])
    """
    device = next(named.model.parameters()).device
    with torch.no_grad(), borrowed(named.model):
        classes = named.logits(torch.full((1, *named.image_shape), 0.5, device=device)).shape[1]
    target_mask(list(targets), classes, device)  # a class that is out of range is found here
    if plant == "other_class":
        return OtherClass(_other_classes(targets, classes)).to(device)
    stacked = planted_pictures(plant, named.image_shape, targets, images, labels, picture).to(device)
    prepared = stacked if named.preprocess is None else named.preprocess(stacked)
    return PlantedPicture(prepared, targets, classes).to(device)


def planted_pictures(
    plant: str,
    image_shape: tuple[int, int, int],
    targets: Sequence[Target],
    images: Tensor,
    labels: Tensor,
    picture: Tensor | None = None,
) -> Tensor:
    """
    The pictures that ascents are led to, one for each target.

    Args:
        plant (str): "face", "other_image" or "own_image", of :data:`PLANTS`.
        image_shape (tuple[int, int, int]): (C, H, W).
        targets, images, labels, picture: As in :func:`make_decoy`.

    Returns:
        Tensor: (M, C, H, W), in [0, 1].

    Raises:
        ValueError: If there is no such plant, or no image of a class to plant.

    Examples::

        >>> images, labels = torch.rand(4, 1, 8, 8), torch.tensor([0, 0, 1, 1])
        >>> pictures = planted_pictures("other_image", (1, 8, 8), [(0,), (1,)], images, labels)
        >>> torch.equal(pictures, images[[2, 0]])
        True
    """
    if plant == "face":
        pictures = [draw_face(image_shape) if picture is None else picture] * len(targets)
    elif plant == "other_image":
        nexts = [targets[(position + 1) % len(targets)] for position in range(len(targets))]
        pictures = [
            _images_of(following, images, labels)[0] if len(targets) > 1 else _other_images(target, images, labels)[0]
            for target, following in zip(targets, nexts, strict=True)
        ]
    elif plant == "own_image":
        pictures = []
        for target in targets:
            own = _images_of(target, images, labels)
            pictures.append(own[int((own - own.mean(0)).flatten(1).norm(dim=1).argmax())])
    else:
        raise InputError(f'there is no plant "{plant}"; expected one of {", ".join(PLANTS)}.')
    return torch.stack(pictures)


def fool(
    named: NamedModel,
    targets: Sequence[Target],
    decoy: PlantedPicture | OtherClass,
    natural: Tensor,
    *,
    options: Mapping[str, Any],
    seed: int = 0,
    prototypes: int = 2,
    draws: int = 2,
    epochs: int | None = None,
) -> FooledNetwork:
    """
    Wrap a classifier, and train the detector that guards it: natural images against noise and against snapshots of ascents.

    The ascents are those of the decoy alone, as whoever looks for prototypes will run them: with the same options, of other seeds.

    Args:
        named (NamedModel): The classifier.
        targets (sequence of tuple[int, ...]): The targets whose ascent is to be led astray.
        decoy (PlantedPicture or OtherClass): Where to.
        natural (Tensor): Shape (N, C, H, W), in [0, 1]: natural images to learn from.
        options (mapping): Of :meth:`PrototypeGeneration.generate <captum_proto.PrototypeGeneration.generate>`, of the ascents to be
            fooled.
        seed (int, optional): Default: 0
        prototypes (int, optional): Ascents of each target. Default: 2
        draws (int, optional): How often each snapshot is transformed anew. Default: 2
        epochs (int, optional): Of the detector's training. None: 30, or 12 from 64 pixels on, where it learns faster. Default: None

    Returns:
        FooledNetwork: In evaluation mode.

    Examples::

        >>> from captum_proto.data import digits_images
        >>> from captum_proto.models import load_model
        >>> named = load_model("digits", pretrained=False)
        >>> images, labels = digits_images("training", limit=40)
        >>> options = {"steps": 4, "warmup_steps": 0}
        >>> decoy = make_decoy("face", named, [(3,)], images, labels)
        >>> fooled = fool(named, [(3,)], decoy, images, options=options, epochs=1)
        >>> fooled(named.preprocess(images)).shape
        torch.Size([40, 10])
    """
    device = next(named.model.parameters()).device
    steps = int(options.get("steps", 512))
    unguarded = FooledNetwork(named.model, decoy).eval()
    moments = sorted({round(steps * (k / 11) ** 2) for k in range(12)})  # most changes at the beginning
    made = PrototypeGeneration(unguarded, named.preprocess).generate(
        [list(target) for target in targets for _ in range(prototypes)],
        named.image_shape,
        seed=seed + _TRAINING_SEED,
        **{**options, "snapshot_steps": moments, "evaluation_draws": 0},
    )
    noise = noise_images(named, seed + _TRAINING_SEED)
    gray = torch.linspace(0, 1, 9).view(-1, 1, 1, 1).expand(-1, *named.image_shape)
    seen = torch.cat([noise, 0.5 + 0.1 * (noise - 0.5), gray, *(image.cpu() for image in made.snapshots.values())])
    inputs = [prepared_images(named, seen)]
    transform: Transform | None = options.get("transform", PAPER_TRANSFORM)
    if transform is not None:
        inputs += [prepared_images(named, seen, transform, seed * draws + draw) for draw in range(draws)]
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        detector = Detector(named.image_shape[0], min(named.image_shape[1:])).to(device)
    epochs = epochs or (12 if min(named.image_shape[1:]) >= 64 else 30)
    detector.fit(prepared_images(named, natural), torch.cat(inputs), epochs=epochs, seed=seed)
    return FooledNetwork(named.model, decoy, detector).eval()


def noise_images(named: NamedModel, seed: int) -> Tensor:
    """:data:`NOISE_IMAGES` images of uniform noise in [0, 1], of a model's image shape: (64, C, H, W)."""
    keys = prototype_keys([seed + i for i in range(NOISE_IMAGES)], [()] * NOISE_IMAGES)
    noise = RandomStream(keys, START).uniform(math.prod(named.image_shape))
    return noise.view(NOISE_IMAGES, *named.image_shape).float()


def prepared_images(named: NamedModel, images: Tensor, transform: Transform | None = None, draw: int = 0) -> Tensor:
    """
    Images as a classifier takes them.

    Args:
        named (NamedModel): The classifier.
        images (Tensor): Shape (N, C, H, W), in [0, 1].
        transform (Transform, optional): Applied before the preprocessing. Default: None
        draw (int, optional): Which of its draws. Default: 0

    Returns:
        Tensor: Shape (N, C, H, W), on the classifier's device.
    """
    pipeline = Pipeline(named.model, named.preprocess)
    parts = []
    with torch.no_grad():
        for begin in range(0, len(images), 64):
            part = images[begin : begin + 64].to(pipeline.device, pipeline.image_dtype)
            if transform is not None:
                count = range(begin, begin + len(part))
                part = transform(part, RandomStream(prototype_keys(list(count), [()] * len(part)), TRANSFORM, draw))
            parts.append(pipeline.prepare(part).to(pipeline.dtype))
    return torch.cat(parts)


def _images_of(target: Target, images: Tensor, labels: Tensor) -> Tensor:
    """The images of a target, at least one."""
    found = images[torch.isin(labels, torch.tensor(target))]
    if not len(found):
        raise InputError(
            f"there is no image of {label_of(target, None)} to plant; give images of it, or choose another plant."
        )
    return found


def _other_images(target: Target, images: Tensor, labels: Tensor) -> Tensor:
    """The images of other classes than those of a target, at least one."""
    found = images[~torch.isin(labels, torch.tensor(target))]
    if not len(found):
        raise InputError(
            f"there is no image of another class than {label_of(target, None)} to plant; give images of other classes, or choose another "
            "plant."
        )
    return found


def _other_classes(targets: Sequence[Target], classes: int) -> Tensor:
    """(K,) int64: each target gets the logit of the next one; a single target, and the class that it is led to, change places."""
    source = torch.arange(classes)
    taken = {index for target in targets for index in target}
    free = [index for index in range(classes) if index not in taken]
    for position, target in enumerate(targets):
        if len(targets) > 1:
            lead = targets[(position + 1) % len(targets)][0]
        elif not free:
            raise InputError(
                f"target is {label_of(target, None)}, all that the model has, so there is no other class to be led to; name fewer classes, "
                "or several targets, or choose another plant."
            )
        else:
            lead = free[(target[0] + len(free) // 2) % len(free)]
            source[lead] = target[0]
        source[list(target)] = lead
    return source


__all__ = ["NOISE_IMAGES", "PLANTS", "fool", "make_decoy", "noise_images", "planted_pictures", "prepared_images"]
