"""The side-scroller: the same level each time, Gymnasium's API, masks that are true, and an agent that looks where it goes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from captum_proto.attr import LayerActivationPath
from captum_proto.metrics import play_levels
from captum_proto.metrics.failures import observed
from captum_proto.testing import SideScroller, scroller_agent, single_side_scroller
from captum_proto.testing.side_scroller.agent import CHECKPOINT
from captum_proto.testing.side_scroller.drawing import AGENT_COLUMN, OBJECTS, UNIT, draw
from captum_proto.testing.side_scroller.expert import expert_actions
from captum_proto.testing.side_scroller.levels import make_levels
from captum_proto.testing.side_scroller.simulator import ACTIONS, CAUSES, advance, begin
from captum_proto.testing.side_scroller.training import train_agent

RIGHT = ACTIONS.index("right")


def test_a_level_is_the_same_alone_and_among_others() -> None:
    many, alone = SideScroller(3), SideScroller(1)
    several, _ = many.reset(options={"levels": [5, 6, 7]})
    single, _ = alone.reset(options={"levels": [6]})
    for _ in range(40):
        assert np.array_equal(several[1], single[0])
        several, single = many.step([4, RIGHT, 0])[0], alone.step([RIGHT])[0]


def test_who_sees_the_state_reaches_the_coin() -> None:
    levels = make_levels(range(12))
    state = begin(levels)
    while not state.cause.all():
        advance(levels, state, expert_actions(levels, state))
    assert [CAUSES[cause] for cause in state.cause].count("coin") >= 11


def test_masks_are_where_objects_are_drawn() -> None:
    levels = make_levels(range(40))
    state = begin(levels)
    for _ in range(12):
        advance(levels, state, np.full(40, RIGHT))
    frames, labels = draw(levels, state)
    hidden, without = draw(levels, state, hidden=("saw",))
    saw = labels == OBJECTS.index("saw")
    assert saw.any()
    assert not (without == OBJECTS.index("saw")).any()
    assert np.array_equal(frames[~saw], hidden[~saw])  # nothing else depends on whether it is drawn
    assert (frames[saw] != hidden[saw]).any()
    for row in range(40):
        for place in np.flatnonzero(levels.kinds[row] == 1):
            column = round(state.objects[row, place] * UNIT) - round(state.x[row] * UNIT) + AGENT_COLUMN
            if 4 <= column < 60:
                assert saw[row, 42:48, column - 4 : column + 4].any()
    velocity = frames[:, 2, 2, 0]
    assert (velocity == np.where(state.vx > 0, 255, 127)).all()  # at full speed, or stopped by a crate
    assert set(frames[labels == OBJECTS.index("velocity")].ravel()) <= {127, 255}


def test_what_has_ended_stays_until_it_is_reset() -> None:
    environment = SideScroller(2)
    environment.reset(options={"levels": [0, 1]})
    total = np.zeros(2)
    for _ in range(260):
        frames, rewards, terminated, truncated, info = environment.step([1, 1])
        total += rewards
    assert truncated.all()
    assert not terminated.any()
    assert (info["cause"] == "time").all()
    again, _, _, _, _ = environment.step([2, 2])
    assert np.array_equal(again, frames)
    _, info = environment.reset(options={"levels": [8, 9], "reset_mask": [True, False]})
    assert info["cause"].tolist() == ["", "time"]
    assert info["level"].tolist() == [8, 1]


def test_a_seed_draws_levels_that_are_not_trained_on() -> None:
    environment = SideScroller(4)
    first, second = (environment.reset(seed=3)[1]["level"] for _ in range(2))
    assert np.array_equal(first, second)
    assert (first >= SideScroller.training_levels).all()
    assert not np.array_equal(environment.reset()[1]["level"], first)


def test_it_has_gymnasiums_api() -> None:
    gymnasium = pytest.importorskip("gymnasium")
    from gymnasium.utils.env_checker import check_env

    check_env(single_side_scroller(), skip_render_check=True)
    environment = SideScroller(3)
    frames, _ = environment.reset(seed=0)
    assert environment.observation_space.contains(frames)
    assert environment.single_action_space.n == len(environment.actions)
    assert environment.action_space.shape == (3,)
    assert environment.metadata["autoreset_mode"] is gymnasium.vector.AutoresetMode.DISABLED


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="cannot be hidden"):
        SideScroller(1, hidden=("moon",))
    environment = SideScroller(2)
    with pytest.raises(ValueError, match="call reset first"):
        environment.step([0, 0])
    with pytest.raises(ValueError, match="one for each environment"):
        environment.reset(options={"levels": [1]})
    environment.reset()
    with pytest.raises(ValueError, match="from 0 to 5"):
        environment.step([0, 6])


def test_training_learns_and_is_the_same_each_time() -> None:
    agent, figures = train_agent(levels=50, rounds=1, played=2, updates=6, batch_size=16)
    again, _ = train_agent(levels=50, rounds=1, played=2, updates=6, batch_size=16)
    assert figures[0]["imitation"] < 1.75  # of six actions by chance: 1.8
    assert all(torch.equal(a, b) for a, b in zip(agent.parameters(), again.parameters(), strict=True))


def test_the_agent_that_comes_with_the_package_plays_and_looks() -> None:
    assert CHECKPOINT.stat().st_size < 1_000_000
    agent = scroller_agent()
    levels = range(3_000_000, 3_000_040)
    ends = play_levels(lambda x: agent(x)[0], SideScroller, levels, at_once=40)
    # An untrained agent does the same thing all the time, if it is lucky to jump: then it gets over some obstacles by chance.
    control = play_levels(lambda x: torch.eye(6)[[5]].expand(len(x), -1), SideScroller, levels, at_once=40)
    assert ends.count("coin") > 32 > control.count("coin") + 6
    blind = play_levels(lambda x: agent(x)[0], lambda n: SideScroller(n, hidden=("saw",)), levels, at_once=40)
    assert blind.count("saw") >= 5 * max(1, ends.count("saw"))


def test_its_value_is_accounted_for() -> None:
    agent = scroller_agent()
    frames, _ = SideScroller(4).reset(options={"levels": [1, 2, 3, 4]})
    found = LayerActivationPath(lambda x: agent(x)[1], "seen").account(observed(frames), n_steps=40)
    assert float(found.completeness_error.median()) < 0.05
