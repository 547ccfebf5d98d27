"""What is known of a layer's units while images stream by, and of all layers together: states that add up over parts and processes."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from captum_proto import ops
from captum_proto._utils.errors import InputError, StateError
from captum_proto._utils.files import intact, load_tensors, save_tensors
from captum_proto.ops.double import exact, exact_device
from captum_proto.runs.distributed import gather_tensors
from captum_proto.stats.quantiles import Quantiles
from captum_proto.stats.random_sample import RandomSample
from captum_proto.stats.top_k import TopK

_KIND = "state of top examples"
#: The counts of a layer, each (U,).
_COUNTS = ("firing_images", "firing_positions", "firing_squares")


@dataclass(frozen=True)
class ExampleSettings:
    """
    What top examples are of.

    Attributes:
        k (int): How many of each unit.
        pool (str): "max", "mean" or "position".
        position (tuple[int, ...], optional): Of ``pool="position"``; None for each position by itself.
        quantiles (tuple[float, ...]): Of all activations of a unit.
        seed (int): Of the random sample.
        memory (int): How many bytes a pass for quantiles may take, for each layer.
    """

    k: int
    pool: str
    position: tuple[int, ...] | None
    quantiles: tuple[float, ...]
    seed: int
    memory: int


class LayerState:
    """
    The examples of the units of a layer so far.

    Args:
        settings (ExampleSettings): What they are of.
    """

    def __init__(self, settings: ExampleSettings) -> None:
        self._settings = settings
        self.top = TopK(settings.k)
        self.lowest = TopK(settings.k, largest=False)
        self.sample = RandomSample(settings.k, settings.seed)
        self.quantiles = Quantiles(settings.quantiles, memory=settings.memory) if settings.quantiles else None
        self.counts: dict[str, Tensor] = {}
        self.range: tuple[Tensor, Tensor] | None = None
        #: Where quantiles are looked for in this pass, before any values came.
        self._where: dict[str, Tensor] = {}

    def first_pass(self, values: Tensor, indices: Tensor, place: int | None) -> None:
        """
        Take everything that one look at the activations gives.

        Args:
            values (Tensor): (N, U, positions).
            indices (Tensor): (N,), the numbers of the images.
            place (int, optional): Of ``pool="position"``, in the flattened positions.
        """
        for step in self.steps_of_first_pass(values, indices, place):
            step()

    def steps_of_first_pass(self, values: Tensor, indices: Tensor, place: int | None) -> Iterator[Callable[[], None]]:
        """The steps of :meth:`first_pass`: each changes one part of the state, or nothing where there is no memory for it."""
        values = exact(values)
        highest, where, mean = ops.unit_summary(values)
        if bool(highest.isnan().any()):
            row, unit = highest.isnan().nonzero()[0].tolist()
            raise InputError(
                f"gives NaN in unit {unit} for image {int(indices[row])}; check the weights, the preprocessing and the images."
            )
        payload: Tensor | None = None
        if self._settings.pool == "max":
            scores, payload = highest, where
        elif self._settings.pool == "mean":
            scores = mean
        else:
            scores = values.flatten(1) if place is None else values[..., place]
        for state in (self.top, self.lowest, self.sample):
            yield functools.partial(state.update, scores, indices.to(scores.device), payload)
        positive = (values > 0).sum(2)
        new = {
            "firing_images": (positive > 0).sum(0),
            "firing_positions": positive.sum(0),
            "firing_squares": positive.square().sum(0),
        }
        yield functools.partial(self._count, new, (values.amin(2).amin(0).to(highest.dtype), highest.amax(0)))
        yield functools.partial(self.later_pass, values)

    def later_pass(self, values: Tensor) -> None:
        """Take what quantiles need."""
        if self.quantiles is not None and not self.quantiles.finished:
            self.quantiles.update(values.movedim(1, 0))

    def merge(self, other: LayerState, later: bool = False) -> None:
        """Take the images of another state, which stays as it is; in a ``later`` pass, of what quantiles need alone."""
        if self.quantiles is not None and other.quantiles is not None:
            self.quantiles.merge(other.quantiles)
        if later or not other.counts or other.range is None:
            return
        for mine, theirs in ((self.top, other.top), (self.lowest, other.lowest)):
            mine.merge(theirs)
        self.sample.merge(other.sample)
        self._count(other.counts, other.range)

    def of_later_pass(self) -> LayerState:
        """A state for a part of the next pass: it knows where quantiles are looked for, and nothing else."""
        part = LayerState(self._settings)
        if not self._where:
            part.quantiles = None  # they are known
        elif part.quantiles is not None:
            part.quantiles.load_state_dict(self._where)
            part._where = self._where
        return part

    def end_pass(self) -> None:
        """Say that all images have come once."""
        if self.quantiles is not None and not self.quantiles.finished:
            self.quantiles.end_pass()
            self._where = {} if self.quantiles.finished else self.quantiles.state_dict()

    def state_dict(self) -> dict[str, Tensor]:
        """The state as tensors."""
        state = {f"counts.{name}": value.clone() for name, value in self.counts.items()}
        if self.range is not None:
            state |= {"range.0": self.range[0].clone(), "range.1": self.range[1].clone()}
        for name, inner in self._parts().items():
            state |= {f"{name}.{key}": value for key, value in inner.state_dict().items()}
        return state | {f"where.{key}": value.clone() for key, value in self._where.items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Become the state that :meth:`state_dict` described."""
        self.counts = {name: state[f"counts.{name}"].clone() for name in _COUNTS if f"counts.{name}" in state}
        self.range = (state["range.0"].clone(), state["range.1"].clone()) if "range.0" in state else None
        if "quantiles.q" not in state:
            self.quantiles = None
        for name, inner in self._parts().items():
            inner.load_state_dict(
                {key.removeprefix(f"{name}."): value for key, value in state.items() if key.startswith(f"{name}.")}
            )
        where = {key.removeprefix("where."): value for key, value in state.items() if key.startswith("where.")}
        self._where = {key: value.clone() for key, value in where.items()}

    def _parts(self) -> dict[str, Any]:
        parts: dict[str, Any] = {"top": self.top, "lowest": self.lowest, "sample": self.sample}
        return parts if self.quantiles is None else {**parts, "quantiles": self.quantiles}

    def _count(self, new: dict[str, Tensor], ends: tuple[Tensor, Tensor]) -> None:
        if self.range is None:
            counts = {name: value.clone() for name, value in new.items()}
            self.range, self.counts = (ends[0].clone(), ends[1].clone()), counts
            return
        device = self.range[0].device
        counts = {name: value + new[name].to(device) for name, value in self.counts.items()}
        low, high = (end.to(device) for end in ends)
        self.range, self.counts = (torch.minimum(self.range[0], low), torch.maximum(self.range[1], high)), counts


