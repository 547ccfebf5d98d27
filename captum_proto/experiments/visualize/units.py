"""Units of layers, as a command line names them, and the objectives that they are visualized by."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor

from captum_proto._utils.errors import InputError, MissingFileError
from captum_proto._utils.files import read_safetensors, tensor_sha256
from captum_proto._utils.model import borrowed, device_of
from captum_proto._utils.reading import read_array
from captum_proto.capture import LayerRecorder, find_output, select_layers
from captum_proto.experiments.visualize.page import stem_of
from captum_proto.models import NamedModel
from captum_proto.optim.loss import ChannelActivation, Direction, Loss, NeuronActivation, NeuronDirection

#: So many units are chosen where none are named.
FIRST = 12
_RANGE = re.compile(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?")


@dataclass(frozen=True)
class LayerUnits:
    """
    Units of one layer, or directions in the space of its channels.

    Args:
        layer (str): As :func:`~captum_proto.capture.capture` names it.
        channels (tuple[int, ...]): The units; empty where there are directions.
        width (int): How many channels the layer has.
        neuron (bool): Whether a unit is its channel's neuron at the middle position, instead of the mean over positions. Default: False
        directions (Tensor, optional): (N, C), in place of units. Default: None

    Raises:
        InputError: If the layer has no such unit, or directions of another length.

    Examples::

        >>> LayerUnits("layer3", (0, 4), width=8).labels
        ['unit 0', 'unit 4']
    """

    layer: str
    channels: tuple[int, ...]
    width: int
    neuron: bool = False
    directions: Tensor | None = None

    def __post_init__(self) -> None:
        if self.directions is not None:
            if self.directions.shape[1] != self.width:
                raise InputError(
                    f'directions have {self.directions.shape[1]} entries; expected {self.width}, one for each channel of "{self.layer}".'
                )
            return
        if not self.channels:
            raise InputError(f'there are no units of layer "{self.layer}" to visualize; name at least one.')
        if max(self.channels) >= self.width:
            raise InputError(
                f'unit {max(self.channels)} is out of range: layer "{self.layer}" has {self.width} units, 0 to {self.width - 1}.'
            )

    def __len__(self) -> int:
        return len(self.channels) if self.directions is None else len(self.directions)

    @property
    def labels(self) -> list[str]:
        """What each is called on a page."""
        if self.directions is not None:
            return [f"direction {row}" for row in range(len(self))]
        return [f"unit {channel}" for channel in self.channels]

    @property
    def stems(self) -> list[str]:
        """How the names of the files of each begin."""
        layer = stem_of(self.layer)
        kind, numbers = ("direction", range(len(self))) if self.directions is not None else ("unit", self.channels)
        return [f"{layer}_{kind}{number:04d}" for number in numbers]

    def loss(self) -> Loss:
        """What makes them active, a row each."""
        if self.directions is not None:
            return (NeuronDirection if self.neuron else Direction)(self.layer, self.directions)
        if self.neuron:
            return NeuronActivation(self.layer, self.channels)
        return ChannelActivation(self.layer, self.channels)

    def settings(self) -> dict[str, Any]:
        """What they are, as JSON can hold it."""
        which: dict[str, Any] = {"units": list(self.channels)}
        if self.directions is not None:
            which = {"directions": len(self), "sha256": tensor_sha256(self.directions)}
        return {"layer": self.layer, "neuron": self.neuron, **which}


def parse_units(text: str) -> tuple[int, ...]:
    """
    Numbers of units from what people write.

    Args:
        text (str): Such as "0-11,40".

    Returns:
        tuple[int, ...]: In the order given, each once.

    Raises:
        InputError: If it is something else.

    Examples::

        >>> parse_units("7,0-2,1")
        (7, 0, 1, 2)
    """
    numbers: list[int] = []
    for part in text.split(","):
        match = _RANGE.fullmatch(part)
        found = range(int(match[1]), int(match[2] or match[1]) + 1) if match else range(0)
        if not found:
            raise InputError(f'units is "{text}"; expected numbers and ranges of them, such as "0-11,40".')
        numbers += found
    return tuple(dict.fromkeys(numbers))


def chosen_layers(named: NamedModel, names: Sequence[str]) -> list[str]:
    """
    The layers that some names or patterns stand for.

    Raises:
        InputError: If there is no such layer, with the nearest name.
    """
    layers: list[str] = []
    for name in names:
        known = (
            "#" in name or "[" in name
        )  # one call of a layer, or a part of what it returns; in a pattern "[" opens a set
        try:
            layers += [find_output(named.model, name)[0]] if known else list(select_layers(named.model, name))
        except InputError:
            if "[" not in name:
                raise
            layers += list(select_layers(named.model, name))
    return list(dict.fromkeys(layers))


@torch.no_grad()
def channels_in(named: NamedModel, layers: Sequence[str]) -> dict[str, int]:
    """
    How many channels layers have, by one pass with a gray image.

    Raises:
        InputError: If one of them returns no values for each image, or does not run.
    """
    image = torch.full((1, *named.image_shape), 0.5, device=device_of(named.model))
    recorder = LayerRecorder(named.model, layers)
    found = {}
    with borrowed(named.model), recorder.recording():
        named.logits(image)
        taken = recorder.take(1)
    for layer in layers:
        axis = recorder.channel_axis(layer, taken[layer])
        if taken[layer].dim() < 2:
            raise InputError(f'layer "{layer}" returns {tuple(taken[layer].shape)}, which has no channels.')
        found[layer] = int(taken[layer].shape[axis])
    return found


def read_directions(path: Path) -> Tensor:
    """
    Directions from a file.

    Args:
        path (Path): .safetensors that holds one tensor, or .npy: (C,) or (N, C).

    Returns:
        Tensor: (N, C), float32.

    Raises:
        MissingFileError: If there is no such file.
        InputError: If it holds something else.
    """
    if not path.is_file():
        raise MissingFileError(f'there is no file "{path}"; give one that holds directions.')
    try:
        if path.suffix == ".npy":
            array = read_array(path)
            tensors = {"directions": torch.from_numpy(np.ascontiguousarray(array))}
        else:
            tensors, _ = read_safetensors(path)
    except (OSError, EOFError, ValueError, TypeError, SafetensorError) as error:
        raise InputError(f'"{path}" holds no directions ({error}); give a .safetensors or .npy file.') from error
    if len(tensors) != 1:
        raise InputError(f'"{path}" holds {len(tensors)} tensors; expected one, of shape (C,) or (N, C).')
    (values,) = tensors.values()
    values = values.unsqueeze(0) if values.dim() == 1 else values
    if values.dim() != 2 or not values.is_floating_point() or not bool(values.isfinite().all()):
        raise InputError(
            f'"{path}" holds a {values.dtype} tensor of shape {tuple(values.shape)}; expected finite floating point numbers (C,) or (N, C).'
        )
    return values.float()


__all__ = ["FIRST", "LayerUnits", "channels_in", "chosen_layers", "parse_units", "read_directions"]
