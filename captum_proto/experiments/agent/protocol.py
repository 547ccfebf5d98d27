"""What an agent's value is made of, and what it does when a feature is taken from it."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from captum_proto._utils.checks import check_int
from captum_proto._utils.errors import InputError
from captum_proto._utils.files import load_json
from captum_proto.attr import LayerActivationPath
from captum_proto.attr.layer_activation_path import METHODS
from captum_proto.edit import project_out
from captum_proto.experiments.agent.observe import Episode, Observations, observe
from captum_proto.experiments.agent.page import (
    AGREEMENT,
    CONTROLS_KIND,
    EDITS,
    EDITS_KIND,
    EPISODE_KIND,
    EPISODES,
    FACTS_KIND,
    FAILURES,
    FEATURES,
    agent_page_of,
)
from captum_proto.experiments.agent.pictures import draw_episode, draw_features
from captum_proto.experiments.agent.setup import VALUE, AgentSetup
from captum_proto.features import AttributionNMF
from captum_proto.metrics import EpisodeEnds, compare_failures, object_agreement, play_levels
from captum_proto.metrics.object_agreement import ObjectAgreement
from captum_proto.report.html import write_page
from captum_proto.runs.files import write_json, write_rows
from captum_proto.runs.provenance import provenance
from captum_proto.runs.tasks import Protocol, Run, Task

_SEEN, _ENDS, _CONTROLS = "seen", "ends", "controls"
ORIGINAL, RANDOM = "original", "without a random direction"
#: Levels of the side-scroller from here on are not trained on; those that features are found in begin later than those that are counted.
FIRST_LEVEL, FIRST_OBSERVED, APART = 1_000_000, 500_000_000, 1_000_000


@dataclass(frozen=True)
class StudyAgent(Protocol[dict[str, EpisodeEnds]]):
    """
    Attributions of an agent's value, their features, and its failures before and after edits.

    Args:
        setup (AgentSetup): The agent and its environment.
        levels (int): That are played with each agent. Default: 2000
        observed_levels (int): Others, in which features are found. Default: 128
        observations (int): Of each of these. Default: 4
        output (str): What is attributed: "value", or an action, for its logit. Default: "value"
        n_features (int): Default: 8
        n_steps (int): Of the path. Default: 10
        method (str): See :class:`~captum_proto.attr.LayerActivationPath`. Default: "riemann_right"
        without (sequence of str, optional): Objects whose feature is taken away, one agent for each. Default: None, those that are deadly
        hide (sequence of str): Objects that are not drawn, for the agent as it is: what a feature's loss can do at most. Default: none
        episodes (int): That are shown. Default: 4
        at_once (int): Levels side by side. Default: 128
        chunk (int): Levels after which a run can be resumed. Default: 500
        seed (int): Which levels and times. Default: 0

    Raises:
        InputError: If an argument is out of its range, or there is no such object.
    """

    setup: AgentSetup
    levels: int = 2000
    observed_levels: int = 128
    observations: int = 4
    output: str = VALUE
    n_features: int = 8
    n_steps: int = 10
    method: str = "riemann_right"
    without: Sequence[str] | None = None
    hide: Sequence[str] = ()
    episodes: int = 4
    at_once: int = 128
    chunk: int = 500
    seed: int = 0

    unit = "levels"

    def __post_init__(self) -> None:
        for name in ("levels", "observations", "n_features", "at_once", "chunk"):
            check_int(getattr(self, name), name, 1)
        for name in ("observed_levels", "n_steps"):
            check_int(getattr(self, name), name, 2)
        check_int(self.episodes, "episodes", 0)
        check_int(self.seed, "seed", 0)
        if self.method not in METHODS:
            raise InputError(f'method is "{self.method}"; expected one of {", ".join(METHODS)}.')
        self.setup.score(self.output)
        environment = self.setup.make(1)
        for name in [*(self.without or []), *self.hide]:
            if name not in environment.objects:
                raise InputError(
                    f'"{name}" is no object of "{environment.name}"; it has {", ".join(environment.objects)}.'
                )
        if self.hide and self.setup.hide is None:
            raise InputError(f'"{environment.name}" draws all of its objects; leave out hide.')

    @property
    def removed(self) -> list[str]:
        """Objects whose feature is taken away."""
        return list(self.setup.make(1).deadly if self.without is None else self.without)

    @property
    def conditions(self) -> list[str]:
        """The agents whose failures are counted, the original first."""
        return [
            ORIGINAL,
            *(f"without the feature of {name}" for name in self.removed),
            RANDOM,
            *(f"{name} not drawn" for name in self.hide),
        ]

    def provenance(self) -> dict[str, Any]:
        choices = (
            "levels",
            "observed_levels",
            "observations",
            "output",
            "n_features",
            "n_steps",
            "method",
            "hide",
            "episodes",
        )
        more = {name: getattr(self, name) for name in (*choices, "at_once", "chunk", "seed")}
        return provenance("agent", {"agent": self.setup.provenance(), "without": self.removed, **more})

    def tasks(self) -> list[Task]:
        found = [Task(_SEEN, weight=0), Task(FEATURES, needs=(_SEEN,), weight=0)]
        found.append(Task(_CONTROLS, needs=(_SEEN,), weight=0))
        found.append(Task(EPISODES, needs=(_SEEN, FEATURES), weight=0))
        for place, _ in enumerate(self.conditions):
            for part, begin in enumerate(range(0, self.levels, self.chunk)):
                count = min(self.chunk, self.levels - begin)
                found.append(Task(f"{_ENDS}/{place:02d}/{part:03d}", needs=(FEATURES,), weight=count))
        return found

    def begun(self) -> dict[str, Any]:
        return {"conditions": self.conditions}

    def make(self, task: Task, run: Run) -> None:
        kind, *rest = task.name.split("/")
        if kind == _SEEN:
            self._observe(run.folder)
        elif kind == FEATURES:
            self._find_features(run.folder)
        elif kind == _CONTROLS:
            self._controls(run.folder)
        elif kind == EPISODES:
            self._draw_episodes(run.folder)
        else:
            self._play(int(rest[0]), int(rest[1]), run.folder)

    def summarize(self, run: Run) -> dict[str, EpisodeEnds]:
        ends = {
            name: _joined(sorted((run.folder / _ENDS / f"{place:02d}").glob("*.safetensors")))
            for place, name in enumerate(self.conditions)
        }
        (run.folder / FAILURES).mkdir(exist_ok=True)
        for place, found in enumerate(ends.values()):
            found.save(run.folder / FAILURES / f"{place:02d}.safetensors", overwrite=True)
        write_failures(ends, run.folder / "failures.csv")
        write_page(agent_page_of(run.folder, run.warnings()), run.folder)
        return ends

    # What tasks do

    def _observe(self, folder: Path) -> None:
        first = FIRST_OBSERVED + APART * self.seed
        levels = np.arange(first, first + self.observed_levels)
        found, episodes = observe(self.setup, levels, self.observations, self.episodes, self.at_once, self.seed)
        (folder / _SEEN).mkdir(exist_ok=True)
        found.save(folder / _SEEN / "observations.safetensors")
        for number, episode in enumerate(episodes):
            episode.save(folder / _SEEN / f"episode_{number}.safetensors")

    def _attributions(self, agent: AgentSetup, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of the value to the layer; how incomplete they are, and the values."""
        path = LayerActivationPath(agent.score(self.output), agent.layer)
        found = [
            path.account(part, None, self.n_steps, self.method, tolerance=float("inf"))
            for part in torch.split(images, 64)
        ]
        values, scores = (torch.cat([getattr(each, name) for each in found]) for name in ("values", "scores"))
        return values, torch.cat([each.delta for each in found]), scores

    def _halves(self, seen: Observations) -> tuple[Tensor, Tensor]:
        """Which observations features are found in, and in which they are judged: of other levels."""
        return (seen.levels % 2 == 0).nonzero().flatten(), (seen.levels % 2 == 1).nonzero().flatten()

    def _find_features(self, folder: Path) -> None:
        seen = Observations.load(folder / _SEEN / "observations.safetensors")
        fitted, judged = self._halves(seen)
        values, delta, scores = self._attributions(self.setup, seen.images)
        nmf = AttributionNMF(self.n_features).fit(values[fitted])
        environment = self.setup.make(1)
        skip, names = environment.objects[:1], environment.objects
        found = nmf.transform(values)
        chosen = object_agreement(found.values[fitted], seen.labels[fitted].long(), names, self.setup.quantile, skip)
        agreement = object_agreement(found.values[judged], seen.labels[judged].long(), names, self.setup.quantile, skip)
        (folder / FEATURES).mkdir(exist_ok=True)
        nmf.save(folder / FEATURES / "features.safetensors", overwrite=True)
        edits = {"kind": EDITS_KIND, **self._edits(nmf, chosen)}
        write_json(folder / FEATURES / EDITS, edits, overwrite=True)
        error = delta.abs() / scores.abs().clamp(min=1e-12)
        facts = {
            "kind": FACTS_KIND,
            "observations": len(seen.frames),
            "shape": list(values.shape[1:]),
            "error": nmf.error,
            "missed": nmf.missed(values[judged]),
            "completeness_median": float(error.median()),
            "completeness_worst": float(delta.abs().max() / scores.abs().mean()),
            "value_mean": float(scores.mean()),
            "contributions": found.totals.mean(0).tolist(),
            "sizes": found.totals.abs().mean(0).tolist(),
            "agreement": agreement.to_json(),
        }
        write_json(folder / FEATURES / "facts.json", facts, overwrite=True)
        draw_features(seen.rows(judged), found.values[judged], folder / FEATURES)

    def _edits(self, nmf: AttributionNMF, chosen: ObjectAgreement) -> dict[str, Any]:
        """Which feature is taken away for each object, by the observations that features were found in."""
        edits: dict[str, Any] = {}
        for name in self.removed:
            if name in chosen.objects:
                feature = chosen.feature_of(name)
                edits[name] = {"feature": feature, "iou": float(chosen.iou[feature, chosen.objects.index(name)])}
        return edits

    def _controls(self, folder: Path) -> None:
        """The same score of a network with random weights, and of random directions in the trained one."""
        seen = Observations.load(folder / _SEEN / "observations.safetensors")
        fitted, judged = self._halves(seen)
        environment = self.setup.make(1)
        labels, skip = seen.labels[judged].long(), environment.objects[:1]
        controls: dict[str, Any] = {"kind": CONTROLS_KIND}
        values, _, _ = self._attributions(self.setup, seen.images[judged])
        directions = AttributionNMF.of(_random_directions(self.n_features, values.shape[1], self.seed))
        random = object_agreement(
            directions.transform(values).values, labels, environment.objects, self.setup.quantile, skip
        )
        controls["random directions"] = random.to_json()
        if self.setup.untrained is not None:
            other = AgentSetup("untrained", self.setup.untrained, self.setup.make, self.setup.layer)
            values, _, _ = self._attributions(other, seen.images)
            found = AttributionNMF(self.n_features).fit(values[fitted]).transform(values[judged])
            untrained = object_agreement(found.values, labels, environment.objects, self.setup.quantile, skip)
            controls["untrained network"] = untrained.to_json()
        write_json(folder / AGREEMENT, controls, overwrite=True)

    def _draw_episodes(self, folder: Path) -> None:
        nmf = AttributionNMF.load(folder / FEATURES / "features.safetensors")
        facts = load_json(folder / FEATURES / "facts.json", FACTS_KIND)
        (folder / EPISODES).mkdir(exist_ok=True)
        for path in sorted((folder / _SEEN).glob("episode_*.safetensors")):
            episode = Episode.load(path)
            values, _, _ = self._attributions(self.setup, episode.images)
            names = ObjectAgreement.from_json(facts["agreement"]).names()
            draw_episode(episode, nmf.transform(values).totals, names, folder / EPISODES / f"{path.stem}.png")
            described = {
                "kind": EPISODE_KIND,
                "level": episode.level,
                "cause": episode.cause,
                "steps": len(episode.values),
            }
            write_json(folder / EPISODES / f"{path.stem}.json", described, overwrite=True)

    def _play(self, place: int, part: int, folder: Path) -> None:
        begin = part * self.chunk
        numbers = FIRST_LEVEL + APART * self.seed + np.arange(begin, min(begin + self.chunk, self.levels))
        edit, make = self._condition(self.conditions[place], folder)
        with edit:
            ends = play_levels(self.setup.policy, make, numbers, self.at_once)
        (folder / _ENDS / f"{place:02d}").mkdir(parents=True, exist_ok=True)
        ends.save(folder / _ENDS / f"{place:02d}" / f"{part:03d}.safetensors", overwrite=True)

    def _condition(self, name: str, folder: Path) -> tuple[contextlib.AbstractContextManager[None], Any]:
        """The edit of an agent, and its environment."""
        if name == ORIGINAL:
            return contextlib.nullcontext(), self.setup.make
        if name.endswith(" not drawn"):
            assert self.setup.hide is not None  # checked at the beginning
            return contextlib.nullcontext(), self.setup.hide(name.removesuffix(" not drawn"))
        nmf = AttributionNMF.load(folder / FEATURES / "features.safetensors")
        if name == RANDOM:
            direction = _random_directions(1, nmf.directions.shape[1], self.seed + 1)[0]
        else:
            edits = load_json(folder / FEATURES / EDITS, EDITS_KIND)
            direction = nmf.directions[edits[name.removeprefix("without the feature of ")]["feature"]]
        kernel = self.setup.kernel
        layer = self.setup.layer if kernel is None else None
        return project_out(self.setup.agent, layer, direction, kernel=kernel), self.setup.make


