"""What units and layers respond to: top examples, activation grid, semantic dictionary, neuron groups, activation atlas."""

from captum_proto.features.activation_atlas import ActivationAtlas, AtlasResult

__all__ = ["ActivationAtlas", "AtlasResult"]
