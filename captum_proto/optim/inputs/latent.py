"""Images that a generator makes of codes: a learned prior."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from captum_proto._utils.borrowing import borrowed
from captum_proto._utils.checks import as_int, type_name
from captum_proto._utils.constants import beside
from captum_proto._utils.errors import InputError, InputTypeError
from captum_proto._utils.model import device_of, dtype_of, fingerprint
from captum_proto.optim.inputs.base import Parametrization
from captum_proto.optim.random import RandomStream


class LatentImage(Parametrization):
    r"""
    Images of a generator, whose codes are optimized: only what the generator has learned to draw can come out.

    .. math::
        x = G(z), \qquad |z - \mu| \le b

    Of Nguyen, Dosovitskiy, Yosinski, Brox and Clune, "Synthesizing the Preferred Inputs for Neurons in Neural Networks via Deep Generator
    Networks" (arXiv:1605.09304), who keep each entry of a code within three standard deviations. A prototype that looks natural here says
    that the generator draws natural images and that the network knows one from another; not that the network sees in images what we see.

    The generator is frozen and in evaluation mode for the length of each pass, and comes back as it was.

    Args:
        generator (nn.Module or Callable): G, from codes (N, ...) to images (N, C, H, W) within the value range: a decoder of a variational
            autoencoder, the generator of a GAN. Its device is the model's.
        code_shape (sequence of int): Of one code: ``(8,)``.
        z0 (Tensor, optional): A code from which every row starts. Default: None, ``mean``
        sd (float, optional): Standard deviation of what is drawn around it at the start. Default: 0.3 without ``z0``, 0 with it: from
            near the middle an ascent gets to any code, and from far out often no further than to one that will do
        mean (float or Tensor, optional): :math:`\mu`. Default: 0
        bound (float or Tensor, optional): b, such as ``3 * sigma`` with the standard deviation of each entry of a code, of the shape of a
            code or a number. None: codes are free. Default: 3
        encoder (Callable, optional): From images to codes, so that an optimization can start from given images. Default: None

    Raises:
        TypeError, ValueError: If the generator cannot be called, a shape does not fit, or ``bound`` is not positive.

    Examples::

        >>> generator = torch.nn.Sequential(torch.nn.Linear(4, 64), torch.nn.Sigmoid(), torch.nn.Unflatten(1, (1, 8, 8)))
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
        >>> optimization = InputOptimization(model, ClassLogit([3, 7]), parametrization=LatentImage(generator, (4,)), steps=4)
        >>> optimization.optimize((1, 8, 8)).images.shape
        torch.Size([2, 1, 8, 8])
    """

    def __init__(
        self,
        generator: Callable[[Tensor], Tensor],
        code_shape: Sequence[int],
        z0: Tensor | None = None,
        sd: float | None = None,
        mean: float | Tensor = 0.0,
        bound: float | Tensor | None = 3.0,
        encoder: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        for name, function in (("generator", generator), ("encoder", encoder)):
            if isinstance(function, type) or not (callable(function) or (name == "encoder" and function is None)):
                raise InputTypeError(f"{name} is a {type_name(function)}; expected a module or function.")
        sizes = [as_int(size) or 0 for size in code_shape]
        if not sizes or min(sizes) < 1:
            raise InputError(f"code_shape is {tuple(code_shape)}; expected the shape of one code, such as (8,).")
        self.generator, self.encoder, self.code_shape = generator, encoder, tuple(sizes)
        self.z0 = None if z0 is None else self._code(z0, "z0")
        self.mean = self._code(mean, "mean")
        self.bound = None if bound is None else self._code(bound, "bound")
        if self.bound is not None and not bool((self.bound > 0).all()):
            raise InputError(
                f"bound is {bound}; expected positive numbers, such as 3 standard deviations, or None for none."
            )
        self.sd = (0.3 if z0 is None else 0.0) if sd is None else float(sd)
        if not self.sd >= 0 or (z0 is None and self.sd == 0):
            raise InputError(f"sd is {sd}; expected a positive standard deviation, or 0 with z0.")

    def _code(self, value: float | Tensor, name: str) -> Tensor:
        """Of the shape of a code, float64."""
        given = value.detach().cpu() if isinstance(value, Tensor) else value
        code = torch.as_tensor(given, dtype=torch.float64)
        if code.dim() and tuple(code.shape) != self.code_shape:
            raise InputError(f"{name} has shape {tuple(code.shape)}; expected that of a code, {self.code_shape}.")
        if not bool(code.isfinite().all()):
            raise InputError(f"{name} is not finite; expected finite numbers.")
        return code.expand(self.code_shape).clone()

    def settings(self) -> dict[str, Any]:
        generator = self.generator
        settings: dict[str, Any] = {
            "name": "LatentImage",
            "generator": fingerprint(generator) if isinstance(generator, nn.Module) else type_name(generator),
            "code_shape": list(self.code_shape),
            "sd": self.sd,
            "mean": self.mean.tolist(),
            "bound": None if self.bound is None else self.bound.tolist(),
        }
        return settings | ({} if self.z0 is None else {"z0": self.z0.tolist()})

    def __repr__(self) -> str:
        return f"LatentImage({type_name(self.generator)}, {self.code_shape})"

    def start(self, random: RandomStream, shape: tuple[int, ...]) -> dict[str, Tensor]:
        drawn = self.sd * random.normal(self.mean.numel()).view(-1, *self.code_shape)
        codes = drawn + (self.mean if self.z0 is None else self.z0).to(drawn.device)
        parameters = {"codes": codes}
        self.project(parameters)
        self._check(parameters)
        return parameters

    def render(self, parameters: dict[str, Tensor]) -> Tensor:
        codes = parameters["codes"]
        with borrowed(self.generator):
            images = self.generator(codes.to(device_of(self.generator, codes.device), dtype_of(self.generator)))
        expected = (len(codes), *self.shape)
        if not isinstance(images, Tensor) or tuple(images.shape) != expected:
            got = f"shape {tuple(images.shape)}" if isinstance(images, Tensor) else f"a {type_name(images)}"
            raise InputError(
                f"generator returned {got} for codes of shape {tuple(codes.shape)}; expected images of shape {expected}."
            )
        return images.to(codes.device).to(codes.dtype)  # one after the other: of the two, one may have no float64

    @torch.no_grad()
    def _check(self, parameters: dict[str, Tensor]) -> None:
        """See that the generator draws within the value range, once at the start: a look at values makes a GPU wait."""
        images = self.render(parameters)
        (low, high), least, most = self.value_range, float(images.min()), float(images.max())
        slack = 1e-3 * (high - low)
        if not low - slack <= least <= most <= high + slack:
            raise InputError(
                f"generator drew values from {least:g} to {most:g}; expected them within value_range {self.value_range}: scale its output, "
                "or give its range."
            )

    @torch.no_grad()
    def project(self, parameters: dict[str, Tensor]) -> None:
        if self.bound is not None:
            codes = parameters["codes"]
            mean, bound = beside(self.mean, codes), beside(self.bound, codes)
            codes.copy_(torch.minimum(torch.maximum(codes, mean - bound), mean + bound))

    @torch.no_grad()
    def parameters_of(self, images: Tensor) -> dict[str, Tensor]:
        """
        The codes that the encoder finds for given images.

        Raises:
            ValueError: If there is no encoder, or it returns another shape.
        """
        if self.encoder is None:
            raise InputError("LatentImage has no encoder and cannot start from given images; give one, or give z0.")
        with borrowed(self.encoder):
            codes = self.encoder(images.to(dtype_of(self.encoder)))
        if not isinstance(codes, Tensor) or tuple(codes.shape) != (len(images), *self.code_shape):
            got = f"shape {tuple(codes.shape)}" if isinstance(codes, Tensor) else f"a {type_name(codes)}"
            raise InputError(f"encoder returned {got}; expected codes of shape {(len(images), *self.code_shape)}.")
        parameters = {"codes": codes.to(images.dtype)}
        self.project(parameters)
        return parameters


__all__ = ["LatentImage"]
