"""Images from phases under the mean magnitude spectrum of photographs, in the form in which MACO was published."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from captum_proto._utils.errors import InputError, MissingFileError
from captum_proto._utils.files import intact, load_tensors, save_tensors
from captum_proto._utils.reading import read_array
from captum_proto.optim.inputs.base import Parametrization
from captum_proto.optim.inputs.colors import squeezed
from captum_proto.optim.inputs.spectral import PhaseImage
from captum_proto.optim.random import RandomStream

_KIND = "magnitude spectrum"
#: What the published code adds to a standard deviation before it divides.
_EPS = 1e-5

Self = TypeVar("Self", bound="MACOImage")


class MACOImage(PhaseImage):
    r"""
    Images of the mean magnitude spectrum of photographs, of which only the phase is optimized: the parametrization of MACO.

    .. math::
        x = \sigma\bigl(C \operatorname{std}(\operatorname{irfft2}(m \odot e^{i \operatorname{std}(\varphi)}))\bigr)

    with std the standardization to mean 0 and deviation 1 over all entries of one picture. Of Fel et al., "Unlocking Feature Visualization
    for Deeper Networks with MAgnitude Constrained Optimization" (arXiv:2306.06805, section 3), as the authors' libraries Xplique and Horama
    have it; the paper's formula has neither standardization. :class:`PhaseImage` differs: its phases start anywhere on the circle, and its
    contrast is that of the magnitudes. The sigmoid fills the value range, where those libraries fill a range of normalized pixels.

    Args:
        magnitudes (Tensor, optional): m, (C, H, W // 2 + 1), of any overall size; of another resolution than the images it is resized
            bilinearly, as in the libraries. See :meth:`measured`, and :meth:`load`. Default: None; images cannot be made without
        decorrelate (bool, optional): Whether three channels are mixed by the color correlations. Default: True

    Raises:
        ValueError: If ``magnitudes`` are not finite and at least 0, and where images are to be made, if there are none.

    Examples::

        >>> photographs = torch.rand(4, 3, 32, 32)
        >>> maco = MACOImage.measured(photographs).for_images((3, 32, 32), (0.0, 1.0))
        >>> parameters = maco.start(RandomStream(prototype_keys([0], [(12,)]), START), (3, 32, 32))
        >>> maco.render(parameters).shape
        torch.Size([1, 3, 32, 32])
    """

    def __init__(self, magnitudes: Tensor | None = None, decorrelate: bool = True) -> None:
        super().__init__(magnitudes=magnitudes, decorrelate=decorrelate)

    def settings(self) -> dict[str, Any]:
        settings = super().settings()
        return {"name": "MACOImage", "decorrelate": self.decorrelate, "magnitudes": settings.get("magnitudes")}

    def __repr__(self) -> str:
        what = None if self.magnitudes is None else tuple(self.magnitudes.shape)
        return f"MACOImage(magnitudes={what}, decorrelate={self.decorrelate})"

    def for_images(self: Self, shape: tuple[int, ...], value_range: tuple[float, float]) -> Self:
        if self.magnitudes is None:
            raise InputError(
                "MACO needs the mean magnitude spectrum of photographs; give parametrization=MACOImage.measured(photographs) or "
                "MACOImage.load(file), on the command line --natural-images or --spectrum, or choose a preset that needs none."
            )
        if len(shape) != 3 or shape[0] != len(self.magnitudes):
            raise InputError(
                f"the magnitude spectrum has {len(self.magnitudes)} channels, for inputs of shape {tuple(shape)}; measure it on images of "
                "as many channels."
            )
        return super().for_images(shape, value_range)

    def start(self, random: RandomStream, shape: tuple[int, ...]) -> dict[str, Tensor]:
        channels, height, width = shape
        size = (channels, height, width // 2 + 1)
        return {"phases": random.normal(math.prod(size)).view(-1, *size)}

    def render(self, parameters: dict[str, Tensor]) -> Tensor:
        channels, height, width = self.shape
        phases = _standardized(parameters["phases"])
        magnitudes = self._scale(channels, height, width, phases)
        spectrum = torch.complex(magnitudes * phases.cos(), magnitudes * phases.sin())
        planes = _standardized(torch.fft.irfft2(spectrum, s=(height, width), norm="ortho"))
        return squeezed(planes, self.value_range, self.decorrelate)

    def parameters_of(self, images: Tensor) -> dict[str, Tensor]:
        """None: standardized, the phases of a given image are not its own."""
        return Parametrization.parameters_of(self, images)

    def _scale(self, channels: int, height: int, width: int, like: Tensor) -> Tensor:
        key = (channels, height, width, like.dtype, like.device)
        if key not in self._scales:
            assert self.magnitudes is not None  # looked at in for_images
            magnitudes = self.magnitudes
            if tuple(magnitudes.shape[1:]) != (height, width // 2 + 1):
                size = (height, width // 2 + 1)
                magnitudes = torch.nn.functional.interpolate(
                    magnitudes.unsqueeze(0), size, mode="bilinear", align_corners=False, antialias=True
                )[0]
            self._scales[key] = (magnitudes / magnitudes.square().mean().sqrt()).to(like.device, like.dtype)
        return self._scales[key]

    def save(self, path: str | os.PathLike[str], overwrite: bool = False) -> None:
        """
        Write the magnitudes to a safetensors file.

        Args:
            path (path): The file, by custom ``….safetensors``.
            overwrite (bool, optional): Whether an existing file may be replaced. Default: False

        Raises:
            FileExistsError: If the file exists and ``overwrite`` is False.
            ValueError: If there are no magnitudes.
        """
        if self.magnitudes is None:
            raise InputError("there is no magnitude spectrum to save; measure one: MACOImage.measured(photographs).")
        save_tensors(path, _KIND, {"magnitudes": self.magnitudes}, {"decorrelate": self.decorrelate}, overwrite)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> MACOImage:
        """
        Read what :meth:`save` wrote, or a spectrum as the authors of MACO publish it: a NumPy array (C, H, W // 2 + 1) in an ``.npy`` file,
        of images with decorrelated colors.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is damaged or holds something else.
        """
        if Path(path).suffix != ".npy":
            tensors, metadata = load_tensors(path, _KIND)
            with intact(path, _KIND):
                return cls(tensors["magnitudes"], bool(metadata["decorrelate"]))
        if not Path(path).is_file():
            raise MissingFileError(f'there is no file "{path}"; give one that holds a magnitude spectrum.')
        with intact(path, _KIND):
            values = read_array(path)
            if values.dtype.kind != "f" or values.ndim != 3:
                raise ValueError(f"an array of {values.dtype} and shape {values.shape}, not (C, H, W // 2 + 1)")
            return cls(torch.from_numpy(values.astype(np.float64)))


def _standardized(values: Tensor) -> Tensor:
    """Values (N, ...) with mean 0 and deviation 1 in each row."""
    axes = tuple(range(1, values.dim()))
    deviation, mean = torch.std_mean(values, axes, correction=0, keepdim=True)
    return (values - mean) / (deviation + _EPS)


__all__ = ["MACOImage"]
