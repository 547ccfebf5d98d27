"""Every measure of a prototype by its definition, the areas by scikit-learn, and slingshots in the experiment."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from networks import SmallCNN, seeded

from captum_proto import PathComparison, PathSimilarity, PrototypeGeneration
from captum_proto.data.natural import NaturalSplit
from captum_proto.experiments.fooling import (
    MEASURES,
    NETWORKS,
    Fooling,
    FoolingResult,
    Score,
    judge,
    noticed,
    score_pictures,
    separating_area,
)
from captum_proto.experiments.fooling.page import fooling_page
from captum_proto.metrics import SortedSimilarity, path_similarity
from captum_proto.models import NamedModel
from captum_proto.report.blocks import Verdicts
from captum_proto.report.page import Page
from captum_proto.runs.tasks import carry_out
from captum_proto.stats.judgments import Order
from captum_proto.testing import TUNED

SHAPE = (1, 8, 8)
QUICK: dict[str, Any] = {
    "steps": 4,
    "warmup_steps": 0,
    "high_frequency_weight": 0.0,
    "transform": None,
    "evaluation_draws": 0,
}
TARGETS = [(0,), (2,)]


def small(seed: int = 0) -> NamedModel:
    model = seeded(lambda: SmallCNN(1, 4), seed).eval()
    return NamedModel("small", model, lambda x: (x - 0.5) / 0.25, SHAPE, ["ash", "birch", "cedar", "elm"])


@pytest.fixture
def natural(make_images) -> NaturalSplit:
    training, held_out = make_images(60, SHAPE, seed=1), make_images(40, SHAPE, seed=2)
    same = {(c,): held_out[c::4] for c in range(4)}
    other = {(c,): held_out[(c + 1) % 4 :: 4] for c in range(4)}
    return NaturalSplit(training, torch.arange(60) % 4, held_out, torch.arange(40) % 4, same, other)


def score(network: str, picture: str = "prototype", **values: float) -> Score:
    return Score(network, 0, "ash", picture, 0, **{**dict.fromkeys(MEASURES, math.nan), **values})


# --- the areas ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("measure", MEASURES)
def test_an_area_is_that_of_scikit_learn(measure: str) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(0)
    honest, fooled = random.integers(0, 6, 30), random.integers(0, 6, 40) + MEASURES[measure].suspicious
    scores = [score("honest", **{measure: float(value)}) for value in honest]
    scores += [score("slingshot", **{measure: float(value)}) for value in fooled]
    scores += [score("slingshot"), score("honest"), score("face", **{measure: 99.0})]  # NaN, and another network
    scores.append(score("slingshot", "planted", **{measure: -99.0}))
    labels = [0] * 30 + [1] * 40
    expected = metrics.roc_auc_score(labels, MEASURES[measure].suspicious * np.concatenate([honest, fooled]))
    area = separating_area(scores, measure, "slingshot")
    assert area.value == pytest.approx(expected)
    assert area.low < expected < area.high
    assert area.value > 0.6  # the direction: what is suspicious was given to the fooled network


def test_what_is_noticed() -> None:
    scores = [score("honest", spearman=0.01 * k, transfer=0.01 * k, l1=0.0, logit=0.01 * k) for k in range(40)]
    scores += [
        score("slingshot", spearman=-1 + 0.01 * k, transfer=2 + 0.01 * k, l1=0.0, logit=0.01 * k) for k in range(40)
    ]
    found = noticed(scores, ["slingshot"])["slingshot"]
    assert (found["spearman"], found["transfer"]) == (Order.ABOVE, Order.BELOW)
    assert (found["l1"], found["logit"], found["nearest_class"]) == (Order.EQUAL, Order.EQUAL, Order.UNKNOWN)
    said = FoolingResult(["honest", "slingshot"], [], [], 0.0, scores).measures_table()
    assert (
        "slingshot: more suspicious than honest prototypes by path similarity; not told from them, beyond chance, by L1, own logit; less "
        "suspicious than they by transfer." in said
    )
    # One of two measures of one prototype each is chance, however far apart.
    assert noticed([score("honest", l1=0.0), score("face", l1=9.0)], ["face"])["face"]["l1"] is Order.CHANCE


# --- the scores --------------------------------------------------------------------------------------------------------------------------


def test_every_measure_by_its_definition(natural: NaturalSplit) -> None:
    named, verifier = small(), small(seed=5)
    prototypes = PrototypeGeneration(named.model, named.preprocess).generate([0, 0, 2, 2], SHAPE, **QUICK)
    planted = torch.stack([natural.training[7], torch.rand(SHAPE)])
    similarity = PathSimilarity(named.model, preprocess=named.preprocess)
    comparisons = []
    for index, target in enumerate(TARGETS):
        similarity.fit(natural.same[target])
        comparisons.append(
            similarity.compare(
                prototypes.of(target),
                natural.same[target],
                natural.other[target],
                controls=(),
                further={"planted": planted[index : index + 1]},
            )
        )
    scores = score_pictures(
        named, named.model, None, comparisons, prototypes, planted, natural, TARGETS, ["ash", "cedar"], name="face", seed=3,
        verifier=verifier,
    )  # fmt: skip
    told = [(s.target, s.picture, s.number) for s in scores]
    assert told == [
        (name, picture, number)
        for name in ("ash", "cedar")
        for picture, number in (("prototype", 0), ("prototype", 1), ("planted", 0))
    ]
    assert {(s.network, s.seed) for s in scores} == {("face", 3)}
    assert (scores[2].nearest_image, scores[5].nearest_image > 0.05) == (0, True)
    pictures = torch.cat([prototypes.images[:2], planted[:1], prototypes.images[2:], planted[1:]])
    for number, (found, picture) in enumerate(zip(scores, pictures, strict=True)):
        target, comparison = TARGETS[number // 3], comparisons[number // 3]
        with torch.no_grad():
            logits = named.logits(picture[None]).double()[0]
            same = named.logits(natural.same[target]).double()[:, target[0]]
            transferred = verifier.logits(picture[None]).double()[0].softmax(0)[target[0]]
        assert found.recognized == pytest.approx(float(logits.softmax(0)[target[0]]), abs=1e-6)
        assert found.transfer == pytest.approx(float(transferred), abs=1e-6)
        deviations = (float(logits[target[0]]) - same.numpy().mean()) / same.numpy().std(ddof=1)
        assert found.logit == pytest.approx(deviations, abs=1e-4)
        nearest = np.sqrt(((natural.training - picture).numpy() ** 2).mean((1, 2, 3)).min())
        assert found.nearest_image == pytest.approx(nearest, abs=1e-6)
        condition, row = ("planted", 0) if number % 3 == 2 else ("prototype", number % 3)
        distance = comparison.l1[condition][row].numpy()
        low, high = (comparison.l1[name].mean(0).numpy() for name in ("same_class", "other_class"))
        by_layer = np.sort(((distance - low) / (high - low))[~comparison.dead.numpy()])
        assert found.l1 == pytest.approx(by_layer[(len(by_layer) - 1) // 2])
        ordered = SortedSimilarity(named.model, preprocess=named.preprocess)
        apart = ordered.compare(picture[None], natural.same[target], natural.other[target], controls=()).distance
        position = (apart["prototype"][0] - apart["same_class"].mean(0)) / (
            apart["other_class"].mean(0) - apart["same_class"].mean(0)
        )
        middle = np.sort(position[~position.isnan()].numpy())
        assert found.sorted == pytest.approx(middle[(len(middle) - 1) // 2])
        similar = [  # to all four classes, of which two are targets
            path_similarity(named.model, picture[None], natural.same[c,], preprocess=named.preprocess).spearman
            for c in range(4)
        ]
        means = [float(values.nanmean()) for values in similar]
        assert found.nearest_class == 1 + sum(mean > means[target[0]] for mean in means)
        one = PathComparison(
            comparison.layers,
            {**comparison.spearman, "prototype": comparison.spearman[condition][row : row + 1]},
            {**comparison.l1, "prototype": comparison.l1[condition][row : row + 1]},
        )
        assert found.spearman == pytest.approx(judge(one, "face", 3, "ash", 0.0).normalized, abs=1e-6)
    # Without another network there is no transfer, and without another class none that could be nearer.
    alone = replace(natural, labels=torch.zeros_like(natural.labels))
    again = score_pictures(
        named, named.model, None, comparisons[:1], prototypes, planted, alone, TARGETS[:1], ["ash"], name="face", seed=3
    )  # fmt: skip
    assert [(math.isnan(s.nearest_class), math.isnan(s.transfer)) for s in again] == [(True, True)] * 3
    assert Score.from_json(json.loads(json.dumps(scores[0].to_json()))) == scores[0]
    assert again[0].to_json()["transfer"] is None
    assert math.isnan(Score.from_json(again[0].to_json()).transfer)


# --- the run -----------------------------------------------------------------------------------------------------------------------------


def test_slingshots_in_the_experiment(natural: NaturalSplit, tmp_path: Path) -> None:
    named = small()
    out = tmp_path / "out"
    fooling = Fooling([named], natural, TARGETS, QUICK, plants=TUNED, tuning_steps=3, verifier=small(seed=5))
    result = carry_out(fooling, out)
    assert result.networks == ["honest", "slingshot", "fine_tuned"]
    assert all(row.all_layers == row.normalized for row in result.rows)  # no layer is added
    before = (out / "seed0" / "slingshot" / "prototypes.safetensors").read_bytes()
    honest = (out / "seed0" / "honest" / "prototypes.safetensors").read_bytes()
    assert before != honest
    facts = {found.network: found for found in result.agreements}
    assert facts["slingshot"].natural_noise is None
    assert facts["slingshot"].equal_logits == 0  # the weights did change
    counts = [(s.network, s.picture) for s in result.scores]
    assert counts == [
        ("honest", "prototype"), ("honest", "prototype"),
        *[("slingshot", picture) for _ in TARGETS for picture in ("prototype", "planted")],
        ("fine_tuned", "prototype"), ("fine_tuned", "prototype"),
    ]  # fmt: skip
    with (out / "scores.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [float(line["transfer"]) for line in lines] == [s.transfer for s in result.scores]
    page = Page.load(out)
    assert [section.title for section in page.sections][1] == "Which measure notices?"
    assert "The planted pictures themselves" in (out / "summary.txt").read_text()
    # What is made again from the saved weights is the same.
    (out / "seed0" / "slingshot" / "prototypes.safetensors").unlink()
    carry_out(fooling, out, resume=True)
    assert (out / "seed0" / "slingshot" / "prototypes.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("flags", "passed"), [([0.5] * 20, True), ([-0.5] * 20, False)], ids=["like honest", "flagged"]
)
def test_the_control_is_to_be_flagged_no_more_often(flags: list[float], passed: bool) -> None:
    from captum_proto.experiments.fooling import Row

    rows = [
        Row(name, 0, str(k), 0.1, 0.2, 0.3, value, 0.0, 0.0, 0.0, 0.0, 0.0, value < 0)
        for name, values in (("honest", [0.5] * 20), ("fine_tuned", flags))
        for k, value in enumerate(values)
    ]
    found = FoolingResult(["honest", "fine_tuned"], rows, [], 0.0)
    page = fooling_page(found, "digits", {})
    _, verdict = page.sections[0].of(Verdicts)[0].verdicts
    assert (verdict.expected, verdict.passed) == ("no more often than honest ones", passed)
    assert found.conclusion()[1].startswith("Fine-tuned, nothing planted:")
    assert "tells 0 of 0 fooled networks" in page.trust  # a control is no fooled network


def test_what_the_results_depend_on(natural: NaturalSplit) -> None:
    fooling = Fooling([small()], natural, TARGETS, QUICK)
    settings = fooling.provenance()
    assert settings["verifier"] is None
    other = replace(fooling, verifier=small(seed=5), tuning_steps=7).provenance()
    assert (other["verifier"]["name"], other["tuning_steps"]) == ("small", 7)
    with pytest.raises(ValueError, match=r'no plant "cat"; expected one of face, .*, slingshot, fine_tuned'):
        replace(fooling, plants=["cat"])
    assert set(TUNED) < set(NETWORKS)


def test_a_verifier_without_the_classes_is_found_before_anything_is_written(
    natural: NaturalSplit, tmp_path: Path
) -> None:
    other = replace(small(seed=5), class_names=["ash", "oak", "pine", "yew"])
    fooling = Fooling([small()], natural, TARGETS, QUICK, plants=["slingshot"], verifier=other)
    with pytest.raises(ValueError, match="cedar"):
        carry_out(fooling, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_line(tmp_path: Path, capsys) -> None:
    pytest.importorskip("sklearn")
    from captum_proto.cli import main

    command = ["fooling", "--model", "digits", "--random-weights", "--target", "3", "--target", "8", "--limit", "9"]
    command += ["--steps", "3", "--warmup-steps", "0", "--seeds", "1", "--no-progress"]
    command += ["--plant", "slingshot", "--tuning-steps", "2", "--out", str(tmp_path / "out")]
    assert main(command) == 0
    assert "seed 0, slingshot: normalized Spearman" in capsys.readouterr().out
    settings = json.loads((tmp_path / "out" / "settings.json").read_text())
    assert settings["tuning_steps"] == 2
    assert settings["verifier"]["fingerprint"] != settings["models"][0]["fingerprint"]
    command[command.index("--tuning-steps") + 1] = "0"
    assert main([*command[:-1], str(tmp_path / "bad")]) == 1
    assert "tuning_steps is 0; expected at least 1" in capsys.readouterr().err
