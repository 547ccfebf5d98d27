"""What the side-scroller looks like: frames of 64 x 64 pixels, and which pixel belongs to which object."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache

import numpy as np
from numpy.typing import NDArray

from captum_proto.testing.side_scroller.levels import COIN, GROUNDS, OBSTACLES, SKIES, Levels
from captum_proto.testing.side_scroller.simulator import JUMP, SPEED, State

#: Rows and columns of a frame, pixels a unit of length, where the ground begins, and the column of the agent.
SIDE, UNIT, GROUND_ROW, AGENT_COLUMN = 64, 8, 48, 20
#: What a pixel may belong to, by number: later ones are drawn over earlier ones.
OBJECTS = ("sky", "saw", "enemy_left", "enemy_right", "crate", "coin", "agent", "ground", "velocity")
#: The side of the two squares in the upper left corner whose gray says how fast the agent moves, to the right and up.
VELOCITY_SIDE = 6
_WIDTH, _MARGIN = 512, 8
_SPRITES = {
    "saw": (
        "..t..t..",
        "t.rttr.t",
        ".rrrrrr.",
        "trraarrt",
        ".raaaar.",
        "rraaaarr",
    ),
    "enemy_left": (
        "..pppp..",
        ".pppppp.",
        "wkpwkppp",
        "wwpwwppp",
        "pppppppp",
        "ppkkkppp",
        "dp.dp.dp",
    ),
    "enemy_right": (
        "..nnnn..",
        ".nnnnnn.",
        "nnnkwnkw",
        "nnnwwnww",
        "nnnnnnnn",
        "nnnkkknn",
        "en.en.en",
    ),
    "crate": (
        "oooooooo",
        "oyooooyo",
        "ooyooyoo",
        "oooyyooo",
        "oooyyooo",
        "ooyooyoo",
        "oyooooyo",
        "oooooooo",
    ),
    "coin": (
        "..cccc..",
        ".cchhcc.",
        ".chhccc.",
        ".chcccc.",
        ".cchhcc.",
        "..cccc..",
        "........",
    ),
    "agent": (
        "..bbbb..",
        ".bbbbbb.",
        "..sksk..",
        "..ssss..",
        ".bbbbbb.",
        ".sbbbbs.",
        "..bbbb..",
        "..k..k..",
    ),
}
_COLORS = {
    "w": (235, 235, 240),
    "t": (255, 130, 110),
    "r": (215, 35, 45),
    "a": (120, 10, 20),
    "k": (20, 20, 24),
    "p": (150, 30, 170),
    "d": (90, 10, 110),
    "n": (30, 165, 60),
    "e": (10, 100, 30),
    "o": (196, 120, 40),
    "y": (120, 66, 16),
    "c": (255, 210, 0),
    "h": (255, 245, 150),
    "b": (30, 60, 220),
    "s": (240, 195, 160),
}


@cache
def _sprite(name: str) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8]]:
    """Rows from its top, columns from its left and colors of a sprite's pixels."""
    drawn = _SPRITES[name]
    pixels = [
        (row, column, _COLORS[letter])
        for row, line in enumerate(drawn)
        for column, letter in enumerate(line)
        if letter != "."
    ]
    rows, columns, colors = zip(*pixels, strict=True)
    return np.array(rows), np.array(columns), np.array(colors, dtype=np.uint8)


def _skies() -> NDArray[np.uint8]:
    """(SKIES, 48, 512, 3): a gradient, hills and clouds, each of colors of its own; its right end meets its left."""
    found = np.empty((SKIES, GROUND_ROW, _WIDTH, 3))
    down, along = np.linspace(0, 1, GROUND_ROW)[:, None, None], np.arange(_WIDTH) * 2 * np.pi / _WIDTH
    for number in range(SKIES):
        random = np.random.default_rng((number, 3))
        high, low, hill = random.uniform(110, 230, (3, 3)) * (1, 1, 1.08)
        sky = np.broadcast_to(high * (1 - down) + low * down, (GROUND_ROW, _WIDTH, 3)).copy()
        for layer in range(2):
            waves = sum(
                random.uniform(1, 4) * np.sin(random.integers(2, 9) * along + random.uniform(0, 6.3)) for _ in range(3)
            )
            covered = np.arange(GROUND_ROW)[:, None] > 30 + 6 * layer + waves
            sky[covered] = hill * (0.85 - 0.13 * layer)
        for _ in range(random.integers(3, 10)):
            row, column, width = random.integers(8, 24), random.integers(_WIDTH), random.integers(8, 20)
            sky[row : row + 3, (column + np.arange(width)) % _WIDTH] = sky[row, 0] * 0.4 + 150
        found[number] = sky
    return found.clip(0, 255).astype(np.uint8)


