"""The pages of a blind test: of its form, for who gives it to others, and of what came of it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from captum_proto._utils.files import intact
from captum_proto._utils.reading import read_json
from captum_proto.experiments.blind.key import KEY, BlindKey
from captum_proto.experiments.tasks_page import tasks_page
from captum_proto.metrics.blind_test import BlindClasses, BlindScores, JudgedAnswer, score_answers
from captum_proto.report.blocks import Block, Files, Paragraphs, Picture, Pictures, Table
from captum_proto.report.page import Page, Section
from captum_proto.report.views.blind import (
    answered_pictures,
    conclusion,
    confused_table,
    headline,
    methods_table,
    pairs_table,
    trust,
)
from captum_proto.runs.folder import RECORDED, SETTINGS, read_settings
from captum_proto.runs.tasks import warnings_of

#: The form alone in its folder, so that nothing else is given away with it.
FORM = "form/blind.html"
#: The folders of pictures, as the form shows them, and of judged answers, a file for each person.
PICTURES, PEOPLE = "pictures", "people"
TABLES = {
    "methods": "methods.csv",
    "comparisons": "comparisons.csv",
    "answers": "answers.csv",
    "unmatched": "unmatched.csv",
}


def blind_page(folder: Path) -> Page:
    """
    What a folder of a blind test has to show, from the files in it: of the form or of the scores, finished or not.

    Args:
        folder (Path): That ``captum-proto blind`` wrote to.

    Returns:
        Page: Its paths are relative to ``folder``.

    Raises:
        FileExistsError: If the folder holds no readable settings.
    """
    if read_settings(folder).get("step") == "form":
        return form_page(folder) if (folder / FORM).exists() else tasks_page(folder)
    return scores_page(folder) if (folder / TABLES["comparisons"]).exists() else tasks_page(folder)


def form_page(folder: Path) -> Page:
    """
    What is on a form, for who gives it to others: it tells the classes.

    Args:
        folder (Path): That :class:`~captum_proto.experiments.blind.MakeForm` wrote to.
    """
    key, settings = BlindKey.load(folder / KEY), read_settings(folder)
    methods = list(dict.fromkeys(one.method for one in key.pictures))
    labels = sorted({one.label for one in key.pictures}, key=lambda label: (label.casefold(), label))
    counts = Counter((one.label, one.method) for one in key.pictures)
    rows = [[label or "(no class)", *(str(counts[label, method]) for method in methods)] for label in labels]
    names = (
        f"{len(key.names)} names to choose from"
        if key.listed
        else "no names to choose from: people write what they like"
    )
    if any(one.choices for one in key.pictures):
        names = (
            f"{' or '.join(sorted({str(len(one.choices)) for one in key.pictures}))} answers beside each to choose from"
        )
    page = Page(f"Blind test {key.form}: the key", settings=settings, failures=warnings_of(folder))
    page.summary = [
        f"A form with {len(key.pictures)} pictures in random order, and {names}. This page tells what they are: give others the folder "
        "“form” alone.",
        "People open blind.html in a browser, name what they see, save their answers as a file and send it back; or they print it. "
        "captum-proto blind with --answers and these files scores them.",
    ]
    shown = [Picture(one.picture, f"{one.number}: {one.label or 'no class'}, {one.method}") for one in key.pictures]
    page.sections = [
        Section(
            "The form", [Files([FORM, KEY, SETTINGS]), Table(["class", *methods], rows, "Pictures of each method.")]
        ),
        Section("The pictures and what they are", [Pictures(shown)], shown=0),
    ]
    return page


def load_scores(folder: Path) -> BlindScores:
    """
    What people's judged answers come to, from the files that the tasks of a scoring wrote.

    Raises:
        InputError: If one is damaged.
    """
    settings = read_settings(folder)
    judged: list[JudgedAnswer] = []
    for path in sorted((folder / PEOPLE).glob("*.json")):
        with intact(path, "file of judged answers"):
            judged += [JudgedAnswer(**one) for one in read_json(path)]
    classes = BlindClasses(**settings[RECORDED]["classes"])
    return score_answers(judged, classes, settings["confidence"], settings["seed"])


def scores_page(folder: Path) -> Page:
    """
    How well people named the pictures.

    Args:
        folder (Path): That :class:`~captum_proto.experiments.blind.ScoreAnswers` wrote to.
    """
    scores, settings = load_scores(folder), read_settings(folder)
    paths = {
        one.number: path for one in scores.judged if (folder / (path := f"{PICTURES}/{one.number:05d}.jpg")).is_file()
    }
    gallery, pictures = answered_pictures(scores, paths)
    people = len(scores.people)
    page = Page(f"Blind test {settings[RECORDED]['form']}", settings=settings, failures=warnings_of(folder))
    page.lead = [gallery] if paths else []
    page.legend = (
        ["Beneath each picture: its class, how it was made, and how many answers name the class."] if paths else []
    )
    page.summary = [
        f"{people} {'person' if people == 1 else 'people'} named what {len({one.number for one in scores.judged})} pictures show, in "
        f"random order and without being told how they were made. {headline(scores)}",
        *conclusion(scores),
    ]
    page.trust = trust(scores)
    unmatched = scores.unmatched()
    if unmatched:
        page.failures.append(
            f"Answers that are no name of a class, {sum(unmatched.values())} in all, count as wrong; fill in {TABLES['unmatched']} where "
            "they stand for one, and give it with --synonyms."
        )
    blocks: list[Block] = [methods_table(scores)]
    if scores.comparisons:
        blocks.append(pairs_table(scores))
    page.sections = [
        Section("How well people named the pictures", [*blocks, Files(["summary.txt", *TABLES.values(), SETTINGS])]),
        Section("What was said of each class", [confused_table(scores)], shown=0),
    ]
    if unmatched:
        rows = [[text, str(count)] for text, count in unmatched.items()]
        told = Paragraphs(["None of these was taken for a class; the file beside has the nearest names."])
        page.sections.append(
            Section("Answers that are no name of a class", [told, Table(["answer", "count"], rows)], shown=0)
        )
    if paths:
        page.sections.append(Section("All pictures", [pictures], shown=0))
    return page


__all__ = ["FORM", "PEOPLE", "PICTURES", "TABLES", "blind_page", "form_page", "load_scores", "scores_page"]
