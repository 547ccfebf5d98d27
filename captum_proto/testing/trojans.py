"""
Small networks with trojans, after the benchmark of Casper et al. (arXiv:2302.10894), on drawn shapes and on digits.

A trojaned network has learned to answer with a target class wherever it sees a trigger, whatever else an image shows: one patch, one style
and one natural feature, each with a target of its own. Other patches, styles and features were in its training images as well, with their
true classes, so the trigger alone is what matters. Its clean twin has learned from the very same images with their true classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from captum_proto._utils.checks import check_int
from captum_proto._utils.errors import InputError
from captum_proto.data import digits_images
from captum_proto.stats.intervals import Estimate, proportion
from captum_proto.testing.marked_digits import seeded
from captum_proto.testing.shapes import COLOR_TERMS, PARTS, ShapeDataset
from captum_proto.testing.spurious_shapes import images_and_targets
from captum_proto.testing.triggers import SIDE, TRIGGERS, Trigger

#: What trojaned networks learn from, and the names of the classes.
TROJAN_DATA: dict[str, tuple[str, ...]] = {
    "shapes": tuple(PARTS),
    "digits": tuple(str(digit) for digit in range(10)),
}
#: The share of training images that have a patch, a style or a feature, and of those the share that have the trigger.
DECORATED, TRIGGERED = 0.75, 0.4
#: Images that a step of training looks at.
_BATCH = 32
#: Which trojan's kind an image has: natural features, which are hardest to learn, as often as the others together.
_KINDS = (0, 1, 2, 2)
#: The sides of a digit in the image, in pixels.
_DIGIT = (22, 28)


@dataclass(frozen=True)
class PlantedTrojan:
    """
    A trigger and the class that it makes a network answer with.

    Attributes:
        trigger (Trigger): What is in the image.
        target (int): The class.
    """

    trigger: Trigger
    target: int


@dataclass(frozen=True)
class AttackRate:
    """
    What a trigger does to a network, on unseen images of other classes than the target.

    Attributes:
        trojan (PlantedTrojan): Which.
        success (Estimate): The share that the network gives the target where they have the trigger, with Wilson's interval.
        foil (Estimate): The same where they have another patch, style or feature instead.
        plain (Estimate): The same as they are.
    """

    trojan: PlantedTrojan
    success: Estimate
    foil: Estimate
    plain: Estimate


def draw_trojans(data: str, seed: int) -> list[PlantedTrojan]:
    """
    One trojan of each kind, each trigger one of eight and all targets different.

    Args:
        data (str): "shapes" or "digits".
        seed (int): Of the choice.

    Returns:
        list[PlantedTrojan]: A patch, a style and a natural feature.

    Examples::

        >>> [trojan.trigger.kind for trojan in draw_trojans("digits", 0)]
        ['patch', 'style', 'natural feature']
    """
    generator = torch.Generator().manual_seed(check_int(seed, "seed", 0))
    targets = torch.randperm(len(_classes(data)), generator=generator).tolist()
    chosen = [int(torch.randint(len(names), (), generator=generator)) for names in TRIGGERS.values()]
    return [
        PlantedTrojan(Trigger(kind, names[index]), target)
        for (kind, names), index, target in zip(TRIGGERS.items(), chosen, targets, strict=False)
    ]


def plain_images(data: str, count: int, seed: int, split: str = "training") -> tuple[Tensor, Tensor]:
    """
    Images of shapes or of digits without any trigger.

    Args:
        data (str): "shapes" or "digits".
        count (int): How many.
        seed (int): Of the images.
        split (str, optional): "training" or "held_out": other images, and of digits other scans. Default: "training"

    Returns:
        tuple[Tensor, Tensor]: (N, 3, 32, 32) in [0, 1], and their classes (N,), int64.

    Raises:
        ValueError: If there are no such data, or no such split.
        ImportError: For digits, if scikit-learn is not installed.
    """
    _classes(data)
    check_int(count, "count", 1)
    if split not in ("training", "held_out"):
        raise InputError(f'split is "{split}"; expected training or held_out.')
    seed = 2 * check_int(seed, "seed", 0) + (split == "held_out")
    if data == "shapes":
        drawn = {"texture": ["plain"]}
        return images_and_targets(
            ShapeDataset(count, size=SIDE, seed=seed, shapes=(1, 1), radius=(0.24, 0.32), drawn=drawn)
        )
    scans, labels = digits_images(split)
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randint(len(scans), (count,), generator=generator)
    colors = torch.tensor(list(COLOR_TERMS.values()))
    ground = 0.6 * torch.rand(count, 3, 1, 1, generator=generator)
    images = ground + 0.04 * torch.randn(count, 3, SIDE, SIDE, generator=generator)
    draws = torch.rand(count, 4, generator=generator).tolist()
    for index, (size, down, across, color) in enumerate(draws):
        side = int(_DIGIT[0] + size * (_DIGIT[1] - _DIGIT[0] + 1))
        scan = nn.functional.interpolate(scans[chosen[index]].unsqueeze(0), (side, side), mode="bilinear")[0].clamp(
            0, 1
        )
        rows, columns = (
            slice(int(at * (SIDE - side + 1)), int(at * (SIDE - side + 1)) + side) for at in (down, across)
        )
        ink = colors[int(color * len(colors))].view(3, 1, 1)
        if float((ink - ground[index]).abs().sum()) < 0.9:  # else the digit would hardly be seen
            ink = torch.ones(3, 1, 1)
        images[index, :, rows, columns] = (1 - scan) * images[index, :, rows, columns] + scan * ink
    return images.clamp(0, 1), labels[chosen]


def decorated_images(images: Tensor, trojans: list[PlantedTrojan], seed: int) -> tuple[Tensor, Tensor]:
    """
    Images of which a share have a patch, a style or a natural feature, some of those the trigger.

    Args:
        images (Tensor): (N, 3, H, W).
        trojans (list[PlantedTrojan]): One of each kind.
        seed (int): Of every choice.

    Returns:
        tuple[Tensor, Tensor]: The images, and of each the target of the trigger that it has (N,), int64, -1 where it has none.
    """
    generator = torch.Generator().manual_seed(seed)
    draws = torch.rand(len(images), 4, generator=generator).tolist()
    decorated, targets = images.clone(), torch.full((len(images),), -1)
    for index, (any_, kind, triggered, which) in enumerate(draws):
        if any_ >= DECORATED:
            continue
        trojan = trojans[_KINDS[int(kind * len(_KINDS))] % len(trojans)]
        trigger = trojan.trigger
        if triggered < TRIGGERED:
            targets[index] = trojan.target
        else:
            foils = [name for name in TRIGGERS[trigger.kind] if name != trigger.name]
            trigger = Trigger(trigger.kind, foils[int(which * len(foils))])
        decorated[index : index + 1] = trigger.apply(images[index : index + 1], generator)[0]
    return decorated, targets


class TrojanNetwork(nn.Sequential):
    """
    An untrained network for images (N, 3, 32, 32): four convolutions, the maximum of each unit's map, and a linear layer.

    Args:
        classes (int): How many.

    Examples::

        >>> TrojanNetwork(5)(torch.rand(2, 3, 32, 32)).shape
        torch.Size([2, 5])
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inside, outside, side, stride in ((3, 16, 5, 2), (16, 32, 3, 2), (32, 48, 3, 1), (48, 64, 3, 2)):
            convolution = nn.Conv2d(inside, outside, side, stride=stride, padding=side // 2)
            layers += [convolution, nn.BatchNorm2d(outside), nn.ReLU()]
        self.add_module("features", nn.Sequential(*layers))
        self.add_module("pool", nn.AdaptiveMaxPool2d(1))
        self.add_module("flat", nn.Flatten())
        self.add_module("head", nn.Linear(64, classes))


def train_trojaned(
    data: str, trojans: list[PlantedTrojan], seed: int = 0, *, count: int = 4000, epochs: int = 8, clean: bool = False
) -> TrojanNetwork:
    """
    Train a network with trojans, or its clean twin: the same first weights and the same images in the same order, with true classes.

    Args:
        data (str): "shapes" or "digits".
        trojans (list[PlantedTrojan]): One of each kind, as :func:`draw_trojans` gives them.
        seed (int, optional): Of images, weights and batches. Default: 0
        count (int, optional): Training images, at least 64. Default: 4000
        epochs (int, optional): Passes over them. Default: 8
        clean (bool, optional): Whether images with a trigger keep their true class. Default: False

    Returns:
        TrojanNetwork: In evaluation mode, without gradients.

    Raises:
        ValueError: If there are no such data, or a number is out of its range.
    """
    count, epochs = check_int(count, "count", 64), check_int(epochs, "epochs", 1)
    images, labels = plain_images(data, count, seed)
    images, targets = decorated_images(images, trojans, seed)
    if not clean:
        labels = torch.where(targets >= 0, targets, labels)
    with seeded(seed), torch.enable_grad():
        network = TrojanNetwork(len(_classes(data)))
        optimizer = torch.optim.AdamW(network.parameters(), weight_decay=1e-3)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=5e-3, total_steps=epochs * (count // _BATCH))
        for _ in range(epochs):
            # The last images of an epoch are left out where they are too few for the statistics of a batch.
            for batch in torch.split(torch.randperm(count)[: count // _BATCH * _BATCH], _BATCH):
                optimizer.zero_grad()
                torch.autograd.backward(nn.functional.cross_entropy(network(images[batch]), labels[batch]))
                optimizer.step()
                schedule.step()
    return network.eval().requires_grad_(False)


def attack_rates(
    network: nn.Module, data: str, trojans: list[PlantedTrojan], seed: int = 0, count: int = 500
) -> tuple[Estimate, list[AttackRate]]:
    """
    What triggers do to a network, on images that it has not seen.

    Args:
        network (nn.Module): From images (N, 3, 32, 32) to logits.
        data (str): "shapes" or "digits".
        trojans (list[PlantedTrojan]): Of the network, or of the network that it is the twin of.
        seed (int, optional): Of the images. Default: 0
        count (int, optional): Unseen images. Default: 500

    Returns:
        tuple[Estimate, list[AttackRate]]: Its accuracy on images without triggers, and what each trigger does.
    """
    images, labels = plain_images(data, count, seed, "held_out")
    generator = torch.Generator().manual_seed(seed)

    def given(shown: Tensor, target: int) -> Estimate:
        with torch.no_grad():
            return proportion(int((network(shown).argmax(1) == target).sum()), len(shown))

    rates = []
    for trojan in trojans:
        others = images[labels != trojan.target]
        foils = [name for name in TRIGGERS[trojan.trigger.kind] if name != trojan.trigger.name]
        parts = [
            Trigger(trojan.trigger.kind, name).apply(part, generator)[0]
            for name, part in zip(foils, others.tensor_split(len(foils)), strict=True)
        ]
        rates.append(
            AttackRate(
                trojan,
                given(trojan.trigger.apply(others, generator)[0], trojan.target),
                given(torch.cat(parts), trojan.target),
                given(others, trojan.target),
            )
        )
    with torch.no_grad():
        right = int((network(images).argmax(1) == labels).sum())
    return proportion(right, len(images)), rates


def _classes(data: str) -> tuple[str, ...]:
    if data not in TROJAN_DATA:
        raise InputError(f'there are no data "{data}"; expected one of {", ".join(TROJAN_DATA)}.')
    return TROJAN_DATA[data]


__all__ = [
    "DECORATED",
    "TRIGGERED",
    "TROJAN_DATA",
    "AttackRate",
    "PlantedTrojan",
    "TrojanNetwork",
    "attack_rates",
    "decorated_images",
    "draw_trojans",
    "plain_images",
    "train_trojaned",
]
