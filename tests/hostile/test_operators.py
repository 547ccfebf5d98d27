"""
The operators on tensors that nobody would make but could: what the PyTorch twin gives, or one clear error; never a crash.

Each kind of tensor goes to a process of its own, so that a crash is that of one test. Under AddressSanitizer the kernels themselves are
tried by tests/native and by tests/reliability/kernels.py; here it is what stands before them.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = '''
import sys, warnings
import torch
from captum_proto import ops
from captum_proto.ops import _native

torch.set_num_threads(1)
warnings.simplefilter("ignore")


def odd(count, dtype, offset):
    """A view of bytes that begins at an odd address."""
    raw = bytearray(count * torch.tensor([], dtype=dtype).element_size() + offset)
    return torch.frombuffer(raw, dtype=dtype, count=count, offset=offset)


def tensors(kind):
    x = torch.linspace(-3, 3, 240).reshape(2, 3, 5, 8)
    if kind == "empty": return [torch.zeros(s) for s in ((0, 3, 4, 4), (2, 0, 4, 4), (2, 3, 0, 4), (2, 3, 4, 0), (0, 0, 0, 0))]
    if kind == "expanded": return [x[:1, :1].expand(2, 3, 5, 8), torch.ones(1).expand(2, 3, 5, 8), x[..., :1].expand(2, 3, 5, 8)]
    if kind == "overlapping": return [torch.arange(60.).as_strided((2, 3, 5, 8), (1, 2, 3, 1)), torch.arange(60.).as_strided((2, 3, 5, 8), (7, 7, 7, 1))]
    if kind == "offset": return [torch.arange(500.)[17:257].reshape(2, 3, 5, 8), torch.arange(960.)[3:].as_strided((2, 3, 5, 8), (240, 80, 16, 2), 5)]
    if kind == "misaligned": return [odd(240, d, o).reshape(2, 3, 5, 8) for d in (torch.float32, torch.float64, torch.float16) for o in (1, 3, 2)]
    if kind == "permuted": return [x.permute(3, 2, 1, 0), x.transpose(2, 3), x.flip(3), x.to(memory_format=torch.channels_last)]
    if kind == "values": return [x.log(), x * float("inf"), torch.full_like(x, float("nan")), x * 1e38 * 10, x * 1e-44, -x * 0]
    if kind == "dtypes": return [x.to(d) for d in (torch.int64, torch.int8, torch.bool, torch.complex64, torch.bfloat16, torch.float8_e4m3fn, torch.uint16)]
    if kind == "huge by strides": return [torch.ones(1).expand(2**31, 2**16), torch.ones(1, 1).expand(1, 2**29), torch.ones(1).expand(2, 3, 2**31, 2**30)]
    if kind == "meta": return [x.to("meta")]
    if kind == "sparse": return [x.to_sparse(), x[0, 0].to_sparse_csr()]
    if kind == "quantized": return [torch.quantize_per_tensor(x, 0.1, 0, torch.qint8)]
    if kind == "lazy": return [torch.view_as_complex(torch.rand(2, 3, 5, 8, 2)).conj().imag, torch.view_as_complex(torch.rand(2, 3, 5, 8, 2)).conj().real, torch._neg_view(x), torch.view_as_complex(torch.rand(2, 3, 5, 8, 2)).conj()]
    if kind == "with gradient": return [x.clone().requires_grad_(), x.clone().requires_grad_() * 2, torch.nn.Parameter(x)]
    if kind == "dimensions": return [torch.tensor(1.), x[0, 0, 0], x[0, 0], x[0], x[None]]
    raise ValueError(kind)


def calls(x):
    rows = (lambda t: t.reshape(t.shape[0], -1) if t.dim() > 2 and t.numel() < 1e6 else t)(x) if x.layout is torch.strided else x
    last = rows.shape[-1] if rows.dim() else 1
    ones = torch.ones(min(last, 1000))
    few = rows if last <= 1000 else rows[..., :1000]
    yield "rank", lambda: ops.rank(rows)
    yield "spearman", lambda: ops.spearman(few, ones.cumsum(0))
    yield "path_distance", lambda: ops.path_distance(few, ones)
    yield "accumulate", lambda: (lambda s: (ops.accumulate(s, few), s)[1])(torch.zeros(min(last, 1000), dtype=torch.float64))
    yield "high_frequency_loss", lambda: ops.high_frequency_loss(x)
    yield "high_frequency_loss 2", lambda: ops.high_frequency_loss(x, 2)
    matrix = torch.tensor([[1.0, 0.1, 0.2], [0.0, 0.9, float("nan") if x.numel() % 2 else -0.3]]).expand(x.shape[0] if x.dim() else 1, 2, 3)
    yield "affine_sample", lambda: ops.affine_sample(x, matrix if x.dim() and x.shape[0] < 100 else matrix[:1])
    yield "unit_summary", lambda: ops.unit_summary(x.flatten(2) if x.dim() > 3 and x.numel() < 1e6 else x)
    words = few if few.dtype == torch.int64 else few.long() if few.layout is torch.strided and not few.is_quantized and not few.is_complex() else few
    yield "packed_counts", lambda: ops.packed_counts(words, words)


def outcome(call):
    try:
        found = call()
    except (TypeError, ValueError, RuntimeError, NotImplementedError) as error:
        assert str(error).strip()
        return type(error).__name__ + ": " + str(error).splitlines()[0][:120]
    found = found if isinstance(found, tuple) else (found,)
    return [each.detach() for each in found]


if sys.argv[2] == "twin":
    assert ops.backend("cpu") != "native" if callable(ops.backend) else True
results = []
for number, x in enumerate(tensors(sys.argv[1])):
    for name, call in calls(x):
        results.append((f"{name} {number}", outcome(call)))
torch.save(results, sys.argv[3])
'''
KINDS = [
    "empty",
    "expanded",
    "overlapping",
    "offset",
    "misaligned",
    "permuted",
    "values",
    "dtypes",
    "huge by strides",
    "meta",
    "sparse",
    "quantized",
    "lazy",
    "with gradient",
    "dimensions",
]


def results(kind: str, native: bool, folder: Path) -> dict[str, object]:
    import os

    import torch

    path = folder / f"{native}.pt"
    environment = os.environ | {"CAPTUM_PROTO_NATIVE": "1" if native else "0", "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = str(Path(__file__).resolve().parents[2])
    command = [sys.executable, "-c", PROGRAM, kind, "native" if native else "plain", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)
    assert done.returncode == 0, f"exit code {done.returncode}: {done.stderr[-3000:]}"
    return dict(torch.load(path, weights_only=True))


@pytest.mark.parametrize("kind", KINDS)
def test_strange_tensors(kind: str, tmp_path: Path) -> None:
    import torch

    native, plain = results(kind, True, tmp_path), results(kind, False, tmp_path)
    assert native.keys() == plain.keys()
    for name, found in native.items():
        expected = plain[name]
        assert isinstance(found, str) == isinstance(expected, str), (name, found, expected)
        if isinstance(found, str):
            continue
        for one, other in zip(found, expected, strict=True):  # type: ignore[call-overload]
            assert one.shape == other.shape and one.dtype == other.dtype, name
            if one.device.type == "cpu":
                torch.testing.assert_close(
                    one, other, rtol=1e-5, atol=1e-6, equal_nan=True, msg=lambda text, name=name: f"{name}: {text}"
                )
