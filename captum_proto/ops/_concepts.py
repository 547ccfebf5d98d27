"""The operators on concepts as users call them: checked, documented, and the same with and without native code."""

from __future__ import annotations

import torch
from torch import Tensor

from captum_proto.ops._memory import called
from captum_proto.ops.double import double, exact


def unit_concept_counts(
    counts: Tensor, activations: Tensor, thresholds: Tensor, labels: Tensor, align_corners: bool = False
) -> Tensor:
    r"""
    Count the pixels at which units fire, by their labels: maps are enlarged to the size of the labels and compared with a threshold.

    A unit fires at a pixel if its activation there, bilinear between the four places around it, is above its threshold. Values are
    interpolated in float64, first down and then across, as :math:`a + (b - a) \cdot s`, and never fused, and a pixel fires only where one
    of the four places does by itself. So CPU, CUDA and the twin give equal integers. Of the places that do not fire no pixel is computed,
    and no mask is ever in memory: of network dissection (Bau et al., CVPR 2017) this is the whole tally.

    Args:
        counts (Tensor): Shape (U, K + 1), int64, contiguous; changed in place: to column k is added how many firing pixels have label k,
            and to column 0 how many have none. A pixel counts once for each map.
        activations (Tensor): Shape (N, U, h, w), floating point, any strides: of N images, U units. NaN never fires.
        thresholds (Tensor): Shape (U,), floating point.
        labels (Tensor): Shape (N, M, H, W), int16, contiguous: M label maps of each image, with labels from 0 to K. M may be 0.
        align_corners (bool, optional): Whether the outermost places lie on the outermost pixels, or as far inside as half the distance of
            neighbors, as in ``torch.nn.functional.interpolate``. Default: False

    Returns:
        Tensor: (N, U), int64: at how many pixels of each image each unit fires.

    Raises:
        ValueError: If shapes do not match, a label is out of its range, or ``counts`` or ``labels`` are not contiguous.
        TypeError: If a dtype is another one.

    Examples::

        >>> counts = torch.zeros(1, 3, dtype=torch.int64)
        >>> activations = torch.tensor([[[[1.0, 0.0]]]])
        >>> labels = torch.tensor([[[[1, 1, 2, 0]]]], dtype=torch.int16)
        >>> unit_concept_counts(counts, activations, torch.tensor([0.5]), labels), counts
        (tensor([[2]]), tensor([[0, 2, 0]]))
    """
    if not activations.is_floating_point() or not thresholds.is_floating_point():
        raise TypeError(
            f"activations have dtype {activations.dtype} and thresholds {thresholds.dtype}; unit_concept_counts expects floating point."
        )
    if counts.dtype != torch.int64 or labels.dtype != torch.int16:
        raise TypeError(f"counts have dtype {counts.dtype} and labels {labels.dtype}; expected int64 and int16.")
    if activations.dim() != 4 or min(activations.shape[2:]) == 0:
        raise ValueError(
            f"activations have shape {tuple(activations.shape)}; expected (N, U, h, w) with at least one place."
        )
    images, units = activations.shape[:2]
    if counts.dim() != 2 or len(counts) != units or counts.shape[1] == 0 or thresholds.shape != (units,):
        raise ValueError(
            f"counts have shape {tuple(counts.shape)} and thresholds {tuple(thresholds.shape)}; expected ({units}, K + 1) and ({units},)."
        )
    if labels.dim() != 4 or len(labels) != images or min(labels.shape[2:]) == 0:
        raise ValueError(
            f"labels have shape {tuple(labels.shape)}; expected ({images}, M, H, W) with at least one pixel."
        )
    if not counts.is_contiguous() or not labels.is_contiguous():
        raise ValueError("counts and labels have to be contiguous; make them so with .contiguous().")
    if labels.numel():
        low, high = (int(each) for each in labels.aminmax())
        if low < 0 or high >= counts.shape[1]:
            raise ValueError(
                f"labels go from {low} to {high}; counts have columns for 0 to {counts.shape[1] - 1}: give one for each label."
            )
    if activations.dtype not in (torch.float32, torch.float64):
        activations = activations.float()  # which loses nothing
    added_to = exact(counts)
    hits: Tensor = called(
        torch.ops.captum_proto.unit_concept_counts,
        added_to,
        exact(activations.detach()),
        double(thresholds.detach()).contiguous(),
        exact(labels),
        align_corners,
    )
    if added_to is not counts:
        counts.copy_(added_to)
    return hits


def packed_counts(a: Tensor, b: Tensor) -> Tensor:
    r"""
    How many bits each of some masks has in common with each of others: a matrix product of bits.

    Args:
        a (Tensor): Shape (p, W), int64: masks of 64 bits a word, as :class:`~captum_proto.concept.PackedMasks` has them, of any strides.
        b (Tensor): Shape (q, W), int64.

    Returns:
        Tensor: (p, q), int64.

    Raises:
        ValueError: If shapes do not match.
        TypeError: If a dtype is another one.

    Examples::

        >>> packed_counts(torch.tensor([[0b1011], [-1]]), torch.tensor([[0b0110]]))
        tensor([[1],
                [2]])
    """
    if a.dtype != torch.int64 or b.dtype != torch.int64:
        raise TypeError(
            f"masks have dtypes {a.dtype} and {b.dtype}; expected int64, as numpy's uint64 viewed as int64."
        )
    if a.dim() != 2 or b.dim() != 2 or a.shape[1] != b.shape[1]:
        raise ValueError(f"masks have shapes {tuple(a.shape)} and {tuple(b.shape)}; expected (p, W) and (q, W).")
    a, b = (each if each.shape[1] < 2 or each.stride(1) == 1 else each.contiguous() for each in (a, b))
    return called(torch.ops.captum_proto.packed_counts, a, b)


__all__ = ["packed_counts", "unit_concept_counts"]
