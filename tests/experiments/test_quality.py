"""Methods beside controls and natural images: planted pictures get the figures they must, and what is finished is never made again."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from captum_proto import cli
from captum_proto._utils.errors import InputError, MissingFileError
from captum_proto.data import digits_collection
from captum_proto.data.natural import NaturalImages
from captum_proto.experiments.quality import Quality, QualityResult
from captum_proto.experiments.quality.alikeness import distance_parts
from captum_proto.experiments.quality.sources import Finished, Source, batches_of, read_picture
from captum_proto.experiments.report import report_on
from captum_proto.metrics import kernel_distance, recognition
from captum_proto.metrics.quality import METHOD, NATURAL, Figure, QualityTable
from captum_proto.models import NamedModel, load_model
from captum_proto.report.figures import to_display
from captum_proto.report.page import Page
from captum_proto.report.views.quality import shown_on_sheet
from captum_proto.runs.folder import TASKS
from captum_proto.runs.tasks import carry_out

FAST: dict[str, Any] = {"preset": "ascent", "steps": 4, "evaluation_draws": 0}
TARGETS = [(0,), (1,), (3, 8)]


@pytest.fixture(scope="module")
def digits() -> NamedModel:
    return load_model("digits")


@pytest.fixture(scope="module")
def judge() -> NamedModel:
    return replace(load_model("digits", seed=1), name="judge")


def natural(named: NamedModel, **options: Any) -> NaturalImages:
    return NaturalImages("digits", named.geometry, named.class_names, **{"limit": 10, "workers": 0, **options})


def quality(named: NamedModel, verifiers: Sequence[NamedModel] = (), **options: Any) -> Quality:
    values: dict[str, Any] = {"methods": {"mine": FAST}, "controls": ["gray", "mean_image"], "natural": natural(named)}
    values |= {"similarity": {"layers": "leaf"}, **options}
    return Quality(named, values.pop("targets", TARGETS), values.pop("natural"), verifiers=verifiers, **values)


def write_scans(folder: Path, classes: dict[str, int], number: int = 0) -> Path:
    """A held-out scan of a digit under the name of a class, which may be another."""
    folder.mkdir(parents=True, exist_ok=True)
    scans = digits_collection()
    for name, label in classes.items():
        image: Tensor = scans.of(label).labeled.images[number]
        Image.fromarray(to_display(image)).save(folder / f"{name}.png")
    return folder


@pytest.fixture(scope="module")
def planted(
    digits: NamedModel, judge: NamedModel, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, QualityTable]:
    """Scans of each class as one method's pictures, scans of other classes as another's."""
    inputs, out = tmp_path_factory.mktemp("inputs"), tmp_path_factory.mktemp("out") / "quality"
    right = {"0000_0": 0, "1": 1, "0003_0008": 8}
    wrong = {"0000_0": 5, "1": 7, "0003_0008": 4}
    pictures = {"right": write_scans(inputs / "right", right, 40), "wrong": write_scans(inputs / "wrong", wrong, 40)}
    result = carry_out(quality(digits, [judge], pictures=pictures, seeds=[0, 1]), out)
    return out, result.tables[0]


def of(table: QualityTable, name: str) -> dict[str, Figure]:
    return next(row.figures for row in table.rows if row.name == name)


def test_pictures_of_the_class_are_at_the_ceiling_and_those_of_others_are_not(
    planted: tuple[Path, QualityTable],
) -> None:
    right, wrong, ceiling = (of(planted[1], name) for name in ("right", "wrong", NATURAL))
    for key in ("own_top1", "top1@judge", "relative@judge", "naming@judge", "naming_logits@judge"):
        assert (right[key].estimate.value, wrong[key].estimate.value) == (1.0, 0.0), key
    for key in ("own_top1", "top1@judge"):
        assert ceiling[key].estimate.value > 0.9
    assert right["retrieval@judge"].estimate.value <= 2 < wrong["retrieval@judge"].estimate.value
    assert right["nearest"].estimate.value == 1.0 < wrong["nearest"].estimate.value
    for key, least in (("spearman", True), ("cosine", True), ("sorted", False), ("kid@judge", False)):
        assert (right[key].estimate.value > wrong[key].estimate.value) == least, key


def test_own_figures_are_of_the_saved_pictures(planted: tuple[Path, QualityTable], digits: NamedModel) -> None:
    out, table = planted
    files = sorted((out / "pictures" / "mine").glob("*.png"))
    assert [file.name for file in files] == [
        f"{stem}_seed{seed}.png" for stem in ("0000_0", "0001_1", "0003_0008") for seed in (0, 1)
    ]
    images = torch.stack([read_picture(file, 1) for file in files])
    found = recognition(images, [[0], [0], [1], [1], [3, 8], [3, 8]], digits)
    assert of(table, "mine")["own_p"].estimate.value == pytest.approx(float(found.probability.mean()))
    assert of(table, "mine")["own_top1"].estimate.value == pytest.approx(found.top1_share.value)


def test_controls_and_natural_images_are_in_every_table(planted: tuple[Path, QualityTable]) -> None:
    _, table = planted
    assert [row.name for row in table.rows] == ["mine", "right", "wrong", "gray", "mean_image", NATURAL]
    assert of(table, NATURAL)["relative@judge"].estimate.value == 1.0
    mean = of(table, "mean_image")  # it knows no extremes: it wins by rank correlation, and not by what is sorted
    assert mean["spearman"].estimate.value > of(table, NATURAL)["spearman"].estimate.value
    assert mean["sorted_median"].estimate.value < 1.0
    assert table.classes == ["0", "1", "classes 3, 8"]


def test_the_parts_of_the_kernel_distance(judge: NamedModel) -> None:
    random = torch.Generator().manual_seed(0)
    pictures, photographs = torch.randn(9, 6, generator=random), 0.5 + torch.randn(20, 6, generator=random)
    parts, found = distance_parts(pictures, photographs), kernel_distance(pictures, photographs)
    assert float(parts.mean()) == pytest.approx(found.distance.value)
    # Leaving one picture out changes the distance by its part, but for terms of higher order.
    without = [
        kernel_distance(pictures[torch.arange(9) != row], photographs).distance.value for row in range(len(pictures))
    ]
    jackknife = 9 * found.distance.value - 8 * torch.tensor(without, dtype=torch.float64)
    assert float(torch.corrcoef(torch.stack([parts, jackknife]))[0, 1]) > 0.99


def test_the_page(planted: tuple[Path, QualityTable]) -> None:
    out, _ = planted
    page = Page.load(out)
    assert {"sheet_0.png", "quality.csv", "tests.csv", "quality.txt", "quality.json"} == set(page.files())
    html = (out / "report.html").read_text(encoding="utf-8")
    for words in ("top-1, judge", "“right” beats every control", "KID, judge", "named by p, judge", "class rank"):
        assert words in html
    assert QualityResult.load(out).table() == (out / "quality.txt").read_text(encoding="utf-8").rstrip("\n")
    (out / "page.json").unlink()
    report_on(out)
    assert "sheet_0.png" in Page.load(out).files()


# What is finished is never made again.


def records(out: Path) -> dict[str, int]:
    return {path.relative_to(out).as_posix(): path.stat().st_mtime_ns for path in (out / TASKS).rglob("*.json")}


def test_another_method_and_another_verifier_leave_what_is_finished(
    digits: NamedModel, judge: NamedModel, tmp_path: Path
) -> None:
    few = {"controls": ["gray"], "targets": [(0,), (1,)], "similarity": {"layers": ["conv1"]}}
    carry_out(quality(digits, **few), tmp_path)
    before = records(tmp_path)
    methods = {"mine": FAST, "longer": {**FAST, "steps": 5}}
    result = carry_out(quality(digits, [judge], methods=methods, seeds=[0, 3], **few), tmp_path, resume=True)
    after = records(tmp_path)
    assert before.keys() <= after.keys()
    made_again = {name for name in before if after[name] != before[name]}
    # A further seed is a further batch: the pictures that were there stay, and what is measured of all of a method is measured again.
    assert {name for name in made_again if name.startswith(f"{TASKS}/pictures")} == set()
    assert all("/mine" in name for name in made_again)
    assert [row.name for row in result.tables[0].rows] == ["mine", "longer", "gray", NATURAL]
    assert of(result.tables[0], "mine")["own_top1"].pictures == 4
    changed = carry_out(quality(digits, methods={"mine": {**FAST, "steps": 6}}, **few), tmp_path, resume=True)
    again = records(tmp_path)
    assert again[f"{TASKS}/pictures/mine/0000.json"] != after[f"{TASKS}/pictures/mine/0000.json"]
    assert again[f"{TASKS}/pictures/gray/all.json"] == after[f"{TASKS}/pictures/gray/all.json"]
    assert changed.verifiers == []


def test_pictures_that_were_replaced_are_measured_again(digits: NamedModel, tmp_path: Path) -> None:
    given = write_scans(tmp_path / "given", {"0": 0, "1": 7})
    options: dict[str, Any] = {
        "methods": {},
        "pictures": {"given": given},
        "targets": [(0,), (1,)],
        "controls": ["gray"],
    }
    first = carry_out(quality(digits, **options, min_images=99), tmp_path / "out").tables[0]
    write_scans(given, {"1": 1})
    second = carry_out(quality(digits, **options, min_images=99), tmp_path / "out", resume=True).tables[0]
    assert [of(each, "given")["own_top1"].estimate.value for each in (first, second)] == [0.5, 1.0]
    assert "Path similarity needs 99 natural images" in second.table()
    assert "spearman" not in of(second, "given")


# What there is of pictures.


def test_names_of_finished_pictures(digits: NamedModel, tmp_path: Path) -> None:
    named = replace(digits, class_names=["flute", "house finch", *map(str, range(2, 10))])
    for name in (
        "0001_house-finch_seed2",
        "house-finch",
        "0001",
        "0000_anything",
        "0003_0008",
        "0004_more",
        "prototypes",
    ):
        Image.new("L", (8, 8)).save(tmp_path / f"{name}.png")
    found = Finished(tmp_path, named, [(0,), (1,), (3, 8)])
    assert {key: path.stem for key, path in found.files.items()} == {
        ((0,), 0): "0000_anything",
        ((1,), 0): "0001",
        ((1,), 1): "0001_house-finch_seed2",
        ((1,), 2): "house-finch",
        ((3, 8), 0): "0003_0008",
    }


def test_pictures_of_another_size_are_resized_as_a_whole(digits: NamedModel, judge: NamedModel, tmp_path: Path) -> None:
    small = write_scans(tmp_path / "small", {"0": 0, "1": 1})
    large = tmp_path / "large"
    large.mkdir()
    for path in small.glob("*.png"):
        Image.open(path).resize((32, 32), Image.Resampling.NEAREST).save(large / path.name)
    options: dict[str, Any] = {"methods": {}, "targets": [(0,), (1,)], "controls": []}
    made = carry_out(quality(digits, [judge], pictures={"small": small, "large": large}, **options), tmp_path / "out")
    small_row, large_row = (of(made.tables[0], name) for name in ("small", "large"))
    assert small_row.keys() == large_row.keys()
    assert large_row["own_p"].estimate.value == pytest.approx(small_row["own_p"].estimate.value, abs=0.05)


def test_a_class_without_a_picture_is_said(digits: NamedModel, tmp_path: Path) -> None:
    given = write_scans(tmp_path / "given", {"0": 0})
    table = carry_out(quality(digits, methods={}, pictures={"given": given}), tmp_path / "out").tables[0]
    assert "“given” has pictures of 1 of 3 classes." in table.notes
    assert of(table, "given")["own_top1"].pictures == 1


def test_seeds_have_batches_of_their_own_but_where_pictures_are_to_differ() -> None:
    targets = [(0,), (1,), (2,)]
    apart = batches_of(Source("a", METHOD, {}), targets, [0, 5], 2)
    assert apart == [[((0,), 0), ((1,), 0)], [((2,), 0)], [((0,), 5), ((1,), 5)], [((2,), 5)]]
    together = batches_of(Source("a", METHOD, {"diversity": "pixels"}), targets, [0, 5], 4)
    assert together == [[((0,), 0), ((0,), 5), ((1,), 0), ((1,), 5)], [((2,), 0), ((2,), 5)]]


def test_tables_for_parts_of_the_classes(digits: NamedModel, tmp_path: Path) -> None:
    parts = {"tuned on": [(0,)], "held out": [(1,), (2,)]}
    options: dict[str, Any] = {"targets": [(0,), (1,), (2,)], "parts": parts, "controls": ["gray"], "min_images": 99}
    result = carry_out(quality(digits, **options), tmp_path)
    assert [(table.title, table.classes) for table in result.tables] == [("tuned on", ["0"]), ("held out", ["1", "2"])]
    page = Page.load(tmp_path)
    assert [section.title for section in page.sections][:2] == ["tuned on", "held out"]
    assert {"sheet_0.png", "sheet_1.png"} < set(page.files())
    assert math.isnan(of(result.tables[0], "mine")["own_p"].estimate.low)


# Methods that are made from natural images.


def other_scans(named: NamedModel) -> NaturalImages:
    return NaturalImages(digits_collection("training"), named.geometry, named.class_names, limit=6, workers=0)


def test_a_method_that_is_made_from_natural_images_is_judged_by_others(digits: NamedModel, tmp_path: Path) -> None:
    methods = {
        "matched": {"preset": "matched", "steps": 2, "evaluation_draws": 0, "transform": "none"},
        "maco": {"preset": "maco", "steps": 2, "evaluation_draws": 0, "transform": "none"},
    }
    options: dict[str, Any] = {"targets": [(0,), (1,)], "controls": ["gray"], "methods": methods, "min_images": 99}
    with pytest.raises(InputError, match='"matched" is made from natural images; give some that are not among'):
        quality(digits, **options).tasks()
    with pytest.raises(InputError, match='"maco" needs the magnitude spectrum'):
        quality(digits, **{**options, "methods": {"maco": methods["maco"]}}).tasks()
    with pytest.raises(InputError, match='"matched" is made from 445 of the images that it is to be judged by'):
        quality(digits, **options, made_from=natural(digits)).tasks()
    table = carry_out(quality(digits, **options, made_from=other_scans(digits)), tmp_path).tables[0]
    assert [row.name for row in table.rows] == ["matched", "maco", "gray", NATURAL]
    assert sum("another claim than that of the other methods" in note for note in table.notes) == 2


# Bad input.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"methods": {}}, "there is no method; name at least one"),
        ({"methods": {"gray": FAST}}, '"gray" is among the controls of every table already'),
        ({"methods": {NATURAL: FAST}}, "choose another name"),
        ({"methods": {"..": FAST}}, r'a method is called "\.\."; choose another name'),
        ({"methods": {"a b": FAST, "a-b": FAST}}, "two would share the names of their files"),
        ({"methods": {"mine": {"preset": "pest"}}}, 'preset is "pest"; did you mean "best"'),
        ({"methods": {"mine": {"stepz": 3}}}, 'there is no argument "stepz"; did you mean "steps"'),
        ({"targets": [(0,), (0,)]}, "expected at least one, each once"),
        ({"targets": [(10,)]}, "there are no images of class 10|out of range"),
        ({"seeds": []}, "seeds are .*; expected at least one"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"parts": {"held out": [(7,)]}}, r"classes \[7\], which are not among the targets"),
        ({"controls": ["grey"]}, 'it is called "gray" now'),
        ({"similarity": {"layers": ["nowhere"]}}, "nowhere"),
    ],
)
def test_what_cannot_be_compared(options: dict[str, Any], message: str, digits: NamedModel, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        carry_out(quality(digits, **options), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_verifiers_that_cannot_be_used(digits: NamedModel, judge: NamedModel) -> None:
    with pytest.raises(InputError, match='the verifier "twin" is "digits" itself'):
        quality(digits, [replace(digits, name="twin")])
    with pytest.raises(InputError, match=r"expected different ones"):
        quality(digits, [judge, judge])
    others = replace(judge, class_names=[*"abcdefgh", "8", "9"])
    with pytest.raises(InputError, match='the verifier "judge" has no class of its own for "0"'):
        quality(digits, [others])
    with pytest.raises(InputError, match="takes images of 3 channels, the model of 1"):
        quality(digits, [replace(judge, image_shape=(3, 8, 8))])


def test_a_verifier_with_its_classes_in_another_order(digits: NamedModel, judge: NamedModel, tmp_path: Path) -> None:
    """The logits turned with the names: every figure stays as it is."""
    order = torch.arange(10).flip(0)

    class Turned(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = judge.model
            self.register_buffer("order", order)

        def forward(self, images: Tensor) -> Tensor:
            logits: Tensor = self.inner(images)[:, self.order]
            return logits

    names = [judge.class_names[index] for index in order.tolist()] if judge.class_names else []
    turned = replace(judge, name="turned", model=Turned().eval(), class_names=names)
    given = write_scans(tmp_path / "given", {"0": 0, "1": 1})
    options: dict[str, Any] = {"methods": {}, "pictures": {"given": given}, "targets": [(0,), (1,)], "controls": []}
    result = carry_out(quality(digits, [judge, turned], **options, min_images=99), tmp_path / "out")
    figures = of(result.tables[0], "given")
    for key in [key for key in figures if key.endswith("@judge")]:
        assert figures[key].estimate.value == figures[key.replace("@judge", "@turned")].estimate.value


def test_fewer_images_than_asked_for(digits: NamedModel, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="9999"):
        carry_out(quality(digits, natural=natural(digits, limit=9999)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_folders_of_pictures_that_cannot_be_used(digits: NamedModel, tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="there is no folder"):
        quality(digits, pictures={"given": tmp_path / "nowhere"}).tasks()
    strange = write_scans(tmp_path / "strange", {"0": 0, "zebra": 1})
    with pytest.raises(
        InputError, match=r'zebra.png" is of no class of digits .*name it by its class, such as "0000_0.png"'
    ):
        quality(digits, pictures={"given": strange}).tasks()
    others = write_scans(tmp_path / "others", {"0009_9": 9})
    with pytest.raises(InputError, match="has 1 PNG, none of the classes asked for"):
        quality(digits, pictures={"given": others}).tasks()
    broken = write_scans(tmp_path / "broken", {"0": 0})
    (broken / "1.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"1.png\" cannot be read"):
        carry_out(quality(digits, pictures={"given": broken}), tmp_path / "out")


# The command.


def command(tmp_path: Path, *arguments: str) -> int:
    common = ["quality", "--model", "digits", "--images", "digits", "--limit", "10", "--workers", "0", "--no-progress"]
    return cli.main([*common, "--controls", "gray", "--out", str(tmp_path / "out"), *arguments])


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "held_out.txt").write_text("1  # one\n\n2\n", encoding="utf-8")
    (tmp_path / "methods.toml").write_text(
        'fixed = { evaluation_draws = 0 }\n[settings.mine]\npreset = "ascent"\n', encoding="utf-8"
    )
    given = write_scans(tmp_path / "given", {"0": 0, "1": 1, "2": 2})
    arguments = ["--tuned-on", "0", "--held-out", str(tmp_path / "held_out.txt"), "--steps", "3", "--seeds", "0-1"]
    arguments += ["--file", str(tmp_path / "methods.toml"), "--method", "mine", "--method", "paper"]
    assert command(tmp_path, *arguments, "--pictures", f"given={given}") == 0
    shown = capsys.readouterr().out
    for words in ("tuned on: 1 class\n", "held out: 2 classes\n", "given", "paper", "natural images", "written: "):
        assert words in shown
    recorded = json.loads((tmp_path / "out" / "settings.json").read_text(encoding="utf-8"))["recorded"]
    assert recorded["methods"]["paper"] == {"preset": "paper", "evaluation_draws": 0, "steps": 3}
    assert recorded["parts"] == {"tuned on": ["0"], "held out": ["1", "2"]}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "best"], "there is no class; give --target"),
        (["--target", "0"], "there is no method; give --method"),
        (["--target", "0", "--method", "bets"], 'there is no method "bets"; did you mean "best"'),
        (["--target", "0", "--method", "best", "--method", "best"], 'the method "best" is given twice'),
        (["--target", "0", "--pictures", "somewhere"], '--pictures is "somewhere"; expected such as'),
        (["--tuned-on", "0", "--held-out", "0", "--method", "best"], "among those tuned on and among those held out"),
        (["--target", "0", "--method", "best", "--verifier", "digitz"], 'there is no model "digitz"'),
        (["--target", "0", "--method", "best", "--seeds", "x"], 'seeds is "x"; expected such as'),
        (["--target", "0", "--method", "best", "--steps", "0"], "steps is 0; expected at least 1"),
        (["--target", "0", "--method", "best", "--file", "nowhere.toml"], "cannot be read"),
    ],
)
def test_what_the_command_cannot_use(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(tmp_path, *arguments) == 1
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith("captum-proto: error: ")
    assert message in told
    assert not (tmp_path / "out").exists()


def of_pair(named: NamedModel, judge: NamedModel, out: Path, **options: Any) -> Path:
    carry_out(quality(named, [judge], targets=TARGETS[:2], min_images=11, controls=["gray"], **options), out)
    return out


@pytest.fixture(scope="module")
def both(digits: NamedModel, judge: NamedModel, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The runs of two models that looked at each other's pictures."""
    folder = tmp_path_factory.mktemp("both")
    return of_pair(digits, judge, folder / "one"), of_pair(judge, digits, folder / "other")


