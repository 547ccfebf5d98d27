"""What is in its place stays there: the order in which the disk is told, and file systems that lack what others have."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from captum_proto._utils import durable, files
from captum_proto._utils.durable import ASIDE, aside_of, put_in_place, step_back
from captum_proto._utils.errors import WriteError
from captum_proto._utils.files import files_written, whole_file

pytestmark = pytest.mark.skipif(os.name == "nt", reason="file systems of POSIX")


@pytest.fixture(autouse=True)
def flushed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAPTUM_PROTO_FSYNC", "1")


def write(path: Path, text: str) -> None:
    with whole_file(path, overwrite=True) as temporary:
        temporary.write_text(text)


def test_content_is_on_the_disk_before_its_name_and_the_name_before_it_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    flush, replace = os.fsync, Path.replace

    def name_of(handle: int) -> str:
        path = Path(os.readlink(f"/proc/self/fd/{handle}"))
        return path.name if path.is_dir() else "content"

    def fsync(handle: int) -> None:
        said.append(name_of(handle))
        flush(handle)

    def renamed(self: Path, target: Path) -> Path:
        said.append("rename")
        return replace(self, target)

    if not Path("/proc/self/fd").exists():
        pytest.skip("which file a handle is of is seen in /proc")
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", renamed)
    with files_written() as written:
        write(tmp_path / "a" / "b" / "x.txt", "x")
        said.append("noted")
        assert written == {tmp_path / "a" / "b" / "x.txt"}
    assert said == ["a", tmp_path.name, "content", "rename", "b", "noted"]
    monkeypatch.setenv("CAPTUM_PROTO_FSYNC", "0")
    said.clear()
    write(tmp_path / "y.txt", "y")
    assert said == ["rename"]


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS])
def test_a_file_system_that_cannot_flush(code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fsync(handle: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fsync)
    write(tmp_path / "x.txt", "x")
    assert (tmp_path / "x.txt").read_text() == "x"


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_did_not_take_it(code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Disks that write later say only then that they are full."""
    write(tmp_path / "x.txt", "before")

    def fsync(handle: int) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with files_written() as written, pytest.raises(WriteError, match=r"x\.txt\" cannot be written"):
            write(tmp_path / "x.txt", "after")
    assert written == set()
    assert (tmp_path / "x.txt").read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["x.txt"]


def refusing(code: int) -> Any:
    """``os.replace`` and ``os.rename`` of a file system that renames no file over another."""
    rename = os.rename

    def refused(source: Any, target: Any, **how: Any) -> None:
        if os.path.lexists(target):
            raise OSError(code, os.strerror(code), os.fspath(target))
        rename(source, target, **how)

    return refused


@pytest.mark.parametrize("code", [errno.EEXIST, errno.EPERM, errno.EACCES, errno.EBUSY])
def test_a_file_system_that_renames_no_file_over_another(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("replace", "rename"):
        monkeypatch.setattr(os, name, refusing(code))
    for text in ("one", "two", "three"):
        write(tmp_path / "x.txt", text)
        assert (tmp_path / "x.txt").read_text() == text
        assert [path.name for path in tmp_path.iterdir()] == ["x.txt"]


def test_killed_between_two_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There the earlier file is found under its other name, and gets its own again."""

    class Killed(BaseException):
        pass

    write(tmp_path / "x.txt", "before")
    (tmp_path / "new").write_text("after")
    rename = Path.rename
    calls = iter(range(9))

    def killed(self: Path, target: Path) -> Path:
        if next(calls) > 0:  # at the second rename, and at the attempt to undo the first
            raise Killed
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", refusing(errno.EEXIST))
        patch.setattr(Path, "replace", lambda self, target: os.replace(self, target))
        patch.setattr(Path, "rename", killed)
        with pytest.raises(Killed):
            put_in_place(tmp_path / "new", tmp_path / "x.txt")
    assert not (tmp_path / "x.txt").exists()
    assert aside_of(tmp_path / "x.txt").read_text() == "before"
    step_back(tmp_path)
    assert (tmp_path / "x.txt").read_text() == "before"
    (tmp_path / f".x.txt{ASIDE}").write_text("older")  # the new one came, and the process was killed then
    step_back(tmp_path)
    assert (tmp_path / "x.txt").read_text() == "before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "x.txt"]


def test_a_file_system_without_permissions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: Path, mode: int) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(Path, "chmod", refused)
    write(tmp_path / "x.txt", "x")
    assert (tmp_path / "x.txt").read_text() == "x"


def test_what_only_passes_is_noted_nowhere(tmp_path: Path) -> None:
    told: list[Path] = []
    with (
        files_written() as written,
        files.files_foretold(told.append),
        whole_file(tmp_path / "x.txt", passing=True) as temporary,
    ):
        temporary.write_text("x")
    assert (written, told) == (set(), [])
    assert durable.PARTIAL == ".partial"
