"""Objectives of an optimization."""

from captum_proto.optim.loss.classes import class_probability, class_score, probability_variance
from captum_proto.optim.loss.diversity import Diversity, GramDiversity, PixelDiversity, as_diversity, partners_of

__all__ = [
    "Diversity",
    "GramDiversity",
    "PixelDiversity",
    "as_diversity",
    "class_probability",
    "class_score",
    "partners_of",
    "probability_variance",
]
