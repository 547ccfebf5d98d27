"""
Runs whose layers, methods, networks and conditions have hostile names: pages are safe, nothing leaves the folder, and each file has a name
that any file system takes, and has it alone.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "runs"))
import protocols
from hostile_names import HOSTILE, HOSTILE_LAYERS, HOSTILE_NAME, carried_out, hostile_names
from page_look import looked_at

from captum_proto import capture
from captum_proto._utils.errors import InputError
from captum_proto.capture import LayerRecorder, find_output
from captum_proto.data import ImageCollection
from captum_proto.experiments.compare_groups import CompareGroups
from captum_proto.experiments.quality import QualityPairs
from captum_proto.experiments.report import report_on
from captum_proto.experiments.sweep import RunSweep, Sweep
from captum_proto.experiments.visualize import LayerUnits, Visualize
from captum_proto.features import ActivationGrid, TopExamples, UnitAttribution
from captum_proto.models import NamedModel
from captum_proto.runs.tasks import carry_out

#: Those in which layers are named, and those in which methods are.
OF_LAYERS = (
    "visualize",
    "evaluate",
    "dictionary",
    "atlas",
    "directions",
    "dissect",
    "explain",
    "describe",
    "sanity-check",
    "circuit",
    "examples",
)
OF_METHODS = ("quality", "trojans", "planted-trojans")
OF_NETWORKS = ("generate", "sweep", "quality-pairs", "reproduce", "evaluate")


def everything(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def safe(run: Path, around: Path, before: set[str]) -> None:
    """See that a run wrote nowhere but to its folder and its inputs, that all can be written anywhere, and that its pages are safe."""
    assert {path for path in everything(around) - before if path.partition("/")[0] != "work"} == set()
    paths = everything(run)
    assert len({path.casefold() for path in paths}) == len(paths)
    for path in paths:
        for part in path.split("/"):
            assert len(part.encode()) <= 255, part
            assert part.isprintable(), part
            assert not set(part) & set('<>:"|?*\\'), part
            assert part.strip(". ") == part or part.startswith("."), part
    pages = list(run.rglob("report.html"))
    assert pages
    for page in pages:
        looked_at(page.read_text(encoding="utf-8"))


def run_of(command: str, around: Path, **others: Any) -> Path:
    """A run of a protocol in a folder two below another one."""
    work = around / "work" / "here"
    work.mkdir(parents=True)
    return carried_out(command, work, **others)


@pytest.mark.parametrize("command", OF_LAYERS)
def test_layers(command: str, tmp_path: Path) -> None:
    before = everything(tmp_path)
    run = run_of(command, tmp_path, LAYERS=HOSTILE_LAYERS)
    safe(run, tmp_path, before)
    text = "".join(page.read_text(encoding="utf-8") for page in run.rglob("report.html"))
    assert "OWNED" in text
    if command != "directions" and command != "atlas":
        (run / "page.json").unlink(missing_ok=True)
        looked_at(report_on(run).read_text(encoding="utf-8"))


@pytest.mark.parametrize("command", OF_METHODS)
def test_methods(command: str, tmp_path: Path) -> None:
    before = everything(tmp_path)
    run = run_of(command, tmp_path, METHOD=HOSTILE_NAME)
    safe(run, tmp_path, before)


@pytest.mark.parametrize("command", OF_NETWORKS)
def test_networks(command: str, tmp_path: Path) -> None:
    before = everything(tmp_path)
    run = run_of(command, tmp_path, MODEL=HOSTILE_NAME)
    safe(run, tmp_path, before)


@pytest.mark.parametrize("name", [HOSTILE_NAME, "..", "a/b", "a\\b", "a\x00", "n" * 300, ""])
def test_a_condition_that_names_a_folder_is_named_so_that_it_can(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="which cannot be the name of a folder; choose one of"):
        run_of("evaluate", tmp_path, METHOD=name)
    assert not (tmp_path / "work" / "here" / "run").exists()


def test_subgroups(tmp_path: Path) -> None:
    work = tmp_path / "work" / "here"
    work.mkdir(parents=True)
    with hostile_names():
        photos, named = protocols.photos(work), protocols.trees()
        before = everything(tmp_path)
        names = [HOSTILE_NAME, HOSTILE_NAME + "2", "s" * 300]
        subgroups = {name: ImageCollection.one_class(photos / of) for name, of in zip(names, HOSTILE, strict=True)}
        made = protocols.Generate(named, [(0,)], protocols.QUICK, batch_size=1)
        carry_out(CompareGroups(named, subgroups, (0,), resamples=50, prototypes=made), work / "run")
    safe(work / "run", tmp_path, before)


def swept(sweep: Sweep, folder: Path) -> None:
    protocol: RunSweep = replace(protocols.sweep(folder), sweep=sweep)
    carry_out(protocol, folder / "run")


def test_values_of_a_sweep(tmp_path: Path) -> None:
    """A condition of a sweep is called by the values of its settings; the only words among them are of the package's own."""
    with hostile_names():
        for fixed, grid in (({"preset": HOSTILE_NAME}, {"lr": [0.05]}), ({}, {"parametrization": [HOSTILE_NAME]})):
            with pytest.raises(InputError):
                swept(Sweep([protocols.MODEL], HOSTILE[:1], [0], fixed=fixed, grid=grid), tmp_path)
        for fixed, grid in (({HOSTILE_NAME: 1}, {"lr": [0.05]}), ({}, {HOSTILE_NAME: [1, 2]})):
            with pytest.raises(InputError):
                Sweep([protocols.MODEL], HOSTILE[:1], [0], fixed=fixed, grid=grid)
    assert not (tmp_path / "run").exists()


