"""The ranks of the references of many classes: in memory, or in one memory-mapped file where they are more than it holds."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from captum_proto import ops
from captum_proto._utils.errors import InputError
from captum_proto._utils.files import intact, tensor_bytes, whole_file

_KIND = "rank store"


class RankStore:
    """
    A safetensors file with the doubled ranks of the mean activations of all classes, (K, D) in int32 for each layer.

    It is written class by class, and read where it lies: the system keeps in memory what was read last, and takes it back when it needs
    the memory. The numbers are those that :class:`~captum_proto.metrics.NearestClass` has without it, to the last bit.

    Args:
        path (str or Path): The file; see :meth:`write`.

    Raises:
        ValueError: If it is damaged or something else.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        with intact(self.path, _KIND):
            # The tensors lie in the file that is mapped, also when it is closed, renamed or deleted.
            try:
                with safe_open(self.path, framework="pt") as file:
                    self._described: dict[str, Any] = json.loads((file.metadata() or {})["captum_proto"])
                    self._ranks = {int(name): file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping
            except SafetensorError as error:
                raise ValueError(str(error)) from error
            if self._described["kind"] != _KIND:
                raise ValueError(f"it is a {self._described['kind']}")

    def check(self, references: Sequence[Any], labels: Sequence[Any], layers: Sequence[int]) -> None:
        """
        See that a store is of these references.

        Raises:
            InputError: If it is of others, or lacks a layer.
        """
        if self._described["references"] != _identity(references, labels) or not set(layers) <= set(self._ranks):
            raise InputError(
                f'"{self.path}" holds the ranks of other classes, references or layers; give another name, or delete it so that it is made '
                "again."
            )

    def ranks(self, layer: int) -> Tensor:
        """(K, D) in int32, in the file."""
        return self._ranks[layer]

    @classmethod
    def write(
        cls, path: str | os.PathLike[str], references: Sequence[Any], labels: Sequence[Any], layers: Sequence[int]
    ) -> RankStore:
        """
        Rank the means of all references, one class and one layer at a time, into a file.

        Args:
            path (str or Path): Of the file.
            references (sequence of PathReference): Of each class.
            labels (sequence of str or int): Their names.
            layers (sequence of int): Indices of the layers.

        Returns:
            RankStore: That reads it.

        Raises:
            FileExistsError: If there is a file of that name.
            OSError: If it cannot be written.
        """
        sizes = {layer: len(references[0].sums[layer]) for layer in layers}
        described = {"kind": _KIND, "references": _identity(references, labels)}
        header: dict[str, Any] = {"__metadata__": {"captum_proto": json.dumps(described)}}
        begin = 0
        for layer in layers:
            end = begin + 4 * len(references) * sizes[layer]
            header[str(layer)] = {
                "dtype": "I32",
                "shape": [len(references), sizes[layer]],
                "data_offsets": [begin, end],
            }
            begin = end
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        with whole_file(path) as temporary, open(temporary, "wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for layer in layers:
                for reference in references:
                    # float32, as the comparison has them of models in any dtype but float64, which is not kept in a store.
                    file.write(tensor_bytes(doubled_ranks(reference, layer, torch.float32)))
        return cls(path)


def doubled_ranks(reference: Any, layer: int, dtype: torch.dtype, device: torch.device | None = None) -> Tensor:
    """The doubled ranks of a class's mean activations, (D,) in int32."""
    ranks: Tensor = ops.SpearmanReference(reference.mean(layer, dtype).to(device)).doubled_ranks
    return ranks


def _identity(references: Sequence[Any], labels: Sequence[Any]) -> list[Any]:
    """What a store is of: weights, layers, and of each class its name and its images."""
    first = references[0]
    each = [[str(label), *sorted(reference.digests)] for label, reference in zip(labels, references, strict=True)]
    return [first.model, first.repeat, first.alias, list(first.layers), each]


__all__ = ["RankStore", "doubled_ranks"]
