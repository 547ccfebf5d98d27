"""MiniGrid's environments as levels: images of the whole grid, why an episode ended, and what every pixel shows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from captum_proto._utils.errors import MissingPackageError
from captum_proto.data.environments import GymnasiumLevels, gymnasium_package

#: Pixels a side of each cell of a grid.
TILE = 8
CAUSES = ("goal", "lava", "collision", "time")


def minigrid_levels(name: str, num_envs: int = 1) -> GymnasiumLevels:
    """
    An environment of `MiniGrid <https://minigrid.farama.org>`_ that shows its whole grid, at 8 pixels a cell.

    Levels end by "goal", "lava", "collision" or "time". Objects are MiniGrid's kinds, by its numbers.

    Args:
        name (str): As MiniGrid registers it, such as ``"MiniGrid-LavaGapS7-v0"``.
        num_envs (int, optional): How many levels side by side. Default: 1

    Returns:
        GymnasiumLevels: A level for each seed.

    Raises:
        ValueError: If there is no such environment.
        ImportError: If minigrid is not installed.
    """
    gymnasium = gymnasium_package()
    try:
        from minigrid.core.constants import IDX_TO_OBJECT
        from minigrid.wrappers import ImgObsWrapper, RGBImgObsWrapper
    except ImportError as error:
        raise MissingPackageError(
            "environments of MiniGrid need minigrid, which is not installed; install it with: pip install minigrid"
        ) from error

    def make() -> Any:
        whole: Any = RGBImgObsWrapper
        image: Any = ImgObsWrapper
        return image(whole(gymnasium.make(name), tile_size=TILE))

    return GymnasiumLevels(
        make,
        num_envs,
        name,
        CAUSES,
        _cause,
        objects=tuple(IDX_TO_OBJECT[number] for number in range(len(IDX_TO_OBJECT))),
        labels=_labels,
        actions=("left", "right", "forward", "pick up", "drop", "toggle", "done"),
        deadly=("lava",),
    )


def _cause(environment: Any, reward: float, terminated: bool) -> str:
    grid = environment.unwrapped
    if not terminated:
        return "time"
    if reward > 0:
        return "goal"
    cell = grid.grid.get(*grid.agent_pos)
    return "lava" if cell is not None and cell.type == "lava" else "collision"


def _labels(environment: Any) -> NDArray[np.uint8]:
    from minigrid.core.constants import OBJECT_TO_IDX

    grid = environment.unwrapped
    kinds = grid.grid.encode()[:, :, 0]
    kinds[tuple(grid.agent_pos)] = OBJECT_TO_IDX["agent"]
    labels: NDArray[np.uint8] = np.kron(kinds.T, np.ones((TILE, TILE), dtype=np.uint8)).astype(
        np.uint8
    )  # its first axis is x
    return labels


__all__ = ["CAUSES", "TILE", "minigrid_levels"]
