"""A saved file in which a part is missing or does not fit the others is refused in one sentence that names it, by whatever reads it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from captum_proto import PathComparison, PathReference, Prototypes
from captum_proto._utils.errors import InputError
from captum_proto.experiments.compare_groups import compared_page
from captum_proto.experiments.fooling import Agreement
from captum_proto.experiments.fooling import protocol as fooling
from captum_proto.experiments.planted_bias import protocol as planted_bias
from captum_proto.experiments.planted_bias.results import Measured
from captum_proto.experiments.reproduce.page import reproduced_page
from captum_proto.experiments.subgroup_images import SubgroupLogits
from captum_proto.experiments.sweep.tables import swept_page
from captum_proto.metrics import NearestClassResult, SortedComparison, SortedReference
from captum_proto.metrics.group_comparison import SubgroupComparison, compare_groups
from captum_proto.optim import Visualizations
from captum_proto.report.blocks import Table
from captum_proto.report.page import Page, Section
from captum_proto.runs.folder import read_record, read_settings
from captum_proto.runs.tasks import warnings_of
from captum_proto.testing import Detector


def prototypes(path: Path) -> None:
    values = [torch.rand(2) for _ in range(4)]
    history, snapshots = {"loss": torch.rand(3, 2)}, {4: torch.rand(2, 1, 4, 4)}
    Prototypes(torch.rand(2, 1, 4, 4), [(0,), (1, 2)], [0, 1], *values, history, snapshots, {"steps": 4}).save(path)


def reference(path: Path) -> None:
    sums = [torch.rand(8).double(), torch.rand(3).double()]
    PathReference(["a", "b"], sums, [(2, 4), (3,)], torch.rand(1, 4, 4).double(), ["d"], "m").save(path)


def comparison(path: Path) -> None:
    scores = {name: torch.rand(2, 3).double() for name in ("prototype", "same_class", "other_class")}
    PathComparison(["a", "b", "c"], scores, {name: 1 - values for name, values in scores.items()}).save(path)


def linear_comparison(path: Path) -> None:
    scores = {name: torch.rand(2, 3).double() for name in ("prototype", "same_class", "other_class")}
    PathComparison(["a", "b", "c"], scores, scores, cosine=scores, pearson=scores).save(path)


def sorted_reference(path: Path) -> None:
    sums, squares = [torch.rand(8).double(), torch.rand(3).double()], [torch.rand(2).double(), torch.rand(3).double()]
    shapes, pixels = [(2, 4), (3,)], torch.rand(1, 4, 4).double()
    SortedReference(["a", "b"], sums, shapes, pixels, ["d"], "m", squares=squares, axes=[-2, -1]).save(path)


def sorted_comparison(path: Path) -> None:
    names = ("prototype", "same_class", "other_class")
    SortedComparison(["a", "b", "c"], {name: torch.rand(2, 3).double() for name in names}).save(path)


def nearest(path: Path) -> None:
    values, own = torch.rand(3, 2).double(), torch.tensor([0, 1, 1])
    NearestClassResult(["cat", "dog"], values, own, torch.zeros(3, dtype=torch.bool), layers=["a"]).save(path)


def visualizations(path: Path) -> None:
    history, snapshots = {"activation": torch.rand(3, 2)}, {4: torch.rand(2, 1, 4, 4)}
    values = [torch.rand(2), [0, 1], {"steps": 4}, [(3,), (5,)], history, snapshots, torch.rand(2, 2)]
    Visualizations(torch.rand(2, 1, 4, 4), *values).save(path)


def logits(path: Path) -> None:
    SubgroupLogits(torch.rand(2, 3), ["a.png", "b.png"], ["1", "2"], [("c.png", "damaged")]).save(path)


def classifier(path: Path) -> None:
    with planted_bias.seeded(0):
        planted_bias.save_tensors(path, planted_bias._WEIGHTS, planted_bias.small_classifier().state_dict(), {})


Load = Callable[[Path], Any]
#: Of each kind: how one is written, how it is read, and the parts that may be missing.
TENSORS: dict[str, tuple[Callable[[Path], None], Load, set[str]]] = {
    "prototypes": (prototypes, Prototypes.load, {"history.loss", "snapshots.4"}),
    "reference": (reference, PathReference.load, set()),
    "comparison": (comparison, PathComparison.load, set()),
    "linear comparison": (linear_comparison, PathComparison.load, set()),
    "sorted reference": (sorted_reference, SortedReference.load, set()),
    "sorted comparison": (sorted_comparison, SortedComparison.load, set()),
    "nearest classes": (nearest, NearestClassResult.load, set()),
    "visualizations": (visualizations, Visualizations.load, {"history.activation", "snapshots.4", "attempts"}),
    "logits": (logits, SubgroupLogits.load, set()),
    "detector": (lambda path: Detector(1, 8).save(path), Detector.load, set()),
    "classifier": (classifier, planted_bias._load_classifier, set()),
}


def parts_of(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, json.loads(file.metadata()["captum_proto"])  # noqa: SIM118


@pytest.mark.parametrize("kind", TENSORS)
def test_tensors(kind: str, tmp_path: Path) -> None:
    write, load, optional = TENSORS[kind]
    path = tmp_path / "whole.safetensors"
    write(path)
    load(path)
    tensors, described = parts_of(path)
    assert {**tensors, **described}.keys() >= optional
    damaged = tmp_path / "damaged.safetensors"

    def refused(kept: dict[str, torch.Tensor], told: Any, what: str) -> None:
        save_file(kept, damaged, {"captum_proto": json.dumps(told)})
        with pytest.raises(
            InputError, match=r"damaged\.safetensors\" (is damaged: it cannot be read as a|holds|was saved by)"
        ) as error:
            load(damaged)
        assert str(error.value).count("\n") == 0, what

    for name in tensors.keys() - optional:
        refused({other: value for other, value in tensors.items() if other != name}, described, f"{name} is missing")
    for name, value in tensors.items():
        if value.dim() and not name.startswith("pixel_sum"):
            longer = torch.cat([value, value], 1 if name.startswith("history") else 0)
            refused({**tensors, name: longer}, described, f"{name} is longer")
    for name in described:
        refused(tensors, {other: value for other, value in described.items() if other != name}, f"{name} is missing")
    for name in described.keys() - {"model", "repeat", "alias"}:
        refused(tensors, {**described, name: None}, f"{name} is none")
    for told in ([], 7, None, "prototypes"):
        refused(tensors, told, f"the description is {told}")


def group_comparison(path: Path) -> None:
    compare_groups({"a": torch.randn(9, 3), "b": torch.randn(9, 3)}, 0, resamples=9).save(path)


def agreement(path: Path) -> None:
    path.write_text(json.dumps(vars(Agreement("face", 0, 9, 9, 9, 0.9, 0.9, 0, 0, 2))))


def measured(path: Path) -> None:
    path.write_text(json.dumps(vars(Measured(1.0, False, 0, 0.9, 0.5, 0.1, 0.1, "red", True, 0.1, 0.9))))


#: The same of JSON; the entries that may be missing.
DESCRIPTIONS: dict[str, tuple[Callable[[Path], None], Load, set[str]]] = {
    "group comparison": (group_comparison, SubgroupComparison.load, {"settings"}),
    "agreement": (agreement, fooling._load_agreement, set()),
    "measurement": (measured, planted_bias._load_measured, set()),
    "page": (
        lambda path: Page("t", ["s"], [Section("s", [Table(["a"], [["1"]])])]).save(path.parent),
        lambda path: Page.load(path.parent),
        {"left_out", "lead", "legend", "trust"},  # which an earlier version did not write
    ),
}


@pytest.mark.parametrize("kind", DESCRIPTIONS)
def test_descriptions(kind: str, tmp_path: Path) -> None:
    write, load, optional = DESCRIPTIONS[kind]
    path = tmp_path / "page.json"
    write(path)
    load(path)
    content = json.loads(path.read_text())
    changed: list[Any] = [[], 7, None, {}, "text"]
    changed += [
        {other: value for other, value in content.items() if other != name} for name in content.keys() - optional
    ]
    if kind == "group comparison":
        changed += [{**content, "classes": ["another"]}, {**content, "pairs": 7}]
        changed += [{**content, "subgroups": [{**content["subgroups"][0], "probabilities": {}}]}]
    if kind == "page":
        changed += [{**content, name: 7} for name in content]
        changed += [
            {**content, "sections": [{"title": "s", "blocks": [{"kind": "table", **fields}]}]}
            for fields in (
                {"header": None, "rows": []},
                {"header": ["a"], "rows": [[1]]},
                {"header": ["a"], "rows": [], "caption": 7},
                {"rows": []},
            )
        ]
    for one in changed:
        path.write_text(json.dumps(one))
        with pytest.raises(InputError, match=r"page\.json\" (is damaged|holds something else|cannot be read)"):
            load(path)
    path.write_bytes(b"\xff\x00")
    with pytest.raises(InputError, match=r"page\.json\" is damaged"):
        load(path)


RECORD = {
    "task": "a",
    "index": 0,
    "inputs": {},
    "needs": {},
    "files": {"x": {"bytes": 1, "sha256": ""}},
    "warnings": ["w"],
}


@pytest.mark.parametrize(
    "damaged",
    [[], 7, *[{k: v for k, v in RECORD.items() if k != name} for name in RECORD]]
    + [{**RECORD, name: "7"} for name in RECORD if name != "task"]
    + [{**RECORD, "task": 7}, {**RECORD, "files": {"x": 7}}, {**RECORD, "files": {"x": {}}}],
)
def test_a_damaged_record_is_that_of_a_task_that_is_not_finished(damaged: Any, tmp_path: Path) -> None:
    (tmp_path / "tasks").mkdir()
    whole = tmp_path / "tasks" / "a.json"
    whole.write_text(json.dumps(RECORD))
    assert read_record(whole) == RECORD
    (tmp_path / "tasks" / "b.json").write_text(json.dumps(damaged))
    assert read_record(tmp_path / "tasks" / "b.json") is None
    assert warnings_of(tmp_path) == ["w"]


@pytest.mark.parametrize("damaged", ["[]", "7", '{"recorded": []}', "{"])
def test_damaged_settings(damaged: str, tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text(damaged)
    with pytest.raises(FileExistsError, match=r"holds no readable settings\.json"):
        read_settings(tmp_path)


def test_a_page_leaves_out_what_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text(json.dumps({"classes": {"ash": [0]}, "generation": {}}))
    for content in (b"", b"\xff,1"):
        (tmp_path / "ranking.csv").write_bytes(content)
        assert any(text.startswith("The ranking is left out") for text in swept_page(tmp_path).failures)
    (tmp_path / "model" / "table1").mkdir(parents=True)
    (tmp_path / "model" / "table1" / "verdict.txt").write_bytes(b"\xff")
    assert any(text.startswith("Table 1 is left out") for text in reproduced_page(tmp_path).failures)
    group_comparison(tmp_path / "comparison.json")
    (tmp_path / "prototypes").mkdir()
    prototypes(tmp_path / "prototypes" / "prototypes.safetensors")  # of classes that were not compared
    assert any(text.startswith("the prototypes cannot be read") for text in compared_page(tmp_path).failures)
