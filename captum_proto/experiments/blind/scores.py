"""The answers to the form of a blind test, scored: the protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from captum_proto._utils.errors import InputError
from captum_proto._utils.files import readable, sha256, whole_file
from captum_proto._utils.spellings import ClassSpellings
from captum_proto.experiments.blind.answers import Answers, check_people, read_answers
from captum_proto.experiments.blind.classes import ClassList, read_synonyms
from captum_proto.experiments.blind.key import KEY, BlindKey
from captum_proto.experiments.blind.page import PEOPLE, PICTURES, TABLES, load_scores, scores_page
from captum_proto.metrics.blind_test import BlindClasses, BlindScores, judge_answers
from captum_proto.report.html import write_page
from captum_proto.report.views.blind import conclusion, method_rows, pair_rows, summary
from captum_proto.runs.files import write_json, write_rows, write_text
from captum_proto.runs.provenance import provenance
from captum_proto.runs.tasks import Protocol, Run, Task


@dataclass(frozen=True)
class ScoreAnswers(Protocol[BlindScores]):
    """
    What people typed into the form of a blind test, scored by its key.

    Args:
        form (Path): The folder that :class:`MakeForm` wrote to, with the key.
        answers (sequence of Path): A file for each person.
        groups (ClassList, optional): Groups of the classes, in place of those that the key has. Default: None
        synonyms (Path, optional): Spellings that stand for a class: CSV with the columns answer and class. Default: None
        confidence (float): Of all intervals. Default: 0.95
        seed (int): Of bootstraps and permutations. Default: 0

    Raises:
        MissingFileError: If there is no key, or a file is missing.
        InputError: If there are no answers, they are of another form or of one person twice, or a table names a class that is not there.
    """

    form: Path
    answers: Sequence[Path]
    groups: ClassList | None = None
    synonyms: Path | None = None
    confidence: float = 0.95
    seed: int = 0

    unit = "person"

    def __post_init__(self) -> None:
        if not self.answers:
            raise InputError("there are no answers; give a file for each person.")
        if not 0 < self.confidence < 1:
            raise InputError(f"confidence is {self.confidence}; expected between 0 and 1, such as 0.95.")
        _ = self._classes, self._people  # what is wrong in a file is found here

    def provenance(self) -> dict[str, Any]:
        return provenance(
            "blind",
            {
                "step": "scores",
                "answers": [{"file": readable(path.name), "sha256": sha256(path)} for path in self.answers],
                "groups": self._classes.groups,
                "confidence": self.confidence,
                "seed": self.seed,
            },
            files={"key": self.form / KEY, "synonyms": self.synonyms},
        )

    def tasks(self) -> list[Task]:
        return [Task(PICTURES, weight=0), *(Task(f"{PEOPLE}/{place:03d}") for place in range(len(self.answers)))]

    def begun(self) -> dict[str, Any]:
        return {"classes": asdict(self._classes), "form": self._key.form}

    def make(self, task: Task, run: Run) -> None:
        if task.name == PICTURES:
            for one in self._key.pictures:
                source = self.form / one.picture
                if source.is_file():  # the key alone is enough for the scores
                    with whole_file(run.folder / PICTURES / f"{one.number:05d}.jpg", overwrite=True) as temporary:
                        temporary.write_bytes(source.read_bytes())
            return
        one_person = self._people[int(task.name.rpartition("/")[2])]
        judged = judge_answers(self._key.blind_pictures(), {one_person.person: one_person.texts}, self._classes)
        write_json(run.folder / f"{task.name}.json", [asdict(one) for one in judged], overwrite=True, indent=1)

    def summarize(self, run: Run) -> BlindScores:
        scores = load_scores(run.folder)
        spellings = self._classes.spellings()
        write_rows(
            run.folder / TABLES["answers"],
            ["person", "number", "class", "method", "answer", "outcome", "meant", "right", "group right"],
            [
                [
                    *(one.person, one.number, one.label, one.method, one.text, one.outcome, "; ".join(one.meant)),
                    *(int(one.right), int(one.group_right)),
                ]
                for one in scores.judged
            ],
        )
        write_rows(
            run.folder / TABLES["unmatched"],
            ["answer", "count", "nearest", "class"],
            [[text, count, "; ".join(spellings.nearest(text)), ""] for text, count in scores.unmatched().items()],
        )
        write_rows(run.folder / TABLES["methods"], *method_rows(scores, bare=True))
        write_rows(run.folder / TABLES["comparisons"], *pair_rows(scores))
        write_text(run.folder / "summary.txt", "\n\n".join([summary(scores), *conclusion(scores)]), overwrite=True)
        write_page(scores_page(run.folder), run.folder)
        return scores

    @cached_property
    def _key(self) -> BlindKey:
        return BlindKey.load(self.form / KEY)

    @cached_property
    def _classes(self) -> BlindClasses:
        synonyms = {} if self.synonyms is None else read_synonyms(self.synonyms)
        classes = self._key.classes(synonyms)
        if self.groups is None:
            return classes
        return BlindClasses(classes.names, _groups(self.groups, classes.names), classes.listed, synonyms)

    @cached_property
    def _people(self) -> list[Answers]:
        found = [read_answers(path, self._key.form, len(self._key.pictures)) for path in self.answers]
        check_people(found, self.answers)
        return found


def _groups(given: ClassList, names: Sequence[str]) -> dict[str, str]:
    """The groups of a table, by the names that the key has."""
    spellings = ClassSpellings(given.names)
    found = {}
    for name in names:
        places = spellings.find(name)
        if len(places) == 1 and (group := given.groups.get(given.names[places[0]])):
            found[name] = group
    if not found:
        raise InputError("the table gives no group to any class of the form; expected its names with the column group.")
    return found


__all__ = ["ScoreAnswers"]
