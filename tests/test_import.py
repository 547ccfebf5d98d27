"""What importing the package needs, and what it leaves alone."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
for absent in ("torchvision", "timm", "sklearn", "efficientnet_lite_pytorch"):
    sys.modules[absent] = None  # importing it raises ImportError
import torch
state = torch.random.get_rng_state()
import captum_proto
model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3))
prototypes = captum_proto.PrototypeGeneration(model).generate(1, (1, 8, 8), steps=2, warmup_steps=1)
captum_proto.PathSimilarity(model).fit(torch.rand(3, 1, 8, 8)).evaluate(prototypes.images)
assert set(captum_proto.__all__) <= set(dir(captum_proto))
print("cuda initialized:", torch.cuda.is_initialized())
"""


def test_the_library_needs_neither_torchvision_nor_the_extras() -> None:
    # A PyTorch whose torchvision does not load, as happens where their builds do not match, is enough.
    result = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "cuda initialized: False"
