"""Objectives of an optimization: losses as objects, which add, subtract and scale."""

from captum_proto.optim.loss.activation import (
    ActivationWeights,
    ChannelActivation,
    DeepDream,
    HeadActivation,
    LayerActivation,
    NeuronActivation,
)
from captum_proto.optim.loss.alignment import Alignment
from captum_proto.optim.loss.classes import (
    ClassLogit,
    CrossEntropy,
    ProbabilityVariance,
    class_probability,
    class_score,
    probability_variance,
)
from captum_proto.optim.loss.deep_inversion import FeatureDistribution, ImagePrior, deep_inversion_regularizer
from captum_proto.optim.loss.direction import (
    AngledNeuronDirection,
    Direction,
    NeuronDirection,
    TensorDirection,
    random_directions,
)
from captum_proto.optim.loss.distance import FeatureDistance
from captum_proto.optim.loss.diversity import Diversity, GramDiversity, PixelDiversity, as_diversity
from captum_proto.optim.loss.facet import FacetLoss
from captum_proto.optim.loss.fluency import Fluency
from captum_proto.optim.loss.match_activations import MatchActivations
from captum_proto.optim.loss.natural_activations import NaturalActivations
from captum_proto.optim.loss.natural_statistics import NaturalStatistics
from captum_proto.optim.loss.natural_units import stage_layers
from captum_proto.optim.loss.objective import Loss, Outputs, Rows, WeightedSum, partners_of
from captum_proto.optim.loss.pairs import ActivationInterpolation, Interaction, weight_grid
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
from captum_proto.optim.loss.rows import RowDistance
from captum_proto.optim.loss.style import Style, gram
from captum_proto.optim.loss.unit import LayerLoss, middle

__all__ = [
    "L1",
    "L2",
    "ActivationInterpolation",
    "ActivationWeights",
    "Alignment",
    "AngledNeuronDirection",
    "Blur",
    "BoundaryComplexity",
    "ChannelActivation",
    "ClassLogit",
    "CrossEntropy",
    "DeepDream",
    "Direction",
    "Diversity",
    "FacetLoss",
    "FeatureDistance",
    "FeatureDistribution",
    "Fluency",
    "GramDiversity",
    "HeadActivation",
    "HighFrequency",
    "ImagePrior",
    "Interaction",
    "LayerActivation",
    "LayerLoss",
    "Loss",
    "MatchActivations",
    "MeanAlpha",
    "NaturalActivations",
    "NaturalStatistics",
    "NeuronActivation",
    "NeuronDirection",
    "Outputs",
    "Penalty",
    "PixelDiversity",
    "ProbabilityVariance",
    "RowDistance",
    "Rows",
    "Style",
    "TensorDirection",
    "TotalVariation",
    "Transparent",
    "WeightedSum",
    "as_diversity",
    "class_probability",
    "class_score",
    "deep_inversion_regularizer",
    "default_high_frequency_weight",
    "gram",
    "middle",
    "partners_of",
    "probability_variance",
    "random_directions",
    "stage_layers",
    "weight_grid",
]
