"""The operators as users call them: checked, documented, and the same with and without native code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from captum_proto.ops import _twin
from captum_proto.ops._memory import called
from captum_proto.ops._schemas import BORDERS, MAX_ROW_LENGTH
from captum_proto.ops._transforms import is_transformed
from captum_proto.ops.double import exact

_FLOATING = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
#: Integers that float64 holds exactly, so that ranking them as float64 makes no ties of its own.
_EXACT_INTEGERS = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32)


def high_frequency_loss(images: Tensor, power: int = 1) -> Tensor:
    r"""
    Mean difference between neighboring pixels, one value per image.

    .. math::
        L_{hf}(x) = \operatorname{mean}\lvert x_{c,i+1,j} - x_{c,i,j} \rvert^{power}
        + \operatorname{mean}\lvert x_{c,i,j+1} - x_{c,i,j} \rvert^{power}

    The high-frequency penalty of Prototype Generation (arXiv:2309.17144, section 3.1), whose power and weight the paper leaves open.
    Runs natively on CPU and CUDA where the extension is built, else in PyTorch; the results agree to rounding.

    Args:
        images (Tensor): Shape (N, C, H, W), floating point, any strides. Values in the input range of the model, unitless.
        power (int, optional): 1 for absolute, 2 for squared differences. Default: 1

    Returns:
        Tensor: Shape (N,), in float32 for half-precision input, else in the dtype of ``images``. A side of one pixel has no neighbors
        and adds zero. Differentiable once with respect to ``images``. Within transforms of ``torch.func`` and in forward-mode
        differentiation PyTorch does the work.

    Raises:
        ValueError: If ``images`` is not four-dimensional or ``power`` is neither 1 nor 2.
        TypeError: If ``images`` is not floating point.

    Examples::

        >>> images = torch.rand(2, 3, 224, 224, requires_grad=True)
        >>> high_frequency_loss(images).sum().backward()
    """
    if images.dim() != 4:
        raise ValueError(f"images has shape {tuple(images.shape)}; high_frequency_loss expects (N, C, H, W).")
    if images.dtype not in _FLOATING:
        raise TypeError(
            f"images has dtype {images.dtype}; high_frequency_loss expects floating point: convert with .float()."
        )
    if power not in (1, 2):
        raise ValueError(f"power is {power!r}; high_frequency_loss knows 1 (absolute) and 2 (squared differences).")
    if is_transformed(images):
        return _twin.high_frequency_loss(images, power)
    return called(torch.ops.captum_proto.high_frequency_loss, images, power)


def affine_sample(
    images: Tensor,
    matrix: Tensor,
    *,
    mean: Sequence[float] | Tensor | None = None,
    std: Sequence[float] | Tensor | None = None,
    fill: float | str = 0.0,
    channels_last: bool = False,
) -> Tensor:
    r"""
    Images under an affine map of their own, sampled bilinearly and normalized channel by channel, in one pass.

    .. math::
        y = \frac{S(x - fill, matrix) + fill - mean}{std}

    :math:`S` being ``grid_sample(·, affine_grid(matrix, images.shape, align_corners=False), mode="bilinear", padding_mode="zeros",
    align_corners=False)`` of ``torch.nn.functional``: what comes from outside the image is ``fill``, and the border blends into it.
    With ``fill="reflect"`` or ``"replicate"``, :math:`S` is that of ``padding_mode="reflection"`` or ``"border"``, of :math:`x` itself:
    there is no outside. An image goes on as its mirror image, again and again, or as the pixel of it that is nearest.
    Runs natively on CPU and CUDA where the extension is built, with coordinates in float64 whatever the dtype of ``images``; else in
    PyTorch, which rounds coordinates to that dtype. The results agree to rounding.

    Args:
        images (Tensor): Shape (N, C, H, W), float32 or float64, any strides.
        matrix (Tensor): Shape (N, 2, 3), floating point: from output to input, in coordinates that go from -1 to 1 along each side.
        mean (sequence of float or Tensor, optional): C values, or one for all channels. None: 0. Default: None
        std (sequence of float or Tensor, optional): C values, or one for all channels. None: 1. Default: None
        fill (float or str, optional): Value outside the image, before normalization; or what the image goes on with: "reflect", its mirror
            image, in which the outermost pixel comes twice, or "replicate", its nearest pixel. Default: 0
        channels_last (bool, optional): Memory format of the result: ``torch.channels_last``, or contiguous. Default: False

    Returns:
        Tensor: Shape and dtype of ``images``. Differentiable once, with respect to ``images`` alone; within transforms of ``torch.func``
        PyTorch does the work. An infinite or missing (NaN) pixel
        affects those outputs that have it among the four pixels around their coordinate, also where its weight is zero.
        To the native kernels, coordinates that are not finite are outside the image, and where there is no outside on its rim; PyTorch
        leaves them open.

    Raises:
        ValueError: If shapes or devices do not match, ``std`` holds a zero, ``fill`` is a text that is none of these, or ``matrix``
            requires a gradient.
        TypeError: If ``images`` is neither float32 nor float64, or ``matrix`` is not floating point.

    Examples::

        >>> images = torch.rand(2, 3, 224, 224, requires_grad=True)
        >>> mirror = torch.tensor([[-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]).expand(2, 2, 3)
        >>> affine_sample(images, mirror, mean=[0.5], std=[0.25]).sum().backward()
        >>> smaller = torch.tensor([[2.0, 0.0, 0.0], [0.0, 2.0, 0.0]]).expand(2, 2, 3)
        >>> mirrored = affine_sample(torch.rand(2, 3, 8, 8), smaller, fill="reflect")
        >>> torch.allclose(mirrored[:, :, :2], mirrored[:, :, 2:4].flip(2))
        True
    """
    if images.dim() != 4:
        raise ValueError(f"images has shape {tuple(images.shape)}; affine_sample expects (N, C, H, W).")
    if images.dtype not in (torch.float32, torch.float64):
        raise TypeError(
            f"images has dtype {images.dtype}; affine_sample expects float32 or float64: convert with .float()."
        )
    if matrix.dim() != 3 or matrix.shape[0] != images.shape[0] or matrix.shape[1:] != (2, 3):
        raise ValueError(f"matrix has shape {tuple(matrix.shape)}; for {images.shape[0]} images expected (N, 2, 3).")
    if matrix.dtype not in _FLOATING:
        raise TypeError(f"matrix has dtype {matrix.dtype}; affine_sample expects floating point.")
    if matrix.device != images.device:
        raise ValueError(f"matrix is on {matrix.device} and images on {images.device}; move one of them.")
    if matrix.requires_grad:
        raise ValueError("matrix requires a gradient, and affine_sample has none for it; pass matrix.detach().")
    if matrix.dtype not in (torch.float32, torch.float64):
        matrix = matrix.float()
    border = 0 if not isinstance(fill, str) else BORDERS.index(fill) if fill in BORDERS[1:] else -1
    if border < 0:
        raise ValueError(f"fill is {fill!r}; affine_sample expects a number, or one of {', '.join(BORDERS[1:])}.")
    value = 0.0 if isinstance(fill, str) else float(fill)
    scale = images.new_ones(images.shape[1]) if std is None else _per_channel(std, "std", images).reciprocal()
    shift = images.new_full((images.shape[1],), value) if mean is None else value - _per_channel(mean, "mean", images)
    arguments = images, matrix, scale, shift * scale, value, channels_last, border
    if is_transformed(images):
        return _twin.affine_sample(*arguments)
    return called(torch.ops.captum_proto.affine_sample, *arguments)


def rank(x: Tensor) -> Tensor:
    r"""
    Average ranks along the last axis: ``scipy.stats.rankdata(x, method="average", axis=-1)``, exactly.

    Args:
        x (Tensor): Shape (..., D) with D ≤ 2²⁸, floating point or integer of at most 32 bits, any strides. ``-0.0`` ties with ``0.0``;
            infinities rank first and last.

    Returns:
        Tensor: Shape of ``x``, float64: ranks from 1 to D, equal values sharing the mean of theirs. A row that holds a NaN is NaN
        throughout, as in SciPy.

    Raises:
        ValueError: If ``x`` has no axis to rank along, or rows that are too long.
        TypeError: If ``x`` is complex or a 64-bit integer.

    Examples::

        >>> rank(torch.tensor([[0.3, 0.1, 0.3]]))
        tensor([[2.5000, 1.0000, 2.5000]], dtype=torch.float64)
    """
    if x.dim() == 0:
        raise ValueError("x has no dimensions; rank expects at least one axis to rank along.")
    rows = _as_rows(x.reshape(-1, x.shape[-1]) if x.numel() else x.new_empty(0, x.shape[-1]), "x")
    return called(torch.ops.captum_proto.rank, rows).reshape(x.shape)


@dataclass(frozen=True)
class SpearmanReference:
    r"""
    A reference whose ranks are computed once, to be correlated with many batches by :func:`spearman` or :func:`path_distance`.

    Args:
        values (Tensor): Shape (D,), one reference for all rows, or (N, D), one for each row. As ``x`` of :func:`rank`.

    Attributes:
        doubled_ranks (Tensor): Shape of ``values``, int32: twice the average ranks, which are integers even where values tie.

    Examples::

        >>> reference = SpearmanReference(torch.randn(1000))
        >>> spearman(torch.randn(8, 1000), reference).shape
        torch.Size([8])
    """

    doubled_ranks: Tensor

    def __init__(self, values: Tensor) -> None:
        if values.dim() not in (1, 2):
            raise ValueError(f"the reference has shape {tuple(values.shape)}; expected (D,) or (N, D).")
        rows = _as_rows(values if values.dim() == 2 else values.unsqueeze(0), "the reference")
        ranks = called(torch.ops.captum_proto.doubled_rank, rows)
        object.__setattr__(self, "doubled_ranks", ranks if values.dim() == 2 else ranks.squeeze(0))


def spearman(x: Tensor, reference: Tensor | SpearmanReference) -> Tensor:
    r"""
    Spearman's rank correlation of each row with a reference: ``scipy.stats.spearmanr``, ties included.

    Ranks and their products are summed as integers, so CPU, CUDA and PyTorch, any thread count and any batch give the same bits.
    It is the similarity of Prototype Generation (arXiv:2309.17144, section 3.2).

    Args:
        x (Tensor): Shape (N, D), or (D,) for one row. Dtypes as in :func:`rank`.
        reference (Tensor or SpearmanReference): Shape (D,), shared by all rows, or (N, D), row against row. Prepare a
            :class:`SpearmanReference` where one reference serves many calls.

    Returns:
        Tensor: Shape (N,), float64, in [-1, 1]. NaN where a row or its reference is constant or holds a NaN, as in SciPy. Without
        gradient: ranks are piecewise constant.

    Raises:
        ValueError: If the shapes do not match.
        TypeError: If a dtype cannot be ranked.

    Examples::

        >>> x = torch.randn(4, 100)
        >>> spearman(x, x[0])[0]
        tensor(1., dtype=torch.float64)
    """
    rows = _as_rows(x if x.dim() != 1 else x.unsqueeze(0), "x")
    ranks = _ranks_of(reference, rows)
    return called(torch.ops.captum_proto.spearman, rows, ranks)


def path_distance(
    x: Tensor, mean: Tensor, reference: Tensor | SpearmanReference | None = None
) -> tuple[Tensor, Tensor]:
    r"""
    Both distances of path similarity in one call: Spearman's rank correlation with, and L1 distance to, a layer's mean activations.

    .. math::
        SS = \operatorname{Spearman}(A(\mathbb{I}), A(x)) \qquad D = \bigl\lVert A(\mathbb{I}) - A(x) \bigr\rVert_1

    Args:
        x (Tensor): Shape (N, D), floating point: a layer's output for N images, flattened.
        mean (Tensor): Shape (D,) or (N, D), float32 or float64: the mean activations A(𝕀).
        reference (Tensor or SpearmanReference, optional): What to correlate with, as in :func:`spearman`. Default: ``mean``

    Returns:
        tuple[Tensor, Tensor]: Spearman and L1, each of shape (N,) in float64. A NaN in ``x`` makes both NaN, one in ``mean``
        L1, and one in ``reference`` Spearman.

    Raises:
        ValueError: If the shapes do not match.
        TypeError: If ``x`` is not floating point, or ``mean`` is neither float32 nor float64.

    Examples::

        >>> mean = torch.rand(512)
        >>> similarity, distance = path_distance(torch.rand(8, 512), mean)
    """
    if x.dtype not in _FLOATING:
        raise TypeError(f"x has dtype {x.dtype}; path_distance expects floating point: convert with .float().")
    if mean.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"mean has dtype {mean.dtype}; path_distance expects float32 or float64.")
    rows = _as_rows(x if x.dim() != 1 else x.unsqueeze(0), "x")
    mean = exact(mean)
    _check_partner(mean, rows, "mean")
    ranks = _ranks_of(mean if reference is None else reference, rows)
    return called(torch.ops.captum_proto.path_distance, rows, mean.detach(), ranks)


def accumulate(sums: Tensor, rows: Tensor) -> None:
    r"""
    Add rows to running sums, in place and row after row: the sums are the same to the last bit however rows come in batches.

    Args:
        sums (Tensor): Shape (D,), float64, contiguous; changed in place.
        rows (Tensor): Shape (N, D), floating point, any strides.

    Raises:
        ValueError: If the shapes do not match.
        TypeError: If ``sums`` is not float64, or ``rows`` are not floating point.

    Examples::

        >>> sums = torch.zeros(4, dtype=torch.float64)
        >>> accumulate(sums, torch.ones(3, 4))
        >>> sums
        tensor([3., 3., 3., 3.], dtype=torch.float64)
    """
    if sums.dtype != torch.float64 or rows.dtype not in _FLOATING:
        raise TypeError(f"sums have dtype {sums.dtype} and rows {rows.dtype}; expected float64 and floating point.")
    if rows.dim() != 2 or sums.shape != rows.shape[1:] or not sums.is_contiguous():
        raise ValueError(
            f"sums have shape {tuple(sums.shape)} and rows {tuple(rows.shape)}; expected contiguous (D,) and (N, D)."
        )
    called(torch.ops.captum_proto.accumulate, sums, exact(rows.detach()))


def _per_channel(values: Sequence[float] | Tensor, name: str, images: Tensor) -> Tensor:
    """``values`` as a tensor (C,) beside ``images``."""
    if not isinstance(values, Tensor):
        if name == "std" and 0 in values:
            raise ValueError(f"std is {tuple(values)}; a channel cannot be divided by zero.")
        values = torch.tensor(values, dtype=images.dtype)
    if values.dim() != 1 or values.shape[0] not in (1, images.shape[1]):
        raise ValueError(
            f"{name} has shape {tuple(values.shape)}; for {images.shape[1]} channels expected as many values, or one."
        )
    return values.detach().to(images.device, images.dtype).expand(images.shape[1])


def _as_rows(x: Tensor, name: str) -> Tensor:
    if x.dim() != 2:
        raise ValueError(f"{name} has shape {tuple(x.shape)}; expected rows (N, D).")
    if x.shape[1] > MAX_ROW_LENGTH:
        raise ValueError(f"{name} has rows of {x.shape[1]} values; at most {MAX_ROW_LENGTH} can be ranked exactly.")
    x = exact(x)
    if x.dtype in _EXACT_INTEGERS:
        x = x.to(torch.float64)
    if x.dtype not in _FLOATING:
        raise TypeError(f"{name} has dtype {x.dtype}, which cannot be ranked exactly; convert it to float64 first.")
    return x.detach()


def _check_partner(partner: Tensor, rows: Tensor, name: str) -> None:
    if partner.shape != rows.shape and partner.shape != rows.shape[1:]:
        raise ValueError(
            f"{name} has shape {tuple(partner.shape)}; for rows of shape {tuple(rows.shape)} "
            f"expected ({rows.shape[1]},) or {tuple(rows.shape)}."
        )
    if partner.device != rows.device:
        raise ValueError(f"{name} is on {partner.device} and x on {rows.device}; move one of them.")


def _ranks_of(reference: Tensor | SpearmanReference, rows: Tensor) -> Tensor:
    if not isinstance(reference, SpearmanReference):
        reference = exact(reference)
        _check_partner(reference, rows, "the reference")
        reference = SpearmanReference(reference)
    _check_partner(reference.doubled_ranks, rows, "the reference")
    return reference.doubled_ranks
