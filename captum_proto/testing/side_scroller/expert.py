"""A player of the side-scroller that sees its state instead of its pixels: it tries plans in a copy of the simulator."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from captum_proto.testing.side_scroller.levels import Levels
from captum_proto.testing.side_scroller.simulator import ACTIONS, CAUSES, State, advance

_RIGHT, _JUMP, _LEFT, _STAY = (ACTIONS.index(name) for name in ("right", "jump right", "left", "stay"))
#: For how many steps it looks whether running is safe, and how many a jump lasts.
AHEAD, FLIGHT = 9, 13
#: For how many steps it may wait before a jump, and when it jumps: as soon as waiting for more than so many would not do.
WAITS, SLACK = 9, 2
#: Where neither is safe, it stays or steps back for so many steps, then jumps.
_RETREATS = ((_STAY, 3), (_LEFT, 3), (_STAY, 8), (_LEFT, 8), (_LEFT, 14))


def plans() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sequences of actions (P, T): to run, to run and jump after 0, 1, … steps, and to retreat before; and how long each is tried."""
    lengths = [AHEAD, *(wait + FLIGHT for wait in range(WAITS)), *(steps + FLIGHT for _, steps in _RETREATS)]
    found = np.full((len(lengths), max(lengths)), _RIGHT)
    for wait in range(WAITS):
        found[1 + wait, wait] = _JUMP
    for row, (action, steps) in enumerate(_RETREATS, 1 + WAITS):
        found[row, :steps], found[row, steps] = action, _JUMP
    return found, np.array(lengths)


def expert_actions(levels: Levels, state: State) -> NDArray[np.int64]:
    """
    What to do next in each level: run where that is safe, else jump in the middle of the time in which a jump saves, else step back.

    Args:
        levels (Levels): N of them.
        state (State): Of each.

    Returns:
        NDArray: (N,), actions by number.
    """
    tried, lengths = plans()
    count = len(levels)
    copies, world = (
        state.rows(np.repeat(np.arange(count), len(tried))),
        levels.rows(np.repeat(np.arange(count), len(tried))),
    )
    good = np.empty((count, len(tried)), dtype=bool)
    for step in range(tried.shape[1]):
        advance(world, copies, np.tile(tried[:, step], count))
        ends = lengths == step + 1
        if ends.any():
            coin = copies.cause == CAUSES.index("coin")
            moves = (copies.cause == 0) & (copies.vx > 0)  # a crate stops those who only run
            good[:, ends] = (coin | moves).reshape(count, -1)[:, ends]

    jumps = good[:, 1 : 1 + WAITS]
    waits = np.where(jumps.all(1), WAITS, jumps.argmin(1)) - 1  # after so many a jump still saves
    action = np.full(count, _RIGHT)
    danger = ~good[:, 0]
    held = state.vx <= 0  # by a crate, where every later jump would do as well
    action[danger & jumps[:, 0] & ((waits <= SLACK) | held)] = _JUMP
    lost = danger & ~jumps.any(1)
    retreats = good[:, 1 + WAITS :]
    action[lost] = np.array([retreat for retreat, _ in _RETREATS])[retreats.argmax(1)[lost]]
    action[lost & ~retreats.any(1)] = _JUMP
    return action


__all__ = ["AHEAD", "expert_actions", "plans"]
