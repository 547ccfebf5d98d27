"""How a unit is computed: its circuit, the six checks of a curve detector, and whether it is one thing and found elsewhere."""

from captum_proto.experiments.circuit.page import circuit_page
from captum_proto.experiments.circuit.protocol import TraceCircuit

__all__ = ["TraceCircuit", "circuit_page"]
