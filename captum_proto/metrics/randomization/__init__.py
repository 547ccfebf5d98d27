"""Sanity checks of explanations: do they change where the network knows nothing any more?"""

from captum_proto.metrics.randomization.controls import EdgeDetector, LinearControl, linear_control
from captum_proto.metrics.randomization.data import data_randomization, random_logit
from captum_proto.metrics.randomization.map_similarity import MEASURES, MapSimilarity, measures_for
from captum_proto.metrics.randomization.parameters import parameter_randomization
from captum_proto.metrics.randomization.prototypes import PrototypeRandomization, prototype_randomization
from captum_proto.metrics.randomization.result import RandomizationResult, Retained
from captum_proto.metrics.randomization.table import SanityTable
from captum_proto.metrics.randomization.verdict import SanityVerdict, verdict_table, verdicts

__all__ = [
    "MEASURES",
    "EdgeDetector",
    "LinearControl",
    "MapSimilarity",
    "PrototypeRandomization",
    "RandomizationResult",
    "Retained",
    "SanityTable",
    "SanityVerdict",
    "data_randomization",
    "linear_control",
    "measures_for",
    "parameter_randomization",
    "prototype_randomization",
    "random_logit",
    "verdict_table",
    "verdicts",
]
