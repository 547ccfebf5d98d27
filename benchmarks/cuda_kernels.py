"""
What nvcc makes of each CUDA kernel, and what each operator asks of a GPU's memory. No GPU is needed.

    python benchmarks/cuda_kernels.py [--out docs/results] [--architectures 75 80 …]

``cuda_kernels.csv``: registers of a thread for each architecture that is compiled for by default, bytes spilled and shared memory of a
block, as ptxas reports them. ``cuda_traffic.csv``: bytes that the threads of each launch read from and write to global memory, counted
while the kernels run on the host (tests/native), for each value of the input; what caches save is in them. Sorts of the library are
reckoned: all keys read once, all items read and written once for every eight bits.
"""

from __future__ import annotations

import argparse
import ast
import csv
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "native")]

REPORT = re.compile(
    r"Compiling entry function '(\S+)' for 'sm_(\d+)'.*?\n.*?\n.*?(\d+) bytes spill stores, (\d+) bytes spill loads.*?\n"
    r".*?Used (\d+) registers(?:.*?(\d+) bytes smem)?"
)


def architectures(nvcc: str) -> list[str]:
    """The default ones of setup.py that this nvcc knows, such as "90"."""
    for node in ast.parse((ROOT / "setup.py").read_text()).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "DEFAULT_CUDA_ARCHITECTURES":
            names = [name.replace(".", "") for name in ast.literal_eval(node.value)]
            known = subprocess.run([nvcc, "--list-gpu-arch"], capture_output=True, text=True, check=True).stdout.split()
            return [name for name in names if f"compute_{name}" in known]
    raise SystemExit("setup.py names no DEFAULT_CUDA_ARCHITECTURES")


def compile_sources(nvcc: str, names: list[str]) -> str:
    """What ptxas says of all sources in csrc/cuda."""
    from torch.utils.cpp_extension import include_paths

    command = [nvcc, "-std=c++17", "-O3", "-DUSE_CUDA", "-DTORCH_TARGET_VERSION=0x020a000000000000", "-Xptxas", "-v"]
    command += ["-Xcompiler", "-fPIC", "-I", str(ROOT / "csrc"), *(f"-isystem={path}" for path in include_paths())]
    for name in names:
        command += ["-gencode", f"arch=compute_{name},code=sm_{name}"]
    report = ""
    with tempfile.TemporaryDirectory() as folder:
        for source in sorted((ROOT / "csrc" / "cuda").glob("*.cu")):
            result = subprocess.run(
                [*command, "-c", str(source)], cwd=folder, capture_output=True, text=True, check=False
            )
            if result.returncode != 0:
                raise SystemExit(result.stderr)
            report += result.stderr
    return report


def readable(mangled: list[str]) -> list[str]:
    """Names of kernels with their template arguments, without namespaces and parameters."""
    filtered = subprocess.run(["c++filt"], input="\n".join(mangled), capture_output=True, text=True, check=True)
    names = []
    for line in filtered.stdout.splitlines():
        name = line.removeprefix("void ").replace("captum_proto::cuda::", "").replace("captum_proto::", "")
        depth = end = 0  # up to the parenthesis before the parameters
        while depth > 0 or name[end] != "(":
            depth += {"<": 1, ">": -1}.get(name[end], 0)
            end += 1
        name = name[:end]
        for number, border in enumerate(("constant", "reflect", "replicate")):
            name = name.replace(f"(Border){number}", border)
        names.append(name)
    return names


def kernels(report: str) -> Iterator[dict[str, object]]:
    """A row for each of our kernels; CUB's are not ours."""
    found = [
        match.groups() for match in REPORT.finditer(report) if "captum_proto" in match[1] and "3cub" not in match[1]
    ]
    rows: dict[str, dict[str, object]] = {}
    for name, (_, architecture, stored, loaded, registers, shared) in zip(
        readable([each[0] for each in found]), found, strict=True
    ):
        row = rows.setdefault(name, {"kernel": name})
        row[f"sm_{architecture}"] = int(registers)
        row["spilled"] = max(int(str(row.get("spilled", 0))), int(stored) + int(loaded))
        row["shared"] = max(int(str(row.get("shared", 0))), int(shared or 0))
    yield from sorted(rows.values(), key=lambda row: str(row["kernel"]))


