"""
How the agent of the side-scroller is trained: it imitates the expert that sees the state, in states that it comes into itself.

Rounds of DAgger (Ross, Gordon and Bagnell 2011): the expert plays at first, then ever more often the agent, with some actions at random;
each frame is labeled with what the expert would do. The value head learns the discounted return of that play: it knows what is dangerous.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy, mse_loss

from captum_proto.testing.side_scroller.agent import TAUGHT, ScrollerAgent
from captum_proto.testing.side_scroller.drawing import OBJECTS, draw
from captum_proto.testing.side_scroller.expert import expert_actions
from captum_proto.testing.side_scroller.levels import make_levels
from captum_proto.testing.side_scroller.simulator import ACTIONS, CAUSES, advance, begin

#: What a reward is worth a step earlier; the coin's is 1.
DISCOUNT = 0.98
#: Steps of an episode that are played for training.
_STEPS = 140


@dataclass
class Played:
    """
    Frames with what the expert would do and what came of it.

    Attributes:
        frames (NDArray): (M, 64, 64, 3), from 0 to 255.
        actions (NDArray): (M,), the expert's.
        returns (NDArray): (M,), discounted, of those who played.
        objects (NDArray): (M, 6, 16, 16), how many of the 16 pixels of each place belong to each object of :data:`TAUGHT`.
    """

    frames: NDArray[np.uint8]
    actions: NDArray[np.int64]
    returns: NDArray[np.float32]
    objects: NDArray[np.uint8]


def play(
    agent: ScrollerAgent,
    numbers: Sequence[int] | NDArray[np.int64],
    random: np.random.Generator,
    expert_share: float,
    noise: float = 0.12,
    kept: float = 0.35,
) -> tuple[Played, dict[str, int]]:
    """
    Play levels, some by the expert and the others by the agent.

    Args:
        agent (ScrollerAgent): Whose actions are drawn from its policy, in every second level.
        numbers (sequence of int): The levels.
        random (Generator): Who plays which level, random actions, and which frames are kept.
        expert_share (float): The share of levels that the expert plays.
        noise (float, optional): The share of actions that are random, in every second level; in the others there are none, and the agent
            takes its most likely action, so that it learns to leave where it gets stuck. Default: 0.12
        kept (float, optional): The share that is kept of frames in which the expert just runs; of the others all are. Default: 0.35

    Returns:
        tuple[Played, dict]: Frames, and how often each cause ended a level of the agent's.
    """
    levels = make_levels(numbers)
    state, by_expert = begin(levels), random.random(len(levels)) < expert_share
    frames, actions, when, who, objects = [], [], [], [], []
    running, wild = np.arange(len(levels)), np.arange(len(levels)) % 2 == 1
    for step in range(_STEPS):
        world, own = levels.rows(running), state.rows(running)
        seen, labels = draw(world, own)
        expert = expert_actions(world, own)
        with torch.no_grad():
            drawn = torch.from_numpy(random.random((len(running), len(ACTIONS))))
            gumbel = -(-drawn.log()).log() * torch.from_numpy(
                wild[running, None]
            )  # added to logits, it draws from the policy
            chosen = (agent(to_batch(seen))[0] + gumbel).argmax(1).numpy()
        chosen = np.where(by_expert[running], expert, chosen)
        at_random = (random.random(len(running)) < noise) & wild[running]
        chosen[at_random] = random.integers(len(ACTIONS), size=int(at_random.sum()))
        keep = (expert != ACTIONS.index("right")) | (random.random(len(running)) < kept)
        frames.append(seen[keep])
        objects.append(_counted(labels[keep]))
        actions.append(expert[keep])
        when.append(np.full(int(keep.sum()), step))
        who.append(running[keep])
        advance(world, own, chosen)
        state.put(running, own)
        running = running[own.cause == 0]
        if not len(running):
            break
    level = np.concatenate(who)
    won = state.cause[level] == CAUSES.index("coin")
    returns = np.where(won, DISCOUNT ** (state.steps[level] - 1 - np.concatenate(when)), 0.0)
    ends = {cause: int((state.cause[~by_expert] == number).sum()) for number, cause in enumerate(CAUSES)}
    played = Played(
        np.concatenate(frames), np.concatenate(actions), returns.astype(np.float32), np.concatenate(objects)
    )
    return played, ends


def to_batch(frames: NDArray[np.uint8]) -> Tensor:
    """Frames (N, H, W, 3) from 0 to 255 as a network takes them: (N, 3, H, W) in [0, 1]."""
    return torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255


def _counted(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Of the pixels of each place of the layer ``seen``, how many belong to each object."""
    masks = np.stack([labels == OBJECTS.index(name) for name in TAUGHT], 1)
    counted: NDArray[np.uint8] = masks.reshape(len(masks), len(TAUGHT), 16, 4, 16, 4).sum((3, 5), dtype=np.uint8)
    return counted


