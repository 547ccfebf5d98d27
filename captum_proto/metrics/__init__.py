"""How far to trust a prototype."""

from captum_proto.metrics.comparison import GroupSummary, PathComparison, smooth, summarise
from captum_proto.metrics.controls import CONTROLS, DATA_FREE
from captum_proto.metrics.diversity import PairwiseSimilarity, pairwise_similarity
from captum_proto.metrics.path_similarity import PathScores, PathSimilarity, path_similarity
from captum_proto.metrics.reference import PathReference

__all__ = [
    "CONTROLS",
    "DATA_FREE",
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
