"""The operators on streams of activations as users call them: checked, documented, and the same with and without native code."""

from __future__ import annotations

import torch
from torch import Tensor

from captum_proto.ops._digits import DIGITS
from captum_proto.ops._memory import called
from captum_proto.ops.double import exact

#: What a place of a list that no row has taken holds: it comes after everything.
EMPTY = torch.iinfo(torch.int64).max


def unit_summary(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    r"""
    Maximum, its position, and mean of each unit over positions, in one pass over the activations.

    Args:
        values (Tensor): Shape ``(N, C, *positions)``, floating point, any strides: N images, C units.

    Returns:
        tuple[Tensor, Tensor, Tensor]: Of shape (N, C): the maximum; its position, int64, as in the flattened positions, and of several
        equal ones the first; and the mean, summed in float64 and in an order that depends on the number of positions alone. Maximum and
        mean are in float32 for half-precision values, else in the dtype of ``values``. A NaN makes all three its own: NaN, the position
        of the first one, NaN. Without gradient.

    Raises:
        ValueError: If there are no units, or no positions to take the maximum over.
        TypeError: If ``values`` are not floating point.

    Examples::

        >>> largest, where, mean = unit_summary(torch.tensor([[[0.0, 2.0, 1.0], [5.0, 5.0, 2.0]]]))
        >>> largest, where, mean
        (tensor([[2., 5.]]), tensor([[1, 0]]), tensor([[1., 4.]]))
    """
    _check_floating(values, "values", "unit_summary")
    if values.dim() < 2:
        raise ValueError(f"values have shape {tuple(values.shape)}; unit_summary expects (N, C, *positions).")
    flat = values.detach().unsqueeze(2).flatten(2)
    if flat.shape[2] == 0:
        raise ValueError(f"values have shape {tuple(values.shape)}: there are no positions to take the maximum over.")
    return called(torch.ops.captum_proto.unit_summary, exact(flat))


def top_k(
    scores: Tensor,
    indices: Tensor,
    payload: Tensor,
    new_scores: Tensor,
    new_indices: Tensor,
    new_payload: Tensor,
    largest: bool = True,
) -> None:
    r"""
    Put new entries into each unit's list of the k best so far, in place.

    An entry is a score, an index and a payload. Lists are in order: the better score first, of equal scores the smaller index, and of
    equal indices the smaller payload; so they depend on the entries alone, whatever order these come in. Places that are still free hold
    the worst score there is and the largest of integers.

    Args:
        scores (Tensor): Shape (U, k), float32 or float64, contiguous; changed in place, as the next two are.
        indices (Tensor): Shape (U, k), int64, contiguous.
        payload (Tensor): Shape (U, k), int64, contiguous.
        new_scores (Tensor): Shape (N, U), dtype of ``scores``, any strides, without NaN: comparisons with it have no meaning.
        new_indices (Tensor): Shape (N, U), int64, any strides.
        new_payload (Tensor): Shape (N, U), int64, any strides.
        largest (bool, optional): Whether larger scores are better; otherwise smaller ones are. Default: True

    Raises:
        ValueError: If shapes do not match, or lists are not contiguous.
        TypeError: If a dtype is another one.

    Examples::

        >>> scores = torch.full((1, 2), -torch.inf)
        >>> indices = torch.full((1, 2), torch.iinfo(torch.int64).max)
        >>> payload = indices.clone()
        >>> new = torch.tensor([[3.0], [1.0], [3.0]]), torch.tensor([[7], [8], [5]]), torch.zeros(3, 1, dtype=torch.int64)
        >>> top_k(scores, indices, payload, *new)
        >>> scores, indices
        (tensor([[3., 3.]]), tensor([[5, 7]]))
    """
    if scores.dtype not in (torch.float32, torch.float64) or new_scores.dtype != scores.dtype:
        raise TypeError(
            f"scores have dtype {scores.dtype} and new ones {new_scores.dtype}; top_k expects float32 or float64 for both."
        )
    integers = (indices, payload, new_indices, new_payload)
    if any(tensor.dtype != torch.int64 for tensor in integers):
        raise TypeError("indices and payloads have to be int64.")
    lists, new = (scores, indices, payload), (new_scores, new_indices, new_payload)
    if scores.dim() != 2 or scores.shape[1] == 0 or any(tensor.shape != scores.shape for tensor in lists):
        raise ValueError(
            f"the lists have shapes {', '.join(str(tuple(tensor.shape)) for tensor in lists)}; expected (U, k) for all, k at least 1."
        )
    if new_scores.dim() != 2 or any(tensor.shape != (len(new_scores), len(scores)) for tensor in new):
        raise ValueError(
            f"new entries have shapes {', '.join(str(tuple(tensor.shape)) for tensor in new)}; expected (N, {len(scores)}) for all."
        )
    if not all(tensor.is_contiguous() for tensor in lists):
        raise ValueError("the lists are changed in place and have to be contiguous; make them so with .contiguous().")
    called(torch.ops.captum_proto.top_k, *lists, *(tensor.detach() for tensor in new), largest)


def radix_bins(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    r"""
    The bins of :func:`radix_histogram`, as intervals of keys.

    A key is an integer in the order of the values: the bits of the magnitude, with the sign of the value; ``-0.0`` and ``0.0`` are key 0.
    From 2⁻¹⁵ to 2¹⁷ bins are 32nds of an octave, of float16 throughout; outside they are octaves, of float64 groups of eight. Zero has a
    bin of its own. The first bin and the last count NaN.

    Args:
        dtype (torch.dtype): float16, bfloat16, float32 or float64.

    Returns:
        tuple[Tensor, Tensor]: The smallest key of each bin and how many keys it has, each (bins,) in int64. Those of NaN have none.

    Examples::

        >>> low, width = radix_bins(torch.float32)
        >>> len(low), low[1249], width[1249]
        (2499, tensor(0), tensor(1))
    """
    return DIGITS[dtype].intervals()


def radix_histogram(counts: Tensor, values: Tensor) -> None:
    r"""
    Count each unit's values in the bins of :func:`radix_bins`, in place: the first pass towards exact order statistics.

    Args:
        counts (Tensor): Shape (U, bins), int32 or int64, contiguous; changed in place. Who adds more than 2³¹ values takes int64.
        values (Tensor): Shape (U, A, B), floating point, any strides: a layer's output (N, C, H, W) as
            ``output.movedim(1, 0).flatten(2)``, which copies nothing.

    Raises:
        ValueError: If shapes do not match, or ``counts`` are not contiguous.
        TypeError: If a dtype is another one.

    Examples::

        >>> counts = torch.zeros(1, 2499, dtype=torch.int32)
        >>> radix_histogram(counts, torch.tensor([[[0.0, -0.0, 1.0]]]))
        >>> counts[0, 1249], counts.sum()
        (tensor(2, dtype=torch.int32), tensor(3))
    """
    _check_floating(values, "values", "radix_histogram")
    if counts.dtype not in (torch.int32, torch.int64):
        raise TypeError(f"counts have dtype {counts.dtype}; radix_histogram expects int32 or int64.")
    if values.dim() != 3:
        raise ValueError(f"values have shape {tuple(values.shape)}; radix_histogram expects (U, A, B).")
    expected = (len(values), DIGITS[values.dtype].bins)
    if counts.shape != expected or not counts.is_contiguous():
        raise ValueError(
            f"counts have shape {tuple(counts.shape)}; for values of shape {tuple(values.shape)} expected contiguous {expected}."
        )
    called(torch.ops.captum_proto.radix_histogram, counts, values.detach())


def radix_select(counts: Tensor, filled: Tensor, kept: Tensor, values: Tensor, first: Tensor, slots: Tensor) -> None:
    r"""
    Count, or keep, each unit's values within intervals of keys, in place: the later passes towards exact order statistics.

    Unit u has the slots from ``first[u]`` to ``first[u + 1]``. A slot is an interval of keys (see :func:`radix_bins`) and what becomes of
    the values in it: counted by the bits of ``key - low`` from ``shift`` upwards in ``counts``, or, where ``shift`` is -1, kept as they are
    in ``kept``. Of values that find no room, only their number is known.

    Args:
        counts (Tensor): Shape (bins of all slots,), int64, contiguous; changed in place.
        filled (Tensor): Shape (S,), int64, contiguous; changed in place: how many values each slot has met that keeps them.
        kept (Tensor): Shape (room of all slots,), dtype of ``values``, contiguous; changed in place. Within a slot, in no certain order.
        values (Tensor): Shape (U, A, B), floating point, any strides.
        first (Tensor): Shape (U + 1,), int64, contiguous, from 0 to S, not falling.
        slots (Tensor): Shape (S, 5), int64, contiguous: the smallest key, how many keys, all of them keys of the dtype, the shift or -1,
            where the slot begins in ``counts`` or ``kept``, and how many bins or values it has room for.

    Raises:
        ValueError: If shapes do not match, or a tensor is not contiguous.
        TypeError: If a dtype is another one.

    Examples::

        >>> kept, filled, counts = torch.zeros(4), torch.zeros(1, dtype=torch.int64), torch.zeros(0, dtype=torch.int64)
        >>> slots = torch.tensor([[1, 2**31 - 1, -1, 0, 4]])  # everything above zero
        >>> radix_select(counts, filled, kept, torch.tensor([[[-1.0, 0.0, 2.0]]]), torch.tensor([0, 1]), slots)
        >>> kept, filled
        (tensor([2., 0., 0., 0.]), tensor([1]))
    """
    _check_floating(values, "values", "radix_select")
    if values.dim() != 3:
        raise ValueError(f"values have shape {tuple(values.shape)}; radix_select expects (U, A, B).")
    if kept.dtype != values.dtype:
        raise TypeError(f"kept has dtype {kept.dtype} and values {values.dtype}; expected the same.")
    integers = (counts, filled, first, slots)
    if any(tensor.dtype != torch.int64 for tensor in integers):
        raise TypeError("counts, filled, first and slots have to be int64.")
    if (
        counts.dim() != 1
        or kept.dim() != 1
        or first.shape != (len(values) + 1,)
        or slots.shape != (len(filled), 5)
        or filled.dim() != 1
    ):
        shapes = [tuple(tensor.shape) for tensor in (counts, filled, kept, first, slots)]
        raise ValueError(
            "counts, filled, kept, first and slots have shapes "
            f"{', '.join(map(str, shapes))}; for {len(values)} units expected (bins,), (S,), (room,), ({len(values) + 1},) and (S, 5)."
        )
    if not all(tensor.is_contiguous() for tensor in (*integers, kept)):
        raise ValueError("what radix_select fills and reads beside the values has to be contiguous.")
    called(torch.ops.captum_proto.radix_select, counts, filled, kept, values.detach(), first, slots)


def _check_floating(values: Tensor, name: str, operator: str) -> None:
    if values.dtype not in DIGITS:
        raise TypeError(f"{name} have dtype {values.dtype}; {operator} expects floating point: convert with .float().")
