"""Parametrizations: what an optimization changes, and the images that it stands for."""

from captum_proto.optim.inputs.base import Parametrization
from captum_proto.optim.inputs.composed import AlphaImage, MaskedImage
from captum_proto.optim.inputs.cppn import CPPNImage
from captum_proto.optim.inputs.laplacian import LaplacianImage
from captum_proto.optim.inputs.latent import LatentImage
from captum_proto.optim.inputs.maco import MACOImage
from captum_proto.optim.inputs.parametrization import PARAMETRIZATIONS, as_parametrization
from captum_proto.optim.inputs.pixels import PixelImage
from captum_proto.optim.inputs.spectral import FFTImage, PhaseImage
from captum_proto.optim.inputs.stacked import SharedImage, StackImage
from captum_proto.optim.inputs.tabular import TabularInput
from captum_proto.optim.inputs.text import TextInput

__all__ = [
    "PARAMETRIZATIONS",
    "AlphaImage",
    "CPPNImage",
    "FFTImage",
    "LaplacianImage",
    "LatentImage",
    "MACOImage",
    "MaskedImage",
    "Parametrization",
    "PhaseImage",
    "PixelImage",
    "SharedImage",
    "StackImage",
    "TabularInput",
    "TextInput",
    "as_parametrization",
]
