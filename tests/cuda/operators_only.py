"""Makes ``captum_proto.ops`` importable where PyTorch is but Captum is not, as on a machine that is borrowed for its GPU."""

from __future__ import annotations

import importlib
import sys
import types
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def prepare() -> None:
    """The operators need nothing but PyTorch; only the package around them imports Captum and torchvision."""
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    try:
        importlib.import_module("captum_proto")
    except (ImportError, RuntimeError) as problem:  # torchvision raises the latter where it does not fit PyTorch
        print(f"captum_proto's operators alone, since the rest cannot be imported: {problem}", file=sys.stderr)
        package = types.ModuleType("captum_proto")
        package.__path__ = [str(ROOT / "captum_proto")]
        sys.modules["captum_proto"] = package
