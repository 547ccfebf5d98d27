"""Maps of any of Captum's attributions, batch by batch and with the same random numbers each time."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from captum._utils.common import _format_additional_forward_args
from torch import Tensor, nn

from captum_proto._utils.batches import rows_of
from captum_proto._utils.checks import as_int, check_int, check_logits, type_name
from captum_proto._utils.errors import InputError, InputTypeError
from captum_proto._utils.generators import own_generators
from captum_proto._utils.model import dtype_told, modules_of
from captum_proto.metrics.randomization.map_similarity import check_maps

#: What Captum says each time, and nobody need hear hundreds of times.
_SAID_OFTEN = ("Setting backward hooks on ReLU", r"Input Tensor \d+ did not already require gradients")


@dataclass(frozen=True)
class Explained:
    """
    An attribution and the inputs it explains.

    Attributes:
        attribution (Attribution): One of Captum's, or any object with its ``attribute``.
        inputs (Tensor or tuple[Tensor, ...]): (N, ...) each.
        arguments (tuple): Further arguments of the model.
        batch_size (int, optional): Inputs at a time; None: all.
        options (mapping): Further arguments of ``attribute``.
    """

    attribution: Any
    inputs: Tensor | tuple[Tensor, ...]
    arguments: tuple[Any, ...] = ()
    batch_size: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def checked(
        cls,
        attribution: Any,
        inputs: Any,
        additional_forward_args: Any,
        batch_size: int | None,
        options: Mapping[str, Any],
    ) -> Explained:
        """
        From what a user gave.

        Raises:
            TypeError: If something is of another type.
            ValueError: If there are no inputs, or tensors of several lengths.
        """
        if not callable(getattr(attribution, "attribute", None)):
            raise InputTypeError(
                f"attribution is a {type_name(attribution)}; expected one of Captum's attributions, such as Saliency(model)."
            )
        each = inputs if isinstance(inputs, tuple) else (inputs,)
        if not each or not all(isinstance(tensor, Tensor) and tensor.dim() > 1 for tensor in each):
            raise InputTypeError(f"inputs is a {type_name(inputs)}; expected a tensor (N, ...), or a tuple of them.")
        if len({len(tensor) for tensor in each}) > 1 or not len(each[0]):
            raise InputError(
                f"inputs hold {' and '.join(str(len(tensor)) for tensor in each)} rows; expected the same number of each, at least one."
            )
        if batch_size is not None:
            batch_size = check_int(batch_size, "batch_size", 1, ", or None for all inputs at once")
        arguments = _format_additional_forward_args(additional_forward_args) or ()
        return cls(attribution, inputs, arguments, batch_size, dict(options))

    def __len__(self) -> int:
        return len(self.inputs if isinstance(self.inputs, Tensor) else self.inputs[0])

    def maps(self, target: Any) -> Tensor | tuple[Tensor, ...]:
        """
        The maps of all inputs; what is random in an attribution, such as the noise of NoiseTunnel, is the same at each call.

        Args:
            target (TargetType): As Captum's; of a list or a tensor (N,), an entry for each input.

        Raises:
            TypeError, ValueError: If the attribution returns something that cannot be compared input by input.
        """
        parts = []
        device = (self.inputs if isinstance(self.inputs, Tensor) else self.inputs[0]).device
        with own_generators(device), warnings.catch_warnings():
            for message in _SAID_OFTEN:
                warnings.filterwarnings("ignore", message=message)
            torch.manual_seed(0)
            for rows in self._batches():
                options = dict(self.options)
                if target is not None:
                    options["target"] = target_rows(target, rows, len(self))
                if self.arguments:
                    options["additional_forward_args"] = rows_of(self.arguments, rows, len(self))
                found = self.attribution.attribute(self._inputs(rows), **options)
                parts.append(check_maps(found, rows.stop - rows.start))
        if isinstance(parts[0], Tensor):
            return torch.cat(parts)  # type: ignore[arg-type]
        return tuple(torch.cat(tensors) for tensors in zip(*parts, strict=True))

    def forward(self, model: nn.Module, count: int | None = None) -> Any:
        """What the model returns for the first inputs, or for all."""
        rows = slice(0, len(self) if count is None else count)
        given = self._inputs(rows)
        with dtype_told(model, given):
            return model(*(given if isinstance(given, tuple) else (given,)), *rows_of(self.arguments, rows, len(self)))

    def predicted(self, model: nn.Module) -> list[int]:
        """
        The class that the model sees in each input.

        Raises:
            TypeError, ValueError: If it does not return logits (N, K).
        """
        parts: list[int] = []
        with torch.no_grad():
            for rows in self._batches():
                given = self._inputs(rows)
                output = model(
                    *(given if isinstance(given, tuple) else (given,)), *rows_of(self.arguments, rows, len(self))
                )
                parts += check_logits(output, rows.stop - rows.start).argmax(1).tolist()
        return parts

    def _inputs(self, rows: slice) -> Tensor | tuple[Tensor, ...]:
        if isinstance(self.inputs, Tensor):
            return self.inputs[rows].detach().clone()
        return tuple(tensor[rows].detach().clone() for tensor in self.inputs)

    def _batches(self) -> list[slice]:
        size = self.batch_size or len(self)
        return [slice(begin, min(begin + size, len(self))) for begin in range(0, len(self), size)]


def target_rows(target: Any, rows: slice, total: int) -> Any:
    """Captum's convention: a list, or a tensor of one dimension, has an entry for each input; anything else is for all."""
    if isinstance(target, (list, Tensor)) and not (isinstance(target, Tensor) and target.numel() == 1):
        if len(target) != total:
            raise InputError(f"{len(target)} targets were given for {total} inputs; give one, or one for each input.")
        return target[rows]
    return target


def check_refers(attribution: Any, model: nn.Module) -> None:
    """
    See that an attribution is of a model: that it reaches all its parameters.

    Raises:
        TypeError: If the model is none.
        ValueError: If it reaches others.
    """
    if not isinstance(model, nn.Module):
        raise InputTypeError(
            f"model is a {type_name(model)}; expected the torch.nn.Module whose weights are to be randomized."
        )
    reached = {id(parameter) for module in modules_of(attribution) for parameter in module.parameters()}
    if not {id(parameter) for parameter in model.parameters()} <= reached:
        raise InputError(
            f"the {type(attribution).__name__} does not refer to the model that was given, so randomizing its weights would change no map; "
            "make the attribution from this model."
        )


def check_seeds(seeds: int | Sequence[int]) -> list[int]:
    """
    Seeds, from how many there are to be or from a list of them.

    Raises:
        ValueError: If there are none, or one is negative or comes twice.
    """
    count = as_int(seeds)
    if count is not None:
        return list(range(check_int(count, "seeds", 1, ", or a list of seeds")))
    found = [check_int(seed, "a seed", 0) for seed in seeds]  # type: ignore[union-attr]
    if not found or len(set(found)) < len(found):
        raise InputError(f"seeds are {seeds!r}; expected a number of seeds, or a list of different ones.")
    return found


__all__ = ["Explained", "check_refers", "check_seeds", "target_rows"]
