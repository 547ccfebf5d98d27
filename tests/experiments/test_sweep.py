"""Sweeps: every cell once, the same whatever else is in the batch, the same after an interrupt; rankings that know their spread."""

from __future__ import annotations

import csv
import json
import math
import signal
import subprocess
import sys
import time
import weakref
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from captum_proto import PathComparison, PrototypeGeneration, Prototypes
from captum_proto.cli import main
from captum_proto.experiments.options import generation_options
from captum_proto.experiments.sweep import PAPER_PROTOCOLS, Cell, RunSweep, Sweep, SweepResult, sweep_from_tables
from captum_proto.models import NamedModel
from captum_proto.runs.tasks import carry_out

SHAPE = (1, 8, 8)


def named(name: str = "tiny", seed: int = 0) -> NamedModel:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.Tanh(), nn.Linear(8, 4)).double().eval()
    return NamedModel(name, model, None, SHAPE, ["ash", "birch", "cedar", "date"])


def sweep(**changes) -> Sweep:
    values = {
        "models": ["tiny"],
        "targets": ["ash", "2"],
        "seeds": [0, 1],
        "fixed": {"steps": 5, "warmup_steps": 0},
        "grid": {"degrees": ["none", 90], "lr": [0.05, 0.1]},
    }
    return Sweep(**{**values, **changes})


def run(folder: Path, asked: Sweep | None = None, open_model=named, **how: bool) -> SweepResult:
    return carry_out(RunSweep(asked or sweep(), open_model, batch_size=3), folder, **how)


def test_every_cell_is_what_generate_makes_of_it_alone(tmp_path):
    result = run(tmp_path / "sweep")
    assert [combination.name for combination in result.sweep.combinations()] == [
        "degrees none, lr 0.05",
        "degrees none, lr 0.1",
        "degrees 90, lr 0.05",
        "degrees 90, lr 0.1",
    ]
    assert len(result.cells) == 16
    generation = PrototypeGeneration(named().model)
    for cell in result.cells:
        values = result.sweep.combinations()[cell.combination].values
        target = ["ash", "birch", "cedar"].index(cell.target)
        alone = generation.generate(target, SHAPE, seed=cell.seed, **generation_options(values))
        assert cell.logit == pytest.approx(float(alone.logits[0]), rel=1e-9)
        assert cell.transformed_logit == pytest.approx(float(alone.transformed_logits[0]), rel=1e-9)
    parts = [Prototypes.load(path) for path in sorted((tmp_path / "sweep" / "prototypes" / "tiny").glob("*"))]
    # Protocols of one learning rate share batches: 8 prototypes in 3 batches, twice.
    assert [len(part) for part in parts] == [3, 3, 2, 3, 3, 2]


