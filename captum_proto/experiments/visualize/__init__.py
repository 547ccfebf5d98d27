"""Pictures of what units of a network respond to, with the natural images that excite them most, and a score."""

from captum_proto.experiments.visualize.natural import POOLS, NaturalExamples
from captum_proto.experiments.visualize.page import stem_of, visualization_page
from captum_proto.experiments.visualize.protocol import Visualize
from captum_proto.experiments.visualize.units import (
    FIRST,
    LayerUnits,
    channels_in,
    chosen_layers,
    parse_units,
    read_directions,
)

__all__ = [
    "FIRST",
    "POOLS",
    "LayerUnits",
    "NaturalExamples",
    "Visualize",
    "channels_in",
    "chosen_layers",
    "parse_units",
    "read_directions",
    "stem_of",
    "visualization_page",
]
