"""Parametrizations: what an optimization changes, and the images that it stands for."""

from captum_proto.optim.inputs.base import Parametrization
from captum_proto.optim.inputs.parametrization import PARAMETRIZATIONS, as_parametrization
from captum_proto.optim.inputs.pixels import PixelImage
from captum_proto.optim.inputs.spectral import FFTImage, PhaseImage

__all__ = ["PARAMETRIZATIONS", "FFTImage", "Parametrization", "PhaseImage", "PixelImage", "as_parametrization"]
