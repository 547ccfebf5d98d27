"""Settings of :meth:`captum_proto.PrototypeGeneration.generate` that belong together, by name."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from captum_proto.optim.inputs.maco import MACOImage
from captum_proto.optim.inputs.spectral import FFTImage, PhaseImage
from captum_proto.optim.transforms import (
    Compose,
    RandomAffine,
    RandomHorizontalFlip,
    RandomResizedCrop,
    RandomRoll,
    feature_visualization_transform,
)

#: The transform of the paper.
PAPER_TRANSFORM = RandomAffine(180, translate=(0.5, 0.5), scale=(0.7, 1.3))

_PRESETS: dict[str, dict[str, Any]] = {
    # Prototype Generation as in arXiv:2309.17144, section 3.1; what it leaves open is as in generate's own defaults.
    "paper": {
        "steps": 512,
        "lr": 0.05,
        "high_frequency_weight": None,
        "warmup_steps": 64,
        "transform": PAPER_TRANSFORM,
        "parametrization": "pixels",
        "lr_schedule": "constant",
    },
    # Found by what two other networks recognize, on single classes of ImageNet, and checked with other classes and all pairs of three
    # networks: docs/presets.rst. Little momentum, since each step draws another transform.
    "best": {
        "steps": 128,
        "lr": 0.1,
        "betas": (0.5, 0.9),
        "high_frequency_weight": 0.0,
        "warmup_steps": 0,
        "transform": RandomAffine(30, translate=(0.25, 0.25), scale=(0.7, 1.3), fill="reflect"),
        "parametrization": FFTImage(contrast=0.9, brightness=0.8),
        "lr_schedule": "constant",
    },
    # Found by path similarity on superclasses of ImageNet, with one network and some classes, and checked with others: docs/presets.rst.
    "typical": {
        "steps": 256,
        "lr": 0.1,
        "high_frequency_weight": 0.0,
        "warmup_steps": 0,
        "transform": PAPER_TRANSFORM,
        "parametrization": PhaseImage(decay_power=1.1, contrast=0.7, brightness=0.8),
        "lr_schedule": "constant",
    },
    # Olah, Mordvintsev and Schubert, "Feature Visualization", Distill 2017, with Lucent's values.
    "feature_visualization": {
        "steps": 512,
        "lr": 0.05,
        "high_frequency_weight": 0.0,
        "warmup_steps": 0,
        "transform": feature_visualization_transform(),
        "parametrization": FFTImage(),
        "lr_schedule": "constant",
    },
    # Gradient ascent on the logit and nothing else (Simonyan, Vedaldi and Zisserman, arXiv:1312.6034, without its L2 term).
    "ascent": {
        "steps": 512,
        "lr": 0.05,
        "high_frequency_weight": 0.0,
        "warmup_steps": 0,
        "transform": None,
        "parametrization": "pixels",
        "lr_schedule": "constant",
    },
    # After Görgün, Schiele and Fischer, "VITAL" (arXiv:2503.22399), whose class neurons match the distributions of the activations of
    # natural images of the class in five layers and nothing else, Adam with betas (0.5, 0.9), a learning rate that falls as a cosine.
    # Theirs are pixels in normalized units at lr 1, under shifts, in 2000 steps of which 100 warm lr up, and layers count as they come;
    # here they are Fourier coefficients at a rate that suits these, each layer is in units of its variance, and the mean activation at
    # each position counts too, with which path similarity compares; so nothing is shifted.
    "matched": {
        "steps": 256,
        "lr": 0.1,
        "betas": (0.5, 0.9),
        "high_frequency_weight": 0.0,
        "warmup_steps": 0,
        "transform": None,
        "parametrization": FFTImage(),
        "lr_schedule": "cosine",
        "class_loss": "none",
        "match_weight": 1.0,
        "match_exact_weight": 20.0,
    },
    # Fel et al., "Unlocking Feature Visualization for Deeper Networks with MAgnitude Constrained Optimization" (arXiv:2306.06805), with the
    # steps and the lr of the authors' library Xplique. There a step is of 32 crops, whose mean side falls from a half to a twentieth of the
    # picture's; here it is of one, of a tenth to a half throughout, which never reaches beyond the border. Its noise of 0.08 is in a range
    # of width 2. The spectrum is to be given.
    "maco": {
        "steps": 256,
        "optimizer": "nadam",
        "lr": 1.0,
        "noise": 0.04,
        "high_frequency_weight": 0.0,
        "warmup_steps": 0,
        "transform": RandomResizedCrop((0.1, 0.5)),
        "parametrization": MACOImage(),
        "lr_schedule": "constant",
    },
    # Yin et al., "Dreaming to Distill: Data-free Knowledge Transfer via DeepInversion" (arXiv:1912.08795), after their code for ImageNet,
    # setting 1, with a batch of one: cross entropy, regularizers with the weights that its README has for ResNet-50, Adam with betas
    # (0.5, 0.9). Its lr of 0.25 is in units of normalized pixels, 0.225 each; its start from normal noise and its linear warm-up of lr are
    # left out.
    "deep_inversion": {
        "steps": 2000,
        "lr": 0.056,
        "betas": (0.5, 0.9),
        "high_frequency_weight": 0.0,
        "warmup_steps": 0,
        "transform": Compose([RandomRoll(), RandomHorizontalFlip()]),
        "parametrization": "pixels",
        "lr_schedule": "cosine",
        "class_loss": "cross_entropy",
        "regularizer": "deep_inversion",
    },
}


def preset_for(name: str, image_shape: tuple[int, ...]) -> dict[str, Any]:
    """
    A preset for images of a size: the frame and the shifts of feature visualization are of so many pixels at 224, and go with the size.

    Args:
        name (str): Of a preset.
        image_shape (tuple[int, ...]): (C, H, W).

    Examples::

        >>> preset_for("feature_visualization", (3, 112, 112))["transform"].settings()["transform"]["transforms"][0]
        {'name': 'Pad', 'pixels': 6, 'fill': 0.5}
    """
    options = dict(_PRESETS[name])
    if name == "feature_visualization":
        options["transform"] = feature_visualization_transform(min(image_shape[-2:]))
    return options


#: "paper": as published. "best": what other networks recognize best. "typical": what comes nearest to the mean activations of natural
#: images. "feature_visualization" and "ascent": what came before.
#: "deep_inversion" and "maco": what others publish, as far as it fits one picture at a time; "maco" needs the spectrum of photographs.
#: "matched": what looks to the model like the natural images of the class that are given as ``match``, a claim about these images too.
#: Each is a mapping of keyword arguments: ``generation.generate(12, (3, 224, 224), **PRESETS["best"])``.
PRESETS = MappingProxyType({name: MappingProxyType(values) for name, values in _PRESETS.items()})

__all__ = ["PAPER_TRANSFORM", "PRESETS", "preset_for"]
