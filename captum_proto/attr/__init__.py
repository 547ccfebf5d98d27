"""What represents a class."""

from captum_proto.attr.prototype_generation import PrototypeGeneration
from captum_proto.attr.prototypes import Prototypes
from captum_proto.attr.settings import GenerationSettings
from captum_proto.optim.presets import PAPER_TRANSFORM, PRESETS

__all__ = ["PAPER_TRANSFORM", "PRESETS", "GenerationSettings", "PrototypeGeneration", "Prototypes"]
