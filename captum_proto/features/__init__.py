"""What units and layers respond to: top examples, activation grid, semantic dictionary, neuron groups, activation atlas."""

from captum_proto.features.accentuation import Accentuations, FeatureAccentuation
from captum_proto.features.example_state import ExampleState
from captum_proto.features.examples import Examples, LayerExamples
from captum_proto.features.receptive_field import Box, receptive_field
from captum_proto.features.top_examples import TopExamples

__all__ = [
    "Accentuations",
    "Box",
    "ExampleState",
    "Examples",
    "FeatureAccentuation",
    "LayerExamples",
    "TopExamples",
    "receptive_field",
]
