"""Objectives of an optimization: losses as objects, which add, subtract and scale."""

from captum_proto.optim.loss.activation import ChannelActivation
from captum_proto.optim.loss.classes import (
    ClassLogit,
    ProbabilityVariance,
    class_probability,
    class_score,
    probability_variance,
)
from captum_proto.optim.loss.direction import AngledNeuronDirection, Direction
from captum_proto.optim.loss.distance import FeatureDistance
from captum_proto.optim.loss.diversity import Diversity, GramDiversity, PixelDiversity, as_diversity
from captum_proto.optim.loss.objective import Loss, Outputs, Rows, WeightedSum, partners_of
from captum_proto.optim.loss.penalties import (
    L1,
    L2,
    Blur,
    BoundaryComplexity,
    MeanAlpha,
    Penalty,
    TotalVariation,
    Transparent,
)
from captum_proto.optim.loss.regularizer import HighFrequency, default_high_frequency_weight

__all__ = [
    "L1",
    "L2",
    "AngledNeuronDirection",
    "Blur",
    "BoundaryComplexity",
    "ChannelActivation",
    "ClassLogit",
    "Direction",
    "Diversity",
    "FeatureDistance",
    "GramDiversity",
    "HighFrequency",
    "Loss",
    "MeanAlpha",
    "Outputs",
    "Penalty",
    "PixelDiversity",
    "ProbabilityVariance",
    "Rows",
    "TotalVariation",
    "Transparent",
    "WeightedSum",
    "as_diversity",
    "class_probability",
    "class_score",
    "default_high_frequency_weight",
    "partners_of",
    "probability_variance",
]
