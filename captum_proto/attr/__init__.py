"""What represents a class."""

from captum_proto.attr.prototype_generation import PAPER_TRANSFORM, PrototypeGeneration
from captum_proto.attr.prototypes import Prototypes

__all__ = ["PAPER_TRANSFORM", "PrototypeGeneration", "Prototypes"]
