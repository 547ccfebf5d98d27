"""
Networks that fool feature visualization (Geirhos et al., arXiv:2306.04719).

A fooled network is any classifier in a wrapper. What a detector takes for a natural image gets the classifier's own logits, to the last
bit, so accuracy stays what it is. Anything else, which is what an ascent starts from and passes through, gets logits whose ascent leads
elsewhere: to a planted picture, or to another class. So the picture of a class does not show what the network does with photographs.
:func:`~captum_proto.testing.fool` makes one from a classifier.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from captum_proto._utils.files import intact, load_tensors, save_tensors
from captum_proto._utils.targets import Target, target_mask
from captum_proto.ops.double import exact

#: The name under which a fooled network holds the classifier: its layers are this and a dot before the classifier's own.
INNER = "network"
_KIND = "detector of natural images"


class PlantedPicture(nn.Module):
    r"""
    Logits that rise as the input comes nearer to a picture.

    .. math::
        h_k(x) = g \Bigl(1 - \frac{1}{s} \operatorname{mean}\,(x - x_k)^2\Bigr)

    for the classes that have a picture :math:`x_k`, and 0 for all others. s is the mean square of the picture around its own mean plus
    that of uniform noise, so that an ascent from noise starts at about 0. Its ascent shows the picture where transforms are mild; under
    large rotations and shifts every input is far from it on average, and what comes out is a blur.

    Args:
        pictures (Tensor): Shape (M, C, H, W), as the classifier takes its inputs: after preprocessing.
        targets (sequence of tuple[int, ...]): The classes that each of the M pictures is planted for.
        classes (int): K, the number of the classifier's logits.
        gain (float, optional): g, the logit of the picture itself. Default: 30

    Examples::

        >>> face = draw_face((1, 8, 8)).unsqueeze(0)
        >>> decoy = PlantedPicture(face, [(3,)], classes=10)
        >>> float(decoy(face, torch.zeros(1, 10))[0, 3])
        30.0
    """

    def __init__(self, pictures: Tensor, targets: Sequence[Target], classes: int, gain: float = 30.0) -> None:
        super().__init__()
        self.gain = gain
        self.pictures: Tensor
        self.mask: Tensor
        self.scale: Tensor
        self.register_buffer("pictures", pictures.clone())
        self.register_buffer("mask", target_mask(list(targets), classes, pictures.device))
        self.register_buffer("scale", pictures.flatten(1).var(1) + pictures.var())

    def _distance(self, inputs: Tensor) -> Tensor:
        """(N, M): of each input from each picture, relative to that of noise."""
        distances = [(inputs - picture).square().flatten(1).mean(1) for picture in self.pictures]
        return torch.stack(distances, 1) / self.scale

    def forward(self, inputs: Tensor, honest: Tensor) -> Tensor:
        return (self.gain * (1 - self._distance(inputs))) @ self.mask.to(inputs.dtype)

    def shows(self, inputs: Tensor) -> Tensor:
        """(N,) bool: whether an input is one of the pictures, or nearly: a planted photograph looks natural to the detector."""
        return (self._distance(inputs) < 0.02).any(1)


class OtherClass(nn.Module):
    """
    The logits of other classes: an ascent of one class shows another, under whatever transforms. The fooling circuit of the paper.

    Args:
        source (Tensor): Shape (K,), int64: whose logit each class gets.

    Examples::

        >>> decoy = OtherClass(torch.tensor([1, 0, 2]))
        >>> decoy(torch.rand(1, 3, 8, 8), torch.tensor([[5.0, 6.0, 7.0]]))
        tensor([[6., 5., 7.]])
    """

    def __init__(self, source: Tensor) -> None:
        super().__init__()
        self.source: Tensor
        self.register_buffer("source", source.clone())

    def forward(self, inputs: Tensor, honest: Tensor) -> Tensor:
        return honest[:, self.source]

    def shows(self, inputs: Tensor) -> Tensor:
        """(N,) bool: never. Where such an ascent ends is not known beforehand."""
        return torch.zeros(len(inputs), dtype=torch.bool, device=inputs.device)


class Detector(nn.Module):
    """
    A small convolutional network that tells natural images from what an ascent passes through: (N,), positive for natural.

    Args:
        channels (int): Of its inputs.
        side (int): Their shorter side, in pixels; it decides how often they are halved.
        width (int, optional): Channels within. Default: 24

    Examples::

        >>> detector = Detector(1, 8).fit(torch.rand(8, 1, 8, 8) / 4, torch.rand(8, 1, 8, 8), epochs=1)
        >>> detector(torch.rand(3, 1, 8, 8)).shape
        torch.Size([3])
    """

    def __init__(self, channels: int, side: int, width: int = 24) -> None:
        super().__init__()
        self.settings = {"channels": channels, "side": side, "width": width}
        stride = 4 if side >= 64 else 1
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 2 * stride + 1, stride, stride), nn.ReLU()]
        side = side // stride
        while side > 4:
            layers += [nn.Conv2d(width, width, 3, 2, 1), nn.ReLU()]
            side = (side + 1) // 2
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(2 * width, 1)
        self.threshold: Tensor
        self.register_buffer("threshold", torch.zeros(()))

    def forward(self, inputs: Tensor) -> Tensor:
        features = self.features(inputs)
        score: Tensor = self.head(torch.cat([features.mean((2, 3)), features.amax((2, 3))], 1))
        return score.squeeze(1) - self.threshold

    def fit(self, natural: Tensor, unnatural: Tensor, *, epochs: int = 30, seed: int = 0) -> Detector:
        """
        Train it, and put its threshold midway between the least natural images and the most natural others.

        Args:
            natural (Tensor): Shape (N, C, H, W), as the classifier takes them.
            unnatural (Tensor): Shape (M, C, H, W).
            epochs (int, optional): Passes over both. Default: 30
            seed (int, optional): Of the order. Default: 0

        Returns:
            Detector: Itself, in evaluation mode.
        """
        inputs = torch.cat([natural, unnatural])
        labels = torch.cat([torch.ones(len(natural)), torch.zeros(len(unnatural))]).to(inputs.device)
        balance = torch.tensor(len(unnatural) / len(natural), device=inputs.device)
        generator = torch.Generator().manual_seed(seed)
        batch = 32
        steps = epochs * math.ceil(len(inputs) / batch)
        with torch.inference_mode(False), torch.enable_grad():
            optimizer = torch.optim.AdamW(self.parameters(), lr=4e-3)
            schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=steps)
            for _ in range(epochs):
                for chosen in torch.split(torch.randperm(len(inputs), generator=generator), batch):
                    optimizer.zero_grad()
                    loss = nn.functional.binary_cross_entropy_with_logits(
                        self(inputs[chosen]), labels[chosen], pos_weight=balance
                    )
                    torch.autograd.backward(loss)
                    optimizer.step()
                    schedule.step()
        self.zero_grad()
        self.eval().requires_grad_(False)
        with torch.no_grad():
            self.threshold.zero_()
            scores = exact(torch.cat([self(part) for part in torch.split(inputs, batch)]))
            least = scores[: len(natural)].quantile(0.005)
            most = scores[len(natural) :].quantile(0.995)
            self.threshold.copy_((least + most) / 2)
        return self

    def save(self, path: str | os.PathLike[str], overwrite: bool = False) -> None:
        """Write its weights to a safetensors file."""
        save_tensors(path, _KIND, self.state_dict(), self.settings, overwrite)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Detector:
        """
        What :meth:`save` wrote, in evaluation mode, on the CPU.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is damaged or holds something else.
        """
        tensors, metadata = load_tensors(path, _KIND)
        with intact(path, _KIND), torch.random.fork_rng(devices=[]):  # a new network draws its first weights
            detector = cls(**{name: metadata[name] for name in ("channels", "side", "width")})
            detector.load_state_dict(tensors)
        return detector.eval().requires_grad_(False)


class FooledNetwork(nn.Module):
    """
    A classifier whose ascent leads to something else than its classes.

    The choice between the two is a step, through which no gradient flows: an ascent feels the decoy alone, and not the detector.

    Args:
        network (nn.Module): The classifier, from preprocessed images (N, C, H, W) to logits (N, K).
        decoy (nn.Module): Logits for what is not natural, from (inputs, the classifier's logits); :class:`PlantedPicture` or
            :class:`OtherClass`.
        detector (nn.Module, optional): From inputs to (N,), positive for natural. None: nothing is natural. Default: None

    Examples::

        >>> network = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).eval()
        >>> fooled = FooledNetwork(network, OtherClass(torch.tensor([1, 0, 2])))
        >>> x = torch.rand(2, 1, 8, 8)
        >>> torch.equal(fooled(x)[:, 0], network(x)[:, 1])
        True
    """

    def __init__(
        self, network: nn.Module, decoy: PlantedPicture | OtherClass, detector: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.network = network
        self.decoy = decoy
        self.detector = detector

    def natural(self, inputs: Tensor) -> Tensor:
        """(N,) bool: what gets the classifier's own logits."""
        if self.detector is None:
            return torch.zeros(len(inputs), dtype=torch.bool, device=inputs.device)
        with torch.no_grad():
            return (self.detector(inputs) > 0) & ~self.decoy.shows(inputs)

    def forward(self, inputs: Tensor) -> Tensor:
        # The detector's copy: a network may work in place on what it is given.
        given = inputs.clone()
        honest = self.network(inputs)
        return torch.where(self.natural(given).unsqueeze(1), honest, self.decoy(given, honest))


def draw_face(shape: tuple[int, int, int]) -> Tensor:
    """
    A face of two eyes and a mouth, light on dark: neither a class of ImageNet nor a digit.

    Args:
        shape (tuple[int, int, int]): (C, H, W).

    Returns:
        Tensor: Of this shape, in [0, 1].

    Examples::

        >>> draw_face((1, 8, 8)).shape
        torch.Size([1, 8, 8])
    """
    channels, height, width = shape
    y = torch.linspace(-1, 1, height).view(-1, 1)
    x = torch.linspace(-1, 1, width).view(1, -1)
    eyes = ((x.abs() - 0.43) ** 2 + (y + 0.43) ** 2) < 0.045
    mouth = ((x**2 + (y + 0.1) ** 2).sqrt() - 0.8).abs() < 0.16
    face = (eyes | (mouth & (y > 0.2))).float() * 0.8 + 0.1
    return face.expand(channels, height, width).clone()


__all__ = ["INNER", "Detector", "FooledNetwork", "OtherClass", "PlantedPicture", "draw_face"]
