"""Natural images for the presets that need some: what is measured on them before prototypes are made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from captum_proto._utils.errors import InputError
from captum_proto._utils.targets import Target
from captum_proto.data.natural import NaturalImages
from captum_proto.models import NamedModel
from captum_proto.optim import MACOImage, NaturalActivations

#: So many photographs at most tell a mean magnitude spectrum.
_SPECTRUM_IMAGES = 512


def needs_spectrum(options: Mapping[str, Any]) -> bool:
    """Whether keyword arguments of generate need the magnitude spectrum of photographs, and have none yet."""
    maco = options.get("parametrization")
    return isinstance(maco, MACOImage) and maco.magnitudes is None


def needs_images(options: Mapping[str, Any]) -> bool:
    """Whether keyword arguments of generate need the activations of natural images of each class, and have none yet."""
    return options.get("match") is None and (
        options.get("match_weight") is not None or options.get("class_loss") == "none"
    )


def with_natural_images(
    options: Mapping[str, Any],
    named: NamedModel,
    targets: Sequence[Target],
    natural: NaturalImages | None = None,
    spectrum: Path | None = None,
) -> dict[str, Any]:
    """
    Keyword arguments of generate with what a preset has to know of natural images: activations to match, or a magnitude spectrum.

    Args:
        options (mapping): Keyword arguments of :meth:`~captum_proto.PrototypeGeneration.generate`.
        named (NamedModel): The model.
        targets (sequence of Target): The classes of the prototypes: what is matched is measured on natural images of each.
        natural (NaturalImages, optional): The images. Default: None
        spectrum (Path, optional): A file with a magnitude spectrum, as :meth:`~captum_proto.optim.MACOImage.load` reads it. Default: None

    Raises:
        InputError: If something was given that the options have no use for, or there are no images of a class.
    """
    made = dict(options)
    spectral, matched = needs_spectrum(options), needs_images(options)
    if spectrum is not None:
        if not spectral:
            raise InputError(
                f'"{spectrum}" is a magnitude spectrum, which the preset has no use for; give it with --preset maco.'
            )
        made["parametrization"], spectral = MACOImage.load(spectrum), False
    if natural is None:
        return made
    if not (spectral or matched):
        raise InputError(
            "natural images were given, which the preset has no use for; give them with --preset matched or maco, or with --match-weight."
        )
    if matched:
        of_each = {target: natural.of(target).same for target in dict.fromkeys(targets)}
        made["match"] = NaturalActivations.measured(named.model, of_each, options.get("match_layers"), named.preprocess)
    if spectral:
        collection = natural.collection
        limit = min(len(collection), _SPECTRUM_IMAGES)
        drawn = collection.of(collection.classes, limit, natural.seed)
        batches = drawn.batches_for(natural.geometry, natural.batch_size, natural.workers)
        made["parametrization"] = MACOImage.measured(batches)
    return made