def _grounds() -> NDArray[np.uint8]:
    """(GROUNDS, 16, 512, 3): earth with specks, and a strip of grass, moss or sand."""
    found = np.empty((GROUNDS, SIDE - GROUND_ROW, _WIDTH, 3))
    for number in range(GROUNDS):
        random = np.random.default_rng((number, 4))
        earth, top = random.uniform((60, 40, 30), (130, 100, 90)), random.uniform((70, 90, 40), (170, 150, 90))
        found[number] = earth + random.normal(0, 8, (SIDE - GROUND_ROW, _WIDTH, 1))
        found[number, :3] = top + random.normal(0, 8, (3, _WIDTH, 1))
    return found.clip(0, 255).astype(np.uint8)


@cache
def _scenes() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Skies and grounds, a frame longer than they are, so that none has to be read around its end."""
    skies, grounds = (np.concatenate([each, each[:, :, :SIDE]], 2) for each in (_skies(), _grounds()))
    return skies, grounds


def draw(levels: Levels, state: State, hidden: Collection[str] = ()) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """
    Frames and labels of their pixels.

    Args:
        levels (Levels): N of them.
        state (State): Of each.
        hidden (collection of str, optional): Objects that are there but not drawn, of :data:`OBJECTS`. Default: none

    Returns:
        tuple[NDArray, NDArray]: RGB (N, 64, 64, 3) from 0 to 255, and (N, 64, 64) the number in :data:`OBJECTS` of what each pixel shows.
    """
    count, lines = len(levels), np.arange(len(levels))
    left = np.round(state.x * UNIT).astype(np.int64) - AGENT_COLUMN
    padded = SIDE + 2 * _MARGIN
    canvas = np.empty((count, padded, padded, 3), dtype=np.uint8)
    labels = np.zeros((count, padded, padded), dtype=np.uint8)
    inner = slice(_MARGIN, _MARGIN + SIDE)
    split = _MARGIN + GROUND_ROW
    scenes, begins = _scenes(), (levels.offset + left) % _WIDTH
    for line, (sky, ground, begin) in enumerate(
        zip(levels.sky, levels.ground, begins, strict=True)
    ):  # slices beat indices
        columns = slice(begin, begin + SIDE)
        canvas[line, _MARGIN:split, inner] = scenes[0][sky][:, columns]
        canvas[line, split : _MARGIN + SIDE, inner] = scenes[1][ground][:, columns]
    labels[:, split:] = OBJECTS.index("ground")

    def put(name: str, which: NDArray[np.int64], x: NDArray[np.float64], y: NDArray[np.float64] | float = 0.0) -> None:
        """A sprite whose lower middle is at (x, y), in the frames of ``which``."""
        if name in hidden or not len(which):
            return
        rows, columns, colors = _sprite(name)
        middle = np.round(x * UNIT).astype(np.int64) - left[which]
        seen = (middle > -4) & (middle < SIDE + 4)
        top = GROUND_ROW - len(_SPRITES[name]) - np.round(np.broadcast_to(y, x.shape) * UNIT).astype(np.int64)
        at = (
            which[seen, None],
            (top[seen, None] + rows + _MARGIN).clip(0, padded - 1),
            middle[seen, None] - 4 + columns + _MARGIN,
        )
        canvas[at], labels[at] = colors, OBJECTS.index(name)

    for kind, name in OBSTACLES.items():
        for place in range(levels.kinds.shape[1]):
            which = np.flatnonzero(levels.kinds[:, place] == kind)
            put(name, which, state.objects[which, place])
    put("coin", lines, np.full(count, COIN))
    put("agent", lines, state.x, state.y)
    if "velocity" not in hidden:
        for square, (value, most) in enumerate(((state.vx, SPEED), (state.vy, JUMP))):
            gray = (127.5 + 127.5 * value / most).clip(0, 255).astype(np.uint8)
            begin = _MARGIN + square * VELOCITY_SIDE
            at_square = np.s_[:, _MARGIN : _MARGIN + VELOCITY_SIDE, begin : begin + VELOCITY_SIDE]
            canvas[at_square] = gray[:, None, None, None]
            labels[at_square] = OBJECTS.index("velocity")
    return np.ascontiguousarray(canvas[:, inner, inner]), np.ascontiguousarray(labels[:, inner, inner])


__all__ = ["OBJECTS", "SIDE", "UNIT", "draw"]
