"""The optimizers of inputs, by name, and what of them changes from step to step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from captum_proto.optim.random import copied_to


class NAdam(torch.optim.Optimizer):
    r"""
    Adam with Nesterov's momentum (Dozat, "Incorporating Nesterov Momentum into Adam", ICLR 2016 workshop), which asks for no value.

    Parameters come out as those of :class:`torch.optim.NAdam`, on the CPU to the last bit. That one computes its coefficients in each step
    from those of the step before, on the host. They depend on the number of the step alone: here they are made for all steps at once, and
    those of a step are set before it, in ``coefficients``.

    Args:
        params (iterable of Tensor): What it is to change, of one dtype and on one device.
        lr (float, optional): Learning rate, where steps have none of their own. Default: 2e-3
        betas (tuple[float, float], optional): Decay rates. Default: (0.9, 0.999)
        eps (float, optional): Denominator term. Default: 1e-8
        momentum_decay (float, optional): How fast the momentum grows to the first of ``betas``. Default: 4e-3

    Examples::

        >>> image = torch.rand(1, 3, 8, 8)
        >>> optimizer = NAdam([image], lr=0.1)
        >>> table = optimizer.table([0.1] * 5)
        >>> image.grad = torch.ones_like(image)
        >>> for row in table:
        ...     optimizer.coefficients = row
        ...     optimizer.step()
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        momentum_decay: float = 4e-3,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "momentum_decay": momentum_decay})
        #: (3,), of the step to be taken: a row of :meth:`table`, on the parameters' device.
        self.coefficients: Tensor | None = None

    def table(self, rates: Sequence[float]) -> Tensor:
        """
        The coefficients of all steps.

        Args:
            rates (sequence of float): The learning rate of each.

        Returns:
            Tensor: (steps, 3), float64: by what the second moment is divided, and what the gradient and the first moment are multiplied by.
        """
        group = self.param_groups[0]
        (first, second), decay = group["betas"], group["momentum_decay"]
        product, rows = np.float32(1), []
        for step, rate in enumerate(rates, 1):
            now, later = (first * (1 - 0.5 * 0.96 ** (at * decay)) for at in (step, step + 1))
            product = np.float32(product * np.float32(now))  # in float32, as PyTorch keeps it
            ahead = float(product) * later
            rows.append((1 - second**step, -rate * (1 - now) / (1 - float(product)), -rate * later / (1 - ahead)))
        return torch.tensor(rows, dtype=torch.float64).view(-1, 3)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take the step whose coefficients are set."""
        result = None if closure is None else torch.enable_grad()(closure)()
        assert self.coefficients is not None  # set before
        correction, by_gradient, by_momentum = self.coefficients.unbind()
        for group in self.param_groups:
            first, second = group["betas"]
            for values in group["params"]:
                gradient = values.grad
                if gradient is None:
                    continue
                state = self.state[values]
                if not state:
                    state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(values), torch.zeros_like(values)
                mean, square = state["exp_avg"], state["exp_avg_sq"]
                mean.lerp_(gradient, 1 - first)
                square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
                denominator = square.div(correction).sqrt_().add_(group["eps"])
                values.add_(gradient.mul(by_gradient).div_(denominator))
                values.add_(mean.mul(by_momentum).div_(denominator))
        return result


#: Each works element by element: what it does to a row does not depend on the others.
OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {"adam": torch.optim.Adam, "nadam": NAdam}


def optimizer_of(
    parameters: Iterable[Tensor], name: str, lr: float, betas: tuple[float, float], eps: float, capturable: bool = False
) -> torch.optim.Optimizer:
    """
    An optimizer of PyTorch's, with its fused kernel where it has one, or of ours.

    Args:
        parameters (iterable of Tensor): What it is to change, on one device.
        name (str): Of :data:`OPTIMIZERS`.
        lr (float): Its learning rate.
        betas (tuple[float, float]): Its decay rates.
        eps (float): Its denominator term.
        capturable (bool, optional): Whether a CUDA graph may hold its steps. Default: False
    """
    values = list(parameters)
    options: dict[str, Any] = {}
    if name == "adam":
        options = {"fused": values[0].device.type in ("cpu", "cuda"), "capturable": capturable}
    return OPTIMIZERS[name](values, lr=lr, betas=betas, eps=eps, **options)  # type: ignore[call-arg]  # both have these


class Course:
    """
    The numbers of an optimizer that change from step to step: its learning rate, and what depends on it.

    They are made for all steps beforehand. What has to be on the device is copied there once, and in a step nothing waits for it.

    Args:
        optimizer (torch.optim.Optimizer): Of :func:`optimizer_of`.
        rates (sequence of float): The learning rate of each step.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, rates: Sequence[float]) -> None:
        self._optimizer, self._constant = optimizer, len(set(rates)) < 2
        self._like: Tensor = optimizer.param_groups[0]["params"][0]
        self._rates = list(rates)
        self._table: Tensor | None = None
        self._held: Tensor | None = None
        if isinstance(optimizer, NAdam):
            self._table = copied_to(optimizer.table(self._rates).to(self._like.dtype), self._like.device)
        elif not self._constant:
            # Rounded, so that it is the same for a kernel that takes it from the host and for one that reads it on the device.
            self._rates = torch.tensor(self._rates, dtype=torch.float64).to(self._like.dtype).tolist()

    def set(self, step: int) -> None:
        """Give the optimizer the numbers of a step; once they are held, in the memory that holds them."""
        if self._held is not None and self._table is not None:
            self._held.copy_(self._table[step])
        elif isinstance(self._optimizer, NAdam):
            assert self._table is not None
            self._optimizer.coefficients = self._table[step]
        else:
            self._optimizer.param_groups[0]["lr"] = self._rates[step]

    def hold(self) -> None:
        """From now on, keep the numbers of the step at one place in the device's memory: what reads them there need not be told anew."""
        if isinstance(self._optimizer, NAdam):
            assert self._table is not None
            self._held = self._table[0].clone()
            self._optimizer.coefficients = self._held
        elif not self._constant:
            self._table = copied_to(torch.tensor(self._rates, dtype=self._like.dtype), self._like.device)
            self._held = self._table[0].clone()
            self._optimizer.param_groups[0]["lr"] = self._held

    def let_go(self) -> None:
        """Take :meth:`hold` back."""
        self._held = None


__all__ = ["OPTIMIZERS", "Course", "NAdam", "optimizer_of"]
