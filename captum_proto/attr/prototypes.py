"""Prototypes with their logits, history and settings, and the file they are kept in."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from captum_proto._utils.errors import InputError
from captum_proto._utils.files import alike, intact, load_tensors, save_tensors
from captum_proto._utils.targets import Target, class_set
from captum_proto.optim.result import ZERO_GRADIENT

_VALUES = ("images", "logits", "probabilities", "transformed_logits", "transformed_probabilities")


@dataclass
class Prototypes:
    r"""
    Prototypes, what the model makes of them, and how they were made.

    Attributes:
        images (Tensor): (N, C, H, W), or what else the inputs are, in the input range, before preprocessing; on the model's device.
        target (list[tuple[int, ...]]): The classes of each prototype; a single class is a tuple of one.
        seeds (list[int]): The seed of each prototype: with its target, all that its random numbers depend on.
        logits (Tensor): (N,), the class logit of each image as it is; for a superclass, the logsumexp of its logits.
        probabilities (Tensor): (N,), the class probability of each image as it is; for a superclass, the sum. The softmax of the logits,
            or the sigmoid where the model has a single one.
        transformed_logits (Tensor): (N,), the mean logit under fresh draws of the transform.
        transformed_probabilities (Tensor): (N,), the mean probability under fresh draws of the transform.
        history (dict[str, Tensor]): One value for each step and prototype. Of the warm-up: "warmup_variance" (W, N). Of the ascent,
            before each step's update: "loss", "logit", "probability" (both under that step's transform) and "high_frequency_loss",
            each (S, N); with diversity also "diversity_loss"; and where it was so in any step, "zero_gradient": 1 where the gradient of
            the logit was exactly zero, else 0. A prototype whose batch ended early is NaN from there on.
        snapshots (dict[int, Tensor]): Images after so many steps, each (N, C, H, W) on the CPU.
        settings (dict): Every argument, as JSON can hold it, with the versions that made them.
    """

    images: Tensor
    target: list[Target]
    seeds: list[int]
    logits: Tensor
    probabilities: Tensor
    transformed_logits: Tensor
    transformed_probabilities: Tensor
    history: dict[str, Tensor] = field(default_factory=dict)
    snapshots: dict[int, Tensor] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def seen_images(self) -> frozenset[str]:
        """
        Digests of the natural images that the prototypes were made to match, in activations or in statistics: empty for prototypes from the
        model alone.

        By these images a prototype cannot be judged; :class:`captum_proto.data.Unseen` leaves them out. A mean magnitude spectrum is of no
        image in particular, and is not counted.
        """
        matched = (self.settings.get("match") or {}).get("images", [])
        statistics = (self.settings.get("natural_statistics") or {}).get("images")
        return frozenset(
            digest for each in [*matched, *([statistics] if statistics else [])] for digest in each["images"]
        )

    def of(self, target: int | Iterable[int]) -> Prototypes:
        """
        The prototypes of one class, or of one superclass.

        Args:
            target (int or iterable of int): The class, or the classes of the superclass; of Python, NumPy or PyTorch.

        Raises:
            TypeError: If ``target`` is of another type.
            ValueError: If there are none.
        """
        wanted = class_set(target)
        rows = [row for row, classes in enumerate(self.target) if classes == wanted]
        if not rows:
            raise InputError(
                f"there are no prototypes of {list(wanted)}; there are some of {sorted(map(list, set(self.target)))}."
            )
        return self.select(rows)

    def select(self, rows: Sequence[int]) -> Prototypes:
        """
        Some of the prototypes.

        Args:
            rows (sequence of int): Which, by place, in the order wanted.
        """
        return Prototypes(
            **{name: getattr(self, name)[rows] for name in _VALUES},
            target=[self.target[row] for row in rows],
            seeds=[self.seeds[row] for row in rows],
            history={name: value[:, rows] for name, value in self.history.items()},
            snapshots={step: value[rows] for step, value in self.snapshots.items()},
            settings=self.settings,
        )

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
        tensors = {name: getattr(self, name) for name in _VALUES}
        tensors |= {f"history.{name}": value for name, value in self.history.items()}
        tensors |= {f"snapshots.{step}": value for step, value in self.snapshots.items()}
        metadata = {"target": [list(target) for target in self.target], "seeds": self.seeds, "settings": self.settings}
        save_tensors(path, "prototypes", tensors, metadata, overwrite)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Prototypes:
        """
        Read what :meth:`save` wrote, onto the CPU.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is damaged or holds something else.
        """
        tensors, metadata = load_tensors(path, "prototypes")
        with intact(path, "prototypes file"):
            loaded = cls(
                **{name: tensors[name] for name in _VALUES},
                target=[tuple(target) for target in metadata["target"]],
                seeds=list(metadata["seeds"]),
                history={k.removeprefix("history."): v for k, v in tensors.items() if k.startswith("history.")},
                snapshots={
                    int(k.removeprefix("snapshots.")): v for k, v in tensors.items() if k.startswith("snapshots.")
                },
                settings=dict(metadata["settings"]),
            )
            counts = [len(tensors[name]) for name in _VALUES] + [len(loaded.target), len(loaded.seeds)]
            counts += [len(images) for images in loaded.snapshots.values()]
            alike("prototypes", *counts, *(values.shape[1] for values in loaded.history.values()))
        return loaded

    @classmethod
    def concatenate(cls, parts: list[Prototypes]) -> Prototypes:
        """One after the other; histories of different lengths are filled with NaN, snapshots kept where all parts have them."""
        if not parts:
            raise InputError("there are no prototypes to concatenate; give at least one part.")
        first = parts[0]
        names = dict.fromkeys(name for part in parts for name in part.history)
        shared = set.intersection(*(set(part.snapshots) for part in parts))
        return cls(
            **{name: torch.cat([getattr(part, name) for part in parts]) for name in _VALUES},
            target=[target for part in parts for target in part.target],
            seeds=[seed for part in parts for seed in part.seeds],
            history={name: _beside([_history(part, name) for part in parts]) for name in names},
            snapshots={step: torch.cat([part.snapshots[step] for part in parts]) for step in sorted(shared)},
            settings=first.settings,
        )


def _history(part: Prototypes, name: str) -> Tensor:
    """What a part recorded under a name; it leaves out zero gradients where it had none."""
    return (
        part.history[name] if name != ZERO_GRADIENT else part.history.get(name, torch.zeros_like(part.history["logit"]))
    )


def _beside(histories: list[Tensor]) -> Tensor:
    longest = max(len(history) for history in histories)
    padded = [torch.nn.functional.pad(h, (0, 0, 0, longest - len(h)), value=float("nan")) for h in histories]
    return torch.cat(padded, dim=1)
