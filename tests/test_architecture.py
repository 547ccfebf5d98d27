"""Who may import whom: rooms import downwards only, and rooms of methods do not import each other (docs/architecture.rst)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import captum_proto
from captum_proto.optim import Diversity, Loss, Parametrization
from captum_proto.runs.tasks import Protocol

PACKAGE = Path(captum_proto.__path__[0])
#: From the top of the house to its ground. A room may import from those below it, and from itself.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("cli", "__main__"),
    ("experiments",),
    ("report", "testing"),
    ("attr", "metrics", "features", "concept", "circuits", "training", "edit"),
    ("optim", "models"),
    ("capture", "stats", "data", "runs"),
    ("ops", "_utils"),
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
#: Rooms of one floor that may use each other, each with its reason.
NEIGHBORS = {
    ("__main__", "cli"): "it is how Python runs the command line",
    ("training", "attr"): "prototypes during training are prototypes",
    ("concept", "features"): "descriptions are of a unit's top examples",
    ("concept", "edit"): "units that a description names are ablated",
}
#: The one place where hooks are hung.
HOOKS = "capture"


def room_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """The rooms that a module imports from, wherever in the file; imports for type checkers alone count as well."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module == "captum_proto":
            names = [f"captum_proto.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "captum_proto" and len(parts) > 1:
                yield node.lineno, parts[1]


def test_every_room_has_its_floor() -> None:
    assert {room_of(path) for path in modules()} <= set(FLOOR_OF)


@pytest.mark.parametrize("floor", range(len(FLOORS)), ids=[" ".join(rooms[:2]) for rooms in FLOORS])
def test_rooms_import_downwards_only(floor: int) -> None:
    wrong = []
    for path in modules():
        room = room_of(path)
        if FLOOR_OF[room] != floor:
            continue
        for line, other in imported(path):
            below = other in FLOOR_OF and FLOOR_OF[other] > floor
            if not (below or other == room or (room, other) in NEIGHBORS):
                wrong.append(f"{path.relative_to(PACKAGE)}:{line} imports {other}")
    assert not wrong, "\n".join(wrong)


def test_only_capture_hangs_hooks() -> None:
    hangs = [
        path.relative_to(PACKAGE).as_posix()
        for path in modules()
        if "register_forward" in path.read_text(encoding="utf-8") and room_of(path) != HOOKS
    ]
    assert not hangs


def test_no_module_reaches_for_another_ones_private_names() -> None:
    wrong = []
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("captum_proto"):
                private = [alias.name for alias in node.names if alias.name.startswith("_") and alias.name != "_utils"]
                if private and "ops" not in node.module:  # its modules are parts of one thing
                    wrong.append(f"{path.relative_to(PACKAGE)}:{node.lineno} imports {', '.join(private)}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("contract", [Diversity, Loss, Parametrization, Protocol])
def test_a_contract_that_is_not_kept_is_noticed_at_once(contract: type) -> None:
    incomplete = type("Incomplete", (contract,), {})
    with pytest.raises(TypeError, match="abstract"):
        incomplete()
