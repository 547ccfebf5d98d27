"""What a page of prototypes begins with follows from the numbers: whether to trust them, and why p may be high for nothing."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from captum_proto import PathComparison, PrototypeGeneration, Prototypes
from captum_proto.report.blocks import Picture
from captum_proto.report.views.first_screen import gallery, legend, scored, trust

LEVELS = {"prototype": 0.6, "same_class": 0.8, "other_class": 0.3, "gray": 0.1, "noise": 0.2}


def comparison(levels: dict[str, float] | None = None, spread: float = 0.01, count: int = 3) -> PathComparison:
    """Ten layers; the prototypes lie around their level, the others on it."""
    offsets = spread * torch.arange(-(count // 2), count - count // 2, dtype=torch.float64)

    def scores(condition: str, level: float) -> Tensor:
        rows = offsets if condition == "prototype" and count > 1 else torch.zeros(4, dtype=torch.float64)
        return (level + rows[: count if condition == "prototype" else 4])[:, None].expand(-1, 10).clone()

    spearman = {
        condition: scores(condition, level) for condition, level in {**LEVELS, **(levels or {})}.items() if level
    }
    return PathComparison(
        [f"layer{i}" for i in range(10)], spearman, {name: 1 - value for name, value in spearman.items()}
    )


@pytest.mark.parametrize(
    ("levels", "options", "begins"),
    [
        ({"noise": 0.7}, {}, "No, since their path similarity (0.60) is no higher than that of the control “uniform noise” (0.70)."),
        ({"other_class": 0.7}, {}, "No, since their path similarity (0.60) is no higher than that of images of other classes (0.70)."),
        ({"noise": 0.55}, {"spread": 0.1}, "Not established, since their path similarity (0.60) is above that of the control “uniform"),
        ({"other_class": 0.55}, {"spread": 0.1}, "Not established, since their path similarity (0.60) is above that of images of other"),
        ({}, {"count": 1}, "Not established, since their path similarity (0.60) is above that of the control “uniform noise” (0.20), but"),
        ({}, {}, "In part, since their path similarity (0.60) is above that of the control “uniform noise” (0.20), but below that of"),
        ({"prototype": 0.9}, {}, "By this measure, yes, since their path similarity (0.90) is not below that of natural images"),
        ({"gray": 0.0, "noise": 0.0}, {}, "Not known. No control that knows no data was run"),
        ({"prototype": math.nan}, {}, "Not known. No layer of the prototypes has a rank correlation"),
    ],
)  # fmt: skip
def test_whether_to_trust_prototypes_follows_from_the_numbers(
    levels: dict[str, float], options: dict[str, float], begins: str
) -> None:
    assert trust([comparison(levels, **options)]).startswith(begins)


def prototypes(probabilities: list[float]) -> Prototypes:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    made = PrototypeGeneration(model).generate([0, 1, 2], (1, 8, 8), steps=0, warmup_steps=0, evaluation_draws=1)
    made.transformed_probabilities[:] = torch.tensor(probabilities)
    return made


def test_a_picture_at_the_level_of_a_control_says_why_its_p_is_high() -> None:
    one = comparison({"noise": 0.6}, spread=0.1)  # the prototypes reach 0.5, 0.6 and 0.7
    pictures = [Picture(f"{i}.png", f"caption {i}") for i in range(3)]
    found = scored(pictures, ["ash", "birch", "cedar"], prototypes([0.9, 0.2, 0.9]), one)
    assert [each.as_control for each in found] == [True, True, False]
    assert [each.unexplained for each in found] == [True, False, False]
    captions = [each.picture.caption for each in found]
    beside = "no higher than that of a control, uniform noise (0.600)"
    assert captions[0].startswith(f"caption 0; path similarity 0.500, {beside}: the output is that of the class, but")
    assert captions[1] == f"caption 1; path similarity 0.600, {beside}"
    assert captions[2] == "caption 2; path similarity 0.700"
    assert [shown.facts for shown in gallery(found).pictures] == [
        ["p 0.90", "path 0.50 ✗"],
        ["p 0.20", "path 0.60 ✗"],
        ["p 0.90", "path 0.70"],
    ]
    text = " ".join(legend(found, [one]))
    assert "which reach 0.80" in text
    assert "Of ash, p is high all the same" in text
    assert "✗: no higher than a control" in text
    above = scored(pictures, ["ash", "birch", "cedar"], prototypes([0.9] * 3), comparison({"noise": 0.2}))
    assert "✗" not in " ".join(legend(above, [comparison()]))


def test_of_prototypes_that_were_compared_with_nothing_p_is_all_that_is_said() -> None:
    found = scored([Picture("0.png", "caption")] * 3, ["ash"] * 3, prototypes([0.9, 0.2, 0.9]))
    assert [each.picture.caption for each in found] == ["caption"] * 3
    assert [shown.facts for shown in gallery(found).pictures] == [["p 0.90"], ["p 0.20"], ["p 0.90"]]
    assert legend(found) == [
        "p: the probability that the network gives the class, on average over random rotations, shifts and scalings."
    ]
