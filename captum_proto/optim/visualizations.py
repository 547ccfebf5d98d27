"""Pictures of what units or directions respond to, with how much they do and how the pictures came about."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from captum_proto._utils.checks import as_int, type_name
from captum_proto._utils.errors import InputError, InputTypeError
from captum_proto._utils.files import alike, intact, load_tensors, save_tensors
from captum_proto._utils.targets import Target
from captum_proto.optim.result import ZERO_GRADIENT

_KIND, _HISTORY, _SNAPSHOTS, _ATTEMPTS = "visualizations", "history.", "snapshots.", "attempts"
#: How far the mean of a map that stays as it is may vary from step to step, as a share of its size, in float32.
_ROUNDING = 1e-5


@dataclass
class Visualizations:
    """
    Pictures of what units or directions respond to, with how much they do.

    Attributes:
        images (Tensor): (N, C, H, W), in the input range, before preprocessing.
        activations (Tensor): (N,), the objective that was maximized, of each picture as it is, without the transform.
        seeds (list[int]): Of each picture; where there were several attempts, of the best.
        settings (dict): The objective and every choice, as JSON can hold it.
        targets (list[tuple[int, ...]]): What each is of, as the loss has it: (channel,) for a channel; () where the loss is the
            same for all.
        history (dict[str, Tensor]): One value for each step and picture, before the step's update: "loss", and what losses record,
            such as "activation", each (S, N) and under the transform. NaN where a callback ended a batch earlier than others.
        snapshots (dict[int, Tensor]): Pictures after so many steps, (N, C, H, W) each.
        attempts (Tensor, optional): (N, A), ``activations`` of every attempt, in the order in which they were made. Default: None

    Examples::

        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 5), torch.nn.ReLU())
        >>> pictures = visualize(model, ChannelActivation("0", [2, 5, 7]), (3, 32, 32), steps=4)
        >>> pictures.of([2, 0]).targets, pictures.history["activation"].shape
        ([(7,), (2,)], torch.Size([4, 3]))
    """

    images: Tensor
    activations: Tensor
    seeds: list[int]
    settings: dict[str, Any] = field(default_factory=dict)
    targets: list[Target] = field(default_factory=list)
    history: dict[str, Tensor] = field(default_factory=dict)
    snapshots: dict[int, Tensor] = field(default_factory=dict)
    attempts: Tensor | None = None

    def __len__(self) -> int:
        return len(self.images)

    @property
    def responds(self) -> Tensor:
        """
        (N,), bool: whether a unit responded to anything. False where the model had no gradient for a picture in any step, and where the
        activation was the same in all of two or more steps but for rounding, as that of a unit is that never fires: the picture then
        shows nothing.
        """
        responds = torch.ones(len(self), dtype=torch.bool)
        zero = self.history.get(ZERO_GRADIENT)
        if zero is not None and len(zero):
            responds &= ~(zero.nan_to_num(1.0) > 0).all(0)
        values = self.history.get("activation")
        if values is not None and len(values) > 1:
            known = values.double().nan_to_num(0.0)
            missing = values.isnan()
            least = known.masked_fill(missing, torch.inf).amin(0)
            most = known.masked_fill(missing, -torch.inf).amax(0)
            responds &= most - least > _ROUNDING * known.abs().amax(0)
        return responds

    def of(self, rows: int | Sequence[int] | Tensor) -> Visualizations:
        """
        Some of the pictures, with all that is known of them.

        Args:
            rows (int or sequence of int): Which, from 0; negative ones count from the end.

        Raises:
            TypeError, ValueError: If they are not whole numbers, or there is no such picture.
        """
        one = as_int(rows)
        given = [one] if one is not None else rows.tolist() if isinstance(rows, Tensor) else rows
        numbers = [as_int(row) for row in given] if isinstance(given, Iterable) else [None]
        places = [number for number in numbers if number is not None]
        if len(places) < len(numbers):
            raise InputTypeError(f"rows is {rows!r} ({type_name(rows)}); expected an int or several.")
        for place in places:
            if not -len(self) <= place < len(self):
                raise InputError(f"there is no picture {place}; there are {len(self)}, which are 0 to {len(self) - 1}.")
        return Visualizations(
            self.images[places],
            self.activations[places],
            [self.seeds[place] for place in places],
            self.settings,
            [self.targets[place] for place in places] if self.targets else [],
            {name: values[:, places] for name, values in self.history.items()},
            {step: images[places] for step, images in self.snapshots.items()},
            None if self.attempts is None else self.attempts[places],
        )

    def relative_to(self, natural: Tensor) -> Tensor:
        """
        How far each picture goes beyond natural images: its activation as a multiple of the greatest of theirs.

        Args:
            natural (Tensor): (N, K): for each picture's unit, what K natural images reach, such as the top examples' ``scores``, measured
                as the objective measures it: a channel's mean over positions for :class:`ChannelActivation`.

        Returns:
            Tensor: (N,); NaN where no natural image reaches more than zero.

        Raises:
            ValueError: If there is not a row for each picture.

        Examples::

            >>> made = Visualizations(torch.rand(2, 3, 8, 8), torch.tensor([3.0, 1.0]), [0, 0])
            >>> made.relative_to(torch.tensor([[1.5, 0.5], [0.0, 0.0]]))
            tensor([2., nan])
        """
        if natural.dim() != 2 or len(natural) != len(self) or not natural.shape[1]:
            raise InputError(
                f"natural has shape {tuple(natural.shape)}; expected (N, K), a row of values for each of the {len(self)} pictures."
            )
        greatest = natural.detach().to(self.activations).amax(1)
        return torch.where(greatest > 0, self.activations / greatest, torch.nan)

    def save(self, path: str | os.PathLike[str], overwrite: bool = False) -> None:
        """
        Write everything to one safetensors file, the settings as JSON in its header.

        Args:
            path (path): The file, by custom ``….safetensors``.
            overwrite (bool, optional): Whether an existing file may be replaced. Default: False

        Raises:
            FileExistsError: If the file exists and ``overwrite`` is False.
            OSError: If it cannot be written.
        """
        tensors = {"images": self.images, "activations": self.activations}
        tensors |= {} if self.attempts is None else {_ATTEMPTS: self.attempts}
        tensors |= {f"{_HISTORY}{name}": values for name, values in self.history.items()}
        tensors |= {f"{_SNAPSHOTS}{step}": images for step, images in self.snapshots.items()}
        targets = [list(target) for target in self.targets]
        save_tensors(
            path, _KIND, tensors, {"seeds": self.seeds, "targets": targets, "settings": self.settings}, overwrite
        )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Visualizations:
        """
        Read what :meth:`save` wrote, onto the CPU.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is damaged or holds something else.
        """
        tensors, metadata = load_tensors(path, _KIND)
        with intact(path, "visualizations file"):
            loaded = cls(
                tensors["images"],
                tensors["activations"],
                list(metadata["seeds"]),
                dict(metadata["settings"]),
                [tuple(target) for target in metadata["targets"]],
                {k.removeprefix(_HISTORY): v for k, v in tensors.items() if k.startswith(_HISTORY)},
                {int(k.removeprefix(_SNAPSHOTS)): v for k, v in tensors.items() if k.startswith(_SNAPSHOTS)},
                tensors.get(_ATTEMPTS),
            )
            counts = [len(loaded.images), len(loaded.activations), len(loaded.seeds)]
            counts += [len(loaded.targets)] if loaded.targets else []
            counts += [len(images) for images in loaded.snapshots.values()]
            counts += [] if loaded.attempts is None else [len(loaded.attempts)]
            alike("visualizations", *counts, *(values.shape[1] for values in loaded.history.values()))
        return loaded

    @classmethod
    def concatenate(cls, parts: Sequence[Visualizations]) -> Visualizations:
        """
        One after the other; histories of different lengths are filled with NaN, snapshots kept where all parts have them.

        Raises:
            ValueError: If there are none.
        """
        if not parts:
            raise InputError("there are no visualizations to concatenate; give at least one part.")
        names = dict.fromkeys(name for part in parts for name in part.history)
        shared = set.intersection(*(set(part.snapshots) for part in parts))
        attempts = [part.attempts for part in parts if part.attempts is not None]
        whole = len(attempts) == len(parts) and len({each.shape[1] for each in attempts}) == 1
        return cls(
            torch.cat([part.images for part in parts]),
            torch.cat([part.activations for part in parts]),
            [seed for part in parts for seed in part.seeds],
            parts[0].settings,
            [target for part in parts for target in part.targets],
            {name: _beside([_recorded(part, name) for part in parts]) for name in names},
            {step: torch.cat([part.snapshots[step] for part in parts]) for step in sorted(shared)},
            torch.cat(attempts) if whole else None,
        )

    def better_of(self, other: Visualizations) -> Visualizations:
        """
        Of each row the picture with the greater activation; of equal ones, this one's.

        Args:
            other (Visualizations): Of the same units, after as many steps.
        """
        other_is = other.activations > self.activations
        both = Visualizations.concatenate([self, other])
        count = len(self)
        chosen = both.of([row + count if better else row for row, better in enumerate(other_is.tolist())])
        chosen.attempts = torch.cat([_attempts(self), _attempts(other)], 1)
        return chosen


def _attempts(part: Visualizations) -> Tensor:
    return part.activations.unsqueeze(1) if part.attempts is None else part.attempts


def _recorded(part: Visualizations, name: str) -> Tensor:
    """What a part recorded under a name. It leaves out zero gradients where it had none; anything else that it lacks is unknown."""
    if name in part.history:
        return part.history[name]
    steps = max((len(values) for values in part.history.values()), default=0)
    return torch.full((steps, len(part)), 0.0 if name == ZERO_GRADIENT else torch.nan)


def _beside(histories: list[Tensor]) -> Tensor:
    longest = max(len(history) for history in histories)
    padded = [torch.nn.functional.pad(h, (0, 0, 0, longest - len(h)), value=float("nan")) for h in histories]
    return torch.cat(padded, dim=1)


__all__ = ["Visualizations"]
