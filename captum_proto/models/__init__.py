"""A model and its preprocessing, by name."""

from captum_proto.models.layer_activations import POOLS, LayerActivations, PooledFeatures, pooled
from captum_proto.models.named import NamedModel
from captum_proto.models.registry import load_model, model_names
from captum_proto.models.surrogate import surrogate_of
from captum_proto.models.tabular import TabularModel, train_tabular_model
from captum_proto.models.text import TextModel, train_text_model
from captum_proto.models.two_tower import ImageTextEncoder, TwoTower

# Each family registers itself. The order is that of model_names(), and decides where a name fits two families.
# isort: off
from captum_proto.models import digits, efficientnet_lite, torchvision, timm, factory  # noqa: F401
# isort: on

__all__ = [
    "POOLS",
    "ImageTextEncoder",
    "LayerActivations",
    "NamedModel",
    "PooledFeatures",
    "TabularModel",
    "TextModel",
    "TwoTower",
    "load_model",
    "model_names",
    "pooled",
    "surrogate_of",
    "train_tabular_model",
    "train_text_model",
]
