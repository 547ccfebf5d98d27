"""A value network whose features were planted by hand: one channel for each object, and a value that adds up what they are worth."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from captum_proto.testing.side_scroller.drawing import OBJECTS, draw
from captum_proto.testing.side_scroller.levels import make_levels
from captum_proto.testing.side_scroller.simulator import ACTIONS, advance, begin

#: What each object that is seen is worth.
WORTH = {"coin": 1.0, "saw": -0.75, "enemy_left": -0.5, "enemy_right": -0.25}


class PlantedValues(nn.Module):
    r"""
    The value of an observation, :math:`V = \sum_k w_k \max_p a_k(p)`, of features that are 1 where an object is, and 0 elsewhere.

    ``forward`` takes maps (N, 9, H, W) of which pixel belongs to which object and returns values (N,). Its layer ``features`` returns
    (N, 6, H, W): of each of four objects a channel, and two that nothing reads; ``reader`` is the kernel that reads them. What each
    direction is for is known: the attribution of :class:`~captum_proto.attr.LayerActivationPath`, the features of
    :class:`~captum_proto.features.AttributionNMF` and the edits of :func:`~captum_proto.edit.project_out` have exact answers.

    Attributes:
        directions (Tensor): (4, 6), one-hot: of the coin, the saw and both enemies.

    Examples::

        >>> network = PlantedValues()
        >>> seen = torch.zeros(1, 9, 8, 8)
        >>> seen[0, 5, 2, 2] = 1.0  # a coin
        >>> network(seen).tolist()
        [1.0]
    """

    objects = tuple(WORTH)

    def __init__(self) -> None:
        super().__init__()
        count = len(WORTH)
        self.detectors = nn.Conv2d(len(OBJECTS), count + 2, 1, bias=False)
        self.features = nn.ReLU()
        self.reader = nn.Conv2d(count + 2, count, 1, bias=False)
        self.strongest = nn.AdaptiveMaxPool2d(1)
        self.value = nn.Linear(count, 1, bias=False)
        with torch.no_grad():
            self.detectors.weight.zero_()
            for channel, name in enumerate(WORTH):
                self.detectors.weight[channel, OBJECTS.index(name)] = 1.0
            for channel, name in enumerate(("crate", "ground"), count):
                self.detectors.weight[channel, OBJECTS.index(name)] = 1.0
            self.reader.weight.copy_(torch.eye(count, count + 2)[:, :, None, None])
            self.value.weight.copy_(torch.tensor([list(WORTH.values())]))
        self.directions = torch.eye(count, count + 2)

    def forward(self, seen: Tensor) -> Tensor:
        strongest = self.strongest(self.reader(self.features(self.detectors(seen))))
        values: Tensor = self.value(strongest.flatten(1)).squeeze(1)
        return values


def planted_observations(count: int, seed: int = 0) -> Tensor:
    """
    Observations for :class:`PlantedValues`, from levels of the side-scroller in which an agent runs and jumps at random.

    Args:
        count (int): N.
        seed (int, optional): Of levels and actions. Default: 0

    Returns:
        Tensor: (N, 9, 64, 64): 1 where a pixel shows an object, else 0, times how near the agent is to the right end: features have sizes.
    """
    random = torch.Generator().manual_seed(seed)
    levels = make_levels(torch.randint(2**31, (count,), generator=random).numpy())
    state, right = begin(levels), ACTIONS.index("right")
    moves = torch.randint(8, 70, (count,), generator=random).numpy()
    for step in range(int(moves.max())):
        own = moves > step
        world, rows = levels.rows(own), state.rows(own)
        rows.cause[:] = 0  # an observation is wanted, not an episode
        actions = torch.where(torch.rand(int(own.sum()), generator=random) < 0.15, ACTIONS.index("jump right"), right)
        advance(world, rows, actions.numpy())
        state.put(own, rows)
    labels = torch.from_numpy(draw(levels, state)[1]).long()
    seen = nn.functional.one_hot(labels, len(OBJECTS)).permute(0, 3, 1, 2).float()
    return seen * torch.rand(count, 1, 1, 1, generator=random).add(0.5)


__all__ = ["WORTH", "PlantedValues", "planted_observations"]
