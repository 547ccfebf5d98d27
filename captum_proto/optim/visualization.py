"""Pictures of what an objective asks for: batches of an optimization with the settings of feature visualization."""

from __future__ import annotations

import contextlib
import functools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from captum_proto._utils.checks import check_int
from captum_proto._utils.errors import InputError
from captum_proto._utils.model import fingerprint
from captum_proto._utils.modes import in_plain_modes
from captum_proto._utils.targets import Target, occurrence_seeds
from captum_proto._utils.wrappers import unwrapped
from captum_proto.optim.input_optimization import InputOptimization
from captum_proto.optim.inputs import FFTImage
from captum_proto.optim.loss.objective import Loss
from captum_proto.optim.memory import RowHalving, try_one_row
from captum_proto.optim.result import Callback, OptimizationResult
from captum_proto.optim.settings import OptimizationSettings
from captum_proto.optim.transforms import feature_visualization_transform
from captum_proto.optim.visualizations import Visualizations
from captum_proto.runs.snapshots import Snapshot

#: In how many first steps a unit that is off is turned on, as in Lucid.
REDIRECT_STEPS = 16


def visualization_settings(image_shape: Sequence[int], **choices: Any) -> OptimizationSettings:
    """
    The settings of feature visualization for images of a size.

    Args:
        image_shape (sequence of int): (C, H, W): the frame and the shifts of the transform go with the shorter side.
        **choices: Fields of :class:`OptimizationSettings` that differ.

    Raises:
        TypeError, ValueError: If a choice is out of its range.

    Examples::

        >>> settings = visualization_settings((3, 224, 224), steps=64)
        >>> settings.steps, settings.lr, settings.parametrization
        (64, 0.05, FFTImage(decay_power=1, sd=0.01, decorrelate=True))
    """
    defaults: dict[str, Any] = {
        "parametrization": FFTImage(),
        "transform": feature_visualization_transform(min(image_shape[-2:])),
        "redirect_relu_steps": REDIRECT_STEPS,
    }
    return OptimizationSettings(**{**defaults, **choices})


