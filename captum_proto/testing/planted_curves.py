"""A network whose units detect curves, by weights that are written down; and drawn arcs, on which small networks learn to."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from captum_proto._utils.checks import check_int
from captum_proto._utils.errors import InputError
from captum_proto.circuits.stimuli import curve

#: Of the Gabor filters, in pixels: from one light stripe to the next, and the standard deviations of their window across and along.
_WAVE, _ACROSS, _ALONG = 7.0, 1.8, 3.0
#: Degrees from one point of an arc to the next.
_STEP = 5
#: So many degrees to either side are the middle of an arc, in which it differs most from a sharp corner.
_MIDDLE = 25
#: How far from an arc lines are that inhibit, and how much.
_BESIDE, _AGAINST = 5.0, 0.4
#: How much the activations of a network count that is trained on arcs.
_SPARSE = 0.02
#: What a curve unit needs, as a share of what its own curve gives.
_THRESHOLD = 0.3


class CurveNetwork(nn.Module):
    """
    A network with planted curve detectors: oriented Gabor filters, summed along arcs, and what lies beside the arcs subtracted.

    Its layers are ``lines``, units for lines of evenly spaced orientations, after a ReLU; ``curves``, units for curves, after another;
    ``shapes``, a unit that all curves around a center excite together, as curves excite circle detectors, and for each curve one that it
    excites and that the opposite curve inhibits; and it returns the largest value of each curve unit's map.

    Args:
        orientations (int, optional): How many curve units, evenly over 360 degrees, the first bulging to the right. Default: 8
        radius (float, optional): Of the arcs, in pixels. Default: 10.0
        lines (int, optional): How many line units, evenly over 180 degrees. Default: 12

    Examples::

        >>> CurveNetwork()(torch.rand(2, 3, 48, 48)).shape
        torch.Size([2, 8])
    """

    def __init__(self, orientations: int = 8, radius: float = 10.0, lines: int = 12) -> None:
        super().__init__()
        count, kinds = check_int(orientations, "orientations", 2), check_int(lines, "lines", 2)
        if not 4 <= radius <= 40:
            raise InputError(f"radius is {radius}; expected 4 to 40 pixels.")
        self.orientations = [360.0 * place / count for place in range(count)]
        self.radius = float(radius)
        gabors = torch.stack([_gabor(180.0 * place / kinds) for place in range(kinds)])
        filters = nn.Conv2d(
            3, kinds, gabors.shape[-1], padding=gabors.shape[-1] // 2, padding_mode="replicate", bias=False
        )
        arcs = torch.stack([_arc(angle, radius, kinds) for angle in self.orientations])
        sums = nn.Conv2d(kinds, count, arcs.shape[-1], padding=arcs.shape[-1] // 2)
        around = torch.stack([_centered(angle, radius) for angle in self.orientations])
        at_once = torch.zeros(count, *around.shape)
        at_once[:, :, around.shape[1] // 2, around.shape[2] // 2] = torch.eye(count) - torch.eye(count).roll(
            count // 2, 0
        )
        together = torch.cat([around.unsqueeze(0), at_once])
        combined = nn.Conv2d(count, count + 1, together.shape[-1], padding=together.shape[-1] // 2, bias=False)
        with torch.no_grad():
            filters.weight.copy_(gabors.unsqueeze(1).expand(-1, 3, -1, -1) / 3)
            sums.weight.copy_(arcs)
            assert sums.bias is not None
            sums.bias.zero_()
            combined.weight.copy_(together)
            # Each unit gives 1 to its own curve, and nothing to what is less than three tenths as good.
            size = arcs.shape[-1] + gabors.shape[-1]
            drawn = torch.stack([curve(angle, radius, size) for angle in self.orientations])
            best = sums(filters(drawn).relu()).flatten(2).amax(2).diagonal()
            sums.weight.mul_(1 / (1 - _THRESHOLD) / best.view(-1, 1, 1, 1))
            sums.bias.fill_(-_THRESHOLD / (1 - _THRESHOLD))
        self.filters, self.lines = filters, nn.ReLU()
        self.sums, self.curves = sums, nn.ReLU()
        self.combined, self.shapes = combined, nn.ReLU()

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.curves(self.sums(self.lines(self.filters(images))))
        self.shapes(self.combined(found))
        return found.flatten(2).amax(2)


def _grid(reach: int) -> tuple[Tensor, Tensor]:
    """How far to the right and how far up each place of a kernel is."""
    right = torch.arange(-reach, reach + 1, dtype=torch.float64)
    return right.view(1, -1), -right.view(-1, 1)


def _gabor(orientation: float) -> Tensor:
    """A filter for light lines with a normal of some orientation, that sees no even light."""
    right, up = _grid(6)
    turn = math.radians(orientation)
    across, along = right * math.cos(turn) + up * math.sin(turn), up * math.cos(turn) - right * math.sin(turn)
    window = (-across.square() / (2 * _ACROSS**2) - along.square() / (2 * _ALONG**2)).exp()
    wave = (2 * math.pi * across / _WAVE).cos()
    return (window * (wave - (window * wave).sum() / window.sum())).float()


def _arc(orientation: float, radius: float, kinds: int) -> Tensor:
    """Weights of lines: those along an arc excite; all lines beside it, within and without, inhibit."""
    reach = math.ceil(radius)
    right, up = _grid(reach)
    weights = torch.zeros(kinds, 2 * reach + 1, 2 * reach + 1, dtype=torch.float64)
    turn = math.radians(orientation)

    def blob(angle: float, far: float, spread: float) -> Tensor:
        at_right = far * math.cos(angle) - radius * math.cos(turn)
        at_up = far * math.sin(angle) - radius * math.sin(turn)
        return (-((right - at_right).square() + (up - at_up).square()) / (2 * spread**2)).exp()

    for degrees in range(-60, 61, _STEP):
        angle = turn + math.radians(degrees)
        middle = abs(degrees) <= _MIDDLE
        # Outside of the middle, where the tip of a sharp corner would be whose sides lie along the arc.
        tip = radius * math.sqrt(2) if middle else radius + _BESIDE
        against = _AGAINST / 2 * sum(blob(angle, far, 1.5) for far in (radius - _BESIDE, tip)) * (2 if middle else 1)
        for kind in range(kinds):
            match = math.cos(2 * (angle - math.pi * kind / kinds))
            weights[kind] += (1.5 if middle else 1.0) * match * abs(match) * blob(angle, radius, 1.0) - against
    return weights.float()


def _centered(orientation: float, radius: float) -> Tensor:
    """Where a curve is, from the center of its circle."""
    reach = math.ceil(radius) + 2
    right, up = _grid(reach)
    turn = math.radians(orientation)
    near = (right - radius * math.cos(turn)).square() + (up - radius * math.sin(turn)).square()
    return (-near / 4).exp().float()


def drawn_arcs(
    count: int, size: int = 20, kinds: int = 8, seed: int = 0, noise: float = 0.1, straight: float = 1 / 3
) -> tuple[Tensor, Tensor]:
    """
    Arcs of some orientations, each a class, moved about at random; and straight lines of all orientations, one class more.

    Args:
        count (int): How many images.
        size (int, optional): Of the images, in pixels. Default: 20
        kinds (int, optional): How many orientations, evenly over 360 degrees. Default: 8
        seed (int, optional): Default: 0
        noise (float, optional): The standard deviation of what is added to each pixel. Default: 0.1
        straight (float, optional): What share of them, about, are lines. Default: a third

    Returns:
        tuple[Tensor, Tensor]: (count, 3, size, size), in [0, 1], and the classes, (count,).

    Examples::

        >>> images, classes = drawn_arcs(4)
        >>> images.shape, bool(classes.max() <= 8)
        (torch.Size([4, 3, 20, 20]), True)
    """
    generator = torch.Generator().manual_seed(seed)
    classes = torch.randint(kinds, (check_int(count, "count", 1),), generator=generator)
    classes[torch.rand(count, generator=generator) < straight] = kinds
    draws = torch.rand(count, 4, generator=generator)
    images = []
    for kind, (turn, bend, across, down) in zip(classes.tolist(), draws.tolist(), strict=True):
        angle = 360 * turn if kind == kinds else 360 / kinds * (kind + turn - 0.5)
        radius = 1e4 if kind == kinds else size * (0.2 + 0.15 * bend)
        shifts = [round((shift - 0.5) * size / 4) for shift in (across, down)]
        large = curve(angle, radius, 2 * size, width=2.0)[:1]
        top, left = size // 2 + shifts[0], size // 2 + shifts[1]
        images.append(large[:, top : top + size, left : left + size])
    made = torch.stack(images) + noise * torch.randn(count, 1, size, size, generator=generator)
    return made.clamp(0, 1).expand(-1, 3, -1, -1).contiguous(), classes


class ArcClassifier(nn.Module):
    """
    A small convolutional network that tells the orientation of arcs: its layer ``curves`` is where it must.

    Args:
        kinds (int, optional): Classes. Default: 9, eight orientations and straight lines
        width (int, optional): Units of the layer ``curves``. Default: 48

    Examples::

        >>> ArcClassifier()(torch.rand(2, 3, 20, 20)).shape
        torch.Size([2, 9])
    """

    def __init__(self, kinds: int = 9, width: int = 48) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 5, padding=2), nn.ReLU())
        self.curves = nn.Sequential(nn.Conv2d(8, width, 9, stride=2, padding=4), nn.ReLU())
        self.classes = nn.Linear(width, kinds)

    def highest(self, images: Tensor) -> Tensor:
        """The greatest activation of each unit of ``curves``, (N, width)."""
        return self.curves(self.first(images)).flatten(2).amax(2)

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.classes(self.highest(images))
        return found


def train_arc_classifier(seed: int = 0, steps: int = 200, count: int = 1000, size: int = 20) -> ArcClassifier:
    """
    Train a small network on drawn arcs of eight orientations and on straight lines: seconds.

    Args:
        seed (int, optional): Of the weights and of the order of images. Default: 0
        steps (int, optional): Of 48 images. Default: 200
        count (int, optional): Images in all. Default: 1000
        size (int, optional): Of the images. Default: 20

    Returns:
        ArcClassifier: In evaluation mode.
    """
    images, classes = drawn_arcs(count, size, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        network = ArcClassifier()
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    for _ in range(steps):
        batch = torch.randint(len(images), (48,), generator=generator)
        optimizer.zero_grad()
        highest = network.highest(images[batch])
        # Units that respond to little are worth something, as in networks of sparse features.
        loss = nn.functional.cross_entropy(network.classes(highest), classes[batch]) + _SPARSE * highest.mean()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return network.eval()


__all__ = ["ArcClassifier", "CurveNetwork", "drawn_arcs", "train_arc_classifier"]