def test_two_models_in_one_table(both: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "pairs"
    assert cli.main(["quality-pairs", *map(str, both), "--out", str(out)]) == 0
    assert "R, all pairs" in capsys.readouterr().out
    table = QualityResult.load(out).tables[0]
    tables = {model: QualityResult.load(each).tables[0] for model, each in zip(("digits", "judge"), both, strict=True)}
    for model, other in (("digits", "judge"), ("judge", "digits")):
        expected = of(tables[model], "mine")[f"top1@{other}"]
        assert of(table, "mine")[f"top1@{model} → {other}"].estimate == expected.estimate
    halves = [
        of(tables[model], "mine")[f"top1@{other}"].estimate.value
        for model, other in (("digits", "judge"), ("judge", "digits"))
    ]
    assert of(table, "mine")["top1@all pairs"].estimate.value == pytest.approx(sum(halves) / 2)
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "over 2 models" in page
    (out / "report.html").unlink()
    (out / "page.json").unlink()
    assert report_on(out).read_text(encoding="utf-8") == page
    assert cli.main(["quality-pairs", *map(str, both), "--out", str(out), "--resume"]) == 0


def test_runs_that_do_not_belong_together(
    both: tuple[Path, Path], digits: NamedModel, judge: NamedModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def error(*folders: Path) -> str:
        assert cli.main(["quality-pairs", *map(str, folders), "--out", str(tmp_path / "pairs")]) == 1
        return capsys.readouterr().err

    assert "there is 1 folder; give those of at least two models" in error(both[0])
    assert f'"{both[0]}" is of digits, as another folder is' in error(both[0], both[0])
    assert "holds no quality.json" in error(both[0], tmp_path)
    steps = of_pair(judge, digits, tmp_path / "steps", methods={"mine": FAST | {"steps": 5}})
    assert 'the method "mine" is' in error(both[0], steps)
    alone = of_pair(judge, replace(digits, name="third", model=load_model("digits", seed=2).model), tmp_path / "alone")
    assert "the pictures of judge were not shown to digits; go on with --resume --verifier digits" in error(
        both[0], alone
    )


def test_of_many_classes_some_are_on_the_sheet() -> None:
    assert shown_on_sheet(range(12), 4) == list(range(12))
    some = shown_on_sheet(range(100), 4)
    assert (len(some), some[0]) == (12, 0)
    assert {b - a for a, b in pairwise(some)} <= {8, 9}
    assert len(shown_on_sheet(range(24), 9)) == 24
