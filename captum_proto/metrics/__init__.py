"""How far to trust a prototype."""

from captum_proto.metrics.comparison import GroupSummary, PathComparison, smooth, summarise
from captum_proto.metrics.controls import CONTROLS
from captum_proto.metrics.groups import GroupComparison, GroupResult, PairResult, compare_groups
from captum_proto.metrics.path_similarity import PathScores, PathSimilarity, path_similarity
from captum_proto.metrics.reference import PathReference
from captum_proto.metrics.statistics import Estimate

__all__ = [
    "CONTROLS",
    "Estimate",
    "GroupComparison",
    "GroupResult",
    "GroupSummary",
    "PairResult",
    "PathComparison",
    "PathReference",
    "PathScores",
    "PathSimilarity",
    "compare_groups",
    "path_similarity",
    "smooth",
    "summarise",
]
