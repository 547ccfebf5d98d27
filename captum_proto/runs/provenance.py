"""What is recorded of a run: everything that its results depend on, and nothing else."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from captum_proto._utils.checks import plain_int
from captum_proto._utils.errors import InputError, MissingFileError
from captum_proto._utils.files import sha256

#: The packages whose versions a result depends on.
_PACKAGES = ("captum_proto", "torch", "torchvision", "captum", "numpy", "scipy")
#: So many characters of a value stand in a sentence.
_SHOWN = 80


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that a result depends on."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed as a package"
    return found


def provenance(
    command: str, settings: Mapping[str, Any], files: Mapping[str, Path | None] | None = None
) -> dict[str, Any]:
    """
    The record of a run, the same whether the command line, a sweep or a program starts it.

    Args:
        command (str): What is run, as the command line calls it.
        settings (mapping): Every choice that the results depend on, by name. What does not change a result (where it is written, how many
            threads read images, whether a bar is shown) does not belong here.
        files (mapping[str, Path], optional): Files that the results depend on, by the name of the setting; a file is recorded with the
            name and the SHA-256 of its content: a replaced one is noticed, one that was moved is the same. None for a setting that was
            not given. Default: none

    Returns:
        dict[str, Any]: As JSON can hold it.

    Raises:
        MissingFileError: If there is no such file.
    """
    recorded = {name: _recorded_file(path) for name, path in (files or {}).items()}
    return {
        "command": command,
        **{name: plain(value) for name, value in settings.items()},
        **recorded,
        "versions": versions(),
    }


def plain(value: Any) -> Any:
    """A setting as JSON can hold it: what has ``settings()`` by these, a dtype or a device by its name, a path as text."""
    if hasattr(value, "settings"):
        return plain(value.settings())
    if isinstance(value, Mapping):
        return {str(name): plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple, range)):
        return [plain(inner) for inner in value]
    value = plain_int(value)
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def _recorded_file(path: Path | None) -> dict[str, str] | None:
    if path is None:
        return None
    if not path.is_file():
        raise MissingFileError(f'there is no file "{path}"; give one that is there.')
    return {"file": path.name, "sha256": sha256(path)}


def check_same(folder: Path, found: dict[str, Any], asked: dict[str, Any]) -> None:
    """
    See that a run was made with the settings that are asked for.

    Args:
        folder (Path): Where it is, for the message.
        found (dict): What was recorded of it.
        asked (dict): What is asked for.

    Raises:
        InputError: If they differ: names the first setting that does, with both values, and the others.
    """
    different = list(_differences("", found, asked))
    if different:
        (name, before, now), *more = different
        further = f" ({_few([name for name, _, _ in more])} differ{'s' if len(more) == 1 else ''} too)" if more else ""
        raise InputError(
            f'"{folder}" was made with {name} = {_short(before)}, now it is {_short(now)}{further}; resume with the same settings, '
            "choose another folder, or begin anew with --overwrite."
        )


def _differences(name: str, before: Any, now: Any) -> Iterator[tuple[str, Any, Any]]:
    """Each entry in which two settings differ, as far inside as can be told: its path, and both values."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted(before.keys() | now.keys()):
            if before.get(key) != now.get(key):
                yield from _differences(f"{name}.{key}" if name else key, before.get(key), now.get(key))
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now) and len(repr(now)) > _SHOWN:
        for place, (was, is_now) in enumerate(zip(before, now, strict=True)):
            if was != is_now:
                yield from _differences(f"{name}[{place}]", was, is_now)
    else:
        yield name, before, now


def _short(value: Any) -> str:
    """A value in a sentence; the middle of a long one is left out, for both ends say more than one."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN // 2]} … {text[-_SHOWN // 2 :]}"


def _few(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 3 else f"{', '.join(names[:3])} and {len(names) - 3} more"
