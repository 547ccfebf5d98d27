"""The side-scroller as an environment with Gymnasium's vector API, which needs no Gymnasium to be played."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from captum_proto._utils.checks import check_int
from captum_proto._utils.errors import InputError
from captum_proto.data.environments import gymnasium_package
from captum_proto.testing.side_scroller.drawing import OBJECTS, SIDE, draw
from captum_proto.testing.side_scroller.levels import make_levels
from captum_proto.testing.side_scroller.simulator import ACTIONS, CAUSES, advance, begin

Step = tuple[NDArray[np.uint8], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]


class SideScroller:
    """
    Levels played side by side: run to the coin, over saws, crates and two enemies.

    An agent in the middle of the ground runs to the right through a level that its number makes. A saw stands still, one enemy walks to the
    left, another slowly to the right, and each ends the episode when touched; the coin ends it with a reward of 1; after 250 steps it is
    over without. Two squares in the upper left corner say by their gray how fast the agent moves, as in CoinRun.

    It has the API of ``gymnasium.vector.VectorEnv`` with autoreset disabled: a level that has ended stays as it is until it is reset.

    Args:
        num_envs (int): N, how many levels at once.
        hidden (collection of str, optional): Objects that are there but not drawn, of ``objects``. Default: none

    Attributes:
        actions (tuple[str, ...]): By number: left, stay, right, and the same with a jump.
        causes (tuple[str, ...]): Why episodes end, the reward first.
        objects (tuple[str, ...]): What ``info["labels"]`` number.

    Raises:
        ValueError: If an argument is out of its range.

    Examples::

        >>> from captum_proto.testing import SideScroller
        >>> environment = SideScroller(2)
        >>> observations, info = environment.reset(options={"levels": [3, 4]})
        >>> observations, rewards, terminated, truncated, info = environment.step([2, 5])
        >>> observations.shape, info["cause"].tolist(), info["labels"].shape
        ((2, 64, 64, 3), ['', ''], (2, 64, 64))
    """

    name = "side-scroller"
    actions = ACTIONS
    causes = CAUSES[1:]
    objects = OBJECTS
    #: That an episode can end at.
    deadly = ("saw", "enemy_left", "enemy_right")
    render_mode = "rgb_array"
    #: Numbers below are for training; no other levels are played there.
    training_levels = 1_000_000

    def __init__(self, num_envs: int = 1, hidden: Collection[str] = ()) -> None:
        self.num_envs = check_int(num_envs, "num_envs", 1)
        unknown = set(hidden) - set(OBJECTS)
        if unknown:
            raise InputError(f"{sorted(unknown)} cannot be hidden; expected some of {', '.join(OBJECTS)}.")
        self.hidden = tuple(hidden)
        self._random = np.random.default_rng()
        self._numbers: NDArray[np.int64] | None = None

    @property
    def metadata(self) -> dict[str, Any]:
        """What Gymnasium asks of a vector environment."""
        modes: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 15}
        return {**modes, "autoreset_mode": gymnasium_package().vector.AutoresetMode.DISABLED}

    @property
    def single_observation_space(self) -> Any:
        """Of one level; asks for Gymnasium."""
        return gymnasium_package().spaces.Box(0, 255, (SIDE, SIDE, 3), np.uint8)

    @property
    def single_action_space(self) -> Any:
        """Of one level; asks for Gymnasium."""
        return gymnasium_package().spaces.Discrete(len(ACTIONS))

    @property
    def observation_space(self) -> Any:
        """Of all levels; asks for Gymnasium."""
        return gymnasium_package().vector.utils.batch_space(self.single_observation_space, self.num_envs)

    @property
    def action_space(self) -> Any:
        """Of all levels; asks for Gymnasium."""
        return gymnasium_package().vector.utils.batch_space(self.single_action_space, self.num_envs)

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        """
        Begin levels.

        Args:
            seed (int, optional): From which the numbers of levels are drawn. Default: None, go on drawing
            options (mapping, optional): ``"levels"``: the numbers, one for each; ``"reset_mask"``: (N,), which to reset. Default: none

        Returns:
            tuple[NDArray, dict]: Observations (N, 64, 64, 3) from 0 to 255, and info: ``cause``, ``labels`` and ``level``.

        Raises:
            ValueError: If there are not as many levels as there have to be.
        """
        options = dict(options or {})
        if seed is not None:
            self._random = np.random.default_rng(seed)
        numbers = self._random.integers(2 * self.training_levels, 2**31, self.num_envs)
        if "levels" in options:
            numbers = np.asarray(options["levels"], dtype=np.int64)
            if numbers.shape != (self.num_envs,) or (numbers < 0).any():
                raise InputError(
                    f"levels are {options['levels']!r}; expected {self.num_envs} numbers of at least 0, one for each environment."
                )
        mask = options.get("reset_mask")
        if mask is None or self._numbers is None:
            self._numbers = numbers
            self._levels, self._frames = make_levels(numbers), np.zeros((self.num_envs, SIDE, SIDE, 3), np.uint8)
            self._state, self._labels = begin(self._levels), np.zeros((self.num_envs, SIDE, SIDE), np.uint8)
            self._draw(np.arange(self.num_envs))
        else:
            which = np.flatnonzero(np.asarray(mask, dtype=bool))
            self._numbers = np.where(mask, numbers, self._numbers)
            self._levels = make_levels(self._numbers)
            self._state.put(which, begin(self._levels.rows(which)))
            self._draw(which)
        return self._frames.copy(), self._info()

    def step(self, actions: Sequence[int] | NDArray[np.int64]) -> Step:
        """
        Take one step in each level.

        Args:
            actions (sequence of int): (N,), by number; those of levels that have ended do nothing.

        Returns:
            tuple: Observations, rewards (N,), terminated (N,), truncated (N,), and info, as Gymnasium has them.

        Raises:
            ValueError: If an action is unknown, or before :meth:`reset`.
        """
        if self._numbers is None:
            raise InputError("step was called before reset; call reset first.")
        taken = np.asarray(actions, dtype=np.int64)
        if taken.shape != (self.num_envs,) or not ((taken >= 0) & (taken < len(ACTIONS))).all():
            raise InputError(f"actions are {actions!r}; expected {self.num_envs} numbers from 0 to {len(ACTIONS) - 1}.")
        before = self._state.cause == 0
        advance(self._levels, self._state, taken)
        self._draw(np.flatnonzero(before))
        cause = self._state.cause
        won, late = cause == CAUSES.index("coin"), cause == CAUSES.index("time")
        return (
            self._frames.copy(),
            (won & before).astype(np.float64),
            (cause > 0) & ~late,
            late,
            self._info(),
        )

    def render(self) -> tuple[NDArray[np.uint8], ...]:
        """The frame of each level."""
        return tuple(self._frames.copy())

    def close(self, **_: Any) -> None:
        """Nothing is open."""

    def _draw(self, which: NDArray[np.int64]) -> None:
        self._frames[which], self._labels[which] = draw(self._levels.rows(which), self._state.rows(which), self.hidden)

    def _info(self) -> dict[str, Any]:
        assert self._numbers is not None  # it was reset
        causes = np.array(["", *CAUSES[1:]])[self._state.cause]
        return {"cause": causes, "labels": self._labels.copy(), "level": self._numbers.copy()}


def single_side_scroller(hidden: Collection[str] = ()) -> Any:
    """
    One level at a time, as a ``gymnasium.Env`` for what takes no other.

    Args:
        hidden (collection of str, optional): As in :class:`SideScroller`. Default: none

    Returns:
        gymnasium.Env: Whose ``reset(options={"level": number})`` begins a level; without, one at random.

    Raises:
        ImportError: If Gymnasium is not installed.

    Examples::

        >>> from captum_proto.testing import single_side_scroller
        >>> environment = single_side_scroller()
        >>> observation, info = environment.reset(seed=1, options={"level": 3})
        >>> observation.shape, environment.step(2)[1:4]
        ((64, 64, 3), (0.0, False, False))
    """
    gymnasium = gymnasium_package()

    base: Any = gymnasium.Env

    class SingleSideScroller(base):
        metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 15}
        render_mode = "rgb_array"

        def __init__(self) -> None:
            self.levels = SideScroller(1, hidden)
            self.observation_space = self.levels.single_observation_space
            self.action_space = self.levels.single_action_space

        def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
            super().reset(seed=seed)
            level = (options or {}).get("level")
            if level is None:
                level = self.np_random.integers(2 * SideScroller.training_levels, 2**31)
            frames, info = self.levels.reset(options={"levels": [level]})
            return frames[0], _first(info)

        def step(self, action: int) -> Any:
            frames, rewards, terminated, truncated, info = self.levels.step([int(action)])
            return frames[0], float(rewards[0]), bool(terminated[0]), bool(truncated[0]), _first(info)

        def render(self) -> Any:
            return self.levels.render()[0]

    return SingleSideScroller()


def _first(info: dict[str, Any]) -> dict[str, Any]:
    return {name: value[0] for name, value in info.items()}


__all__ = ["SideScroller", "single_side_scroller"]
