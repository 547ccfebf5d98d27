"""Every run ends with its page; of one that was interrupted, or is older than pages are, the page is made from what is there."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import nn

from captum_proto import Prototypes
from captum_proto._utils.targets import Target
from captum_proto.data.natural import ClassImages
from captum_proto.experiments import evaluate as evaluation
from captum_proto.experiments.demo import demo_page
from captum_proto.experiments.evaluate import Evaluate
from captum_proto.experiments.generate import Generate
from captum_proto.experiments.report import report_on
from captum_proto.models import NamedModel
from captum_proto.report.blocks import Curves, Files, Picture, Pictures, Table, Verdicts
from captum_proto.report.page import Page, Section
from captum_proto.report.views import prototypes as prototypes_view
from captum_proto.runs.folder import PAGE, REPORT, SETTINGS
from captum_proto.runs.tasks import Run, Task, carry_out

NAMES = ["ash", "birch </script>", "cedar"]
TARGETS: list[Target] = [(0,), (1,), (1,)]


def pictures_of(section: Section) -> list[Picture]:
    return [picture for block in section.of(Pictures) for picture in block.pictures]


@pytest.fixture(autouse=True)
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """matplotlib's figures take seconds, and the page has none of them."""
    for module in (evaluation, prototypes_view):
        monkeypatch.setattr(module, "save_figure", lambda figure, path, overwrite: path.touch())
    monkeypatch.setattr(evaluation, "comparison_figure", lambda *_: None)
    monkeypatch.setattr(prototypes_view, "prototype_sheet", lambda *_: None)


@pytest.fixture
def model() -> NamedModel:
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).eval()
    return NamedModel("trees", network, None, (1, 8, 8), NAMES)


