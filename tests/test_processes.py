"""Operators in other processes: workers of a DataLoader, and a process that was forked after threads were at work."""

from __future__ import annotations

import os
import signal
import sys
import time

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from captum_proto import ops

VALUES = torch.rand(6, 5000, generator=torch.Generator().manual_seed(0))


class Ranked(Dataset[Tensor]):
    """Ranks that a worker makes."""

    def __len__(self) -> int:
        return len(VALUES)

    def __getitem__(self, index: int) -> Tensor:
        return ops.rank(VALUES[index : index + 1])[0]


def test_operators_in_workers_of_a_loader() -> None:
    ops.rank(VALUES)
    found = torch.cat(list(DataLoader(Ranked(), batch_size=2, num_workers=1)))
    assert torch.equal(found, ops.rank(VALUES))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.skipif(sys.platform == "darwin", reason="its system libraries do not take a fork")
def test_operators_after_a_fork() -> None:
    expected = ops.rank(VALUES)
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)  # those of OpenMP are not there any more
        os._exit(0 if torch.equal(ops.rank(VALUES), expected) else 1)
    for _ in range(200):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            assert os.waitstatus_to_exitcode(status) == 0
            return
        time.sleep(0.1)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    pytest.fail("the child hangs")
