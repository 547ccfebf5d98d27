"""The mean natural activations of a class, as a state that can be summed, saved and loaded."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from captum_proto import ops
from captum_proto._utils.errors import InputError
from captum_proto._utils.files import alike, image_digest, intact, load_tensors, save_tensors
from captum_proto.metrics.linear_similarity import cosine_and_pearson
from captum_proto.ops.double import exact, exact_device
from captum_proto.runs.distributed import gather_tensors

if TYPE_CHECKING:
    from typing_extensions import Self

#: How many values a leave-one-out mean may hold at once: memory stays flat however many images come in a batch.
_LEAVE_ONE_OUT_VALUES = 2**23
#: The same of values that are compared in float64, of which there are several copies.
_LINEAR_VALUES = 2**21


@dataclass
class ActivationSums:
    r"""
    Sums over natural images of what every layer returns, and what was summed: the part that every kind of reference shares.

    Attributes:
        layers (list[str]): Names, in the order in which the layers return.
        sums (list[Tensor]): For each layer (D,), float64.
        shapes (list[tuple[int, ...]]): For each layer the shape of one image's output.
        pixel_sum (Tensor): (C, H, W), float64: the sum of the images themselves.
        digests (list[str]): Of every image, for leaving it out of its own mean.
        model (str): Fingerprint of the model's weights.
        repeat (str): Which calls of a layer were read.
        alias (str): When they were read.
        skipped (dict[str, str]): Outputs that were left out, and why.
    """

    layers: list[str]
    sums: list[Tensor]
    shapes: list[tuple[int, ...]]
    pixel_sum: Tensor
    digests: list[str]
    model: str
    repeat: str = "last"
    alias: str = "value"
    skipped: dict[str, str] = field(default_factory=dict)
    _members: frozenset[str] = field(default=frozenset(), repr=False, init=False)

    #: What a file of this kind of reference is called.
    _kind: ClassVar[str]
    #: What two references must have in common to be added.
    _common: ClassVar[tuple[str, ...]] = ("image_shape", "layers", "shapes", "model", "repeat", "alias")
    #: What of a layer is summed, by the name of the attribute that holds it.
    _summed: ClassVar[tuple[str, ...]] = ("sums",)
    #: What is written beside the sums.
    _described: ClassVar[tuple[str, ...]] = ("layers", "shapes", "digests", "model", "repeat", "alias", "skipped")

    @property
    def count(self) -> int:
        """How many images the sums are over."""
        return len(self.digests)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(C, H, W) of the images."""
        return tuple(self.pixel_sum.shape)

    def check_image_shape(self, images: Tensor) -> None:
        """
        Refuse images of another size than the reference's.

        Raises:
            ValueError: If (C, H, W) differ.
        """
        if tuple(images.shape[1:]) != self.image_shape:
            raise InputError(
                f"the images have shape {tuple(images.shape[1:])}, the reference was made from {self.image_shape}; resize them first."
            )

    def mean_image(self) -> Tensor:
        """The pixelwise mean of the images, (C, H, W) in float32."""
        return (self.pixel_sum / self.count).float()

    def __add__(self, other: Self) -> Self:
        """The reference over both sets of images: parts fitted on several machines add up to the whole."""
        for name in self._common:
            if getattr(self, name) != getattr(other, name):
                raise InputError(
                    f"the references differ in {name} and cannot be added; fit both on the same model with the same options."
                )
        totals: dict[str, Any] = {
            name: [a + b.to(a.device) for a, b in zip(getattr(self, name), getattr(other, name), strict=True)]
            for name in self._summed
        }
        pixel_sum = self.pixel_sum + other.pixel_sum.to(self.pixel_sum.device)
        return replace(self, **totals, pixel_sum=pixel_sum, digests=self.digests + other.digests)

    def contains(self, image: Tensor) -> bool:
        """Whether this very image is part of the sums."""
        return image_digest(image) in self.members()

    def members(self) -> frozenset[str]:
        """The digests of the images, each once."""
        if len(self._members) != len(set(self.digests)):
            self._members = frozenset(self.digests)
        return self._members

    def is_alike(self, layer: int, other: int) -> bool:
        """Whether two layers have equal sums, as a container and its last child."""
        self._move(layer, self.sums[other].device)  # a loaded reference is moved layer by layer
        return torch.equal(self.sums[layer], self.sums[other])

    def _move(self, layer: int, device: torch.device) -> None:
        if self.sums[layer].device != device:
            self.sums[layer] = self.sums[layer].to(device)

    def merge(self, other: Self) -> None:
        """
        Take the images of another reference, which stays as it is.

        Raises:
            ValueError: If it is of another model, of other layers, or of images of another size.
        """
        vars(self).update(vars(self + other))

    def gather(self) -> None:
        """
        Take the images of all processes of the default group of ``torch.distributed``: each ends up with the same sums, added in the order
        of ranks. All call this together.
        """
        first, *others = [self.restored(tensors) for tensors in gather_tensors(self.state_dict())]
        for other in others:
            first.merge(other)
        vars(self).update(vars(first))

    def state_dict(self) -> dict[str, Tensor]:
        """The reference as tensors: the sums, and in one of bytes what they are of."""
        described = json.dumps({name: getattr(self, name) for name in self._described}).encode()
        return self._tensors() | {"described": torch.frombuffer(bytearray(described), dtype=torch.uint8)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Become the reference that :meth:`state_dict` described."""
        vars(self).update(vars(self.restored(state)))

    @classmethod
    def restored(cls, state: dict[str, Tensor]) -> Self:
        """The reference that :meth:`state_dict` described."""
        described = json.loads(bytes(state["described"].tolist()))
        return cls._of({name: tensor.clone() for name, tensor in state.items()}, described)

    def save(self, path: str | os.PathLike[str], overwrite: bool = False) -> None:
        """Write the reference to one safetensors file; :meth:`load` reads it."""
        metadata = {name: getattr(self, name) for name in self._described}
        save_tensors(path, self._kind, self._tensors(), metadata, overwrite)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """
        Read what :meth:`save` wrote, onto the CPU.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is damaged or holds something else.
        """
        tensors, metadata = load_tensors(path, cls._kind)
        with intact(path, cls._kind):
            return cls._of(tensors, metadata)

    def _tensors(self) -> dict[str, Tensor]:
        sums = {f"{name}.{i}": total for name in self._summed for i, total in enumerate(getattr(self, name))}
        return sums | {"pixel_sum": self.pixel_sum}

    @classmethod
    def _of(cls, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> Self:
        """A reference of these tensors, uncopied as those of a file are mapped, and of what they are of as JSON holds it."""
        described: dict[str, Any] = {name: metadata[name] for name in cls._described}
        described["shapes"] = [tuple(shape) for shape in described["shapes"]]
        for name in ("layers", "digests"):
            described[name] = list(described[name])
        described["skipped"] = dict(described["skipped"])
        sums: dict[str, Any] = {
            name: [tensors[f"{name}.{i}"] for i in range(len(described["layers"]))] for name in cls._summed
        }
        loaded = cls(**described, **sums, pixel_sum=tensors["pixel_sum"])
        alike("layers", len(loaded.layers), len(loaded.shapes))
        for name, total, shape in zip(loaded.layers, loaded.sums, loaded.shapes, strict=True):
            alike(f"values of {name}", len(total), math.prod(shape))
        loaded._check()
        return loaded

    def _check(self) -> None:
        """Raise where further parts of a file do not fit the others."""


@dataclass
class PathReference(ActivationSums):
    r"""
    Sums of every layer's activations over natural images: all that path similarity needs to know of them.

    Attributes:
        layers (list[str]): Names, in the order in which the layers return.
        sums (list[Tensor]): For each layer (D,), float64.
        shapes (list[tuple[int, ...]]): For each layer the shape of one image's output.
        pixel_sum (Tensor): (C, H, W), float64: the sum of the images themselves.
        digests (list[str]): Of every image, for leaving it out of its own mean.
        model (str): Fingerprint of the model's weights.
        repeat (str): Which calls of a layer were read.
        alias (str): When they were read.
        skipped (dict[str, str]): Outputs that were left out, and why.
    """

    _prepared: dict[int, tuple[Tensor, ops.SpearmanReference]] = field(default_factory=dict, repr=False, init=False)

    _kind: ClassVar[str] = "path reference"

    def mean(self, layer: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """A layer's mean activations A(𝕀), (D,): summed in float64 and rounded once."""
        return (self.sums[layer] / self.count).to(dtype)

    def prepared(self, layer: int, x: Tensor) -> tuple[Tensor, ops.SpearmanReference]:
        """A layer's mean and its ranks, computed at first use; layers of equal sums, as a container and its last child, share them."""
        dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
        device = exact_device(x.device)

        def ready(index: int) -> bool:
            mean, _ = self._prepared.get(index, (None, None))
            return mean is not None and mean.dtype == dtype and mean.device == device

        if not ready(layer):
            self._move(layer, device)
            if ready(layer - 1) and torch.equal(self.sums[layer], self.sums[layer - 1]):
                self._prepared[layer] = self._prepared[layer - 1]
            else:
                mean = self.mean(layer, dtype)
                self._prepared[layer] = mean, ops.SpearmanReference(mean)
        return self._prepared[layer]

    def distance(self, layer: int, x: Tensor) -> tuple[Tensor, Tensor]:
        """Spearman and L1 of each row of a layer's output (N, D) against the mean: (N,) and (N,)."""
        return ops.path_distance(x, *self.prepared(layer, x))

    def distance_without(self, layer: int, x: Tensor) -> tuple[Tensor, Tensor]:
        """The same, each row against the mean of the *other* images: the rows must be part of the sums."""
        x = exact(x)
        dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
        self._move(layer, x.device)
        results = []
        for rows in torch.split(x, max(1, _LEAVE_ONE_OUT_VALUES // max(1, x.shape[1]))):
            mean = ((self.sums[layer] - rows.to(torch.float64)) / (self.count - 1)).to(dtype)
            results.append(ops.path_distance(rows, mean))
        return torch.cat([r[0] for r in results]), torch.cat([r[1] for r in results])

    def linear_similarity(self, layer: int, x: Tensor, leave_one_out: bool = False) -> tuple[Tensor, Tensor]:
        """Cosine and Pearson correlation of each row with the mean, or with that of the *other* images: (N,) and (N,)."""
        x = exact(x)
        self._move(layer, x.device)
        results = []
        for rows in torch.split(x, max(1, _LINEAR_VALUES // max(1, x.shape[1]))):
            values = rows.to(torch.float64)
            total = self.sums[layer]
            mean = (total - values) / (self.count - 1) if leave_one_out else total / self.count
            results.append(cosine_and_pearson(values, mean))
        return torch.cat([r[0] for r in results]), torch.cat([r[1] for r in results])
