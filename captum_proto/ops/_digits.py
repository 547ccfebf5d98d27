"""
Floating-point values as integers in their order, and the bins of a first histogram of these: ``csrc/kernels/digits.h`` in Python.

Bins are as fine as a 32nd of an octave for magnitudes from 2⁻¹⁵ to 2¹⁷, among which activations are, and coarse outside. Zero has a bin of
its own, for the ties that a ReLU makes, and so has NaN of either sign: the first bin and the last.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


@dataclass(frozen=True)
class Digits:
    """
    How magnitudes of one format, the bits below the sign, go to bins.

    Attributes:
        low (int): From here on bins are fine.
        high (int): From here on they are coarse again.
        fine (int): How many low bits values of a fine bin may differ by.
        coarse (int): How many those of a coarse one.
        infinity (int): The magnitude of infinity; NaN are beyond.
    """

    low: int
    high: int
    fine: int
    coarse: int
    infinity: int

    def of_magnitudes(self, magnitudes: Tensor) -> Tensor:
        """The bin of each magnitude, from 0 for zero upwards."""
        return (
            (magnitudes.clamp(max=self.low) >> self.coarse)
            + ((magnitudes.clamp(self.low, self.high) - self.low) >> self.fine)
            + ((magnitudes.clamp(min=self.high) - self.high) >> self.coarse)
            + (magnitudes != 0)
            + (magnitudes > self.infinity)
        )

    @property
    def last(self) -> int:
        """The bin of NaN with positive sign, counted from that of zero."""
        return int(self.of_magnitudes(torch.tensor(self.infinity + 1)))

    @property
    def bins(self) -> int:
        """How many bins there are, for both signs."""
        return 2 * self.last + 1

    def edges(self) -> Tensor:
        """The smallest magnitude of each bin from that after zero to that of NaN, (last,)."""
        fine = (self.high - self.low) >> self.fine
        below, above = self.low >> self.coarse, self.last - 1 - fine - (self.low >> self.coarse)
        edges = torch.cat(
            [
                torch.arange(below) << self.coarse,
                self.low + (torch.arange(fine) << self.fine),
                self.high + (torch.arange(above) << self.coarse),
                torch.tensor([self.infinity + 1]),
            ]
        )
        edges[0] = 1
        return edges

    def intervals(self) -> tuple[Tensor, Tensor]:
        """The smallest key of each bin, and how many keys it has; NaN's, which have none, are left at 0."""
        edges, last = self.edges(), self.last
        low, width = torch.zeros(self.bins, dtype=torch.int64), torch.zeros(self.bins, dtype=torch.int64)
        width[last] = 1
        width[last + 1 : -1] = edges.diff()
        low[last + 1 : -1] = edges[:-1]
        width[1:last] = edges.diff().flip(0)
        low[1:last] = 1 - edges[1:].flip(0)
        return low, width


def _digits(mantissa: int, low: int, high: int, infinity: int, octaves: int) -> Digits:
    return Digits(low << mantissa, high << mantissa, mantissa - 5, mantissa + octaves, infinity << mantissa)


DIGITS = {
    torch.float16: _digits(10, 0, 31, 31, 0),
    torch.bfloat16: _digits(7, 112, 144, 255, 0),
    torch.float32: _digits(23, 112, 144, 255, 0),
    torch.float64: _digits(52, 1008, 1040, 2047, 3),
}


def ordered_keys(values: Tensor) -> Tensor:
    """Integers, int64, in the order of the values: the magnitude with the value's sign, so that -0 equals +0."""
    bits = values.view(_INTEGERS[values.element_size()])
    magnitudes = (bits & torch.iinfo(bits.dtype).max).to(torch.int64)
    return torch.where(bits < 0, -magnitudes, magnitudes)


def values_of_keys(keys: Tensor, dtype: torch.dtype) -> Tensor:
    """The values of which :func:`ordered_keys` makes these."""
    integer = _INTEGERS[dtype.itemsize]
    bits = torch.where(keys < 0, torch.iinfo(integer).min - keys, keys)
    return bits.to(integer).view(dtype)