def generate(model: NamedModel, folder: Path) -> Prototypes:
    options = {"steps": 2, "warmup_steps": 0, "transform": None}
    return carry_out(Generate(model, TARGETS, options, batch_size=1), folder, overwrite=True)


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the second batch."""
    make = Generate.make

    def stop(self: Generate, task: Task, run: Run) -> None:
        if task.name.endswith("00001"):
            raise KeyboardInterrupt
        make(self, task, run)

    monkeypatch.setattr(Generate, "make", stop)


@dataclass(frozen=True)
class UnderBadWeather:
    """Images that come with a warning, and of which one was skipped; Ctrl-C at one of the classes."""

    stop: Target | None
    in_earnest: bool = False

    def of(self, target: Target) -> ClassImages:
        if self.in_earnest:
            if target == self.stop:
                raise KeyboardInterrupt
            warnings.warn("the weather is bad.", stacklevel=1)
        same, other = (torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(seed)) for seed in (target[0], 9))
        return ClassImages(same, other, lambda: [f"The image {target[0]} was skipped."])

    def settings(self) -> dict[str, str]:
        return {}

    def afresh(self, batch_size: int | None = None, workers: int | None = None) -> UnderBadWeather:
        return replace(self, in_earnest=batch_size is None)  # one at a time, it is only seen that there are some


def evaluate(model: NamedModel, folder: Path, stop: Target | None = None, **options: bool) -> None:
    generation = {"steps": 2, "warmup_steps": 0}
    controls = {"controls": ["gray", "noise"]}
    carry_out(Evaluate(model, [(0,), (1,)], UnderBadWeather(stop), generation, comparison=controls), folder, **options)


def test_a_generation_ends_with_its_page(model: NamedModel, tmp_path: Path) -> None:
    prototypes = generate(model, tmp_path)
    page = Page.load(tmp_path)
    assert page.title == "Prototypes of trees"
    assert page.failures == []
    (section,) = page.sections
    assert [picture.path for picture in pictures_of(section)] == [
        "0000_ash_seed0.png", "0001_birch-script_seed0.png", "0001_birch-script_seed1.png",
    ]  # fmt: skip
    assert pictures_of(section)[1].caption == f"birch </script>, seed 0: p = {float(prototypes.probabilities[1]):.3f}"
    assert [row[:2] for row in section.of(Table)[0].rows] == [
        ["ash", "0"],
        ["birch </script>", "0"],
        ["birch </script>", "1"],
    ]
    assert "is not measured here" in page.trust
    assert "birch &lt;/script&gt;" in (tmp_path / REPORT).read_text(encoding="utf-8")
    assert page.settings["options"]["steps"] == 2


def test_of_an_interrupted_generation_the_finished_batches_are_shown(
    model: NamedModel, interrupted: None, tmp_path: Path
) -> None:
    for name in (PAGE, REPORT):
        (tmp_path / name).touch()
    with pytest.raises(KeyboardInterrupt):
        generate(model, tmp_path)
    for name in (PAGE, REPORT):
        assert not (tmp_path / name).exists()  # those of the earlier run are not taken for this one's
    for path in tmp_path.glob("*.png"):
        path.unlink()
    assert report_on(tmp_path) == tmp_path / REPORT
    page = Page.load(tmp_path)
    assert page.failures == [
        "The run is not finished: 1 of 3 prototypes are there; the same command with --resume goes on."
    ]
    assert [picture.path for picture in pictures_of(page.sections[0])] == ["0000_ash_seed0.png"]
    assert (tmp_path / "0000_ash_seed0.png").exists()
    (part,) = (tmp_path / "batches").iterdir()
    part.write_bytes(part.read_bytes()[:50])
    (tmp_path / PAGE).unlink()
    report_on(tmp_path)
    page = Page.load(tmp_path)
    assert page.failures[0].startswith("The run is not finished: 0 of 3")
    assert "00000.safetensors" in page.failures[1]
    assert page.summary == ["No prototype is finished yet."]


def without_digests(folder: Path) -> None:
    """As earlier versions wrote settings and records."""
    for path in [folder / SETTINGS, *(folder / "tasks").rglob("*.json")]:
        content = json.loads(path.read_text())
        path.write_text(json.dumps({name: value for name, value in content.items() if name not in ("sha256", "run")}))


def test_a_generation_older_than_pages_is_shown(model: NamedModel, tmp_path: Path) -> None:
    generate(model, tmp_path)
    settings = json.loads((tmp_path / SETTINGS).read_text())
    for name in ("labels", "file_stems", "warnings"):
        del settings["recorded"][name]
    (tmp_path / SETTINGS).write_text(json.dumps(settings))
    without_digests(tmp_path)
    (tmp_path / PAGE).write_text("{ damaged")
    report_on(tmp_path)
    (section,) = Page.load(tmp_path).sections
    assert [picture.path for picture in pictures_of(section)][0::2] == [
        "0000_ash_seed0.png",
        "0001_birch-script_seed1.png",
    ]
    assert pictures_of(section)[0].caption.startswith("ash, seed 0")


def test_an_evaluation_ends_with_its_page_the_mean_first(model: NamedModel, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="weather"):
        evaluate(model, tmp_path)
    page = Page.load(tmp_path)
    assert [section.title for section in page.sections] == ["Mean over 2 classes", "ash", "birch </script>"]
    assert page.failures[:3] == ["the weather is bad.", "The image 0 was skipped.", "The image 1 was skipped."]
    for section in page.sections:
        assert [row[0] for row in section.of(Table)[0].rows] == [
            "prototype",
            "same class",
            "other class",
            "gray",
            "noise",
        ]
        assert len(section.of(Verdicts)[0].verdicts) == 4
        assert len(section.of(Curves)) == 1
        assert all((tmp_path / file).exists() for file in section.of(Files)[0].paths)
    assert len(page.sections[0].of(Curves)[0].more) == 1
    assert [picture.path for picture in pictures_of(page.sections[1])] == [
        f"0000_ash/prototypes/0000_ash_seed{seed}.png" for seed in (0, 1)
    ]
    assert all((tmp_path / path).exists() for path in page.files())
    assert (tmp_path / REPORT).stat().st_size > 50_000


def test_of_an_interrupted_evaluation_the_finished_classes_are_shown(model: NamedModel, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="weather"), pytest.raises(KeyboardInterrupt):
        evaluate(model, tmp_path, stop=(1,))
    report_on(tmp_path)
    page = Page.load(tmp_path)
    assert (
        page.failures[0] == "The run is not finished: 1 of 2 classes are there; the same command with --resume goes on."
    )
    assert [section.title for section in page.sections] == ["ash", "birch </script>: not compared yet"]
    with pytest.warns(UserWarning, match="weather"):
        evaluate(model, tmp_path, resume=True)
    page = Page.load(tmp_path)
    assert page.failures[:3] == ["the weather is bad.", "The image 0 was skipped.", "The image 1 was skipped."]
    for file in ("comparison.safetensors", "prototypes/prototypes.safetensors"):
        (tmp_path / "0001_birch-script" / file).write_bytes(b"damaged")
    report_on(tmp_path)  # from the page's description, which names a file that cannot be read
    assert "cannot be read" in (tmp_path / REPORT).read_text(encoding="utf-8")
    (tmp_path / PAGE).unlink()
    report_on(tmp_path)
    page = Page.load(tmp_path)
    assert [section.title for section in page.sections] == ["ash"]
    assert any(sentence.startswith("birch </script>: the comparison cannot be read") for sentence in page.failures)


def test_an_evaluation_that_finished_nothing_and_an_older_one(model: NamedModel, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        evaluate(model, tmp_path / "none", stop=(0,))
    report_on(tmp_path / "none")
    assert Page.load(tmp_path / "none").summary == ["No class is finished yet."]
    with pytest.warns(UserWarning, match="weather"):
        evaluate(model, tmp_path / "old")
    (tmp_path / "old" / PAGE).unlink()
    (tmp_path / "old" / SETTINGS).write_text('{"command": "evaluate"}')
    without_digests(tmp_path / "old")
    report_on(tmp_path / "old")
    titles = [section.title for section in Page.load(tmp_path / "old").sections]
    assert titles == ["Mean over 2 classes", "ash", "birch </script>"]


def test_a_demonstration_shows_the_parts_that_are_there(model: NamedModel, tmp_path: Path) -> None:
    (tmp_path / SETTINGS).write_text('{"command": "demo"}')
    generate(model, tmp_path / "digits")
    with pytest.warns(UserWarning, match="weather"):
        evaluate(model, tmp_path / "digits-similarity")
    page = demo_page(tmp_path)
    assert [section.title for section in page.sections][:3] == [
        "Ten digits",
        "Path similarity of the digits: mean over 2 classes",
        "Digit ash",
    ]
    assert page.failures[0].startswith("Three ImageNet classes: not there, the demonstration is not finished")
    assert pictures_of(page.sections[0])[0].path == "digits/0000_ash_seed0.png"
    assert page.sections[1].of(Curves)[0].more == ["digits-similarity/0001_birch-script/comparison.safetensors"]
    text = report_on(tmp_path).read_text(encoding="utf-8")
    assert "missing from the folder" not in text


def test_what_is_no_folder_of_ours_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r'there is no folder ".*nowhere"; give one that a captum-proto command wrote'
    ):
        report_on(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"holds neither page\.json nor settings\.json; give a folder that"):
        report_on(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match=r'file" is a file; give the folder'):
        report_on(tmp_path / "file")
    (tmp_path / SETTINGS).write_text('{"command": "another"}')
    with pytest.raises(FileNotFoundError, match=r"holds no page\.json; give the folder of a finished"):
        report_on(tmp_path)
    (tmp_path / PAGE).write_text("{")
    with pytest.raises(ValueError, match=r"page\.json\" is damaged"):
        report_on(tmp_path)
    (tmp_path / SETTINGS).write_text("{")
    with pytest.raises(FileExistsError, match=r"holds no readable settings\.json"):
        report_on(tmp_path)
