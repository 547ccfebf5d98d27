"""Nothing in a file is executed: no call in the package could do it, and files made to do it leave nothing behind."""

from __future__ import annotations

import ast
import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import captum_proto
from captum_proto._utils.errors import InputError
from captum_proto.experiments.visualize.units import read_directions
from captum_proto.models.checkpoints import read_state
from captum_proto.optim.inputs.maco import MACOImage

PACKAGE = Path(captum_proto.__path__[0])
#: Modules that turn bytes into objects by running what the bytes say.
_MODULES = {
    "pickle",
    "cPickle",
    "_pickle",
    "dill",
    "cloudpickle",
    "joblib",
    "shelve",
    "marshal",
    "yaml",
    "xml",
    "lxml",
    "jsonpickle",
}
#: Functions that do.
_BUILTINS = {"eval", "exec", "compile", "__import__"}
#: By attribute: calls that are allowed only with these keywords.
_NEEDED = {("torch", "load"): ("weights_only", True)}
_NEVER = {
    ("torch.jit", "load"),
    ("torch.package", "PackageImporter"),
    ("torch.export", "load"),
    ("torch.hub", "load"),
    ("os", "system"),
}


def dangers(source: str) -> Iterator[str]:
    """What in a module could run what a file holds."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found = [node.module or ""]
        else:
            found = []
        yield from (f"{node.lineno}: imports {name}" for name in found if name.partition(".")[0] in _MODULES)
        if not isinstance(node, ast.Call):
            continue
        called, keywords = node.func, {each.arg: each.value for each in node.keywords}
        if isinstance(called, ast.Name) and called.id in _BUILTINS:
            yield f"{node.lineno}: calls {called.id}"
        if isinstance(called, ast.Attribute):
            owner = ast.unparse(called.value)
            if (owner, called.attr) in _NEVER:
                yield f"{node.lineno}: calls {owner}.{called.attr}"
            if (owner, called.attr) in _NEEDED:
                name, value = _NEEDED[owner, called.attr]
                given = keywords.get(name)
                if not (isinstance(given, ast.Constant) and given.value is value):
                    yield f"{node.lineno}: calls {owner}.{called.attr} without {name}={value}"
            if (owner, called.attr) in {("np", "load"), ("numpy", "load")}:
                given = keywords.get("allow_pickle")
                if not (isinstance(given, ast.Constant) and given.value is False):
                    yield f"{node.lineno}: calls numpy.load without allow_pickle=False"
        shell = keywords.get("shell")
        if shell is not None and not (isinstance(shell, ast.Constant) and shell.value is False):
            yield f"{node.lineno}: starts a shell"


def test_no_module_can_run_what_a_file_holds() -> None:
    found = [
        f"{path.relative_to(PACKAGE)}:{danger}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for danger in dangers(path.read_text(encoding="utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from yaml import load",
        "import torch\ntorch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=trusted)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "eval(text)",
        "exec(text)",
        "torch.jit.load(path)",
        "subprocess.run(text, shell=True)",
    ],
)
def test_the_test_would_notice(source: str) -> None:
    assert list(dangers(source))


class Payload:
    """An object that, unpickled, makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.path}",)


def test_files_that_would_run_a_command_do_not(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    pickle.loads(pickle.dumps(Payload(mark)))
    assert mark.exists()  # it is no dud
    mark.unlink()
    torch.save({"weight": torch.zeros(1), "payload": Payload(mark)}, tmp_path / "new.pt")
    torch.save(Payload(mark), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Payload(mark)))
    array = np.empty(1, dtype=object)
    array[0] = Payload(mark)
    np.save(tmp_path / "a.npy", array)
    for name in ("new.pt", "old.pt", "plain.pt"):
        with pytest.raises(InputError, match=r"Python objects|damaged or not a PyTorch checkpoint"):
            read_state(tmp_path / name)
    for read in (read_directions, MACOImage.load):
        with pytest.raises(InputError):
            read(tmp_path / "a.npy")
    assert not mark.exists()
