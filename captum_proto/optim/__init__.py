"""What an optimization is made of: random numbers, transforms, losses, and the ascent that uses them."""

from captum_proto.optim.ascent import Ascent, AscentResult, AscentSettings, Step
from captum_proto.optim.inputs.parametrization import Parametrization
from captum_proto.optim.inputs.pixels import Pixels
from captum_proto.optim.inputs.spectral import FourierImage, PhaseImage
from captum_proto.optim.loss.diversity import Diversity, GramDiversity, PixelDiversity, partners_of
from captum_proto.optim.random import CONTROL, EVALUATION, START, TRANSFORM, RandomStream, prototype_keys
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

__all__ = [
    "CONTROL",
    "EVALUATION",
    "START",
    "TRANSFORM",
    "Ascent",
    "AscentResult",
    "AscentSettings",
    "Compose",
    "Diversity",
    "EachAffine",
    "FourierImage",
    "GramDiversity",
    "Pad",
    "Parametrization",
    "PerImage",
    "PhaseImage",
    "PixelDiversity",
    "Pixels",
    "RandomAffine",
    "RandomChoiceAffine",
    "RandomStream",
    "SameSize",
    "Step",
    "Transform",
    "affine",
    "feature_visualization_transform",
    "partners_of",
    "prototype_keys",
]
