"""The blind test: what its form does not tell, what its key does, and what answers come to."""

from __future__ import annotations

import base64
import csv
import json
import re
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin
from torch import nn

from captum_proto.cli import main
from captum_proto.experiments.blind import (
    FORM,
    KEY,
    BlindKey,
    BlindSettings,
    ClassList,
    MakeForm,
    ScoreAnswers,
    find_sources,
)
from captum_proto.experiments.generate import Generate
from captum_proto.experiments.report import report_on
from captum_proto.models import NamedModel
from captum_proto.report.page import Page
from captum_proto.runs.folder import PAGE, REPORT
from captum_proto.runs.tasks import carry_out

CLASSES = ["Zebu", "quokka", "Xolo, Mexican hairless"]
SMALL = BlindSettings(size=24)


def picture(path: Path, seed: int, size: tuple[int, int] = (30, 24), told: str = "") -> None:
    """A picture that is another one for each seed; its metadata tell what they can."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    about = PngImagePlugin.PngInfo()
    about.add_text("Comment", told)
    exif = Image.Exif()
    exif[0x010E] = told
    options: dict[str, Any] = {"pnginfo": about} if path.suffix == ".png" else {"exif": exif, "comment": told.encode()}
    Image.fromarray(pixels).save(path, **options)


def pictures(folder: Path, classes: list[str], methods: tuple[str, ...] = ("ours", "theirs")) -> Path:
    for place, (method, name) in enumerate((method, name) for method in methods for name in classes):
        picture(folder / method / name / f"{name} {method}.png", place, told=f"{name} {method}")
    return folder


def form_of(folder: Path, out: Path, classes: ClassList | None = None, **options: Any) -> BlindKey:
    return carry_out(MakeForm(find_sources(folder, by_method=True), classes, **options), out)


def answer(path: Path, key: BlindKey, texts: dict[int, str], person: str = "") -> Path:
    rows = [["form", "person", "number", "answer"], *([key.form, person, n, text] for n, text in texts.items())]
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file).writerows(rows)
    return path


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, BlindKey]:
    out = tmp_path / "form"
    return out, form_of(pictures(tmp_path / "pictures", CLASSES), out, settings=SMALL)


def truth(key: BlindKey) -> dict[int, str]:
    return {one.number: one.label for one in key.pictures}


def test_the_form_tells_no_class_no_method_and_no_file(tmp_path: Path) -> None:
    settings = BlindSettings(size=24, free_text=True)
    picture(tmp_path / "noise" / "Quetzal.jpg", 99, told="Quetzal")
    out = tmp_path / "out"
    form_of(pictures(tmp_path / "in", CLASSES), out, included={"gaussian": tmp_path / "noise"}, settings=settings)
    assert [path.name for path in (out / "form").iterdir()] == ["blind.html"]
    text = (out / FORM).read_text(encoding="utf-8")
    embedded = [base64.b64decode(one) for one in re.findall(r"data:image/jpeg;base64,([^\"]+)", text)]
    assert len(embedded) == 7
    told = re.sub(r"base64,[^\"]+", "", text).casefold().encode() + b"".join(embedded).lower()
    for word in ("zebu", "quokka", "xolo", "mexican", "ours", "theirs", "quetzal", "gaussian", str(tmp_path), ".png"):
        assert word.casefold().encode() not in told, word
    for content in embedded:
        assert b"Exif" not in content
        assert b"\xff\xfe" not in content[:400]  # no comment
        assert content.startswith(b"\xff\xd8\xff\xe0")


def test_names_of_classes_methods_and_files_change_nothing_that_is_shown(tmp_path: Path) -> None:
    forms = []
    for place, classes in enumerate((["a1", "b2", "c3"], ["zz top", "middle", "Aardvark"])):
        folder = pictures(tmp_path / f"in{place}", classes, (("m", "n"), ("z", "a"))[place])
        out = tmp_path / f"out{place}"
        names = ClassList([*classes, "one more"])
        form_of(folder, out, names, settings=BlindSettings(size=24, free_text=True))
        forms.append((out / FORM).read_bytes())
        listed = tmp_path / f"listed{place}"
        key = form_of(folder, listed, names, settings=SMALL)
        assert key.names == sorted(names.names, key=str.casefold)
    assert forms[0] == forms[1]


def test_the_order_is_random_and_follows_from_the_seed(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "in", [f"class {n}" for n in range(12)])
    orders = []
    for place, seed in enumerate((0, 0, 1)):
        key = form_of(folder, tmp_path / str(place), settings=BlindSettings(size=16, seed=seed))
        orders.append([(one.label, one.method) for one in key.pictures])
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == sorted(orders[2]) != orders[0]
    assert len({method for _, method in orders[0][:12]}) == 2


def test_all_pictures_are_of_one_size_and_kind(tmp_path: Path) -> None:
    for place, (name, size) in enumerate((("a.png", (8, 8)), ("b.jpg", (100, 60)), ("c.png", (24, 90)))):
        picture(tmp_path / "in" / f"{name[0]}" / name, place, size)
    Image.fromarray(np.full((20, 20), 40000, dtype=np.uint16)).save(tmp_path / "in" / "a" / "deep.png")
    carry_out(MakeForm(find_sources(tmp_path / "in"), settings=SMALL), tmp_path / "out")
    for path in (tmp_path / "out" / "pictures").iterdir():
        with Image.open(path) as image:
            assert (image.format, image.size, image.mode) == ("JPEG", (24, 24), "RGB")


def test_the_key_tells_what_each_picture_is(made: tuple[Path, BlindKey]) -> None:
    out, key = made
    assert BlindKey.load(out / KEY) == key
    text = (out / FORM).read_text(encoding="utf-8")
    embedded = re.findall(r"data:image/jpeg;base64,([^\"]+)", text)
    for one, content in zip(key.pictures, embedded, strict=True):
        assert base64.b64decode(content) == (out / one.picture).read_bytes()
        assert f"/{one.method}/{one.label}/" in one.source
        with Image.open(one.source) as source, Image.open(out / one.picture) as shown:
            square = source.crop((3, 0, 27, 24))
            difference = np.asarray(shown, dtype=float) - np.asarray(square, dtype=float)
        assert np.abs(difference).mean() < 12  # of noise, which JPEG keeps least
    assert (out / REPORT).exists()
    assert "give others the folder “form” alone" in Page.load(out).summary[0]


def test_answers_are_scored_by_the_key(made: tuple[Path, BlindKey], tmp_path: Path) -> None:
    out, key = made
    ann = {n: name if key.pictures[n - 1].method == "ours" else "?" for n, name in truth(key).items()}
    bob = dict.fromkeys(truth(key), "zebu")
    first = next(n for n, name in truth(key).items() if name == "quokka" and key.pictures[n - 1].method == "ours")
    bob[first] = "QUOCKA"
    paths = [answer(tmp_path / "1.csv", key, ann, "Ann"), answer(tmp_path / "bob.csv", key, bob)]
    scores = carry_out(ScoreAnswers(out, paths), tmp_path / "scores")
    assert scores.people == ["Ann", "bob"]  # who gives no name is called after the file
    ours, theirs = scores.methods
    assert ours.right is not None
    assert theirs.right is not None
    assert (ours.method, ours.right.value) == ("ours", pytest.approx(4 / 6))
    assert theirs.right.value == pytest.approx(1 / 6)
    assert ours.chance == pytest.approx(1 / 3)
    assert (theirs.outcomes["unknown"], ours.outcomes["unmatched"]) == (3, 1)
    assert scores.unmatched() == {"QUOCKA": 1}
    rows = list(csv.DictReader((tmp_path / "scores" / "unmatched.csv").open(encoding="utf-8")))
    assert rows == [{"answer": "QUOCKA", "count": "1", "nearest": "quokka", "class": ""}]
    every = list(csv.DictReader((tmp_path / "scores" / "answers.csv").open(encoding="utf-8")))
    assert sum(int(row["right"]) for row in every) == 5
    page = Page.load(tmp_path / "scores")
    assert page.summary[0].endswith("Named rightly: 66.7 % of “ours”, 16.7 % of “theirs”; chance gives 33.3 %.")
    assert {path for path in page.files() if not (tmp_path / "scores" / path).is_file()} == set()
    assert any("no name of a class, 1 in all" in text for text in page.failures)
    assert "66.7 %" in (tmp_path / "scores" / "summary.txt").read_text(encoding="utf-8")


def test_a_spelling_that_was_looked_at_counts(made: tuple[Path, BlindKey], tmp_path: Path) -> None:
    out, key = made
    paths = [answer(tmp_path / "ann.csv", key, {1: "Tier"})]
    (tmp_path / "filled.csv").write_text(f'answer;count;nearest;class\nTier;1;;"{key.pictures[0].label}"\nElse;1;;\n')
    assert carry_out(ScoreAnswers(out, paths), tmp_path / "before").unmatched() == {"Tier": 1}
    scores = carry_out(ScoreAnswers(out, paths, synonyms=tmp_path / "filled.csv"), tmp_path / "after")
    assert scores.of_picture(1)[0].right


def test_superclasses_come_from_a_table(tmp_path: Path) -> None:
    table = tmp_path / "classes.csv"
    table.write_text('name,group\nZebu,cattle\nGaur,cattle\nquokka,marsupial\n"Xolo, Mexican hairless",dog\n')
    out = tmp_path / "form"
    key = form_of(pictures(tmp_path / "in", ["zebu", "quokka", "xolo"]), out, ClassList.read(table), settings=SMALL)
    assert key.groups["Gaur"] == "cattle"
    assert {one.label for one in key.pictures} == {"Zebu", "quokka", "Xolo, Mexican hairless"}
    texts = {n: "gaur" if name == "Zebu" else "Cattle" for n, name in truth(key).items()}
    scores = carry_out(ScoreAnswers(out, [answer(tmp_path / "a.csv", key, texts)]), tmp_path / "scores")
    score = scores.methods[0]
    assert score.right is not None
    assert score.group_right is not None
    assert (score.right.value, score.group_right.value) == (0, pytest.approx(1 / 3))
    assert score.group_chance == pytest.approx((2 + 1 + 1) / 3 / 4)
    other = ClassList(["zebu", "Quokka"], {"zebu": "animal", "Quokka": "animal"})
    again = carry_out(
        ScoreAnswers(out, [answer(tmp_path / "b.csv", key, dict.fromkeys(texts, "quokka"))], other), tmp_path / "other"
    )
    assert again.methods[0].group_right is not None
    assert again.methods[0].group_right.value == 1.0  # of the two classes that have a group


def test_pictures_of_no_class_are_counted_apart(tmp_path: Path) -> None:
    for seed in range(3):
        picture(tmp_path / "noise" / f"{seed}.png", 100 + seed)
        picture(tmp_path / "photos" / f"zebu_{seed}.png", 200 + seed)
    folder = pictures(tmp_path / "in", CLASSES)
    included = {"noise": tmp_path / "noise", "photograph": tmp_path / "photos"}
    key = form_of(folder, tmp_path / "out", included=included, settings=SMALL)
    assert {one.label for one in key.pictures if one.method == "noise"} == {""}
    assert {one.label for one in key.pictures if one.method == "photograph"} == {"Zebu"}
    assert key.names == ["quokka", "Xolo, Mexican hairless", "Zebu"]
    path = answer(tmp_path / "a.csv", key, {n: name or "zebu" for n, name in truth(key).items()})
    scores = carry_out(ScoreAnswers(tmp_path / "out", [path]), tmp_path / "scores")
    noise = scores.methods[-1]
    assert (noise.method, noise.right, noise.outcomes["named"]) == ("noise", None, 3)
    assert all("noise" not in (pair.first, pair.second) for pair in scores.comparisons)
    assert "people saw something in 3 of 3 answers" in " ".join(Page.load(tmp_path / "scores").summary)


def test_the_limit_draws_of_each_class_and_method(tmp_path: Path) -> None:
    for seed in range(6):
        picture(tmp_path / "in" / "ab"[seed % 2] / f"{seed}.png", seed)
    settings = [BlindSettings(size=16, limit=1, seed=seed) for seed in range(8)]
    keys = [
        carry_out(MakeForm(find_sources(tmp_path / "in"), settings=one), tmp_path / str(n))
        for n, one in enumerate(settings)
    ]
    assert all(sorted(one.label for one in key.pictures) == ["a", "b"] for key in keys)
    assert len({key.pictures[0].source for key in keys}) > 1


def trees() -> NamedModel:
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).eval()
    return NamedModel("trees", network, None, (1, 8, 8), ["ash, Fraxinus", "crane", "crane"])


def test_prototypes_of_a_run_are_called_as_it_calls_them(tmp_path: Path) -> None:
    options = {"steps": 1, "warmup_steps": 0, "transform": None}
    carry_out(Generate(trees(), [(0,), (0,), (1,), (2,), (0, 2)], options, page=False), tmp_path / "run")
    found = find_sources(tmp_path / "run")
    assert [one.label for one in found] == ["ash, Fraxinus"] * 2 + ["crane (1)", "crane (2)", "classes 0, 2"]
    assert {one.method for one in found} == {"prototype"}
    assert len({one.path for one in found}) == 5


def test_pictures_by_class_and_method_are_found_in_runs_of_other_commands(tmp_path: Path) -> None:
    recorded = {"0000_ash-fraxinus": "ash, Fraxinus", "0001-0002": "classes 1–2"}
    evaluated, compared = tmp_path / "evaluated", tmp_path / "compared"
    for folder, command, classes in (
        (evaluated, "evaluate", recorded),
        (compared, "quality", list(recorded.values())),
    ):
        folder.mkdir()
        settings = {"command": command, "recorded": {"classes": classes, "methods": {"best, 64 steps": {}}}}
        (folder / "settings.json").write_text(json.dumps(settings))
    for seed, stem in enumerate(recorded):
        for method, other in (("prototypes", "best_-64-steps"), ("plain", "mean_image")):
            picture(evaluated / stem / method / f"{stem}_seed0.png", seed)
            picture(compared / "pictures" / other / f"{stem}_seed0.png", seed)
    picture(evaluated / "0000_ash-fraxinus" / "curves.png", 9)
    labels = list(recorded.values())
    found = [(one.label, one.method) for one in find_sources(evaluated)]
    assert sorted(found) == sorted((label, method) for label in labels for method in ("plain", "prototype"))
    found = [(one.label, one.method) for one in find_sources(compared)]
    assert sorted(found) == sorted((label, method) for label in labels for method in ("best, 64 steps", "mean_image"))


@pytest.mark.parametrize(
    ("files", "labels"),
    [
        (["owl/1.png", "house_finch/2.png", "0012_barn-owl/3.png"], ["barn owl", "house finch", "owl"]),
        (["0012_house-finch_seed0.png", "0558_flute_seed1.png"], ["house finch", "flute"]),
        (["boeing 747_2.png", "owl-3.png", "7_1.png"], ["7", "boeing 747", "owl"]),
        (["3/a.png", "Great Owl/b.png"], ["3", "Great Owl"]),
    ],
)
def test_classes_are_read_off_folders_and_files(tmp_path: Path, files: list[str], labels: list[str]) -> None:
    for place, name in enumerate(files):
        picture(tmp_path / name, place)
    assert [one.label for one in find_sources(tmp_path)] == labels


def test_a_table_says_what_pictures_are(tmp_path: Path) -> None:
    picture(tmp_path / "in" / "unit 3.png", 0)
    picture(tmp_path / "in" / "unit 4.png", 1)
    (tmp_path / "t.csv").write_text("picture;class;method\nunit 3.png;eye;ours\n")
    (one,) = find_sources(tmp_path / "in", labels=tmp_path / "t.csv")
    assert (one.path.name, one.label, one.method) == ("unit 3.png", "eye", "ours")
    (tmp_path / "wnids").mkdir()
    picture(tmp_path / "wnids" / "n01440764" / "1.png", 0)
    (tmp_path / "names.csv").write_text('index,wnid,name\n0,n01440764,"tench, Tinca tinca"\n')
    assert find_sources(tmp_path / "wnids", class_table=tmp_path / "names.csv")[0].label == "tench, Tinca tinca"


def test_classes_of_one_name_are_told_apart_by_their_index(tmp_path: Path) -> None:
    picture(tmp_path / "in" / "0134_n02012849.png", 0)
    picture(tmp_path / "in" / "0002_n01484850.png", 1)
    table = tmp_path / "in" / "classes.csv"
    table.write_text("index,wnid,name\n2,n01484850,great_white_shark\n134,n02012849,crane\n517,n03126707,crane\n")
    classes = ClassList.read(table)
    assert classes.names == ["great white shark", "crane (134)", "crane (517)"]
    key = carry_out(MakeForm(find_sources(tmp_path / "in"), classes, settings=SMALL), tmp_path / "out")
    assert {one.label for one in key.pictures} == {"great white shark", "crane (134)"}
    path = answer(tmp_path / "a.csv", key, dict.fromkeys(truth(key), "Crane"))
    judged = carry_out(ScoreAnswers(tmp_path / "out", [path]), tmp_path / "scores").judged
    assert [one.right for one in judged] == [one.label == "crane (134)" for one in key.pictures]
    table.write_text("index,wnid,name\n2,n01484850,great_white_shark\n134,n02012849,\n")
    with pytest.raises(ValueError, match="has no name for class 134, of which there are images"):
        find_sources(tmp_path / "in")


def test_a_picture_that_cannot_be_read_is_left_out_and_named(tmp_path: Path) -> None:
    picture(tmp_path / "in" / "a" / "1.png", 0)
    (tmp_path / "in" / "a" / "broken.png").write_bytes(b"no picture")
    (tmp_path / "in" / "a" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.warns(UserWarning, match=r"broken\.png.* It is left out"):
        key = carry_out(MakeForm(find_sources(tmp_path / "in"), settings=SMALL), tmp_path / "out")
    assert len(key.pictures) == 1
    assert sum("is left out" in text for text in Page.load(tmp_path / "out").failures) == 2


def test_the_pages_are_made_again_from_the_files(made: tuple[Path, BlindKey], tmp_path: Path) -> None:
    out, key = made
    carry_out(ScoreAnswers(out, [answer(tmp_path / "a.csv", key, truth(key))]), tmp_path / "scores")
    for folder in (out, tmp_path / "scores"):
        before = (folder / REPORT).read_bytes()
        (folder / PAGE).unlink()
        report_on(folder)
        assert (folder / REPORT).read_bytes() == before


def test_scores_need_the_key_alone(made: tuple[Path, BlindKey], tmp_path: Path) -> None:
    out, key = made
    (tmp_path / "alone").mkdir()
    shutil.copy(out / KEY, tmp_path / "alone" / KEY)
    scores = carry_out(
        ScoreAnswers(tmp_path / "alone", [answer(tmp_path / "a.csv", key, truth(key))]), tmp_path / "scores"
    )
    assert all(score.right is not None and score.right.value == 1 for score in scores.methods)
    assert not Page.load(tmp_path / "scores").lead


def test_the_command_makes_the_form_and_scores_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = pictures(tmp_path / "in", CLASSES)
    out, scores = tmp_path / "form", tmp_path / "scores"
    command = ["blind", str(folder), "--by-method", "--size", "24", "--out", str(out), "--no-progress"]
    assert main(command) == 0
    assert "ours: 3 pictures of 3 classes" in capsys.readouterr().out
    assert main([*command, "--seed", "1"]) == 1
    assert "is not empty" in capsys.readouterr().err
    assert main([*command, "--seed", "1", "--resume"]) == 1
    assert "was made with seed = 0, now it is 1" in capsys.readouterr().err
    key = BlindKey.load(out / KEY)
    paths = [str(answer(tmp_path / f"{who}.csv", key, truth(key), who)) for who in ("Ann", "Bob")]
    command = ["blind", str(out), "--answers", *paths, "--out", str(scores), "--no-progress"]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "Of 6 answers to “ours”, 100.0 % name the class" in printed
    assert "Cohen's kappa 1.00" in printed
    assert json.loads((scores / "settings.json").read_text())["command"] == "blind"


#: What is given, and words of the sentence that says what is wrong; FORM stands for a form's folder.
WRONG: list[tuple[list[str], str]] = [
    (["nope"], 'there is no folder "nope"'),
    (["empty"], "holds no images; expected a folder for each class"),
    (["in", "--by-method", "--size", "8"], "size is 8; expected at least 16"),
    (["in", "--by-method", "--size", "9999"], "size is 9999; expected 16 to 1024"),
    (["in", "--by-method", "--limit", "0"], "limit is 0; expected at least 1"),
    (["in", "--by-method", "--question", " "], "question is empty"),
    (["in", "--by-method", "--include", "noise"], '--include "noise" is not DIR:NAME'),
    (["in", "--by-method", "--include", "in:a", "--include", "in:a"], 'two folders are included as "a"'),
    (["in", "--by-method", "--include", "in:ours"], 'pictures are called "ours" already'),
    (["in", "--by-method", "--include", "nope:a"], 'there is no folder "nope"'),
    (
        ["in", "--by-method", "--classes", "few.txt"],
        'there are pictures of "Xolo, Mexican hairless", which is not there in the list of',
    ),
    (["in", "--by-method", "--classes", "twice.txt"], 'has the name "Zebu" twice'),
    (["in", "--by-method", "--classes", "latin.csv"], "is not text in UTF-8"),
    (["in", "--by-method", "--classes", "none.csv"], 'there is no file "none.csv"; give --classes'),
    (["in", "--by-method", "--synonyms", "few.txt"], "--synonyms is for scoring"),
    (["in", "--labels", "few.txt"], "has the columns zebu; expected picture and class"),
    (["empty", "--by-method"], "holds no folders with images; expected one for each method"),
    (["others", "--by-method"], "is a run, which tells its methods itself; leave --by-method out"),
    (["others"], "holds the results of captum-proto sweep; give a run of generate, evaluate, quality, a"),
    (["units"], "holds pictures of units, and nothing says what they are to be called"),
    (["wnids"], "names classes by wnid (n01440764), which nobody would type; give their names with --class-table"),
    (["broken"], "cannot be read: not an image"),
    (["in", "--answers", "good.csv"], 'there is no key "in/blind_key.json"'),
    (["FORM", "--answers", "none.csv"], 'there is no file "none.csv"; give --answers'),
    (["FORM", "--answers", "good.csv", "--by-method"], "--by-method is for making a form"),
    (["FORM", "--answers", "good.csv", "--confidence", "2"], "confidence is 2.0"),
    (["FORM", "--answers", "unknown.csv"], 'line 2: number is "7"; the form has pictures 1 to 6'),
    (["FORM", "--answers", "word.csv"], 'line 2: number is "one"; the form has pictures 1 to 6'),
    (["FORM", "--answers", "again.csv"], "line 3: picture 1 has an answer already"),
    (["FORM", "--answers", "other.csv"], 'line 2: form is "0123456789ab", but the key is of form'),
    (["FORM", "--answers", "columns.csv"], "has the columns number, answer; expected form and number and answer"),
    (["FORM", "--answers", "blank.csv"], "holds no answers; expected a line for each picture"),
    (["FORM", "--answers", "people.csv"], "holds answers of Ann and Bob; give one file for each person"),
    (["FORM", "--answers", "good.csv", "good.csv"], "hold the very same"),
    (["FORM", "--answers", "ann1.csv", "ann2.csv"], 'are of one person, "ann"; give one file for each'),
    (
        ["FORM", "--answers", "good.csv", "--synonyms", "spellings.csv"],
        'is to stand for "Zebuu", which is no class; did',
    ),
    (["FORM", "--answers", "good.csv", "--classes", "few.txt"], "gives no group to any class of the form"),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of everything that is wrong."""
    root = tmp_path_factory.mktemp("wrong")
    pictures(root / "in", CLASSES)
    (root / "empty").mkdir()
    key = form_of(root / "in", root / "FORM", settings=SMALL)
    for name, command in (("others", "sweep"), ("units", "visualize")):
        (root / name).mkdir()
        (root / name / "settings.json").write_text(json.dumps({"command": command}))
    picture(root / "wnids" / "n01440764" / "1.png", 0)
    (root / "broken" / "a").mkdir(parents=True)
    (root / "broken" / "a" / "1.png").write_bytes(b"no picture")
    texts = {
        "few.txt": "Zebu\n",
        "twice.txt": "Zebu\nZebu\n",
        "good.csv": f"form,number,answer\n{key.form},1,x\n",
        "unknown.csv": f"form,number,answer\n{key.form},7,x\n",
        "word.csv": f"form,number,answer\n{key.form},one,x\n",
        "again.csv": f"form,number,answer\n{key.form},1,x\n{key.form},1,y\n",
        "other.csv": "form,number,answer\n0123456789ab,1,x\n",
        "columns.csv": "number,answer\n1,x\n",
        "blank.csv": "form,number,answer\n,,\n",
        "people.csv": f"form,person,number,answer\n{key.form},Ann,1,x\n{key.form},Bob,2,y\n",
        "ann1.csv": f"form,person,number,answer\n{key.form},Ann,1,x\n",
        "ann2.csv": f"form,person,number,answer\n{key.form},ann,2,y\n",
        "spellings.csv": "answer,class\nx,Zebuu\n",
    }
    for name, text in texts.items():
        (root / name).write_text(text)
    (root / "latin.csv").write_bytes("name\nKänguru\n".encode("latin-1"))
    return root


