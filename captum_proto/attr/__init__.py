"""What represents a class."""

from captum_proto.attr.presets import PAPER_TRANSFORM, PRESETS
from captum_proto.attr.prototype_generation import PrototypeGeneration
from captum_proto.attr.prototypes import Prototypes

__all__ = ["PAPER_TRANSFORM", "PRESETS", "PrototypeGeneration", "Prototypes"]
