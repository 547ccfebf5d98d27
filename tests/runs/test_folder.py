"""What results are called: readable, and never two of them the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from captum_proto._utils.class_names import file_stem, label_of, labels_of
from captum_proto.runs.folder import SETTINGS, open_folder

NAMES = ["ash", "Norway spruce (Picea)", "crane", "crane"]


def test_labels_and_file_names() -> None:
    assert (label_of((1,), NAMES), file_stem((1,), NAMES)) == ("Norway spruce (Picea)", "0001_norway-spruce-picea")
    assert (label_of((3,), None), file_stem((3,), None)) == ("class 3", "0003")
    assert (label_of((1, 2, 3), NAMES), file_stem((1, 2, 3), NAMES)) == ("classes 1–3", "0001-0003")
    assert (label_of((0, 2), NAMES), file_stem((0, 2), NAMES)) == ("classes 0, 2", "0000_0002")


def test_no_two_groups_share_a_label_or_a_file_name() -> None:
    groups = [(2,), (3,), (0,), (0, 2, 4, 6, 8, 10, 12), (0, 2, 4, 6, 8, 10, 14), (0, 2, 4, 6, 9)]
    labels = labels_of(groups, NAMES)
    assert labels[:3] == ["crane (2)", "crane (3)", "ash"]
    assert len(set(labels)) == len({file_stem(group, NAMES) for group in groups}) == len(groups)
    assert "_and_1_more" in file_stem(groups[3], None)


def test_results_of_an_earlier_run_go_before_its_settings_do(tmp_path: Path) -> None:
    results = [tmp_path / "batches", tmp_path / "finished", tmp_path / "never there"]
    results[0].mkdir()
    for file in (results[0] / "part", results[1], tmp_path / "picture"):
        file.touch()
    (tmp_path / SETTINGS).write_text('{"seed": 0}')
    with pytest.raises(FileExistsError, match="not empty"):
        open_folder(tmp_path, {"seed": 1}, overwrite=False, resume=False, results=results)
    with pytest.raises(ValueError, match="was made with seed = 0"):
        open_folder(tmp_path, {"seed": 1}, overwrite=True, resume=True, results=results)
    open_folder(tmp_path, {"seed": 0}, overwrite=False, resume=True, results=results)
    assert [path.exists() for path in results] == [True, True, False]
    open_folder(tmp_path, {"seed": 1}, overwrite=True, resume=False, results=results)
    assert {path.name for path in tmp_path.iterdir()} == {"picture", SETTINGS}


@pytest.mark.parametrize("way", ["resume", "overwrite"])
def test_a_folder_of_another_command_is_left_alone(tmp_path, way):
    choice = {"resume": False, "overwrite": False}
    open_folder(tmp_path / "out", {"command": "sweep", "seed": 1}, **choice)
    before = (tmp_path / "out" / "settings.json").read_bytes()
    with pytest.raises(
        ValueError, match="holds the results of captum-proto sweep, not of evaluate; choose another folder"
    ):
        open_folder(tmp_path / "out", {"command": "evaluate", "seed": 1}, **{**choice, way: True})
    assert (tmp_path / "out" / "settings.json").read_bytes() == before
