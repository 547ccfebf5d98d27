"""Texts, rows of tables and compositions of images: killed in mid-optimization, they end in the same inputs, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import test_snapshots
import torch
from killing import Killed, check, killed_after
from networks import seeded
from torch import Tensor, nn

from captum_proto import PrototypeGeneration
from captum_proto.data import Categorical, Continuous, TableColumns
from captum_proto.optim import (
    AlphaImage,
    ClassLogit,
    CPPNImage,
    FFTImage,
    InputOptimization,
    LaplacianImage,
    LatentImage,
    MACOImage,
    MaskedImage,
    Parametrization,
    PhaseImage,
    PixelImage,
    SharedImage,
    Snapshot,
    StackImage,
    TabularInput,
    TextInput,
    inputs,
)

EMBEDDING = seeded(lambda: torch.randn(12, 6))
WORDS = [f"word{number}" for number in range(12)]
COLUMNS = TableColumns(
    [
        Continuous("age", 17, 90, center=40, scale=10, whole=True),
        Continuous("income", 0, 1e6, center=4e4, scale=2e4, missing=3e4),
        Categorical("work", ["none", "state", "private"]),
        Continuous("hours", 0, 99, center=40, scale=12),
    ]
)
TEXTS: dict[str, Callable[[], TextInput]] = {
    "nearest": lambda: TextInput(EMBEDDING, 5, WORDS),
    "nearest, held": lambda: TextInput(EMBEDDING, 5, WORDS, fixed={1: "word3"}, allowed=range(8)),
    "gumbel": lambda: TextInput(EMBEDDING, 5, WORDS, "gumbel"),
    "gumbel, held": lambda: TextInput(EMBEDDING, 5, WORDS, "gumbel", fixed={0: 2}, temperature=(2.0, 0.5)),
}
ROWS: dict[str, Callable[[], TabularInput]] = {
    "free": lambda: TabularInput(COLUMNS),
    "held": lambda: TabularInput(COLUMNS, fixed={"work": "state", "income": None}),
    "monotone": lambda: TabularInput(COLUMNS, monotone={"age": "increasing", "hours": "decreasing"}),
}
SIZE, SHAPE, MASK = test_snapshots.SIZE, test_snapshots.SHAPE, test_snapshots.MASK
IMAGES: dict[str, Callable[[], Parametrization]] = {
    "coarse phase": lambda: PhaseImage(coarse_to_fine=0.6),
    "stacked of stacked": lambda: StackImage(
        [StackImage([FFTImage(), CPPNImage(hidden=6, layers=2)]), LaplacianImage()]
    ),
    "shared pixels": lambda: SharedImage(PixelImage(), [None, "b"], divisors=(3,)),
    "alpha of phase": lambda: AlphaImage(PhaseImage()),
    "alpha of stacked": lambda: AlphaImage(StackImage([FFTImage(), PixelImage()])),
    "masked pixels": lambda: MaskedImage(PixelImage(), torch.full(SHAPE, 0.3), MASK),
    "masked alpha of latent": lambda: MaskedImage(
        LatentImage(test_snapshots.decoder(), code_shape=(6,)), torch.full(SHAPE, 0.3), MASK
    ),
    "masked maco": lambda: MaskedImage(
        MACOImage(torch.linspace(1, 2, SIZE * (SIZE // 2 + 1)).view(SIZE, -1).expand(3, -1, -1).clone()),
        torch.full(SHAPE, 0.6),
        MASK,
    ),
}


def reader(width: int) -> nn.Module:
    """A small network of what is given as numbers."""
    return seeded(
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(width, 16), nn.Tanh(), nn.BatchNorm1d(16), nn.Linear(16, 4))
    ).eval()


def test_every_parametrization_there_is_was_killed() -> None:
    """In one of the tables here or in ``test_snapshots``."""
    killed = [make() for table in (TEXTS, ROWS, IMAGES, test_snapshots.PARAMETRIZATIONS) for make in table.values()]
    known = {getattr(inputs, name) for name in inputs.__all__ if isinstance(getattr(inputs, name), type)}
    assert known - {type(each) for each in killed} == {Parametrization}


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("optimizer", ["adam", "nadam"])
def test_texts(name: str, optimizer: str, tmp_path: Path) -> None:
    def make() -> InputOptimization:
        loss = ClassLogit([1, 3])
        how: dict[str, Any] = {"steps": 11, "parametrization": TEXTS[name](), "lr": 0.3, "optimizer": optimizer}
        return InputOptimization(reader(30), loss, **how, transform=None)

    check(make, tmp_path / "snapshot", (5, 4), image_shape=(5, 6))


@pytest.mark.parametrize("name", ROWS)
def test_rows_of_tables(name: str, tmp_path: Path) -> None:
    def make() -> InputOptimization:
        return InputOptimization(
            reader(COLUMNS.width), ClassLogit([1, 3]), steps=11, parametrization=ROWS[name](), transform=None
        )

    check(make, tmp_path / "snapshot", (5, 4), image_shape=(COLUMNS.width,))


def test_rows_from_start_rows(tmp_path: Path) -> None:
    """Each with bounds of its own: what it starts from is held."""
    start = COLUMNS.encode(
        [
            {"age": 30, "income": 2e4, "work": "none", "hours": 10},
            {"age": 50, "income": None, "work": "private", "hours": 60},
        ]
    )

    def make() -> InputOptimization:
        rows = TabularInput(COLUMNS, fixed={"age": ..., "work": ...}, monotone={"hours": "increasing"})
        return InputOptimization(
            reader(COLUMNS.width), ClassLogit([1, 3]), steps=9, parametrization=rows, transform=None
        )

    check(make, tmp_path / "snapshot", (5, 3), every=2, start=start, count=None)


@pytest.mark.parametrize("name", IMAGES)
def test_compositions_of_images(name: str, tmp_path: Path) -> None:
    def make() -> InputOptimization:
        network, parametrization = test_snapshots.network(), IMAGES[name]()
        return InputOptimization(network, ClassLogit([1, 3]), steps=11, parametrization=parametrization)

    check(make, tmp_path / "snapshot", (5, 4), image_shape=SHAPE)


@pytest.mark.parametrize("table", [TEXTS, ROWS], ids=["texts", "rows"])
def test_prototypes(table: dict[str, Callable[[], Parametrization]], tmp_path: Path) -> None:
    """With the warm-up and the evaluation that prototypes have, killed in each."""
    width = 30 if table is TEXTS else COLUMNS.width

    for name, make in table.items():

        def generate(**how: Any) -> Tensor:
            generation, parametrization = PrototypeGeneration(reader(width)), make()  # noqa: B023  # called at once
            settings: dict[str, Any] = {"steps": 8, "warmup_steps": 6, "evaluation_draws": 2}
            return generation.generate([0, 3], parametrization=parametrization, **settings, **how).images

        expected, folder = generate(), tmp_path / name.replace(", ", "-")
        for kill in (4, 7):
            with pytest.raises(Killed):
                generate(callback=killed_after(kill), snapshot=Snapshot(folder, 2))
        assert torch.equal(generate(snapshot=Snapshot(folder, 2)), expected), name
        assert not folder.exists()
