"""What an optimization changes, and the images that it stands for."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from typing import Any, TypeVar

from torch import Tensor

from captum_proto._utils.checks import check_images
from captum_proto._utils.errors import InputError
from captum_proto.optim.random import RandomStream

Self = TypeVar("Self", bound="Parametrization")


class Parametrization(ABC):
    """
    A way to write inputs down: parameters, and the picture of them that the model sees.

    Parameters are a dict of tensors, the dimension of the prototypes in front of each; nothing in them may depend on another prototype's.
    A subclass implements :meth:`start` and :meth:`render`, where its parameters have limits :meth:`project`, and where it can start from
    given images :meth:`parameters_of`. What it needs to know of the images is in ``shape`` and ``value_range``, once an optimization has
    made its copy with :meth:`for_images`. The objective is the same in every parametrization; which of its optima an optimization finds,
    and how soon, is not.

    Inputs need not be images: rows of a table and embedded texts are inputs too. Such a parametrization says so with ``of_images``, knows
    its own ``input_shape``, checks given inputs itself (``check``), and makes in ``finish`` the choices that a gradient cannot.

    Attributes:
        shape (tuple[int, ...]): Of one input, (C, H, W) for an image.
        value_range (tuple[float, float]): The least and the greatest value of an input.
        of_images (bool): Whether inputs are images: the transform and the penalty of Prototype Generation are of images alone.
        input_shape (tuple[int, ...], optional): The shape of one input, where the parametrization itself knows it.
        draws (bool): Whether :meth:`composed` or ``drawn`` takes random numbers.
        resizes (bool): Whether :meth:`at` may show smaller inputs than those that come back.
    """

    shape: tuple[int, ...] = ()
    value_range: tuple[float, float] = (0.0, 1.0)
    of_images: bool = True
    input_shape: tuple[int, ...] | None = None
    draws: bool = False
    resizes: bool = False

    @property
    def changes_until(self) -> float:
        """The share of the steps until which :meth:`at` shows other pictures of the same parameters; 0 where it never does."""
        return 0.0 if type(self).at is Parametrization.at else 1.0

    def for_images(self: Self, shape: tuple[int, ...], value_range: tuple[float, float]) -> Self:
        """The same parametrization of inputs of this shape and range: a copy, for the original may be shared."""
        made = copy.copy(self)
        made.shape, made.value_range = shape, value_range
        return made

    def at(self: Self, progress: float) -> Self:
        """
        What the model is shown when a share of the steps is done: itself, unless it goes from coarse to fine.

        Parameters are the same at any time; snapshots and what comes back are of the parametrization itself.

        Args:
            progress (float): From 0, at the first step of the main objective and in a warm-up, to 1, when all are done.
        """
        return self

    def drawn(self: Self, random: RandomStream | None) -> Self:
        """
        What is rendered at a step where rendering itself is random, as a draw of tokens is: itself, unless it is.

        Args:
            random (RandomStream, optional): Of this step; None: without anything random, and so are all pictures that come back.
        """
        return self

    def check(self, inputs: Tensor, value_range: tuple[float, float], name: str) -> Tensor:
        """
        Given inputs (N, …) that are as they should be: images in ``value_range``, unless a subclass knows better.

        Args:
            inputs (Tensor): To start from.
            value_range (tuple[float, float]): Of the optimization.
            name (str): What a message calls them.

        Raises:
            TypeError, ValueError: If they are not.
        """
        return check_images(inputs, value_range, name)

    @abstractmethod
    def start(self, random: RandomStream, shape: tuple[int, ...]) -> dict[str, Tensor]:
        """
        Random parameters.

        Args:
            random (RandomStream): Where the numbers come from: each prototype's from its own stream.
            shape (tuple[int, ...]): Of one input.

        Returns:
            dict[str, Tensor]: (N, ...) each; the optimization gives them the device and the dtype of its images.
        """

    @abstractmethod
    def render(self, parameters: dict[str, Tensor]) -> Tensor:
        """The inputs (N, …) that parameters stand for, differentiably."""

    def composed(self, inputs: Tensor, random: RandomStream | None) -> Tensor:
        """
        What the model sees of inputs (N, …): the inputs themselves, unless a part of them, such as an alpha channel, is not for the model.

        Args:
            inputs (Tensor): Of :meth:`render`.
            random (RandomStream, optional): Of this step; None: without anything random.
        """
        return inputs

    def project(self, parameters: dict[str, Tensor]) -> None:  # noqa: B027  # many have nothing to put back
        """Put parameters back where they are allowed to be, in place: called after each step, without gradients."""

    def finish(self, parameters: dict[str, Tensor]) -> None:  # noqa: B027  # most have no choice left to make
        """Make the choices that a gradient cannot make, in place: called once, after the last step, without gradients."""

    def parameters_of(self, images: Tensor) -> dict[str, Tensor]:
        """
        The parameters of given images (N, …).

        Raises:
            ValueError: If this parametrization has none for given images.
        """
        raise InputError(
            f"{type(self).__name__} cannot start from given images; leave them out, or choose another parametrization."
        )

    def settings(self) -> dict[str, Any]:
        """What it is, as JSON can hold it."""
        return {"name": type(self).__name__}
