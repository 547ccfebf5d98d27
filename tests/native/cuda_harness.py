"""The CUDA operators, executed on the host: builds the harness with g++ and speaks with it. See cuda_on_host.h."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

import torch
from torch import Tensor

SOURCE = Path(__file__).with_name("cuda_harness.cpp")
#: The command that compiles C++, or None.
COMPILER: list[str] | None = shlex.split(os.environ.get("CXX", "g++"))
if shutil.which(COMPILER[0]) is None:
    COMPILER = None

#: How the harness can be built. Sanitizers end the program at the first mistake, which the next request then reports. In "interleaved"
#: threads change places at any access to memory, for which the compiler's instrumentation is taken without its library.
VARIANTS = {
    "plain": ["-O2"],
    "interleaved": ["-O1", "-DON_HOST_INTERLEAVED=1", "-fsanitize=thread"],
    "address": [
        "-O1",
        "-g1",
        "-fsanitize=address,undefined",
        "-fno-sanitize-recover=all",
        "-fno-omit-frame-pointer",
    ],
    "thread": ["-O1", "-g1", "-fsanitize=thread"],
}

SANITIZER_OPTIONS = {
    "ASAN_OPTIONS": "detect_stack_use_after_return=0",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    "TSAN_OPTIONS": "halt_on_error=1",
}

#: Leaves a limit as csrc/kernels/cuda sets it.
OWN_LIMIT = -1
#: In the order of a request.
LIMITS = (
    "short_row",
    "histogram_row",
    "separate_row",
    "parted_row",
    "part_room",
    "chunk_values",
    "outputs_alone",
    "farthest",
    "scratch_bytes",
)

DTYPES = {torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int16, torch.int32, torch.int64}


class HarnessError(RuntimeError):
    """The kernels broke a rule of CUDA's, or a sanitizer's."""


def build(variant: str, folder: Path, source: Path = SOURCE) -> Path:
    """Compiles one variant into ``folder``."""
    assert COMPILER is not None
    program = folder / f"cuda_harness_{variant}"
    compiled = program.with_suffix(".o")
    options = [*COMPILER, "-std=c++17", "-Wall", "-Wextra", "-ffp-contract=off", *VARIANTS[variant]]
    libraries = [] if variant == "interleaved" else VARIANTS[variant]
    for command in (
        [*options, "-c", str(source), "-o", str(compiled)],
        [*COMPILER, *libraries, str(compiled), "-o", str(program)],
    ):
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise HarnessError(result.stderr)
    return program


class Harness:
    """
    One running harness. Its methods are the operators, with the arguments of ``torch.ops.captum_proto``.

    :meth:`set` changes ``schedule`` (ascending, descending, shuffled; interleaved in that variant) and ``seed``, the order in which the
    threads of a block run; ``most_blocks``, a bound on the grid that leaves kernels more rounds of their loops; the limits between the
    ways of sorting, ``short_row``, ``histogram_row``, ``separate_row``, ``parted_row``, ``part_room`` and ``chunk_values``, of
    gathering, ``outputs_alone``, and of counting in 32 bits, ``farthest``, so that small inputs reach all of them; and
    ``scratch_bytes``, how much scratch memory there is.
    """

    def __init__(self, program: Path) -> None:
        self.reset()
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 — lives as long as the harness

    def reset(self) -> None:
        """Back to the operators' own limits and the first schedule."""
        self.set(schedule="ascending", seed=0, most_blocks=2**31 - 1)
        self.set(**dict.fromkeys(LIMITS, OWN_LIMIT))

    def set(self, **settings: int | str) -> None:
        self._settings: dict[str, int | str] = getattr(self, "_settings", {}) | settings

    def __repr__(self) -> str:
        return (
            f"Harness({self._program.name}: {', '.join(f'{name}={value}' for name, value in self._settings.items())})"
        )

    def close(self) -> None:
        if self._process is not None:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            self._process.stdin.close()
            self._process.wait()
            self._process.stdout.close()
            self._process = None

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            self._errors.seek(0)
            self._errors.truncate()
            self._process = subprocess.Popen(
                [str(self._program)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env=os.environ | SANITIZER_OPTIONS,
            )
        return self._process

    def _crashed(self) -> HarnessError:
        assert self._process is not None
        code = self._process.wait()
        self._process = None
        self._errors.seek(0)
        return HarnessError(f"the harness ended with {code}:\n{self._errors.read().decode(errors='replace')[:8000]}")

    def request(self, operator: str, tensors: list[Tensor], power: int = 0) -> list[bytes]:
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        order = [self._settings[name] for name in ("schedule", "seed", "most_blocks")]
        limits = [self._settings[name] for name in LIMITS]
        words = [operator, *order, power, *limits]
        try:
            process.stdin.write((" ".join(map(str, [*words, len(tensors)])) + "\n").encode())
            for tensor in tensors:
                assert tensor.dtype in DTYPES
                storage = tensor.untyped_storage()
                words = [str(tensor.dtype).removeprefix("torch."), tensor.storage_offset(), tensor.dim()]
                words += [*tensor.shape, *tensor.stride(), storage.nbytes()]
                process.stdin.write((" ".join(map(str, words)) + "\n").encode())
                process.stdin.write(_bytes_of(storage))
            process.stdin.flush()
            answer = process.stdout.readline().decode()
            if not answer:
                raise self._crashed()
            kind, _, rest = answer.strip().partition(" ")
            if kind != "ok":
                raise HarnessError(rest)
            return [process.stdout.read(int(process.stdout.readline())) for _ in range(int(rest))]
        except BrokenPipeError:
            raise self._crashed() from None

    def launches(self) -> tuple[int, int]:
        """How many kernels, and how many sorts of the library, the latest operator ran."""
        kernels, sorts = _tensor(self.request("launches", [])[0], torch.int64).tolist()
        return kernels, sorts

    def traffic(self) -> dict[str, tuple[int, int]]:
        """The bytes of global memory that the latest operator's launches read and wrote. Kernels' are counted in "interleaved"."""
        lines = [line.split("\t") for line in self.request("traffic", [])[0].decode().splitlines()]
        return {name: (int(read), int(written)) for name, read, written in lines}

    def doubled_rank(self, x: Tensor) -> Tensor:
        return _tensor(self.request("doubled_rank", [x])[0], torch.int32).view(x.shape)

    def rank(self, x: Tensor) -> Tensor:
        return _tensor(self.request("rank", [x])[0], torch.float64).view(x.shape)

    def spearman(self, x: Tensor, doubled_ranks: Tensor) -> Tensor:
        return _tensor(self.request("spearman", [x, doubled_ranks])[0], torch.float64)

    def path_distance(self, x: Tensor, mean: Tensor, doubled_ranks: Tensor) -> tuple[Tensor, Tensor]:
        spearman, l1 = self.request("path_distance", [x, mean, doubled_ranks])
        return _tensor(spearman, torch.float64), _tensor(l1, torch.float64)

    def accumulate(self, sums: Tensor, rows: Tensor) -> None:
        self._fill("accumulate", [sums, rows], 1)

    def high_frequency_loss(self, images: Tensor, power: int) -> Tensor:
        return _tensor(self.request("high_frequency_loss", [images], power)[0], _loss_dtype(images))

    def high_frequency_loss_backward(self, grad_output: Tensor, images: Tensor, power: int) -> Tensor:
        gradient = torch.empty_like(images)
        answer = self.request("high_frequency_loss_backward", [grad_output, images, gradient], power)[0]
        return _tensor(answer, images.dtype).as_strided(gradient.shape, gradient.stride())

    def affine_sample(
        self,
        images: Tensor,
        matrix: Tensor,
        scale: Tensor,
        shift: Tensor,
        fill: float,
        channels_last: bool,
        border: int = 0,
    ) -> Tensor:
        tensors = [images, matrix, scale, shift, torch.tensor([fill], dtype=torch.float64)]
        return self._images("affine_sample", tensors, channels_last, border)

    def affine_sample_backward(
        self, grad_output: Tensor, matrix: Tensor, scale: Tensor, channels_last: bool, border: int = 0
    ) -> Tensor:
        return self._images("affine_sample_backward", [grad_output, matrix, scale], channels_last, border)

    def unit_summary(self, values: Tensor) -> tuple[Tensor, ...]:
        wide = torch.float64 if values.dtype == torch.float64 else torch.float32
        answers = zip(self.request("unit_summary", [values]), (wide, torch.int64, wide), strict=True)
        return tuple(_tensor(answer, dtype).view(values.shape[:2]) for answer, dtype in answers)

    def top_k(self, *arguments: Tensor | bool) -> None:
        *tensors, largest = arguments
        self._fill("top_k", tensors, 3, int(largest))

    def radix_histogram(self, counts: Tensor, values: Tensor) -> None:
        self._fill("radix_histogram", [counts, values], 1)

    def radix_select(self, *tensors: Tensor) -> None:
        self._fill("radix_select", list(tensors), 3)

    def unit_concept_counts(
        self, counts: Tensor, activations: Tensor, thresholds: Tensor, labels: Tensor, align_corners: bool
    ) -> Tensor:
        tensors = [counts, activations, thresholds, labels]
        filled, hits = self.request("unit_concept_counts", tensors, int(align_corners))
        counts.copy_(_tensor(filled, torch.int64).view(counts.shape))
        return _tensor(hits, torch.int64).view(activations.shape[:2])

    def packed_counts(self, a: Tensor, b: Tensor) -> Tensor:
        return _tensor(self.request("packed_counts", [a, b])[0], torch.int64).view(len(a), len(b))

    def _fill(self, operator: str, tensors: list[Tensor], filled: int, power: int = 0) -> None:
        """The first tensors, which are contiguous, are changed in place."""
        for tensor, answer in zip(tensors[:filled], self.request(operator, tensors, power), strict=True):
            tensor.copy_(_tensor(answer, tensor.dtype).view(tensor.shape))

    def _images(self, operator: str, tensors: list[Tensor], channels_last: bool, border: int) -> Tensor:
        """Like the first tensor, but in one of the two memory formats."""
        memory_format = torch.channels_last if channels_last else torch.contiguous_format
        result = torch.full_like(tensors[0], float("nan"), memory_format=memory_format)
        answer = self.request(operator, [*tensors, result], border)[0]
        return _tensor(answer, result.dtype).as_strided(result.shape, result.stride())


def _loss_dtype(images: Tensor) -> torch.dtype:
    return torch.float64 if images.dtype == torch.float64 else torch.float32


def _bytes_of(storage: torch.UntypedStorage) -> bytes:
    view = torch.empty(0, dtype=torch.uint8).set_(storage, 0, (storage.nbytes(),), (1,))  # type: ignore[call-overload]
    return view.numpy().tobytes()


def _tensor(data: bytes, dtype: torch.dtype) -> Tensor:
    return torch.frombuffer(bytearray(data), dtype=dtype) if data else torch.empty(0, dtype=dtype)
