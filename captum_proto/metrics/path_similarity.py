"""Path similarity (arXiv:2309.17144, section 3.2): whether a model processes an image as it processes natural images of a class."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from captum.log import log_usage
from torch import Tensor, nn

from captum_proto._utils.batches import Images
from captum_proto._utils.checks import nearest
from captum_proto._utils.errors import InputError, InputTypeError
from captum_proto._utils.pipeline import Pipeline
from captum_proto.capture import Capture, LayerSelection
from captum_proto.metrics.comparison import PathComparison
from captum_proto.metrics.fitting import Add
from captum_proto.metrics.layer_moments import LayerMoments
from captum_proto.metrics.layer_similarity import LayerSimilarity
from captum_proto.metrics.path_scores import PathScores
from captum_proto.metrics.reference import ActivationSums, PathReference

#: What is computed in any case, by one operator, and what is on demand.
_ALWAYS, _FURTHER = ("spearman", "l1"), ("cosine", "pearson")


class PathSimilarity(LayerSimilarity[PathReference, PathScores, PathComparison]):
    r"""
    Whether a model processes an image as it processes natural images of a class, layer by layer.

    .. math::
        SS_l(x) = \operatorname{Spearman}\bigl(A_l(\mathbb{I}), A_l(x)\bigr)
        \qquad D_l(x) = \bigl\lVert A_l(\mathbb{I}) - A_l(x) \bigr\rVert_1

    where :math:`A_l(x)` is the flattened output of layer l and :math:`A_l(\mathbb{I})` its mean over natural images. The measure of
    Prototype Generation (arXiv:2309.17144, section 3.2).

    Images stream through: memory holds one batch, and a sum, a mean and a rank of every activation, whatever the number of images. The
    model is frozen and in evaluation mode while it is looked at, and comes back exactly as it was. Several threads may use one model, and
    models in ``torch.compile``, ``DataParallel`` or ``DistributedDataParallel`` are the models in them: see :ref:`using_a_model`. Scores
    are of an image alone only if the model treats each image by itself, and the same each time: what a BatchNorm2d without running
    statistics does, or a dropout that stays on, is noticed on the first images and warned of.

    Args:
        forward_func (nn.Module): The model; layers are found in it by name.
        layers (LayerSelection, optional): Dotted names, patterns, modules, "leaf" or "all". None: every module but the root, containers
            included, as in the paper: 67 for torchvision's ``resnet18``. What a pattern stands for and does not run is left out; a layer
            named by itself must run. Default: None
        preprocess (Callable, optional): From images in ``value_range`` to the model's input. Default: None
        repeat (str, optional): Which call of a layer counts that runs several times per pass: "last" (the paper's counts), "first" or
            "all". Default: "last"
        alias (str, optional): "value" for what each layer returned, "reference" for what later in-place layers made of it by the end of
            the pass. Default: "value"
        value_range (tuple[float, float], optional): The range images must lie in; None for any, and for inputs that are no images, such
            as rows of a table (N, F) or embedded tokens (N, L, D). Default: (0, 1)
        batch_size (int, optional): Images at a time, where a tensor is given. Default: 32
        measures (iterable of str, optional): What to compute: "spearman" and "l1", which are always computed, and, where they are named,
            "cosine" and "pearson", the cosine of an image's activations and the mean and their linear correlation, in float64. These take
            a further pass over the activations. Default: ("spearman", "l1")

    Examples::

        >>> model = torchvision.models.resnet18()
        >>> similarity = PathSimilarity(model, layers="layer?")
        >>> similarity.fit(torch.rand(8, 3, 64, 64))
        >>> scores = similarity.evaluate(torch.rand(2, 3, 64, 64))
        >>> scores.layers, scores.spearman.shape
        (['layer1', 'layer2', 'layer3', 'layer4'], torch.Size([2, 4]))
    """

    _reference_type: ClassVar[type[ActivationSums]] = PathReference
    _scores_type: ClassVar[type[Any]] = PathScores

    def __init__(
        self,
        forward_func: nn.Module,
        layers: LayerSelection = None,
        preprocess: Callable[[Tensor], Tensor] | None = None,
        *,
        repeat: str = "last",
        alias: str = "value",
        value_range: tuple[float, float] | None = (0.0, 1.0),
        batch_size: int = 32,
        measures: Iterable[str] = _ALWAYS,
    ) -> None:
        super().__init__(forward_func, layers, preprocess, repeat, alias, value_range, batch_size)
        asked = _check_measures(measures)
        self._measures = (*_ALWAYS, *(measure for measure in _FURTHER if measure in asked))

    def _collecting(
        self, plan: Capture, pipeline: Pipeline, batch: Tensor
    ) -> tuple[Callable[[], list[Add]], Callable[[dict[str, Any]], PathReference]]:
        moments = LayerMoments(len(plan.outputs))
        return lambda: [moments.batch()], lambda known: PathReference(sums=moments.totals(), **known)

    def _measure(self, reference: PathReference, index: int, rows: Tensor, leave_one_out: bool) -> tuple[Tensor, ...]:
        values: tuple[Tensor, ...]
        values = (reference.distance_without if leave_one_out else reference.distance)(index, rows)
        if len(self._measures) > len(_ALWAYS):
            further = dict(zip(_FURTHER, reference.linear_similarity(index, rows, leave_one_out), strict=True))
            values += tuple(further[measure] for measure in self._measures[len(_ALWAYS) :])
        return values

    def _scores(self, values: dict[str, Tensor], left_out: Tensor) -> PathScores:
        return PathScores(self.reference.layers, left_out=left_out, **values)

    def _comparison(self, values: dict[str, dict[str, Tensor]], settings: dict[str, Any]) -> PathComparison:
        return PathComparison(layers=self.reference.layers, settings=settings, **values)


def _check_measures(measures: Iterable[str]) -> list[str]:
    if isinstance(measures, str) or not isinstance(measures, Iterable):
        raise InputTypeError(
            f'measures is {measures!r}; expected a list or tuple of names, such as ("spearman", "l1", "cosine").'
        )
    known, asked = (*_ALWAYS, *_FURTHER), list(measures)
    for measure in asked:
        if measure not in known:
            raise InputError(
                f'there is no measure "{measure}"{nearest(str(measure), known)}; expected some of {", ".join(known)}.'
            )
    return asked


@log_usage()
def path_similarity(
    forward_func: nn.Module,
    inputs: Images,
    reference: PathReference | Images,
    layers: LayerSelection = None,
    additional_forward_args: Any = None,
    *,
    preprocess: Callable[[Tensor], Tensor] | None = None,
    **options: Any,
) -> PathScores:
    r"""
    Path similarity in the style of :mod:`captum.metrics`: one call, no object. See :class:`PathSimilarity`.

    Args:
        forward_func (nn.Module): The model.
        inputs (Tensor or iterable): Images to score, (N, C, H, W).
        reference (PathReference, Tensor or iterable): A fitted reference, or natural images to fit one on.
        layers (LayerSelection, optional): As in :class:`PathSimilarity`. Default: None, every module but the root
        additional_forward_args (any, optional): Further arguments of the model. Default: None
        preprocess (Callable, optional): From images to the model's input. Default: None
        **options: ``repeat``, ``alias``, ``value_range``, ``batch_size`` and ``measures`` of :class:`PathSimilarity`; for a fitted
            reference ``repeat`` and ``alias`` are its own.

    Returns:
        PathScores: Spearman and L1, each (N, L).

    Raises:
        TypeError, ValueError: As :meth:`PathSimilarity.fit` and :meth:`PathSimilarity.evaluate`.

    Examples::

        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
        >>> path_similarity(model, torch.rand(2, 1, 8, 8), torch.rand(16, 1, 8, 8)).spearman.shape
        torch.Size([2, 2])
    """
    if isinstance(reference, PathReference):
        options |= {"repeat": reference.repeat, "alias": reference.alias}
    similarity = PathSimilarity(forward_func, layers, preprocess, **options)
    if isinstance(reference, PathReference):
        similarity.with_reference(reference)
    else:
        similarity.fit(reference, additional_forward_args)
    return similarity.evaluate(inputs, additional_forward_args)
