"""Networks that fool feature visualization, and which measures notice."""

from captum_proto.experiments.fooling.agreements import Agreement, agreement
from captum_proto.experiments.fooling.areas import noticed, separating_area
from captum_proto.experiments.fooling.protocol import NETWORKS, Fooling
from captum_proto.experiments.fooling.results import FoolingResult
from captum_proto.experiments.fooling.rows import Row, judge, mean_of, separation
from captum_proto.experiments.fooling.scores import MEASURES, Measure, Score, score_pictures

__all__ = [
    "MEASURES",
    "NETWORKS",
    "Agreement",
    "Fooling",
    "FoolingResult",
    "Measure",
    "Row",
    "Score",
    "agreement",
    "judge",
    "mean_of",
    "noticed",
    "score_pictures",
    "separating_area",
    "separation",
]
