"""
Single stages of the self-test that are programs of their own.

    python tests/cuda/probe.py versions | build | cold-graph | bytes
"""

from __future__ import annotations

import csv
import io
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
for folder in (str(HERE), str(ROOT)):
    if folder not in sys.path:
        sys.path.insert(0, folder)

from stages import NOT_HERE  # noqa: E402


def _said(*command: str) -> str:
    """What a program prints; empty where there is none."""
    if shutil.which(command[0]) is None:
        return ""
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def versions() -> None:
    """What there is. Without a GPU it ends badly."""
    import torch

    found: dict[str, object] = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "processors": os.cpu_count(),
        "torch": torch.__version__,
        "cuda of torch": torch.version.cuda,
        "nvcc": _said("nvcc", "--version").splitlines()[-1:],
        "driver": _said("nvidia-smi", "--query-gpu=driver_version,name", "--format=csv,noheader").splitlines(),
        "gpus": [
            {
                "name": torch.cuda.get_device_name(index),
                "capability": torch.cuda.get_device_capability(index),
                "bytes": torch.cuda.get_device_properties(index).total_memory,
            }
            for index in range(torch.cuda.device_count())
        ],
        "compute-sanitizer": bool(shutil.which("compute-sanitizer")),
        "ncu": bool(shutil.which("ncu")),
    }
    print(json.dumps(found, indent=1))
    if not found["gpus"]:
        raise SystemExit("there is no CUDA GPU")


def build() -> None:
    """Both modules, for the GPUs that are visible, in place."""
    import torch

    visible = {torch.cuda.get_device_capability(index) for index in range(torch.cuda.device_count())}
    names = ";".join(f"{major}.{minor}" for major, minor in sorted(visible))
    environment = os.environ | {"TORCH_CUDA_ARCH_LIST": os.environ.get("TORCH_CUDA_ARCH_LIST") or names}
    environment.setdefault("MAX_JOBS", str(os.cpu_count() or 1))
    command = [sys.executable, "setup.py", "build_ext", "--inplace"]
    raise SystemExit(subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode)


def cold_graph() -> None:
    """Operators whose first call in the process is captured by a CUDA graph: nothing may wait, allocate outside, or set anything up."""
    import torch

    from captum_proto import ops

    x = torch.randn(9, 5000, device="cuda")
    half = torch.randn(3, 20000, device="cuda").to(torch.bfloat16)
    reference = torch.arange(2, 10001, 2, dtype=torch.int32, device="cuda")
    images = torch.randn(4, 3, 64, 64, device="cuda")
    native = torch.ops.captum_proto
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = [
            native.spearman(x, reference),
            native.doubled_rank(half),
            native.high_frequency_loss(images, 1),
            *native.unit_summary(images.flatten(2)),
        ]
    graph.replay()
    torch.cuda.synchronize()
    expected = [
        native.spearman(x.cpu(), reference.cpu()),
        native.doubled_rank(half.cpu()),
        native.high_frequency_loss(images.cpu(), 1),
        *native.unit_summary(images.cpu().flatten(2)),
    ]
    for mine, its in zip(captured, expected, strict=True):
        torch.testing.assert_close(mine.cpu(), its, rtol=1e-6, atol=0)
    print(f"captured cold and replayed; {ops.backend()['cuda']}")


def bytes_moved() -> None:
    """What ncu counts of each kernel: bytes from and to memory, and time."""
    if shutil.which("ncu") is None:
        print("ncu is not on the path: bytes were not counted")
        raise SystemExit(NOT_HERE)
    metrics = ("dram__bytes_read.sum", "dram__bytes_write.sum", "gpu__time_duration.sum")
    command = ["ncu", "--csv", "--metrics", ",".join(metrics), "--kernel-name", "regex:captum_proto|DeviceRadixSort"]
    timings = [sys.executable, str(ROOT / "benchmarks" / "cuda_timings.py"), "--once"]
    result = subprocess.run([*command, *timings], capture_output=True, text=True, check=False)
    lines = [line for line in result.stdout.splitlines() if line.startswith('"')]
    if "ERR_NVGPUCTRPERM" in result.stdout:
        print("this user may not read the GPU's counters: bytes were not counted")
        raise SystemExit(NOT_HERE)
    if result.returncode or not lines:
        raise SystemExit(f"ncu ended with {result.returncode}:\n{(result.stdout + result.stderr)[-3000:]}")
    for row in csv.DictReader(io.StringIO("\n".join(lines))):
        print(f"{row['Kernel Name'][:70]:70} {row['Metric Name']:26} {row['Metric Value']:>16} {row['Metric Unit']}")


PROBES = {"versions": versions, "build": build, "cold-graph": cold_graph, "bytes": bytes_moved}

if __name__ == "__main__":
    if sys.argv[1:] not in [[name] for name in PROBES]:
        raise SystemExit(f"usage: {Path(__file__).name} {' | '.join(PROBES)}")
    PROBES[sys.argv[1]]()
