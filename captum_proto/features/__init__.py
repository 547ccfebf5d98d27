"""What units and layers respond to: top examples, activation grid, semantic dictionary, neuron groups, activation atlas."""

from captum_proto.features.accentuation import Accentuations, FeatureAccentuation

__all__ = ["Accentuations", "FeatureAccentuation"]
