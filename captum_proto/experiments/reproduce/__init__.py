"""The paper's tables and figures, made again."""

from captum_proto.experiments.reproduce.items import ITEMS, Item, check_items
from captum_proto.experiments.reproduce.page import verdict_line
from captum_proto.experiments.reproduce.protocol import Reproduce, Reproduction
from captum_proto.experiments.reproduce.stages import ReproduceSettings, Stage, small_stages

__all__ = [
    "ITEMS",
    "Item",
    "Reproduce",
    "ReproduceSettings",
    "Reproduction",
    "Stage",
    "check_items",
    "small_stages",
    "verdict_line",
]
