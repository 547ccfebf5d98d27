"""What a command was given is checked before a model is loaded, and leaves nothing behind: for every command and each kind of input."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from captum_proto.cli import arguments as shared
from captum_proto.cli import fooling, main
from captum_proto.experiments import demo
from captum_proto.experiments.planted_bias import protocol as planted_bias

pytest.importorskip("sklearn")

#: A command line of each command that can be used, but for where it writes to.
USABLE = {
    "generate": ["--model", "digits", "--target", "3"],
    "visualize": ["--model", "digits", "--layer", "0"],
    "evaluate": ["--model", "digits", "--target", "3", "--images", "digits"],
    "sweep": ["--model", "digits", "--target", "3", "--images", "digits"],
    "compare-groups": ["--model", "digits", "--target", "3", "--group", "a=a", "--group", "b=b"],
    "fooling": ["--model", "digits"],
    "planted-bias": [],
    "reproduce": ["--small"],
    "demo": [],
    "blind": ["a"],
}
_WITH_MODEL = ["generate", "visualize", "evaluate", "sweep", "compare-groups", "fooling"]
_WITH_GENERATION = ["generate", "evaluate", "compare-groups", "fooling"]
#: What is wrong, words of the sentence that says so, and the commands that take such an option.
WRONG: list[tuple[list[str], str, list[str]]] = [
    (["--out", "occupied"], '"occupied" is not empty; choose another folder', list(USABLE)),
    (["--out", "a/0.png"], '0.png" is a file; choose a folder', list(USABLE)),
    (["--out", "others", "--resume"], "holds the results of captum-proto other, not of", list(USABLE)),
    (["--device", "moon"], 'device "moon" is unknown', [*_WITH_MODEL, "demo", "reproduce"]),
    (["--model", "digitz"], 'did you mean "digits"?', [name for name in _WITH_MODEL if name != "fooling"]),
    (["--checkpoint", "none.pt"], 'there is no file "none.pt"; give --checkpoint', _WITH_MODEL),
    (["--checkpoint", "a"], '"a" is a folder; give --checkpoint a file', _WITH_MODEL),
    (["--num-classes", "0"], "num_classes is 0", _WITH_MODEL),
    (["--images", "nope"], 'there is no folder "nope"', ["evaluate", "sweep", "fooling", "reproduce"]),
    (["--images", "a/0.png"], '0.png" is a file; give the folder', ["evaluate", "sweep", "fooling", "reproduce"]),
    (["--table2", "lighter=nope"], 'there is no folder "nope"', ["reproduce"]),
    (["--group", "c=nope"], 'there is no folder "nope"', ["compare-groups"]),
    (["--prototypes", "none"], 'there is no file "none"; give --prototypes', ["evaluate", "compare-groups"]),
    (["--picture", "none"], 'there is no file "none"; give --picture', ["fooling"]),
    (["--batch-size", "0"], "batch_size is 0", [*_WITH_MODEL, "reproduce"]),
    (["--image-batch", "0"], "batch_size is 0", ["evaluate", "sweep", "compare-groups", "fooling", "reproduce"]),
    (["--workers", "-1"], "workers is -1", ["evaluate", "sweep", "compare-groups", "reproduce"]),
    (["--limit", "0"], "limit is 0", ["evaluate", "sweep", "fooling", "reproduce", "blind"]),
    (["--count", "0"], "count is 0", [*_WITH_GENERATION, "reproduce"]),
    (["--controls", "grey"], 'there is no control "grey"', ["evaluate", "sweep", "fooling"]),
    (["--steps", "-1"], "steps is -1", [*_WITH_GENERATION, "visualize", "planted-bias"]),
    (["--lr", "nan"], "lr is nan", [*_WITH_GENERATION, "visualize"]),
    (["--units", "3-1"], 'units is "3-1"; expected numbers and ranges', ["visualize"]),
    (["--answers", "none"], 'there is no file "none"; give --answers', ["blind"]),
    (["--labels", "none"], 'there is no file "none"; give --labels', ["blind"]),
    (["--direction", "none"], 'there is no file "none"; give --direction', ["visualize"]),
    (["--attempts", "0"], "attempts is 0", ["visualize"]),
    (["--set", "steps=-1"], "steps is -1", ["sweep"]),
    (["--grid", "lr=[nan]"], "lr is nan", ["sweep"]),
    (["--networks", "0"], "networks is 0", ["planted-bias"]),
    (["--items", "tabel1"], 'did you mean "table1"?', ["reproduce"]),
    (["--protocol-seeds", "0"], "protocol_seeds is 0", ["reproduce"]),
]
CASES = [(command, options, words) for options, words, commands in WRONG for command in commands]


@pytest.mark.parametrize(("command", "options", "words"), CASES, ids=lambda value: str(value))
def test_wrong_input_is_said_before_anything_is_computed(
    command: str,
    options: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, content in (("occupied/mine.txt", ""), ("others/settings.json", '{"command": "other"}')):
        Path(name).parent.mkdir()
        Path(name).write_text(content)
    for group in "ab":
        Path(group).mkdir()
        Image.new("L", (8, 8)).save(f"{group}/0.png")
    before = sorted(tmp_path.rglob("*"))

    def loaded(*_: object, **__: object) -> None:
        raise AssertionError("a model was loaded or trained")

    for module in (shared, fooling, demo):
        monkeypatch.setattr(module, "load_model", loaded)
    monkeypatch.setattr(planted_bias, "planted_classifier", loaded)
    assert main([command, "--out", "out", "--no-progress", *USABLE[command], *options]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("captum-proto: error: ")
    assert words in error
    assert sorted(tmp_path.rglob("*")) == before
