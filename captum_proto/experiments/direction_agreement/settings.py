"""What can be chosen when directions are compared."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from captum_proto._utils.checks import check_int
from captum_proto._utils.errors import InputError
from captum_proto.models import POOLS


@dataclass(frozen=True)
class DirectionSettings:
    """
    How directions are drawn, and how their images are found and compared.

    Args:
        count (int): Directions of each kind, or all channels where a layer has fewer. Default: 64
        k (int): Images of each direction, those that go furthest in it. Default: 9
        pool (str): What an image scores in a direction: the "max" or the "mean" over positions. Default: "max"
        frames (int): Random sets of ``count`` orthonormal directions; the smallest p-value is 2 in so many and one. Default: 99
        positions (int): Positions of each image, drawn at random, that principal and non-negative directions are fitted to. Default: 8
        whitened (bool): Whether to draw directions in whitened space too, where all have the same variance. Default: True
        center (bool): Whether to take the judge's features less their mean, so that images drawn at random agree by about 0. Default: True
        seed (int): Of every draw: halves, channels, directions, sets. Default: 0

    Raises:
        InputError: If a field is out of its range.
    """

    count: int = 64
    k: int = 9
    pool: str = field(default="max", metadata={"choices": POOLS})
    frames: int = 99
    positions: int = 8
    whitened: bool = True
    center: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("count", 2), ("k", 2), ("frames", 1), ("positions", 1), ("seed", 0)):
            check_int(getattr(self, name), name, least)
        if self.pool not in POOLS:
            raise InputError(f'pool is "{self.pool}"; expected one of {", ".join(POOLS)}.')

    def settings(self) -> dict[str, Any]:
        """The choices, as JSON can hold them."""
        return asdict(self)


__all__ = ["DirectionSettings"]
