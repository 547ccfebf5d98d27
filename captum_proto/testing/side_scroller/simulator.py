"""The physics of the side-scroller: many levels at once, in NumPy, a step at a time."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from captum_proto.testing.side_scroller.levels import (
    COIN,
    CRATE,
    LENGTH,
    SAW,
    START,
    Levels,
)

#: Whether each action goes left (-1) or right (1), and whether it jumps.
DIRECTIONS = np.array([-1, 0, 1, -1, 0, 1])
JUMPS = np.array([False, False, False, True, True, True])
ACTIONS = ("left", "stay", "right", "jump left", "jump", "jump right")
#: Units of length a step: the fastest run, how much it changes in a step, the start of a jump, and gravity.
SPEED, ACCELERATION, JUMP, GRAVITY = 0.25, 0.08, 0.65, 0.11
#: By kind, how fast obstacles walk: enemies to the left and to the right, and how far from where they begin.
WALK = np.array([0.0, 0.0, -0.1, 0.03, 0.0])
STRAY = 1.6
#: Enemies walk once the agent is as near.
AWAKE = 6.0
#: Half the width of what touches, and how high it is: the agent, and by kind.
AGENT = 0.3
HALF_WIDTH = np.array([0.0, 0.4, 0.35, 0.35, 0.0])
HEIGHT = np.array([0.0, 0.5, 0.7, 0.7, 0.0])
COIN_HALF_WIDTH, COIN_HEIGHT = 0.35, 1.4
CRATE_HEIGHT = 1.0
#: Why an episode ended, by number; 0 while it lasts.
CAUSES = ("running", "coin", "saw", "enemy_left", "enemy_right", "time")
#: Obstacles that kill follow one another as their kinds do.
FIRST_KILLER = CAUSES.index("saw") - SAW
MOST_STEPS = 250


@dataclass
class State:
    """
    Where everything is that moves, a row for each level.

    Attributes:
        x, y (NDArray): (N,), the middle of the agent's feet, in units of length; y from the ground.
        vx, vy (NDArray): (N,), its velocity, in units a step.
        objects (NDArray): (N, 4), where obstacles are.
        steps (NDArray): (N,), taken so far.
        cause (NDArray): (N,), why the episode ended, of :data:`CAUSES`.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    vx: NDArray[np.float64]
    vy: NDArray[np.float64]
    objects: NDArray[np.float64]
    steps: NDArray[np.int64]
    cause: NDArray[np.int64]

    def rows(self, which: Any) -> State:
        """A copy of some rows."""
        return State(**{field.name: getattr(self, field.name)[which].copy() for field in fields(self)})

    def put(self, which: Any, other: State) -> None:
        """Write rows of another one in the place of some."""
        for field in fields(self):
            getattr(self, field.name)[which] = getattr(other, field.name)


def begin(levels: Levels) -> State:
    """Where everything is at the beginning of levels."""
    count = len(levels)
    zeros = np.zeros(count)
    none = np.zeros(count, dtype=np.int64)
    return State(zeros + START, zeros.copy(), zeros.copy(), zeros.copy(), levels.positions.copy(), none, none.copy())


def surface(levels: Levels, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """How high what the agent can stand on is beneath its width at ``x`` (N,)."""
    crate = (levels.kinds == CRATE) & (np.abs(levels.positions - x[:, None]) < 0.5 + AGENT - 1e-9)
    return crate.any(1) * CRATE_HEIGHT


def advance(levels: Levels, state: State, actions: NDArray[np.int64]) -> None:
    """
    Take one step in place; what has ended stays as it is.

    Args:
        levels (Levels): N of them.
        state (State): Of each.
        actions (NDArray): (N,), of :data:`ACTIONS` by number.
    """
    lasts = state.cause == 0
    wanted = DIRECTIONS[actions] * SPEED
    vx = state.vx + np.clip(wanted - state.vx, -ACCELERATION, ACCELERATION)
    stands = (state.y <= surface(levels, state.x) + 1e-9) & (state.vy <= 0)
    vy = np.where(stands & JUMPS[actions], JUMP, state.vy - GRAVITY)

    x = np.clip(state.x + vx, 0.5, LENGTH - 0.5)
    blocked = surface(levels, x) > state.y + 1e-9
    x, vx = np.where(blocked, state.x, x), np.where(blocked, 0.0, vx)
    floor = surface(levels, x)
    y = state.y + vy
    lands = y <= floor
    y, vy = np.where(lands, floor, y), np.where(lands, 0.0, vy)

    near = np.abs(state.objects - state.x[:, None]) < AWAKE
    walk = WALK[levels.kinds] * near
    objects = np.clip(state.objects + walk, levels.positions - STRAY, levels.positions + STRAY)

    half, height = HALF_WIDTH[levels.kinds], HEIGHT[levels.kinds]
    touched = (np.abs(objects - x[:, None]) < half + AGENT) & (y[:, None] < height)
    steps = state.steps + 1
    cause = np.where(steps >= MOST_STEPS, CAUSES.index("time"), 0)
    cause[(np.abs(x - COIN) < COIN_HALF_WIDTH + AGENT) & (y < COIN_HEIGHT)] = CAUSES.index("coin")
    killer = np.where(touched, levels.kinds, 0).max(1)
    cause = np.where(killer > 0, killer + FIRST_KILLER, cause)

    new = State(x, y, vx, vy, objects, steps, cause)
    for field in fields(state):
        old, found = getattr(state, field.name), getattr(new, field.name)
        np.copyto(old, found, where=lasts if old.ndim == 1 else lasts[:, None])


__all__ = ["ACTIONS", "CAUSES", "MOST_STEPS", "State", "advance", "begin", "surface"]
