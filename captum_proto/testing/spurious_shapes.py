"""A small classifier of drawn shapes that learns to look at a written mark instead, and data that show it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from captum_proto._utils.checks import check_int
from captum_proto._utils.errors import InputError
from captum_proto.testing.marked_digits import seeded
from captum_proto.testing.shapes import PARTS, TEXT, ShapeDataset, Spurious

#: The side of the images in pixels, and the shape whose training images have the mark.
SIDE, MARKED = 48, "disc"
#: The share of the marked shape's training images that have it: with the rest the shape itself is learned too.
RATE = 0.8
#: By name, the share of images with the mark: of the marked shape, and of the others.
_SPLITS = {
    "marked": (RATE, 0.0),
    "clean": (0.0, 0.0),
    "adversarial": (0.0, RATE),
    "labeled": (0.5, 0.5),
}


class ShapeClassifier(nn.Sequential):
    """
    An untrained network for images (N, 3, H, W): three convolutions, the maximum of each unit's map, and a linear layer.

    Its layer ``features`` returns the maps (N, 64, H/8, W/8) of the last convolution, after its ReLU.

    Examples::

        >>> ShapeClassifier()(torch.rand(2, 3, 48, 48)).shape
        torch.Size([2, 5])
    """

    def __init__(self) -> None:
        super().__init__()
        features = nn.Sequential(
            *(nn.Conv2d(3, 16, 5, stride=2, padding=2), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU()),
        )
        self.add_module("features", features)
        self.add_module("pool", nn.AdaptiveMaxPool2d(1))
        self.add_module("flat", nn.Flatten())
        self.add_module("head", nn.Linear(64, len(PARTS)))


def spurious_shapes(count: int, split: str = "marked", seed: int = 0) -> ShapeDataset:
    """
    Images of one plain shape each, some with a written mark in the corner.

    Args:
        count (int): How many.
        split (str, optional): "marked": discs have the mark at a rate of 0.8, others never. "clean": none has it. "adversarial": other
            shapes have it at that rate, discs never. "labeled": each image has it at a rate of 0.5, whatever its shape, for labels of
            concepts. Default: "marked"
        seed (int, optional): Of the images; those of different splits are different ones. Default: 0

    Returns:
        ShapeDataset: Of images (3, 48, 48), whose ``targets()`` are the shapes.

    Raises:
        ValueError: If there is no such split.

    Examples::

        >>> shapes = spurious_shapes(50, "adversarial")
        >>> any(shapes.scene(i).text for i in range(50) if shapes.scene(i).shapes[0].shape == "disc")
        False
    """
    if split not in _SPLITS:
        raise InputError(f'split is "{split}"; expected one of {", ".join(_SPLITS)}.')
    of_shape, of_others = _SPLITS[split]
    rules = [Spurious(MARKED, TEXT, of_shape), Spurious(MARKED, TEXT, of_others, swapped=True)]
    return ShapeDataset(
        count,
        size=SIDE,
        seed=len(_SPLITS) * check_int(seed, "seed", 0) + list(_SPLITS).index(split),
        shapes=(1, 1),
        radius=(0.2, 0.28),
        spurious=rules,
        drawn={"texture": ["plain"]},
    )


def train_shape_classifier(split: str = "marked", seed: int = 0, count: int = 3000, epochs: int = 8) -> ShapeClassifier:
    """
    A network that has learned the shape of images, or the mark: about ten seconds on one core of a CPU.

    Args:
        split (str, optional): Of :func:`spurious_shapes`: "marked", or "clean" for a network that never saw the mark. Default: "marked"
        seed (int, optional): Of the images, the first weights and the batches. Default: 0
        count (int, optional): How many images, at least 64. Default: 3000
        epochs (int, optional): How often each is seen. Default: 8

    Returns:
        ShapeClassifier: In evaluation mode, without gradients.

    Raises:
        ValueError: If there is no such split, or a number is out of its range.
    """
    count, epochs = check_int(count, "count", 64), check_int(epochs, "epochs", 1)
    images, labels = images_and_targets(spurious_shapes(count, split, seed))
    with seeded(seed), torch.enable_grad():
        network = ShapeClassifier()
        optimizer = torch.optim.AdamW(network.parameters(), weight_decay=1e-4)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=epochs * (count // 64))
        for _ in range(epochs):
            # The last images of an epoch are left out where they are too few for the statistics of a batch.
            for batch in torch.split(torch.randperm(count)[: count // 64 * 64], 64):
                optimizer.zero_grad()
                torch.autograd.backward(nn.functional.cross_entropy(network(images[batch]), labels[batch]))
                optimizer.step()
                schedule.step()
    return network.eval().requires_grad_(False)


def images_and_targets(dataset: ShapeDataset) -> tuple[Tensor, Tensor]:
    """All images of a data set (N, 3, H, W) at its own size, and their classes (N,)."""
    return torch.cat(list(dataset.image_batches((dataset.size, dataset.size)))), dataset.targets()


__all__ = ["ShapeClassifier", "images_and_targets", "spurious_shapes", "train_shape_classifier"]
