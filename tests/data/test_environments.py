"""Environments that others wrote, as levels: MiniGrid's, and what cannot be used."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from captum_proto.data.environments import GymnasiumLevels
from captum_proto.data.minigrid_levels import minigrid_levels

LAVA = "MiniGrid-LavaGapS5-v0"


@pytest.fixture
def gymnasium() -> Any:
    pytest.importorskip("minigrid")
    return pytest.importorskip("gymnasium")


def levels_of(make: Any) -> GymnasiumLevels:
    return GymnasiumLevels(make, 1, "theirs", ("won", "lost"), lambda *_: "won")


def test_minigrid_tells_its_objects_and_why_it_ended(gymnasium: Any) -> None:
    levels = minigrid_levels(LAVA, 2)
    frames, info = levels.reset(options={"levels": [3, 4]})
    again, _ = minigrid_levels(LAVA).reset(options={"levels": [4]})
    assert np.array_equal(frames[1], again[0])
    assert frames.shape == (2, 40, 40, 3)
    lava = info["labels"] == levels.objects.index("lava")
    assert lava.any((1, 2)).all()
    assert (frames[lava].reshape(-1, 3).mean(0) > (150, 50, 0)).all()  # it is drawn orange
    assert (info["labels"] == levels.objects.index("agent")).sum((1, 2)).tolist() == [64, 64]
    # Ahead of the agent is free ground and then the lava, or a way through it.
    ended = np.array(["", ""])
    for _ in range(4):
        _, _, terminated, truncated, info = levels.step(np.array([2, 2]))
        ended = info["cause"]
    assert set(ended) <= {"", "lava", "goal"}
    for _ in range(200):
        _, rewards, terminated, truncated, info = levels.step(np.array([0, 0]))
    assert (terminated | truncated).all()
    assert set(info["cause"]) <= {"lava", "time"}
    assert not rewards.any()
    levels.close()


def test_an_environment_that_opens_a_window_is_a_sentence(gymnasium: Any) -> None:
    def make() -> Any:
        made = gymnasium.make(LAVA)
        made.unwrapped.render_mode = "human"
        return made

    with pytest.raises(ValueError, match=r'opens a window .* render_mode="rgb_array"'):
        levels_of(make)


def test_an_environment_that_needs_a_display_is_a_sentence() -> None:
    def make() -> Any:
        raise RuntimeError("pygame.error: No available video device")

    with pytest.raises(ValueError, match=r"needs a display .*xvfb-run"):
        levels_of(make)


def test_an_environment_that_does_not_exist_is_a_sentence(gymnasium: Any) -> None:
    with pytest.raises(ValueError, match=r"cannot be made or reset \(NameNotFound"):
        minigrid_levels("MiniGrid-Moon-v0")


def test_observations_that_are_no_images_are_a_sentence(gymnasium: Any) -> None:
    with pytest.raises(ValueError, match=r"expected images \(H, W, 3\)"):
        levels_of(lambda: gymnasium.make("CartPole-v1")).reset()
    with pytest.raises(ValueError, match="expected discrete"):
        levels_of(lambda: gymnasium.make("Pendulum-v1"))


@pytest.mark.parametrize("package", ["gymnasium", "minigrid"])
def test_without_the_package_there_is_a_sentence(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if package == "minigrid":
        pytest.importorskip("gymnasium")
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=f"pip install {package}"):
        minigrid_levels(LAVA)
