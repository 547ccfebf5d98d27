"""What a person typed into the form of a blind test, as a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from captum_proto._utils.errors import InputError
from captum_proto._utils.files import sha256
from captum_proto._utils.reading import whole_number
from captum_proto._utils.spellings import normalized
from captum_proto.experiments.blind.classes import read_table

#: What stands for "I don't know", in files and on paper.
DONT_KNOW = "?"
_SPELLED_OUT = ("i don t know", "don t know", "do not know", "i do not know")


@dataclass(frozen=True)
class Answers:
    """
    The answers of one person.

    Args:
        person (str): As typed, or the name of the file.
        texts (Mapping[int, str or None]): By the number of the picture, what was typed; None for "I don't know".
    """

    person: str
    texts: Mapping[int, str | None]


def read_answers(path: Path, form: str, count: int) -> Answers:
    """
    The answers in a file: CSV with the columns form, number and answer, and person if its name is not to be taken from the file's.

    Args:
        path (Path): The file, as the form saves it or as someone copied it from paper.
        form (str): What the form is called.
        count (int): How many pictures it has.

    Returns:
        Answers: Of that person.

    Raises:
        MissingFileError: If there is no such file.
        InputError: If it is of another form, or has a number twice or one that the form does not have.
    """
    rows = read_table(path, ["form", "number", "answer"], ["person"], "answers")
    texts: dict[int, str | None] = {}
    for row in rows:
        where = f'"{path}", line {row["line"]}'
        if row["form"] != form:
            raise InputError(
                f'{where}: form is "{row["form"]}", but the key is of form {form}; give answers to this form, or the folder of the other.'
            )
        number = whole_number(row["number"]) or 0
        if not 1 <= number <= count:
            raise InputError(f'{where}: number is "{row["number"]}"; the form has pictures 1 to {count}.')
        if number in texts:
            raise InputError(f"{where}: picture {number} has an answer already; keep one of the lines.")
        unknown = row["answer"] == DONT_KNOW or normalized(row["answer"]) in _SPELLED_OUT
        texts[number] = None if unknown else row["answer"]
    if not texts:
        raise InputError(f'"{path}" holds no answers; expected a line for each picture.')
    people = {row["person"] for row in rows} - {""}
    if len(people) > 1:
        raise InputError(f'"{path}" holds answers of {" and ".join(sorted(people))}; give one file for each person.')
    return Answers(people.pop() if people else path.stem, texts)


def check_people(answers: Sequence[Answers], paths: Sequence[Path]) -> None:
    """
    See that no two files are of one person.

    Raises:
        InputError: If two files have one name in them, or the same content.
    """
    digests = [sha256(path) for path in paths]
    for later, one in enumerate(answers):
        for before in range(later):
            both = f'"{paths[before]}" and "{paths[later]}"'
            if digests[before] == digests[later]:
                raise InputError(f"{both} hold the very same; give one file for each person.")
            if answers[before].person.casefold() == one.person.casefold():
                raise InputError(
                    f'{both} are of one person, "{one.person}"; give one file for each, or change the name in one of them.'
                )


__all__ = ["DONT_KNOW", "Answers", "check_people", "read_answers"]
