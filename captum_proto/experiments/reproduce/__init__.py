"""The paper's tables and figures, made again."""

from captum_proto.experiments.reproduce.items import ITEMS, Item, check_items
from captum_proto.experiments.reproduce.protocol import reproduce_to_folder, verdict_line
from captum_proto.experiments.reproduce.stages import Stage, small_stages

__all__ = ["ITEMS", "Item", "Stage", "check_items", "reproduce_to_folder", "small_stages", "verdict_line"]
