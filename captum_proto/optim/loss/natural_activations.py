"""What layers make of natural images of each class, measured once: distributions and means of their activations."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from captum_proto._utils.batches import Images
from captum_proto._utils.errors import InputError, InputTypeError
from captum_proto._utils.files import alike, image_digest, intact, load_tensors, save_tensors
from captum_proto._utils.model import fingerprint
from captum_proto._utils.targets import Target, class_set
from captum_proto.capture import Layer, select_layers
from captum_proto.ops.double import double
from captum_proto.optim.loss.natural_units import NaturalUnits, in_full, stage_layers, with_first
from captum_proto.stats.moments import Moments

_KIND = "natural activations"


@dataclass(frozen=True)
class NaturalActivations:
    """
    How some layers respond to natural images of some classes: what :class:`MatchActivations` matches.

    Attributes:
        layers (list[str]): Names of the layers.
        targets (list[tuple[int, ...]]): Of which classes there were images.
        quantiles (list[Tensor]): For each layer (T, C, P): each channel's activations at its P positions, sorted, and averaged over the
            images of each target: their mean quantile function.
        means (list[Tensor]): For each layer ``(T, C, *positions)``: the mean at each position.
        scales (Tensor): (T, L), float64: the variance of each layer's activations, about each channel's mean, averaged over channels.
        digests (list[list[str]]): For each target the digest of each of its images, by which it is known that an image was seen.
        model (str or None): Fingerprint of the model's weights; None of a function that is no module.

    Examples::

        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU())
        >>> natural = NaturalActivations.measured(model, {3: torch.rand(4, 3, 16, 16), 7: torch.rand(5, 3, 16, 16)}, ["1"])
        >>> natural.save("natural.safetensors")
        >>> NaturalActivations.load("natural.safetensors").counts
        [4, 5]
    """

    layers: list[str]
    targets: list[Target]
    quantiles: list[Tensor]
    means: list[Tensor]
    scales: Tensor
    digests: list[list[str]]
    model: str | None = None

    @classmethod
    def measured(
        cls,
        forward_func: Callable[..., Any],
        images: Mapping[Any, Images],
        layers: str | Sequence[str] | None = None,
        preprocess: Callable[[Tensor], Tensor] | None = None,
        *,
        transform: Any = None,
        value_range: tuple[float, float] = (0.0, 1.0),
        batch_size: int = 32,
    ) -> NaturalActivations:
        """
        Run a model on natural images of each class.

        Args:
            forward_func (Callable): The model, or a function that refers to it.
            images (mapping): By class, or tuple of the classes of a superclass: natural images of it, (N, C, H, W), or batches of them.
            layers (str or sequence of str, optional): Names, or of a module patterns as in
                :func:`~captum_proto.capture.select_layers`. Default: None, those of :func:`stage_layers`: one for each resolution of maps,
                at most five
            preprocess (Callable, optional): From images to what ``forward_func`` takes. Default: None
            transform (Transform or Callable, optional): Through which the images are seen, drawn anew for each. Default: None
            value_range (tuple[float, float], optional): The range of a pixel. Default: (0, 1)
            batch_size (int, optional): Images at a time, of a tensor. Default: 32

        Raises:
            TypeError: If ``images`` is no mapping, or holds no images.
            ValueError: If it is empty, images are not in ``value_range``, or a layer is not there.
        """
        if not isinstance(images, Mapping):
            raise InputTypeError(
                f"images is a {type(images).__name__}; expected natural images by class: {{3: images_of_3}}."
            )
        if not images:
            raise InputError("images is empty; give natural images of at least one class: {3: images_of_3}.")
        names, each = [] if layers is None else _names(forward_func, layers), []
        for target, of_class in images.items():
            if isinstance(target, str):
                raise InputTypeError(
                    f'images has the key "{target}"; expected the index of a class, or a tuple of them.'
                )
            image, batches = with_first(of_class, batch_size, value_range)
            names = names or stage_layers(forward_func, image, preprocess)
            natural = NaturalUnits(forward_func, names, preprocess, transform, value_range, batch_size)
            each.append(_of_target(natural, class_set(target), batches, names))
        return cls._together(names, each, fingerprint(forward_func) if isinstance(forward_func, nn.Module) else None)

    @classmethod
    def _together(cls, names: list[str], each: list[NaturalActivations], model: str | None) -> NaturalActivations:
        for layer, name in enumerate(names):
            shapes = sorted({tuple(one.means[layer].shape[1:]) for one in each})
            if len(shapes) > 1:
                raise InputError(
                    f'layer "{name}" returns {" and ".join(map(str, shapes))} for images of different classes; give all images one size.'
                )
        return cls(
            names,
            [one.targets[0] for one in each],
            [torch.cat([one.quantiles[layer] for one in each]) for layer in range(len(names))],
            [torch.cat([one.means[layer] for one in each]) for layer in range(len(names))],
            torch.cat([one.scales for one in each]),
            [one.digests[0] for one in each],
            model,
        )

    @property
    def counts(self) -> list[int]:
        """How many images there were of each target."""
        return [len(digests) for digests in self.digests]

    def of(self, targets: Iterable[Any]) -> NaturalActivations:
        """
        What is known of some classes, each once.

        Raises:
            ValueError: If there were no images of one of them.
        """
        rows = self.rows(list(dict.fromkeys(map(class_set, targets))))
        return NaturalActivations(
            self.layers,
            [self.targets[row] for row in rows],
            [values[rows] for values in self.quantiles],
            [values[rows] for values in self.means],
            self.scales[rows],
            [self.digests[row] for row in rows],
            self.model,
        )

    def rows(self, targets: Sequence[Target]) -> list[int]:
        """
        Where each of some classes is among ``targets``.

        Raises:
            ValueError: If there were no images of one of them.
        """
        for target in targets:
            if target not in self.targets:
                known = ", ".join(str(list(each)) for each in self.targets[:8]) + (
                    ", …" if len(self.targets) > 8 else ""
                )
                raise InputError(
                    f"there are no natural images of target {list(target)} to match; there are some of {known}: measure images of it, too."
                )
        return [self.targets.index(target) for target in targets]

    def saw(self, images: Tensor) -> list[bool]:
        """Whether each of some images (N, C, H, W) is among those that were measured: what it matched, it cannot be judged by."""
        seen = {digest for digests in self.digests for digest in digests}
        return [image_digest(image) in seen for image in images]

    def settings(self) -> dict[str, Any]:
        """What it is of, as JSON can hold it: the layers, and of each target how many images, their digests and one of all."""
        images = [
            {"target": list(target), "count": len(digests), "digest": _digest_of(digests), "images": digests}
            for target, digests in zip(self.targets, self.digests, strict=True)
        ]
        return {"name": "NaturalActivations", "layers": self.layers, "model_fingerprint": self.model, "images": images}

    def __repr__(self) -> str:
        return f"NaturalActivations({self.layers}, {sum(self.counts)} images of {len(self.targets)} targets)"

    def save(self, path: str | os.PathLike[str], overwrite: bool = False) -> None:
        """
        Write everything to one safetensors file.

        Args:
            path (path): The file, by custom ``….safetensors``.
            overwrite (bool, optional): Whether an existing file may be replaced. Default: False

        Raises:
            FileExistsError: If the file exists and ``overwrite`` is False.
            OSError: If it cannot be written.
        """
        tensors = {"scales": self.scales}
        tensors |= {f"quantiles.{number}": values for number, values in enumerate(self.quantiles)}
        tensors |= {f"means.{number}": values for number, values in enumerate(self.means)}
        metadata = {
            "layers": self.layers,
            "target": [list(target) for target in self.targets],
            "digests": self.digests,
            "model": self.model,
        }
        save_tensors(path, _KIND, tensors, metadata, overwrite)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> NaturalActivations:
        """
        Read what :meth:`save` wrote, onto the CPU.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is damaged or holds something else.
        """
        tensors, metadata = load_tensors(path, _KIND)
        with intact(path, f"file of {_KIND}"):
            layers = list(metadata["layers"])
            loaded = cls(
                layers,
                [tuple(target) for target in metadata["target"]],
                [tensors[f"quantiles.{number}"] for number in range(len(layers))],
                [tensors[f"means.{number}"] for number in range(len(layers))],
                tensors["scales"],
                [list(digests) for digests in metadata["digests"]],
                metadata["model"],
            )
            counts = [len(values) for values in (*loaded.quantiles, *loaded.means, loaded.scales)]
            alike("targets", len(loaded.targets), len(loaded.digests), *counts)
            alike("layers", len(layers), loaded.scales.shape[1])
            for quantiles, means in zip(loaded.quantiles, loaded.means, strict=True):
                alike("values", quantiles[0].numel(), means[0].numel())
        return loaded


def _names(forward_func: Callable[..., Any], layers: Any) -> list[str]:
    given = [layers] if isinstance(layers, str) else list(layers)
    if not given or not all(isinstance(layer, str) for layer in given):
        raise InputTypeError(f"layers is {layers!r}; expected names of layers, at least one, which a file can hold.")
    if isinstance(forward_func, nn.Module) and any(set(name) & set("*?[") for name in given):
        return list(select_layers(forward_func, given))
    return list(dict.fromkeys(given))


def _of_target(natural: NaturalUnits, target: Target, images: Images, names: list[str]) -> NaturalActivations:
    ordered, means, squares = ({name: Moments() for name in names} for _ in range(3))
    digests: list[str] = []

    def take(batch: Tensor, units: Mapping[Layer, Tensor]) -> Iterator[Callable[[], None]]:
        yield lambda: digests.extend(list(map(image_digest, batch)))
        for name in names:
            values = in_full(units[name])
            values = values.unsqueeze(-1) if values.dim() == 2 else values  # one value for each channel is one position
            flat = values.flatten(2)
            for moments, rows in (
                (ordered, flat.sort(2).values),
                (means, values),
                (squares, double(flat).square().mean(2)),
            ):
                yield functools.partial(moments[name].update, rows)

    natural.run(images, take)
    dtype = natural.pipeline.image_dtype
    scales = []
    for name in names:
        mean = means[name].compute()
        scales.append((squares[name].compute() - mean.flatten(1).mean(1).square()).clamp(min=0).mean())
    return NaturalActivations(
        names,
        [target],
        [ordered[name].compute().to("cpu", dtype).unsqueeze(0) for name in names],
        [means[name].compute().to("cpu", dtype).unsqueeze(0) for name in names],
        torch.stack(scales).cpu().unsqueeze(0),
        [digests],
    )


def _digest_of(digests: Iterable[str]) -> str:
    return f"sha256:{hashlib.sha256(' '.join(digests).encode()).hexdigest()}"


__all__ = ["NaturalActivations"]
