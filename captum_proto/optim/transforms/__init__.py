"""Random transforms whose draws belong to the image, not to the batch."""

from captum_proto.optim.transforms.affine import EachAffine, RandomAffine, RandomChoiceAffine, affine
from captum_proto.optim.transforms.base import Compose, Pad, PerImage, SameSize, Transform, as_transform
from captum_proto.optim.transforms.standard import feature_visualization_transform

__all__ = [
    "Compose",
    "EachAffine",
    "Pad",
    "PerImage",
    "RandomAffine",
    "RandomChoiceAffine",
    "SameSize",
    "Transform",
    "affine",
    "as_transform",
    "feature_visualization_transform",
]
