"""Readers of tensors: checkpoints, NumPy's arrays, and every kind of result that the package saves."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from target import Reader
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from test_damaged_files import TENSORS

from captum_proto.experiments.visualize.units import read_directions
from captum_proto.models.checkpoints import load_state, read_state
from captum_proto.optim.inputs.maco import MACOImage


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 2))


def checkpoints(folder: Path) -> list[bytes]:
    state = network().state_dict()
    found = []
    for content in (state, {"state_dict": state}, {"model": {"net": dict(state)}}, {"model": [1, "a", {2.5: None}]}):
        for new in (True, False):
            buffer = io.BytesIO()
            torch.save(content, buffer, _use_new_zipfile_serialization=new)
            found.append(buffer.getvalue())
    return [*found, safetensors.torch.save(dict(state))]


def loaded(path: Path) -> object:
    """A checkpoint, put into a network."""
    state = read_state(path)
    load_state(network(), state, str(path), "a network", True)
    return state


def arrays(folder: Path) -> list[bytes]:
    found = []
    for array in (
        np.zeros((2, 3), np.float32),
        np.zeros(3),
        np.zeros((2, 2), np.int64),
        np.asfortranarray(np.zeros((2, 3))),
    ):
        buffer = io.BytesIO()
        np.save(buffer, array)
        found.append(buffer.getvalue())
    buffer = io.BytesIO()
    np.savez_compressed(buffer, a=np.zeros(9))
    return [*found, buffer.getvalue()]


def _saved(write: Callable[[Path], None]) -> Callable[[Path], list[bytes]]:
    def seeds(folder: Path) -> list[bytes]:
        torch.manual_seed(0)
        path = folder / "seed.safetensors"
        path.unlink(missing_ok=True)
        write(path)
        return [path.read_bytes()]

    return seeds


_WORDS = (b'"dtype":"F64"', b'"shape":[', b'"data_offsets":[0,', b"18446744073709551615", b'"captum_proto"', b'"kind"')
READERS = [
    Reader(
        "a checkpoint of PyTorch",
        "a.pt",
        checkpoints,
        loaded,
        (b"ctorch\n_utils\n", b"cos\nsystem\n", b"R", b"b", b"PK\3\4"),
    ),
    Reader("a checkpoint in safetensors", "a.safetensors", checkpoints, loaded, _WORDS),
    Reader(
        "directions as NumPy saves them", "a.npy", arrays, read_directions, (b"descr", b"|O", b"shape", b"999999999999")
    ),
    Reader("a spectrum as NumPy saves it", "a.npy", arrays, MACOImage.load),
    *(
        Reader(f"saved: {kind}", "a.safetensors", _saved(write), load, _WORDS)
        for kind, (write, load, _) in TENSORS.items()
    ),
]
