"""What is recorded of a run: everything that its results depend on, and nothing else."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from captum_proto._utils.checks import plain_int
from captum_proto._utils.errors import MissingFileError
from captum_proto._utils.files import sha256

#: The packages whose versions a result depends on.
_PACKAGES = ("captum_proto", "torch", "torchvision", "captum", "numpy", "scipy")


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
