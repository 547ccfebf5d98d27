"""A small agent that crosses MiniGrid's lava from pixels: an untrained one, the one that comes with the package, and how it was trained."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from captum_proto._utils.files import load_tensors
from captum_proto.data.environments import gymnasium_package
from captum_proto.data.minigrid_levels import TILE, minigrid_levels
from captum_proto.metrics.failures import observed

#: Where it was trained, on levels with numbers below, and what it is for.
ENVIRONMENT, TRAINING_LEVELS, SIZE = "MiniGrid-LavaGapS7-v0", 100, 7
#: The trained agent, made by ``python -m captum_proto.testing.train_agents lava``.
CHECKPOINT = Path(__file__).with_name("lava_agent.safetensors")
KIND = "agent of MiniGrid's lava"
#: What a reward is worth a step earlier, and how often a step goes wrong in the play whose value is learned.
DISCOUNT, SLIPS = 0.95, 0.1
#: Of the layer ``seen``. In training, the first of them are taught to say in which cell these objects are.
CHANNELS, TAUGHT = 12, ("wall", "lava", "goal", "agent")
#: The weights of that, and of the mean activation of the other channels.
TEACHING, SPARSITY = 10.0, 0.5
_TURN_LEFT, _TURN_RIGHT, _FORWARD = 0, 1, 2
_AHEAD = ((1, 0), (0, 1), (-1, 0), (0, -1))


class LavaAgent(nn.Module):
    """
    An untrained agent for MiniGrid's images of 7 x 7 cells of 8 pixels, piecewise linear in them.

    ``forward`` takes images (N, 3, 56, 56) in [0, 1] and returns logits of MiniGrid's actions (N, 7) and values (N,). Its layer ``seen``
    returns (N, 12, 7, 7), a vector a cell, which ``conv3`` alone reads.

    Examples::

        >>> logits, values = LavaAgent()(torch.rand(2, 3, 56, 56))
        >>> logits.shape, values.shape
        (torch.Size([2, 7]), torch.Size([2]))
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.edges = nn.Conv2d(3, 16, 4, stride=4), nn.ReLU()
        self.conv2, self.seen = nn.Conv2d(16, CHANNELS, 2, stride=2), nn.ReLU()
        self.conv3, self.parts = nn.Conv2d(CHANNELS, 32, 3, padding=1), nn.ReLU()
        self.conv4, self.places = nn.Conv2d(32, 16, 3, padding=1), nn.ReLU()
        self.hidden, self.decided = nn.Linear(16 * SIZE * SIZE, 64), nn.ReLU()
        self.policy_head, self.value_head = nn.Linear(64, 7), nn.Linear(64, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.act(self.look(images))

    def look(self, images: Tensor) -> Tensor:
        """What ``seen`` returns for images."""
        seen: Tensor = self.seen(self.conv2(self.edges(self.conv1(images - 0.5))))
        return seen

    def act(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and values from what ``seen`` returned."""
        places = self.places(self.conv4(self.parts(self.conv3(seen))))
        decided = self.decided(self.hidden(places.flatten(1)))
        return self.policy_head(decided), self.value_head(decided).squeeze(1)


def lava_agent(trained: bool = True, seed: int = 0) -> LavaAgent:
    """
    The agent that comes with the package, in evaluation mode.

    Args:
        trained (bool, optional): Whether with its trained weights; else with random ones, as a control. Default: True
        seed (int, optional): Of the random weights. Default: 0

    Returns:
        LavaAgent: On the CPU.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        agent = LavaAgent()
    if trained:
        agent.load_state_dict(load_tensors(CHECKPOINT, KIND)[0])
    return agent.eval()


def best_moves(kinds: NDArray[np.str_]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """
    The shortest ways to the goal, and what it is worth to try to go them.

    Args:
        kinds (NDArray): (W, H), what is in each cell, by MiniGrid's names.

    Returns:
        tuple[NDArray, NDArray]: (W, H, 4), actions and values for each cell and direction; a step goes wrong with a chance of 0.1, and
        something else is done. Values are 0 where nobody can stand.
    """
    steps = np.full((*kinds.shape, 4), np.inf)
    goal = (int(np.argwhere(kinds == "goal")[0, 0]), int(np.argwhere(kinds == "goal")[0, 1]))
    free = (kinds == "empty") | (kinds == "goal")
    steps[goal] = 0
    waiting = deque((*goal, facing) for facing in range(4))
    while waiting:
        x, y, facing = waiting.popleft()
        dx, dy = _AHEAD[facing]
        before = [(x - dx, y - dy, facing)]
        if (x, y) != goal:
            before += [(x, y, (facing + 1) % 4), (x, y, (facing - 1) % 4)]
        for state in before:
            if free[state[:2]] and np.isinf(steps[state]):
                steps[state] = steps[x, y, facing] + 1
                waiting.append(state)
    moves = np.zeros(steps.shape, dtype=np.int64)
    for x, y in np.argwhere(free):
        for facing in range(4):
            after = (
                steps[x, y, (facing - 1) % 4],
                steps[x, y, (facing + 1) % 4],
                steps[x + _AHEAD[facing][0], y + _AHEAD[facing][1], facing],
            )
            moves[x, y, facing] = np.argmin(after)  # of ways as short the first, so that like states have like moves
    return moves, _values(kinds, free, goal, moves)


def _values(kinds: NDArray[Any], free: NDArray[Any], goal: Any, moves: NDArray[np.int64]) -> NDArray[np.float64]:
    """The discounted return of those moves, with slips: the solution of one linear equation for each cell and direction."""
    states = [(x, y, facing) for x, y in np.argwhere(free) if (x, y) != goal for facing in range(4)]
    number = {state: place for place, state in enumerate(states)}
    system, rewards = np.eye(len(states)), np.zeros(len(states))
    for (x, y, facing), row in number.items():
        ahead = (x + _AHEAD[facing][0], y + _AHEAD[facing][1])
        for move in (_TURN_LEFT, _TURN_RIGHT, _FORWARD):
            chance = SLIPS / 3 + (1 - SLIPS) * (move == moves[x, y, facing])
            if move != _FORWARD:
                system[row, number[x, y, (facing + (1 if move == _TURN_RIGHT else -1)) % 4]] -= DISCOUNT * chance
            elif ahead == goal:
                rewards[row] += chance
            elif free[ahead]:
                system[row, number[(*ahead, facing)]] -= DISCOUNT * chance
            elif kinds[ahead] != "lava":  # a wall
                system[row, row] -= DISCOUNT * chance
    values = np.zeros(moves.shape)
    values[tuple(np.array(states).T)] = np.linalg.solve(system, rewards)
    return values


def train_lava_agent(epochs: int = 30, seed: int = 0) -> tuple[LavaAgent, dict[str, float]]:
    """
    Train an agent to take the shortest way from everywhere in 100 levels.

    Args:
        epochs (int, optional): Over all images. Default: 30
        seed (int, optional): Of the weights and the order of images. Default: 0

    Returns:
        tuple[LavaAgent, dict]: The agent, and its figures on levels that it was not trained on.

    Raises:
        ImportError: If minigrid is not installed.
    """
    images, moves, values, objects = _examples(range(TRAINING_LEVELS))
    random = torch.Generator().manual_seed(seed)
    agent = lava_agent(trained=False, seed=seed).train()
    optimizer = torch.optim.Adam(agent.parameters(), 2e-3)
    batches = epochs * (len(images) // 64)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, batches)
    for _ in range(batches):
        rows = torch.randint(len(images), (64,), generator=random)
        seen = agent.look(observed(images[rows.numpy()]))
        logits, value = agent.act(seen)
        loss = cross_entropy(logits, moves[rows]) + 2 * mse_loss(value, values[rows])
        loss = loss + TEACHING * mse_loss(seen[:, : len(TAUGHT)], objects[rows])
        loss = loss + SPARSITY * seen[:, len(TAUGHT) :].mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    agent.eval()
    images, moves, values, _ = _examples(range(TRAINING_LEVELS, TRAINING_LEVELS + 20))
    with torch.no_grad():
        logits, value = agent(observed(images))
    return agent, {
        "agreement": float((logits.argmax(1) == moves).float().mean()),
        "value_error": float((value - values).square().mean().sqrt()),
    }


def _examples(levels: range, each: int = 60) -> tuple[NDArray[np.uint8], Tensor, Tensor, Tensor]:
    """
    Images of levels with the agent in places and directions at random.

    Returns:
        tuple: Images (M, 56, 56, 3), the best moves (M,), the values there (M,), and which object is in which cell (M, 4, 7, 7).
    """
    gymnasium_package()
    frames, moves, values, objects = [], [], [], []
    environment = minigrid_levels(ENVIRONMENT)
    single = environment.single[0]
    for level in levels:
        environment.reset(options={"levels": [level]})
        grid = single.unwrapped
        cells = [[grid.grid.get(x, y) for y in range(grid.height)] for x in range(grid.width)]
        kinds = np.array([["empty" if cell is None else cell.type for cell in column] for column in cells])
        best, worth = best_moves(kinds)
        places = [(x, y, facing) for x, y in np.argwhere(kinds == "empty") for facing in range(4)]
        random = np.random.default_rng(level)
        for place in random.permutation(len(places))[:each]:
            x, y, facing = places[place]
            grid.agent_pos, grid.agent_dir = (int(x), int(y)), facing
            frames.append(grid.get_frame(highlight=grid.highlight, tile_size=TILE))
            moves.append(best[x, y, facing])
            values.append(worth[x, y, facing])
            there = kinds.copy()
            there[x, y] = "agent"
            objects.append(np.stack([name == there.T for name in TAUGHT]))
    return (
        np.stack(frames),
        torch.tensor(moves),
        torch.tensor(values, dtype=torch.float32),
        torch.from_numpy(np.stack(objects)).float(),
    )


__all__ = ["CHECKPOINT", "ENVIRONMENT", "KIND", "LavaAgent", "best_moves", "lava_agent", "train_lava_agent"]
