"""What a block of a page is: its JSON and the files it refers to follow from its fields, and a template shows what it gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, fields, is_dataclass, replace
from functools import cache
from typing import Annotated, Any, ClassVar, TypeVar, get_args, get_origin, get_type_hints

from captum_proto._utils.errors import InputError
from captum_proto.report.context import Context

#: A file that a block refers to: relative to the folder of its page, with "/" between its parts.
FilePath = Annotated[str, "file of the page's folder"]

_KINDS: dict[str, type[Block]] = {}
_Own = TypeVar("_Own", bound="Block")


class Block:
    """
    A part of a section. Subclasses are dataclasses of what JSON can hold, with ``kind`` given where the class is defined.

    Attributes:
        kind (str): Its name in JSON, and of its template.
        template (str, optional): The source of its template, for a block that has no file of its own. Default: None
        script, style (str, optional): Files beside the templates that a page holds once where it has such a block. Default: None

    Examples::

        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True)
        ... class Quotation(Block, kind="quotation"):
        ...     words: str
        ...     template = "<blockquote>{{ words }}</blockquote>"
        >>> Block.from_json(Quotation("Less is more.").to_json())
        Quotation(words='Less is more.')
    """

    kind: ClassVar[str]
    template: ClassVar[str | None] = None
    script: ClassVar[str | None] = None
    style: ClassVar[str | None] = None

    def __init_subclass__(cls, kind: str) -> None:
        known = _KINDS.get(kind)
        if known is not None and known.__qualname__ != cls.__qualname__:
            raise InputError(
                f'the kind "{kind}" is that of {known.__qualname__}; choose another for {cls.__qualname__}.'
            )
        cls.kind = kind
        _KINDS[kind] = cls

    def render(self, context: Context) -> dict[str, Any] | None:
        """
        The variables of the template.

        Args:
            context (Context): The folder of the page, and where to say what cannot be shown.

        Returns:
            dict: By name; by default the block's fields. None where there is nothing to show.
        """
        return {each.name: getattr(self, each.name) for each in fields(self)}  # type: ignore[arg-type]

    @classmethod
    def notes(cls, context: Context) -> list[str]:
        """Sentences for the foot of the page, once all blocks of this kind are rendered."""
        return []

    def files(self) -> list[str]:
        """The files of the page's folder that the block refers to."""
        found: list[str] = []

        def note(path: str) -> str:
            found.append(path)
            return path

        self._with_paths(note)
        return found

    def within(self: _Own, folder: str) -> _Own:
        """The same block on a page one folder or more above: its files are seen from there."""
        return self._with_paths(lambda path: f"{folder}/{path}")

    def to_json(self) -> dict[str, Any]:
        """The block as JSON can hold it."""
        return {"kind": self.kind, **asdict(self)}  # type: ignore[call-overload]

    @staticmethod
    def from_json(content: dict[str, Any]) -> Block:
        """
        What :meth:`to_json` gave.

        Raises:
            ValueError: If its kind is unknown.
            KeyError, TypeError: If its fields are not those of the kind.
        """
        values = dict(content)
        kind = values.pop("kind")
        if kind not in _KINDS:
            raise InputError(f'there is no block of the kind "{kind}"; import the module that defines it')
        block: Block = _from_json(_KINDS[kind], values)
        return block

    def _with_paths(self: _Own, change: Callable[[str], str]) -> _Own:
        changed: _Own = _with_paths(type(self), self, change)
        return changed


@cache
def _hints(kind: type) -> dict[str, Any]:
    hints = get_type_hints(kind, include_extras=True)
    return {each.name: hints[each.name] for each in fields(kind)}


def _from_json(hint: Any, value: Any) -> Any:
    """A value of JSON as the type that a field asks for."""
    if is_dataclass(hint):
        hints = _hints(hint)  # type: ignore[arg-type]
        return hint(**{name: _from_json(hints[name], inner) for name, inner in value.items()})  # type: ignore[operator]
    if get_origin(hint) is list:
        if not isinstance(value, list):
            raise TypeError(f"{value!r} is not a list")
        return [_from_json(get_args(hint)[0], inner) for inner in value]
    if (hint is str or hint == FilePath) and not isinstance(value, str):
        raise TypeError(f"{value!r} is not a text")
    return value


def _with_paths(hint: Any, value: Any, change: Callable[[str], str]) -> Any:
    """A value with each path of a file in it changed."""
    if hint == FilePath:
        return change(value)
    if is_dataclass(hint):
        hints = _hints(hint)  # type: ignore[arg-type]
        return replace(value, **{name: _with_paths(hints[name], getattr(value, name), change) for name in hints})
    if get_origin(hint) is list:
        return [_with_paths(get_args(hint)[0], inner, change) for inner in value]
    return value


__all__ = ["Block", "FilePath"]
