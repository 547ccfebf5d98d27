"""What units and layers respond to: top examples, grid, semantic dictionary, neuron groups, features of attributions, activation atlas."""

from captum_proto.features.accentuation import Accentuations, FeatureAccentuation
from captum_proto.features.activation_atlas import ActivationAtlas, AtlasResult
from captum_proto.features.activation_grid import ActivationGrid, ActivationGridResult
from captum_proto.features.attribution import UnitAttribution, UnitAttributions, relaxed_max_pool
from captum_proto.features.attribution_nmf import AttributionNMF, FeatureAttributions
from captum_proto.features.example_state import ExampleState
from captum_proto.features.examples import Examples, LayerExamples
from captum_proto.features.multimodal import (
    EmbeddingSimilarity,
    MultimodalUnit,
    TextExamples,
    image_directions,
    multimodal_units,
    text_examples,
    visualize_texts,
)
from captum_proto.features.neuron_groups import NeuronGroups, NeuronGroupsResult
from captum_proto.features.receptive_field import Box, receptive_field
from captum_proto.features.semantic_dictionary import Entry, SemanticDictionary, SemanticDictionaryResult
from captum_proto.features.top_examples import TopExamples

__all__ = [
    "Accentuations",
    "ActivationAtlas",
    "ActivationGrid",
    "ActivationGridResult",
    "AtlasResult",
    "AttributionNMF",
    "Box",
    "EmbeddingSimilarity",
    "Entry",
    "ExampleState",
    "Examples",
    "FeatureAccentuation",
    "FeatureAttributions",
    "LayerExamples",
    "MultimodalUnit",
    "NeuronGroups",
    "NeuronGroupsResult",
    "SemanticDictionary",
    "SemanticDictionaryResult",
    "TextExamples",
    "TopExamples",
    "UnitAttribution",
    "UnitAttributions",
    "image_directions",
    "multimodal_units",
    "receptive_field",
    "relaxed_max_pool",
    "text_examples",
    "visualize_texts",
]
