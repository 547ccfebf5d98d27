"""The page of an agent, from the files in its folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from captum_proto._utils.files import load_json
from captum_proto.experiments.agent.pictures import PICTURES_KIND
from captum_proto.experiments.tasks_page import tasks_page
from captum_proto.metrics import EpisodeEnds, ObjectAgreement
from captum_proto.report.page import Page
from captum_proto.report.views.agent import AgentFindings, SeenEpisode, SeenFeature, agent_page
from captum_proto.runs.folder import RECORDED, is_finished, read_settings
from captum_proto.runs.tasks import warnings_of

FEATURES, EPISODES, FAILURES, EDITS, AGREEMENT = "features", "episodes", "failures", "edits.json", "controls.json"
FACTS_KIND, EDITS_KIND, CONTROLS_KIND, EPISODE_KIND = "facts of features", "choice of features", "controls", "episode"


def agent_page_of(folder: Path, warned: Sequence[str] | None = None) -> Page:
    """
    What a folder of an agent has to show, from the files in it; of an interrupted run, what its finished tasks wrote.

    Args:
        folder (Path): That :class:`~captum_proto.experiments.agent.StudyAgent` wrote to.
        warned (sequence of str, optional): What was warned of. Default: None, as recorded

    Raises:
        FileExistsError: If the folder holds no readable settings.
        ValueError: If the results are damaged.
    """
    if not (folder / FAILURES).is_dir() or (warned is None and not is_finished(folder)):
        return tasks_page(folder)
    settings = read_settings(folder)
    facts = load_json(folder / FEATURES / "facts.json", FACTS_KIND)
    recorded: dict[str, Any] = settings.get(RECORDED) or {}
    ends = [EpisodeEnds.load(path) for path in sorted((folder / FAILURES).glob("*.safetensors"))]
    findings = AgentFindings(
        name=str((settings.get("agent") or {}).get("name", "an agent")),
        layer=str((settings.get("agent") or {}).get("layer", "a layer")),
        output=str(settings.get("output", "value")),
        kernel=(settings.get("agent") or {}).get("kernel"),
        facts=facts,
        agreement=ObjectAgreement.from_json(facts["agreement"]),
        controls={
            name: ObjectAgreement.from_json(each) for name, each in load_json(folder / AGREEMENT, CONTROLS_KIND).items()
        },
        edits=load_json(folder / FEATURES / EDITS, EDITS_KIND),
        ends=dict(zip(recorded.get("conditions", []), ends, strict=True)),
        features=[
            SeenFeature(f"{FEATURES}/{each['seen']}", f"{FEATURES}/{each['counts']}", each["contributions"])
            for each in load_json(folder / FEATURES / "pictures.json", PICTURES_KIND)["features"]
        ],
        episodes=[
            SeenEpisode(f"{EPISODES}/{path.stem}.png", **load_json(path, EPISODE_KIND))
            for path in sorted((folder / EPISODES).glob("*.json"))
        ],
    )
    return agent_page(findings, settings, warnings_of(folder) if warned is None else warned)


__all__ = [
    "AGREEMENT",
    "CONTROLS_KIND",
    "EDITS",
    "EDITS_KIND",
    "EPISODES",
    "EPISODE_KIND",
    "FACTS_KIND",
    "FAILURES",
    "FEATURES",
    "agent_page_of",
]
