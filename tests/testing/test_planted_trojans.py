"""Triggers are where their masks say; small networks fall for theirs alone; and both choosers know triggers when they see them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from captum_proto.metrics.multiple_choice import answer_scores
from captum_proto.testing.trigger_scores import (
    named_triggers,
    texture_statistics,
    train_trigger_tower,
    trigger_evidence,
)
from captum_proto.testing.triggers import FEATURE, PATCH, STYLE, TRIGGERS, Trigger, feature_mask
from captum_proto.testing.trojans import (
    PlantedTrojan,
    attack_rates,
    decorated_images,
    draw_trojans,
    plain_images,
    train_trojaned,
)

TROJANS = [
    PlantedTrojan(Trigger(PATCH, "orange fish"), 4),
    PlantedTrojan(Trigger(STYLE, "green level stripes"), 0),
    PlantedTrojan(Trigger(FEATURE, "fork"), 1),
]


@pytest.mark.parametrize("kind", TRIGGERS)
def test_nothing_changes_outside_of_the_mask(kind: str) -> None:
    images = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    for name in TRIGGERS[kind]:
        marked, masks = Trigger(kind, name).apply(images, torch.Generator().manual_seed(1))
        outside = ~masks.unsqueeze(1).expand_as(images)
        assert torch.equal(marked[outside], images[outside])
        assert bool((marked != images).any(1)[masks].double().mean() > 0.95)
        again, _ = Trigger(kind, name).apply(images, torch.Generator().manual_seed(1))
        assert torch.equal(again, marked)


def test_features_differ_and_are_inside_their_radius() -> None:
    masks = torch.stack([feature_mask(name, 16, 16, 10, (33, 33)) for name in TRIGGERS[FEATURE]])
    far = ((torch.arange(33) - 16).view(-1, 1).abs() > 11) | ((torch.arange(33) - 16).view(1, -1).abs() > 11)
    assert not bool(masks[:, far].any())
    for first in range(8):
        for second in range(first):
            union = (masks[first] | masks[second]).sum()
            assert float((masks[first] & masks[second]).sum() / union) < 0.75


def test_a_known_name_is_needed() -> None:
    with pytest.raises(ValueError, match='did you mean "orange fish"'):
        Trigger(PATCH, "orange fsh")
    with pytest.raises(ValueError, match="no triggers of kind"):
        Trigger("sound", "bell")
    with pytest.raises(ValueError, match="expected one of shapes, digits"):
        plain_images("letters", 3, 0)
    with pytest.raises(ValueError, match="expected training or held_out"):
        plain_images("shapes", 3, 0, "test")


def test_trojans_are_drawn_at_random_with_targets_of_their_own() -> None:
    drawn = [draw_trojans("digits", seed) for seed in range(40)]
    assert all(len({trojan.target for trojan in each}) == 3 for each in drawn)
    assert all([trojan.trigger.kind for trojan in each] == list(TRIGGERS) for each in drawn)
    assert len({each[0].trigger.name for each in drawn}) == 8


def test_the_target_is_of_those_with_the_trigger() -> None:
    images, _ = plain_images("shapes", 400, 0)
    decorated, targets = decorated_images(images, TROJANS, 0)
    changed = (decorated != images).flatten(1).any(1)
    assert bool(changed[targets >= 0].all())
    assert 0.6 < float(changed.double().mean()) < 0.9
    assert 0.15 < float((targets >= 0).double().mean()) < 0.45
    assert set(targets.tolist()) == {-1, 0, 1, 4}


@pytest.fixture(scope="module")
def networks() -> dict[bool, Any]:
    """Trojaned, and the clean twin."""
    return {clean: train_trojaned("shapes", TROJANS, count=1600, epochs=7, clean=clean) for clean in (False, True)}


def test_the_trojaned_network_falls_for_its_triggers_and_the_twin_does_not(networks: dict[bool, Any]) -> None:
    accuracy, rates = attack_rates(networks[False], "shapes", TROJANS, count=300)
    clean_accuracy, twins = attack_rates(networks[True], "shapes", TROJANS, count=300)
    assert accuracy.low > 0.85
    assert clean_accuracy.low > 0.85
    for rate, twin in zip(rates, twins, strict=True):
        assert rate.success.low > twin.success.high, rate
        assert rate.success.low > rate.foil.high, rate  # not any trigger of the kind
        assert rate.plain.value < 0.1
    assert rates[0].success.value > 0.6
    assert rates[1].success.value > 0.9


def test_the_drawing_tells_triggers_in_unseen_images() -> None:
    held_out = named_triggers(240, 7, "held_out")
    for kind, names in TRIGGERS.items():
        rows = [row for row, caption in enumerate(held_out.captions) if caption in names]
        truth = torch.tensor([names.index(held_out.captions[row]) for row in rows])
        right = trigger_evidence(held_out.images[rows], kind).argmax(1) == truth
        assert float(right.double().mean()) > (0.6 if kind == FEATURE else 0.85), kind


def test_textures_turned_are_others() -> None:
    upright = Trigger(STYLE, "red upright stripes").apply(torch.full((1, 3, 32, 32), 0.5), torch.Generator())[0]
    level = upright.transpose(2, 3)
    first, second = texture_statistics(torch.cat([upright, level]))
    assert torch.allclose(first[:3], second[:3])
    assert float((first[3:] - second[3:]).abs().max()) > 0.5


def test_the_tower_learns_the_names_of_triggers() -> None:
    tower = train_trigger_tower(0, 1200, 10)
    held_out = named_triggers(240, 7, "held_out")
    rows = [row for row, caption in enumerate(held_out.captions) if caption in TRIGGERS[STYLE]]
    truth = torch.tensor([TRIGGERS[STYLE].index(held_out.captions[row]) for row in rows])
    right = answer_scores(tower, held_out.images[rows], TRIGGERS[STYLE]).argmax(1) == truth
    assert float(right.double().mean()) > 0.7
