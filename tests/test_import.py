"""What importing the package needs, what it leaves alone, and what it offers."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import captum_proto

WITHOUT_THE_EXTRAS = """
import sys
for absent in ("torchvision", "timm", "sklearn", "efficientnet_lite_pytorch"):
    sys.modules[absent] = None  # importing it raises ImportError
import torch
state = torch.random.get_rng_state()
import captum_proto
model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3))
prototypes = captum_proto.PrototypeGeneration(model).generate(1, (1, 8, 8), steps=2, warmup_steps=1)
captum_proto.PathSimilarity(model).fit(torch.rand(3, 1, 8, 8)).evaluate(prototypes.images)
assert set(captum_proto.__all__) <= set(dir(captum_proto))
print("cuda initialized:", torch.cuda.is_initialized())
"""

OPERATORS_ALONE = """
import sys
for absent in ("captum", "torchvision", "scipy", "jinja2", "safetensors"):
    sys.modules[absent] = None
import torch
from captum_proto import ops
print(ops.rank(torch.tensor([[0.3, 0.1, 0.3]])).tolist())
rooms = {name.split(".")[1] for name in sys.modules if name.startswith("captum_proto.")}
print(sorted(room for room in rooms if not room.startswith("_C")))
"""


def output_of(program: str) -> str:
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_the_library_needs_neither_torchvision_nor_the_extras() -> None:
    # A PyTorch whose torchvision does not load, as happens where their builds do not match, is enough.
    assert output_of(WITHOUT_THE_EXTRAS) == "cuda initialized: False"


def test_the_operators_need_pytorch_alone() -> None:
    assert output_of(OPERATORS_ALONE).splitlines() == ["[[2.5, 1.0, 2.5]]", "['ops']"]


def test_every_public_name_is_there() -> None:
    for name in captum_proto.__all__:
        assert getattr(captum_proto, name) is not None
    assert set(captum_proto.__all__) <= set(dir(captum_proto))


def test_editors_see_the_names_that_are_there_when_it_runs() -> None:
    source = Path(captum_proto.__file__).read_text(encoding="utf-8")
    seen = next(node for node in ast.parse(source).body if isinstance(node, ast.If))
    imports = [statement for statement in seen.body if isinstance(statement, ast.ImportFrom)]
    homes = {alias.name: statement.module for statement in imports for alias in statement.names}
    assert homes == {**captum_proto._HOMES, "ops": "captum_proto"}
    assert sorted(homes) == sorted(captum_proto.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'captum_proto' has no attribute 'PathSimilarty'"):
        captum_proto.PathSimilarty  # noqa: B018
    with pytest.raises(ImportError):
        from captum_proto import PathSimilarty  # noqa: F401


@pytest.fixture
def before_capture(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if nothing had imported the module ``captum_proto.capture`` yet, nor asked for the function that it defines."""
    assert callable(captum_proto.capture)
    monkeypatch.delitem(vars(captum_proto), "capture")
    monkeypatch.delitem(sys.modules, "captum_proto.capture")


@pytest.mark.parametrize("module_first", [True, False])
@pytest.mark.filterwarnings("error::ImportWarning", "error::DeprecationWarning")
def test_capture_is_the_function_in_every_order_of_imports(before_capture: None, module_first: bool) -> None:
    """Python puts a submodule into its package as it imports it, and this one has the function's name."""
    if not module_first:
        assert captum_proto.capture.__qualname__ == "capture"
    module = import_module("captum_proto.capture")
    assert captum_proto.capture is module.capture
    from captum_proto import capture

    assert capture is module.capture
