"""Long rows on a GPU that are moved into parts: parts for which no block has room, and ties of any number, against the CPU's ranks."""

from __future__ import annotations

import pytest
import torch
from native.operator_samples import assert_same_bits, references
from native.part_samples import rows_that_deceive_a_sample

native = torch.ops.captum_proto


@pytest.mark.parametrize(("dtype", "room"), [(torch.float32, 4096), (torch.float64, 2048)], ids=str)
@pytest.mark.parametrize("length", [9000, 60_000, 802_816])
def test_parts_that_no_block_has_room_for(length: int, room: int, dtype: torch.dtype) -> None:
    """What a sample has not seen is one part: the library sorts it, or, where all its values are equal, it is read as it lies."""
    x = rows_that_deceive_a_sample(length, room, dtype)
    reference = references(1, length)[0]
    for repeat in range(2):
        assert_same_bits(native.spearman(x.cuda(), reference.cuda()).cpu(), native.spearman(x, reference))
        assert_same_bits(native.doubled_rank(x[repeat:].cuda()).cpu(), native.doubled_rank(x[repeat:]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_few_values_and_many(dtype: torch.dtype) -> None:
    """Up to 100,000 different values, in lengths around which the number of buckets doubles."""
    for length in (4096, 4097, 65_536, 65_537, 262_145):
        for values in (2, 50, 3000, 100_000):
            x = torch.randint(-values, values, (3, length), generator=torch.Generator().manual_seed(values)).to(dtype)
            assert_same_bits(native.doubled_rank(x.cuda()).cpu(), native.doubled_rank(x))
