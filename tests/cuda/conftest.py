"""What the tests of this folder need: a GPU, and the native module for it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from captum_proto import ops

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test here needs a GPU; none, and it is skipped. A GPU without the native module fails one test and skips the rest."""
    for item in items:
        if HERE not in item.path.parents:
            continue
        item.add_marker(pytest.mark.cuda)
        if not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))
        elif not ops.backend()["cuda"]["native"] and item.name != "test_the_native_module_is_in_use":
            item.add_marker(pytest.mark.skip(reason=str(ops.backend()["cuda"]["reason"])))
