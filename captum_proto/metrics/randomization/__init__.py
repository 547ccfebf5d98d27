"""Sanity checks of explanations: do they change where the network knows nothing any more?"""

from captum_proto.metrics.randomization.controls import EdgeDetector, LinearControl, linear_control
from captum_proto.metrics.randomization.map_similarity import MEASURES, MapSimilarity, measures_for
from captum_proto.metrics.randomization.parameters import parameter_randomization
from captum_proto.metrics.randomization.result import RandomizationResult, Retained

__all__ = [
    "MEASURES",
    "EdgeDetector",
    "LinearControl",
    "MapSimilarity",
    "RandomizationResult",
    "Retained",
    "linear_control",
    "measures_for",
    "parameter_randomization",
]
