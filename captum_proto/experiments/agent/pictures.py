"""Pictures of an agent's features and episodes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from captum_proto._utils.files import whole_file
from captum_proto.experiments.agent.observe import Episode, Observations
from captum_proto.report.figures import save_figure, sized
from captum_proto.runs.files import write_json

#: What the file that lists pictures says it is.
PICTURES_KIND = "pictures of features"
#: Observations of each feature, and how large they are drawn.
SHOWN, SIDE = 8, 128
#: Frames of an episode that are drawn above its curves.
_FRAMES = 9
#: Told apart by those who see no red or no green, and by their lines.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F", "#000000")
_LINES = ("-", "--", "-.", ":")


def draw_features(seen: Observations, values: Tensor, folder: Path) -> None:
    """
    For each feature the observations, of different levels, in which it counts most: as they are, and where it counts for and against.

    Args:
        seen (Observations): N.
        values (Tensor): (N, K, h, w), contributions.
        folder (Path): Where the strips and ``pictures.json`` go.
    """
    written = []
    for feature in range(values.shape[1]):
        sizes = values[:, feature].abs().flatten(1).amax(1)
        rows: list[int] = []
        for row in sizes.argsort(descending=True).tolist():
            if int(seen.levels[row]) not in {int(seen.levels[other]) for other in rows} and len(rows) < SHOWN:
                rows.append(row)
        frames = [seen.frames[row].numpy() for row in rows]
        maps = interpolate(values[rows, feature, None], frames[0].shape[:2], mode="bilinear", align_corners=False)
        scale = float(values[rows, feature].abs().max()) or 1.0
        strips = {
            "seen": [sized(frame, SIDE) for frame in frames],
            "counts": [sized(colored(frame, each[0] / scale), SIDE) for frame, each in zip(frames, maps, strict=True)],
        }
        names = {}
        for name, pictures in strips.items():
            names[name] = f"feature_{feature}_{name}.png"
            with whole_file(folder / names[name], overwrite=True) as temporary:
                Image.fromarray(np.concatenate(pictures, 1)).save(temporary, format="PNG")
        written.append({**names, "contributions": values[rows, feature].sum((1, 2)).tolist()})
    write_json(folder / "pictures.json", {"kind": PICTURES_KIND, "features": written}, overwrite=True)


def colored(frame: np.ndarray, strength: Tensor) -> np.ndarray:
    """
    A gray frame with orange where something counts for, and blue where it counts against.

    Args:
        frame (numpy.ndarray): (H, W, 3), from 0 to 255.
        strength (Tensor): (H, W), from -1 to 1.
    """
    gray = frame.astype(np.float64).mean(2, keepdims=True) * 0.55 + 60
    colors = np.where(strength.numpy()[..., None] >= 0, (255.0, 140.0, 0.0), (30.0, 110.0, 255.0))
    share = strength.abs().clamp(0, 1).sqrt().numpy()[..., None]  # weak contributions are to be seen, too
    return np.asarray((gray * (1 - share) + colors * share).clip(0, 255), dtype=np.uint8)


def draw_episode(episode: Episode, contributions: Tensor, names: Sequence[str], path: Path) -> None:
    """
    An episode: frames, the value beneath them, and what the strongest features contribute to it.

    Args:
        episode (Episode): T steps.
        contributions (Tensor): (T, K).
        names (sequence of str): Of the features; empty for those that are about no object.
        path (Path): PNG to write.
    """
    steps = len(episode.values)
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    grid = figure.add_gridspec(3, _FRAMES, height_ratios=(1.25, 1, 1.5))
    times = np.unique(np.linspace(0, steps - 1, _FRAMES).round().astype(int))
    for column, step in enumerate(times):
        axes = figure.add_subplot(grid[0, column])
        axes.imshow(episode.frames[step].numpy(), interpolation="nearest")
        axes.set_title(f"step {step}", fontsize="small")
        axes.axis("off")
    value = figure.add_subplot(grid[1, :])
    value.plot(episode.values.numpy(), color="black", linewidth=1.2)
    value.set_ylabel("value")
    value.tick_params(labelbottom=False)
    parts = figure.add_subplot(grid[2, :], sharex=value)
    strongest = contributions.abs().mean(0).argsort(descending=True)[: len(_COLORS)].tolist()
    for place, feature in enumerate(strongest):
        label = f"feature {feature}" + (f": {names[feature].replace('_', ' ')}" if names[feature] else "")
        parts.plot(
            contributions[:, feature].numpy(),
            label=label,
            color=_COLORS[place],
            linestyle=_LINES[place % len(_LINES)],
            linewidth=1.1,
        )
    parts.axhline(0, color="#999999", linewidth=0.6)
    parts.set_ylabel("contribution")
    parts.set_xlabel("step")
    parts.legend(fontsize="x-small", ncols=4, frameon=False, loc="upper left")
    low, high = parts.get_ylim()
    parts.set_ylim(low, high + 0.45 * (high - low))  # room for the legend
    for axes in (value, parts):
        axes.set_xlim(0, max(1, steps - 1))
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    save_figure(figure, path, overwrite=True)


__all__ = ["PICTURES_KIND", "SHOWN", "colored", "draw_episode", "draw_features"]