def train_agent(
    levels: int = 100_000,
    rounds: int = 8,
    played: int = 192,
    updates: int = 220,
    batch_size: int = 128,
    lr: float = 1e-3,
    teaching: float = 200.0,
    sparsity: float = 0.5,
    seed: int = 0,
    kept_rounds: int = 6,
    report: Any = None,
) -> tuple[ScrollerAgent, list[dict[str, Any]]]:
    """
    Train an agent.

    Args:
        levels (int, optional): How many levels there are to train on: their numbers are 0, 1, … Default: 100,000
        rounds (int, optional): Of play and updates. Default: 8
        played (int, optional): Levels a round. Default: 192
        updates (int, optional): Batches a round. Default: 220
        batch_size (int, optional): Frames at a time. Default: 128
        lr (float, optional): Adam's, which falls to a tenth along a cosine. Default: 1e-3
        teaching (float, optional): The weight of the squared difference between the first six channels of ``seen`` and how much of each
            object is where; 0: what they are for is left to the agent. Default: 200.0
        sparsity (float, optional): The weight of the mean activation of its other channels. Default: 0.5
        seed (int, optional): Of all that is random. Default: 0
        kept_rounds (int, optional): Frames of so many rounds are trained on. Default: 6
        report (Callable, optional): Is given each round's figures. Default: None

    Returns:
        tuple[ScrollerAgent, list[dict]]: The agent, and figures of each round.
    """
    random = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        agent = ScrollerAgent()
    optimizer = torch.optim.Adam(agent.parameters(), lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, rounds * updates, lr / 10)
    memory: list[Played] = []
    figures = []
    for number in range(rounds):
        began = time.perf_counter()
        share = max(0.0, 1 - number / 3) if number else 1.0
        found, ends = play(agent, random.integers(levels, size=played), random, share)
        memory = [*memory, found][-kept_rounds:]
        play_seconds = time.perf_counter() - began
        losses = []
        frames = np.concatenate([each.frames for each in memory])
        actions = torch.from_numpy(np.concatenate([each.actions for each in memory]))
        returns = torch.from_numpy(np.concatenate([each.returns for each in memory]))
        objects = np.concatenate([each.objects for each in memory])
        for _ in range(updates):
            rows = random.integers(len(frames), size=batch_size)
            seen = agent.look(to_batch(frames[rows]))
            logits, values = agent.act(seen)
            imitation, value = cross_entropy(logits, actions[rows]), mse_loss(values, returns[rows])
            taught = mse_loss(seen[:, : len(TAUGHT)], torch.from_numpy(objects[rows]).float() / 16)
            loss = imitation + 2 * value
            if teaching:
                loss = loss + teaching * taught + sparsity * seen[:, len(TAUGHT) :].mean()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            losses.append((imitation.item(), value.item(), taught.item()))
        mean = np.mean(losses[-50:], axis=0)
        figures.append(
            {
                "round": number,
                "frames": len(frames),
                "imitation": float(mean[0]),
                "value": float(mean[1]),
                "taught": float(mean[2]),
                "ends": ends,
                "play_seconds": play_seconds,
                "seconds": time.perf_counter() - began,
            }
        )
        if report is not None:
            report(figures[-1])
    return agent.eval(), figures


__all__ = ["DISCOUNT", "Played", "play", "to_batch", "train_agent"]