@pytest.mark.parametrize(("given", "words"), WRONG, ids=lambda value: str(value)[:60])
def test_bad_input_gets_a_sentence_and_leaves_nothing(
    given: list[str], words: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    before = sorted(place.rglob("*"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert main(["blind", *given, "--out", "out", "--no-progress"]) == 1
    error = capsys.readouterr().err.strip()
    assert error.startswith("captum-proto: error: ")
    assert words in error
    assert "\n" not in error
    assert sorted(place.rglob("*")) == before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda key: "no JSON", "is damaged: it is not JSON"),
        (lambda key: json.dumps({"kind": "else"}), "holds else; expected the key of a blind test"),
        (lambda key: json.dumps([1]), "holds something else"),
        (lambda key: key.replace('"number": 1', '"number": 9'), "are not numbered from 1 in their order"),
        (lambda key: key.replace('"question"', '"riddle"'), "is damaged: it cannot be read as a key of a blind test"),
    ],
)
def test_a_damaged_key_is_said_to_be(change: Any, words: str, made: tuple[Path, BlindKey], tmp_path: Path) -> None:
    out, key = made
    path = answer(tmp_path / "a.csv", key, truth(key))
    (out / KEY).write_text(change((out / KEY).read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(ValueError, match=re.escape(words)):
        ScoreAnswers(out, [path])