class ExampleState:
    """
    The examples of the units of some layers so far: a state that takes images, adds up with those of other images, and is put down and
    taken up again. :class:`TopExamples` makes it and gives it images.

    Attributes:
        settings (ExampleSettings): What the examples are of.
        layers (dict[str, tuple[int, ...]]): By name, how many positions there are along each axis.
        numbers (Tensor): Of the images so far, sorted.
        passes (int): How many passes have ended.
        finished (bool): Whether everything is known.
    """

    def __init__(self, settings: ExampleSettings) -> None:
        self.settings = settings
        self.layers: dict[str, tuple[int, ...]] = {}
        self.states: dict[str, LayerState] = {}
        self.image_shape: tuple[int, ...] = ()
        self.numbers = torch.empty(0, dtype=torch.int64)
        self.passes = 0

    @property
    def finished(self) -> bool:
        if not self.passes:
            return False
        return all(state.quantiles is None or state.quantiles.finished for state in self.states.values())

    def begin(self, layers: dict[str, tuple[int, ...]], image_shape: Sequence[int]) -> None:
        """
        Say which layers there are, before the first images come.

        Raises:
            ValueError: If there were others, or images of another size.
        """
        if not self.layers:
            self.layers, self.image_shape = dict(layers), tuple(image_shape)
            self.states = {name: LayerState(self.settings) for name in layers}
        elif (self.layers, self.image_shape) != (layers, tuple(image_shape)):
            raise InputError(
                f"the state is of {len(self.layers)} layers and images of shape {self.image_shape}, what comes of {len(layers)} layers and "
                f"{tuple(image_shape)}; give the same model, layers and size."
            )

    def take(self, numbers: Tensor) -> None:
        """
        Note which images come.

        Raises:
            ValueError: If one was there before.
        """
        if self.passes:
            return  # quantiles notice by themselves where other images come than before
        both, counts = torch.unique(torch.cat([self.numbers, numbers]), return_counts=True)
        if bool((counts > 1).any()):
            raise InputError(
                f"image {int(both[counts > 1][0])} comes twice; number the images of each part with first=, after those of the part before."
            )
        self.numbers = both

    def merge(self, other: ExampleState) -> None:
        """
        Take the images of another state, which stays as it is.

        Args:
            other (ExampleState): Of the same model, layers and settings, in the same pass, of other images.

        Raises:
            ValueError: If it is of other layers, settings or pass, or an image is in both.
        """
        if other.settings != self.settings or other.passes != self.passes:
            raise InputError(
                f"a state of {self.settings} after {self.passes} passes cannot take one of {other.settings} after {other.passes}."
            )
        if not other.layers:
            return
        self.begin(other.layers, other.image_shape)
        self.take(other.numbers)
        for name, state in self.states.items():
            state.merge(other.states[name], later=self.passes > 0)

    def end_pass(self) -> bool:
        """
        Say that all images have come once.

        Returns:
            bool: Whether everything is known. If not, give all images again, and end that pass.

        Raises:
            RuntimeError: If no images came.
        """
        if not self.layers:
            raise StateError("no images came; give the state some with TopExamples.update.")
        for state in self.states.values():
            state.end_pass()
        self.passes += 1
        return self.finished

    def part(self) -> ExampleState:
        """
        A state for a part of the images of the next pass, that knows where quantiles are looked for: to be merged into this one.
        """
        part = ExampleState(self.settings)
        if not self.passes:
            return part
        part.layers, part.image_shape, part.passes = dict(self.layers), self.image_shape, self.passes
        part.states = {name: state.of_later_pass() for name, state in self.states.items()}
        return part

    def gather(self) -> None:
        """
        Take the images of all processes of the default group of ``torch.distributed``: each ends up with the same state.

        Each had its own part of the images, numbered after those of the processes before. All call this together, before the pass ends.
        """
        first, *others = [ExampleState.restored(tensors) for tensors in gather_tensors(self.state_dict())]
        for other in others:
            first.merge(other)
        self.layers, self.image_shape, self.numbers, self.states = (
            first.layers,
            first.image_shape,
            first.numbers,
            first.states,
        )

    def to(self, device: torch.device) -> None:
        """Bring the state to a device, as to that of the activations to come; to the CPU, if it has no float64."""
        device = exact_device(device)
        for state in self.states.values():
            state.load_state_dict({name: value.to(device) for name, value in state.state_dict().items()})

    def save(self, path: str | os.PathLike[str], overwrite: bool = False) -> None:
        """
        Write the state to a safetensors file.

        Raises:
            FileExistsError: If the file exists and ``overwrite`` is False.
        """
        save_tensors(path, _KIND, self.state_dict(), {}, overwrite)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> ExampleState:
        """
        Read what :meth:`save` wrote, onto the CPU.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is damaged or holds something else.
        """
        tensors, _ = load_tensors(path, _KIND)
        with intact(path, _KIND):
            return cls.restored(tensors)

    def state_dict(self) -> dict[str, Tensor]:
        """The state as tensors."""
        described = {
            "settings": asdict(self.settings),
            "layers": self.layers,
            "image_shape": self.image_shape,
            "passes": self.passes,
        }
        tensors = {
            "described": torch.frombuffer(bytearray(json.dumps(described).encode()), dtype=torch.uint8),
            "numbers": self.numbers,
        }
        for number, state in enumerate(self.states.values()):
            tensors |= {f"{number}.{name}": value for name, value in state.state_dict().items()}
        return tensors

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Become the state that :meth:`state_dict` described."""
        vars(self).update(vars(ExampleState.restored(state)))

    @classmethod
    def restored(cls, tensors: dict[str, Tensor]) -> ExampleState:
        """The state that tensors describe."""
        described = json.loads(bytes(tensors["described"].tolist()))
        given = described["settings"]
        position = None if given["position"] is None else tuple(given["position"])
        state = cls(ExampleSettings(**{**given, "position": position, "quantiles": tuple(given["quantiles"])}))
        state.layers = {name: tuple(positions) for name, positions in described["layers"].items()}
        state.image_shape, state.passes = tuple(described["image_shape"]), described["passes"]
        state.numbers = tensors["numbers"].clone()
        for number, name in enumerate(state.layers):
            prefix = f"{number}."
            state.states[name] = LayerState(state.settings)
            state.states[name].load_state_dict(
                {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
            )
        return state


__all__ = ["ExampleSettings", "ExampleState", "LayerState"]
