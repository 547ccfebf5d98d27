"""How far to trust a prototype."""

from captum_proto.metrics.comparison import GroupSummary, PathComparison, smooth, summarise
from captum_proto.metrics.controls import CONTROLS
from captum_proto.metrics.diversity import PairwiseSimilarity, pairwise_similarity
from captum_proto.metrics.path_similarity import PathScores, PathSimilarity, path_similarity
from captum_proto.metrics.reference import PathReference

__all__ = [
    "CONTROLS",
    "GroupSummary",
    "PairwiseSimilarity",
    "PathComparison",
    "PathReference",
    "PathScores",
    "PathSimilarity",
    "pairwise_similarity",
    "path_similarity",
    "smooth",
    "summarise",
]
