"""An evaluation finds what is wrong before it begins, and keeps everything that a kill or Ctrl-C leaves finished."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from captum_proto import PathComparison, Prototypes
from captum_proto._utils.targets import Target
from captum_proto.data.natural import ClassImages
from captum_proto.experiments import evaluate as evaluation
from captum_proto.experiments.evaluate import Evaluate
from captum_proto.experiments.evaluation_page import COMPARISON, evaluation_page
from captum_proto.experiments.generate import PROTOTYPES, Generate
from captum_proto.metrics import PathSimilarity
from captum_proto.models import NamedModel
from captum_proto.report.views import prototypes as prototypes_view
from captum_proto.runs.tasks import Run, Task, carry_out

QUICK: dict[str, Any] = {"steps": 2, "warmup_steps": 1, "transform": None}


@dataclass(frozen=True)
class SmoothImages:
    make: Any

    def of(self, target: Target) -> ClassImages:
        return ClassImages(self.make(3, seed=target[0]), self.make(3, seed=9))

    def settings(self) -> dict[str, Any]:
        return {}

    def afresh(self, **_: Any) -> SmoothImages:
        return self


@pytest.fixture(autouse=True)
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (evaluation, prototypes_view):
        monkeypatch.setattr(module, "save_figure", lambda figure, path, overwrite: path.touch())
    monkeypatch.setattr(evaluation, "comparison_figure", lambda *_: None)
    monkeypatch.setattr(prototypes_view, "prototype_sheet", lambda *_: None)


@pytest.fixture
def evaluate(make_cnn, make_images) -> Any:
    named = NamedModel("small", make_cnn(), None, (3, 12, 12))

    def make(**options: Any) -> Evaluate:
        values = {"similarity": {"layers": ["block", "head"]}, "comparison": {"controls": ()}, **options}
        return Evaluate(named, [(0,), (1,), (0,)], SmoothImages(make_images), QUICK, **values)

    return make


def test_a_resumed_evaluation_takes_nothing_of_the_run_it_overwrites(
    evaluate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[int, str]] = []
    make, stop = Evaluate.make, ""

    def watched(self: Evaluate, task: Task, run: Run) -> None:
        if task.name == stop:
            raise KeyboardInterrupt
        made.append((self.seed, task.name))
        make(self, task, run)

    def run(seed: int, **options: bool) -> dict[Target, Any]:
        return carry_out(evaluate(seed=seed, comparison={"controls": (), "seed": seed}), tmp_path, **options)

    monkeypatch.setattr(Evaluate, "make", watched)
    run(0)
    for options, stop in (({"overwrite": True}, "0000/prototypes"), ({"resume": True}, "0001/comparison")):  # noqa: B007
        with pytest.raises(KeyboardInterrupt):
            run(5, **options)
    stop = ""
    comparisons = run(5, resume=True)
    tasks = [f"{stem}/{part}" for stem in ("0000", "0001") for part in ("prototypes", "comparison")]
    assert made == [(seed, task) for seed in (0, 5) for task in tasks]  # of the resumed run, each once
    assert list(comparisons) == [(0,), (1,)]  # a class that was named twice is evaluated once
    assert [comparison.settings["seed"] for comparison in comparisons.values()] == [5, 5]
    assert [comparison.settings["class"] for comparison in comparisons.values()] == ["class 0", "class 1"]
    assert "class 0\n" in (tmp_path / "summary.txt").read_text()  # of a class that was finished before as well


def test_prototypes_are_kept_where_the_comparison_was_interrupted(
    evaluate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[str] = []
    make = Generate.make

    def watched(self: Generate, task: Task, run: Run) -> None:
        batches.append(f"{run.folder.parent.name}/{task.name}")
        make(self, task, run)

    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Generate, "make", watched)
    protocol = evaluate(count=3, batch_size=2)
    with monkeypatch.context() as patch:
        patch.setattr(PathSimilarity, "compare", stop)
        with pytest.raises(KeyboardInterrupt):
            carry_out(protocol, tmp_path)
    assert batches == ["0000/batches/00000", "0000/batches/00002"]
    assert not (tmp_path / "0000" / COMPARISON).exists()
    carry_out(protocol, tmp_path, resume=True)
    assert batches == [f"{stem}/batches/{begin}" for stem in ("0000", "0001") for begin in ("00000", "00002")]
    assert Prototypes.load(tmp_path / "0001" / "prototypes" / PROTOTYPES).seeds == [0, 1, 2]


def test_pictures_of_other_methods_are_tasks_and_conditions(evaluate, tmp_path: Path) -> None:
    comparisons = carry_out(evaluate(count=1, further={"plain": {**QUICK, "steps": 1}}), tmp_path)
    assert comparisons[(0,)].conditions == ["prototype", "same_class", "other_class", "plain"]
    made = Prototypes.load(tmp_path / "0000" / "plain" / PROTOTYPES)
    assert made.settings["steps"] == 1
    assert (tmp_path / "tasks" / "0000" / "plain.json").exists()


def test_prototypes_from_a_file_are_copied_beside_the_comparison(evaluate, tmp_path: Path) -> None:
    named = evaluate().named
    given = carry_out(Generate(named, [(1,), (0,), (1,)], QUICK, page=False), tmp_path / "given")
    carry_out(evaluate(prototypes=tmp_path / "given" / PROTOTYPES), tmp_path / "out")
    kept = Prototypes.load(tmp_path / "out" / "0001" / "prototypes" / PROTOTYPES)
    assert torch.equal(kept.images, given.of(1).images)
    carry_out(Generate(named, [(1,)], QUICK, page=False), tmp_path / "one")
    with pytest.raises(ValueError, match=r"there are no prototypes of \[0\]"):
        carry_out(evaluate(prototypes=tmp_path / "one" / PROTOTYPES), tmp_path / "none")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"count": 0}, "count is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"further": {"gray": QUICK}, "comparison": {}}, 'further has "gray", which the comparison calls'),
        ({"further": {"prototypes": QUICK}}, 'further has "prototypes"'),
        ({"further": {"plain": {"lr": -1.0}}}, "lr is -1"),
        ({"comparison": {"controls": ["grai"]}}, 'there is no control "grai"'),
        ({"comparison": {"control_count": 0}}, "control_count is 0"),
        ({"similarity": {"layers": ["blok"]}}, 'there is no layer "blok"'),
        ({"similarity": {"repeat": "often"}}, "repeat is"),
        ({"similarity": {"batch_size": 0}}, "batch_size is 0"),
    ],
)
def test_what_is_wrong_is_found_before_anything_is_removed(
    options: dict[str, Any], words: str, evaluate, tmp_path: Path, results_of_an_earlier_run
) -> None:
    check_results = results_of_an_earlier_run(tmp_path, "evaluate")
    with pytest.raises(ValueError, match=words):
        carry_out(evaluate(**options), tmp_path, overwrite=True)
    check_results()


def test_a_class_needs_two_images(evaluate, make_images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def single(self: SmoothImages, target: Target) -> ClassImages:
        images: Tensor = make_images(1, seed=target[0])
        return ClassImages(images, images)

    monkeypatch.setattr(SmoothImages, "of", single)
    with pytest.raises(ValueError, match="there is 1 image of class 0; path similarity needs at least two"):
        carry_out(evaluate(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("similarity", "asked_for"), [({}, False), ({"layers": "leaf"}, False), ({"layers": ["block", "head"]}, True)]
)
def test_a_layer_that_nobody_asked_for_is_left_out_and_has_not_failed(
    evaluate, tmp_path: Path, similarity: dict[str, Any], asked_for: bool
) -> None:
    carry_out(evaluate(similarity=similarity), tmp_path / "out")
    path = next((tmp_path / "out").glob(f"*/{COMPARISON}"))
    comparison = PathComparison.load(path)
    comparison.settings["skipped"] = {"gate": "a tuple, no tensor"}
    comparison.save(path, overwrite=True)
    page = evaluation_page(tmp_path / "out")
    sentence = f'{comparison.settings["class"]}: layer "gate" was left out: a tuple, no tensor.'
    assert (sentence in page.failures) == asked_for
    assert (sentence in page.left_out) == (not asked_for)
