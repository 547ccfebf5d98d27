"""Runs that optimize what is no image, killed in mid-optimization: with ``--resume`` they end in the files of a run that was not."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from protocols import PROTOCOLS

from captum_proto.cli import main
from captum_proto.optim import descent
from captum_proto.runs.snapshots import Place, SnapshotWarning
from captum_proto.runs.tasks import carry_out


class Killed(BaseException):
    """What ends a run in place of SIGKILL: nothing handles it."""


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def steps_of(act: Callable[[], Any], most: int = 10**9) -> int:
    """Do something, and end it before it takes one more step of an optimization than so many; how many it took."""
    steps, take = [0], descent.Descent._take

    def counted(self: Any, *arguments: Any) -> bool:
        if steps[0] == most:
            raise Killed
        steps[0] += 1
        return take(self, *arguments)

    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(Killed):
        patch.setattr(descent.Descent, "_take", counted)
        act()
    return steps[0]


def killed_and_resumed(run: Callable[[Path, bool], Any], most: int, tmp_path: Path) -> None:
    """See that a run that is killed again and again goes on in the middle of things and ends in the files of one that was not."""
    whole, out = tmp_path / "whole", tmp_path / "out"
    run(whole, False)
    gone_on, kept, kills = [], Place.kept, 0

    def noted(self: Place, *arguments: Any) -> Any:
        found = kept(self, *arguments)
        if found is not None:
            gone_on.append(self.path)
        return found

    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.setattr(Place, "kept", noted)
        warnings.simplefilter("error", SnapshotWarning)
        while steps_of(lambda: run(out, True), most) == most and kills < 40:
            kills += 1
    assert 3 <= kills < 40
    assert len(gone_on) >= 2
    assert contents(out) == contents(whole)


@pytest.mark.parametrize("name", ["generate-tabular", "generate-text"])
def test_protocols(name: str, tmp_path: Path) -> None:
    def run(folder: Path, resume: bool) -> None:
        protocol: Any = replace(PROTOCOLS[name](tmp_path), options={"steps": 9})
        carry_out(protocol, folder, resume=resume, snapshot_every=2)

    killed_and_resumed(run, 5, tmp_path)


FACTORIES = """
import protocols


def rows():
    return protocols.income(0)


def texts():
    return protocols.topics(0)
"""


@pytest.mark.parametrize("how", [["tabular"], ["text", "--tokens", "nearest"], ["text", "--tokens", "gumbel"]])
def test_the_command_line(how: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "factories.py").write_text(FACTORIES)
    factory = f"{tmp_path}/factories.py:{'rows' if how[0] == 'tabular' else 'texts'}"
    command = ["generate", "--input", *how, "--model", factory, "--steps", "40", "--tries", "2", "--no-progress"]

    def run(folder: Path, resume: bool) -> None:
        arguments = [*command, "--snapshot-every", "2", "--out", str(folder), *(["--resume"] if resume else [])]
        assert main(arguments) == 0, capsys.readouterr().err

    killed_and_resumed(run, 11, tmp_path)
