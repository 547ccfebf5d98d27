"""A bias of known strength, found, tested and removed."""

from captum_proto.experiments.planted_bias.protocol import RATES, planted_bias_to_folder, prototypes_of_digits
from captum_proto.experiments.planted_bias.results import CLEANED, Measured, Trend, measure, trend

__all__ = [
    "CLEANED",
    "RATES",
    "Measured",
    "Trend",
    "measure",
    "planted_bias_to_folder",
    "prototypes_of_digits",
    "trend",
]