def _random_directions(count: int, channels: int, seed: int) -> Tensor:
    """(count, channels), of at least 0 like those of features, of length 1."""
    drawn = torch.randn(count, channels, generator=torch.Generator().manual_seed(seed)).abs()
    return drawn / drawn.norm(dim=1, keepdim=True)


def _joined(paths: Sequence[Path]) -> EpisodeEnds:
    parts = [EpisodeEnds.load(path) for path in paths]
    levels, ends, steps = (torch.cat([getattr(part, name) for part in parts]) for name in ("levels", "ends", "steps"))
    return EpisodeEnds(levels, ends, steps, parts[0].causes)


def write_failures(ends: dict[str, EpisodeEnds], path: Path) -> None:
    """Every share with its interval, as CSV."""
    original = ends[ORIGINAL]
    header = ["agent", "cause", "levels", "count", "share", "low", "high", "times", "p_holm"]

    def rows() -> Any:
        for name, found in ends.items():
            for change in compare_failures(original, found):
                share = change.after
                yield [
                    name,
                    change.cause,
                    len(found.ends),
                    found.count(change.cause),
                    *map(repr, (share.value, share.low, share.high, change.ratio, change.q_value)),
                ]

    write_rows(path, header, rows())


__all__ = ["ORIGINAL", "RANDOM", "StudyAgent", "write_failures"]
