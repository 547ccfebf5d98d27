"""Attribution of a decision to every unit and position of a layer, and of a layer to an earlier one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from captum.attr import LayerGradientXActivation
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, pad

from captum_proto._utils.checks import as_int, check_int, check_logits, nearest
from captum_proto._utils.errors import InputError
from captum_proto._utils.model import borrowed, modules_of
from captum_proto._utils.modes import in_plain_modes
from captum_proto._utils.targets import Target, parse_targets, target_mask
from captum_proto.capture import Layer, changed_output, forward_hooks, gradients_told
from captum_proto.features.layer_maps import MapLayout, MappedLayer
from captum_proto.optim.loss import class_score
from captum_proto.optim.loss.objective import NO_GRADIENT

_METHODS = ("linear", "path")
#: So many steps of a path are one batch.
_AT_A_TIME = 16


@dataclass
class UnitAttributions:
    r"""
    How much of a class's logit each channel at each position stands for.

    Attributes:
        values (Tensor): (N, C, H, W).
        activations (Tensor): (N, C, H, W), of the layer.
        gradients (Tensor): (N, C, H, W): what ``values`` are ``activations`` times; along a path, its mean.
        scores (Tensor): (N,): the logit, the logsumexp of a superclass's, or the difference of two.
        baselines (Tensor, optional): (N,): the score where the layer returns zeros, which a path begins at. Default: None
    """

    values: Tensor
    activations: Tensor
    gradients: Tensor
    scores: Tensor
    baselines: Tensor | None = None

    @property
    def spatial(self) -> Tensor:
        """(N, H, W): the sum over channels."""
        return self.values.sum(1)

    @property
    def channels(self) -> Tensor:
        """(N, C): the sum over positions."""
        return self.values.sum((2, 3))

    @property
    def totals(self) -> Tensor:
        """(N,): the sum over both. Along a path it comes near ``scores - baselines``."""
        return self.values.sum((1, 2, 3))


class UnitAttribution:
    r"""
    Attribution of a class to a layer's channels and positions.

    .. math::
        A_{c, p} = a_{c, p} \frac{\partial h_t}{\partial a_{c, p}}

    by Captum's :class:`~captum.attr.LayerGradientXActivation`; summed over channels it is the spatial attribution, over positions the
    channel attribution of Olah et al., "The Building Blocks of Interpretability" (Distill 2018). With ``method="path"`` the gradient is the
    mean over :math:`a \cdot n / N`, n = 0 … N - 1: a left Riemann sum from a layer that returns zeros, as the article has it.

    Args:
        forward_func (Callable): The model, or a function or object that refers to it.
        layer (str or nn.Module): As :func:`~captum_proto.capture.capture` names it. Of several calls in a pass, Captum's habit: the last.
        preprocess (Callable, optional): From images in [0, 1] to what ``forward_func`` takes. Default: None
        channel_axis (int, optional): Which axis of the layer's output holds its channels. Default: None, told from the layer

    Raises:
        ValueError: If the model has no such layer.

    Examples::

        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.Flatten(), torch.nn.Linear(8 * 36, 5)).eval()
        >>> found = UnitAttribution(model, "0").attribute(torch.rand(2, 3, 8, 8), target=1)
        >>> found.values.shape, found.spatial.shape, found.channels.shape
        (torch.Size([2, 8, 6, 6]), torch.Size([2, 6, 6]), torch.Size([2, 8]))
    """

    def __init__(
        self,
        forward_func: Callable[..., Any],
        layer: Layer,
        preprocess: Callable[[Tensor], Tensor] | None = None,
        channel_axis: int | None = None,
    ) -> None:
        self.layer = MappedLayer(forward_func, layer, preprocess, channel_axis)

    @in_plain_modes
    def attribute(
        self,
        images: Tensor,
        target: Any,
        *,
        contrast: Any = None,
        method: str = "linear",
        n_steps: int = 100,
        relax_max_pool: bool = False,
    ) -> UnitAttributions:
        r"""
        Attribute classes to the layer.

        Args:
            images (Tensor): (N, C, H, W), or one (C, H, W), in [0, 1].
            target (TargetType): A class, or one for each image; a nested list for superclasses, whose score is the logsumexp.
            contrast (TargetType, optional): What to subtract: the score is then ``target``'s minus this one's. Default: None
            method (str, optional): "linear" or "path". Default: "linear"
            n_steps (int, optional): N, of a path. Default: 100
            relax_max_pool (bool, optional): Whether an ``nn.MaxPool2d`` passes gradients on to all it looks at, as
                :math:`\operatorname{avg}(x^2) / (0.01 + \operatorname{avg}|x|)` would, instead of to the maximum alone. Default: False

        Returns:
            UnitAttributions: Of each image.

        Raises:
            ValueError: If a class is out of range, the images are not the model's, or the layer has no positions.
        """
        if method not in _METHODS:
            raise InputError(f'method is "{method}"{nearest(str(method), _METHODS) or "; expected linear or path."}')
        steps = check_int(n_steps, "n_steps", 1)
        mapped, images = self.layer, self.layer.images(images)
        targets = parse_targets(target, len(images))
        others = None if contrast is None else parse_targets(contrast, len(images))
        returned, call = mapped.returned(images)
        layout = mapped.layout(returned, images)
        relaxed = relaxed_max_pool(mapped.forward_func) if relax_max_pool else contextlib.nullcontext()
        with borrowed(mapped.forward_func), gradients_told(mapped.forward_func), relaxed:
            with torch.no_grad():
                scores = _scores(mapped.run(images), targets, others)
                no_activation = changed_output(mapped.forward_func, call or mapped.module, torch.zeros_like)
                baselines = None
                if method == "path":
                    with no_activation:
                        baselines = _scores(mapped.run(images), targets, others)
            if method == "path":
                gradients = self._along_path(images, call, steps, targets, others)
            else:
                gradients = self._gradients(images, targets, others)
        activations, gradient = layout.maps(returned), layout.maps(gradients)
        return UnitAttributions(activations * gradient, activations, gradient, scores, baselines)

    def _gradients(self, images: Tensor, targets: list[Target], others: list[Target] | None) -> Tensor:
        """Of the scores with respect to what the layer returns, by Captum where it knows the call."""
        mapped = self.layer
        if mapped.call is None and not mapped.path:
            captum = LayerGradientXActivation(
                lambda batch: self._graph_of(batch, targets, others), mapped.module, multiply_by_inputs=False
            )
            found: Tensor = captum.attribute(images)
            return found.detach()
        with torch.enable_grad(), _leaf_at(mapped, mapped.name) as leaf:
            score = self._graph_of(images, targets, others).sum()
        return torch.autograd.grad(score, leaf[-1])[0]

    def _graph_of(self, images: Tensor, targets: list[Target], others: list[Target] | None) -> Tensor:
        """The scores, of which there is a gradient with respect to what the layer returned."""
        score = _scores(self.layer.run(images), targets, others)
        if not score.requires_grad:
            raise InputError(f'the model\'s output does not depend on "{self.layer.name}", or {NO_GRADIENT}')
        return score

    def _along_path(
        self, images: Tensor, call: str, steps: int, targets: list[Target], others: list[Target] | None
    ) -> Tensor:
        """The mean gradient over a layer that returns n / steps of what it does, n from 0."""
        found = []
        for number in range(len(images)):
            total: Tensor | None = None
            for begin in range(0, steps, _AT_A_TIME):
                shares = torch.arange(begin, min(begin + _AT_A_TIME, steps), device=images.device) / steps
                repeated = images[number : number + 1].expand(len(shares), *images.shape[1:])
                own = [targets[number]] * len(shares)
                other = None if others is None else [others[number]] * len(shares)
                with torch.enable_grad(), _leaf_at(self.layer, call, shares) as leaf:
                    score = self._graph_of(repeated, own, other).sum()
                part = torch.autograd.grad(score, leaf[-1])[0].sum(0, keepdim=True)
                total = part if total is None else total + part
            assert total is not None  # there is a step
            found.append(total / steps)
        return torch.cat(found)

    @in_plain_modes
    def between(
        self, images: Tensor, later: Layer, units: str = "positions", *, relax_max_pool: bool = False
    ) -> Tensor:
        r"""
        Attribution of a later layer's positions, or channels, to those of this one.

        Of a later position q the norm :math:`|b_q|_2` of its activation vector is attributed to positions p of this layer,
        :math:`\sum_c a_{c, p}\, \partial |b_q| / \partial a_{c, p}`; of a later channel d the sum over its positions is attributed to
        channels, :math:`\sum_p a_{c, p}\, \partial \sum_q b_{d, q} / \partial a_{c, p}`.

        Args:
            images (Tensor): (N, C, H, W), or one (C, H, W), in [0, 1].
            later (str or nn.Module): A layer that comes after this one.
            units (str, optional): "positions" or "channels". Default: "positions"
            relax_max_pool (bool, optional): As in :meth:`attribute`. Default: False

        Returns:
            Tensor: (N, H2, W2, H, W), or (N, C2, C).

        Raises:
            ValueError: If ``later`` does not depend on this layer, or either has no positions.
        """
        if units not in ("positions", "channels"):
            raise InputError(f'units is "{units}"; expected "positions" or "channels".')
        mapped, images = self.layer, self.layer.images(images)
        second = MappedLayer(mapped.forward_func, later, mapped.pipeline.preprocess)
        returned, call = mapped.returned(images)
        after, after_call = second.returned(images)
        layout, after_layout = mapped.layout(returned, images), second.layout(after, images)
        kept: list[Tensor] = []
        relaxed = relaxed_max_pool(mapped.forward_func) if relax_max_pool else contextlib.nullcontext()
        with (
            borrowed(mapped.forward_func),
            gradients_told(mapped.forward_func),
            relaxed,
            torch.enable_grad(),
            _leaf_at(mapped, call) as leaf,
            changed_output(mapped.forward_func, after_call or second.module, lambda value: kept.append(value.clone())),
        ):
            mapped.run(images)
        maps = after_layout.maps(kept[-1])
        if not maps.requires_grad:
            raise InputError(
                f'"{second.name}" does not depend on "{mapped.name}"; give as later a layer that comes after it.'
            )
        values = maps.norm(dim=1).flatten(1) if units == "positions" else maps.sum((2, 3))
        activations = layout.maps(returned)
        rows = []
        for number in range(values.shape[1]):
            (gradient,) = torch.autograd.grad(values[:, number].sum(), leaf[-1], retain_graph=True)
            product = activations * layout.maps(gradient)
            rows.append(product.sum(1) if units == "positions" else product.sum((2, 3)))
        found = torch.stack(rows, 1).detach()
        return found.view(len(maps), *maps.shape[2:], *found.shape[2:]) if units == "positions" else found


@contextlib.contextmanager
def _leaf_at(mapped: MappedLayer, call: str, shares: Tensor | None = None) -> Iterator[list[Tensor]]:
    """For one forward pass, what a layer returns begins a graph: times one share for each image, in a list of what was."""
    leaves: list[Tensor] = []

    def begin(value: Tensor) -> Tensor:
        value = value.detach()
        if shares is not None:
            value = value * shares.to(value).view(-1, *[1] * (value.dim() - 1))
        leaves.append(value.requires_grad_())
        return leaves[-1].clone()  # what comes next may work in place

    with changed_output(mapped.forward_func, call or mapped.module, begin):
        yield leaves


def _scores(output: Any, targets: list[Target], others: list[Target] | None) -> Tensor:
    """What is attributed: (N,)."""
    logits = check_logits(output, len(targets))
    score = class_score(logits, target_mask(targets, logits.shape[1], logits.device))
    return score if others is None else score - class_score(logits, target_mask(others, logits.shape[1], logits.device))


@contextlib.contextmanager
def relaxed_max_pool(forward_func: Callable[..., Any]) -> Iterator[None]:
    r"""
    Let every ``nn.MaxPool2d`` of a model pass gradients on as :math:`\operatorname{avg}(x^2) / (0.01 + \operatorname{avg}|x|)` does.

    What it returns stays the maximum. Of Olah et al., "The Building Blocks of Interpretability" (Distill 2018), as Lucid has it: gradients
    through a maximum alone make attribution maps patchy.

    Args:
        forward_func (Callable): The model, or a function that refers to it. Max-poolings that are no modules stay as they are.

    Raises:
        ValueError: If there is no ``nn.MaxPool2d`` in it, or one with a dilation or a ceiling.
    """
    found = {id(part): part for owner in modules_of(forward_func) for part in owner.modules()}
    pools = [part for part in found.values() if isinstance(part, nn.MaxPool2d)]
    if not pools:
        raise InputError("relax_max_pool was asked for, but the model has no nn.MaxPool2d; leave it out.")

    def relax(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Tensor:
        assert isinstance(module, nn.MaxPool2d)
        smooth = _relaxed(inputs[0], module)
        return output.detach() + smooth - smooth.detach()

    for pool in pools:
        if as_int(pool.dilation) not in (1, None) or pool.ceil_mode or pool.return_indices:
            raise InputError(
                "relax_max_pool takes no nn.MaxPool2d with dilation, ceil_mode or return_indices; leave it out for this model."
            )
    with forward_hooks((pool, relax) for pool in pools):
        yield


def _relaxed(values: Tensor, pool: nn.MaxPool2d) -> Tensor:
    high, wide = (pool.padding, pool.padding) if isinstance(pool.padding, int) else pool.padding
    values = pad(values, (wide, wide, high, high))
    squares, sizes = (avg_pool2d(each, pool.kernel_size, pool.stride) for each in (values * values, values.abs()))
    return squares / (1e-2 + sizes)


__all__ = ["MapLayout", "UnitAttribution", "UnitAttributions", "relaxed_max_pool"]
