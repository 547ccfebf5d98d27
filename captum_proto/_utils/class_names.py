"""Classes as people write them, and as tables, captions and file names call them."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence

from captum_proto._utils.checks import nearest
from captum_proto._utils.errors import InputError
from captum_proto._utils.targets import Target


def parse_classes(texts: Sequence[str], class_names: Sequence[str] | None) -> list[Target]:
    """
    Groups of classes from what people write: an index, a name, "151-268" or "3,5,8".

    Raises:
        ValueError: If there is no such class, saying which name is near.
    """
    names = class_names or []
    by_name: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        by_name.setdefault(name.casefold(), []).append(index)
    groups: list[Target] = []
    for text in texts:
        indices: list[int] = []
        try:
            if text.casefold() in by_name:
                indices = by_name[text.casefold()]
            else:
                for part in text.split(","):
                    first, _, last = part.strip().partition("-")
                    indices += range(int(first), int(last or first) + 1)
        except ValueError as error:
            hint = (
                nearest(text.casefold(), by_name)
                or f'; expected an index{", a name" if names else ""} or a group such as "151-268".'
            )
            raise InputError(f'there is no class "{text}"{hint}') from error
        if not indices:
            raise InputError(f'the group "{text}" is empty; expected the lower index first, such as "151-268".')
        if len(indices) > 1 and text.casefold() in by_name:
            alike = ", ".join(map(str, indices))
            raise InputError(f'"{text}" names the classes {alike} alike; use the index of the one you mean.')
        groups.append(tuple(sorted(set(indices))))
    return groups


def label_of(group: Target, class_names: Sequence[str] | None) -> str:
    """What people call a class or a group of classes: ``flute``, ``class 3``, ``classes 151–268``."""
    if len(group) == 1:
        return class_names[group[0]] if class_names and group[0] < len(class_names) else f"class {group[0]}"
    first, last = min(group), max(group)
    if len(group) == last - first + 1:
        return f"classes {first}–{last}"
    return "classes " + ", ".join(map(str, group[:4])) + (f" … ({len(group)})" if len(group) > 4 else "")


def labels_of(groups: Sequence[Target], class_names: Sequence[str] | None) -> list[str]:
    """A label for each of several different groups, and no two alike: ImageNet has two classes called crane."""
    labels = [label_of(group, class_names) for group in groups]
    seen = Counter(labels)
    return [
        label if seen[label] == 1 else f"{label} ({', '.join(map(str, group))})"
        for label, group in zip(labels, groups, strict=True)
    ]


def file_stem(group: Target, class_names: Sequence[str] | None) -> str:
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


def file_stem_of(model: str) -> str:
    """A model's name as that of a folder."""
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in model)
