"""What an optimisation is made of: random numbers, transforms, losses, and the ascent that uses them."""

from captum_proto.optim.ascent import Ascent, AscentResult, AscentSettings, Step
from captum_proto.optim.diversity import Diversity, GramDiversity, PixelDiversity, partners_of
from captum_proto.optim.images import FourierImage, Parametrization, Pixels
from captum_proto.optim.random import CONTROL, EVALUATION, START, TRANSFORM, RandomStream, prototype_keys
from captum_proto.optim.transforms import Compose, PerImage, RandomAffine, Transform, affine

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
    "FourierImage",
    "GramDiversity",
    "Parametrization",
    "PerImage",
    "PixelDiversity",
    "Pixels",
    "RandomAffine",
    "RandomStream",
    "Step",
    "Transform",
    "affine",
    "partners_of",
    "prototype_keys",
]
