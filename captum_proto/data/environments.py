"""Environments that agents act in, a level for each number: what is asked of one, and Gymnasium's as such."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from captum_proto._utils.errors import CaptumProtoError, InputError, MissingPackageError


class Levels(Protocol):
    """
    Levels played side by side, with the API of ``gymnasium.vector.VectorEnv`` and autoreset disabled.

    ``reset(options={"levels": numbers})`` begins the levels of these numbers; a level that has ended stays as it is. ``info`` holds
    ``cause`` (N,), why a level ended, as one of ``causes``, or "" while it lasts, and ``labels`` (N, H, W), the number in ``objects`` of
    what each pixel shows.
    """

    @property
    def name(self) -> str:
        """Of the environment."""
        ...

    @property
    def num_envs(self) -> int:
        """N."""
        ...

    @property
    def actions(self) -> Sequence[str]:
        """By number."""
        ...

    @property
    def causes(self) -> Sequence[str]:
        """Why episodes end; the first is success."""
        ...

    @property
    def objects(self) -> Sequence[str]:
        """By number; 0 is the background."""
        ...

    @property
    def deadly(self) -> Sequence[str]:
        """Those of ``objects`` that are causes of failure too."""
        ...

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        """Observations (N, H, W, 3) from 0 to 255, and info."""
        ...

    def step(
        self, actions: NDArray[np.int64]
    ) -> tuple[NDArray[np.uint8], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Observations, rewards, terminated, truncated, and info."""
        ...


def gymnasium_package() -> Any:
    """
    Gymnasium.

    Raises:
        ImportError: If it is not installed.
    """
    try:
        import gymnasium
    except ImportError as error:
        raise MissingPackageError(
            "environments of Gymnasium need gymnasium, which is not installed; install it with: pip install gymnasium"
        ) from error
    return gymnasium


class GymnasiumLevels:
    """
    Environments that somebody else wrote, as levels: N of them side by side, each begun with ``reset(seed=number)``.

    Args:
        make (Callable): Makes one environment, of Gymnasium's API.
        num_envs (int): N.
        name (str): Of the environment.
        causes (sequence of str): Why episodes end; the first is success.
        cause (Callable): From an environment, its last reward, and whether it was terminated, to one of them.
        image (Callable, optional): From an environment and its observation to the image (H, W, 3) from 0 to 255 that the agent sees.
            Default: None, the observation itself
        objects (sequence of str, optional): What pixels may show; the first is the background. Default: none but it
        labels (Callable, optional): From an environment to the numbers (H, W) of what its image shows. Default: None, background
        actions (sequence of str, optional): Names. Default: none, they are numbered
        deadly (sequence of str, optional): Objects that are causes of failure too. Default: none

    Raises:
        ValueError: If an environment cannot be made, needs a display, or has no images or discrete actions.
    """

    def __init__(
        self,
        make: Callable[[], Any],
        num_envs: int,
        name: str,
        causes: Sequence[str],
        cause: Callable[[Any, float, bool], str],
        image: Callable[[Any, Any], NDArray[np.uint8]] | None = None,
        objects: Sequence[str] = ("background",),
        labels: Callable[[Any], NDArray[np.uint8]] | None = None,
        actions: Sequence[str] = (),
        deadly: Sequence[str] = (),
    ) -> None:
        self.name, self.num_envs, self.causes, self.objects, self.deadly = name, num_envs, causes, objects, deadly
        self._cause, self._image, self._labels = cause, image, labels
        self.single = [_made(make, name) for _ in range(num_envs)]
        choices = getattr(self.single[0].action_space, "n", None)
        if choices is None:
            raise InputError(f'"{name}" has actions {self.single[0].action_space}; expected discrete ones.')
        self.actions = tuple(actions) or tuple(f"action {number}" for number in range(int(choices)))

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        """As :class:`Levels` has it; without levels, those of ``seed`` and the numbers after it."""
        first = 0 if seed is None else seed
        numbers = (options or {}).get("levels", range(first, first + self.num_envs))
        observations = []
        for single, number in zip(self.single, numbers, strict=True):
            observation, _ = _without_display(lambda: single.reset(seed=int(number)), self.name)  # noqa: B023  # called at once
            observations.append(self._seen(single, observation))
        self._frames = np.stack(observations)
        self._shown = np.stack(
            [self._labeled(single, frame) for single, frame in zip(self.single, observations, strict=True)]
        )
        self._how = np.zeros((2, self.num_envs), dtype=bool)
        self._ended = np.array([""] * self.num_envs, dtype=object)
        return self._frames.copy(), self._info()

    def step(
        self, actions: NDArray[np.int64]
    ) -> tuple[NDArray[np.uint8], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """As :class:`Levels` has it."""
        rewards = np.zeros(self.num_envs)
        for row, (single, action) in enumerate(zip(self.single, actions, strict=True)):
            if self._ended[row]:
                continue
            observation, reward, terminated, truncated, _ = single.step(int(action))
            rewards[row], self._how[:, row] = reward, (terminated, truncated)
            self._frames[row] = self._seen(single, observation)
            self._shown[row] = self._labeled(single, self._frames[row])
            if terminated or truncated:
                self._ended[row] = self._cause(single, float(reward), bool(terminated))
        return self._frames.copy(), rewards, self._how[0].copy(), self._how[1].copy(), self._info()

    def close(self) -> None:
        """Close all environments."""
        for single in self.single:
            single.close()

    def _seen(self, single: Any, observation: Any) -> NDArray[np.uint8]:
        image = np.asarray(observation if self._image is None else self._image(single, observation))
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise InputError(
                f'"{self.name}" gives observations of shape {image.shape} and {image.dtype}; expected images (H, W, 3) from 0 to 255: wrap '
                'it so that it gives them, or make it with render_mode="rgb_array" and take what it renders.'
            )
        return image

    def _labeled(self, single: Any, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.zeros(frame.shape[:2], np.uint8) if self._labels is None else self._labels(single)

    def _info(self) -> dict[str, Any]:
        return {"cause": self._ended.astype(str), "labels": self._shown.copy()}


def _made(make: Callable[[], Any], name: str) -> Any:
    single = _without_display(make, name)
    if getattr(single, "render_mode", None) == "human":
        single.close()
        raise InputError(
            f'"{name}" opens a window (render_mode "human"), and a run has no display; make it with render_mode="rgb_array".'
        )
    return single


def _without_display(run: Callable[[], Any], name: str) -> Any:
    """What a call returns; of an environment that wants a display, or fails otherwise, a sentence."""
    try:
        return run()
    except CaptumProtoError:
        raise
    except Exception as error:  # somebody else's code raises anything
        said = " ".join(str(error).split())[:160]
        if any(word in said.lower() for word in ("display", "video device", "x server", "glx", "opengl")):
            raise InputError(
                f'"{name}" needs a display ({said}); make it with render_mode="rgb_array", or run it under xvfb-run.'
            ) from error
        raise InputError(
            f'"{name}" cannot be made or reset ({type(error).__name__}: {said}); see that it runs by itself.'
        ) from error


__all__ = ["GymnasiumLevels", "Levels", "gymnasium_package"]
