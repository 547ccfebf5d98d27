"""The agent of MiniGrid's lava: its teacher knows the shortest ways, and it goes them from pixels."""

from __future__ import annotations

import numpy as np
import pytest

from captum_proto.data.minigrid_levels import minigrid_levels
from captum_proto.metrics import play_levels
from captum_proto.testing.lava_agent import CHECKPOINT, DISCOUNT, ENVIRONMENT, SLIPS, best_moves, lava_agent

AHEAD = np.array([(1, 0), (0, 1), (-1, 0), (0, -1)])


@pytest.fixture(scope="module")
def kinds() -> np.ndarray:
    """A gap in a wall of lava, by columns."""
    rows = ["#####", "#.~.#", "#...#", "#.~G#", "#####"]
    names = {"#": "wall", ".": "empty", "~": "lava", "G": "goal"}
    return np.array([[names[letter] for letter in row] for row in rows]).T


def step(kinds: np.ndarray, state: tuple[int, int, int], move: int) -> tuple[int, int, int]:
    x, y, facing = state
    if move < 2:
        return x, y, (facing + (1 if move else -1)) % 4
    ahead = AHEAD[facing] + (x, y)
    return state if kinds[tuple(ahead)] == "wall" else (*map(int, ahead), facing)  # type: ignore[return-value]


def test_the_shortest_way_is_taken(kinds: np.ndarray) -> None:
    moves, _ = best_moves(kinds)
    for start, length in (((1, 1, 0), 7), ((3, 1, 1), 2), ((1, 2, 0), 4), ((3, 2, 3), 3)):
        way = [start]
        while kinds[way[-1][:2]] != "goal" and len(way) < 20:
            way.append(step(kinds, way[-1], int(moves[way[-1]])))
            assert kinds[way[-1][:2]] != "lava"
        assert len(way) - 1 == length


def test_values_are_the_mean_returns_of_those_moves(kinds: np.ndarray) -> None:
    moves, values = best_moves(kinds)
    random, start, returns = np.random.default_rng(0), (1, 2, 0), []
    for _ in range(3000):
        state, taken = start, 0
        while kinds[state[:2]] not in ("goal", "lava"):
            move = random.integers(3) if random.random() < SLIPS else moves[state]
            state, taken = step(kinds, state, int(move)), taken + 1
        returns.append(DISCOUNT ** (taken - 1) * (kinds[state[:2]] == "goal"))
    error = np.std(returns) / np.sqrt(len(returns))
    assert abs(np.mean(returns) - values[start]) < 4 * error
    assert not values[kinds == "lava"].any()


def test_the_agent_that_comes_with_the_package_crosses() -> None:
    pytest.importorskip("minigrid")
    assert CHECKPOINT.stat().st_size < 1_000_000
    agent, untrained = lava_agent(), lava_agent(trained=False)
    levels = range(5_000_000, 5_000_010)
    found = play_levels(lambda x: agent(x)[0], lambda count: minigrid_levels(ENVIRONMENT, count), levels)
    control = play_levels(lambda x: untrained(x)[0], lambda count: minigrid_levels(ENVIRONMENT, count), levels[:2])
    assert found.count("goal") >= 8
    assert control.count("goal") == 0
