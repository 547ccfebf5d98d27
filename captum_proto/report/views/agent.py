"""What an agent's value is made of, and what happens without a part of it: features, episodes, failures, and what to trust."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from captum_proto._utils.tables import number, percent
from captum_proto.metrics import EpisodeEnds, FailureChange, ObjectAgreement, compare_failures
from captum_proto.metrics.failures import change_cells, failure_cells
from captum_proto.metrics.object_agreement import IOU, POINTING
from captum_proto.report.blocks import Files, Paragraphs, Picture, Pictures, Table
from captum_proto.report.page import Page, Section
from captum_proto.report.unit_rows import Strip, Unit, UnitRows

#: An edit is said to work from so many times as many failures on.
TIMES = 5.0
#: Features that are seen at once.
_LEADING = 3


@dataclass(frozen=True)
class SeenFeature:
    """
    Pictures of a feature.

    Attributes:
        seen (str): A strip of the observations in which it counts most.
        counts (str): A strip of where in them it counts.
        contributions (list[float]): What it contributes to the value of each.
    """

    seen: str
    counts: str
    contributions: list[float]


@dataclass(frozen=True)
class SeenEpisode:
    """
    A picture of an episode.

    Attributes:
        picture (str): Frames and curves.
        level (int): Its number.
        cause (str): Why it ended.
        steps (int): How long it was.
    """

    picture: str
    level: int
    cause: str
    steps: int


@dataclass(frozen=True)
class AgentFindings:
    """
    What the page of an agent tells.

    Attributes:
        name (str): Of the agent and its environment.
        layer (str): To which it is attributed.
        output (str): What is attributed: "value", or an action, for its logit.
        kernel (str, optional): The layer that edits change; None: what ``layer`` returns.
        facts (dict): Figures of the attributions and the features.
        agreement (ObjectAgreement): Of the features with objects.
        controls (dict[str, ObjectAgreement]): The same by name of a control.
        edits (dict): By object, the feature that was taken away for it.
        ends (dict[str, EpisodeEnds]): By agent, the original first.
        features (list[SeenFeature]): In the order of the features.
        episodes (list[SeenEpisode]): Some.
    """

    name: str
    layer: str
    output: str
    kernel: str | None
    facts: dict[str, Any]
    agreement: ObjectAgreement
    controls: dict[str, ObjectAgreement]
    edits: dict[str, Any]
    ends: dict[str, EpisodeEnds]
    features: list[SeenFeature]
    episodes: list[SeenEpisode]

    @property
    def what(self) -> str:
        """What is attributed, in words."""
        return self.output if self.output == "value" else f'logit of "{self.output}"'

    @property
    def original(self) -> EpisodeEnds:
        """Of the agent as it was."""
        return next(iter(self.ends.values()))

    def changes(self, name: str) -> list[FailureChange]:
        """What another agent does differently."""
        return compare_failures(self.original, self.ends[name])


def said(name: str) -> str:
    """The name of an object or a cause as it is read."""
    return name.replace("_", " ")


def agent_page(found: AgentFindings, settings: dict[str, Any], failures: Sequence[str] = ()) -> Page:
    """
    What the page says.

    Args:
        found (AgentFindings): What was found.
        settings (dict): What is recorded of the run.
        failures (sequence of str, optional): What was warned of. Default: nothing

    Returns:
        Page: Its paths are relative to the folder of the run.
    """
    page = Page(
        f"What an agent sees in {found.name}, and what it does without it", settings=settings, failures=list(failures)
    )
    levels, about = len(found.original.ends), found.agreement.score
    removed = [edit["feature"] for edit in found.edits.values()]
    order = sorted(
        range(len(found.features)),
        key=lambda k: (
            removed.index(k) if k in removed else len(removed),
            not found.agreement.names()[k],
            -found.facts["sizes"][k],
        ),
    )
    units = {k: feature_unit(found, k) for k in order}
    page.lead = [UnitRows([units[k] for k in order[:_LEADING]])]
    page.summary = [
        f"Features of an agent's {found.what}, each with the observations in which it counts most: as the agent sees them, in orange "
        f"where the feature raises it, in blue where it lowers it. The {found.what} is attributed to layer "
        f"{found.layer} along a straight path from "
        f"zeros, and {len(found.features)} features account for these attributions over {found.facts['observations']} observations.",
        f"{sum(map(bool, found.agreement.names()))} of {len(found.features)} features are about an object ({_share(about)}); "
        + "; ".join(f"of {name} {percent(each.score.value)}" for name, each in found.controls.items())
        + ".",
        f"As it is, the agent succeeds in {percent(found.original.rate(found.original.causes[0]).value)} of {levels} levels, "
        "other ones than those in which features were found.",
    ]
    page.summary += [_sentence(found, name, each) for name, each in found.edits.items()]
    page.legend = [
        "First row: what the agent sees. Second row: where the feature counts, orange for, blue against. The number beneath is what "
        f"it contributes to the {found.what}."
    ]
    page.trust = _trust(found)
    page.sections.append(Section("Failures before and after", [_failures(found), *_changes(found)], shown=1))
    page.sections.append(
        Section("Features", [UnitRows([units[k] for k in order]), _agreement(found), Paragraphs(_complete(found))])
    )
    if found.episodes:
        pictures = [
            Picture(
                each.picture, f"Level {each.level}: ended by {said(each.cause)} after {each.steps} steps.", small=False
            )
            for each in found.episodes
        ]
        page.sections.append(Section("Episodes", [Pictures(pictures)], shown=1))
    page.sections.append(Section("Do features agree with objects more than by chance?", [_scores(found)]))
    page.sections.append(
        Section(
            "Files", [Files(["failures.csv", "features/features.safetensors", "features/facts.json", "settings.json"])]
        )
    )
    return page


def feature_unit(found: AgentFindings, feature: int) -> Unit:
    """A feature with what is known of it, and its pictures."""
    agreement, best = found.agreement, int(found.agreement.best[feature])
    name = agreement.names()[feature]
    pointing = float(agreement.pointing[feature, best])
    facts = [
        f"{said(agreement.objects[best])}: IoU {number(float(agreement.iou[feature, best]))}, on it in "
        f"{percent(pointing) if pointing == pointing else '–'} of the {int(agreement.images[feature, best])} observations that show it (by "
        f"chance {percent(float(agreement.area[best]))})",
        f"contributes {number(found.facts['sizes'][feature])} to the {found.what} on average, in size",
    ]
    removed = [said(each) for each, edit in found.edits.items() if edit["feature"] == feature]
    if removed:
        facts.append(f"taken away as the feature of {', '.join(removed)}")
    drawn = found.features[feature]
    words = [f"{value:+.3f}" for value in drawn.contributions]
    strips = [
        Strip(drawn.seen, "what the agent sees", [""] * len(words)),
        Strip(drawn.counts, "where it counts", words),
    ]
    return Unit(f"feature {feature}" + (f": {said(name)}" if name else ", about no object"), facts, strips)


def _share(share: Any) -> str:
    return f"{percent(share.value)} [{percent(share.low)}, {percent(share.high)}]"


def _own(found: AgentFindings, name: str) -> tuple[FailureChange, list[FailureChange]] | None:
    """What the edit for an object does to failures at it, and to others."""
    condition = f"without the feature of {name}"
    if condition not in found.ends or name not in found.original.failures:
        return None
    changes = found.changes(condition)
    return next(each for each in changes if each.cause == name), [each for each in changes if each.cause != name]


def works(own: FailureChange) -> bool:
    """Whether an edit makes failures at its object at least five times as frequent, and their intervals lie apart."""
    return own.ratio >= TIMES and not own.within and own.after.value > own.before.value


def _sentence(found: AgentFindings, name: str, edit: dict[str, Any]) -> str:
    both = _own(found, name)
    if both is None:
        return f"Feature {edit['feature']} was taken away as that of {said(name)}."
    own, others = both
    apart = [said(each.cause) for each in others if not each.within]
    rest = f"beyond the intervals of {', '.join(apart)}" if apart else "other failures stay within their intervals"
    times = f"{number(own.ratio, 1)} times as often" if own.before.value else "where it never did before"
    return (
        f"Without feature {edit['feature']}, that of {said(name)}, it fails at {said(name)} in {percent(own.after.value)} of the levels "
        f"instead of {percent(own.before.value)}, {times}; {rest}."
    )


def _trust(found: AgentFindings) -> str:
    judged = {name: both for name in found.edits if (both := _own(found, name)) is not None}
    if not judged:
        return "Not known: no feature was taken away whose object is a cause of failure."
    good = [name for name, (own, others) in judged.items() if works(own) and all(each.within for each in others)]
    partly = [name for name, (own, _) in judged.items() if works(own) and name not in good]
    bad = [name for name in judged if name not in good and name not in partly]
    parts = []
    if good:
        parts.append(
            f"Of {', '.join(map(said, good))}, yes: without its feature the agent fails there at least {TIMES:.0f} times as often, and "
            "elsewhere as before"
        )
    if partly:
        parts.append(
            f"of {', '.join(map(said, partly))} in part: it fails there more often, and elsewhere, too, differently than before"
        )
    if bad:
        parts.append(
            f"of {', '.join(map(said, bad))}, no: without its feature the agent does not fail there so much more often"
        )
    text = "; ".join(parts)
    return text[0].upper() + text[1:] + "."


def _failures(found: AgentFindings) -> Table:
    header, rows = failure_cells(found.ends)
    caption = (
        "Of the same levels, the share in percent that a cause ends, with Wilson's intervals at 95%. The random direction shows what "
        "any edit does."
    )
    return Table([said(each) for each in header], [[said(row[0]), *row[1:]] for row in rows], caption)


def _changes(found: AgentFindings) -> list[Table]:
    tables = []
    for name in list(found.ends)[1:]:
        header, rows = change_cells(found.changes(name))
        caption = (
            f"{said(name).capitalize()}, beside the original. Times: after over before. p: McNemar's exact test on the same levels, after "
            "Holm's correction over causes."
        )
        tables.append(Table(header, [[said(row[0]), *row[1:]] for row in rows], caption))
    return tables


def _agreement(found: AgentFindings) -> Table:
    agreement = found.agreement
    rows = []
    for feature in range(len(agreement.iou)):
        cells = []
        for place in range(len(agreement.objects)):
            pointing = float(agreement.pointing[feature, place])
            cells.append(
                f"{float(agreement.iou[feature, place]):.3f} / {percent(pointing) if pointing == pointing else '–'}"
            )
        rows.append([f"feature {feature}", *cells])
    rows.append(["area of the object", *(percent(float(area)) for area in agreement.area)])
    caption = (
        "Intersection over union of where a feature is strongest and where an object is / of the observations that show the object, the "
        "share in which the feature is largest on it. Observations that the features were not found in."
    )
    return Table(["", *(said(name) for name in agreement.objects)], rows, caption)


def _scores(found: AgentFindings) -> Table:
    every = {"features of this agent": found.agreement, **found.controls}
    rows = []
    for name, each in every.items():
        best = each.iou.amax(1)
        rows.append([name, f"{int(each.about.sum())} of {len(best)}", _share(each.score), number(float(best.mean()))])
    caption = (
        f"A feature is about an object if its IoU is above {IOU:g} and it is largest on the object in more than {POINTING:.0%} of the "
        "observations that show it: in place of the people who rated features of agents trained on ever more levels."
    )
    return Table(["", "about an object", "share", "mean best IoU"], rows, caption)


def _complete(found: AgentFindings) -> list[str]:
    facts = found.facts
    where = f"the kernel {found.kernel}, which reads the layer" if found.kernel else "what the layer returns"
    return [
        f"Attributions miss what they should sum to by {percent(facts['completeness_median'])} of the {found.what} in the median "
        f"observation, and in the worst by {percent(facts['completeness_worst'])} of its mean size. The features miss "
        f"{percent(facts['error'])} of the size of the attributions "
        f"they were found in, and {percent(facts['missed'])} of others. A feature is taken away by a projection of {where}.",
    ]


__all__ = ["TIMES", "AgentFindings", "SeenEpisode", "SeenFeature", "agent_page", "feature_unit", "said", "works"]
