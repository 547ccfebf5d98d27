"""Change a model for the length of a ``with``: ablate units, or project directions out of a layer."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from captum_proto._utils.checks import as_int, type_name
from captum_proto._utils.errors import InputError, InputTypeError
from captum_proto._utils.scripted import check_readable
from captum_proto.capture import Layer, changed_output, channel_axis, find_output
from captum_proto.ops.double import double


@contextlib.contextmanager
def ablate_units(
    forward_func: Callable[..., Any],
    layer: Layer,
    units: Sequence[int] | int,
    value: float | Tensor = 0.0,
    channel_axis: int | None = None,
) -> Iterator[None]:
    """
    Have units of a layer say nothing, in every forward pass within the block.

    The weights stay as they are; what the layer returns is changed on its way. With gradients, none go through these units.

    Args:
        forward_func (Callable): The model, or a function that refers to it.
        layer (str or nn.Module): As :func:`~captum_proto.capture.capture` names it; every call of it in a pass.
        units (int or sequence of int): Channels of its output (N, ...).
        value (float or Tensor, optional): What they say instead: one number, or one for each unit, such as their mean. Default: 0.0
        channel_axis (int, optional): Which axis of the output holds the units. Default: None, told by the layer

    Raises:
        ValueError: If there is no such layer or unit, or there are not as many values as units.

    Examples::

        >>> model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU())
        >>> with ablate_units(model, "0", [0, 2], value=5.0):
        ...     model(torch.zeros(1, 2))[0, [0, 2]].tolist()
        [5.0, 5.0]
    """
    chosen = _units(units)
    given = torch.as_tensor(value)
    if given.dim() > 1 or (given.dim() == 1 and len(given) != len(chosen)):
        raise InputError(
            f"value has shape {tuple(given.shape)} for {len(chosen)} units; expected one number, or one for each unit."
        )

    def change(output: Tensor, axis: int) -> Tensor:
        _check(chosen, output, axis)
        keep = torch.ones(output.shape[axis], dtype=torch.bool, device=output.device)
        keep[chosen] = False
        instead = torch.zeros(output.shape[axis], dtype=output.dtype, device=output.device)
        instead[chosen] = given.to(output.device, output.dtype)
        shape = [1] * output.dim()
        shape[axis] = -1
        return torch.where(keep.view(shape), output, instead.view(shape))

    with _changed(forward_func, layer, channel_axis, change):
        yield


@contextlib.contextmanager
def project_out(
    forward_func: Callable[..., Any],
    layer: Layer | None,
    directions: Tensor,
    channel_axis: int | None = None,
    kernel: Layer | None = None,
) -> Iterator[None]:
    r"""
    Take directions out of what a layer returns, or out of what the next kernel reads, in every forward pass within the block.

    .. math::
        h \mapsto h - V^\top V h \qquad \text{or} \qquad W \mapsto W (I - V^\top V)

    with V an orthonormal basis of the directions; for a single one v, :math:`V^\top V = v v^\top / |v|^2`. What is left has none of them,
    and nothing else is changed. The second is the edit of Hilton et al., "Understanding RL Vision" (Distill 2020): the kernel that reads
    the layer is multiplied, at each of its places, on the side of its inputs. Where that kernel alone reads the layer, both are the same
    function; the second is one of weights, which ``model.state_dict()`` within the block holds.

    Args:
        forward_func (Callable): The model, or a function that refers to it.
        layer (str or nn.Module, optional): As in :func:`ablate_units`. None with ``kernel``.
        directions (Tensor): (C,) or (D, C), of as many channels as the layer has.
        channel_axis (int, optional): As there. Default: None
        kernel (str or nn.Module, optional): A linear layer or a convolution, whose weights are multiplied instead. Default: None

    Raises:
        ValueError: If there is no such layer, or directions are zero, of another length, or not finite, or the kernel is in groups.

    Examples::

        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1))
        >>> with project_out(model, "0", torch.tensor([1.0, 1.0, 0.0, 0.0])):
        ...     left = model(torch.rand(1, 3, 2, 2))
        >>> bool((left[:, 0] + left[:, 1]).abs().max() < 1e-6)
        True
        >>> reader = torch.nn.Sequential(torch.nn.Conv2d(4, 1, 1, bias=False))
        >>> with project_out(reader, None, torch.tensor([1.0, 0.0, 0.0, 0.0]), kernel="0"):
        ...     round(float(reader[0].weight[0, 0]), 6)
        0.0
    """
    if (layer is None) == (kernel is None):
        raise InputError("project_out takes either layer or kernel; give one of them, and None for the other.")
    if not isinstance(directions, Tensor) or directions.dim() not in (1, 2) or not directions.is_floating_point():
        raise InputTypeError(
            f"directions is a {type_name(directions)}; expected a floating-point tensor (C,) or (D, C)."
        )
    rows = double(directions.detach()).reshape(-1, directions.shape[-1])
    if not bool(rows.isfinite().all()) or not bool(rows.norm(dim=1).gt(0).all()):
        raise InputError("directions hold a zero vector or values that are not finite; give others.")
    _, sizes, basis = torch.linalg.svd(rows.cpu(), full_matrices=False)
    basis = basis[sizes > sizes[0] * 1e-10]
    if kernel is not None:
        with _projected_kernel(forward_func, kernel, basis):
            yield
        return
    assert layer is not None  # one of both is given

    def change(output: Tensor, axis: int) -> Tensor:
        if output.shape[axis] != basis.shape[1]:
            raise InputError(
                f"directions have {basis.shape[1]} entries, but the layer has {output.shape[axis]} channels."
            )
        of_layer = basis.to(output.device, output.dtype)
        last = output.movedim(axis, -1)
        return (last - (last @ of_layer.T) @ of_layer).movedim(-1, axis)

    with _changed(forward_func, layer, channel_axis, change):
        yield


@contextlib.contextmanager
def _projected_kernel(forward_func: Callable[..., Any], kernel: Layer, basis: Tensor) -> Iterator[None]:
    """The weights of a layer without what they read of the rows of a basis; in the end they are the same tensor as before."""
    name, module, _, _ = find_output(forward_func, kernel)
    transposed = isinstance(module, (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d))
    if not isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)) and not transposed:
        raise InputError(
            f'"{name}" is a {type_name(module)}; expected a linear layer or a convolution, which has a kernel.'
        )
    if getattr(module, "groups", 1) != 1:
        raise InputError(
            f'"{name}" is a convolution in {module.groups} groups; expected one whose outputs read all channels.'
        )
    weight = module.weight
    if not isinstance(weight, Tensor) or "weight" not in module._parameters:
        raise InputError(f'the weights of "{name}" are made from others; give layer instead of kernel.')
    axis = 0 if transposed else 1
    if weight.shape[axis] != basis.shape[1]:
        raise InputError(
            f'directions have {basis.shape[1]} entries, but "{name}" reads {weight.shape[axis]} channels; give the one that reads them.'
        )
    original = weight.data
    last = double(original).movedim(axis, -1)
    rows = basis.to(last.device)
    weight.data = (last - (last @ rows.T) @ rows).movedim(-1, axis).to(original).contiguous()
    try:
        yield
    finally:
        weight.data = original


@contextlib.contextmanager
def _changed(
    forward_func: Callable[..., Any], layer: Layer, given: int | None, change: Callable[[Tensor, int], Tensor]
) -> Iterator[None]:
    """What a layer returns goes on changed; the axis of its channels is told when it is seen."""
    name, module, call, _ = find_output(forward_func, layer)
    if call is not None:
        raise InputError(f'"{name}" is a single call of a layer; an edit is of all of them: leave out "#{call}".')
    check_readable(module)
    if type(module).forward is nn.Module.forward:
        raise InputError(
            f'"{name}" is a {type_name(module)} that is never run itself, so what it returns cannot be changed; choose a layer that is run '
            "(of a model that torch.export made, none is: give the model that it was made from)."
        )

    def changed(output: Tensor) -> Tensor:
        axis = channel_axis(module, tuple(output.shape)) if given is None else given
        return change(output, axis)

    with changed_output(forward_func, layer, changed):
        yield


def _units(units: Sequence[int] | int) -> list[int]:
    single = as_int(units)
    found = [single] if single is not None else [as_int(unit) for unit in units]  # type: ignore[union-attr]
    if not found or any(unit is None or unit < 0 for unit in found) or len(set(found)) < len(found):
        raise InputError(f"units are {units!r}; expected channels, counted from 0, each once.")
    return [unit for unit in found if unit is not None]


def _check(units: Sequence[int], output: Tensor, axis: int) -> None:
    if max(units) >= output.shape[axis]:
        raise InputError(f"there is no unit {max(units)}: the layer has {output.shape[axis]}, counted from 0.")


__all__ = ["ablate_units", "project_out"]
