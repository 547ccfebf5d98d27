"""Captum's attributions that a sanity check knows by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from captum.attr import (
    GuidedBackprop,
    GuidedGradCam,
    InputXGradient,
    IntegratedGradients,
    NoiseTunnel,
    Saliency,
)
from torch import nn

from captum_proto._utils.checks import nearest
from captum_proto._utils.errors import InputError
from captum_proto.attr import GradCam, with_plain_relus
from captum_proto.capture import find_layer


@dataclass(frozen=True)
class Choices:
    """
    What the methods have to choose.

    Attributes:
        layer (str): Of Grad-CAM.
        n_steps (int): Of integrated gradients, from an input of zeros.
        nt_samples (int): Of SmoothGrad.
        noise (float): Standard deviation of its noise, of preprocessed inputs.
        batch_size (int): So many inputs on the way from zeros, or with noise, are taken at a time.
    """

    layer: str
    n_steps: int = 50
    nt_samples: int = 50
    noise: float = 0.15
    batch_size: int = 8


Made = tuple[Any, dict[str, Any]]


@dataclass(frozen=True)
class Method:
    """
    An attribution.

    Attributes:
        label (str): What Captum calls it.
        make (Callable): From a model to the attribution, and further arguments of its ``attribute``.
        published (str): What Adebayo et al. (NeurIPS 2018) say of it: "passes" or "fails"; empty where they leave it open.
    """

    label: str
    make: Callable[[nn.Module, Choices], Made]
    published: str = ""


def _guided_grad_cam(model: nn.Module, choices: Choices) -> Made:
    copied = with_plain_relus(model)
    return GuidedGradCam(copied, find_layer(copied, choices.layer)[1]), {}


def _smooth_grad(model: nn.Module, choices: Choices) -> Made:
    options = {"nt_type": "smoothgrad", "nt_samples": choices.nt_samples, "stdevs": choices.noise, "abs": False}
    return NoiseTunnel(Saliency(model)), {**options, "nt_samples_batch_size": 1}


def _integrated_gradients(model: nn.Module, choices: Choices) -> Made:
    return IntegratedGradients(model), {"n_steps": choices.n_steps, "internal_batch_size": choices.batch_size}


#: By name, in the order of a table. Gradients keep their signs: the correlation of signed values is the first of the measures.
METHODS: dict[str, Method] = {
    "saliency": Method("Saliency", lambda model, _: (Saliency(model), {"abs": False}), "passes"),
    "input_x_gradient": Method("InputXGradient", lambda model, _: (InputXGradient(model), {})),
    "integrated_gradients": Method("IntegratedGradients", _integrated_gradients),
    "smooth_grad": Method("NoiseTunnel of Saliency", _smooth_grad),
    "guided_backprop": Method(
        "GuidedBackprop", lambda model, _: (GuidedBackprop(with_plain_relus(model)), {}), "fails"
    ),
    "grad_cam": Method("LayerGradCam", lambda model, choices: (GradCam(model, choices.layer), {}), "passes"),
    "guided_grad_cam": Method("GuidedGradCam", _guided_grad_cam, "fails"),
}
#: Those that are checked unless others are asked for.
DEFAULT = tuple(name for name in METHODS if name != "smooth_grad")


def check_methods(names: Iterable[str]) -> list[str]:
    """
    Names of methods, each once.

    Raises:
        InputError: If one is unknown.
    """
    chosen = list(dict.fromkeys(names))
    for name in chosen:
        if name not in METHODS:
            hint = nearest(str(name), METHODS) or f"; choose of {', '.join(METHODS)}."
            raise InputError(f'there is no method "{name}"{hint}')
    return chosen


__all__ = ["DEFAULT", "METHODS", "Choices", "Method", "check_methods"]