def test_what_is_finished_is_not_made_again(tmp_path, monkeypatch):
    whole = run(tmp_path / "whole")
    generate, calls = PrototypeGeneration.generate, []

    def interrupted(self, *args, **kwargs):
        if kwargs["steps"] == 0:  # a rehearsal
            return generate(self, *args, **kwargs)
        calls.append(kwargs["seed"])
        if len(calls) == 4:
            raise KeyboardInterrupt
        return generate(self, *args, **kwargs)

    monkeypatch.setattr(PrototypeGeneration, "generate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts")
    assert len(list((tmp_path / "parts" / "prototypes" / "tiny").glob("*"))) == 3
    parts = run(tmp_path / "parts", resume=True)
    assert len(calls) == 4 + 3
    assert parts.table() == whole.table()
    assert (tmp_path / "parts" / "cells.csv").read_bytes() == (tmp_path / "whole" / "cells.csv").read_bytes()
    with pytest.raises(ValueError, match="was made with sweep"):
        run(tmp_path / "parts", sweep(seeds=[0, 2]), resume=True)
    with pytest.raises(ValueError, match=r"was made with models\.tiny\.fingerprint = "):
        run(tmp_path / "parts", open_model=partial(named, seed=1), resume=True)
    with pytest.raises(FileExistsError, match="not empty"):
        run(tmp_path / "parts")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"targets": ["oak"]}, 'there is no class "oak"'),
        ({"targets": ["ash", "0"]}, "name a class twice"),
        ({"targets": ["9"]}, "target 9 is out of range"),
        ({"fixed": {"steps": -1}}, "steps is -1"),
        ({"grid": {"parametrization": [{"name": "phase", "magnitudes": "measured"}]}}, "no images to measure"),
        (
            {"grid": {"parametrization": [{"name": "phase", "magnitudes": "measured", "contrast": 0.7}]}},
            'magnitudes = "measured" beside contrast; measured magnitudes are all there is',
        ),
        (
            {"grid": {"parametrization": [{"name": "fourier", "magnitudes": "measured"}]}},
            'magnitudes = "measured" beside fourier',
        ),
    ],
)
def test_what_cannot_be_made_is_said_before_anything_is_removed(changes, sentence, tmp_path):
    (tmp_path / "settings.json").write_text('{"command": "sweep"}')
    with pytest.raises(ValueError, match=sentence):
        run(tmp_path, sweep(**changes), overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["settings.json"]


def test_there_is_one_model_in_memory_at_a_time(tmp_path):
    opened: list[weakref.ref] = []

    def open_model(name: str) -> NamedModel:
        assert all(model() is None for model in opened)
        made = named(name)
        opened.append(weakref.ref(made.model))
        return made

    few = sweep(models=["elm", "fir"], targets=["ash"], seeds=[0], grid={}, fixed={"steps": 1, "warmup_steps": 0})
    result = run(tmp_path, few, open_model)
    assert [(cell.model, cell.logit) for cell in result.cells] == [
        ("elm", result.cells[0].logit),
        ("fir", result.cells[0].logit),
    ]
    assert len(opened) == 4  # to see that everything can be made, and to make it


@pytest.mark.slow
def test_a_killed_sweep_goes_on_and_ends_in_the_same_table(tmp_path):
    pytest.importorskip("sklearn")

    def command(out: str) -> list[str]:
        options = [
            "--target",
            "3",
            "--target",
            "8",
            "--seeds",
            "0-3",
            "--grid",
            "lr=[0.02,0.05,0.1]",
            "--set",
            "steps=200",
        ]
        return [
            "sweep",
            "--model",
            "digits",
            *options,
            "--batch-size",
            "2",
            "--out",
            str(tmp_path / out),
            "--no-progress",
        ]

    process = subprocess.Popen([sys.executable, "-m", "captum_proto", *command("killed")], stdout=subprocess.DEVNULL)
    made = tmp_path / "killed" / "prototypes" / "digits"
    finished = tmp_path / "killed" / "tasks" / "prototypes" / "digits"
    deadline = time.monotonic() + 120
    while len(list(finished.glob("0*.json"))) < 2 and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    there = {
        path: path.stat().st_mtime_ns for path in (made / f"{r.stem}.safetensors" for r in finished.glob("0*.json"))
    }
    assert 2 <= len(there) < 12
    assert not (tmp_path / "killed" / "ranking.txt").exists()
    assert main([*command("killed"), "--resume"]) == 0
    assert all(path.stat().st_mtime_ns == written for path, written in there.items())
    assert main(command("whole")) == 0
    for name in ("ranking.txt", "cells.csv"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_compared_with_natural_images(tmp_path, capsys):
    pytest.importorskip("sklearn")
    command = ["sweep", "--model", "digits", "--target", "3", "--target", "8", "--seeds", "0,1", "--set", "steps=4"]
    command += ["--set", "warmup_steps=0", "--grid", 'degrees=["none", 15]', "--images", "digits", "--limit", "12"]
    command += ["--control-count", "1", "--ascent-steps", "3", "--no-progress", "--out", str(tmp_path / "out")]
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert "paired t test" in shown
    with (tmp_path / "out" / "cells.csv").open() as file:
        cells = list(csv.DictReader(file))
    comparison = PathComparison.load(tmp_path / "out" / "scores" / "digits" / "0003_3.safetensors")
    expected = comparison.spearman["prototype"][:, ~comparison.dead].nanmean(1)
    assert [float(cell["spearman"]) for cell in cells if cell["target"] == "3"] == pytest.approx(expected.tolist())
    drawn = ("noise", "ascent", "feature_visualization")
    assert {len(comparison.spearman[condition]) for condition in drawn} == {1}
    natural = {
        name: float(comparison.spearman[name][:, ~comparison.dead].nanmean()) for name in ("same_class", "other_class")
    }
    first = cells[0]
    assert float(first["same_spearman"]) == pytest.approx(natural["same_class"])
    assert float(first["other_spearman"]) == pytest.approx(natural["other_class"])
    with (tmp_path / "out" / "classes.csv").open() as file:
        rows = {(row["class"], row["images of"]): row for row in csv.DictReader(file)}
    ours, same = comparison.spearman["prototype"][:2], comparison.spearman["same_class"]
    shares = (ours >= same.nanmean(0)).double().mean(1)
    assert rows["3", "degrees none"]["SS ≥ SS_I"] == f"{100 * float(shares.mean()):.1f} %"
    nearer = (comparison.l1["same_class"] <= comparison.l1["same_class"].mean(0)).double().mean(1)
    half = stats.t.ppf(0.975, 11) * float(nearer.std()) / 12**0.5
    assert rows["3", "same class"]["D ≤ D_I"] == f"{100 * float(nearer.mean()):.1f} % ± {100 * half:.1f}"
    classes = (tmp_path / "out" / "ranking.txt").read_text()
    for words in ("same class", "control: gray", "control: mean image", "degrees 15"):
        assert words in classes
    for name in ("report.html", "ranking.png", "classes.csv", "ranking.csv"):
        assert (tmp_path / "out" / name).stat().st_size > 0
    assert len(list((tmp_path / "out" / "pictures").rglob("*.png"))) == 8
    before = comparison.spearman["prototype"]
    assert main([*command, "--resume"]) == 0
    assert torch.equal(
        PathComparison.load(tmp_path / "out" / "scores" / "digits" / "0003_3.safetensors").spearman["prototype"], before
    )


def cell(combination: int, seed: int, logit: float, target: str = "ash") -> Cell:
    return Cell(combination, "tiny", target, seed, logit, 0.5, logit, 0.5)


def test_a_ranking_knows_its_spread():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(2, 2, 3)) + np.array([0.0, 0.3])[:, None, None]  # combination, class, seed
    asked = sweep(grid={"lr": [0.1, 0.2]}, targets=["ash", "birch"], seeds=[0, 1, 2])
    cells = [
        cell(c, s, values[c, t, s], target)
        for c in range(2)
        for t, target in enumerate(["ash", "birch"])
        for s in range(3)
    ]
    result = SweepResult(asked, cells)
    ranks = result.ranking()
    order = np.argsort(-values.mean((1, 2)))
    assert [rank.combination.name for rank in ranks] == [f"lr {[0.1, 0.2][i]}" for i in order]
    for rank, index in zip(ranks, order, strict=True):
        by_seed, by_class = values[index].mean(0), values[index].mean(1)
        assert rank.score == pytest.approx(values[index].mean())
        assert rank.over_seeds == pytest.approx(by_seed.std(ddof=1))
        assert rank.over_classes == pytest.approx(by_class.std(ddof=1))
        assert rank.ends == pytest.approx(stats.t.interval(0.95, 2, by_seed.mean(), stats.sem(by_seed)))
    p = stats.ttest_rel(values[order[0]].ravel(), values[order[1]].ravel()).pvalue
    assert f"p = {p:.2g}" in result.verdict()


def test_first_and_second_differ_only_by_more_than_chance():
    def verdict(*rows: list[float]) -> str:
        cells = [cell(c, s, value) for c, row in enumerate(rows) for s, value in enumerate(row)]
        return SweepResult(
            sweep(grid={"lr": [0.1, 0.2, 0.3][: len(rows)]}, targets=["ash"], seeds=list(range(len(rows[0])))), cells
        ).verdict()

    assert verdict([1.0, 1.2, 1.4], [1.1, 1.2, 1.2]).endswith("that may be chance.")
    assert verdict([2.0, 2.2, 2.4], [1.1, 1.2, 1.3]).endswith("they differ.")
    assert verdict([1.0, 1.6, 2.2], [1.0, 1.1, 1.2]).endswith("that may be chance.")
    # By more than the spread over seeds, and perhaps by chance; by less than it, and at every seed.
    assert "p = 0.2 in a paired t test; spread over seeds 0.283): that may be chance." in verdict(
        [0.9, 0.5], [0.1, 0.1]
    )
    assert verdict([1.0, 2.0, 3.0], [0.9, 1.91, 2.9]).endswith("they differ.")
    assert verdict([1.0, 2.0], [1.0, 2.0]).endswith("no difference was measured.")
    assert verdict([1.0, 2.0], [math.nan, 2.0]).endswith("one has no score: they cannot be ranked.")
    assert "with one seed nothing says" in verdict([2.0], [1.0])
    assert verdict([2.0]) == "There is one combination, so there is nothing to rank."


def test_the_papers_125_protocols():
    asked = sweep(grid=PAPER_PROTOCOLS)
    combinations = asked.combinations()
    assert len(combinations) == 125
    transforms = {json.dumps(combination.options()["transform"].settings()) for combination in combinations}
    assert len(transforms) == 125
    assert combinations[0].name == "scale none, degrees none, translate none"


def test_settings_by_name_and_names_of_targets(tmp_path):
    arguments, rest = sweep_from_tables(
        {
            "model": "tiny",
            "target": {"evergreen": "1-2"},
            "seeds": [0],
            "limit": 3,
            "fixed": {"steps": 3},
            "settings": {"paper": {}, "bold": {"lr": 0.5}},
        },
        ("limit",),
    )
    assert rest == {"limit": 3}
    result = run(tmp_path, Sweep(**arguments))
    assert [combination.name for combination in result.sweep.combinations()] == ["paper", "bold"]
    assert {cell.target for cell in result.cells} == {"evergreen"}
    assert math.isnan(result.ranking()[0].over_seeds)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"grid": {"lrr": [1]}}, 'there is no argument "lrr"; did you mean "lr"'),
        ({"fixed": {"stepz": 1}}, 'there is no argument "stepz"; did you mean "steps"'),
        ({"grid": {"lr": []}}, "the grid of lr is"),
        ({"grid": {"lr": 0.1}}, "expected a list with at least one value"),
        ({"seeds": []}, "seeds is"),
        ({"seeds": [1, 1]}, "holds an entry twice"),
        ({"seeds": [0.5]}, "expected whole numbers"),
        ({"seeds": [[1]]}, "expected whole numbers"),
        ({"models": [["a"]]}, "models is .* expected texts"),
        ({"targets": [3]}, 'targets is .3.; expected texts, such as "3"'),
        *[({name: 3}, f"{name} is 3; expected a table") for name in ("fixed", "grid", "settings")],
        ({"targets": []}, "targets is"),
        ({"settings": {"best": 3}}, 'the settings "best" are 3'),
    ],
)
def test_a_sweep_that_cannot_be_is_refused_in_a_sentence(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        sweep(**changes)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('model = "digits"\ntarget = "3"\ngridd = {}', 'the sweep file has an entry "gridd"; did you mean "grid"'),
        ('model = "digits"\ntarget = "3"\n[grid]\nlrr = [1]', 'there is no argument "lrr"; did you mean "lr"'),
        ('model = "digits"\ntarget = "3"\n[grid]\nlr = []', "the grid of lr is"),
        ('model = "digits"', "there are no targets; give --target"),
        ("model = ", "is not TOML"),
        ('model = "digits"\ntarget = "33"', 'there is no class "33": the classes are named by numbers, 0 to 9'),
        ('model = "digits"\ntarget = "3"\ngrid = { lr = ["a"] }', "lr is 'a'; expected a number"),
        ('model = "digits"\ntarget = "3"\ngrid = { steps = [[1]] }', "steps is (1,); expected a whole number"),
        ('model = "digits"\ntarget = { three = 3 }', "targets is [3]; expected texts"),
        ('model = "digits"\ntarget = { three = ["3"] }', "targets is [['3']]; expected texts"),
        *[
            (f'model = "digits"\ntarget = "3"\n{name} = {value}', f"{name} is {value}; expected {words}")
            for name, value, words in (
                ("fixed", 3, "a table"),
                ("grid", 3, "a table"),
                ("settings", 3, "a table"),
                ("images", 3, "a folder"),
                ("exif_orientation", 3, "true or false"),
                ("controls", 3, "a list"),
                ("limit", "['a']", "a whole number"),
                ("others", 1.5, "a whole number"),
                ("control_count", 1.5, "a whole number"),
                ("ascent_steps", 1.5, "a whole number"),
                ("batch_size", 1.5, "a whole number"),
            )
        ],
    ],
)
def test_a_bad_sweep_file_is_a_sentence(text, sentence, tmp_path, capsys):
    pytest.importorskip("sklearn")
    (tmp_path / "sweep.toml").write_text(text)
    assert main(["sweep", "--file", str(tmp_path / "sweep.toml"), "--out", str(tmp_path / "out"), "--no-progress"]) == 1
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--grid", "lr"], "which cannot be read"),
        (["--grid", "lr=[0.1"], "which cannot be read"),
        (["--seeds", "a-b"], 'seeds is "a-b"'),
        (["--file", "nowhere.toml"], "cannot be read"),
        (["--controls", "grey"], 'there is no control "grey"; it is called "gray" now'),
    ],
)
def test_bad_arguments_of_a_sweep(arguments, sentence, tmp_path, capsys):
    command = ["sweep", "--model", "digits", "--target", "3", "--out", str(tmp_path / "out"), *arguments]
    assert main(command) == 1
    assert sentence in capsys.readouterr().err
