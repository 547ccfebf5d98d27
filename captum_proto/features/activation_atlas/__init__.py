"""
Activation atlases: what a layer knows, laid out on a plane (Carter et al. 2019).

Vectors are collected from images that stream by, laid out, gridded with exact means, and each cell's mean direction is drawn.
"""

from captum_proto.features.activation_atlas.atlas import ActivationAtlas
from captum_proto.features.activation_atlas.grid import AtlasLevel
from captum_proto.features.activation_atlas.layout import lay_out, neighbors_kept, normalize_layout
from captum_proto.features.activation_atlas.patch import PatchResult, PatchTrial, try_patch
from captum_proto.features.activation_atlas.result import AtlasResult
from captum_proto.features.activation_atlas.vectors import AtlasVectors

__all__ = [
    "ActivationAtlas",
    "AtlasLevel",
    "AtlasResult",
    "AtlasVectors",
    "PatchResult",
    "PatchTrial",
    "lay_out",
    "neighbors_kept",
    "normalize_layout",
    "try_patch",
]
