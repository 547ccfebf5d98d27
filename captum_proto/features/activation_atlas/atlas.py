"""The activation atlas of a layer: what it knows, laid out on a plane and drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from captum_proto._utils.batches import Images
from captum_proto._utils.checks import as_int, check_int
from captum_proto._utils.errors import InputError, InputTypeError, StateError
from captum_proto._utils.modes import in_plain_modes
from captum_proto.capture import Layer
from captum_proto.features.activation_atlas.collect import MOST, collect, collecting, warn_of_fewer
from captum_proto.features.activation_atlas.grid import AtlasLevel
from captum_proto.features.activation_atlas.layout import Method, lay_out, normalize_layout
from captum_proto.features.activation_atlas.patch import PatchResult, try_patch
from captum_proto.features.activation_atlas.result import AtlasResult
from captum_proto.features.activation_atlas.vectors import AtlasVectors
from captum_proto.optim import Visualizations, visualize
from captum_proto.optim.loss import AngledNeuronDirection


class ActivationAtlas:
    r"""
    What a whole layer responds to: activation vectors of many images laid out on a plane, and a picture of each cell's mean direction.

    Of Carter, Armstrong, Schubert, Johnson and Olah, "Exploring Neural Networks with Activation Atlases" (Distill 2019). In this order:
    :meth:`collect`, :meth:`layout`, :meth:`grid`, :meth:`render`; each keeps what it made in :attr:`result`.

    Two things differ from Lucid's and captum.optim's code: a point on an edge between cells is in one cell, not in two, and the margin
    by which outliers are drawn in is the same on both sides.

    Args:
        forward_func (Callable): The model, or a function of a batch of images that refers to it. For attributions it returns logits (N, K).
        layer (str or nn.Module): As :func:`~captum_proto.capture.capture` names it. Of a layer without positions, (N, C), each image gives
            one vector.
        preprocess (Callable, optional): From images in their range to what the model takes. Default: None
        channel_axis (int, optional): Which axis of the layer's output holds its channels. Default: None, told from the layer
        value_range (tuple[float, float], optional): The range of the images' values. Default: (0, 1)
        result (AtlasResult, optional): What to go on with. Default: None

    Examples::

        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 5), torch.nn.ReLU())
        >>> atlas = ActivationAtlas(model, "0")
        >>> vectors = atlas.collect(torch.rand(40, 3, 12, 12), positions="all")
        >>> coordinates = atlas.layout("pca")
        >>> (level,) = atlas.grid(3, min_density=5)
        >>> len(vectors), int(level.counts.sum()), level.means.shape[1]
        (2560, 2560, 8)
        >>> atlas.render((3, 12, 12), steps=2)
        >>> atlas.result.levels[0].icons.shape[1:]
        torch.Size([3, 12, 12])
    """

    def __init__(
        self,
        forward_func: Callable[..., Any],
        layer: Layer,
        preprocess: Callable[[Tensor], Tensor] | None = None,
        *,
        channel_axis: int | None = None,
        value_range: tuple[float, float] = (0.0, 1.0),
        result: AtlasResult | None = None,
    ) -> None:
        self.forward_func, self.layer, self.preprocess = forward_func, layer, preprocess
        self.channel_axis, self.value_range = channel_axis, value_range
        self._result = result

    @property
    def result(self) -> AtlasResult:
        """
        What there is so far.

        Raises:
            RuntimeError: If nothing was collected yet.
        """
        if self._result is None:
            raise StateError("there are no vectors yet; call collect first.")
        return self._result

    @in_plain_modes
    def collect(
        self,
        images: Images,
        n: int | None = None,
        *,
        positions: str = "random",
        targets: Any = None,
        seed: int = 0,
        batch_size: int = 32,
        border: int | None = None,
        first: int = 0,
        show_progress: bool = False,
    ) -> AtlasVectors:
        r"""
        Activation vectors of images, in one pass.

        Args:
            images (Tensor or iterable): (N, C, H, W), or batches of these; a batch may be a tuple that begins with the images. In the
                batches of a collection of files the number of an image is the place of its file, whether those before it can be read or
                not.
            n (int, optional): At most so many vectors; fewer than asked for, and a warning says so. Default: None, up to 1,000,000
            positions (str, optional): "random": one of each image, drawn from the image's number and the seed, whatever the batches;
                "all": all of each. Default: "random"
            targets (int, sequence of int, nested list or "all", optional): Classes, or superclasses, to which the contribution of each
                vector, :math:`h \cdot \nabla_h \, \text{logit}`, is kept (of a superclass: of the logsumexp of its logits). Of more classes
                than positions, all are had in one pass through the gradient's gradient for each position. Default: None, none
            seed (int, optional): Of the random positions. Default: 0
            batch_size (int, optional): Of a tensor of images. Default: 32
            border (int, optional): So many positions at both ends of each axis are left out, where an axis has more than twice as many: a
                vector at the edge has seen more padding than picture. (Carter et al.'s code leaves out the first row and column
                only.) Default: None, 1 for random positions and 0 for all
            first (int, optional): The number of the first image: of a part of the images that begins later. Default: 0
            show_progress (bool, optional): Whether to show a progress bar. Default: False

        Returns:
            AtlasVectors: Ordered by image and position.

        Raises:
            TypeError, ValueError: If the images, the layer or a choice cannot be used.
        """
        asked = None if n is None else check_int(n, "n", 1)
        vectors = self.collect_part(
            images,
            MOST if asked is None else asked,
            positions=positions,
            targets=targets,
            seed=seed,
            batch_size=batch_size,
            border=border,
            first=first,
            show_progress=show_progress,
        )
        warn_of_fewer(len(vectors), asked, positions)
        self._result = AtlasResult(vectors)
        return vectors

    @in_plain_modes
    def collect_part(
        self,
        images: Images,
        n: int | None = None,
        *,
        positions: str = "random",
        targets: Any = None,
        seed: int = 0,
        batch_size: int = 32,
        border: int | None = None,
        first: int = 0,
        show_progress: bool = False,
    ) -> AtlasVectors:
        """
        Activation vectors of a part of the images, for processes that share them: :meth:`AtlasVectors.concatenate
        <captum_proto.features.activation_atlas.AtlasVectors.concatenate>` puts the parts together.

        Args:
            images, positions, targets, seed, batch_size, border, first, show_progress: As in :meth:`collect`.
            n (int, optional): At most so many vectors. Default: None, all

        Returns:
            AtlasVectors: Of these images alone; :attr:`result` stays as it is.

        Raises:
            TypeError, ValueError: As :meth:`collect`.

        Examples::

            >>> from captum_proto.features import AtlasResult
            >>> from captum_proto.features.activation_atlas import AtlasVectors
            >>> images, model = torch.rand(40, 3, 12, 12), torch.nn.Conv2d(3, 8, 5)
            >>> atlas = ActivationAtlas(torch.nn.Sequential(model), "0")
            >>> parts = [atlas.collect_part(images[begin : begin + 20], first=begin) for begin in (0, 20)]
            >>> atlas = ActivationAtlas(torch.nn.Sequential(model), "0", result=AtlasResult(AtlasVectors.concatenate(parts)))
            >>> atlas.layout("pca").shape
            torch.Size([40, 2])
        """
        how = collecting(self.layer, positions, border, targets, seed, self.channel_axis)
        most = None if n is None else check_int(n, "n", 1)
        return collect(
            self.forward_func, how, images, self.preprocess, most, batch_size, first, self.value_range, show_progress
        )

    def layout(self, method: Method = "umap", seed: int = 0, reduce: int | None = 50, **choices: Any) -> Tensor:
        """
        Where vectors lie on the plane; grids of an earlier layout go.

        Args:
            method, seed, reduce, choices: As in :func:`~captum_proto.features.activation_atlas.lay_out`.

        Returns:
            Tensor: (N, 2) in [0, 1], outliers drawn in: :func:`~captum_proto.features.activation_atlas.normalize_layout`.

        Raises:
            ImportError, TypeError, ValueError: As :func:`~captum_proto.features.activation_atlas.lay_out`.
        """
        result = self.result
        found = lay_out(result.vectors.vectors, method, 2, seed, reduce, **choices)
        named = method if isinstance(method, str) else getattr(method, "__name__", type(method).__name__)
        self._laid_out(normalize_layout(found), {"method": named, "seed": seed, "reduce": reduce, **choices})
        assert result.coordinates is not None
        return result.coordinates

    def grid(self, size: int | Sequence[int] = 20, min_density: int = 10) -> list[AtlasLevel]:
        """
        Grids over the atlas, with the exact mean of the vectors in each cell.

        Args:
            size (int or sequence of int, optional): Cells a side; several for levels to zoom through. Default: 20
            min_density (int, optional): The fewest vectors of a cell that is drawn. Default: 10

        Returns:
            list[AtlasLevel]: The coarsest first.

        Raises:
            ValueError: If there are fewer vectors than cells, or no cell holds enough.
        """
        result = self.result
        if result.coordinates is None:
            raise StateError("the vectors are not laid out yet; call layout first.")
        one = as_int(size)
        sizes = [one] if one is not None else list(size)  # type: ignore[arg-type]  # it is no int
        if not sizes:
            raise InputError("size is empty; expected a number of cells a side, or several.")
        result.levels = [
            AtlasLevel.of(result.vectors, result.coordinates, each, min_density) for each in sorted(set(sizes))
        ]
        result.settings["grid"] = {"sizes": [level.size for level in result.levels], "min_density": min_density}
        return result.levels

    def directions(self, level: AtlasLevel, whiten: bool = True, regularization: float = 0.01) -> Tensor:
        """
        What each drawn cell's picture is to show: its mean vector, whitened.

        Args:
            level (AtlasLevel): A grid.
            whiten (bool, optional): Whether to multiply by :meth:`~captum_proto.features.activation_atlas.AtlasVectors.whitening`.
                Default: True
            regularization (float, optional): Of the whitening. Default: 0.01

        Returns:
            Tensor: (M, C), float64, each of length 1.

        Raises:
            ValueError: If a cell's vectors cancel out.
        """
        means = level.means @ self.result.vectors.whitening(regularization) if whiten else level.means
        lengths = means.norm(dim=1, keepdim=True)
        if bool((lengths == 0).any()):
            cell = int(level.cells[(lengths == 0).flatten().nonzero()[0, 0]])
            raise InputError(
                f"the vectors of the cell in row {cell // level.size}, column {cell % level.size} are zero in the mean, a direction that "
                "cannot be drawn; raise min_density, or take a layer before a ReLU."
            )
        return means / lengths

    def icons(
        self,
        directions: Tensor,
        image_shape: tuple[int, int, int],
        *,
        power: float = 4.0,
        attempts: int = 1,
        seed: int = 0,
        batch_size: int = 16,
        show_progress: bool = False,
        **choices: Any,
    ) -> Visualizations:
        """
        A picture of each direction at the middle position of the layer, the best of several attempts.

        Args:
            directions (Tensor): (M, C).
            image_shape, power, attempts, seed, batch_size, show_progress, choices: As in :meth:`render`.

        Returns:
            Visualizations: M of them.
        """
        tries = check_int(attempts, "attempts", 1)
        loss = AngledNeuronDirection(self.layer, directions.repeat_interleave(tries, 0), power, self.channel_axis)
        made = visualize(
            self.forward_func,
            loss,
            image_shape,
            self.preprocess,
            seed=seed,
            batch_size=batch_size,
            show_progress=show_progress,
            **{"value_range": self.value_range, **choices},
        )
        best = made.activations.view(-1, tries).argmax(1) + torch.arange(len(directions)) * tries
        seeds = [made.seeds[row] for row in best.tolist()]
        return Visualizations(made.images[best.to(made.images.device)], made.activations[best], seeds, made.settings)

    @in_plain_modes
    def render(
        self,
        image_shape: tuple[int, int, int],
        *,
        power: float = 4.0,
        whiten: bool = True,
        regularization: float = 0.01,
        attempts: int = 1,
        seed: int = 0,
        batch_size: int = 16,
        show_progress: bool = False,
        **choices: Any,
    ) -> None:
        r"""
        Draw every cell of every level: the picture that maximizes :math:`(h \cdot v) \max(0.1, \cos(h, v))^p` at the middle position.

        Args:
            image_shape (tuple[int, int, int]): (C, H, W) of a picture.
            power (float, optional): p: 4 in Carter et al.'s notebooks, 2 in their recipe. Default: 4
            whiten (bool, optional): Whether directions are whitened, which takes out what all cells share. Default: True
            regularization (float, optional): See :meth:`~captum_proto.features.activation_atlas.AtlasVectors.whitening`. Default: 0.01
            attempts (int, optional): Pictures of each cell, from different seeds, of which the one with the greatest objective is kept.
                Default: 1
            seed (int, optional): The first seed. Default: 0
            batch_size (int, optional): Pictures at a time. Default: 16
            show_progress (bool, optional): Whether to show a progress bar. Default: False
            **choices: Fields of :class:`~captum_proto.optim.OptimizationSettings`, such as ``steps``.

        Raises:
            ValueError: If a choice is out of its range.
            RuntimeError: If there is no grid yet.
        """
        result = self.result
        if not result.levels:
            raise StateError("there is no grid yet; call grid first.")
        for level in result.levels:
            made = self.icons(
                self.directions(level, whiten, regularization),
                image_shape,
                power=power,
                attempts=attempts,
                seed=seed,
                batch_size=batch_size,
                show_progress=show_progress,
                **choices,
            )
            level.icons, level.activations = eight_bits(made.images, self.value_range), made.activations
            result.settings["icons"] = made.settings | {
                "power": power,
                "whiten": whiten,
                "regularization": regularization,
                "attempts": attempts,
                "seed": seed,
            }

    def agreement(
        self, level: AtlasLevel, whiten: bool = True, regularization: float = 0.01, batch_size: int = 16
    ) -> Tensor:
        """
        How well the pictures show what they are to show: the cosine of what each makes of the layer, at its middle position, with the
        direction of each cell.

        Args:
            level (AtlasLevel): A grid that is drawn.
            whiten, regularization: As the pictures were drawn with.
            batch_size (int, optional): Pictures at a time. Default: 16

        Returns:
            Tensor: (M, M), float64: pictures by cells. The diagonal is the pictures' own; the rest of a row is its control.

        Raises:
            RuntimeError: If the cells have no pictures.
        """
        if level.icons is None:
            raise StateError("the cells have no pictures yet; call render first.")
        low, high = self.value_range
        how = collecting(self.layer, "all", 0, None, 0, self.channel_axis)
        images = low + level.icons.float() / 255 * (high - low)
        # All positions, as images are collected; of each picture the middle one is taken, where its direction was looked for.
        found = collect(
            self.forward_func, how, images, self.preprocess, None, batch_size, 0, self.value_range, show_progress=False
        )
        middle = (found.positions == torch.tensor(found.settings["sizes"], dtype=torch.int64) // 2).all(1)
        vectors = found.vectors[middle].double()
        return normalize(vectors, dim=1) @ self.directions(level, whiten, regularization).T

    def attribute(self, target: Any) -> list[Tensor]:
        """What the vectors of each cell contribute to a class, in the mean: :meth:`AtlasResult.attribute`."""
        return self.result.attribute(target)

    def class_atlas(self, target: Any, count: int = 2500) -> ActivationAtlas:
        """
        The atlas of the vectors that speak for a class, to be laid out anew.

        See :meth:`~captum_proto.features.activation_atlas.AtlasVectors.favoring`.

        Args:
            target (int or iterable of int): One of those that were collected.
            count (int, optional): The most of those that do not speak most for this class. Default: 2500

        Raises:
            ValueError: If attributions to it were not collected, or no vector speaks for it.
        """
        return self._part(self.result.vectors.favoring([target], count))

    def two_class_atlas(
        self,
        first: Any,
        second: Any,
        count: int = 2500,
        method: Method = "umap",
        seed: int = 0,
        reduce: int | None = 50,
        **choices: Any,
    ) -> ActivationAtlas:
        r"""
        The atlas of the vectors that speak for one of two classes, from those for the first on the left to those for the second.

        To the right runs the difference of attributions, second less first, over the 99th percentile of its size and clipped to
        [-1, 1]; downward a layout with one coordinate.

        Args:
            first, second (int or iterable of int): Of those that were collected.
            count (int, optional): For each class. Default: 2500
            method, seed, reduce, choices: Of the layout, as in :func:`~captum_proto.features.activation_atlas.lay_out`.

        Returns:
            ActivationAtlas: Laid out; to be gridded.

        Raises:
            ValueError: If attributions to a class were not collected, or no vector speaks for either.
        """
        atlas = self._part(self.result.vectors.favoring([first, second], count))
        vectors = atlas.result.vectors
        difference = (vectors.attribution(second) - vectors.attribution(first)).double()
        scale = (
            float(torch.quantile(difference.abs(), 0.99)) if len(vectors) < 1_000_000 else float(difference.abs().max())
        )
        across = (difference / (scale or 1.0)).clamp(-1, 1) * 0.5 + 0.5
        down = normalize_layout(lay_out(vectors.vectors, method, 1, seed, reduce, **choices)).flatten()
        named = method if isinstance(method, str) else getattr(method, "__name__", type(method).__name__)
        pair = [list(vectors.targets[vectors.column(target)]) for target in (first, second)]
        atlas._laid_out(
            torch.stack([across, down], 1),
            {"method": named, "seed": seed, "reduce": reduce, "between": pair, **choices},
        )
        return atlas

    def suggest_patch(
        self, images: Images, target: Any, against: Any, level: int | None = None, **choices: Any
    ) -> PatchResult:
        """
        Try the patch that an atlas suggests: the picture of the cell that most favors one class over another, pasted into images of the
        other, beside controls.

        Args:
            images (Tensor or iterable): Natural images; those count that the model takes for ``target``.
            target (int or iterable of int): The class of the images.
            against (int or iterable of int): The class that the patch is to turn them into.
            level (int, optional): The size of the grid to choose from. Default: None, the finest
            **choices: Further arguments of :func:`~captum_proto.features.activation_atlas.try_patch`.

        Returns:
            PatchResult: How many images change their class, by the patch and by the controls.

        Raises:
            ValueError: If attributions to a class were not collected, or no image is taken for ``target``.
            RuntimeError: If cells are not drawn yet.
        """
        result = self.result
        if not result.levels:
            raise StateError("there is no grid yet; call grid first.")
        chosen = result.levels[-1] if level is None else result.level(level)
        if chosen.icons is None:
            raise StateError("the cells have no pictures yet; call render first.")
        first, second = result.vectors.column(target), result.vectors.column(against)
        favors = chosen.attributions[:, second] - chosen.attributions[:, first]
        low, high = self.value_range
        return try_patch(
            self.forward_func,
            images,
            low + chosen.icons.float() / 255 * (high - low),
            favors,
            result.vectors.targets[first],
            result.vectors.targets[second],
            self.preprocess,
            value_range=self.value_range,
            **choices,
        )

    def _part(self, vectors: AtlasVectors) -> ActivationAtlas:
        return ActivationAtlas(
            self.forward_func,
            self.layer,
            self.preprocess,
            channel_axis=self.channel_axis,
            value_range=self.value_range,
            result=AtlasResult(vectors),
        )

    def _laid_out(self, coordinates: Tensor, settings: dict[str, Any]) -> None:
        result = self.result
        result.coordinates, result.levels, result.settings = coordinates, [], {"layout": settings}


def eight_bits(images: Tensor, value_range: tuple[float, float]) -> Tensor:
    """Pictures as they are shown and kept: uint8, on the CPU."""
    if not images.is_floating_point():
        raise InputTypeError(f"images are of {images.dtype}; expected floating point.")
    low, high = value_range
    return ((images.detach().float().cpu() - low) / (high - low) * 255).round().clamp(0, 255).to(torch.uint8)


__all__ = ["ActivationAtlas", "eight_bits"]
