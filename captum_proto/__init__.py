"""What does a class look like to a model, and can that picture be trusted? Prototype Generation and path similarity, beside Captum."""

from captum_proto import ops
from captum_proto.attr import PRESETS, PrototypeGeneration, Prototypes
from captum_proto.capture import capture
from captum_proto.metrics import PathComparison, PathReference, PathScores, PathSimilarity, path_similarity
from captum_proto.optim import RandomAffine

__all__ = [
    "PRESETS",
    "PathComparison",
    "PathReference",
    "PathScores",
    "PathSimilarity",
    "PrototypeGeneration",
    "Prototypes",
    "RandomAffine",
    "capture",
    "ops",
    "path_similarity",
]
