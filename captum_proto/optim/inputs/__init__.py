"""Parametrizations: what an optimization changes, and the images that it stands for."""

from captum_proto.optim.inputs.parametrization import PARAMETRIZATIONS, Parametrization, as_parametrization
from captum_proto.optim.inputs.pixels import Pixels
from captum_proto.optim.inputs.spectral import FourierImage, PhaseImage

__all__ = ["PARAMETRIZATIONS", "FourierImage", "Parametrization", "PhaseImage", "Pixels", "as_parametrization"]
