"""What synthetic stimuli and turned examples make of the units of a layer: measured once for all units, for the checks to read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms

from captum_proto._utils.files import load_tensors, save_tensors
from captum_proto.circuits import Tuning, TuningCurve
from captum_proto.models import NamedModel

#: How stimuli look: outlines and filled shapes, light or dark on gray.
APPEARANCES: Mapping[str, dict[str, Any]] = {
    "light lines": {"style": "line", "foreground": 1.0, "background": 0.5},
    "dark lines": {"style": "line", "foreground": 0.0, "background": 0.5},
    "light shapes": {"style": "fill", "foreground": 1.0, "background": 0.5},
    "dark shapes": {"style": "fill", "foreground": 0.0, "background": 0.5},
}
#: Degrees from one orientation to the next, and how many images of noise are the control.
STEP, NOISE = 15, 32
_KIND = "responses to noise"
_SHAPES = ("curve", "straight", "corner")


@dataclass(frozen=True)
class StimulusResponses:
    """
    What all units of a layer make of curves, straight lines or edges, sharp corners, borders of frequencies, and noise.

    Attributes:
        shapes (dict[tuple[str, str], Tuning]): By shape ("curve", "straight", "corner") and appearance.
        frequencies (Tuning): To borders between fine and coarse patterns.
        noise (Tensor): (U,), the greatest response to images of noise.
    """

    shapes: dict[tuple[str, str], Tuning]
    frequencies: Tuning
    noise: Tensor

    def best(self, unit: int) -> tuple[str, Tuning]:
        """The appearance whose curves raise a unit most, and its tuning."""
        each = {name: self.shapes["curve", name].of(unit) for name in APPEARANCES}
        name = max(each, key=lambda appearance: float(each[appearance].peak[0]))
        return name, each[name]

    def save(self, folder: Path) -> None:
        """Write all into a folder."""
        for (shape, appearance), tuning in self.shapes.items():
            tuning.save(folder / f"{shape} of {appearance}.safetensors", overwrite=True)
        self.frequencies.save(folder / "frequencies.safetensors", overwrite=True)
        save_tensors(folder / "noise.safetensors", _KIND, {"noise": self.noise}, {}, overwrite=True)

    @classmethod
    def load(cls, folder: Path) -> StimulusResponses:
        """Read what :meth:`save` wrote."""
        shapes = {
            (shape, name): Tuning.load(folder / f"{shape} of {name}.safetensors")
            for shape in _SHAPES
            for name in APPEARANCES
        }
        noise = load_tensors(folder / "noise.safetensors", _KIND)[0]["noise"]
        return cls(shapes, Tuning.load(folder / "frequencies.safetensors"), noise)


def stimulus_responses(
    named: NamedModel, layer: str, radii: Sequence[float], width: float, batch_size: int
) -> StimulusResponses:
    """Show all stimuli to a layer."""
    probe = TuningCurve(named, layer, batch_size=batch_size)
    shapes: dict[tuple[str, str], Tuning] = {}
    for name, how in APPEARANCES.items():
        style = {"width": width, **how}
        shapes["curve", name] = probe.orientation("curve", radii=radii, **style)
        shapes["corner", name] = probe.orientation("corner", **style)
        shapes["straight", name] = straight_tuning(probe, name, width)
    frequencies = probe.orientation("high_low_frequency", period=max(2.0, probe.size / 32))
    return StimulusResponses(shapes, frequencies, probe.responses(noise_images(probe.size)).amax(0))


def straight_tuning(probe: TuningCurve, appearance: str, width: float) -> Tuning:
    """The responses to lines, or of shapes that are filled to edges."""
    how = dict(APPEARANCES[appearance])
    if how.pop("style") == "line":
        return probe.orientation("line", width=width, **how)
    return probe.orientation("edge", **how)


def noise_images(size: int, seed: int = 0) -> Tensor:
    """Images of noise, half of them of single pixels and half of blots of an eighth of the side."""
    generator = torch.Generator().manual_seed(seed)
    fine = torch.rand(NOISE // 2, 3, size, size, generator=generator)
    small = torch.rand(NOISE - NOISE // 2, 3, 8, 8, generator=generator)
    coarse = torch.nn.functional.interpolate(small, size=(size, size), mode="bicubic").clamp(0, 1)
    return torch.cat([fine, coarse])


def turned_examples(crops: Sequence[Tensor], size: int, angles: Sequence[float]) -> Tensor:
    """
    Parts of images, turned about their middles, each in a disk that fades into its mean color.

    Args:
        crops (sequence of Tensor): (C, h, w) each.
        size (int): Of the images that are made.
        angles (sequence of float): In degrees, counterclockwise.

    Returns:
        Tensor: (N, A, C, size, size).
    """
    made = []
    for crop in crops:
        crop = transforms.center_crop(crop, [min(crop.shape[1], size), min(crop.shape[2], size)])
        color = crop.mean((1, 2))
        canvas = color.view(-1, 1, 1).expand(-1, size, size).clone()
        top, left = (size - crop.shape[1]) // 2, (size - crop.shape[2]) // 2
        canvas[:, top : top + crop.shape[1], left : left + crop.shape[2]] = crop
        place = torch.arange(size) - size / 2 + 0.5
        far = (place.square().view(-1, 1) + place.square().view(1, -1)).sqrt()
        radius = max(2.0, max(crop.shape[1:]) / 2)
        disk = ((radius - far) / max(1.0, radius / 8) + 0.5).clamp(0, 1)
        each = [
            transforms.rotate(
                canvas, float(angle), interpolation=transforms.InterpolationMode.BILINEAR, fill=color.tolist()
            )
            for angle in angles
        ]
        made.append(color.view(-1, 1, 1) + (torch.stack(each) - color.view(-1, 1, 1)) * disk)
    return torch.stack(made)


__all__ = [
    "APPEARANCES",
    "STEP",
    "StimulusResponses",
    "noise_images",
    "stimulus_responses",
    "straight_tuning",
    "turned_examples",
]
