"""The folder a run writes to: nothing overwritten unless asked, nothing mixed with another run."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import shutil
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from captum_proto._utils.files import whole_file
from captum_proto._utils.targets import Group
from captum_proto.report.html import REPORT
from captum_proto.report.page import PAGE

SETTINGS = "settings.json"
#: What a run adds to its settings: what it is about to make, and, when it is finished, what came of it.
RECORDED = "recorded"


def open_folder(
    folder: Path, settings: dict[str, Any], *, overwrite: bool, resume: bool, results: Iterable[Path] = ()
) -> None:
    """
    Make ``folder`` ready for a run with these settings, and write them to it.

    ``results`` are the files and folders that a resumed run would take for its own. Unless this run resumes, they are of an earlier one:
    they go before its settings do, so that nothing in the folder is ever taken for the result of other settings. The page of an earlier
    run goes in any case: this run writes its own when it is finished.

    Raises:
        FileExistsError: If it holds files, and the run may neither overwrite nor resume.
        ValueError: If it is to be resumed but was made with other settings, or holds the results of another command.
        OSError: If it cannot be made.
    """
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f'"{folder}" is a file; choose a folder with --out.')
    settings = json.loads(json.dumps(settings))
    occupied = folder.is_dir() and any(folder.iterdir())
    if occupied and (resume or overwrite) and (folder / SETTINGS).exists():
        before = read_settings(folder).get("command")
        if before and settings.get("command") and before != settings["command"]:
            raise ValueError(
                f'"{folder}" holds the results of captum-proto {before}, not of {settings["command"]}; choose another folder.'
            )
    if occupied and resume:
        found = read_settings(folder)
        found.pop(RECORDED, None)
        different = sorted(name for name in settings.keys() | found.keys() if settings.get(name) != found.get(name))
        if different:
            name = different[0]
            raise ValueError(
                f'"{folder}" was made with {name} = {found.get(name)!r}, now it is {settings.get(name)!r}; resume with the same settings, '
                "or choose another folder."
            )
    elif occupied and not overwrite:
        raise FileExistsError(f'"{folder}" is not empty; choose another folder, or pass --overwrite or --resume.')
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise type(error)(f'"{folder}" cannot be made ({error.strerror}); choose a folder you may write to.') from error
    for name in (PAGE, REPORT):
        (folder / name).unlink(missing_ok=True)
    if not resume:
        for path in results:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    write_json(folder / SETTINGS, settings, overwrite=True)


def read_settings(folder: Path) -> dict[str, Any]:
    """
    The settings a run wrote to its folder.

    Raises:
        FileExistsError: If there are none: the folder is not one of ours.
    """
    try:
        settings: dict[str, Any] = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise FileExistsError(
            f'"{folder}" holds no readable {SETTINGS}, so it cannot be resumed; choose another.'
        ) from error
    return settings


def write_json(path: Path, value: Any, overwrite: bool = False) -> None:
    """A value as readable JSON."""
    with whole_file(path, overwrite) as temporary:
        temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_rows(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A table as CSV, in place of one that is there."""
    with whole_file(path, overwrite=True) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def write_text(path: Path, text: str, overwrite: bool = False) -> None:
    """Text, ending in a line break."""
    with whole_file(path, overwrite) as temporary:
        temporary.write_text(text.rstrip("\n") + "\n", encoding="utf-8")


@contextmanager
def noted_warnings() -> Iterator[list[str]]:
    """What is warned of in the block, as a list that grows; each warning is shown as ever."""
    noted: list[str] = []
    show = warnings.showwarning

    def note(message: Warning | str, category: type[Warning], *rest: Any, **named: Any) -> None:
        if str(message) not in noted:
            noted.append(str(message))
        show(message, category, *rest, **named)

    # Not warnings.catch_warnings: leaving it makes Python forget which warnings it has shown.
    warnings.showwarning = note
    try:
        yield noted
    finally:
        warnings.showwarning = show


def label_of(group: Group, class_names: Sequence[str] | None) -> str:
    """What people call a class or a group of classes: ``flute``, ``class 3``, ``classes 151–268``."""
    if len(group) == 1:
        return class_names[group[0]] if class_names and group[0] < len(class_names) else f"class {group[0]}"
    first, last = min(group), max(group)
    if len(group) == last - first + 1:
        return f"classes {first}–{last}"
    return "classes " + ", ".join(map(str, group[:4])) + (f" … ({len(group)})" if len(group) > 4 else "")


def labels_of(groups: Sequence[Group], class_names: Sequence[str] | None) -> list[str]:
    """A label for each of several different groups, and no two alike: ImageNet has two classes called crane."""
    labels = [label_of(group, class_names) for group in groups]
    seen = Counter(labels)
    return [
        label if seen[label] == 1 else f"{label} ({', '.join(map(str, group))})"
        for label, group in zip(labels, groups, strict=True)
    ]


def file_stem(group: Group, class_names: Sequence[str] | None) -> str:
    """The same as part of a file name: ``0558_flute``, ``0151-0268``."""
    first, last = min(group), max(group)
    if len(group) == 1:
        word = re.sub(r"[^0-9A-Za-z]+", "-", label_of(group, class_names)).strip("-").lower() if class_names else ""
        return f"{first:04d}" + (f"_{word}" if word else "")
    if len(group) == last - first + 1:
        return f"{first:04d}-{last:04d}"
    stem = "_".join(f"{index:04d}" for index in group[:6])
    if len(group) > 6:  # the digest tells groups apart that begin alike
        stem += f"_and_{len(group) - 6}_more_{hashlib.sha256(str(group).encode()).hexdigest()[:8]}"
    return stem
