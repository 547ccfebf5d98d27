"""Settings of a generation from plain values, as a TOML file or a command line has them."""

from __future__ import annotations

import inspect
import os
from collections.abc import Collection, Mapping
from dataclasses import fields
from typing import Any

import torch

from captum_proto._utils.checks import nearest
from captum_proto._utils.errors import InputError, InputTypeError
from captum_proto.attr import GenerationSettings
from captum_proto.optim import Compose, NaturalActivations, OptimizationSettings, RandomAffine, RandomResizedCrop
from captum_proto.optim.inputs import PARAMETRIZATIONS
from captum_proto.optim.presets import PAPER_TRANSFORM, PRESETS, preset_for
from captum_proto.optim.transforms import feature_visualization_transform

#: Parts of an affine transform, which may be given by themselves.
AFFINE = ("degrees", "translate", "scale", "fill")
_TRANSFORMS = ("none", "paper", "feature_visualization")
#: Of images whose size is not known yet.
_USUAL = (3, 224, 224)
#: What may be given by name: a preset, the parts of an affine transform, and every setting of a generation.
OPTIONS = ("preset", *AFFINE, *(field.name for field in fields(GenerationSettings)))

#: What may be given for pictures of units: every setting of an optimization but those of a warm-up.
VISUALIZATION_OPTIONS = (
    "attempts",
    *(field.name for field in fields(OptimizationSettings) if not field.name.startswith("warmup_")),
)


def generation_options(values: Mapping[str, Any], image_shape: tuple[int, ...] | None = None) -> dict[str, Any]:
    """
    Keyword arguments of :meth:`captum_proto.PrototypeGeneration.generate` from plain values.

    Args:
        values (mapping): By the name of an argument of generate, and: ``preset``, the name of the preset that the others change;
            ``degrees``, ``translate``, ``scale`` and ``fill``, parts of the affine transform, each possibly "none", and ``fill`` possibly
            "reflect" or "replicate"; ``transform`` as "none", "paper", "feature_visualization" or a table of those parts and of ``crop``,
            the sides of a :class:`~captum_proto.optim.RandomResizedCrop` that acts before them; ``parametrization`` as a name or a table
            with ``name`` and the arguments of its class; ``autocast`` as "bfloat16", "float16" or "none"; ``match`` as the path of a file
            that :meth:`~captum_proto.optim.NaturalActivations.save` wrote; ``natural_statistics`` and ``regularizer`` by name, possibly
            "none".
        image_shape (tuple[int, ...], optional): (C, H, W) of the images, with whose size the shifts of "feature_visualization" go. Default:
            None, they are as for 224 pixels

    Returns:
        dict[str, Any]: What is not given is the preset's, or where there is none "paper"'s.

    Raises:
        ValueError: If a name or a value is unknown.
        TypeError: If a value is of the wrong type.
    """
    for name in values:
        if name not in OPTIONS:
            hint = nearest(name, OPTIONS) or f"; expected some of {', '.join(OPTIONS)}."
            raise InputError(f'there is no argument "{name}"{hint}')
    shape = image_shape or _USUAL
    options = preset_for(_one_of("preset", values.get("preset", "paper"), PRESETS), shape)
    for name, value in values.items():
        if name == "transform":
            options[name] = _transform(value, shape)
        elif name == "parametrization":
            options[name] = _parametrization(value)
        elif name == "autocast":
            options[name] = _dtype(value)
        elif name == "match" and isinstance(value, (str, os.PathLike)):
            options[name] = NaturalActivations.load(value)
        elif name in ("natural_statistics", "regularizer") and value == "none":
            options[name] = None
        elif name not in AFFINE and name != "preset":
            options[name] = tuple(value) if isinstance(value, list) else value
    parts = {name: values[name] for name in AFFINE if name in values}
    if parts:
        base = options["transform"]
        options["transform"] = _affine(parts, base if isinstance(base, RandomAffine) else PAPER_TRANSFORM)
    return options


