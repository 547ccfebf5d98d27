"""Whether pictures of classes tell the triggers of trojans: an eight-way choice, for a network that is given and for small ones of ours."""

from captum_proto.experiments.trojans.page import trojans_page
from captum_proto.experiments.trojans.planted import PLANTED_METHODS, PlantedTrojans
from captum_proto.experiments.trojans.protocol import METHODS, Trojans, method_options
from captum_proto.experiments.trojans.results import Attack, Choice, TrojanResult
from captum_proto.experiments.trojans.table import BENCHMARK, Trojan, read_trojans

__all__ = [
    "BENCHMARK",
    "METHODS",
    "PLANTED_METHODS",
    "Attack",
    "Choice",
    "PlantedTrojans",
    "Trojan",
    "TrojanResult",
    "Trojans",
    "method_options",
    "read_trojans",
    "trojans_page",
]
