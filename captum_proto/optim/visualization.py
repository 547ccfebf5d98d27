"""Pictures of what an objective asks for: batches of an optimization with the settings of feature visualization."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from captum_proto._utils.checks import check_int
from captum_proto._utils.files import alike, intact, load_tensors, save_tensors
from captum_proto._utils.targets import Target, occurrence_seeds
from captum_proto.optim.input_optimization import InputOptimization
from captum_proto.optim.inputs import FFTImage
from captum_proto.optim.loss.objective import Loss
from captum_proto.optim.settings import OptimizationSettings
from captum_proto.optim.transforms import feature_visualization_transform

#: In how many first steps a unit that is off is turned on, as in Lucid.
REDIRECT_STEPS = 16


@dataclass
class Visualizations:
    """
    Pictures of what units or directions respond to, with how much they do.

    Attributes:
        images (Tensor): (N, C, H, W), in the input range, before preprocessing.
        activations (Tensor): (N,), the objective that was maximized, of each picture as it is, without the transform.
        seeds (list[int]): Of each picture.
        settings (dict): The objective and every choice, as JSON can hold it.
    """

    images: Tensor
    activations: Tensor
    seeds: list[int]
    settings: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.images)

    def save(self, path: str | os.PathLike[str], overwrite: bool = False) -> None:
        """
        Write everything to one safetensors file.

        Raises:
            FileExistsError: If the file exists and ``overwrite`` is False.
        """
        tensors = {"images": self.images, "activations": self.activations}
        save_tensors(path, "visualizations", tensors, {"seeds": self.seeds, "settings": self.settings}, overwrite)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Visualizations:
        """
        Read what :meth:`save` wrote, onto the CPU.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is damaged or holds something else.
        """
        tensors, metadata = load_tensors(path, "visualizations")
        with intact(path, "visualizations file"):
            loaded = cls(tensors["images"], tensors["activations"], list(metadata["seeds"]), dict(metadata["settings"]))
            alike("visualizations", len(loaded.images), len(loaded.activations), len(loaded.seeds))
        return loaded


def visualize(
    forward_func: Callable[..., Any],
    loss: Loss,
    image_shape: tuple[int, int, int],
    preprocess: Callable[[Tensor], Tensor] | None = None,
    *,
    seed: int | Sequence[int] = 0,
    count: int | None = None,
    batch_size: int = 16,
    show_progress: bool = False,
    **choices: Any,
) -> Visualizations:
    """
    Pictures that minimize a loss, as feature visualization makes them: Fourier coefficients, under random shifts, turns and scalings.

    Args:
        forward_func (Callable): The model, as in :class:`InputOptimization`.
        loss (Loss): One row for each picture: ``ChannelActivation("layer3", range(64))``.
        image_shape (tuple[int, int, int]): (C, H, W) of a picture.
        preprocess (Callable, optional): From pictures in their range to what the model takes. Default: None
        seed (int or sequence of int, optional): The first seed of each target, or one for each row. Default: 0
        count (int, optional): How many rows, where the loss does not tell. Default: None, 1
        batch_size (int, optional): How many at a time. Default: 16
        show_progress (bool, optional): Whether to show a progress bar. Default: False
        **choices: Fields of :class:`OptimizationSettings` that differ from feature visualization's: 512 steps, lr 0.05, :class:`FFTImage`,
            :func:`feature_visualization_transform`, and redirected activation functions in the first 16 steps.

    Returns:
        Visualizations: In the loss's order.

    Examples::

        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 5), torch.nn.ReLU())
        >>> pictures = visualize(model, ChannelActivation("0", [2, 5]), (3, 32, 32), steps=4)
        >>> pictures.images.shape, pictures.activations.shape
        (torch.Size([2, 3, 32, 32]), torch.Size([2]))
    """
    size = check_int(batch_size, "batch_size", 1)
    defaults: dict[str, Any] = {
        "parametrization": FFTImage(),
        "transform": feature_visualization_transform(min(image_shape[-2:])),
        "redirect_relu_steps": REDIRECT_STEPS,
    }
    settings = OptimizationSettings(**{**defaults, **choices})
    targets: list[Target] = [()] * (count or 1) if loss.targets is None else loss.targets
    loss.check_batches(targets, size)
    seeds = occurrence_seeds(targets, seed)
    images, values = [], []
    total = len(targets) * (settings.steps + settings.warmup_steps)
    with tqdm(total=total, desc="pictures", unit="step", disable=not show_progress) as progress:
        for begin in range(0, len(targets), size):
            rows = range(begin, min(begin + size, len(targets)))
            part = loss.rows(rows)
            optimization = InputOptimization(forward_func, part, preprocess, settings)
            result = optimization.optimize(
                image_shape, count=len(rows), seed=seeds[rows.start : rows.stop], numbers=rows, progress=progress
            )
            (outputs,) = optimization.outputs(result)
            with torch.no_grad():
                values.append(-part(outputs, result.images).float().cpu())
            images.append(result.images)
    recorded = {"loss": loss.settings(), **settings.to_json()}
    return Visualizations(torch.cat(images), torch.cat(values), seeds, recorded)


__all__ = ["Visualizations", "visualize"]
