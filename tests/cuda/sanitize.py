"""
Runs every CUDA kernel under compute-sanitizer: memcheck, racecheck, initcheck and synccheck.

    python tests/cuda/sanitize.py [--tools memcheck racecheck initcheck synccheck] [--logs FOLDER]

Without compute-sanitizer on the path it says so and ends well; without a GPU or the native module it ends badly. What a tool finds in
kernels of PyTorch or of CUB is counted and left to them: this fails for reports that name a kernel of captum_proto.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

TOOLS = ("memcheck", "racecheck", "initcheck", "synccheck")

#: How a report begins, tool by tool; the lines below it name the kernel.
REPORT = re.compile(
    r"^=+\s*(Invalid|Out-of-range|Misaligned|Error: |Warning: |Uninitialized|Barrier error|Program hit|Leaked|Race)"
)
SUMMARY = re.compile(r"^=+\s*(ERROR SUMMARY|RACECHECK SUMMARY)")


def exercise() -> None:
    """Small inputs that reach every kernel, checked against the PyTorch twin."""
    import torch

    from captum_proto import ops
    from captum_proto.ops import _twin

    native = torch.ops.captum_proto
    if not ops.backend()["cuda"]["native"]:
        raise SystemExit(f"the native CUDA module is not there: {ops.backend()['cuda']['reason']}")

    def same(result: torch.Tensor, expected: torch.Tensor) -> None:
        if not torch.equal(result.cpu().nan_to_num(7.0), expected.nan_to_num(7.0)):
            raise SystemExit("wrong result")

    generator = torch.Generator().manual_seed(0)
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        # Short rows, the library's sort, and for half types histograms; ties across tiles, a NaN, and a row of one value.
        for length in (1, 33, 2048, 5000, 17000):
            x = torch.randn(4, length, generator=generator).relu().to(dtype)
            x[1, length // 2] = float("nan")
            x[2] = 1.0
            reference = _twin.doubled_rank(torch.randn(1, length, generator=generator))[0]
            mean = torch.randn(length, generator=generator)
            gpu_x, gpu_reference = x.cuda(), reference.cuda()
            same(native.doubled_rank(gpu_x), _twin.doubled_rank(x))
            same(native.rank(gpu_x), _twin.rank(x))
            same(native.spearman(gpu_x, gpu_reference), _twin.spearman(x, reference))
            for any_mean in (mean, mean.double()):
                same(native.path_distance(gpu_x, any_mean.cuda(), gpu_reference)[0], _twin.spearman(x, reference))
        images = torch.randn(2, 3, 17, 40, generator=generator).to(dtype)
        for layout in (images, images.to(memory_format=torch.channels_last)):
            gpu = layout.cuda()
            for power in (1, 2):
                loss = native.high_frequency_loss(gpu, power)
                expected = _twin.high_frequency_loss(layout, power)
                torch.testing.assert_close(loss.cpu(), expected, rtol=1e-6, atol=0)
                gradient = native.high_frequency_loss_backward(torch.ones_like(loss), gpu, power)
                same(gradient, _twin.high_frequency_loss_backward(torch.ones_like(expected), layout, power))
            if dtype.itemsize > 2:
                matrix = torch.tensor([[[0.8, 0.5, 0.3], [-0.6, 0.9, 0.1]], [[0.5, 0.5, 0.0], [0.5, 0.5, 0.0]]])
                matrix = matrix.to(dtype)
                scale, shift = torch.tensor([0.5, 1.0, 2.0], dtype=dtype), torch.tensor([-1.0, 0.0, 1.0], dtype=dtype)
                for last, border in ((False, 0), (True, 0), (False, 1), (True, 2)):
                    samples = native.affine_sample(gpu, matrix.cuda(), scale.cuda(), shift.cuda(), 0.3, last, border)
                    expected = _twin.affine_sample(layout, matrix, scale, shift, 0.3, last, border)
                    torch.testing.assert_close(samples.cpu(), expected, rtol=0, atol=1e-4)
                    gradient = native.affine_sample_backward(gpu, matrix.cuda(), scale.cuda(), last, border)
                    expected = _twin.affine_sample_backward(layout, matrix, scale, last, border)
                    torch.testing.assert_close(gradient.cpu(), expected, rtol=1e-4, atol=1e-3)
    torch.cuda.synchronize()
    print("every kernel has run, with the right results")


def reports(log: str) -> list[str]:
    """The separate reports of a log, as blocks of lines."""
    blocks: list[list[str]] = []
    inside = False
    for line in log.splitlines():
        if SUMMARY.match(line):
            inside = False
        elif REPORT.match(line):
            blocks.append([line])
            inside = True
        elif inside:
            inside = line.startswith("=") and line.strip("= \t") != ""
            if inside:
                blocks[-1].append(line)
    return ["\n".join(block) for block in blocks]


def is_ours(report: str) -> bool:
    """Whether one of our kernels was running; the host's call stack names this module for every kernel of CUB's too."""
    return any(
        "captum_proto::" in line and "Host Frame" not in line and "cub::" not in line for line in report.splitlines()
    )


def run_tool(sanitizer: str, tool: str, logs: Path) -> bool:
    """Whether the tool found nothing in our kernels."""
    log = logs / f"{tool}.log"
    # Without PyTorch's caching, every allocation is one of CUDA's, whose borders the tools know.
    environment = os.environ | {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
    command = [sanitizer, "--tool", tool, "--log-file", str(log), sys.executable, __file__, "--exercise"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    text = log.read_text(errors="replace") if log.exists() else ""
    found = reports(text)
    ours = [report for report in found if is_ours(report)]
    ran = "every kernel has run" in result.stdout
    print(f"{tool}: {len(ours)} reports on kernels of captum_proto, {len(found) - len(ours)} on others; log in {log}")
    for block in ours[:5]:
        print(block)
    if not ran:
        print("the program did not end as it should:")
        print((result.stdout + result.stderr + text)[-3000:])
    return ran and not ours


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exercise", action="store_true", help="run the kernels once, without a sanitizer")
    parser.add_argument("--tools", nargs="+", choices=TOOLS, default=TOOLS)
    parser.add_argument("--logs", type=Path, help="folder for the tools' logs; default: a new temporary one")
    arguments = parser.parse_args()
    exercise()
    if arguments.exercise:
        return
    sanitizer = shutil.which("compute-sanitizer")
    if sanitizer is None:
        print("compute-sanitizer is not on the path: its checks did not run")
        return
    logs = arguments.logs or Path(tempfile.mkdtemp(prefix="captum_proto_sanitize_"))
    logs.mkdir(parents=True, exist_ok=True)
    clean = [run_tool(sanitizer, tool, logs) for tool in arguments.tools]
    sys.exit(0 if all(clean) else 1)


if __name__ == "__main__":
    main()
