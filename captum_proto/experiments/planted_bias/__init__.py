"""A bias of known strength, found, tested and removed."""

from captum_proto.experiments.planted_bias.findings import conclusion
from captum_proto.experiments.planted_bias.protocol import RATES, PlantedBias, prototypes_of_digits
from captum_proto.experiments.planted_bias.results import (
    CLEANED,
    Measured,
    PlantedBiasResult,
    Trend,
    comparison_title,
    measure,
    trend,
)

__all__ = [
    "CLEANED",
    "RATES",
    "Measured",
    "PlantedBias",
    "PlantedBiasResult",
    "Trend",
    "comparison_title",
    "conclusion",
    "measure",
    "prototypes_of_digits",
    "trend",
]
