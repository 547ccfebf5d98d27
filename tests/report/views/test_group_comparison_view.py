"""What is said of subgroups follows from Fisher's test, as corrected for all pairs."""

from __future__ import annotations

import pytest
import torch

from captum_proto.metrics import SubgroupComparison, compare_groups
from captum_proto.report.views.group_comparison import conclusion


def compared(*correct: int, images: int = 40, confidence: float = 0.95) -> SubgroupComparison:
    logits = {
        name: 5 * torch.nn.functional.one_hot(torch.arange(images).ge(count).long(), 2).float()
        for name, count in zip(("ash", "birch", "cedar"), correct, strict=False)
    }
    return compare_groups(logits, 0, class_names=["oak", "elm"], resamples=9, confidence=confidence)


@pytest.mark.parametrize(
    ("comparison", "sentences"),
    [
        (
            compared(39, 20),
            [
                "takes 39 of 40 images of ash for oak, and 20 of 40 of birch (Fisher's exact test: p < 0.0001): ash more often"
            ],
        ),
        (compared(20, 39), ["(Fisher's exact test: p < 0.0001): ash less often than birch."]),
        (compared(29, 24), ["(Fisher's exact test: p = 0.34): that may be chance."]),
        (compared(24, 24), ["(Fisher's exact test: p = 1.00): equally often."]),
        (
            compared(1, 0, images=1),
            ["takes 1 of 1 images of ash for oak, and 0 of 1 of birch", "p = 1.00): that may be chance."],
        ),
        (compared(34, 26), ["p = 0.069): that may be chance."]),
        (compared(34, 26, confidence=0.9), ["p = 0.069): ash more often than birch."]),
        # By itself the difference would be more than chance, and of three pairs it is not.
        (compared(35, 26, 30), ["p = 0.034, 0.10 after Holm's correction): that may be chance."]),
    ],
)
def test_the_conclusion_is_that_of_the_test(comparison: SubgroupComparison, sentences: list[str]) -> None:
    text = conclusion(comparison)
    for sentence in sentences:
        assert sentence in text[0]
    if "chance" in sentences[-1]:
        assert "more often" not in text[0]
