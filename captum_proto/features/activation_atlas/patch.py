"""The patch that an atlas suggests, tried on natural images: how many it turns into another class, and how many a control does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from captum_proto._utils.batches import Images, image_batches
from captum_proto._utils.checks import check_int, check_logits, nearest
from captum_proto._utils.errors import InputError
from captum_proto._utils.halving import Halving
from captum_proto._utils.model import borrowed
from captum_proto._utils.pipeline import Pipeline
from captum_proto._utils.targets import Target
from captum_proto.stats.intervals import Estimate, proportion

CORNERS = ("top left", "top right", "bottom left", "bottom right")
#: What the suggested patch is compared with: pictures of other cells, and its own pixels in a random order.
CONTROLS = ("other cells", "shuffled pixels")


@dataclass
class PatchTrial:
    """
    What one patch did.

    Attributes:
        name (str): "suggested", or that of a control.
        flips (list[bool]): Of each image and place: whether the model then takes it for the other class.
        away (list[bool]): Whether the model no longer takes it for its class, whatever for.
    """

    name: str
    flips: list[bool]
    away: list[bool]

    @property
    def estimate(self) -> Estimate:
        """The share of flips, with Wilson's interval."""
        return proportion(sum(self.flips), len(self.flips))

    @property
    def estimate_away(self) -> Estimate:
        """The share of those that are no longer taken for their class, with Wilson's interval."""
        return proportion(sum(self.away), len(self.away))


@dataclass
class PatchResult:
    """
    What a patch from an atlas does to natural images, beside its controls.

    Attributes:
        cell (int): Which of the drawn cells the patch is of.
        favor (float): By how much more the cell speaks for the other class.
        patch (Tensor): (C, h, w), as it was pasted.
        trials (list[PatchTrial]): The suggested patch, then the controls, all on the same images.
        settings (dict): The classes, the size, the corners, and how many images there were.
    """

    cell: int
    favor: float
    patch: Tensor
    trials: list[PatchTrial]
    settings: dict[str, Any] = field(default_factory=dict)

    def trial(self, name: str) -> PatchTrial:
        """
        The trial of a name.

        Raises:
            ValueError: If there is none.
        """
        for trial in self.trials:
            if trial.name == name:
                return trial
        names = [trial.name for trial in self.trials]
        raise InputError(f'there is no trial "{name}"{nearest(name, names) or "; there are " + ", ".join(names) + "."}')

    def to_json(self) -> dict[str, Any]:
        """Everything but the patch itself, as JSON can hold it."""
        trials = [{"name": trial.name, "flips": trial.flips, "away": trial.away} for trial in self.trials]
        return {"cell": self.cell, "favor": self.favor, "trials": trials, "settings": self.settings}


def paste(images: Tensor, patch: Tensor, corner: str) -> Tensor:
    """Images (N, C, H, W) with a patch (C, h, w) in a corner."""
    height, width = patch.shape[1:]
    rows = slice(0, height) if corner.startswith("top") else slice(images.shape[2] - height, None)
    columns = slice(0, width) if corner.endswith("left") else slice(images.shape[3] - width, None)
    pasted = images.clone()
    pasted[:, :, rows, columns] = patch
    return pasted