def visualization_options(values: Mapping[str, Any]) -> dict[str, Any]:
    """
    Keyword arguments of :func:`captum_proto.optim.visualize` from plain values, as :func:`generation_options` takes them.

    Args:
        values (mapping): By the name of a setting of an optimization; what is not given is as feature visualization has it, and so is the
            transform "feature_visualization", for the size of the images.

    Raises:
        ValueError: If a name or a value is unknown.
    """
    convert = {"transform": _transform, "parametrization": _parametrization, "autocast": _dtype}
    options: dict[str, Any] = {}
    for name, value in values.items():
        if name not in VISUALIZATION_OPTIONS:
            hint = nearest(name, VISUALIZATION_OPTIONS) or f"; expected some of {', '.join(VISUALIZATION_OPTIONS)}."
            raise InputError(f'there is no argument "{name}"{hint}')
        if not (name == "transform" and value == "feature_visualization"):
            options[name] = (
                convert[name](value) if name in convert else tuple(value) if isinstance(value, list) else value
            )
    chosen = {name: value for name, value in options.items() if name != "attempts"}
    OptimizationSettings(**chosen)  # what is out of its range is found here
    return options


def _one_of(name: str, value: Any, known: Collection[str]) -> str:
    if not isinstance(value, str) or value not in known:
        hint = nearest(str(value), known) or f"; expected one of {', '.join(known)}."
        raise InputError(f'{name} is "{value}"{hint}')
    return value


def _transform(value: Any, image_shape: tuple[int, ...] = _USUAL) -> Any:
    if isinstance(value, Mapping):
        known = ("crop", *AFFINE)
        for name in value:
            if name not in known:
                raise InputError(
                    f'transform has "{name}"{nearest(name, known) or "; expected some of " + ", ".join(known) + "."}'
                )
        parts = {name: part for name, part in value.items() if name != "crop"}
        crops = [] if value.get("crop", "none") == "none" else [_crop(value["crop"])]
        affine = [_affine(parts, RandomAffine(0))] if parts or not crops else []
        return Compose([*crops, *affine]) if crops and affine else (crops or affine)[0]
    if _one_of("transform", value, _TRANSFORMS) == "feature_visualization":
        return feature_visualization_transform(min(image_shape[-2:]))
    return PAPER_TRANSFORM if value == "paper" else None


def _crop(size: Any) -> RandomResizedCrop:
    try:
        return RandomResizedCrop(size)
    except TypeError as error:
        raise InputTypeError(
            f'crop = {size!r} is no part of an image; expected two fractions of its side, or "none".'
        ) from error


def _affine(parts: Mapping[str, Any], base: RandomAffine) -> RandomAffine:
    nothing = {"degrees": 0.0, "translate": 0.0, "scale": 1.0, "fill": 0.0}
    values: dict[str, Any] = {
        "degrees": base.degrees,
        "translate": base.translate,
        "scale": base.scale,
        "fill": base.fill,
        **{name: nothing[name] if value == "none" else value for name, value in parts.items()},
    }
    for name in ("translate", "scale"):  # one number is both
        if isinstance(values[name], (int, float)):
            values[name] = (values[name], values[name])
    try:
        if any(isinstance(value, str) for name, value in values.items() if name != "fill"):
            raise InputTypeError("a text")
        return RandomAffine(**values)
    except (TypeError, AttributeError) as error:
        given = ", ".join(f"{name} = {value!r}" for name, value in parts.items())
        raise InputTypeError(
            f'{given} is no affine transform; expected numbers, pairs of numbers, or "none".'
        ) from error


def _parametrization(value: Any) -> Any:
    if isinstance(value, Mapping):
        arguments = {name: argument for name, argument in value.items() if name != "name"}
        made = PARAMETRIZATIONS[_one_of("the name of parametrization", value.get("name"), PARAMETRIZATIONS)]
        if "magnitudes" in arguments:
            raise InputError(
                f'magnitudes is {arguments["magnitudes"]!r}; a file can ask for "measured" alone, in a sweep with --images.'
            )
        try:
            return made(**arguments)
        except TypeError as error:
            known = [name for name in inspect.signature(made).parameters if name != "magnitudes"]
            raise InputError(
                f"parametrization has {sorted(arguments)}; {made.__name__} takes {', '.join(known) or 'nothing'}."
            ) from error
    return PARAMETRIZATIONS[_one_of("parametrization", value, PARAMETRIZATIONS)]()


def _dtype(value: Any) -> torch.dtype | None:
    if value in (None, "none"):
        return None
    if value not in ("bfloat16", "float16"):
        raise InputError(f'autocast is "{value}"; expected bfloat16, float16 or none.')
    dtype: torch.dtype = getattr(torch, value)
    return dtype
