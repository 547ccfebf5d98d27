"""
Times of the CUDA operators on the GPU at hand, and how near they come to the floor of moving their input once.

Times are CUDA events around many calls, median of several repetitions, over inputs that rotate so that together they exceed the L2 cache.
The floor is what a copy reaches in the same run, counting bytes read and bytes written. Each operator's results are checked first.

    python benchmarks/cuda_timings.py [--quick | --sweep | --once] [--out FILE]

``--sweep`` finds out instead where the ways of sorting rows cross; ``--once`` calls every operator once, for a profiler to look at.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from cuda_cases import Case, other_cases, same_as_cpu
from cuda_sweep import swept
from harness import ops, text_table, versions
from torch import Tensor

from captum_proto.ops import _twin

native = torch.ops.captum_proto


@dataclass
class Timing:
    name: str
    shape: tuple[int, ...]
    dtype: str
    inputs: int
    calls: int
    milliseconds: list[float] = field(default_factory=list)
    floor_bytes: int = 0

    @property
    def median(self) -> float:
        return statistics.median(self.milliseconds)


def time_calls(
    run: Callable[[Tensor], Any], inputs: list[Tensor], repeats: int, least_ms: float
) -> tuple[int, list[float]]:
    """Milliseconds per call, once per repetition, and the calls in each: whole rounds over the inputs, for at least ``least_ms``."""

    def measure(rounds: int) -> float:
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        for _ in range(rounds):
            for x in inputs:
                run(x)
        end.record()
        end.synchronize()
        return begin.elapsed_time(end)

    measure(1)
    rounds = 1
    while measure(rounds) < least_ms and rounds < 1000:
        rounds *= 2
    calls = rounds * len(inputs)
    return calls, [measure(rounds) / calls for _ in range(repeats)]


def rotating_inputs(make: Callable[[], Tensor]) -> list[Tensor]:
    """As many inputs as it takes to be three times the L2 cache, and never fewer than two."""
    first = make()
    cache = torch.cuda.get_device_properties(first.device).L2_cache_size
    count = max(2, min(256, -(-3 * cache // max(1, first.nbytes))))
    return [first, *(make() for _ in range(count - 1))]


def row_cases() -> list[Case]:
    cases = []
    for rows, length, dtype, relu in (
        (100, 802_816, torch.float32, False),
        (100, 802_816, torch.float32, True),
        (100, 802_816, torch.bfloat16, True),
        (100, 802_816, torch.float64, True),
        (1, 802_816, torch.float32, True),
        (1000, 50_176, torch.float32, True),
        (1000, 50_176, torch.bfloat16, True),
        (10_000, 8_000, torch.float32, True),
        (10_000, 2_048, torch.float32, True),
        (10_000, 1_280, torch.float32, True),
        (10_000, 1_280, torch.bfloat16, True),
        (100, 1_000, torch.float32, False),
    ):
        shape = (rows, length)

        def make(shape: tuple[int, int] = shape, dtype: torch.dtype = dtype, relu: bool = relu) -> Tensor:
            x = torch.randn(shape, device="cuda")
            return (x.relu_() if relu else x).to(dtype)

        reference = native.doubled_rank(torch.randn(1, length, device="cuda"))[0]
        mean = torch.randn(length, device="cuda")
        bytes_of_x = rows * length * dtype.itemsize
        suffix = " after a ReLU" if relu else ""
        cases.append(
            Case(
                f"spearman{suffix}",
                shape,
                dtype,
                make,
                lambda x, r=reference: native.spearman(x, r),
                bytes_of_x,
                same_as_cpu(native.spearman, 2, reference),
            )
        )
        if (rows, dtype) in {(100, torch.float32), (100, torch.bfloat16)} and relu:
            cases.append(
                Case(
                    f"path_distance{suffix}",
                    shape,
                    dtype,
                    make,
                    lambda x, m=mean, r=reference: native.path_distance(x, m, r),
                    bytes_of_x,
                )
            )
            cases.append(
                Case(
                    f"doubled_rank{suffix}",
                    shape,
                    dtype,
                    make,
                    native.doubled_rank,
                    bytes_of_x + 4 * rows * length,
                    same_as_cpu(native.doubled_rank, 1),
                )
            )
            cases.append(
                Case(f"torch.sort{suffix}", shape, dtype, make, lambda x: torch.sort(x, dim=-1), 2 * bytes_of_x)
            )
    return cases


def image_cases() -> list[Case]:
    cases = []
    for shape, dtype, channels_last in (
        ((16, 3, 224, 224), torch.float32, False),
        ((16, 3, 224, 224), torch.float32, True),
        ((128, 3, 512, 512), torch.float32, False),
        ((128, 3, 512, 512), torch.float32, True),
        ((128, 3, 512, 512), torch.bfloat16, False),
    ):
        layout = torch.channels_last if channels_last else torch.contiguous_format
        bytes_of_images = shape[0] * shape[1] * shape[2] * shape[3] * dtype.itemsize

        def make(
            shape: tuple[int, ...] = shape, dtype: torch.dtype = dtype, layout: torch.memory_format = layout
        ) -> Tensor:
            return torch.randn(shape, device="cuda").to(dtype).to(memory_format=layout)

        def check(images: Tensor) -> None:
            expected = _twin.high_frequency_loss(images[:2].cpu(), 1)
            torch.testing.assert_close(native.high_frequency_loss(images, 1)[:2].cpu(), expected, rtol=1e-6, atol=0)

        ones = torch.ones(shape[0], device="cuda")
        suffix = ", channels_last" if channels_last else ""
        for name, run, floor in (
            ("loss", lambda x: native.high_frequency_loss(x, 1), bytes_of_images),
            (
                "loss's gradient",
                lambda x, g=ones: native.high_frequency_loss_backward(g, x, 1),
                2 * bytes_of_images,
            ),
            ("loss, PyTorch", lambda x: _twin.high_frequency_loss(x, 1), bytes_of_images),
            (
                "loss's gradient, PyTorch",
                lambda x, g=ones: _twin.high_frequency_loss_backward(g, x, 1),
                2 * bytes_of_images,
            ),
        ):
            cases.append(Case(name + suffix, shape, dtype, make, run, floor, check if name == "loss" else None))
    return cases


def copy_bandwidth(repeats: int) -> float:
    """Bytes per second, read and written, of a copy within the GPU's memory."""
    size = 2**30
    sources = [torch.randint(256, (size,), dtype=torch.uint8, device="cuda") for _ in range(2)]
    target = torch.empty_like(sources[0])
    _, times = time_calls(target.copy_, sources, repeats, 20.0)
    return 2 * size / (statistics.median(times) * 1e-3)


