"""What the page of a planted bias says follows from its figures: planted results in which it holds, does not hold, or is open."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from captum_proto.experiments.planted_bias import Measured, PlantedBiasResult, conclusion
from captum_proto.experiments.planted_bias.page import planted_bias_page
from captum_proto.metrics import SubgroupComparison, compare_groups
from captum_proto.report.blocks import Verdicts
from captum_proto.testing import CUE, Mark

ELSEWHERE = Mark("green", 7, 2)
SCANS = 134
#: Scans of other digits taken for the class: without a patch, with that of the hypothesis, with the control.
STRONG, NONE, WEAK, ANY_PATCH = (1, 80, 2), (0, 0, 0), (0, 3, 2), (1, 80, 78)


def compared(correct: Sequence[int], images: int = SCANS) -> SubgroupComparison:
    """Subgroups of which so many images are taken for class 8."""
    names = ["no patch", "green patch", "red patch (control)"][: len(correct)]
    labels = [
        torch.arange(images).ge(count).long() * 3 + torch.arange(images).lt(count).long() * 8 for count in correct
    ]
    logits = {
        name: 5 * torch.nn.functional.one_hot(label, 10).float() for name, label in zip(names, labels, strict=True)
    }
    return compare_groups(logits, 8, resamples=9)


def result(
    hypothesis: Mark = CUE,
    others: Sequence[int] = STRONG,
    own: Sequence[int] = (5, 20),
    cleaned: Sequence[int] = (1, 2, 1),
    strengths: Sequence[Sequence[float]] = ((0.0, 0.4, 0.9), (0.1, 0.5, 0.8), (0.05, 0.6, 0.95)),
    after: Sequence[float] = (0.0, 0.1, 0.05),
) -> PlantedBiasResult:
    """By seed, the strength at each rate; and that after retraining."""
    rates = (0.0, 0.5, 1.0)[-len(strengths[0]) :]

    def measured(rate: float, seed: int, strength: float, cleaned: bool = False) -> Measured:
        return Measured(rate, cleaned, seed, 0.9, strength, 0.0, 0.0, str(hypothesis), hypothesis.near(CUE), 0.0, 0.5)

    networks = [
        measured(rate, seed, row[place]) for place, rate in enumerate(rates) for seed, row in enumerate(strengths)
    ]
    networks += [measured(1.0, seed, strength, cleaned=True) for seed, strength in enumerate(after)]
    comparisons = {
        "biased-class": compared(own, 22),
        "biased-others": compared(others),
        "cleaned-class": compared((20, 20), 22),
        "cleaned-others": compared(cleaned),
    }
    return PlantedBiasResult(8, 1.0, rates, hypothesis, comparisons, networks)


CONFIRMED = "Unseen images confirm that the patch makes an image count as 8."
NOT_CONFIRMED = "Unseen images do not confirm that the patch makes an image count as 8."


@pytest.mark.parametrize(
    ("changes", "said", "never"),
    [
        pytest.param(
            {},
            [
                "shows a red patch in the top left corner, which was planted in 100 % of the training scans of 8.",
                "0.7 % without a patch, 59.7 % with that patch (Fisher's p < 0.0001, corrected: it raises the share)",
                CONFIRMED,
                "22.7 % are recognized without the patch and 90.9 % with it",
                "more with it.",
                "1.5 % of the other digits with the patch are taken for 8, before 59.7 % (Fisher's p < 0.0001): fewer. Retraining removes "
                "the effect.",
                "is 0.05 after retraining, before 0.88",
                "it falls.",
                "is 0.05 at rate 0 and 0.88 at rate 1, Page's test p = 0.0046: it rises with the rate.",
            ],
            ["not", "nothing"],
            id="everything holds",
        ),
        pytest.param(
            {"hypothesis": ELSEWHERE, "others": NONE, "own": (20, 20), "cleaned": NONE, "after": (0.9, 0.8, 0.95)},
            [
                "shows a green patch at row 7, column 2. The mark that was planted in 100 % of the training scans of 8 is another",
                "0.0 % without a patch, 0.0 % with that patch (Fisher's p = 1.00, corrected: no difference was measured)",
                NOT_CONFIRMED,
                "with it (Fisher's p = 1.00): no difference was measured.",
                "before 0.0 % (Fisher's p = 1.00): no difference was measured. Retraining has no confirmed effect to remove.",
                "is 0.88 after retraining, before 0.88 (95 % interval of the fall 0.00 to 0.00): it stays as it was.",
            ],
            ["which was planted", "raises", CONFIRMED, "removes", "it falls"],
            id="nothing holds",
        ),
        pytest.param(
            {"hypothesis": Mark("red", 1, 0)},
            ["up to a pixel the red patch in the top left corner that"],
            [],
            id="a pixel off",
        ),
        pytest.param(
            {"others": WEAK, "own": (19, 20)},
            [
                "2.2 % with that patch (Fisher's p = 0.74, corrected: that may be chance)",
                NOT_CONFIRMED,
                "no confirmed effect to remove",
            ],
            ["it raises the share", "more with it", CONFIRMED, "removes"],
            id="open",
        ),
        pytest.param(
            {"others": ANY_PATCH},
            ["58.2 % with a control (p < 0.0001: it raises the share)", NOT_CONFIRMED],
            [CONFIRMED, "removes the effect"],
            id="any patch does",
        ),
        pytest.param(
            {"others": (80, 1, 80)},
            ["it lowers the share", NOT_CONFIRMED],
            [CONFIRMED, "it raises"],
            id="the other way",
        ),
        pytest.param(
            {"cleaned": (1, 30, 1)},
            ["Retraining weakens the effect, but does not remove it."],
            ["removes the effect"],
            id="weakened",
        ),
        pytest.param(
            {"cleaned": STRONG},
            ["no difference was measured. Retraining does not remove the effect."],
            ["removes the effect", "fewer."],
            id="not removed",
        ),
        pytest.param(
            {"others": (1, 13, 1), "cleaned": (2, 7, 1)},
            [CONFIRMED, "that may be chance. Retraining may or may not remove the effect."],
            ["removes the effect", "fewer."],
            id="perhaps removed",
        ),
        pytest.param(
            {"strengths": ((0.0, 0.4, 0.9),), "after": (0.1,)},
            [
                "is 0.10 after retraining, before 0.90: nothing says whether that is more than chance.",
                "is 0.00 at rate 0 and 0.90 at rate 1: nothing says whether that is more than chance.",
            ],
            ["it falls", "it rises", "nan"],
            id="one network",
        ),
        pytest.param(
            {"strengths": ((0.3, 0.2, 0.1), (0.1, 0.3, 0.4), (0.2, 0.1, 0.3))},
            ["is 0.20 at rate 0 and 0.27 at rate 1, Page's test p = 0.44: that may be chance."],
            ["it rises with the rate"],
            id="no trend",
        ),
        pytest.param(
            {"strengths": ((0.0, 0.9), (0.1, 0.8), (0.05, 0.95))},
            ["is 0.05 at rate 0.5 and 0.88 at rate 1: it rises with the rate."],
            ["Page"],
            id="two rates",
        ),
        pytest.param(
            {"strengths": ((0.9, 0.0), (0.8, 0.1), (0.95, 0.05))},
            ["it falls as the rate rises"],
            ["it rises with"],
            id="it falls",
        ),
        pytest.param(
            {"strengths": ((0.4, 0.4, 0.4),), "after": (0.4,)}, ["no difference was measured"], ["nan"], id="constant"
        ),
    ],
)
def test_sentences_follow_from_the_figures(changes: dict[str, Any], said: list[str], never: list[str]) -> None:
    found = result(**changes)
    text = " ".join(conclusion(found))
    for words in said:
        assert words in text
    for words in never:
        assert words not in text
    page = planted_bias_page(found, {})
    assert page.summary == conclusion(found)
    headings = " ".join(section.title for section in page.sections)
    for heading, sentence in {
        "Unseen images confirm": CONFIRMED,
        "Unseen images do not confirm": NOT_CONFIRMED,
        "The prototype does not show": "it is not found",
        "removes the effect": "Retraining removes the effect",
        "no confirmed effect": "Retraining has no confirmed effect",
    }.items():
        assert (heading in headings) == (sentence in text), heading
    assert ("The prototype shows the planted mark" in headings) == ("it is not found" not in text)


@pytest.mark.parametrize(
    ("strengths", "passed", "note"),
    [
        (((0.0, 0.4, 0.9), (0.1, 0.5, 0.8)), True, ""),
        (((0.0, 0.4, 0.9),), None, "Nothing says whether that is more than chance."),
        (((0.0, 0.4, 0.5), (0.4, 0.3, 0.5)), None, "That may be chance."),
        (((0.5, 0.4, 0.0), (0.4, 0.3, 0.1)), False, "That may be chance."),
    ],
)
def test_a_rise_is_met_where_it_is_more_than_chance(
    strengths: Sequence[Sequence[float]], passed: bool | None, note: str
) -> None:
    page = planted_bias_page(result(strengths=strengths, after=[0.0] * len(strengths)), {})
    verdict = page.sections[-1].of(Verdicts)[0].verdicts[0]
    assert (verdict.passed, verdict.note) == (passed, note)
