"""What units and layers respond to: top examples, activation grid, semantic dictionary, neuron groups, activation atlas."""

from captum_proto.features.activation_grid import ActivationGrid, ActivationGridResult
from captum_proto.features.attribution import UnitAttribution, UnitAttributions, relaxed_max_pool
from captum_proto.features.neuron_groups import NeuronGroups, NeuronGroupsResult
from captum_proto.features.semantic_dictionary import Entry, SemanticDictionary, SemanticDictionaryResult

__all__ = [
    "ActivationGrid",
    "ActivationGridResult",
    "Entry",
    "NeuronGroups",
    "NeuronGroupsResult",
    "SemanticDictionary",
    "SemanticDictionaryResult",
    "UnitAttribution",
    "UnitAttributions",
    "relaxed_max_pool",
]
