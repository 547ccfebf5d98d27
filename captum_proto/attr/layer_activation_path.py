"""Integrated gradients in the space of a layer's activations: what each of them contributes to a decision or a value."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from captum.attr import IntegratedGradients, LayerAttribution
from captum.log import log_usage
from torch import Tensor

from captum_proto._utils.checks import callers_level, check_int, check_logits, nearest
from captum_proto._utils.errors import InputError, InputTypeError
from captum_proto._utils.model import borrowed, dtype_told
from captum_proto._utils.modes import in_plain_modes
from captum_proto._utils.targets import parse_targets, target_mask
from captum_proto.attr.linear_pieces import integrate_linear_pieces
from captum_proto.capture import Layer, changed_output, find_output, gradients_told
from captum_proto.ops.double import exact
from captum_proto.optim.loss import class_score

EXACT = "exact"
METHODS = ("riemann_right", "riemann_left", "riemann_middle", "riemann_trapezoid", "gausslegendre", EXACT)


@dataclass
class PathAttributions:
    """
    What each activation of a layer contributes to a score, and how complete that account is.

    Attributes:
        values (Tensor): (N, ...), as the layer returns: they sum to what the layer does to the score.
        activations (Tensor): (N, ...), of the layer.
        scores (Tensor): (N,), the score of each input.
        baselines (Tensor): (N,), the score where the layer returns zeros.
    """

    values: Tensor
    activations: Tensor
    scores: Tensor
    baselines: Tensor

    @property
    def delta(self) -> Tensor:
        """(N,): by how much the sum of the attributions differs from ``scores - baselines``; 0 where the account is complete."""
        return self.values.flatten(1).sum(1) - (self.scores - self.baselines)

    @property
    def completeness_error(self) -> Tensor:
        """(N,): the size of ``delta`` over that of the score."""
        return self.delta.abs() / self.scores.abs().clamp(min=torch.finfo(self.scores.dtype).tiny)


class LayerActivationPath(LayerAttribution):
    r"""
    Integrated gradients along the straight path from a layer that returns zeros to what it returns.

    .. math::
        A = a \odot \int_0^1 \nabla F(\alpha a)\, d\alpha, \qquad \sum A = F(a) - F(0)

    with F from the layer's output a to a score: a value, or the logit of an action or class. Hilton, Cammarata, Carter, Goh and Olah,
    "Understanding RL Vision" (Distill 2020), attribute an agent's value function so, with the right Riemann sum of 10 steps, which is the
    default here; :class:`captum.attr.IntegratedGradients` takes the sums. Captum's ``LayerIntegratedGradients`` takes another path: that of
    the input. For a network of linear layers, ReLUs and maxima, ``method="exact"`` finds the places where the gradient along the path
    changes, and integrates between them.

    Args:
        forward_func (Callable): The model, or a function that refers to it, such as ``lambda x: agent(x)[1]``. Returns values (N,) or
            (N, 1), or logits (N, K).
        layer (str or nn.Module): As :func:`~captum_proto.capture.capture` names it; ``"relu#1"`` where it is called several times.

    Raises:
        ValueError: If the model has no such layer.

    Examples::

        >>> from captum_proto.attr import LayerActivationPath
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(288, 1)).eval()
        >>> path = LayerActivationPath(model, "1")
        >>> found = path.attribute(torch.rand(2, 3, 8, 8))
        >>> found.shape
        torch.Size([2, 8, 6, 6])
    """

    def __init__(self, forward_func: Callable[..., Any], layer: Layer) -> None:
        self.name, module, self._call, self._keys = find_output(forward_func, layer)
        super().__init__(forward_func, module)

    @log_usage()
    @in_plain_modes
    def attribute(
        self,
        inputs: Tensor,
        target: Any = None,
        n_steps: int = 10,
        method: str = "riemann_right",
        internal_batch_size: int | None = None,
        return_convergence_delta: bool = False,
        tolerance: float = 0.1,
    ) -> Any:
        """
        Attribute scores to the layer's activations.

        Args:
            inputs (Tensor): (N, ...), as the model takes them.
            target (TargetType, optional): An action or class, or one for each input; a nested list for superclasses. Default: None, for
                models that return one value for each input
            n_steps (int, optional): Of the sum, at least 2; "exact" needs none. Default: 10
            method (str, optional): One of Captum's sums, or "exact". Default: "riemann_right"
            internal_batch_size (int, optional): Steps of all inputs that go through the model at once. Default: None, all; 256 for "exact"
            return_convergence_delta (bool, optional): Whether to return ``delta`` as well. Default: False
            tolerance (float, optional): A warning says where attributions miss what they should sum to by a larger share of the score.
                Default: 0.1

        Returns:
            Tensor: (N, ...), as the layer returns; with ``return_convergence_delta`` a tuple of it and a tensor (N,).

        Raises:
            ValueError: If an argument is out of its range, or the layer's output is not the model's to go on with.

        Warns:
            UserWarning: If an account is less complete than ``tolerance`` asks.
        """
        found = self.account(inputs, target, n_steps, method, internal_batch_size, tolerance)
        return (found.values, found.delta) if return_convergence_delta else found.values

    @in_plain_modes
    def account(
        self,
        inputs: Tensor,
        target: Any = None,
        n_steps: int = 10,
        method: str = "riemann_right",
        internal_batch_size: int | None = None,
        tolerance: float = 0.1,
    ) -> PathAttributions:
        """
        The same with all that it takes to check it.

        Args:
            inputs, target, n_steps, method, internal_batch_size, tolerance: As in :meth:`attribute`.

        Returns:
            PathAttributions: With activations, scores and baselines.

        Raises:
            ValueError: As there.
        """
        if method not in METHODS:
            raise InputError(f'method is "{method}"{nearest(str(method), METHODS) or f"; expected one of {METHODS}."}')
        if not isinstance(inputs, Tensor) or inputs.dim() < 1 or len(inputs) == 0:
            raise InputTypeError("inputs are no batch; expected a tensor (N, ...) of at least one.")
        steps, inputs = check_int(n_steps, "n_steps", 2), inputs.detach()
        with borrowed(self.forward_func), gradients_told(self.forward_func):
            activations, scores, mask = self._begin(inputs, target)
            with torch.no_grad():
                baselines = self._tail(torch.zeros_like(activations), inputs, mask)
            if method == EXACT:
                values = self._exact(activations, inputs, mask, scores, baselines, internal_batch_size or 256)
            else:
                with torch.enable_grad():
                    values = IntegratedGradients(self._differentiable_tail).attribute(
                        activations,
                        torch.zeros_like(activations),
                        additional_forward_args=(inputs, mask),
                        n_steps=steps,
                        method=method,
                        internal_batch_size=internal_batch_size,
                    )
        found = PathAttributions(values.detach(), activations, scores, baselines)
        _check_completeness(found, method, steps, tolerance)
        return found

    def _begin(self, inputs: Tensor, target: Any) -> tuple[Tensor, Tensor, Tensor | None]:
        """What the layer returns, the scores, and which outputs they are of."""
        kept: list[Tensor] = []
        with (
            torch.no_grad(),
            changed_output(self.forward_func, self.name or self.layer, lambda a: kept.append(a.clone())),
            dtype_told(self.forward_func, inputs),
        ):
            output = self.forward_func(inputs.clone())
        if not kept:
            raise InputError(f'"{self.name}" returned no tensor in a forward pass; expected a layer that returns one.')
        if len(kept) > 1:
            raise InputError(f'"{self.name}" is called {len(kept)} times in a pass; name one call: "{self.name}#0".')
        activations = kept[0]
        if activations.dim() < 2 or len(activations) != len(inputs) or not activations.is_floating_point():
            raise InputError(
                f'"{self.name}" returned shape {tuple(activations.shape)} for {len(inputs)} inputs; expected one entry for each of them.'
            )
        mask = None
        if target is not None:
            logits = check_logits(output, len(inputs))
            mask = target_mask(parse_targets(target, len(inputs)), logits.shape[1], logits.device)
        return activations, _scores(output, mask, len(inputs)), mask

    def _tail(self, activations: Tensor, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """The scores where the layer returns these activations."""
        with changed_output(self.forward_func, self.name or self.layer, lambda _: activations.clone()):
            return _scores(self.forward_func(inputs.clone()), mask, len(inputs))

    def _differentiable_tail(self, activations: Tensor, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        scores = self._tail(activations, inputs, mask)
        if not scores.requires_grad:
            raise InputError(
                f'the score does not depend on "{self.name}", or its gradient does not reach it; choose a layer that comes before it.'
            )
        return scores

    def _exact(
        self,
        activations: Tensor,
        inputs: Tensor,
        mask: Tensor | None,
        scores: Tensor,
        baselines: Tensor,
        batch_size: int,
    ) -> Tensor:
        def at(rows: Tensor, shares: Tensor) -> tuple[Tensor, Tensor]:
            """The scores of some inputs' activations times shares, and the gradient with respect to them."""
            rows = rows.to(activations.device)
            own = activations[rows] * shares.to(activations).view(-1, *[1] * (activations.dim() - 1))
            with torch.enable_grad():
                own = own.requires_grad_()
                found = self._differentiable_tail(own, inputs[rows], None if mask is None else mask[rows])
                (gradient,) = torch.autograd.grad(found.sum(), own)
            return exact(found.detach()), exact(gradient)

        ends, first, last = exact(activations), exact(baselines), exact(scores)
        found = integrate_linear_pieces(at, ends, first, last, batch_size)
        return found.to(activations.device)


def _scores(output: Any, mask: Tensor | None, count: int) -> Tensor:
    """(N,): what is attributed."""
    if mask is not None:
        return class_score(check_logits(output, count), mask)
    if not isinstance(output, Tensor) or output.numel() != count or len(output) != count:
        given = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise InputError(
            f"the model returned {given} for {count} inputs; expected one value for each: give target for logits, or a function that "
            "returns the values alone, such as lambda x: agent(x)[1]."
        )
    return output.reshape(count)


def _check_completeness(found: PathAttributions, method: str, steps: int, tolerance: float) -> None:
    missed = found.delta.abs() > tolerance * found.scores.abs()
    if bool(missed.any()):
        how = (
            ""
            if method == EXACT
            else f' of {steps} steps; give more n_steps, or method="exact" for a network of linear pieces'
        )
        warnings.warn(
            f"the attributions of {int(missed.sum())} of {len(missed)} inputs miss their sum by more than {tolerance:.0%} of the "
            f'score, with "{method}"{how}.',
            stacklevel=callers_level(),
        )


__all__ = ["METHODS", "LayerActivationPath", "PathAttributions"]
