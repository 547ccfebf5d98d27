"""Randomization of a network's parameters: does an attribution notice that the network knows nothing any more?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from captum.log import log_usage
from torch import Tensor, nn
from tqdm.auto import tqdm

from captum_proto._utils.checks import nearest
from captum_proto._utils.errors import InputError
from captum_proto._utils.model import borrowed
from captum_proto._utils.modes import in_plain_modes
from captum_proto.metrics.randomization.explained import Explained, check_refers, check_seeds
from captum_proto.metrics.randomization.map_similarity import MEASURES, MapSimilarity, check_measures
from captum_proto.metrics.randomization.result import NOTHING, RandomizationResult, gather
from captum_proto.metrics.randomization.weights import ORDERS, Init, find_stages, spare_weights


@log_usage()
@in_plain_modes
def parameter_randomization(
    attribution: Any,
    model: nn.Module,
    inputs: Tensor | tuple[Tensor, ...],
    target: Any = None,
    order: str = "cascading",
    similarity: str | Iterable[str] = MEASURES,
    init: Init = "reset",
    additional_forward_args: Any = None,
    *,
    stages: int | Sequence[str] | None = None,
    seeds: int | Sequence[int] = 5,
    new_target: bool = False,
    batch_size: int | None = None,
    callback: Callable[[int, str, Tensor | tuple[Tensor, ...]], Any] | None = None,
    show_progress: bool = False,
    **kwargs: Any,
) -> RandomizationResult:
    r"""
    How alike an attribution's maps stay while the network's weights are randomized, stage by stage.

    The model parameter randomization test of Adebayo et al., "Sanity Checks for Saliency Maps" (NeurIPS 2018, section 3). A map that is to
    explain what a network has learned must change where the network knows nothing any more; an edge detector's does not.

    The network is frozen and in evaluation mode while it is looked at; its weights are copies meanwhile, and it comes back exactly as it
    was, after an error too. What is random in an attribution, such as the noise of Captum's ``NoiseTunnel``, is drawn alike at each stage,
    so that the first stage, at which nothing is randomized, has a similarity of exactly 1.

    Args:
        attribution (Attribution): Any of Captum's, also a ``NoiseTunnel``, made from ``model``.
        model (nn.Module): The network whose weights are randomized.
        inputs (Tensor or tuple[Tensor, ...]): (N, ...), as the attribution takes them.
        target (TargetType, optional): As Captum's: fixed, whatever the randomized network says. Default: None
        order (str, optional): "cascading": from the output to the input, each stage beside those before it. "bottom_up": from the input to
            the output. "independent": each stage alone. Default: "cascading"
        similarity (str or iterable of str, optional): Of
            :class:`~captum_proto.metrics.randomization.map_similarity.MapSimilarity`. Default: all four
        init (str or Callable, optional): "reset": by each module's own ``reset_parameters``; running statistics of normalizations are no
            parameters and stay. "permute": the values of each parameter in another order. Or a function that changes a module's own
            parameters in place. Default: "reset"
        additional_forward_args (any, optional): Further arguments of the model, as in Captum. Default: None
        stages (int or sequence of str, optional): So many groups of modules that follow each other, or names and patterns of layers.
            Default: None, each module that has parameters by itself
        seeds (int or sequence of int, optional): How many random networks, or their seeds. Default: 5
        new_target (bool, optional): Whether the target is taken anew at each stage: the class that the randomized network sees, as in the
            authors' notebook. Default: False
        batch_size (int, optional): Inputs at a time. Default: None, all
        callback (Callable, optional): Called with the seed, the name of the stage and the maps, at each stage of each seed. Default: None
        show_progress (bool, optional): Whether to show a progress bar. Default: False
        **kwargs: Further arguments of ``attribution.attribute``, such as ``abs=False`` for Saliency or ``relu_attributions=True`` for
            LayerGradCam.

    Returns:
        RandomizationResult: By measure (S, K + 1, N): of S seeds, K stages after the one in which nothing is changed, and N inputs.

    Raises:
        TypeError: If an argument is of the wrong type, or the attribution returns something else than maps.
        ValueError: If an argument is out of its range, the attribution is of another model or returns maps of a shape that cannot be
            compared, or a module cannot be randomized.

    Examples::

        >>> from captum.attr import Saliency
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 3))
        >>> inputs = torch.rand(4, 1, 8, 8)
        >>> result = parameter_randomization(Saliency(model), model, inputs, 1, similarity="spearman", seeds=3, abs=False)
        >>> result.stages, result.similarity["spearman"].shape
        (['none', '3', '1'], torch.Size([3, 3, 4]))
        >>> result.mean("spearman", "none").value
        1.0
    """
    if order not in ORDERS:
        hint = nearest(str(order), ORDERS) or f"; choose of {', '.join(ORDERS)}."
        raise InputError(f'there is no order "{order}"{hint}')
    explained = Explained.checked(attribution, inputs, additional_forward_args, batch_size, kwargs)
    check_refers(attribution, model)
    measures, chosen = check_measures(similarity), check_seeds(seeds)
    with borrowed(model), borrowed(attribution), spare_weights(model, init) as weights:
        parts = find_stages(model, lambda: explained.forward(model, 1), stages)
        parts = parts[::-1] if order == "bottom_up" else parts

        def maps() -> Tensor | tuple[Tensor, ...]:
            return explained.maps(explained.predicted(model) if new_target else target)

        similar = MapSimilarity(maps(), measures)
        again = maps()
        if callback is not None:
            callback(chosen[0], NOTHING, again)
        unchanged = similar.own(again), similar.other(again)
        found = []
        with tqdm(total=len(chosen) * len(parts), desc="sanity check", unit="stage", disable=not show_progress) as bar:
            for seed in chosen:
                of_seed = [unchanged]
                for stage in weights.drawn(parts, order, seed):
                    changed = maps()
                    if callback is not None:
                        callback(seed, stage.name, changed)
                    of_seed.append((similar.own(changed), similar.other(changed)))
                    bar.update()
                found.append(of_seed)
    settings = {
        "attribution": type(attribution).__name__,
        "order": order,
        "init": init if isinstance(init, str) else getattr(init, "__name__", type(init).__name__),
        "seeds": chosen,
        "target": "taken anew" if new_target else "fixed",
        "inputs": len(explained),
        "stages": {part.name: part.modules for part in parts},
    }
    return gather([NOTHING, *(part.name for part in parts)], found, settings)


__all__ = ["parameter_randomization"]
