"""The paper's tables and figures, each a function in one place."""

# Each module registers its items. The order is that of the page.
# isort: off
from captum_proto.experiments.reproduce.items import pictures, similarity, affine, diversity, subgroups  # noqa: F401

# isort: on
from captum_proto.experiments.reproduce.items.registry import RECIPES, Item, Recipe, check_items, item

#: Every item, in the order of the page.
ITEMS = tuple(RECIPES)

__all__ = ["ITEMS", "RECIPES", "Item", "Recipe", "check_items", "item"]
