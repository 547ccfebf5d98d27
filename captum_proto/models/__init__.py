"""A model and its preprocessing, by name."""

from captum_proto.models.named import NamedModel
from captum_proto.models.registry import load_model, model_names

__all__ = ["NamedModel", "load_model", "model_names"]