def units_of(network: nn.Module, *layers: str) -> Visualize:
    named = NamedModel("one", network, None, (3, 8, 8), ["a", "b", "c"], resize_ratio=1.0)
    units = [LayerUnits(name, (1,), width=4) for name in layers]
    return Visualize(named, units, {"steps": 1, "transform": None})


def network(*names: str) -> nn.Sequential:
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        made = nn.Sequential()
        for place, name in enumerate(names):
            made.add_module(name, nn.Conv2d(3 if place == 0 else 4, 4, 3, padding=1))
        return made.eval()


@pytest.mark.parametrize(
    ("one", "other"), [("a/b", "a-b"), ("conv", "conv_unit0001"), ("Conv", "conv"), ("\n", "\x00"), ("<a", "a>")]
)
def test_layers_whose_files_would_be_called_alike_are_refused(one: str, other: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="would share the names of their files"):
        units_of(network(one, other), one, other)
    carry_out(units_of(network(one, other), other), tmp_path / "run")


def test_long_names_of_layers_are_told_apart(tmp_path: Path) -> None:
    names = ["x" * 300 + "1", "x" * 300 + "2"]
    carry_out(units_of(network(*names), *names), tmp_path / "run")
    safe(tmp_path / "run", tmp_path / "run", everything(tmp_path / "run"))
    assert len(list((tmp_path / "run").glob("x*_unit0001.png"))) == 2


def test_networks_whose_files_would_be_called_alike_are_refused(tmp_path: Path) -> None:
    folders = []
    for name in ("a/b", "a_b"):
        with hostile_names(MODEL=name):
            (tmp_path / str(len(folders))).mkdir()
            protocols.quality_pairs(tmp_path / str(len(folders)))
        folders.append(tmp_path / str(len(folders)) / "quality-of-trees")
    with pytest.raises(InputError, match="share the names of their files"):
        carry_out(QualityPairs(folders), tmp_path / "run")


@pytest.mark.parametrize("name", ["a#1", "a#x", "a[0]", "a[0]#1", "[", "#", "a@input ", "*", "a?", "[ab]", "a\n#0"])
def test_names_with_marks_of_calls_and_patterns_are_names(name: str) -> None:
    """What names an output, ``layer#call[key]``, or several layers, ``layer?``, may be the name of one."""
    images, made = torch.rand(2, 3, 8, 8), network(name, "ab", "a")
    expected = made[0](images)
    assert find_output(made, name) == (name, made[0], None, ())
    assert torch.equal(capture(made, images, [name])[name], expected)
    recorder = LayerRecorder(made, [name, "ab"])
    with torch.no_grad(), recorder.recording():
        made(images)
        assert torch.equal(recorder.take(2)[name], expected)
    assert torch.equal(UnitAttribution(made, name).layer.maps(images)[0], expected)
    assert list(TopExamples(made, [name], k=1).fit(images).layers) == [name]
    assert ActivationGrid(made, name).interpret(images[0], picture_size=8, steps=1).icons.shape[0] > 0
