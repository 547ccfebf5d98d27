"""Files are whole or not there."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from captum_proto._utils.errors import WriteError
from captum_proto._utils.files import file_error, load_tensors, save_tensors, whole_file


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failed_write_leaves_what_was_there(tmp_path, error):
    file = tmp_path / "table.csv"

    def write(text):
        with whole_file(file, overwrite=True) as temporary:
            temporary.write_text(text)
            if text == "half":
                raise error("power cut")

    with pytest.raises(error, match="power cut"):
        write("half")
    assert list(tmp_path.iterdir()) == []
    write("whole")
    with pytest.raises(error, match="power cut"):
        write("half")
    assert file.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [file]


def test_nothing_is_overwritten_unless_asked(tmp_path):
    file = tmp_path / "x.txt"
    file.write_text("old")
    with pytest.raises(FileExistsError, match=r'x.txt" exists and would be overwritten'), whole_file(file):
        raise AssertionError("the block must not run")
    with whole_file(file, overwrite=True) as temporary:
        temporary.write_text("new")
        assert file.read_text() == "old"
    assert file.read_text() == "new"


@pytest.mark.skipif(os.name == "nt", reason="files of POSIX")
def test_a_file_changes_all_at_once(tmp_path):
    """Whoever has the old file open goes on reading the old file: no moment shows a part of the new one."""
    file = tmp_path / "x.txt"
    file.write_text("old")
    with file.open() as reader:
        with whole_file(file, overwrite=True) as temporary:
            temporary.write_text("newer")
        assert reader.read() == "old"
    assert file.read_text() == "newer"


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
def test_the_permissions_are_those_of_any_new_file(tmp_path):
    previous = os.umask(0o027)
    try:
        with whole_file(tmp_path / "x.txt") as temporary:
            temporary.write_text("x")
        assert os.umask(0o027) == 0o027  # left as it was
    finally:
        os.umask(previous)
    assert stat.S_IMODE((tmp_path / "x.txt").stat().st_mode) == 0o640


def test_tensors_come_back_with_their_story(tmp_path):
    storage = torch.randn(6, 4)
    tensors = {
        "plain": torch.arange(5),
        "one": storage,
        "same": storage,
        "part": storage[1:3],
        "turned": storage.t(),
        "empty": torch.empty(0, 3),
        "half": torch.randn(3).bfloat16(),
        "graph": torch.randn(2, requires_grad=True) * 2,
    }
    save_tensors(tmp_path / "x.safetensors", "thing", tensors, {"ünïcode": ["a", 1, None, {"b": 0.1}]})
    loaded, story = load_tensors(tmp_path / "x.safetensors", "thing")
    assert story == {"kind": "thing", "ünïcode": ["a", 1, None, {"b": 0.1}]}
    assert loaded.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(loaded[name], tensor.detach())
        assert loaded[name].dtype == tensor.dtype


def test_a_file_of_another_kind_is_refused(tmp_path):
    file = tmp_path / "x.safetensors"
    save_tensors(file, "thing", {"a": torch.zeros(1)}, {})
    with pytest.raises(ValueError, match=r'x.safetensors" holds thing; expected a prototypes saved by captum_proto'):
        load_tensors(file, "prototypes")
    save_file({"a": torch.zeros(1)}, file)
    with pytest.raises(ValueError, match="holds something else; expected a thing"):
        load_tensors(file, "thing")
    save_file({"a": torch.zeros(1)}, file, {"captum_proto": "{no json"})
    with pytest.raises(ValueError, match="is damaged: its description is not JSON"):
        load_tensors(file, "thing")
    save_file({"a": torch.zeros(1)}, file, {"captum_proto": json.dumps({"kind": "thing"})})
    assert load_tensors(file, "thing")[1] == {"kind": "thing"}


@pytest.mark.parametrize(
    "said",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        SafetensorError("I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_the_same_sentence_whoever_writes(tmp_path, said):
    file = tmp_path / "x.safetensors"
    with pytest.raises(WriteError) as error, whole_file(file):
        raise said
    assert str(error.value) == f'"{file}" cannot be written ({os.strerror(28)}); make room, and go on with --resume.'
    assert error.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []


def test_a_quota_is_a_full_disk_in_words_alone():
    number = errno.EDQUOT
    made = file_error(SafetensorError(f"I/O error: whatever (os error {number})"), Path("x"))
    assert str(made) == f'"x" cannot be written ({os.strerror(number)}); make room, and go on with --resume.'


def test_tensors_are_written_to_no_other_temporary_file(tmp_path, monkeypatch):
    """One that whoever goes on after a killed process would not know."""
    seen = []
    write = Path.write_bytes

    def watched(path, data):
        write(path, data)
        seen.append(sorted(each.name for each in tmp_path.iterdir()))

    monkeypatch.setattr(Path, "write_bytes", watched)
    save_tensors(tmp_path / "x.safetensors", "numbers", {"x": torch.arange(3)}, {})
    ((name,),) = seen
    assert name.startswith(".x.safetensors.")
    assert name.endswith(".partial")