@in_plain_modes
def visualize(
    forward_func: Callable[..., Any],
    loss: Loss,
    image_shape: tuple[int, int, int],
    preprocess: Callable[[Tensor], Tensor] | None = None,
    *,
    seed: int | Sequence[int] = 0,
    count: int | None = None,
    start: Tensor | None = None,
    attempts: int = 1,
    batch_size: int = 16,
    callback: Callback | None = None,
    snapshot_steps: Iterable[int] = (),
    show_progress: bool = False,
    snapshot: Snapshot | None = None,
    **choices: Any,
) -> Visualizations:
    """
    Pictures that minimize a loss, as feature visualization makes them: Fourier coefficients, under random shifts, turns and scalings.

    The settings are those of Olah, Mordvintsev and Schubert, "Feature Visualization" (Distill 2017), with Lucid's values. Unlike Lucid, a
    batch is of as many units as the loss has rows, and each picture is what it would be alone.

    Args:
        forward_func (Callable): The model, as in :class:`InputOptimization`.
        loss (Loss): One row for each picture: ``ChannelActivation("layer3", range(64))``.
        image_shape (tuple[int, int, int]): (C, H, W) of a picture.
        preprocess (Callable, optional): From pictures in their range to what the model takes. Default: None
        seed (int or sequence of int, optional): The first seed of each target, or one for each row. Default: 0
        count (int, optional): How many rows, where the loss does not tell. Default: None, 1
        start (Tensor, optional): Images (N, C, H, W) to begin with in place of noise; attempts then differ by the transform alone.
            Default: None
        attempts (int, optional): How often each picture is tried, from different seeds; the one with the greatest activation is kept.
            Default: 1
        batch_size (int, optional): How many at a time. Default: 16
        callback (Callable, optional): Called with a :class:`Step` after each step of each batch, attempt after attempt; returning True ends
            it all, and what there is comes back. Default: None
        snapshot_steps (iterable of int, optional): Keep the pictures after so many steps as well. Default: ()
        show_progress (bool, optional): Whether to show a progress bar. Default: False
        snapshot (Snapshot, optional): Where to keep the state of the optimization until this call returns: after the process was killed,
            the same call goes on from there, and makes the same pictures. Default: None
        **choices: Fields of :class:`OptimizationSettings` that differ from feature visualization's: 512 steps, lr 0.05, :class:`FFTImage`,
            :func:`feature_visualization_transform`, and redirected activation functions in the first 16 steps.

    Returns:
        Visualizations: In the loss's order.

    Raises:
        TypeError, ValueError: As :class:`InputOptimization` does, or if an argument is out of its range.

    Examples::

        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 5), torch.nn.ReLU())
        >>> pictures = visualize(model, ChannelActivation("0", [2, 5]), (3, 32, 32), steps=4, attempts=2)
        >>> pictures.images.shape, pictures.activations.shape, pictures.attempts.shape
        (torch.Size([2, 3, 32, 32]), torch.Size([2]), torch.Size([2, 2]))
    """
    size, tries = check_int(batch_size, "batch_size", 1), check_int(attempts, "attempts", 1)
    settings = visualization_settings(image_shape, **choices)
    targets = _targets(loss, count, start)
    loss.check_batches(targets, size)
    seeds = occurrence_seeds(targets, seed)
    repeats = Counter(targets)
    steps = [*snapshot_steps]
    parts: list[Visualizations] = []
    total = len(targets) * (settings.steps + settings.warmup_steps) * tries
    with (
        contextlib.nullcontext() if snapshot is None else snapshot.used(),
        tqdm(total=total, desc="pictures", unit="step", disable=not show_progress) as progress,
    ):

        def made(rows: range) -> tuple[Visualizations, OptimizationResult]:
            """The best pictures of some rows, and the last attempt's."""
            part = loss.rows(rows)
            optimization = InputOptimization(forward_func, part, preprocess, settings)
            best: Visualizations | None = None
            for attempt in range(tries):
                # Beyond the seeds that other rows of the same unit begin with.
                tried = [seeds[row] + attempt * repeats[targets[row]] for row in rows]
                result = optimization.optimize(
                    tuple(image_shape),
                    start=None if start is None else start[rows.start : rows.stop],
                    count=None if start is not None else len(rows),
                    seed=tried,
                    numbers=rows,
                    callback=callback,
                    snapshot_steps=steps,
                    progress=progress,
                )
                made = _finished(optimization, part, result, tried, targets[rows.start : rows.stop])
                best = made if best is None else best.better_of(made)
                if result.stopped:
                    break
            assert best is not None  # there is at least one attempt
            return best, result

        halving = RowHalving(forward_func, loss, targets, progress, "picture")
        try_one = functools.partial(
            try_one_row, forward_func, loss, preprocess, settings, (), tuple(image_shape), len(targets)
        )
        for begin in range(0, len(targets), size):
            for best, result in halving.batch(range(begin, min(begin + size, len(targets))), made, try_one):
                parts.append(best)
                if result.stopped:
                    break
            if result.stopped:
                break
    if snapshot is not None:
        snapshot.clear()
    pictures = Visualizations.concatenate(parts)
    pictures.settings = {
        "loss": loss.settings(),
        "image_shape": list(image_shape),
        "start": "noise" if start is None else "given images",
        "attempts": tries,
        **settings.to_json(),
        "model": type(unwrapped(forward_func)).__name__,
        "model_fingerprint": fingerprint(forward_func) if isinstance(forward_func, torch.nn.Module) else None,
        "network": result.network_settings(),
        "stopped_by_callback": result.stopped,
    }
    return pictures


def _targets(loss: Loss, count: int | None, start: Tensor | None) -> list[Target]:
    """What each row is of."""
    given = None if count is None else check_int(count, "count", 1)
    if loss.targets is not None:
        given = len(loss.targets) if given is None else given
        if given != len(loss.targets):
            raise InputError(f"count is {count}, but the loss has {len(loss.targets)} rows; leave count out.")
    rows = len(start) if given is None and start is not None else given or 1
    if start is not None and len(start) != rows:
        raise InputError(f"start holds {len(start)} images for {rows} pictures; give one for each.")
    return [()] * rows if loss.targets is None else loss.targets


def _finished(
    optimization: InputOptimization, loss: Loss, result: OptimizationResult, seeds: list[int], targets: list[Target]
) -> Visualizations:
    """A finished batch, with its activations as the model as it came has them."""
    (outputs,) = optimization.outputs(result)
    with torch.no_grad():
        values = -loss(outputs, result.images).float().cpu()
    return Visualizations(
        result.images, values, seeds, targets=targets, history=result.history, snapshots=result.snapshots
    )


__all__ = ["visualization_settings", "visualize"]
