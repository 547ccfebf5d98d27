"""Prototypes of rows and of texts from the command line: what is measured, what is said, and what is refused."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest
import torch
from sklearn.svm import SVC

from captum_proto import cli
from captum_proto._utils.errors import InputError
from captum_proto.attr import Prototypes
from captum_proto.experiments.tabular_models import tabular_models
from captum_proto.experiments.tabular_prototypes import TabularPrototypes, gradient_boosting
from captum_proto.experiments.text_prototypes import TextPrototypes, top_words
from captum_proto.models import TabularModel, surrogate_of, train_tabular_model, train_text_model
from captum_proto.models.surrogate import sklearn_pipeline
from captum_proto.models.tabular import load_table
from captum_proto.optim import TextInput
from captum_proto.report.page import Page
from captum_proto.runs.tasks import carry_out
from captum_proto.stats.conditions import Measured, condition_estimate, paired_estimate
from captum_proto.testing import INCOMES, TOPICS, income_rule, planted_income, topic_texts

QUICK = ["--steps", "40", "--count", "2", "--tries", "2", "--no-progress"]


@pytest.fixture(scope="module")
def income() -> TabularModel:
    table, labels = planted_income(1500, seed=7)
    return train_tabular_model("income", table, labels, INCOMES, 7, rule=income_rule)


def test_a_planted_rule_shows_in_the_prototype(income: TabularModel, tmp_path: Path) -> None:
    assert income.accuracy() > 0.9
    protocol = TabularPrototypes([lambda: income], options={"steps": 150}, count=3, attempts=3)
    result = carry_out(protocol, tmp_path / "out")
    shares = {name: condition_estimate(result.measured, name, "rule").value for name in ("prototype", "random row")}
    assert shares["prototype"] >= 5 / 6
    assert condition_estimate(result.measured, "prototype", "judged").value >= 5 / 6
    assert shares["random row"] < 0.9
    made = Prototypes.load(tmp_path / "out" / "networks" / "00.safetensors")
    income.columns.check(made.images)
    rich = income.columns.decode(made.of(1).images)
    poor = income.columns.decode(made.of(0).images)
    assert sum(map(income_rule, rich)) > sum(map(income_rule, poor))
    page = Page.load(tmp_path / "out")
    assert "The planted rule, which is known, gives" in page.trust
    assert "0 to 1" not in page.trust


def test_wine_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    command = [
        "generate",
        "--input",
        "tabular",
        "--model",
        "wine",
        "--target",
        "class_1",
        "--target",
        "2",
        "--out",
        str(out),
    ]
    assert cli.main([*command, *QUICK, "--fix", "alcohol=13"]) == 0
    printed = capsys.readouterr().out
    assert "gradient boosting gives the class" in printed
    with open(out / "prototypes.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == ["class_1", "class_1", "class_2", "class_2"]
    assert {row["alcohol"] for row in rows} == {"13"}
    assert cli.main(["report", str(out)]) == 0
    (out / "page.json").unlink()
    assert cli.main(["report", str(out)]) == 0
    html = (out / "report.html").read_text(encoding="utf-8")
    for words in (
        "Prototypes of rows: wine",
        "class mean",
        "random row",
        "flavanoids",
        "natural rows that neither was trained on",
    ):
        assert words in html


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--model", "wien"], 'there is no table "wien"; did you mean "wine"'),
        (["--model", "wine", "--fix", "alcohol"], "expected COLUMN=VALUE"),
        (["--model", "wine", "--fix", "alcohol=99"], 'column "alcohol" has 99; expected 11.03 to 14.83'),
        (["--model", "wine", "--target", "red"], 'there is no class "red"'),
        (["--model", "wine", "--preset", "best"], "preset is given, but it is of images and inputs are tabular"),
        (["--model", "wine", "--tries", "0"], "tries is 0; expected at least 1"),
        (["--model", "wine", "--row-distance", "-1"], "expected a weight of at least 0"),
    ],
)
def test_what_cannot_be_used_is_a_sentence(
    given: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["generate", "--input", "tabular", "--out", str(tmp_path / "out"), *given]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_images_still_need_a_target(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["generate", "--model", "digits", "--out", str(tmp_path / "out")]) == 1
    assert "target is missing" in capsys.readouterr().err


def test_a_surrogate_agrees_and_is_said_as_such(tmp_path: Path) -> None:
    table, labels, names = load_table("wine")
    natural = train_tabular_model("wine", table, labels, names, seed=3)
    asked = sklearn_pipeline("svm", natural)
    made = surrogate_of(asked, natural, rows=900, name="an svm")
    assert made.settings["agreement"] > 0.85
    peer = SVC().fit(natural.training[0].numpy(), natural.training[1].numpy())
    same = peer.predict(natural.natural[0].numpy()) == made.model(natural.natural[0]).argmax(1).numpy()
    assert same.mean() > 0.9
    protocol = TabularPrototypes([lambda: made], options={"steps": 60}, count=1, attempts=2)
    result = carry_out(protocol, tmp_path / "out")
    assert condition_estimate(result.measured, "prototype", "pipeline").value == 1
    assert "is a differentiable surrogate of an svm, which gives no gradient" in Page.load(tmp_path / "out").summary[1]
    with pytest.raises(
        InputError, match=r"predict returned shape \(900, 2\) for 900 rows; expected class probabilities \(900, 3\)"
    ):
        surrogate_of(lambda rows: [[0.5, 0.5]] * len(rows), natural, rows=900)


def test_the_judge_is_of_another_family(income: TabularModel) -> None:
    judge = gradient_boosting(income)
    assert judge.score(income.natural[0].numpy(), income.natural[1].numpy()) > 0.9
    assert not hasattr(judge, "parameters")


def test_texts(tmp_path: Path) -> None:
    few = [pair for pair in zip(*topic_texts(40, 0), strict=True) if pair[1] < 4]
    unseen = [pair for pair in zip(*topic_texts(6, 1), strict=True) if pair[1] < 4]
    texts, labels = zip(*few, strict=True)
    names = list(TOPICS)[:4]
    model = train_text_model(texts, labels, names, tuple(zip(*unseen, strict=True)))  # type: ignore[arg-type]
    top = top_words(model, TextInput(model.embedding, 8, model.tokens, allowed=model.used), count=5)
    for topic, row in zip(names, top.tolist(), strict=True):
        assert sum(model.tokens[each] in TOPICS[topic] for each in row) >= 3
    result = carry_out(TextPrototypes([lambda: model], options={"steps": 60}, count=1, attempts=2), tmp_path / "out")
    found = {name: condition_estimate(result.measured, name, "top").value for name in ("prototype", "random tokens")}
    assert found["prototype"] > found["random tokens"] + 0.2
    assert condition_estimate(result.measured, "prototype", "judged").value >= 0.75
    for condition in ("same_class", "shuffled sentence"):  # a bag of words knows no order
        assert condition_estimate(result.measured, condition, "judged").value == pytest.approx(
            condition_estimate(result.measured, "same_class", "judged").value
        )
    assert math.isnan(condition_estimate(result.measured, "prototype", "keyword").value)
    html = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    for words in ("Prototypes of texts: texts", "shuffled sentence", "tokens among its top words", "astronomy"):
        assert words in html
    with pytest.raises(InputError, match="language_model is None; give one, or leave fluency out"):
        TextPrototypes([lambda: model], fluency=1.0)


def test_means_are_over_units_and_differences_are_paired() -> None:
    rows = [
        Measured(unit, condition, "x", {"p": value})
        for unit, pairs in {"a": (1.0, 0.4), "b": (0.8, 0.4), "c": (0.9, 0.1)}.items()
        for condition, value in zip(("prototype", "gray"), pairs, strict=True)
    ]
    rows.append(Measured("a", "prototype", "x", {"p": 0.0}))
    found = condition_estimate(rows, "prototype", "p")
    assert found.value == pytest.approx((0.5 + 0.8 + 0.9) / 3)
    difference = paired_estimate(rows, "prototype", "gray", "p", share=True)
    assert difference.value == pytest.approx((0.1 + 0.4 + 0.8) / 3)
    assert -1 <= difference.low < difference.value < difference.high <= 1
    again = [Measured.from_json(each.to_json()) for each in rows]
    assert again == rows


def test_networks_of_a_factory(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "from captum_proto.models import train_tabular_model\n\n\ndef make():\n"
        "    return train_tabular_model('sizes', {'size': [*range(40)], 'side': [0, 1, 1, 0] * 10}, [0] * 20 + [1] * 20, list('xy'))\n"
        "\n\ndef wrong():\n    return 3\n"
    )
    (load,) = tabular_models(f"{path}:make")
    assert torch.equal(load().natural[1], load().natural[1])
    with pytest.raises(TypeError, match=r"returned a int; expected a captum_proto.models.TabularModel"):
        tabular_models(f"{path}:wrong")[0]()
    with pytest.raises(InputError, match="networks is 3, but a function in a Python file gives one"):
        tabular_models(f"{path}:make", networks=3)
