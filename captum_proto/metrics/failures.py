"""How often an agent fails, and at what: over many levels, before and after an edit."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor
from tqdm.auto import tqdm

from captum_proto._utils.checks import check_int
from captum_proto._utils.errors import InputError
from captum_proto._utils.files import alike, intact, load_tensors, save_tensors
from captum_proto._utils.model import borrowed, device_of
from captum_proto._utils.tables import number, p_text, text_table
from captum_proto.stats.intervals import Estimate, holm, proportion

if TYPE_CHECKING:  # the room of data needs torchvision, metrics do without
    from captum_proto.data.environments import Levels

_KIND = "ends of episodes"
Policy = Callable[[Tensor], Tensor]


@dataclass
class EpisodeEnds:
    """
    How each of many levels ended.

    Attributes:
        levels (Tensor): (L,), their numbers.
        ends (Tensor): (L,), why each ended, by its place in ``causes``.
        steps (Tensor): (L,), how many steps it lasted.
        causes (tuple[str, ...]): The first is success.

    Examples::

        >>> from captum_proto.metrics import EpisodeEnds
        >>> ends = EpisodeEnds(torch.arange(200), torch.tensor([0] * 194 + [1] * 6), torch.full((200,), 90), ("coin", "saw"))
        >>> share = ends.rate("saw")
        >>> f"{share.value:.3f} [{share.low:.3f}, {share.high:.3f}]"
        '0.030 [0.014, 0.064]'
    """

    levels: Tensor
    ends: Tensor
    steps: Tensor
    causes: tuple[str, ...]

    @property
    def failures(self) -> tuple[str, ...]:
        """The causes but success."""
        return self.causes[1:]

    def count(self, cause: str) -> int:
        """How many levels ended so."""
        return int((self.ends == self._place(cause)).sum())

    def rate(self, cause: str) -> Estimate:
        """The share of levels that ended so, with Wilson's interval at 95%."""
        return proportion(self.count(cause), len(self.ends))

    def _place(self, cause: str) -> int:
        if cause not in self.causes:
            raise InputError(f'no level can end by "{cause}"; expected one of {", ".join(self.causes)}.')
        return self.causes.index(cause)

    def save(self, path: str | os.PathLike[str], overwrite: bool = False) -> None:
        """
        Write everything to one safetensors file.

        Raises:
            FileExistsError: If the file exists and ``overwrite`` is False.
        """
        tensors = {"levels": self.levels, "ends": self.ends, "steps": self.steps}
        save_tensors(path, _KIND, tensors, {"causes": list(self.causes)}, overwrite)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> EpisodeEnds:
        """
        Read what :meth:`save` wrote.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is damaged or holds something else.
        """
        tensors, metadata = load_tensors(path, _KIND)
        with intact(path, f"{_KIND} file"):
            found = cls(**tensors, causes=tuple(metadata["causes"]))
            alike("levels", len(found.levels), len(found.ends), len(found.steps))
        return found


def play_levels(
    policy: Policy,
    make: Callable[[int], Levels],
    levels: Sequence[int] | NDArray[np.int64],
    at_once: int = 128,
    most_steps: int = 10_000,
    show_progress: bool = False,
) -> EpisodeEnds:
    """
    Play each of many levels once, always with the most likely action.

    Args:
        policy (Callable): The agent, or a function that refers to it: from observations (N, 3, H, W) in [0, 1] to logits of actions (N, A).
        make (Callable): From a number N to an environment of N levels side by side, as
            :class:`~captum_proto.data.environments.Levels` has it.
        levels (sequence of int): Their numbers.
        at_once (int, optional): How many are played side by side. Default: 128
        most_steps (int, optional): After which an environment that never ends is an error. Default: 10,000
        show_progress (bool, optional): Whether to show a progress bar. Default: False

    Returns:
        EpisodeEnds: In the order of the levels.

    Raises:
        ValueError: If there are no levels, the policy gives no logits of the environment's actions, or a level does not end.

    Examples::

        >>> from captum_proto.metrics import play_levels
        >>> from captum_proto.testing import SideScroller
        >>> def run(observations):  # to the right, without a jump
        ...     return torch.tensor([[0.0, 0.0, 1.0, 0.0, 0.0, 0.0]]).expand(len(observations), -1)
        >>> ends = play_levels(run, SideScroller, range(20))
        >>> ends.count("coin") + sum(ends.count(cause) for cause in ends.failures)
        20
    """
    numbers = np.asarray(levels, dtype=np.int64)
    if numbers.ndim != 1 or not len(numbers):
        raise InputError("there are no levels to play; give at least one number.")
    size, device = check_int(at_once, "at_once", 1), device_of(policy)
    ends, steps = np.zeros(len(numbers), np.int64), np.zeros(len(numbers), np.int64)
    causes: tuple[str, ...] = ()
    starts = range(0, len(numbers), size)
    environment: Levels | None = None
    with borrowed(policy), torch.no_grad():
        for start in tqdm(starts, desc="levels", unit="batch", disable=not show_progress):
            own = numbers[start : start + size]
            if environment is None or environment.num_envs != len(own):
                environment = make(len(own))
            causes = tuple(environment.causes)
            observations, _ = environment.reset(options={"levels": own})
            running = np.arange(len(own))
            for step in range(1, most_steps + 1):
                actions = np.zeros(len(own), np.int64)
                actions[running] = _actions(policy, observations[running], device, len(environment.actions))
                observations, _, terminated, truncated, info = environment.step(actions)
                ended = running[(terminated | truncated)[running]]
                for row in ended:
                    ends[start + row], steps[start + row] = causes.index(str(info["cause"][row])), step
                running = running[~(terminated | truncated)[running]]
                if not len(running):
                    break
            else:
                raise InputError(
                    f"{len(running)} levels did not end in {most_steps} steps; give an environment with a limit of time."
                )
    return EpisodeEnds(torch.from_numpy(numbers), torch.from_numpy(ends), torch.from_numpy(steps), causes)


