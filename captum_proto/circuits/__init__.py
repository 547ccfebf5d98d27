"""How units are computed from earlier ones: expanded weights, tuning curves, weights by hand; and whether units are found elsewhere."""

from captum_proto.circuits.expanded import LinearizedNetwork, expanded_weights
from captum_proto.circuits.factors import WeightFactors, weight_factors
from captum_proto.circuits.hand_made import (
    PutBack,
    correlation,
    curve_weights,
    line_preferences,
    odd_square,
    weights_by_orientation,
)
from captum_proto.circuits.icons import position_icons
from captum_proto.circuits.polysemanticity import Clusters, example_clusters, gap_statistic
from captum_proto.circuits.stimuli import STIMULI, corner, curve, edge, high_low_frequency, line
from captum_proto.circuits.tuning import Tuning, TuningCurve, pooled_maps, turned
from captum_proto.circuits.universality import UnitMatches, match_units
from captum_proto.circuits.weights import Connection, ExpandedWeights, drawn

__all__ = [
    "STIMULI",
    "Clusters",
    "Connection",
    "ExpandedWeights",
    "LinearizedNetwork",
    "PutBack",
    "Tuning",
    "TuningCurve",
    "UnitMatches",
    "WeightFactors",
    "corner",
    "correlation",
    "curve",
    "curve_weights",
    "drawn",
    "edge",
    "example_clusters",
    "expanded_weights",
    "gap_statistic",
    "high_low_frequency",
    "line",
    "line_preferences",
    "match_units",
    "odd_square",
    "pooled_maps",
    "position_icons",
    "turned",
    "weight_factors",
    "weights_by_orientation",
]
