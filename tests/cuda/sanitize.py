"""
Runs every CUDA kernel under compute-sanitizer: memcheck, racecheck, initcheck and synccheck.

    python tests/cuda/sanitize.py [--tools memcheck racecheck initcheck synccheck] [--logs FOLDER]

Without compute-sanitizer on the path it says so and ends with 77; without a GPU or the native module it ends badly. What a tool finds in
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
for folder in (str(ROOT), str(ROOT / "tests")):
    if folder not in sys.path:
        sys.path.insert(0, folder)

TOOLS = ("memcheck", "racecheck", "initcheck", "synccheck")

#: How a report begins, tool by tool; the lines below it name the kernel.
REPORT = re.compile(
    r"^=+\s*(Invalid|Out-of-range|Misaligned|Error: |Warning: |Uninitialized|Barrier error|Program hit|Leaked|Race)"
)
SUMMARY = re.compile(r"^=+\s*(ERROR SUMMARY|RACECHECK SUMMARY)")


def exercise(rows_alone: bool) -> None:
    """
    Small inputs that reach every kernel, or every one on rows, checked against the CPU's native code, or where that is not built the
    PyTorch twin.
    """
    import torch
    from native import affine_samples, concept_samples, part_samples, stream_samples

    from captum_proto import ops
    from captum_proto.ops import _twin

    native = torch.ops.captum_proto
    if not ops.backend()["cuda"]["native"]:
        raise SystemExit(f"the native CUDA module is not there: {ops.backend()['cuda']['reason']}")
    oracle = native if ops.backend()["cpu"]["native"] else _twin

    def same(result: torch.Tensor, expected: torch.Tensor) -> None:
        if not torch.equal(result.cpu().nan_to_num(7.0), expected.nan_to_num(7.0)):
            raise SystemExit("wrong result")

    generator = torch.Generator().manual_seed(0)
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        # Short rows, the library's sort, parts, and for half types histograms; ties across tiles, a NaN, a row of one value, and parts
        # that are too large for a block.
        for length in (1, 33, 300, 2048, 5000, 17000):
            x = torch.randn(4, length, generator=generator).relu().to(dtype)
            x[1, length // 2] = float("nan")
            x[2] = 1.0
            if length >= 17000 and dtype.itemsize > 2:
                room = 4096 if dtype == torch.float32 else 2048
                x = torch.cat([x, part_samples.rows_that_deceive_a_sample(length, room, dtype)])
            reference = oracle.doubled_rank(torch.randn(1, length, generator=generator))[0]
            mean = torch.randn(length, generator=generator)
            gpu_x, gpu_reference = x.cuda(), reference.cuda()
            same(native.doubled_rank(gpu_x), oracle.doubled_rank(x))
            same(native.rank(gpu_x), oracle.rank(x))
            same(native.spearman(gpu_x, gpu_reference), oracle.spearman(x, reference))
            for any_mean in (mean, mean.double()):
                correlation, distance = native.path_distance(gpu_x, any_mean.cuda(), gpu_reference)
                same(correlation, oracle.spearman(x, reference))
                expected = oracle.path_distance(x, any_mean, reference)[1]
                torch.testing.assert_close(distance.cpu(), expected, rtol=1e-12, atol=0, equal_nan=True)
        if rows_alone:
            continue
        images = torch.randn(2, 3, 17, 40, generator=generator).to(dtype)
        for layout in (images, images.to(memory_format=torch.channels_last)):
            gpu = layout.cuda()
            for power in (1, 2):
                loss = native.high_frequency_loss(gpu, power)
                expected = oracle.high_frequency_loss(layout, power)
                torch.testing.assert_close(loss.cpu(), expected, rtol=1e-6, atol=0)
                gradient = native.high_frequency_loss_backward(torch.ones_like(loss), gpu, power)
                same(gradient, oracle.high_frequency_loss_backward(torch.ones_like(expected), layout, power))
            if dtype.itemsize > 2:
                matrix = torch.tensor([[[0.8, 0.5, 0.3], [-0.6, 0.9, 0.1]], [[0.5, 0.5, 0.0], [0.5, 0.5, 0.0]]])
                matrix = matrix.to(dtype)
                scale, shift = torch.tensor([0.5, 1.0, 2.0], dtype=dtype), torch.tensor([-1.0, 0.0, 1.0], dtype=dtype)
                for last, border in ((False, 0), (True, 0), (False, 1), (True, 2)):
                    samples = native.affine_sample(gpu, matrix.cuda(), scale.cuda(), shift.cuda(), 0.3, last, border)
                    expected = oracle.affine_sample(layout, matrix, scale, shift, 0.3, last, border)
                    torch.testing.assert_close(samples.cpu(), expected, rtol=0, atol=1e-4)
                    gradient = native.affine_sample_backward(gpu, matrix.cuda(), scale.cuda(), last, border)
                    expected = oracle.affine_sample_backward(layout, matrix, scale, last, border)
                    torch.testing.assert_close(gradient.cpu(), expected, rtol=1e-4, atol=1e-3)
        if dtype.itemsize > 2:
            # A map that takes every output to one pixel, whose terms a block gathers together.
            point = torch.tensor(affine_samples.MATRICES["a point"], dtype=dtype).expand(2, 2, 3)
            scale = torch.ones(1, dtype=dtype)
            grad_output = torch.randn(2, 1, 40, 60, generator=generator).to(dtype)
            for border in (affine_samples.CONSTANT, affine_samples.REFLECT, affine_samples.REPLICATE):
                samples = native.affine_sample(
                    grad_output.cuda(), point.cuda(), scale.cuda(), scale.cuda(), 0.3, False, border
                )
                expected = oracle.affine_sample(grad_output, point, scale, scale, 0.3, False, border)
                torch.testing.assert_close(samples.cpu(), expected, rtol=0, atol=1e-4)
                gradient = native.affine_sample_backward(grad_output.cuda(), point.cuda(), scale.cuda(), False, border)
                expected = oracle.affine_sample_backward(grad_output, point, scale, False, border)
                torch.testing.assert_close(gradient.cpu(), expected, rtol=1e-4, atol=1e-3)
    if rows_alone:
        torch.cuda.synchronize()
        print("every kernel has run, with the right results")
        return
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        sums = torch.zeros(700, dtype=torch.float64)
        rows = torch.randn(19, 700, generator=generator).to(dtype)
        gpu_sums = sums.cuda()
        native.accumulate(gpu_sums, rows.cuda())
        oracle.accumulate(sums, rows)
        same(gpu_sums, sums)
        x = stream_samples.activations("after a ReLU", (3, 5, 70), dtype)
        compared = zip(stream_samples.results(native, x.cuda()), stream_samples.results(oracle, x), strict=True)
        for (name, result), (_, expected) in compared:
            if name in ("mean", "largest", "position"):
                same(result, expected)
            elif not torch.equal(result.cpu(), expected):
                raise SystemExit(f"wrong {name}")
    scores = torch.randn(20, 33, generator=generator)
    for largest in (True, False):
        found = stream_samples.lists(native, scores.cuda(), 4, largest)
        for result, expected in zip(found, stream_samples.lists(oracle, scores, 4, largest), strict=True):
            same(result, expected)
    shape, of_labels = concept_samples.SHAPES[0]
    x, thresholds, labels = concept_samples.sample(concept_samples.KINDS[0], shape, of_labels, torch.float32, 0)
    found = concept_samples.results(native, x.cuda(), thresholds.cuda(), labels.cuda(), False)
    for result, expected in zip(found, concept_samples.results(oracle, x, thresholds, labels, False), strict=True):
        same(result, expected)
    a, b = concept_samples.packed_masks(5, 9)[0], concept_samples.packed_masks(7, 9, 1)[0]
    same(native.packed_counts(a.cuda(), b.cuda()), oracle.packed_counts(a, b))
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


#: The limits between the ways of sorting rows are read once a process: rows are exercised again where the library sorts the long ones.
PASSES: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("", "--exercise", {}),
    ("_library_sort", "--exercise-rows", {"CAPTUM_PROTO_CUDA_PARTED_ROW": str(2**30)}),
)


def run_tool(sanitizer: str, tool: str, logs: Path) -> bool:
    """Whether the tool found nothing in our kernels."""
    clean = True
    for suffix, what, limits in PASSES:
        log = logs / f"{tool}{suffix}.log"
        # Without PyTorch's caching, every allocation is one of CUDA's, whose borders the tools know.
        environment = os.environ | {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"} | limits
        command = [sanitizer, "--tool", tool, "--log-file", str(log), sys.executable, __file__, what]
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        text = log.read_text(errors="replace") if log.exists() else ""
        found = reports(text)
        ours = [report for report in found if is_ours(report)]
        ran = "every kernel has run" in result.stdout
        others = len(found) - len(ours)
        print(f"{tool}{suffix}: {len(ours)} reports on kernels of captum_proto, {others} on others; log in {log}")
        for block in ours[:5]:
            print(block)
        if not ran:
            print("the program did not end as it should:")
            print((result.stdout + result.stderr + text)[-3000:])
        clean &= ran and not ours
    return clean


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exercise", action="store_true", help="run the kernels once, without a sanitizer")
    parser.add_argument(
        "--exercise-rows", action="store_true", help="run the kernels on rows once, without a sanitizer"
    )
    parser.add_argument("--tools", nargs="+", choices=TOOLS, default=TOOLS)
    parser.add_argument("--logs", type=Path, help="folder for the tools' logs; default: a new temporary one")
    arguments = parser.parse_args()
    if arguments.exercise or arguments.exercise_rows:
        exercise(rows_alone=not arguments.exercise)
        return
    sanitizer = shutil.which("compute-sanitizer")
    if sanitizer is None:
        print("compute-sanitizer is not on the path: its checks did not run")
        sys.exit(77)  # as a stage of the self-test that cannot be done here
    logs = arguments.logs or Path(tempfile.mkdtemp(prefix="captum_proto_sanitize_"))
    logs.mkdir(parents=True, exist_ok=True)
    clean = [run_tool(sanitizer, tool, logs) for tool in arguments.tools]
    sys.exit(0 if all(clean) else 1)


if __name__ == "__main__":
    main()
