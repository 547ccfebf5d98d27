"""An evaluation that is interrupted goes on where it was, with what is its own alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import Tensor

from captum_proto import PathComparison, PathSimilarity, Prototypes
from captum_proto._utils.targets import Target
from captum_proto.data.natural import ClassImages
from captum_proto.experiments.evaluate import evaluate_to_folder


def test_a_resumed_evaluation_takes_nothing_of_the_run_it_overwrites(make_cnn, make_images, tmp_path: Path) -> None:
    model = make_cnn()
    made: list[tuple[int, Target]] = []

    def run(seed: int, interrupted_at: Target | None = None, **options: bool) -> dict[Target, PathComparison]:
        def prototypes_of(group: Target, place: Path) -> Prototypes | Tensor:
            if group == interrupted_at:
                raise KeyboardInterrupt
            made.append((seed, group))
            return make_images(1, seed=seed + group[0])

        return evaluate_to_folder(
            lambda: PathSimilarity(model, ["block", "head"]),
            prototypes_of,  # type: ignore[arg-type]  # plain images do as well
            lambda group: ClassImages(make_images(3, seed=group[0]), make_images(3, seed=9)),
            [(0,), (1,)],
            tmp_path,
            options={"controls": (), "seed": seed},
            story={"seed": seed},
            say=lambda text: None,
            **options,
        )

    run(0)
    for options, stop in (({"overwrite": True}, (0,)), ({"resume": True}, (1,))):
        with pytest.raises(KeyboardInterrupt):
            run(5, stop, **options)
    comparisons = run(5, resume=True)
    assert made == [(0, (0,)), (0, (1,)), (5, (0,)), (5, (1,))]  # of the resumed run, each class once
    assert [one.settings["seed"] for one in comparisons.values()] == [5, 5]
    assert [one.settings["class"] for one in comparisons.values()] == ["class 0", "class 1"]
    assert "class 0\n" in (tmp_path / "summary.txt").read_text()  # of a class that was finished before as well
