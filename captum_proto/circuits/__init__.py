"""Weights between units: expanded weights."""

from captum_proto.circuits.expanded import expanded_weights
from captum_proto.circuits.weights import Connection, ExpandedWeights

__all__ = ["Connection", "ExpandedWeights", "expanded_weights"]
