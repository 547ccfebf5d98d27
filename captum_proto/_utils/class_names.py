"""Targets as people write them, and as tables, captions and file names call them."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence

from captum_proto._utils.checks import nearest
from captum_proto._utils.errors import InputError
from captum_proto._utils.reading import whole_number
from captum_proto._utils.targets import Target

#: In bytes.
_LONGEST_STEM = 180
#: No model has more classes: a list of so many takes megabytes, not all there is.
MOST_CLASSES = 10**6
#: An index, or the first and the last of several.
_RANGE = re.compile(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?")


def parse_classes(texts: Sequence[str], class_names: Sequence[str] | None) -> list[Target]:
    """
    Targets from what people write: an index, a name, or a superclass such as "151-268" or "3,5,8".

    Names go before indices. Where classes are named by numbers, as those of a folder for each digit are, a number is a name wherever it
    stands, also at the ends of a range, which then holds the classes whose names lie between them. A number that is no name is an index,
    unless all classes are named by numbers.

    Args:
        texts (Sequence[str]): What was written.
        class_names (Sequence[str], optional): The model's class names; they are compared without regard to case.

    Returns:
        list[tuple[int, ...]]: The class indices of each, sorted.

    Raises:
        InputError: If there is no such class, with the nearest name; if several classes share a name; or if a range is empty, or begins
            with a name and ends with an index.
    """
    numbers = NumberedClasses(class_names or ())
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
            indices = {
                index
                for part in ranges
                if part
                for index in numbers.between(_number(part[1]), _number(part[2] or part[1]))
            }
        else:
            expected = f'; expected an index{", a name" if by_name else ""} or a superclass such as "151-268".'
            raise InputError(f'there is no class "{text}"{nearest(text.casefold(), by_name) or expected}')
        if not indices:
            raise InputError(f'the superclass "{text}" is empty; expected the lower index first, such as "151-268".')
        targets.append(tuple(sorted(indices)))
    return targets


def _number(digits: str) -> int:
    number = whole_number(digits) if digits.isascii() else None
    if number is None:
        raise InputError(f'"{digits[:20]}…" stands for no class: it has {len(digits)} digits; expected an index.')
    return number


class NumberedClasses:
    """
    Classes of which some are named by numbers, and what a number stands for: a name before an index.

    Args:
        class_names (Sequence[str]): The names of all classes; empty if they have none.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        self.by_number: dict[int, list[int]] = {}
        for index, name in enumerate(class_names):
            if (number := number_in(name)) is not None:
                self.by_number.setdefault(number, []).append(index)
        #: Whether no number can be an index.
        self.all_named = bool(class_names) and sum(map(len, self.by_number.values())) == len(class_names)

    def index_of(self, number: int) -> int:
        """
        The class that a number stands for.

        Raises:
            InputError: If several classes have this name, or none has, and all are named by numbers.
        """
        named = self.by_number.get(number, [])
        if len(named) > 1:
            raise InputError(
                f'"{number}" names the classes {", ".join(map(str, named))} alike; give them different names.'
            )
        if not named and self.all_named:
            raise InputError(
                f'there is no class "{number}": the classes are named by numbers, {min(self.by_number)} to {max(self.by_number)}, and a '
                "number is a name, not an index; use one of these."
            )
        return named[0] if named else number

    def between(self, first: int, last: int) -> list[int]:
        """
        The classes from one number to another: those whose names lie between, or whose indices do.

        Raises:
            InputError: If one of the numbers is a name and the other is not, or as for :meth:`index_of`.
        """
        ends = [self.index_of(first), self.index_of(last)]
        named = [number in self.by_number for number in (first, last)]
        if all(named):
            return [self.index_of(number) for number in self.by_number if first <= number <= last]
        if any(named):
            name, index = (first, last) if named[0] else (last, first)
            raise InputError(
                f'"{first}-{last}" is unclear: {name} is the name of a class and {index} is not; name the classes one by one, with commas.'
            )
        if ends[1] - ends[0] >= MOST_CLASSES:
            raise InputError(
                f'"{first}-{last}" is a superclass of {ends[1] - ends[0] + 1:,} classes; expected at most {MOST_CLASSES:,}.'
            )
        return list(range(ends[0], ends[1] + 1))


def number_in(name: str) -> int | None:
    """The number that a name consists of, if it does."""
    stripped = name.strip()
    return whole_number(stripped)


def taken_for_names(texts: Sequence[str], targets: Sequence[Target], class_names: Sequence[str] | None) -> list[str]:
    """A sentence for each text whose numbers were taken for names, where as indices they are other classes."""
    sentences = []
    for text, target in zip(texts, targets, strict=True):
        if all(_RANGE.fullmatch(part) for part in text.split(",")) and parse_classes([text], None) != [target]:
            shown = ", ".join(map(str, target[:4])) + (", …" if len(target) > 4 else "")
            plural = "es" if len(target) > 1 else ""
            sentences.append(
                f'"{text}" names the class{plural} of index {shown}: where classes are named by numbers, a number is a name, not an index'
            )
    return sentences


def label_of(target: Target, class_names: Sequence[str] | None) -> str:
    """What captions call a class or a superclass: ``flute``, ``class 3``, ``classes 151–268``."""
    if len(target) == 1:
        return class_names[target[0]] if class_names and target[0] < len(class_names) else f"class {target[0]}"
    named = [number_in(class_names[index]) for index in target if class_names and index < len(class_names)]
    known = [number for number in named if number is not None]
    numbers = sorted(
        known if len(known) == len(target) else target
    )  # of classes that are named by numbers, their names
    if len(numbers) == numbers[-1] - numbers[0] + 1:
        return f"classes {numbers[0]}–{numbers[-1]}"
    return "classes " + ", ".join(map(str, numbers[:4])) + (f" … ({len(numbers)})" if len(numbers) > 4 else "")


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
        return short_stem(f"{first:04d}" + (f"_{word}" if word else ""))
    if len(target) == last - first + 1:
        return f"{first:04d}-{last:04d}"
    stem = "_".join(f"{index:04d}" for index in target[:6])
    if len(target) > 6:  # the digest distinguishes superclasses that begin alike
        stem += f"_and_{len(target) - 6}_more_{hashlib.sha256(str(target).encode()).hexdigest()[:8]}"
    return stem


def model_stem(model: str) -> str:
    """What file names call a model: its name, with an underscore for each character that a file system may not take."""
    stem = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in model)
    return short_stem(stem if stem.strip(".") else "_" * max(1, len(stem)))  # dots alone are folders


def short_stem(stem: str) -> str:
    """A stem that leaves room for more in a name of 255 bytes: one that is too long is cut, and told apart by a digest of the whole."""
    encoded = stem.encode(errors="surrogateescape")
    if len(encoded) <= _LONGEST_STEM:
        return stem
    return encoded[:_LONGEST_STEM].decode(errors="ignore") + "_" + hashlib.sha256(encoded).hexdigest()[:8]
