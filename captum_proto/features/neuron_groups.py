"""Groups of neurons that are active together: a layer's activations as a few spatial and channel factors."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from captum_proto._utils.checks import check_int, nearest
from captum_proto._utils.errors import InputError
from captum_proto._utils.files import alike, intact, load_tensors, save_tensors
from captum_proto._utils.modes import in_plain_modes
from captum_proto.capture import Layer
from captum_proto.features.attribution import UnitAttribution, UnitAttributions
from captum_proto.features.layer_maps import MappedLayer
from captum_proto.features.pictures import UnitPictures
from captum_proto.optim import Visualizations
from captum_proto.stats.factorization import one_sided_nmf

_FACTORIZE = ("activations", "gradients", "attributions")
_KIND = "neuron groups"


@dataclass
class NeuronGroupsResult:
    r"""
    Groups of neurons, where they are active, and what they contribute.

    Attributes:
        images (Tensor): (N, C, H, W), in [0, 1].
        channel_factors (Tensor): (K, C), of at least 0, each of length 1: how much each channel belongs to a group.
        spatial_factors (Tensor): (N, K, Y, X): how active the group is. Negative where what was factorized is.
        error (float): :math:`|V - S C| / |V|`, of what was factorized: 0 if the groups are all there is.
        shuffled_error (float): The same where each channel's positions are shuffled, so that nothing is active together: a control.
        attributions (Tensor, optional): (N, K): of each group to the target. Default: None
        residual (Tensor, optional): (N,): the attribution of what no group holds; with the groups' it is the total. Default: None
        totals (Tensor, optional): (N,): the linear attribution of the layer. Default: None
        scores (Tensor, optional): (N,): what is attributed. Default: None
        icons (Tensor, optional): (K, C, h, w): a picture of each group's direction. Default: None
        settings (dict): Every choice, as JSON can hold it.
    """

    images: Tensor
    channel_factors: Tensor
    spatial_factors: Tensor
    error: float
    shuffled_error: float
    attributions: Tensor | None = None
    residual: Tensor | None = None
    totals: Tensor | None = None
    scores: Tensor | None = None
    icons: Tensor | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def display(self) -> Tensor:
        """(N, K, Y, X): spatial factors over the 99th percentile of their sizes, in all images, for use as opacity."""
        sizes = self.spatial_factors.abs().flatten()
        return self.spatial_factors / sizes.quantile(0.99).clamp(min=torch.finfo(sizes.dtype).tiny)

    def with_icons(self, pictures: Visualizations) -> NeuronGroupsResult:
        """The same with a picture of each group."""
        return replace(self, icons=pictures.images.cpu())

    def save(self, path: str | os.PathLike[str], overwrite: bool = False) -> None:
        """
        Write everything to one safetensors file.

        Raises:
            FileExistsError: If the file exists and ``overwrite`` is False.
        """
        tensors = {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}
        described = {"error": self.error, "shuffled_error": self.shuffled_error, "settings": self.settings}
        save_tensors(path, _KIND, tensors, described, overwrite)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> NeuronGroupsResult:
        """
        Read what :meth:`save` wrote, onto the CPU.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is damaged or holds something else.
        """
        tensors, metadata = load_tensors(path, _KIND)
        with intact(path, f"{_KIND} file"):
            errors = float(metadata["error"]), float(metadata["shuffled_error"])
            loaded = cls(**tensors, error=errors[0], shuffled_error=errors[1], settings=dict(metadata["settings"]))
            alike("groups", len(loaded.channel_factors), loaded.spatial_factors.shape[1])
            alike("images", len(loaded.images), len(loaded.spatial_factors))
        return loaded


class NeuronGroups:
    r"""
    A layer's activations as a few groups of channels that are active together, by scikit-learn's non-negative matrix factorization.

    .. math::
        V_{p c} \approx \sum_k S_{p k} C_{k c}

    over the positions of one image or several, as in Olah et al., "The Building Blocks of Interpretability" (Distill 2018). Groups are
    sorted by the column at which they are strongest. What has negative entries is factorized as its positive and its negative part, one
    above the other, with the same channel factors, and the spatial factor is the difference of both (Hilton et al., "Understanding RL
    Vision", Distill 2020). With activations a and gradients g, a group's attribution is
    :math:`\sum_p S_{pk}\, C_k \cdot g_p` (of gradients :math:`\sum_p S_{pk}\, C_k \cdot a_p`, of attributions
    :math:`\sum_{p, c} S_{pk} C_{kc}`): those of all groups and the residual sum to :math:`\sum a g`.

    Args:
        forward_func, layer, preprocess, channel_axis: As in :class:`SemanticDictionary`.
        n_groups (int, optional): K, at most the number of channels and of positions. Default: 6
        factorize (str, optional): "activations", "gradients" or "attributions". Default: "activations"
        max_iter (int, optional): Of the factorization. Default: 2000
        tol (float, optional): At what relative change it ends. Default: 1e-6

    Raises:
        ValueError: If an argument is out of range, or the model has no such layer.
        ImportError: If scikit-learn is not installed.

    Examples::

        >>> from captum_proto.features import NeuronGroups
        >>> from captum_proto.testing import QuadrantNetwork, quadrant_pictures
        >>> network, (pictures, _) = QuadrantNetwork(), quadrant_pictures()
        >>> groups = NeuronGroups(network, "features", n_groups=4).interpret(pictures, target=1, draw=False)
        >>> bool((groups.channel_factors @ network.factors.T).amax(1).min() > 0.99), round(groups.error, 4)
        (True, 0.0)
    """

    def __init__(
        self,
        forward_func: Callable[..., Any],
        layer: Layer,
        n_groups: int = 6,
        factorize: str = "activations",
        preprocess: Callable[[Tensor], Tensor] | None = None,
        *,
        channel_axis: int | None = None,
        max_iter: int = 2000,
        tol: float = 1e-6,
    ) -> None:
        if factorize not in _FACTORIZE:
            hint = nearest(str(factorize), _FACTORIZE) or "; expected activations, gradients or attributions."
            raise InputError(f'factorize is "{factorize}"{hint}')
        self.n_groups, self.factorize = check_int(n_groups, "n_groups", 1), factorize
        self.max_iter, self.tol = check_int(max_iter, "max_iter", 1), float(tol)
        self._attribution = UnitAttribution(forward_func, layer, preprocess, channel_axis)
        self._mapped: MappedLayer = self._attribution.layer
        self._given = forward_func, layer, preprocess, channel_axis

    @in_plain_modes
    def interpret(
        self,
        images: Tensor,
        target: Any = None,
        *,
        contrast: Any = None,
        draw: bool = True,
        picture_size: int | None = None,
        **choices: Any,
    ) -> NeuronGroupsResult:
        """
        Find the groups of one image, or those that several share.

        Args:
            images (Tensor): (N, C, H, W), or one (C, H, W), in [0, 1].
            target (TargetType, optional): As in :meth:`UnitAttribution.attribute`; gradients and attributions need one. Default: None
            contrast (TargetType, optional): As there. Default: None
            draw (bool, optional): Whether to make a picture of each group. Default: True
            picture_size (int, optional): The side of a picture, in pixels. Default: None, that of the images
            **choices: Of :func:`~captum_proto.optim.visualize`, such as ``steps``. Default: 128 steps, 32 pictures at a time

        Returns:
            NeuronGroupsResult: With ``n_groups`` groups.

        Raises:
            ValueError: If there are fewer channels or positions than groups, a class is out of range, the layer has no positions, or
                ``target`` is missing.
        """
        images = self._mapped.images(images)
        settings: dict[str, Any] = {"layer": self._mapped.name, "n_groups": self.n_groups, "factorize": self.factorize}
        found: UnitAttributions | None = None
        gradients: Tensor | None = None
        if target is not None:
            found = self._attribution.attribute(images, target, contrast=contrast)
            activations, gradients = found.activations, found.gradients
            settings |= {"target": target, "contrast": contrast}
        elif self.factorize != "activations" or contrast is not None:
            what = f'factorize="{self.factorize}"' if self.factorize != "activations" else "contrast"
            raise InputError(f"{what} was given without target; give the class whose gradient it is.")
        else:
            activations = self._mapped.maps(images)[0]
        values, weights = activations, gradients  # what is factorized, and what a group's part of it is worth
        if gradients is not None and self.factorize == "gradients":
            values, weights = gradients, activations
        elif gradients is not None and self.factorize == "attributions":
            values, weights = activations * gradients, torch.ones_like(activations)
        spatial, channels, error, shuffled = self._factorized(values)
        result = NeuronGroupsResult(images.cpu(), channels, spatial, error, shuffled, settings=settings)
        if weights is not None and found is not None:
            directed = torch.einsum("kc,ncyx->nkyx", channels.to(weights), weights)
            result.attributions = (spatial.to(weights) * directed).sum((2, 3)).cpu()
            result.totals, result.scores = found.totals.cpu(), found.scores.cpu()
            result.residual = result.totals - result.attributions.sum(1)
        return result.with_icons(self.draw(result, picture_size, **choices)) if draw else result

    def check(self, images: Tensor) -> None:
        """
        See that images have as many positions, and the layer as many channels, as there are to be groups.

        Raises:
            ValueError: If they have fewer.
        """
        self._check_count(self._mapped.maps(self._mapped.images(images))[0])

    def _check_count(self, values: Tensor) -> None:
        count, width = len(values) * values.shape[2] * values.shape[3], values.shape[1]
        if self.n_groups > min(count, width):
            raise InputError(
                f'n_groups is {self.n_groups}, but "{self._mapped.name}" has {width} channels at {count} positions; give at most '
                f"{min(count, width)}."
            )

    def draw(self, result: NeuronGroupsResult, picture_size: int | None = None, **choices: Any) -> Visualizations:
        """
        A picture of each group: what moves the layer in the direction of its channel factor; gray for a group that is empty.

        Args:
            result (NeuronGroupsResult): Of this layer.
            picture_size, choices: As in :meth:`interpret`.
        """
        side = None if picture_size is None else check_int(picture_size, "picture_size", 1)
        shape = (result.images.shape[1], side or result.images.shape[2], side or result.images.shape[3])
        alive = result.channel_factors.any(1)  # a factorization may leave a group empty
        pictures = UnitPictures(*self._given, directions=result.channel_factors[alive])
        made = pictures.of(range(int(alive.sum())), shape, **choices)
        images = torch.full((len(alive), *shape), 0.5).to(made.images)
        activations = torch.full((len(alive),), torch.nan)
        images[alive], activations[alive] = made.images, made.activations
        return Visualizations(images, activations, made.seeds, made.settings)

    def _factorized(self, values: Tensor) -> tuple[Tensor, Tensor, float, float]:
        """Spatial factors (N, K, Y, X), channel factors (K, C), and the relative error, also of shuffled positions."""
        self._check_count(values)
        count, width = len(values) * values.shape[2] * values.shape[3], values.shape[1]
        rows = values.detach().permute(0, 2, 3, 1).reshape(count, width).cpu().double().numpy()
        if not rows.any():
            raise InputError(
                f'the {self.factorize} of "{self._mapped.name}" are 0 everywhere, so there are no groups; choose another layer.'
            )
        factors, channels, error = one_sided_nmf(rows, self.n_groups, self.max_iter, self.tol)
        lengths = np.linalg.norm(channels, axis=1)
        channels, factors = channels / np.where(lengths > 0, lengths, 1.0)[:, None], factors * lengths
        spatial = torch.from_numpy(factors).float().view(len(values), *values.shape[2:], -1).permute(0, 3, 1, 2)
        strongest = spatial.abs().sum(0).amax(1).argmax(1)  # of each group, the column
        order = strongest.argsort(stable=True)
        shuffled = np.random.default_rng(0).permuted(rows, axis=0)
        return (
            spatial[:, order].contiguous(),
            torch.from_numpy(channels).float()[order],
            error,
            one_sided_nmf(shuffled, self.n_groups, self.max_iter, self.tol)[2],
        )


__all__ = ["NeuronGroups", "NeuronGroupsResult"]