def traffic() -> Iterator[dict[str, object]]:
    """A row for each launch of each operator, on inputs of a few rows or images."""
    import torch
    from affine_samples import random_maps
    from cuda_harness import Harness, build

    with tempfile.TemporaryDirectory() as folder:
        harness = Harness(build("interleaved", Path(folder)))

        def rows_of(operator: str, what: str, values: int) -> Iterator[dict[str, object]]:
            for launch, (read, written) in harness.traffic().items():
                if read + written < 0.005 * values:
                    continue  # a row's or an image's, not a value's
                yield {
                    "operator": operator,
                    "input": what,
                    "launch": launch,
                    "read": round(read / values, 2),
                    "written": round(written / values, 2),
                }

        generator = torch.Generator().manual_seed(0)
        for length in (1000, 20000):
            reference = torch.arange(2, 2 * length + 1, 2, dtype=torch.int32)
            for dtype in (torch.bfloat16, torch.float32, torch.float64):
                x = torch.randn(4, length, generator=generator).relu().to(dtype)
                what = f"{str(dtype).removeprefix('torch.')}, 4 rows of {length}"
                harness.spearman(x, reference)
                yield from rows_of("spearman", what, x.numel())
                harness.doubled_rank(x)
                yield from rows_of("doubled_rank", what, x.numel())
                if length > 2048 and dtype.itemsize > 2:
                    harness.set(parted_row=2**30)
                    harness.spearman(x, reference)
                    yield from rows_of("spearman", f"{what}, by the library", x.numel())
                    harness.reset()
        reference = torch.arange(2, 40001, 2, dtype=torch.int32)
        for dtype in (torch.bfloat16, torch.float32):
            x = torch.randn(4, 20000, generator=generator).to(dtype)
            what = f"{str(dtype).removeprefix('torch.')}, 4 rows of 20000, without zeros"
            harness.path_distance(x, x[0].float(), reference)
            yield from rows_of("path_distance", what, x.numel())
            harness.accumulate(torch.zeros(20000, dtype=torch.float64), x)
            yield from rows_of("accumulate", what, x.numel())
        for channels, layout in ((3, "contiguous"), (3, "channels_last"), (4, "channels_last")):
            last = layout == "channels_last"
            images = torch.randn(2, channels, 48, 48, generator=generator)
            maps, scale = random_maps(2), torch.ones(channels)
            x = images.to(memory_format=torch.channels_last if last else torch.contiguous_format)
            what = f"float32, 2 x {channels} x 48 x 48, {layout}"
            harness.high_frequency_loss(x, 1)
            yield from rows_of("high_frequency_loss", what, x.numel())
            harness.high_frequency_loss_backward(torch.ones(2), x, 1)
            yield from rows_of("high_frequency_loss_backward", what, x.numel())
            for border, name in enumerate(("constant", "reflect", "replicate")):
                harness.affine_sample(x, maps, scale, scale, 0.0, last, border)
                yield from rows_of("affine_sample", f"{what}, {name}", x.numel())
                harness.affine_sample_backward(x, maps, scale, last, border)
                yield from rows_of("affine_sample_backward", f"{what}, {name}", x.numel())
        values = torch.randn(4, 64, 196, generator=generator)
        harness.unit_summary(values)
        yield from rows_of("unit_summary", "float32, 4 x 64 x 196", values.numel())
        harness.close()


def write(path: Path, rows: list[dict[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(f"{path}: {len(rows)} rows")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results", help="folder; default: docs/results")
    parser.add_argument("--architectures", nargs="+", help="default: those that setup.py names and nvcc knows")
    arguments = parser.parse_args()
    write(arguments.out / "cuda_traffic.csv", list(traffic()))
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        raise SystemExit("nvcc is not on the path: cuda_kernels.csv was not written")
    names = arguments.architectures or architectures(nvcc)
    rows = list(kernels(compile_sources(nvcc, names)))
    columns = ["kernel", *(f"sm_{name}" for name in names), "spilled", "shared"]
    write(arguments.out / "cuda_kernels.csv", [{column: row[column] for column in columns} for row in rows])


if __name__ == "__main__":
    main()
