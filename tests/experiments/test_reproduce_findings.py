"""What the items of the paper say follows from their figures; what nobody asked for is left out, and has not failed."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from captum_proto import PathComparison
from captum_proto.experiments.reproduce import ITEMS, Reproduce, Reproduction, Stage
from captum_proto.experiments.reproduce.items import RECIPES, affine
from captum_proto.experiments.reproduce.items.registry import beside_paper
from captum_proto.experiments.reproduce.items.similarity import shares_beside_controls
from captum_proto.experiments.reproduce.items.subgroups import table_2
from captum_proto.experiments.reproduce.page import RUNS, reproduced_page
from captum_proto.experiments.reproduce.paper import Published
from captum_proto.experiments.reproduce.protocol import summary_sentence
from captum_proto.experiments.sweep import Cell, Sweep, SweepResult
from captum_proto.metrics import compare_groups
from captum_proto.models import load_model
from captum_proto.report.blocks import Pictures, Verdict
from captum_proto.report.page import Page
from captum_proto.report.views.path_similarity import conclusion
from captum_proto.runs.folder import RECORDED
from captum_proto.runs.tasks import carry_out


def comparison(prototype: float, ascent: float, seed: int = 0) -> PathComparison:
    generator = torch.Generator().manual_seed(seed)
    levels = {"prototype": prototype, "same_class": 0.8, "other_class": 0.3, "gray": 0.1, "ascent": ascent}
    spearman = {
        name: level + 0.01 * torch.randn(1 if name != "same_class" else 5, 12, generator=generator, dtype=torch.float64)
        for name, level in levels.items()
    }
    l1 = {name: 2 - values for name, values in spearman.items()}
    return PathComparison([f"layer{i}" for i in range(12)], spearman, l1, {"failures": []})


def results(comparisons: Sequence[PathComparison]) -> Any:
    stage = SimpleNamespace(model="tiny", labels={(i,): f"class {i}" for i in range(len(comparisons))})
    return SimpleNamespace(every=list(comparisons), stage=stage)


#: The figures of the digits that were said to be above every picture that knows no data: 0.514 against 0.469, and the intervals overlap.
OVERLAPPING = [comparison(*pair, seed) for seed, pair in enumerate([(0.514, 0.469), (0.62, 0.44), (0.40, 0.49)])]
APART = [comparison(*pair, seed) for seed, pair in enumerate([(0.51, 0.46), (0.62, 0.58), (0.40, 0.34)])]

AS_HIGH = "these know no data and do as well as prototypes ({}) or better, so that this alone proves nothing"


@pytest.mark.parametrize("item", ["fig2", "table1"])
def test_the_paper_s_items_say_of_controls_what_the_page_of_an_evaluation_says(item: str) -> None:
    above = "They are above every control that knows no data, by more than chance."
    for comparisons, holds in ((OVERLAPPING, False), (APART, True), (OVERLAPPING[:1], False)):
        made = RECIPES[item].make(results(comparisons))
        assert made.text == conclusion(comparisons)
        assert (above in made.text) == holds
    text = " ".join(RECIPES[item].make(results(OVERLAPPING)).text)
    assert "by no more than may be chance" in text
    assert "gradient ascent without transforms (−" in text
    assert "one prototype: how much another would differ is not known" in " ".join(conclusion(OVERLAPPING[:1]))
    worse = [comparison(0.4, 0.5, seed) for seed in range(3)]
    assert "no better than gradient ascent without transforms" in " ".join(RECIPES[item].make(results(worse)).text)


@pytest.mark.parametrize(
    ("shares", "ends", "sentences"),
    [
        (
            {"prototype": 0.5, "gray": 0.5, "noise": 0.1},
            (0.4, 0.6),
            [f"D ≤ D_I: {AS_HIGH.format('50.0 %')}: a gray square (50.0 %)."],
        ),
        (
            {"prototype": 0.5, "gray": 0.45, "noise": 0.1},
            (0.4, 0.6),
            ["D ≤ D_I: these know no data and are lower by no more than may be chance: a gray square (45.0 %)."],
        ),
        (
            {"prototype": 0.5, "gray": 0.1, "noise": 0.1, "mean_image": 0.9},
            (0.4, 0.6),
            ["D ≤ D_I: prototypes are above every picture that knows no data; that is more than chance."],
        ),
        (
            {"prototype": 0.5, "gray": 0.1},
            (math.nan, math.nan),
            ["D ≤ D_I: prototypes are above every picture that knows no data; nothing says whether that is more than chance."],
        ),
        (
            {"prototype": 0.0, "gray": 0.0},
            (0.0, 0.0),
            ["D ≤ D_I: in no layer, neither for prototypes nor for pictures that know no data."],
        ),
        (
            {"prototype": 0.0, "gray": 0.0, "noise": 0.2},
            (0.0, 0.0),
            [f"D ≤ D_I: {AS_HIGH.format('0.0 %')}: uniform noise (20.0 %)."],
        ),
        ({"prototype": math.nan, "gray": math.nan}, (math.nan, math.nan), ["D ≤ D_I: no layer in which it could be measured."]),
        ({"prototype": 0.5}, (0.4, 0.6), ["D ≤ D_I: no control that knows no data was run, so it is not known what this is worth."]),
    ],
)  # fmt: skip
def test_a_share_of_layers_is_judged_by_the_controls(
    shares: dict[str, float], ends: tuple[float, float], sentences: list[str]
) -> None:
    assert shares_beside_controls("D ≤ D_I", shares, ends) == sentences


@pytest.mark.parametrize("item", ["fig4", "fig5"])
def test_the_sentences_of_shares_are_those_of_the_figures_beside_them(item: str) -> None:
    made = RECIPES[item].make(results(APART))
    shares = {verdict.name: verdict.measured for verdict in made.verdicts}
    assert len(made.text) == len(shares) // 3
    assert all(measured.startswith("0.0 %") for measured in shares.values())
    assert all("in no layer, neither for prototypes nor" in sentence for sentence in made.text)


def swept(*rows: Sequence[float]) -> SweepResult:
    cells = [
        Cell(c, "tiny", "ash", seed, 1.0, 0.5, 1.0, 0.5, spearman=value)
        for c, row in enumerate(rows)
        for seed, value in enumerate(row)
    ]
    grid = {"lr": [round(0.1 * (c + 1), 1) for c in range(len(rows))]}
    sweep = Sweep(models=["tiny"], targets=["ash"], seeds=list(range(len(rows[0]))), grid=grid)
    return SweepResult(sweep, cells, {("tiny", "ash"): comparison(0.5, 0.4)})


def test_a_table_of_protocols_speaks_of_as_many_as_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    def made(result: SweepResult) -> Any:
        monkeypatch.setattr(affine, "_swept", lambda results: (None, result))
        return affine.table_4(cast(Any, results([comparison(0.5, 0.4)])))

    one, two = made(swept([0.5, 0.6])), made(swept([0.5, 0.6], [0.4, 0.45]))
    assert [verdict.name for verdict in one.verdicts] == ["best protocol"]
    assert [verdict.name for verdict in two.verdicts] == ["best protocol", "first over second"]
    assert one.text == ["There is one combination, so there is nothing to rank."]
    assert two.text[0].endswith("that may be chance.")
    assert two.table.caption == "All protocols."
    assert made(swept(*([0.1 * c, 0.1 * c] for c in range(11)))).table.caption == "The first ten protocols."


def test_subgroups_of_one_image_have_no_interval_of_nan(tmp_path: Path) -> None:
    (tmp_path / "table2" / "groups").mkdir(parents=True)
    logits = {name: torch.tensor([[2.0, index, 0.0]]) for index, name in enumerate(("ash", "birch", "cedar"))}
    compare_groups(logits, 0, resamples=9).save(tmp_path / "table2" / "groups" / "comparison.json")
    made = table_2(cast(Any, SimpleNamespace(folder=tmp_path, stage=SimpleNamespace(model="tiny"))))
    words = [verdict.measured for verdict in made.verdicts]
    assert not any("nan" in measured for measured in words)
    assert words[1].endswith(", no interval, 1 image")
    assert words[-1] == "p = 1, after Holm's correction"
    assert made.text[0].endswith("equally often.")


def test_beside_the_paper_stands_what_there_is() -> None:
    assert beside_paper("Spearman", "–", math.nan, Published(0.5, "0.50")).difference == ""
    assert beside_paper("Spearman", "0.6", 0.6, Published(0.5, "0.50")).difference == "+0.100"
    plain, published = Verdict("a", "1"), Verdict("b", "2", "3")
    made = Reproduction([("tiny", "table1", plain)])
    assert summary_sentence(made, 1) == "1 figures over one model; the paper has none of these models' figures."
    made.verdicts.append(("tiny", "table1", published))
    assert summary_sentence(made, 2) == "2 figures over 2 models; the paper's value stands beside 1 of them."


def test_an_item_without_a_figure_lacks_none(tmp_path: Path) -> None:
    (tmp_path / "digits" / "seeds").mkdir(parents=True)
    (tmp_path / "digits" / "seeds" / "verdict.txt").write_text("the seeds")
    (tmp_path / "settings.json").write_text(json.dumps({"command": "reproduce", RECORDED: {RUNS: ["digits/classes"]}}))
    page = reproduced_page(tmp_path)
    assert page.summary == ["0 of 1 parts are there."]
    assert page.sections[0].of(Pictures) == [Pictures([])]


def test_what_was_not_asked_for_is_left_out_and_has_not_failed(tmp_path: Path) -> None:
    stage = Stage("digits", ["3"], None, options={"steps": 1, "warmup_steps": 0}, steps=1)
    everything = Reproduce([stage], lambda name: load_model(name, pretrained=False))
    assert tuple(everything.items) == ITEMS
    made = carry_out(everything, tmp_path / "all")
    page = Page.load(tmp_path / "all")
    assert page.left_out == made.left_out
    lacking = ("fig2", "table1", "fig4", "fig5", "fig8", "table4", "fig7", "table2", "table3")
    assert [sentence.split(": ")[1] for sentence in page.left_out] == list(lacking)
    assert not any("not made" in sentence for sentence in page.failures)
    assert any("random weights" in sentence for sentence in page.failures)
    html = (tmp_path / "all" / "report.html").read_text()
    alert = html.partition('class="alert"')[2].partition("</p>")[0]
    assert f"Failed, skipped or not measured: {len(page.failures)}." in alert
    assert "What was left out" in html
    assert "mean of the natural images" not in html
    figure_9 = tmp_path / "all" / "digits" / "fig9"
    with (figure_9 / "values.csv").open() as file:
        none, pixels, gram = csv.DictReader(file)
    (cosine,) = (name for name in none if name.startswith("Gram cosine, "))
    said = (figure_9 / "verdict.txt").read_text()
    for name, more in (
        ("pixels", float(pixels["pixel difference"]) > float(none["pixel difference"])),
        (f"the Gram matrices of {cosine.removeprefix('Gram cosine, ')}", float(gram[cosine]) < float(none[cosine])),
    ):
        assert f"Asked to differ in {name}, they differ {'more' if more else 'no more'} there than unasked." in said
    by_name = carry_out(replace(everything, items=["fig1", "table1"]), tmp_path / "some")
    assert by_name.left_out == []
    assert any("table1: not made" in sentence for sentence in by_name.failures)
    assert "What was left out" not in (tmp_path / "some" / "report.html").read_text()