def observed(frames: NDArray[np.uint8]) -> Tensor:
    """Frames (N, H, W, 3) from 0 to 255 as an agent takes them: (N, 3, H, W) in [0, 1]."""
    return torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255


def _actions(policy: Policy, frames: NDArray[np.uint8], device: torch.device, count: int) -> NDArray[np.int64]:
    logits = policy(observed(frames).to(device))
    if not isinstance(logits, Tensor) or logits.shape != (len(frames), count):
        given = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise InputError(
            f"the policy returned {given} for {len(frames)} observations; expected logits ({len(frames)}, {count}), one for each action: "
            "wrap it, e.g. lambda x: agent(x)[0]."
        )
    return logits.argmax(1).cpu().numpy()


@dataclass(frozen=True)
class FailureChange:
    """
    How often one cause ends levels, before and after an edit, on the same levels.

    Attributes:
        cause (str): What ends them.
        before, after (Estimate): Shares of the levels, with Wilson's intervals at 95%.
        only_before, only_after (int): Levels that ended so before but not after, and after but not before.
        p_value (float): McNemar's exact test, two-sided, of whether these are equally likely.
        q_value (float): The same after Holm's correction over all causes of failure.
    """

    cause: str
    before: Estimate
    after: Estimate
    only_before: int
    only_after: int
    p_value: float
    q_value: float

    @property
    def ratio(self) -> float:
        """How many times as often after as before; infinite where it never happened before."""
        if not self.before.value:
            return float("inf") if self.after.value else float("nan")
        return self.after.value / self.before.value

    @property
    def within(self) -> bool:
        """Whether the two intervals overlap."""
        return self.after.low <= self.before.high and self.before.low <= self.after.high


def compare_failures(before: EpisodeEnds, after: EpisodeEnds) -> list[FailureChange]:
    """
    What an edit does to each cause of failure.

    Args:
        before (EpisodeEnds): Of the agent as it was.
        after (EpisodeEnds): Of the edited agent on the same levels.

    Returns:
        list[FailureChange]: Of each cause of failure.

    Raises:
        ValueError: If the levels or the causes are not the same.

    Examples::

        >>> from captum_proto.metrics import EpisodeEnds, compare_failures
        >>> levels, steps, causes = torch.arange(100), torch.full((100,), 90), ("coin", "saw")
        >>> before = EpisodeEnds(levels, torch.zeros(100, dtype=torch.long), steps, causes)
        >>> after = EpisodeEnds(levels, (levels < 20).long(), steps, causes)
        >>> change = compare_failures(before, after)[0]
        >>> change.after.value, change.within, change.p_value < 1e-5
        (0.2, False, True)
    """
    if before.causes != after.causes or not torch.equal(before.levels, after.levels):
        raise InputError("before and after are not of the same levels and causes; play the same levels with both.")
    found = []
    for cause in before.failures:
        place = before.causes.index(cause)
        first, second = before.ends == place, after.ends == place
        only = int((first & ~second).sum()), int((second & ~first).sum())
        p_value = float(stats.binomtest(only[0], sum(only)).pvalue) if sum(only) else 1.0
        found.append((cause, before.rate(cause), after.rate(cause), *only, p_value))
    corrected = holm([each[-1] for each in found])
    return [FailureChange(*each, q_value=q) for each, q in zip(found, corrected, strict=True)]


def failure_cells(ends: dict[str, EpisodeEnds]) -> tuple[list[str], list[list[str]]]:
    """A header and rows: of each agent, by name, the share of levels in percent that each cause ends, with its interval."""
    first = next(iter(ends.values()))
    header = ["agent", *(f"{cause}, %" for cause in first.failures), "levels"]
    rows = []
    for name, each in ends.items():
        shares = [_percent(each.rate(cause)) for cause in each.failures]
        rows.append([name, *shares, str(len(each.ends))])
    return header, rows


def change_cells(changes: Sequence[FailureChange]) -> tuple[list[str], list[list[str]]]:
    """A header and rows of what an edit does to each cause."""
    header = ["cause", "before, %", "after, %", "times", "intervals", "only before", "only after", "p (Holm)"]
    rows: list[list[str]] = []
    for each in changes:
        times = number(each.ratio, 1) if np.isfinite(each.ratio) else ("∞" if each.after.value else "–")
        intervals = "overlap" if each.within else "apart"
        shares = [_percent(each.before), _percent(each.after)]
        only = [str(each.only_before), str(each.only_after)]
        rows.append([each.cause, *shares, times, intervals, *only, p_text(each.q_value)])
    return header, rows


def failure_table(ends: dict[str, EpisodeEnds]) -> str:
    """Of each agent, by name, the share of levels in percent that each cause ends, with its interval, as a text table."""
    return text_table(*failure_cells(ends))


def _percent(share: Estimate) -> str:
    return f"{100 * share.value:.2f} [{100 * share.low:.2f}, {100 * share.high:.2f}]"


__all__ = [
    "EpisodeEnds",
    "FailureChange",
    "change_cells",
    "compare_failures",
    "failure_cells",
    "failure_table",
    "observed",
    "play_levels",
]