def try_patch(
    forward_func: Callable[..., Any],
    images: Images,
    icons: Tensor,
    favors: Tensor,
    target: Target,
    against: Target,
    preprocess: Callable[[Tensor], Tensor] | None = None,
    *,
    size: float = 0.4,
    corners: Sequence[str] = ("bottom right",),
    most: int = 500,
    controls: int = 10,
    seed: int = 0,
    batch_size: int = 32,
    value_range: tuple[float, float] = (0.0, 1.0),
) -> PatchResult:
    """
    Paste the picture of the cell that most favors one class into images of another, and count how many change their class.

    The images that count are those that the model, unpatched, takes for ``target``, whatever they are labeled: the question is whether
    the patch moves the model. Controls are tried on the same images, of the same size, in the same corners.

    Args:
        forward_func (Callable): The model; it returns logits (N, K).
        images (Tensor or iterable): Natural images, (N, C, H, W) or batches.
        icons (Tensor): (M, C, h, w): pictures of cells.
        favors (Tensor): (M,): how much more each cell speaks for ``against`` than for ``target``.
        target, against (tuple[int, ...]): The classes.
        preprocess (Callable, optional): From images in their range to what the model takes. Default: None
        size (float, optional): The patch's side over the image's shorter one, more than 0 and at most 1. Default: 0.4
        corners (sequence of str, optional): Where: "top left", "top right", "bottom left", "bottom right"; of several, each image is
            tried with each. Default: ("bottom right",)
        most (int, optional): At most so many images. Default: 500
        controls (int, optional): Patches of each control: pictures of so many other cells, drawn at random, and so many random orders of
            the patch's own pixels. Default: 10
        seed (int, optional): Of the controls. Default: 0
        batch_size (int, optional): Images at a time. Default: 32
        value_range (tuple[float, float], optional): The range of the images' values. Default: (0, 1)

    Returns:
        PatchResult: The share of flips by the suggested patch and by each control.

    Raises:
        ValueError: If a choice is out of its range, there is one cell alone, or the model takes no image for ``target``.
    """
    if not 0 < size <= 1:
        raise InputError(f"size is {size}; expected more than 0 and at most 1: the patch's side over the image's.")
    for corner in corners:
        if corner not in CORNERS:
            raise InputError(
                f'corner is "{corner}"{nearest(str(corner), CORNERS)}; expected one of {", ".join(CORNERS)}.'
            )
    if not corners or len(icons) < 2:
        raise InputError(
            f"there are {len(corners)} corners and {len(icons)} cells; expected at least one corner and two cells."
        )
    pipeline = Pipeline(forward_func, preprocess)
    own = _taken_for(pipeline, images, target, check_int(most, "most", 1), batch_size, value_range)
    side = max(1, round(size * min(own.shape[2:])))
    patches = interpolate(icons.to(own), (side, side), mode="bilinear", antialias=True, align_corners=False)
    patches = patches.clamp(*value_range)
    chosen = int(favors.argmax())
    generator, count = torch.Generator().manual_seed(seed), check_int(controls, "controls", 1)
    others = torch.tensor([row for row in range(len(icons)) if row != chosen])
    drawn = patches[others[torch.randperm(len(others), generator=generator)[:count]]]
    orders = [torch.randperm(side * side, generator=generator).to(own.device) for _ in range(count)]
    shuffled = torch.stack([patches[chosen].flatten(1)[:, order].view(-1, side, side) for order in orders])
    groups = {"suggested": patches[chosen : chosen + 1], CONTROLS[0]: drawn, CONTROLS[1]: shuffled}
    trials = [
        _trial(pipeline, name, own, group, corners, target, against, batch_size) for name, group in groups.items()
    ]
    settings = {
        "target": list(target),
        "against": list(against),
        "size": size,
        "corners": list(corners),
        "images": len(own),
        "patches": {name: len(group) for name, group in groups.items()},
        "seed": seed,
    }
    return PatchResult(chosen, float(favors[chosen]), patches[chosen].cpu(), trials, settings)


def _taken_for(
    pipeline: Pipeline,
    images: Images,
    target: Target,
    most: int,
    batch_size: int,
    value_range: tuple[float, float],
) -> Tensor:
    """The images that the model takes for a class, on its device."""
    found: list[Tensor] = []
    looked_at = 0
    for batch in image_batches(images, check_int(batch_size, "batch_size", 1), value_range, "images"):
        batch = batch.to(pipeline.device, pipeline.image_dtype)
        found.append(batch[_is_in(_predicted(pipeline, batch), target)])
        looked_at += len(batch)
        if sum(map(len, found)) >= most:
            break
    own = torch.cat(found)[:most]
    if not len(own):
        raise InputError(
            f"the model takes none of the {looked_at} images for {target[0] if len(target) == 1 else list(target)}; a patch can be tried "
            "only on images of that class: give some."
        )
    return own


def _trial(
    pipeline: Pipeline,
    name: str,
    images: Tensor,
    patches: Tensor,
    corners: Sequence[str],
    target: Target,
    against: Target,
    batch_size: int,
) -> PatchTrial:
    flips: list[bool] = []
    away: list[bool] = []
    for patch in patches:
        for corner in corners:
            for batch in torch.split(images, batch_size):
                predicted = _predicted(pipeline, paste(batch, patch, corner))
                flips += _is_in(predicted, against).tolist()
                away += (~_is_in(predicted, target)).tolist()
    return PatchTrial(name, flips, away)


def _predicted(pipeline: Pipeline, images: Tensor) -> Tensor:
    def work(rows: slice) -> Tensor:
        part = images[rows]
        with torch.no_grad(), borrowed(pipeline.forward_func):
            return check_logits(pipeline(part), len(part)).argmax(1)

    return torch.cat(Halving(pipeline.device).whole(len(images), work))


def _is_in(predicted: Tensor, classes: Target) -> Tensor:
    return torch.isin(predicted, torch.tensor(classes, device=predicted.device))


__all__ = ["CONTROLS", "CORNERS", "PatchResult", "PatchTrial", "paste", "try_patch"]
