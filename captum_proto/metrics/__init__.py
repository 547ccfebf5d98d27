"""How far to trust a prototype, a picture of a unit, or a direction."""

from captum_proto.metrics.comparison import ConditionSummary, PathComparison, summarize
from captum_proto.metrics.controls import CONTROLS, DATA_FREE
from captum_proto.metrics.coverage import Coverage, CoverageRow, TargetCoverage, coverage
from captum_proto.metrics.depth import DepthSummary, depth_above_half, depth_table, smooth, summarize_depths
from captum_proto.metrics.direction_agreement import agreement, expected_agreement
from captum_proto.metrics.failures import EpisodeEnds, FailureChange, compare_failures, failure_table, play_levels
from captum_proto.metrics.group_comparison import PairResult, SubgroupComparison, SubgroupResult, compare_groups
from captum_proto.metrics.kernel_distance import KernelDistance, kernel_distance
from captum_proto.metrics.naming import Naming, name_by_features, name_by_logits
from captum_proto.metrics.nearest_class import NearestClass, nearest_class
from captum_proto.metrics.nearest_result import NearestClassResult, NearestClassSummary, nearest_class_table
from captum_proto.metrics.object_agreement import ObjectAgreement, object_agreement
from captum_proto.metrics.pairwise import PairwiseSimilarity, pairwise_similarity
from captum_proto.metrics.path_scores import PathScores
from captum_proto.metrics.path_similarity import PathSimilarity, path_similarity
from captum_proto.metrics.pointing_game import PointingGame, pointing_game
from captum_proto.metrics.randomization import (
    EdgeDetector,
    RandomizationResult,
    data_randomization,
    linear_control,
    parameter_randomization,
    prototype_randomization,
    random_logit,
)
from captum_proto.metrics.recognition import (
    Recognition,
    RelativeRecognition,
    recognition,
    recognized,
    relative_recognition,
)
from captum_proto.metrics.reference import PathReference
from captum_proto.metrics.retrieval import Retrieval, retrieval
from captum_proto.metrics.sorted_comparison import SortedComparison, SortedSummary, summarize_sorted
from captum_proto.metrics.sorted_reference import SortedReference
from captum_proto.metrics.sorted_similarity import SortedScores, SortedSimilarity
from captum_proto.metrics.verifier import as_saved, classes_in, verifier_features, verifier_logits, verifier_view
from captum_proto.metrics.visualization_score import (
    VisualizationScore,
    VisualizationScores,
    visualization_score,
    visualization_scores,
)
from captum_proto.stats.intervals import Estimate

__all__ = [
    "CONTROLS",
    "DATA_FREE",
    "ConditionSummary",
    "Coverage",
    "CoverageRow",
    "DepthSummary",
    "EdgeDetector",
    "EpisodeEnds",
    "Estimate",
    "FailureChange",
    "KernelDistance",
    "Naming",
    "NearestClass",
    "NearestClassResult",
    "NearestClassSummary",
    "ObjectAgreement",
    "PairResult",
    "PairwiseSimilarity",
    "PathComparison",
    "PathReference",
    "PathScores",
    "PathSimilarity",
    "PointingGame",
    "RandomizationResult",
    "Recognition",
    "RelativeRecognition",
    "Retrieval",
    "SortedComparison",
    "SortedReference",
    "SortedScores",
    "SortedSimilarity",
    "SortedSummary",
    "SubgroupComparison",
    "SubgroupResult",
    "TargetCoverage",
    "VisualizationScore",
    "VisualizationScores",
    "agreement",
    "as_saved",
    "classes_in",
    "compare_failures",
    "compare_groups",
    "coverage",
    "data_randomization",
    "depth_above_half",
    "depth_table",
    "expected_agreement",
    "failure_table",
    "kernel_distance",
    "linear_control",
    "name_by_features",
    "name_by_logits",
    "nearest_class",
    "nearest_class_table",
    "object_agreement",
    "pairwise_similarity",
    "parameter_randomization",
    "path_similarity",
    "play_levels",
    "pointing_game",
    "prototype_randomization",
    "random_logit",
    "recognition",
    "recognized",
    "relative_recognition",
    "retrieval",
    "smooth",
    "summarize",
    "summarize_depths",
    "summarize_sorted",
    "verifier_features",
    "verifier_logits",
    "verifier_view",
    "visualization_score",
    "visualization_scores",
]
