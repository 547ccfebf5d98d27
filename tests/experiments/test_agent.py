"""The study of an agent: the one that comes with the package, a few levels of it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch

from captum_proto.attr import LayerActivationPath
from captum_proto.cli import main
from captum_proto.experiments.agent import RANDOM, AgentSetup, StudyAgent, agent_setup
from captum_proto.features import AttributionNMF
from captum_proto.metrics import EpisodeEnds
from captum_proto.report.page import Page
from captum_proto.runs.tasks import carry_out
from captum_proto.testing import SideScroller


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, EpisodeEnds]]:
    folder = tmp_path_factory.mktemp("agent")
    protocol = StudyAgent(
        agent_setup("side-scroller"),
        levels=16,
        observed_levels=12,
        observations=4,
        without=["saw"],
        hide=["saw"],
        episodes=1,
        at_once=16,
        chunk=16,
    )
    return folder, carry_out(protocol, folder)


def test_who_does_not_see_saws_dies_at_saws(studied: tuple[Path, dict[str, EpisodeEnds]]) -> None:
    _, ends = studied
    names = ["original", "without the feature of saw", RANDOM, "saw not drawn"]
    assert list(ends) == names
    saws = [found.count("saw") for found in ends.values()]
    assert saws[1] > saws[0]
    assert saws[3] > saws[0]
    assert all(torch.equal(found.levels, ends["original"].levels) for found in ends.values())


def test_every_share_is_written_with_its_interval(studied: tuple[Path, dict[str, EpisodeEnds]]) -> None:
    folder, ends = studied
    with (folder / "failures.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4 * 4
    saw = next(row for row in rows if row["agent"] == "without the feature of saw" and row["cause"] == "saw")
    share = ends["without the feature of saw"].rate("saw")
    assert (float(saw["share"]), float(saw["low"]), float(saw["high"])) == (share.value, share.low, share.high)


def test_features_and_what_is_known_of_them(studied: tuple[Path, dict[str, EpisodeEnds]]) -> None:
    folder, _ = studied
    nmf = AttributionNMF.load(folder / "features" / "features.safetensors")
    facts = json.loads((folder / "features" / "facts.json").read_text())
    edits = json.loads((folder / "features" / "edits.json").read_text())
    controls = json.loads((folder / "controls.json").read_text())
    assert nmf.directions.shape == (8, 12)
    assert facts["observations"] == 48
    assert 0 < facts["error"] < facts["missed"] + 0.5
    assert 0 <= edits["saw"]["feature"] < 8
    assert {"random directions", "untrained network"} <= controls.keys()


def test_the_page_shows_features_failures_and_an_episode(studied: tuple[Path, dict[str, EpisodeEnds]]) -> None:
    folder, _ = studied
    page = Page.load(folder)
    titles = [section.title for section in page.sections]
    assert titles[:3] == ["Failures before and after", "Features", "Episodes"]
    assert (folder / "episodes" / "episode_0.png").is_file()
    assert "saw" in page.trust
    assert all((folder / path).is_file() for path in page.files())


def test_attributions_of_an_action(studied: tuple[Path, dict[str, EpisodeEnds]]) -> None:
    setup = agent_setup("side-scroller")
    frames, _ = SideScroller(2).reset(options={"levels": [1, 2]})
    from captum_proto.metrics.failures import observed

    found = LayerActivationPath(setup.policy, setup.layer).account(observed(frames), target=2, n_steps=20)
    assert found.values.shape == (2, 12, 16, 16)


def test_minigrid(tmp_path: Path) -> None:
    pytest.importorskip("minigrid")
    protocol = StudyAgent(
        agent_setup("minigrid-lava"), levels=6, observed_levels=4, observations=2, n_features=4, at_once=6, episodes=0
    )
    ends = carry_out(protocol, tmp_path)
    assert ends["original"].causes[:2] == ("goal", "lava")
    assert ends["original"].rate("goal").value > 0.8


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["side-scrolller"], "side-scroller"),
        (["side-scroller", "--without", "moon"], "no object"),
        (["minigrid-lava", "--hide", "lava"], "leave out hide"),
        (["side-scroller", "--environment", "MiniGrid-Empty-5x5-v0"], "only minigrid-lava takes one"),
        (["side-scroller", "--levels", "0"], "levels is 0"),
        (["side-scroller", "--checkpoint", "nowhere.safetensors"], "there is no file"),
        (["minigrid-lava", "--environment", "MiniGrid-Moon-v0"], "cannot be made"),
    ],
)
def test_bad_input_is_a_sentence(
    given: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if "minigrid-lava" in given:
        pytest.importorskip("minigrid")
    assert main(["agent", *given, "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not (tmp_path / "out").exists()


def test_a_setup_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from captum_proto.experiments.agent import AgentSetup\n"
        "from captum_proto.testing import SideScroller, scroller_agent\n\n"
        "def setup():\n"
        '    return AgentSetup("mine", scroller_agent(), SideScroller, "seen")\n\n'
        "def wrong():\n"
        "    return 3\n"
    )
    found = agent_setup(f"{tmp_path / 'mine.py'}:setup")
    assert isinstance(found, AgentSetup)
    assert found.kernel is None
    with pytest.raises(TypeError, match="AgentSetup"):
        agent_setup(f"{tmp_path / 'mine.py'}:wrong")
