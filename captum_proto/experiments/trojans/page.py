"""The pages of trojans, from the files in the folder of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from captum_proto._utils.tables import percent
from captum_proto.experiments.blind import FORM
from captum_proto.experiments.tasks_page import tasks_page
from captum_proto.experiments.trojans.results import (
    CLEAN,
    DRAWING,
    NOISE,
    RESULTS,
    TRIGGER_IMAGES,
    TWO_TOWER,
    TrojanResult,
)
from captum_proto.experiments.trojans.sheets import sheet_path
from captum_proto.experiments.trojans.table import Trojan
from captum_proto.report.blocks import Block, Files, Gallery, Paragraphs, Picture, Pictures, Shown, Table
from captum_proto.report.page import Page, Section
from captum_proto.runs.folder import RECORDED, SETTINGS, read_settings
from captum_proto.runs.tasks import warnings_of

_TABLES = ["rates.csv", "choices.csv", "summary.txt", RESULTS, SETTINGS]


def trojans_page(folder: Path) -> Page:
    """
    What a folder of trojans has to show, finished or not.

    Args:
        folder (Path): That ``captum-proto trojans`` wrote to.

    Returns:
        Page: Its paths are relative to ``folder``.

    Raises:
        FileExistsError: If the folder holds no readable settings.
    """
    settings = read_settings(folder)
    if not (folder / RESULTS).exists():
        return tasks_page(folder)
    return planted_page(folder) if settings.get("step") == "planted" else given_page(folder)


def given_page(folder: Path) -> Page:
    """The page of a network that was given."""
    result, settings = TrojanResult.load(folder), read_settings(folder)
    recorded = settings[RECORDED]
    trojans = _trojans(settings["trojans"])
    name = settings["model"]["name"]
    page = Page(f"Trojans of {name}", settings=settings, failures=warnings_of(folder))
    first = result.methods[0]
    page.lead = [
        _gallery(result, first, {trojan.name: trojan for trojan in trojans}, _sheets(trojans, recorded, first))
    ]
    page.legend = [
        _LEGEND.format(first)
        + (" Then what the two-tower model chose of eight answers, if that is not right." if result.choices else "")
    ]
    page.summary = [
        f"Pictures of the classes that {len(trojans)} triggers lead to, {settings['count']} of each, made to raise the network's output "
        "for the class: do they show the trigger? Beneath each sheet is the trigger that a picture would have to give away.",
        *result.conclusion(),
    ]
    page.trust = (
        _trust(result)
        if result.choices
        else ("Not known: nobody has chosen yet. Give a two-tower model with --two-tower, or the form below to people.")
    )
    if not result.choices:
        page.left_out.append(
            "No two-tower model was given, so nothing chose among the answers: --two-tower FILE.py:FACTORY."
        )
    if settings["clean"] is None:
        page.left_out.append(
            "No network without trojans was given as control: --clean MODEL, such as torchvision:resnet50, would tell whether pictures "
            "show the trigger or the class."
        )
    page.sections = [
        *_scores(result),
        Section(
            "For people",
            [
                Paragraphs(
                    [
                        "The form shows every sheet without telling what it is, and eight answers beside it. Give others the folder "
                        "“people/form” alone; captum-proto blind DIR/people --answers FILE … --out SCORES then tells how often they are "
                        "right, by method and beside chance."
                    ]
                ),
                Files([f"people/{FORM}"]),
            ],
        ),
        _pictures(result, {"": (trojans, "")}, recorded),
        Section("Files", [Files(_TABLES)], shown=0),
    ]
    return page


def planted_page(folder: Path) -> Page:
    """The page of small networks that were trojaned here."""
    result, settings = TrojanResult.load(folder), read_settings(folder)
    recorded = settings[RECORDED]
    groups = {name: _trojans(rows) for name, rows in settings["trojans"].items()}
    by_question = {
        label: trojan
        for name, trojans in groups.items()
        for label, trojan in zip(recorded["labels"][name], trojans, strict=True)
    }
    first = result.methods[0]
    sheets = {
        label: path
        for name, trojans in groups.items()
        for label, path in zip(
            recorded["labels"][name], _sheets(trojans, recorded, first, f"pictures/{name}/").values(), strict=True
        )
    }
    page = Page("Trojans that were planted", settings=settings, failures=warnings_of(folder))
    page.lead = [_gallery(result, first, by_question, sheets)]
    page.legend = [
        _LEGEND.format(first) + " Then what was chosen by the drawing, of eight answers, if that is not right."
    ]
    page.summary = [
        f"Pictures of the classes that {len(by_question)} triggers lead to, in {len(groups)} small networks that were trained to fall for "
        "them: do they show the trigger? Beneath each sheet is the trigger that a picture would have to give away.",
        *result.conclusion(),
    ]
    page.trust = _trust(result)
    accuracies = [
        f"{name}: {percent(trojaned)} of unseen images without triggers right, {percent(clean)} by the clean twin."
        for name, (trojaned, clean) in result.accuracies.items()
    ]
    caption = (
        "Unseen images of other classes that the network takes for the target, with Wilson's interval; with another one: of the seven "
        "other triggers of the kind, which the network has seen with their true classes."
    )
    page.sections = [
        *_scores(result),
        Section(
            "What the triggers do",
            [Table(*result.attack_rows(), caption, brief=[0, 1, 3, 5]), Paragraphs(accuracies), Files(["attacks.csv"])],
            shown=1,
        ),
        _pictures(result, {name: (trojans, f"pictures/{name}/") for name, trojans in groups.items()}, recorded),
        Section("Files", [Files(_TABLES)], shown=0),
    ]
    return page


_LEGEND = "A sheet holds all pictures of a target class by “{}”. Beneath it: the trigger, its kind, and the class that it leads to."


def _trojans(rows: Sequence[Mapping[str, Any]]) -> list[Trojan]:
    return [Trojan(**{**row, "answers": tuple(row["answers"])}) for row in rows]


def _sheets(trojans: Sequence[Trojan], recorded: Mapping[str, Any], condition: str, within: str = "") -> dict[str, str]:
    place = recorded["conditions"].index(condition)
    return {trojan.name: within + sheet_path(trojan, number, place) for number, trojan in enumerate(trojans)}


def _gallery(result: TrojanResult, method: str, trojans: Mapping[str, Trojan], sheets: Mapping[str, str]) -> Gallery:
    """The sheets of a method, each with its trigger and what was chosen by the chooser that is named last."""
    chooser = result.choosers[-1] if result.choosers else ""
    answered = {one.question.name: one for one in result.of(method, chooser)}
    shown = []
    for name, trojan in trojans.items():
        facts = [trojan.kind, f"class {trojan.target}"]
        if name in answered:
            facts.append("right" if answered[name].right else answered[name].chosen)
        shown.append(Shown(sheets[name], trojan.name, facts, f"{name}: " + ", ".join(facts)))
    return Gallery(shown)


def _scores(result: TrojanResult) -> list[Section]:
    """How often choices are right; nothing where nobody chose."""
    if not result.choices:
        return []
    header, rows = result.rate_rows()
    all_, kinds = ([row for row in rows if (row[2] == "all") is whole] for whole in (True, False))
    means = {
        CLEAN: f"“…{CLEAN}”: the same pictures of the network without trojans.",
        NOISE: f"“{NOISE}”: what an ascent begins with.",
        TRIGGER_IMAGES: f"“{TRIGGER_IMAGES}”: natural images with the trigger in them, the most that can be expected of a chooser.",
        TWO_TOWER: "Two-tower model: the cosine of pictures and answers.",
        DRAWING: "Drawing: how much of each trigger pictures hold, by the correlation with the patch, the mask of the feature or the "
        "texture of the style.",
    }
    there = [*result.conditions, *result.choosers]
    told = Paragraphs(
        [
            "The answer is chosen that goes best with all pictures of a trojan together.",
            " ".join(text for name, text in means.items() if any(each.endswith(name) for each in there)),
        ]
    )
    caption = (
        "Rate: with Wilson's interval. p: how often guessing is right as often. Exchanged: the same choices among trojans with the same "
        "answers in random order, and how often they are then right as often. Single pictures: each by itself, intervals by bootstrap over "
        "trojans. Mean rank: of the right answer, 1 to 8; 4.5 by chance."
    )
    brief = [0, 1, 5, 6, 7, 8]
    blocks: list[Block] = [told, Table(header, all_, caption, brief=[place for place in brief if place != 2])]
    comparison = result.comparison_rows()
    if comparison[1]:
        note = "Pictures beside those of controls, trojan by trojan: McNemar's exact test, p corrected after Holm for all rows."
        blocks.append(Table(*comparison, note, brief=[0, 1, 2, 3, 7, 8]))
    return [
        Section("How often the trigger is told", [*blocks, Files(["rates.csv"])], shown=2),
        Section(
            "By kind of trigger", [Table(header, kinds, "As above.", brief=[0, 1, 2, 5, 6, 8], sortable=True)], shown=0
        ),
        Section(
            "What was chosen for each",
            [
                Table(*result.trojan_rows(), "In brackets the place of the right answer.", sortable=True),
                Files(["choices.csv"]),
            ],
            shown=0,
        ),
    ]


def _pictures(
    result: TrojanResult, groups: Mapping[str, tuple[Sequence[Trojan], str]], recorded: Mapping[str, Any]
) -> Section:
    """Every sheet."""
    pictures = [
        Picture(path, f"{name + ', ' if name else ''}{trojan}, {condition}")
        for name, (trojans, within) in groups.items()
        for condition in recorded["conditions"]
        for trojan, path in _sheets(trojans, recorded, condition, within).items()
    ]
    return Section("All pictures", [Pictures(pictures)], shown=0)


def _trust(result: TrojanResult) -> str:
    """Whether pictures give triggers away, with the most important reason."""
    rates = {key: rate for key, rate in result.rates().items() if key[1] in result.methods}
    beyond = [
        f"“{method}” ({chooser})"
        for (chooser, method), rate in rates.items()
        if max(rate.p_value, rate.exchanged_p_value) < 0.05
    ]
    questions = max(rate.questions for rate in rates.values())
    text = f"{questions} trojans are few, so the intervals are wide. "
    if not beyond:
        return "No: by none of these pictures are triggers told by more than chance. " + text
    certain = [pair for _, pair in result.comparisons() if pair.second != NOISE and pair.order.certain]
    beside = (
        "the network without trojans is known not to give the same"
        if certain
        else "no difference from the network without trojans is certain after correction"
        if any(name.endswith(CLEAN) for name in result.conditions)
        else "no network without trojans was beside it"
    )
    return f"In part: triggers are told by more than chance from {', '.join(beyond)}; {beside}. {text}"


__all__ = ["given_page", "planted_page", "trojans_page"]
