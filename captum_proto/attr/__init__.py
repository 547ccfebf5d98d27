"""What represents a class, what speaks for it in an image, and what a layer contributes to a decision."""

from captum_proto.attr.grad_cam import GradCam, last_map
from captum_proto.attr.guided import with_plain_relus
from captum_proto.attr.layer_activation_path import LayerActivationPath, PathAttributions
from captum_proto.attr.prototype_generation import PrototypeGeneration
from captum_proto.attr.prototypes import Prototypes
from captum_proto.attr.settings import GenerationSettings
from captum_proto.optim.presets import PAPER_TRANSFORM, PRESETS

__all__ = [
    "PAPER_TRANSFORM",
    "PRESETS",
    "GenerationSettings",
    "GradCam",
    "LayerActivationPath",
    "PathAttributions",
    "PrototypeGeneration",
    "Prototypes",
    "last_map",
    "with_plain_relus",
]
