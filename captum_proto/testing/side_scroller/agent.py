"""A small agent that plays the side-scroller from its pixels: an untrained one, and the one that comes with the package."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from captum_proto._utils.files import load_tensors
from captum_proto.testing.side_scroller.simulator import ACTIONS

#: The trained agent, made by ``python -m captum_proto.testing.side_scroller``.
CHECKPOINT = Path(__file__).with_name("agent.safetensors")
KIND = "agent of the side-scroller"
#: Of the layer ``seen``. In training, the first of them are taught to say how much of these objects is where.
CHANNELS, TAUGHT = 12, ("saw", "enemy_left", "enemy_right", "crate", "coin", "agent")


class ScrollerAgent(nn.Module):
    """
    An untrained agent: four convolutions, a hidden layer, and two heads, piecewise linear in its input.

    ``forward`` takes frames (N, 3, 64, 64) in [0, 1] and returns the logits of the actions (N, 6) and the values (N,). Its layer ``seen``
    returns (N, 12, 16, 16), which ``conv3`` alone reads: the place to attribute values to, and to take features out of.

    Examples::

        >>> logits, values = ScrollerAgent()(torch.rand(2, 3, 64, 64))
        >>> logits.shape, values.shape
        (torch.Size([2, 6]), torch.Size([2]))
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.edges = nn.Conv2d(3, 16, 5, stride=2, padding=2), nn.ReLU()
        self.conv2, self.seen = nn.Conv2d(16, CHANNELS, 3, stride=2, padding=1), nn.ReLU()
        self.conv3, self.parts = nn.Conv2d(CHANNELS, 32, 3, padding=1), nn.ReLU()
        self.pool = nn.MaxPool2d(2)
        self.conv4, self.places = nn.Conv2d(32, 16, 3, padding=1), nn.ReLU()
        self.hidden, self.decided = nn.Linear(16 * 8 * 8, 128), nn.ReLU()
        self.policy_head, self.value_head = nn.Linear(128, len(ACTIONS)), nn.Linear(128, 1)

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        return self.act(self.look(frames))

    def look(self, frames: Tensor) -> Tensor:
        """What ``seen`` returns for frames."""
        seen: Tensor = self.seen(self.conv2(self.edges(self.conv1(frames - 0.5))))
        return seen

    def act(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and values from what ``seen`` returned."""
        places = self.places(self.conv4(self.pool(self.parts(self.conv3(seen)))))
        decided = self.decided(self.hidden(places.flatten(1)))
        return self.policy_head(decided), self.value_head(decided).squeeze(1)


def scroller_agent(trained: bool = True, seed: int = 0) -> ScrollerAgent:
    """
    The agent that comes with the package, in evaluation mode.

    Args:
        trained (bool, optional): Whether with its trained weights; else with random ones, as a control. Default: True
        seed (int, optional): Of the random weights. Default: 0

    Returns:
        ScrollerAgent: On the CPU.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        agent = ScrollerAgent()
    if trained:
        agent.load_state_dict(load_tensors(CHECKPOINT, KIND)[0])
    return agent.eval()


__all__ = ["CHECKPOINT", "KIND", "ScrollerAgent", "scroller_agent"]
