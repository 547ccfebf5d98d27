"""Fitted similarities of several classes that images are compared with together: whether they belong together."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping

from captum_proto._utils.checks import as_int, callers_level, nearest, type_name
from captum_proto._utils.errors import InputError, InputTypeError
from captum_proto.metrics.nearest_result import Label
from captum_proto.metrics.path_similarity import PathSimilarity
from captum_proto.metrics.sorted_similarity import SortedSimilarity

Similarity = PathSimilarity | SortedSimilarity
#: The squared distance to a mean of n images grows by 1/n of what images are apart: two references may differ by this in it.
_UNEVEN = 0.02


def checked_similarities(similarities: Mapping[Label, Similarity]) -> dict[Label, Similarity]:
    """
    Fitted similarities by class, at least two, of one kind, one model and the same layers.

    Raises:
        TypeError, ValueError: If they are not.
    """
    if not isinstance(similarities, Mapping):
        raise InputTypeError(
            f"similarities is a {type_name(similarities)}; expected a mapping from classes to fitted PathSimilarity or SortedSimilarity."
        )
    for label, similarity in similarities.items():
        if not isinstance(label, str) and as_int(label) is None:
            raise InputTypeError(f"a class is called {label!r}; expected a string or a whole number.")
        if not isinstance(similarity, (PathSimilarity, SortedSimilarity)):
            raise InputTypeError(
                f'the similarity of class "{label}" is a {type_name(similarity)}; expected a fitted PathSimilarity or SortedSimilarity.'
            )
    if len(similarities) < 2:
        raise InputError(
            f"there is a reference of {len(similarities)} class; which class is nearest needs at least two: fit one on images of another."
        )
    (name, first), *others = similarities.items()
    for label, other in others:
        if type(other) is not type(first):
            raise InputTypeError(
                f'class "{name}" has a {type(first).__name__} and class "{label}" a {type(other).__name__}; use one kind for all classes.'
            )
        if other.forward_func is not first.forward_func or other.preprocess is not first.preprocess:
            raise InputError(
                f'the similarities of classes "{name}" and "{label}" are of different models or preprocessings; use one for all classes.'
            )
        mine, theirs = first.reference, other.reference
        kept = ("model", "repeat", "alias", "image_shape", "layers", "shapes")
        for what in kept + (("axes",) if isinstance(first, SortedSimilarity) else ()):
            if getattr(mine, what) != getattr(theirs, what):
                raise InputError(
                    f'the references of classes "{name}" and "{label}" differ in {what}; fit all on one model with the same options.'
                )
    return {label if isinstance(label, str) else int(label): value for label, value in similarities.items()}


def warn_of_counts(similarities: Mapping[Label, Similarity]) -> None:
    """Warn if references are over so different numbers of images that one class looks farther than another for that alone."""
    counts = {label: similarity.reference.count for label, similarity in similarities.items()}
    least, most = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
    if 1 / counts[least] - 1 / counts[most] > _UNEVEN:
        warnings.warn(
            f'the reference of class "{least}" is the mean of {counts[least]} images and that of class "{most}" of {counts[most]}; a mean '
            "of fewer images is farther from everything, so fit all on equally many.",
            stacklevel=callers_level(),
        )


def chosen_layers(names: list[str], layers: Iterable[str] | None) -> list[int]:
    """
    Indices of the layers of references that are asked for, all by default.

    Raises:
        ValueError: If one is not there, or there are none.
    """
    if layers is None:
        return list(range(len(names)))
    wanted = [layers] if isinstance(layers, str) else list(layers)
    for name in wanted:
        if name not in names:
            raise InputError(
                f'the references have no layer "{name}"{nearest(str(name), names) or "; choose some of theirs."}'
            )
    if not wanted:
        raise InputError("layers is empty; name at least one layer of the references, or pass None for all.")
    return sorted({names.index(name) for name in wanted})


__all__ = ["Similarity", "checked_similarities", "chosen_layers", "warn_of_counts"]
