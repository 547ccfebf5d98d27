"""Every measure of prototypes, for several methods beside controls and natural images."""

from captum_proto.experiments.quality.pairs import QualityPairs
from captum_proto.experiments.quality.protocol import Quality
from captum_proto.experiments.quality.result import QualityResult

__all__ = ["Quality", "QualityPairs", "QualityResult"]
