"""Images from their Fourier coefficients, or from the phases of a fixed spectrum."""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Iterable
from typing import Any, TypeVar

import torch
from torch import Tensor

from captum_proto._utils.batches import image_batches
from captum_proto._utils.errors import InputError
from captum_proto.optim.inputs.base import Parametrization
from captum_proto.optim.inputs.colors import planes_of, squeezed
from captum_proto.optim.random import RandomStream
from captum_proto.stats.moments import Moments

Self = TypeVar("Self", bound="_Spectral")
#: How near its limit the mean of a plane of a given image may be: at the limit itself its coefficient is infinite.
_WITHIN = 0.999


class _Spectral(Parametrization):
    """Of frequencies, which may open one after the other while the optimization goes on, and half of which make a smaller picture."""

    def __init__(self, coarse_to_fine: float, half_size: float) -> None:
        for name, share in (("coarse_to_fine", coarse_to_fine), ("half_size", half_size)):
            if not 0 <= share <= 1:
                raise InputError(f"{name} is {share}; expected a share of the steps, from 0 to 1.")
        self.coarse_to_fine, self.half_size = float(coarse_to_fine), float(half_size)
        self.resizes = self.half_size > 0
        self._opened = 1.0  # of the way from the lowest frequencies to all
        self._halved = False
        self._scales: dict[tuple[Any, ...], Tensor] = {}
        self._octaves: dict[tuple[Any, ...], tuple[Tensor, float]] = {}

    @property
    def changes_until(self) -> float:
        return max(self.coarse_to_fine, self.half_size)

    def at(self: Self, progress: float) -> Self:
        made = copy.copy(self)
        made._opened = progress / self.coarse_to_fine if progress < self.coarse_to_fine else 1.0
        made._halved = progress < self.half_size
        return made

    def for_images(self: Self, shape: tuple[int, ...], value_range: tuple[float, float]) -> Self:
        if self.resizes and min(shape[1:]) < 4:
            raise InputError(f"half_size is {self.half_size}, and images are {shape[1]} x {shape[2]}; leave it out.")
        return super().for_images(shape, value_range)

    def _course(self) -> dict[str, float]:
        """What is recorded of the way from coarse to fine: nothing where there is none."""
        shares = {"coarse_to_fine": self.coarse_to_fine, "half_size": self.half_size}
        return {name: share for name, share in shares.items() if share}

    def _named(self, *settings: str) -> str:
        return f"{type(self).__name__}({', '.join([*settings, *(f'{k}={v:g}' for k, v in self._course().items())])})"

    def _planes(self, spectrum: Tensor) -> Tensor:
        """What a spectrum (N, C, H, W // 2 + 1) is the transform of; at half the size, every second pixel of its lower half."""
        _, height, width = self.shape
        if not self._halved:
            return torch.fft.irfft2(spectrum, s=(height, width), norm="ortho")
        rows, columns = height // 2, width // 2
        left = spectrum[..., : columns // 2 + 1]
        lower = torch.cat([left[..., : (rows + 1) // 2, :], left[..., height - rows // 2 :, :]], -2)
        # As bright as the whole: its normalization is by the number of pixels.
        return torch.fft.irfft2(lower, s=(rows, columns), norm="ortho") * math.sqrt(rows * columns / (height * width))

    def _open(self, scale: Tensor) -> Tensor:
        """Of a scale (…, H, W // 2 + 1) what is open: the lowest octave at first, then one after the other, while the next fades in."""
        if self._opened == 1:
            return scale
        _, height, width = self.shape
        key = (height, width, scale.dtype, scale.device)
        if key not in self._octaves:
            above = _power_law(height, width, -1.0).mul(max(height, width)).log2()  # the lowest frequency, in octaves
            self._octaves[key] = above.to(scale.device, scale.dtype), float(above.max())
        above, last = self._octaves[key]
        return scale * (2 + self._opened * (last - 1) - above).clamp(0, 1)


class FFTImage(_Spectral):
    r"""
    Images from Fourier coefficients that are scaled as natural images' are, with decorrelated colors, squeezed into the value range.

    .. math::
        x = \sigma\Bigl(\tfrac14\, C \operatorname{irfft2}\bigl(s \odot z\bigr)\Bigr),
        \qquad s_f = \frac{1}{\max(|f|, 1 / \max(H, W))^{p}}

    with z the parameters and C the color correlations. Equal steps in z change coarse structure much and fine structure little: what
    an ascent in pixels needs hundreds of steps for is there after tens. Of Olah, Mordvintsev and Schubert, "Feature Visualization"
    (Distill 2017), as Lucid and Lucent have it.

    With ``contrast`` the planes between the brackets are scaled to it, and their means kept within ``brightness``. Then an ascent cannot
    make a picture louder; unlike :class:`PhaseImage`, where the magnitude of each frequency is fixed, it decides which frequencies are
    loud, so that a picture may have a background. As z grows, equal steps turn it less: the learning rate falls by itself.

    Args:
        decay_power (float, optional): p, how fast amplitudes fall with frequency. Default: 1
        sd (float, optional): Standard deviation of the parameters at the start. Default: 0.01
        decorrelate (bool, optional): Whether three channels are mixed by the color correlations; other numbers of channels never are.
            Default: True
        contrast (float, optional): Standard deviation that the planes of a picture have, taken together, about their means, before the
            colors are mixed and squeezed. Default: None, free
        brightness (float, optional): With ``contrast``, how far the mean of a plane may be from zero. Default: 0, every plane has mean zero
        coarse_to_fine (float, optional): During which share of the steps frequencies open, from the lowest octaves on, one octave after the
            other; then all are open. Before, and in a warm-up, only the lowest are seen. Default: 0, all are open from the start
        half_size (float, optional): During which share of the steps, and in a warm-up, the network is shown pictures of half the sides, at
            a quarter of the work. What comes back is of full size. For networks that take any size; what a transform or a loss counts
            in pixels counts double there. Default: 0

    Raises:
        ValueError: If ``sd`` or ``contrast`` is not positive, ``brightness`` is negative or given without ``contrast``, or
            ``coarse_to_fine`` or ``half_size`` is no share.

    Examples::

        >>> basis = FFTImage().for_images((3, 32, 32), (0.0, 1.0))
        >>> images = torch.rand(2, 3, 32, 32)
        >>> torch.allclose(basis.render(basis.parameters_of(images)), images, atol=1e-2)
        True
    """

    #: By what Lucid divides: "increasing this seems to reduce saturation".
    _DIVISOR = 4.0

    def __init__(
        self,
        decay_power: float = 1.0,
        sd: float = 0.01,
        decorrelate: bool = True,
        contrast: float | None = None,
        brightness: float = 0.0,
        coarse_to_fine: float = 0.0,
        half_size: float = 0.0,
    ) -> None:
        super().__init__(coarse_to_fine, half_size)
        if not sd > 0:
            raise InputError(f"sd is {sd}; expected a positive standard deviation.")
        if contrast is None and brightness:
            raise InputError(
                f"brightness is {brightness}, but contrast is None, which leaves both free; give contrast."
            )
        if contrast is not None:
            _check_contrast(contrast, brightness)
        self.decay_power = float(decay_power)
        self.sd = float(sd)
        self.decorrelate = bool(decorrelate)
        self.contrast = None if contrast is None else float(contrast)
        self.brightness = float(brightness)

    def settings(self) -> dict[str, Any]:
        fixed = {} if self.contrast is None else {"contrast": self.contrast, "brightness": self.brightness}
        return {
            "name": "FFTImage",
            "decay_power": self.decay_power,
            "sd": self.sd,
            "decorrelate": self.decorrelate,
            **fixed,
            **self._course(),
        }

    def __repr__(self) -> str:
        what = f"decay_power={self.decay_power:g}, sd={self.sd:g}, decorrelate={self.decorrelate}"
        if self.contrast is not None:
            what += f", contrast={self.contrast:g}, brightness={self.brightness:g}"
        return self._named(what)

    def start(self, random: RandomStream, shape: tuple[int, ...]) -> dict[str, Tensor]:
        channels, height, width = shape
        size = (channels, height, width // 2 + 1, 2)
        return {"coefficients": self.sd * random.normal(math.prod(size)).view(-1, *size)}

    def render(self, parameters: dict[str, Tensor]) -> Tensor:
        _, height, width = self.shape
        coefficients = parameters["coefficients"]
        spectrum = torch.view_as_complex(coefficients) * self._open(self._scale(height, width, coefficients))
        planes = self._planes(spectrum) / self._DIVISOR
        if self.contrast is not None:
            planes = self._scaled(planes, self.contrast)
        return squeezed(planes, self.value_range, self.decorrelate)

    def _scaled(self, planes: Tensor, contrast: float) -> Tensor:
        """Planes with their contrast, all of a picture together, and their means within the brightness."""
        means = planes.mean((-2, -1), keepdim=True)
        planes = planes - means
        deviation = planes.square().mean((-3, -2, -1), keepdim=True).sqrt()
        planes = planes * (contrast / deviation.clamp(min=torch.finfo(planes.dtype).tiny))
        return planes + self.brightness * (means / self.brightness).tanh() if self.brightness else planes

    def parameters_of(self, images: Tensor) -> dict[str, Tensor]:
        """The coefficients of given images, which come back with the contrast and brightness that this has, where it has some."""
        planes = planes_of(images, self.value_range, self.decorrelate)
        if self.brightness:
            means = planes.mean((-2, -1), keepdim=True)
            within = (means / self.brightness).clamp(-_WITHIN, _WITHIN)
            planes = planes - means + self.brightness * within.atanh()
        planes = planes * self._DIVISOR
        height, width = images.shape[-2:]
        spectrum = torch.fft.rfft2(planes, norm="ortho") / self._scale(height, width, images)
        return {"coefficients": torch.view_as_real(spectrum)}

    def _scale(self, height: int, width: int, like: Tensor) -> Tensor:
        key = (height, width, like.dtype, like.device)
        if key not in self._scales:
            self._scales[key] = _power_law(height, width, self.decay_power).to(like.device, like.dtype)
        return self._scales[key]


class PhaseImage(_Spectral):
    r"""
    Images of which the magnitude spectrum is fixed and only the phase is free, with decorrelated colors.

    .. math::
        x = \sigma\bigl(C \operatorname{irfft2}(m \odot e^{i\varphi})\bigr)

    with :math:`\varphi` the parameters, uniform at the start, C the color correlations and m the magnitudes: a power law, which knows no
    data, or the mean magnitudes of given images. However long an ascent goes on, no frequency can grow louder than m has it, which is what
    makes other prototypes unnatural to a network. Fixing the magnitudes is of Fel et al., "Unlocking Feature Visualization for Deeper
    Networks with MAgnitude Constrained Optimization" (arXiv:2306.06805).

    Args:
        decay_power (float, optional): p of the power law :math:`m_f \propto f^{-p}`; natural images have about 1. Default: 1
        contrast (float, optional): Standard deviation of a plane before the colors are mixed and squeezed, under the power law. Default: 1
        brightness (float, optional): How far the mean of a plane may be from zero, under the power law: its phase decides where between
            -brightness and brightness it is. Natural images have about half their contrast. Default: 0, every plane has mean zero
        magnitudes (Tensor, optional): Shape (C, H, W // 2 + 1): m itself, in place of the power law; see :meth:`measured`. Default: None
        decorrelate (bool, optional): Whether three channels are mixed by the color correlations; other numbers of channels never are.
            Default: True
        coarse_to_fine (float, optional): As in :class:`FFTImage`. Default: 0, all frequencies are open from the start
        half_size (float, optional): As in :class:`FFTImage`. Default: 0

    Raises:
        ValueError: If ``contrast`` is not positive, ``brightness`` is negative, ``magnitudes`` are not finite and at least 0, or
            ``coarse_to_fine`` or ``half_size`` is no share.

    Examples::

        >>> phases = PhaseImage(decay_power=1.0, contrast=1.2).for_images((3, 32, 32), (0.0, 1.0))
        >>> parameters = phases.start(RandomStream(prototype_keys([0], [(12,)]), START), (3, 32, 32))
        >>> phases.render(parameters).shape
        torch.Size([1, 3, 32, 32])
        >>> PhaseImage.measured(torch.rand(8, 3, 32, 32)).settings()["magnitudes"][:7]
        'sha256:'
    """

    def __init__(
        self,
        decay_power: float = 1.0,
        contrast: float = 1.0,
        brightness: float = 0.0,
        magnitudes: Tensor | None = None,
        decorrelate: bool = True,
        coarse_to_fine: float = 0.0,
        half_size: float = 0.0,
    ) -> None:
        super().__init__(coarse_to_fine, half_size)
        _check_contrast(contrast, brightness)
        if magnitudes is not None:
            if magnitudes.dim() != 3 or not bool(magnitudes.isfinite().all()) or bool((magnitudes < 0).any()):
                raise InputError(
                    f"magnitudes have shape {tuple(magnitudes.shape)}; expected (C, H, W // 2 + 1), finite and at least 0, as "
                    "PhaseImage.measured(images) gives them."
                )
            magnitudes = magnitudes.detach().cpu().double()
        self.decay_power = float(decay_power)
        self.contrast = float(contrast)
        self.brightness = float(brightness)
        self.magnitudes = magnitudes
        self.decorrelate = bool(decorrelate)

    @classmethod
    def measured(
        cls,
        images: Tensor | Iterable[Any],
        value_range: tuple[float, float] = (0.0, 1.0),
        decorrelate: bool = True,
        **course: float,
    ) -> PhaseImage:
        """
        With the mean magnitudes of given images, such as photographs of other classes.

        Args:
            images (Tensor or iterable): (N, C, H, W), or batches of them, all of the size of the images to be made.
            value_range (tuple[float, float], optional): The range of a pixel. Default: (0, 1)
            decorrelate (bool, optional): As in the constructor. Default: True
            **course: ``coarse_to_fine`` and ``half_size`` of the constructor.

        Raises:
            TypeError, ValueError: If they are not images in ``value_range``, or of different sizes.
        """
        moments: dict[tuple[int, ...], Moments] = {}
        for batch in image_batches(images, 32, value_range, "images"):
            planes = planes_of(batch.detach().cpu().double(), value_range, decorrelate)
            magnitudes = torch.fft.rfft2(planes, norm="ortho").abs()
            moments.setdefault(tuple(batch.shape[1:]), Moments()).update(magnitudes)
        if len(moments) > 1:
            raise InputError(
                f"images have the shapes {sorted(moments)}; give them all of the size of the images to be made."
            )
        (mean,) = (each.compute() for each in moments.values())
        return cls(magnitudes=mean, decorrelate=decorrelate, **course)

    def settings(self) -> dict[str, Any]:
        settings: dict[str, Any] = {"name": "PhaseImage", "decorrelate": self.decorrelate, **self._course()}
        if self.magnitudes is None:
            return settings | {
                "decay_power": self.decay_power,
                "contrast": self.contrast,
                "brightness": self.brightness,
            }
        digest = hashlib.sha256(self.magnitudes.contiguous().numpy().tobytes()).hexdigest()
        return settings | {"magnitudes": f"sha256:{digest}"}

    def __repr__(self) -> str:
        what = f"decay_power={self.decay_power:g}, contrast={self.contrast:g}, brightness={self.brightness:g}"
        if self.magnitudes is not None:
            what = f"magnitudes={tuple(self.magnitudes.shape)}"
        return self._named(what, f"decorrelate={self.decorrelate}")

    def start(self, random: RandomStream, shape: tuple[int, ...]) -> dict[str, Tensor]:
        channels, height, width = shape
        size = (channels, height, width // 2 + 1)
        return {"phases": random.uniform(math.prod(size), -math.pi, math.pi).view(-1, *size)}

    def render(self, parameters: dict[str, Tensor]) -> Tensor:
        channels, height, width = self.shape
        phases = parameters["phases"]
        magnitudes = self._open(self._scale(channels, height, width, phases))
        spectrum = torch.complex(magnitudes * phases.cos(), magnitudes * phases.sin())
        return squeezed(self._planes(spectrum), self.value_range, self.decorrelate)

    def parameters_of(self, images: Tensor) -> dict[str, Tensor]:
        """The phases of given images, which come back with these phases and the fixed magnitudes."""
        planes = planes_of(images, self.value_range, self.decorrelate)
        return {"phases": torch.fft.rfft2(planes, norm="ortho").angle()}

    def _scale(self, channels: int, height: int, width: int, like: Tensor) -> Tensor:
        key = (channels, height, width, like.dtype, like.device)
        if key not in self._scales:
            if self.magnitudes is None:
                law = _power_law(height, width, self.decay_power)
                law[0, 0] = 0.0  # the mean brightness is not part of the contrast
                # Columns between the first and the last stand for two frequencies each, of which each adds its square to the variance.
                twice = torch.full((width // 2 + 1,), 2.0, dtype=torch.float64)
                twice[0] = 1.0
                if width % 2 == 0:
                    twice[-1] = 1.0
                law = law * self.contrast * math.sqrt(height * width) / (law.square() * twice).sum().sqrt()
                law[0, 0] = self.brightness * math.sqrt(height * width)
                magnitudes = law.expand(channels, -1, -1)
            else:
                magnitudes = self.magnitudes
                if tuple(magnitudes.shape) != (channels, height, width // 2 + 1):
                    raise InputError(
                        f"the magnitudes of PhaseImage have shape {tuple(magnitudes.shape)}, measured on images of another size than "
                        f"{(channels, height, width)}; measure them on images of this size."
                    )
            self._scales[key] = magnitudes.to(like.device, like.dtype)
        return self._scales[key]


def _check_contrast(contrast: float, brightness: float) -> None:
    if not contrast > 0:
        raise InputError(f"contrast is {contrast}; expected a positive standard deviation.")
    if not brightness >= 0:
        raise InputError(f"brightness is {brightness}; expected at least 0.")


def _power_law(height: int, width: int, power: float) -> Tensor:
    """Amplitudes (H, W // 2 + 1) that fall with frequency, float64; the mean counts as the lowest frequency there is."""
    vertical = torch.fft.fftfreq(height, dtype=torch.float64).unsqueeze(1)
    horizontal = torch.fft.rfftfreq(width, dtype=torch.float64)
    frequency = (vertical.square() + horizontal.square()).sqrt().clamp(min=1 / max(height, width))
    return frequency.pow(-power)
