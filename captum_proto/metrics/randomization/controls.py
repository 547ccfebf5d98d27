"""Controls of a sanity check, whose results are known: an edge detector, and the gradient of a linear model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from captum.attr import Attribution, Saliency
from scipy import stats
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

from captum_proto._utils.checks import check_images
from captum_proto._utils.errors import InputError
from captum_proto._utils.generators import own_generators
from captum_proto.metrics.randomization.parameters import parameter_randomization
from captum_proto.metrics.randomization.result import RandomizationResult


class EdgeDetector(Attribution):
    r"""
    Sobel's edges of an image, as if they were an attribution: they know nothing of the model, and fail every sanity check.

    Args:
        forward_func (Callable): The model; it is not used.

    Examples::

        >>> image = torch.zeros(1, 1, 5, 6)
        >>> image[..., 3:] = 1.0
        >>> EdgeDetector(None).attribute(image)[0, 0, 2]
        tensor([0., 0., 4., 4., 0., 0.])
    """

    def attribute(self, inputs: Tensor, target: Any = None, additional_forward_args: Any = None) -> Tensor:
        r"""
        The length of Sobel's gradient in each channel, the border repeated.

        Args:
            inputs (Tensor): (N, C, H, W).
            target (TargetType, optional): Makes no difference. Default: None
            additional_forward_args (any, optional): Makes no difference. Default: None

        Returns:
            Tensor: The shape of ``inputs``.

        Raises:
            ValueError: If ``inputs`` are no images.
        """
        images = check_images(inputs, None, "inputs")
        across = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
        kernels = torch.stack([across, across.T])[:, None].to(images)
        alone = pad(images.reshape(-1, 1, *images.shape[2:]), (1, 1, 1, 1), mode="replicate")
        return conv2d(alone, kernels).square().sum(1).sqrt().view_as(images)


@dataclass(frozen=True)
class LinearControl:
    r"""
    The gradient of a linear model with random weights, beside that of one with other random weights: chance itself.

    Between independent orders of d values, Spearman's correlation has the mean 0 and the standard deviation :math:`1 / \sqrt{d - 1}`.

    Attributes:
        result (RandomizationResult): Similarities. In "spearman" those of different seeds and classes are independent; the settings tell d
            ("values"), how many of these there are ("count") and their mean ("mean").
    """

    result: RandomizationResult

    @property
    def count(self) -> int:
        """How many independent correlations there are."""
        return int(self.result.settings["count"])

    @property
    def mean(self) -> float:
        """Of these."""
        return float(self.result.settings["mean"])

    @property
    def expected_spread(self) -> float:
        """The standard deviation of a correlation that chance gives."""
        return 1 / math.sqrt(self.result.settings["values"] - 1)

    @property
    def p_value(self) -> float:
        """Of the mean being 0: the z-test with the known standard deviation, two-sided."""
        return float(2 * stats.norm.sf(abs(self.mean) / self.expected_spread * math.sqrt(self.count)))


def linear_control(
    inputs: Tensor, target: Any, similarity: Sequence[str] = ("spearman",), seeds: int | Sequence[int] = 5
) -> LinearControl:
    r"""
    The sanity check of the gradient of a linear model with one row of random weights for each class that is a target.

    Args:
        inputs (Tensor): (N, ...), of at least two values each.
        target (int, list of int or Tensor): A class, or one for each input.
        similarity (sequence of str, optional): Measures; "spearman" is always among them. Default: ("spearman",)
        seeds (int or sequence of int, optional): How many random models, or their seeds. Default: 5

    Returns:
        LinearControl: With the test of E[correlation] = 0.

    Examples::

        >>> control = linear_control(torch.rand(4, 1, 16, 16), [0, 1, 2, 3], seeds=10)
        >>> control.count, round(control.expected_spread, 4), control.p_value > 0.001
        (40, 0.0626, True)
    """
    given = torch.as_tensor(target).reshape(-1)
    labels = (given.expand(len(inputs)) if len(given) == 1 else given).tolist()
    if len(labels) != len(inputs):
        raise InputError(f"{len(labels)} targets were given for {len(inputs)} inputs; give one, or one for each input.")
    distinct = sorted(set(labels))
    places = [distinct.index(label) for label in labels]
    values = inputs[0].numel()
    with own_generators(inputs.device):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(values, len(distinct))).to(inputs)
    measures = tuple(dict.fromkeys([*similarity, "spearman"]))
    # Seeds of the draw are not those of the weights before: these are drawn outside of a stage.
    result = parameter_randomization(
        Saliency(model), model, inputs, places, similarity=measures, seeds=seeds, abs=False
    )
    first = [places.index(place) for place in range(len(distinct))]
    independent = result.similarity["spearman"][:, -1, first]
    result.settings |= {"values": values, "mean": float(independent.mean()), "count": independent.numel()}
    return LinearControl(result)


__all__ = ["EdgeDetector", "LinearControl", "linear_control"]
