"""How well the images of a direction agree: a layer's channels beside random, principal and non-negative directions."""

from captum_proto.experiments.direction_agreement.page import conclusion
from captum_proto.experiments.direction_agreement.protocol import CompareDirections
from captum_proto.experiments.direction_agreement.results import DirectionAgreement, KindAgreement, frame_test
from captum_proto.experiments.direction_agreement.settings import DirectionSettings

__all__ = [
    "CompareDirections",
    "DirectionAgreement",
    "DirectionSettings",
    "KindAgreement",
    "conclusion",
    "frame_test",
]
