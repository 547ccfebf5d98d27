"""What an agent sees: observations from many levels, and a few whole episodes to look at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from captum_proto._utils.files import alike, intact, load_tensors, save_tensors
from captum_proto._utils.model import borrowed, device_of
from captum_proto.experiments.agent.setup import AgentSetup
from captum_proto.metrics.failures import observed

_OBSERVATIONS, _EPISODE = "observations of an agent", "episode of an agent"


@dataclass
class Observations:
    """
    Observations, with what each pixel shows.

    Attributes:
        frames (Tensor): (N, H, W, 3), uint8.
        labels (Tensor): (N, H, W), uint8, numbers of objects.
        levels (Tensor): (N,), of which level each is.
    """

    frames: Tensor
    labels: Tensor
    levels: Tensor

    @property
    def images(self) -> Tensor:
        """(N, 3, H, W) in [0, 1], as an agent takes them."""
        return observed(self.frames.numpy())

    def rows(self, which: Tensor) -> Observations:
        """Some of them."""
        return Observations(self.frames[which], self.labels[which], self.levels[which])

    def save(self, path: Path) -> None:
        """Write them to a file."""
        save_tensors(path, _OBSERVATIONS, vars(self), {}, overwrite=True)

    @classmethod
    def load(cls, path: Path) -> Observations:
        """What :meth:`save` wrote."""
        tensors, _ = load_tensors(path, _OBSERVATIONS)
        with intact(path, f"{_OBSERVATIONS} file"):
            found = cls(**tensors)
            alike("observations", len(found.frames), len(found.labels), len(found.levels))
        return found


@dataclass
class Episode:
    """
    A whole episode.

    Attributes:
        frames (Tensor): (T, H, W, 3), uint8.
        values (Tensor): (T,), what the agent expected.
        level (int): Its number.
        cause (str): Why it ended.
    """

    frames: Tensor
    values: Tensor
    level: int
    cause: str

    @property
    def images(self) -> Tensor:
        """(T, 3, H, W) in [0, 1]."""
        return observed(self.frames.numpy())

    def save(self, path: Path) -> None:
        """Write it to a file."""
        tensors = {"frames": self.frames, "values": self.values}
        save_tensors(path, _EPISODE, tensors, {"level": self.level, "cause": self.cause}, overwrite=True)

    @classmethod
    def load(cls, path: Path) -> Episode:
        """What :meth:`save` wrote."""
        tensors, metadata = load_tensors(path, _EPISODE)
        with intact(path, f"{_EPISODE} file"):
            return cls(tensors["frames"], tensors["values"], int(metadata["level"]), str(metadata["cause"]))


def observe(
    setup: AgentSetup, levels: np.ndarray, each: int, episodes: int, at_once: int, seed: int
) -> tuple[Observations, list[Episode]]:
    """
    Play levels, and keep a few observations of each, and a few whole episodes: one of each way in which they ended.

    Args:
        setup (AgentSetup): Who plays.
        levels (numpy.ndarray): Their numbers.
        each (int): Observations of each level, at random times.
        episodes (int): How many episodes to keep at most, of different ends first.
        at_once (int): Levels side by side.
        seed (int): Of the times.

    Returns:
        tuple[Observations, list[Episode]]: In the order of the levels.
    """
    random, device = np.random.default_rng(seed), device_of(setup.agent)
    frames, labels, numbers, kept = [], [], [], list[Episode]()
    for start in range(0, len(levels), at_once):
        own = levels[start : start + at_once]
        environment = setup.make(len(own))
        seen, info = environment.reset(options={"levels": own})
        running, story = np.ones(len(own), bool), []
        with borrowed(setup.agent), torch.no_grad():
            while running.any():
                logits, values = setup.agent(observed(seen).to(device))
                story.append((seen, info["labels"], running.copy(), values.cpu()))
                seen, _, terminated, truncated, info = environment.step(logits.argmax(1).cpu().numpy())
                running &= ~(terminated | truncated)
        lengths = np.sum([alive for _, _, alive, _ in story], axis=0)
        for row, number in enumerate(own):
            for step in np.sort(random.choice(lengths[row], size=min(each, lengths[row]), replace=False)):
                frames.append(story[step][0][row])
                labels.append(story[step][1][row])
                numbers.append(int(number))
        for row in _worth_seeing([str(cause) for cause in info["cause"]], [episode.cause for episode in kept]):
            if len(kept) < episodes:
                steps = range(lengths[row])
                whole = torch.from_numpy(np.stack([story[step][0][row] for step in steps]))
                values = torch.stack([story[step][3][row] for step in steps])
                kept.append(Episode(whole, values, int(own[row]), str(info["cause"][row])))
    found = Observations(torch.from_numpy(np.stack(frames)), torch.from_numpy(np.stack(labels)), torch.tensor(numbers))
    return found, kept


def _worth_seeing(causes: list[str], already: list[str]) -> list[int]:
    """The first of each cause that was not seen yet."""
    found: list[int] = []
    for row, cause in enumerate(causes):
        if cause not in already and cause not in [causes[other] for other in found]:
            found.append(row)
    return found


__all__ = ["Episode", "Observations", "observe"]
