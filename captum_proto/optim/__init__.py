"""What an optimization is made of: inputs, transforms, losses, random numbers, and the engine that uses them."""

from captum_proto.optim import inputs, loss, transforms
from captum_proto.optim.input_optimization import InputOptimization
from captum_proto.optim.inputs import FFTImage, Parametrization, PhaseImage, PixelImage
from captum_proto.optim.loss import (
    AngledNeuronDirection,
    ChannelActivation,
    ClassLogit,
    Direction,
    Diversity,
    GramDiversity,
    HighFrequency,
    Loss,
    Outputs,
    PixelDiversity,
    ProbabilityVariance,
    default_high_frequency_weight,
    partners_of,
)
from captum_proto.optim.random import CONTROL, EVALUATION, START, TRANSFORM, RandomStream, prototype_keys
from captum_proto.optim.result import OptimizationResult, Step
from captum_proto.optim.settings import OptimizationSettings
from captum_proto.optim.transforms import (
    Compose,
    EachAffine,
    Pad,
    PerImage,
    RandomAffine,
    RandomChoiceAffine,
    SameSize,
    Transform,
    affine,
    feature_visualization_transform,
)
from captum_proto.optim.visualization import visualization_settings, visualize
from captum_proto.optim.visualizations import Visualizations

__all__ = [
    "CONTROL",
    "EVALUATION",
    "START",
    "TRANSFORM",
    "AngledNeuronDirection",
    "ChannelActivation",
    "ClassLogit",
    "Compose",
    "Direction",
    "Diversity",
    "EachAffine",
    "FFTImage",
    "GramDiversity",
    "HighFrequency",
    "InputOptimization",
    "Loss",
    "OptimizationResult",
    "OptimizationSettings",
    "Outputs",
    "Pad",
    "Parametrization",
    "PerImage",
    "PhaseImage",
    "PixelDiversity",
    "PixelImage",
    "ProbabilityVariance",
    "RandomAffine",
    "RandomChoiceAffine",
    "RandomStream",
    "SameSize",
    "Step",
    "Transform",
    "Visualizations",
    "affine",
    "default_high_frequency_weight",
    "feature_visualization_transform",
    "inputs",
    "loss",
    "partners_of",
    "prototype_keys",
    "transforms",
    "visualization_settings",
    "visualize",
]
