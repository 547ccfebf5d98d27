"""Targets as people write them, and as tables, captions and file names call them."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence

from captum_proto._utils.checks import nearest
from captum_proto._utils.errors import InputError
from captum_proto._utils.targets import Target

#: An index, or the first and the last of several.
_RANGE = re.compile(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?")


def parse_classes(texts: Sequence[str], class_names: Sequence[str] | None) -> list[Target]:
    """
    Targets from what people write: an index, a name, or a superclass such as "151-268" or "3,5,8".

    Args:
        texts (Sequence[str]): What was written.
        class_names (Sequence[str], optional): The model's class names; they are compared without regard to case.

    Returns:
        list[tuple[int, ...]]: The class indices of each, sorted.

    Raises:
        InputError: If there is no such class, with the nearest name; if several classes share a name; or if a range is empty.
    """
    by_name: dict[str, list[int]] = {}
    for index, name in enumerate(class_names or []):
        by_name.setdefault(name.casefold(), []).append(index)
    targets: list[Target] = []
    for text in texts:
        named = by_name.get(text.casefold())
        if named is not None and len(named) > 1:
            alike = ", ".join(map(str, named))
            raise InputError(f'"{text}" names the classes {alike} alike; use the index of the intended one.')
        ranges = [_RANGE.fullmatch(part) for part in text.split(",")]
        if named is not None:
            indices = set(named)
        elif all(ranges):
            indices = {i for part in ranges if part for i in range(int(part[1]), int(part[2] or part[1]) + 1)}
        else:
            expected = f'; expected an index{", a name" if by_name else ""} or a superclass such as "151-268".'
            raise InputError(f'there is no class "{text}"{nearest(text.casefold(), by_name) or expected}')
        if not indices:
            raise InputError(f'the superclass "{text}" is empty; expected the lower index first, such as "151-268".')
        targets.append(tuple(sorted(indices)))
    return targets


def label_of(target: Target, class_names: Sequence[str] | None) -> str:
    """What captions call a class or a superclass: ``flute``, ``class 3``, ``classes 151–268``."""
    if len(target) == 1:
        return class_names[target[0]] if class_names and target[0] < len(class_names) else f"class {target[0]}"
    first, last = min(target), max(target)
    if len(target) == last - first + 1:
        return f"classes {first}–{last}"
    return "classes " + ", ".join(map(str, target[:4])) + (f" … ({len(target)})" if len(target) > 4 else "")


def labels_of(targets: Sequence[Target], class_names: Sequence[str] | None) -> list[str]:
    """A label for each of several different targets, all of them different: ImageNet has two classes called crane."""
    labels = [label_of(target, class_names) for target in targets]
    seen = Counter(labels)
    return [
        label if seen[label] == 1 else f"{label} ({', '.join(map(str, target))})"
        for label, target in zip(labels, targets, strict=True)
    ]


def file_stem(target: Target, class_names: Sequence[str] | None) -> str:
    """What file names call a class or a superclass: ``0558_flute``, ``0151-0268``."""
    first, last = min(target), max(target)
    if len(target) == 1:
        word = re.sub(r"[^0-9A-Za-z]+", "-", label_of(target, class_names)).strip("-").lower() if class_names else ""
        return f"{first:04d}" + (f"_{word}" if word else "")
    if len(target) == last - first + 1:
        return f"{first:04d}-{last:04d}"
    stem = "_".join(f"{index:04d}" for index in target[:6])
    if len(target) > 6:  # the digest distinguishes superclasses that begin alike
        stem += f"_and_{len(target) - 6}_more_{hashlib.sha256(str(target).encode()).hexdigest()[:8]}"
    return stem


def model_stem(model: str) -> str:
    """What file names call a model: its name, with an underscore for each character that a file system may not take."""
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in model)
