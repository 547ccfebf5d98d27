"""Random transforms whose draws belong to the image, not to the batch."""

from captum_proto.optim.transforms.affine import CONTINUATIONS, EachAffine, RandomAffine, RandomChoiceAffine, affine
from captum_proto.optim.transforms.alpha import BlendAlpha, IgnoreAlpha
from captum_proto.optim.transforms.base import Compose, Pad, PerImage, SameSize, Transform, as_transform
from captum_proto.optim.transforms.crops import CenterCrop, RandomCrop, RandomResizedCrop, RandomSpatialJitter
from captum_proto.optim.transforms.noise import GaussianNoise
from captum_proto.optim.transforms.standard import (
    GaussianSmoothing,
    RandomRotation,
    RandomScale,
    feature_visualization_transform,
)
from captum_proto.optim.transforms.symmetries import RandomHorizontalFlip, RandomRoll

__all__ = [
    "CONTINUATIONS",
    "BlendAlpha",
    "CenterCrop",
    "Compose",
    "EachAffine",
    "GaussianNoise",
    "GaussianSmoothing",
    "IgnoreAlpha",
    "Pad",
    "PerImage",
    "RandomAffine",
    "RandomChoiceAffine",
    "RandomCrop",
    "RandomHorizontalFlip",
    "RandomResizedCrop",
    "RandomRoll",
    "RandomRotation",
    "RandomScale",
    "RandomSpatialJitter",
    "SameSize",
    "Transform",
    "affine",
    "as_transform",
    "feature_visualization_transform",
]