def line_of(timing: Timing, bandwidth: float) -> list[str]:
    rate = timing.floor_bytes / (timing.median * 1e-3)
    values = 1
    for size in timing.shape:
        values *= size
    return [
        timing.name,
        " x ".join(map(str, timing.shape)),
        timing.dtype,
        f"{timing.median:.4f}",
        f"{min(timing.milliseconds):.4f} to {max(timing.milliseconds):.4f}",
        f"{values / timing.median / 1e6:.2f}",
        f"{rate / 1e9:.0f}",
        f"{100 * rate / bandwidth:.1f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter repetitions, for a first look")
    parser.add_argument("--sweep", action="store_true", help="compare the ways of sorting rows, by length")
    parser.add_argument("--once", action="store_true", help="call every operator once, on its smallest input")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "cuda_timings.json")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("cuda_timings.py measures a CUDA GPU, and there is none.")
    backend = ops.backend()["cuda"]
    if not backend["native"]:
        raise SystemExit(f"cuda_timings.py measures the native CUDA module, which is not there: {backend['reason']}")
    if arguments.sweep:
        write(arguments.out, {"sweeps": swept()})
        return
    cases = [*row_cases(), *image_cases(), *other_cases()]
    if arguments.once:
        once(cases)
        return
    repeats, least_ms = (3, 5.0) if arguments.quick else (11, 30.0)

    torch.manual_seed(0)
    bandwidth = copy_bandwidth(repeats)
    timings = []
    for case in cases:
        inputs = rotating_inputs(case.make)
        if case.check is not None:
            case.check(inputs[0])
        calls, milliseconds = time_calls(case.run, inputs, repeats, least_ms)
        dtype = str(case.dtype).removeprefix("torch.")
        timings.append(Timing(case.name, case.shape, dtype, len(inputs), calls, milliseconds, case.floor_bytes))
        print("  ".join(line_of(timings[-1], bandwidth)), flush=True)  # at once: the machine may go away
        del inputs
    bandwidth_after = copy_bandwidth(repeats)

    device = torch.cuda.get_device_properties(0)
    print(
        f"{device.name}, {device.multi_processor_count} multiprocessors, L2 {device.L2_cache_size / 2**20:.0f} MiB; copy "
        f"{bandwidth / 1e9:.0f} GB/s before and {bandwidth_after / 1e9:.0f} GB/s after, read and written"
    )
    header = ["", "shape", "dtype", "median ms", "range ms", "G values/s", "floor GB/s", "% of copy"]
    print(text_table(header, [line_of(timing, bandwidth) for timing in timings]))
    report = {
        "hardware": {
            "gpu": device.name,
            "multiprocessors": device.multi_processor_count,
            "memory_bytes": device.total_memory,
            "l2_bytes": device.L2_cache_size,
            "machine": platform.machine(),
        },
        "versions": versions() | {"cuda": torch.version.cuda},
        "native": backend,
        "copy_bytes_per_second": {"before": bandwidth, "after": bandwidth_after},
        "timings": [asdict(timing) | {"median_milliseconds": timing.median} for timing in timings],
    }
    write(arguments.out, report)


def write(path: Path, report: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=2) + "\n")
    print(f"written to {path}")


def once(cases: list[Case]) -> None:
    """Each native operator on the smallest of its inputs."""
    smallest: dict[str, Case] = {}
    for case in sorted(cases, key=lambda case: case.floor_bytes):
        if not case.name.endswith("PyTorch") and not case.name.startswith("torch."):
            smallest.setdefault(case.name, case)
    for name, case in smallest.items():
        case.run(case.make())
        torch.cuda.synchronize()
        print(f"{name}: {case.floor_bytes} bytes at least")


if __name__ == "__main__":
    main()
