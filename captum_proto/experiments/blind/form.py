"""The form of a blind test, made from pictures: the protocol."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from captum_proto._utils.errors import InputError, UnreadableImageError
from captum_proto._utils.files import readable, sha256, whole_file
from captum_proto.data.images import ImageGeometry, pixel_size, read_image
from captum_proto.experiments.blind.classes import ClassList
from captum_proto.experiments.blind.key import KEY, BlindKey, KeyPicture
from captum_proto.experiments.blind.page import FORM, PICTURES, form_page
from captum_proto.experiments.blind.settings import BlindSettings
from captum_proto.experiments.blind.sources import Source, different_names, included_sources, with_names_of
from captum_proto.report.blind_form import form_digest, render_form
from captum_proto.report.html import write_page
from captum_proto.runs.files import write_text
from captum_proto.runs.provenance import provenance
from captum_proto.runs.tasks import Protocol, Run, Task

#: So many pictures are a task.
_AT_A_TIME = 8
#: A picture with fewer pixels a side is one of pixels that are to be seen, and is enlarged as such.
_COARSE = 64
_QUALITY = 92


@dataclass(frozen=True)
class MakeForm(Protocol[BlindKey]):
    """
    The form of a blind test: pictures in random order under numbers, and apart from it the key that tells what they are.

    All pictures are cut square, made one size and encoded anew, so that nothing but what they show tells them apart. Their order follows
    from their pixels and the seed: names of files, classes and methods have no part in it.

    Args:
        sources (sequence of Source): Pictures of classes.
        classes (ClassList, optional): The names that answers may be, and their groups. Default: None, the classes of the pictures
        included (mapping[str, Path]): Folders of further pictures to mix in, by what they are called: noise, photographs. Default: none
        class_table (Path, optional): Which class a wnid or an index in the names of these is. Default: None
        settings (BlindSettings): How the form shows them. Default: as :class:`BlindSettings` has it
        within (Path, optional): The folder from which the key tells where pictures are, for a form that is a part of a greater run.
            Default: None, as they are given

    Raises:
        InputError: If there are no pictures, or pictures of a class that is not among the names.
        UnreadableImageError: If none of the pictures can be read.

    Warns:
        UserWarning: For each picture that cannot be read; it is left out.
    """

    sources: Sequence[Source]
    classes: ClassList | None = None
    included: Mapping[str, Path] = field(default_factory=dict)
    class_table: Path | None = None
    settings: BlindSettings = field(default_factory=BlindSettings)
    within: Path | None = None

    unit = "picture"

    def __post_init__(self) -> None:
        if not self.sources:
            raise InputError("there are no pictures; give at least one.")
        taken = {source.method for source in self.sources} & self.included.keys()
        if taken:
            raise InputError(f'pictures are called "{min(taken)}" already; give those that are included another name.')
        _ = self._all  # classes without a name are found here
        if self._offers_choices and (self.included or not all(source.choices for source in self.sources)):
            raise InputError(
                "some pictures have answers of their own to choose from and others have none; give all of them some."
            )
        for source in self.sources:
            if source.choices and source.label not in source.choices:
                raise InputError(
                    f'"{source.path.name}" is of "{source.label}", which is not among its answers {", ".join(source.choices)}; add it.'
                )

    def provenance(self) -> dict[str, Any]:
        return provenance(
            "blind",
            {
                "step": "form",
                "pictures": [
                    {
                        "file": readable(source.path.name),
                        "class": source.label,
                        "method": source.method,
                        "sha256": digest,
                        **({"choices": source.choices} if source.choices else {}),
                    }
                    for source, digest in zip(self._shown, self._digests, strict=True)
                ],
                "names": self._classes.names,
                "groups": self._classes.groups,
                **self.settings.settings(),
            },
        )

    def tasks(self) -> list[Task]:
        self._check()
        begins = range(0, len(self._shown), _AT_A_TIME)
        return [
            Task(f"{PICTURES}/{begin:05d}", weight=len(self._shown[begin : begin + _AT_A_TIME])) for begin in begins
        ]

    def make(self, task: Task, run: Run) -> None:
        begin = int(task.name.rpartition("/")[2])
        for place, source in enumerate(self._shown[begin : begin + _AT_A_TIME], begin):
            try:
                content = self._encoded(source.path)
            except UnreadableImageError as error:
                warnings.warn(f"{readable(str(error))} It is left out.", stacklevel=2)
                continue
            with whole_file(run.folder / _file_of(place), overwrite=True) as temporary:
                temporary.write_bytes(content)

    def summarize(self, run: Run) -> BlindKey:
        there = [place for place in range(len(self._shown)) if (run.folder / _file_of(place)).is_file()]
        contents = {place: (run.folder / _file_of(place)).read_bytes() for place in there}
        order = sorted(there, key=lambda place: (self._drawn(contents[place]), self._shown[place].label, place))
        names = [] if self.settings.free_text else list(self._classes.names)
        pictures = [contents[place] for place in order]
        choices = [self._choices(place) for place in order] if self._offers_choices else []
        form = form_digest(pictures, self.settings.question, names, choices)
        key = BlindKey(
            form,
            self.settings.question,
            [
                KeyPicture(
                    number,
                    self._shown[place].label,
                    self._shown[place].method,
                    readable(self._place_of(self._shown[place].path)),
                    self._digests[place],
                    _file_of(place),
                    self._choices(place),
                )
                for number, place in enumerate(order, 1)
            ],
            list(self._classes.names),
            dict(self._classes.groups),
            not self.settings.free_text,
        )
        key.save(run.folder / KEY, overwrite=True)
        page = render_form(pictures, self.settings.size, self.settings.question, names, choices)
        write_text(run.folder / FORM, page, overwrite=True)
        write_page(form_page(run.folder), run.folder)
        return key

    @cached_property
    def _classes(self) -> ClassList:
        """The names that answers may be, in alphabetical order: theirs says nothing of the pictures."""
        given = self.classes
        if given is None:
            sources = [*self.sources, *self._further]
            given = ClassList(different_names(name for source in sources for name in (source.label, *source.choices)))
        return ClassList(
            sorted(given.names, key=lambda name: (name.casefold(), name)), dict(sorted(given.groups.items()))
        )

    def _place_of(self, path: Path) -> str:
        return str(path) if self.within is None else path.relative_to(self.within).as_posix()

    @property
    def _offers_choices(self) -> bool:
        """Whether each picture has answers of its own to choose from."""
        return any(source.choices for source in self.sources) and not self.settings.free_text

    def _choices(self, place: int) -> list[str]:
        """What is offered for a picture, in an order that follows from its pixels' digest and the seed alone; empty: all names."""
        choices = self._shown[place].choices
        if not choices or self.settings.free_text:
            return []
        return sorted(choices, key=lambda text: self._drawn(f"{self._digests[place]} {text}".encode()))

    @cached_property
    def _further(self) -> list[Source]:
        known = self.classes or ClassList(different_names(source.label for source in self.sources))
        return [
            source
            for method, folder in self.included.items()
            for source in included_sources(folder, method, known, self.class_table)
        ]

    @cached_property
    def _all(self) -> list[Source]:
        """All pictures, their classes called as in the list of names."""
        if not any(source.label for source in [*self.sources, *self._further]):
            raise InputError("no picture is of a class, so there is nothing to name; give pictures of classes.")
        return with_names_of([*self.sources, *self._further], self._classes.names, "the list of classes")

    @cached_property
    def _shown(self) -> list[Source]:
        """Those that are shown: of each class and method no more than the limit, drawn at random."""
        if self.settings.limit is None:
            return self._all
        kept: Counter[tuple[str, str]] = Counter()
        chosen = []
        drawn = [(self._drawn(_digest_of(source.path).encode()), place) for place, source in enumerate(self._all)]
        for _, place in sorted(drawn):
            group = (self._all[place].label, self._all[place].method)
            kept[group] += 1
            if kept[group] <= self.settings.limit:
                chosen.append(place)
        return [self._all[place] for place in sorted(chosen)]

    @cached_property
    def _digests(self) -> list[str]:
        return [_digest_of(source.path) for source in self._shown]

    def _drawn(self, content: bytes) -> bytes:
        """A random number that follows from the seed and the content of a file."""
        return hashlib.sha256(self.settings.seed.to_bytes(16, "big") + content).digest()

    def _check(self) -> None:
        """See that at least one picture can be read."""
        for source in self._shown:
            try:
                self._encoded(source.path)
                return
            except UnreadableImageError as error:
                last = error
        raise last

    def _encoded(self, path: Path) -> bytes:
        """A picture as the form shows it: square, of the form's size, upright, and without anything that its file says besides."""
        side = self.settings.size
        way = "nearest" if _is_coarse(path) else "bicubic"
        geometry = ImageGeometry((3, side, side), resize_ratio=1.0, interpolation=way, exif_orientation=True)
        pixels = read_image(str(path), geometry).image.clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).numpy()
        buffer = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, format="JPEG", quality=_QUALITY, subsampling=0)
        return buffer.getvalue()


def _digest_of(path: Path) -> str:
    """The digest of a file; "unreadable" where there is nothing to read, as of a link that leads nowhere."""
    try:
        return sha256(path)
    except OSError:
        return "unreadable"


def _is_coarse(path: Path) -> bool:
    size = pixel_size(path)
    return size is not None and max(size) <= _COARSE


def _file_of(place: int) -> str:
    """Where a picture is kept as the form shows it, relative to the folder."""
    return f"{PICTURES}/{place:05d}.jpg"


__all__ = ["MakeForm"]
