"""Randomization of the labels a network learned from, and of the class that is explained."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from captum.log import log_usage
from torch import Tensor

from captum_proto._utils.checks import as_int, check_int
from captum_proto._utils.errors import InputError
from captum_proto._utils.model import borrowed
from captum_proto._utils.modes import in_plain_modes
from captum_proto.metrics.randomization.explained import Explained, check_seeds
from captum_proto.metrics.randomization.map_similarity import MEASURES, MapSimilarity, check_measures
from captum_proto.metrics.randomization.result import NOTHING, RandomizationResult, gather

#: The stages of these two.
PERMUTED_LABELS, ANOTHER_CLASS = "permuted labels", "another class"


@log_usage()
@in_plain_modes
def data_randomization(
    attribution: Any,
    randomized: Any | Sequence[Any],
    inputs: Tensor | tuple[Tensor, ...],
    target: Any = None,
    similarity: str | Iterable[str] = MEASURES,
    additional_forward_args: Any = None,
    *,
    batch_size: int | None = None,
    **kwargs: Any,
) -> RandomizationResult:
    r"""
    How alike an attribution's maps are of a network that learned from the labels and of one that learned from permuted labels.

    The data randomization test of Adebayo et al., "Sanity Checks for Saliency Maps" (NeurIPS 2018, section 4): the second network has
    learned its training set by heart, and no relation between images and classes.

    Args:
        attribution (Attribution): Of the network that learned from the true labels.
        randomized (Attribution or sequence of Attribution): The same of one or several networks that learned from permuted labels.
        inputs (Tensor or tuple[Tensor, ...]): (N, ...), of images that neither has seen.
        target (TargetType, optional): As Captum's. Default: None
        similarity (str or iterable of str, optional): As in :func:`~captum_proto.metrics.parameter_randomization`. Default: all four
        additional_forward_args (any, optional): Further arguments of the models. Default: None
        batch_size (int, optional): Inputs at a time. Default: None, all
        **kwargs: Further arguments of ``attribute``.

    Returns:
        RandomizationResult: Stages "none" and "permuted labels"; what are seeds elsewhere are the networks of ``randomized``.

    Raises:
        TypeError, ValueError: As :func:`~captum_proto.metrics.parameter_randomization`.

    Examples::

        >>> from captum.attr import Saliency
        >>> learned, other = (torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3)) for _ in range(2))
        >>> result = data_randomization(Saliency(learned), Saliency(other), torch.rand(4, 1, 8, 8), 0, "spearman")
        >>> result.stages
        ['none', 'permuted labels']
    """
    others = list(randomized) if isinstance(randomized, (list, tuple)) else [randomized]
    if not others:
        raise InputError(
            "randomized is empty; give the attribution of at least one network that learned from permuted labels."
        )
    options = (inputs, additional_forward_args, batch_size, kwargs)
    first, *rest = (Explained.checked(each, *options) for each in [attribution, *others])
    with borrowed(attribution):
        similar = MapSimilarity(first.maps(target), check_measures(similarity))
        again = first.maps(target)
    unchanged = similar.own(again), similar.other(again)
    found = []
    for explained in rest:
        with borrowed(explained.attribution):
            maps = explained.maps(target)
        found.append([unchanged, (similar.own(maps), similar.other(maps))])
    settings = {"attribution": type(attribution).__name__, "networks": len(rest), "inputs": len(first)}
    return gather([NOTHING, PERMUTED_LABELS], found, settings)


@log_usage()
def random_logit(
    attribution: Any,
    inputs: Tensor | tuple[Tensor, ...],
    target: Any,
    classes: int,
    similarity: str | Iterable[str] = MEASURES,
    additional_forward_args: Any = None,
    *,
    seeds: int | Sequence[int] = 5,
    batch_size: int | None = None,
    **kwargs: Any,
) -> RandomizationResult:
    r"""
    How alike an attribution's maps are of a class and of another one, drawn at random for each input.

    The random logit test of Sixt, Granz and Landgraf, "When Explanations Lie" (ICML 2020, section 5): maps that are alike for all classes
    do not explain a decision between them.

    Args:
        attribution (Attribution): Any of Captum's.
        inputs (Tensor or tuple[Tensor, ...]): (N, ...).
        target (int, list of int or Tensor): A class, or one for each input.
        classes (int): How many classes the network has, at least two.
        similarity (str or iterable of str, optional): As in :func:`~captum_proto.metrics.parameter_randomization`. Default: all four
        additional_forward_args (any, optional): Further arguments of the model. Default: None
        seeds (int or sequence of int, optional): How many draws of other classes, or their seeds. Default: 5
        batch_size (int, optional): Inputs at a time. Default: None, all
        **kwargs: Further arguments of ``attribute``.

    Returns:
        RandomizationResult: Stages "none" and "another class".

    Raises:
        TypeError, ValueError: As :func:`~captum_proto.metrics.parameter_randomization`; or a target is no class.

    Examples::

        >>> from captum.attr import Saliency
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3))
        >>> random_logit(Saliency(model), torch.rand(4, 1, 8, 8), 0, 3, "spearman").stages
        ['none', 'another class']
    """
    explained = Explained.checked(attribution, inputs, additional_forward_args, batch_size, kwargs)
    check_int(classes, "classes", 2)
    given = target.tolist() if isinstance(target, Tensor) else target
    each = list(given) if isinstance(given, (list, tuple, range)) else [given]
    own = [as_int(value) for value in (each * len(explained) if len(each) == 1 else each)]
    if len(own) != len(explained) or any(value is None or not 0 <= value < classes for value in own):
        raise InputError(
            f"target is {target!r}; expected a class from 0 to {classes - 1}, or one for each of {len(explained)} inputs."
        )
    base = np.array(own)
    found = []
    with borrowed(attribution):
        similar = MapSimilarity(explained.maps(base.tolist()), check_measures(similarity))
        again = explained.maps(base.tolist())
        unchanged = similar.own(again), similar.other(again)
        chosen = check_seeds(seeds)
        for seed in chosen:
            other = (base + np.random.default_rng(seed).integers(1, classes, len(base))) % classes
            maps = explained.maps(other.tolist())
            found.append([unchanged, (similar.own(maps), similar.other(maps))])
    settings = {"attribution": type(attribution).__name__, "seeds": chosen, "inputs": len(explained)}
    return gather([NOTHING, ANOTHER_CLASS], found, settings)


__all__ = ["ANOTHER_CLASS", "PERMUTED_LABELS", "data_randomization", "random_logit"]
