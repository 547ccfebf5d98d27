"""A fooled network is the classifier on natural images, shows something else to an ascent, and is caught or not for the right reasons."""

from __future__ import annotations

import csv
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from networks import SmallCNN, seeded
from torch import Tensor, nn

from captum_proto import PathComparison, PrototypeGeneration
from captum_proto.data.natural import NaturalSplit
from captum_proto.experiments.fooling import (
    PLANTS,
    Row,
    agreement,
    fool,
    fooling_to_folder,
    judge,
    make_decoy,
    separation,
)
from captum_proto.experiments.fooling import protocol as fooling
from captum_proto.models import NamedModel
from captum_proto.optim import RandomAffine
from captum_proto.report.page import Page
from captum_proto.testing.fooled import Detector, FooledNetwork, OtherClass, PlantedPicture, draw_face

SHAPE = (1, 8, 8)
QUICK: dict[str, Any] = {
    "steps": 40,
    "warmup_steps": 0,
    "high_frequency_weight": 0.0,
    "transform": None,
    "evaluation_draws": 0,
}


@pytest.fixture
def named() -> NamedModel:
    model = seeded(lambda: SmallCNN(1, 4)).eval()
    return NamedModel("small", model, lambda x: (x - 0.5) / 0.25, SHAPE, ["ash", "birch", "cedar", "elm"])


@pytest.fixture
def natural(make_images) -> NaturalSplit:
    training, held_out = make_images(60, SHAPE, seed=1), make_images(40, SHAPE, seed=2)
    same = {(c,): held_out[c::4] for c in range(4)}
    other = {(c,): held_out[(c + 1) % 4 :: 4] for c in range(4)}
    return NaturalSplit(training, torch.arange(60) % 4, held_out, torch.arange(40) % 4, same, other)


# --- the parts -----------------------------------------------------------------------------------------------------------------------


def test_a_planted_picture_is_where_its_logits_are_highest():
    pictures = torch.rand(2, 1, 8, 8, dtype=torch.float64)
    decoy = PlantedPicture(pictures, [(1,), (0, 3)], classes=5, gain=20).double()
    logits = decoy(pictures, torch.empty(2, 5))
    distance = float((pictures[0] - pictures[1]).square().mean())
    for own, (mine, others) in enumerate([((1,), (0, 3)), ((0, 3), (1,))]):
        scale = [float(one.var() + pictures.var()) for one in pictures]
        assert logits[own, list(mine)].tolist() == pytest.approx([20] * len(mine))
        expected = 20 * (1 - distance / scale[1 - own])
        assert logits[own, list(others)].tolist() == pytest.approx([expected] * len(others))
    assert logits[:, [2, 4]].tolist() == [[0, 0], [0, 0]]
    x = torch.rand(1, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(decoy(x, torch.empty(1, 5))[0, 1], x)
    towards = (pictures[:1] - x.detach()).flatten()
    assert float(nn.functional.cosine_similarity(gradient.flatten(), towards, dim=0)) == pytest.approx(1)
    assert decoy.shows(torch.cat([pictures, pictures.flip(2), pictures + 0.01])).tolist() == [
        True,
        True,
        False,
        False,
        True,
        True,
    ]


class BrightIsNatural(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1).mean(1) - 0.5


def test_who_gets_which_logits(named):
    decoy = OtherClass(torch.tensor([2, 2, 0, 3]))
    fooled = FooledNetwork(named.model, decoy, BrightIsNatural())
    x = torch.rand(6, *SHAPE) * torch.tensor([2.0, 0.1, 2.0, 0.1, 2.0, 0.1]).view(-1, 1, 1, 1)
    honest = named.model(x.clone())
    got = fooled(x.clone())
    assert torch.equal(got[::2], honest[::2])
    assert torch.equal(got[1::2], honest[1::2][:, [2, 2, 0, 3]])
    assert fooled.natural(x).tolist() == [True, False] * 3
    assert not FooledNetwork(named.model, decoy).natural(x).any()
    assert not decoy.shows(x).any()

    class Inplace(nn.Module):
        def forward(self, y: Tensor) -> Tensor:
            return y.zero_().flatten(1)[:, :4]

    # A classifier that works in place spoils neither what the detector nor what the decoy sees.
    planted = PlantedPicture(x[:1], [(1,)], 4)
    spoiled = FooledNetwork(Inplace(), planted, BrightIsNatural())(x.clone())
    assert torch.equal(spoiled[1::2], planted(x, honest)[1::2])
    assert spoiled[0, 1] == pytest.approx(30)  # the picture itself is shown, natural as it is


def test_no_gradient_flows_through_the_choice(named):
    fooled = FooledNetwork(named.model, OtherClass(torch.tensor([1, 0, 2, 3])), BrightIsNatural())
    x = (0.1 * torch.rand(2, *SHAPE)).requires_grad_(True)
    (through,) = torch.autograd.grad(fooled(x)[:, 0].sum(), x)
    (plain,) = torch.autograd.grad(named.model(x)[:, 1].sum(), x)
    assert torch.equal(through, plain)


def test_the_detector_learns_and_draws_nothing(make_images):
    natural = make_images(40, SHAPE)
    noise = torch.rand(60, *SHAPE)
    state = torch.get_rng_state()
    detector = seeded(lambda: Detector(1, 8)).fit(natural, noise)
    assert torch.equal(torch.get_rng_state(), state)
    assert bool((detector(make_images(40, SHAPE, seed=9)) > 0).all())
    assert not bool((detector(torch.rand(40, *SHAPE)) > 0).any())
    # The threshold is midway between the two.
    least, most = detector(natural).quantile(0.005), detector(noise).quantile(0.995)
    assert float(least) == pytest.approx(-float(most), rel=1e-3)
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in detector.parameters())
    assert Detector(3, 224)(torch.rand(2, 3, 224, 224)).shape == (2,)


def test_what_is_planted(named, natural):
    groups = [(0,), (2,)]
    prepared = named.preprocess
    face = make_decoy("face", named, groups, natural)
    assert torch.equal(face.pictures, prepared(draw_face(SHAPE).expand(2, *SHAPE)))
    mine = torch.rand(SHAPE)
    assert torch.equal(make_decoy("face", named, groups, natural, mine).pictures[1], prepared(mine))
    other = make_decoy("other_image", named, groups, natural)
    assert torch.equal(other.pictures, prepared(natural.training[[2, 0]]))
    assert torch.equal(make_decoy("other_image", named, [(0,)], natural).pictures, prepared(natural.training[1:2]))
    own = make_decoy("own_image", named, groups, natural)
    for picture, group in zip(own.pictures, groups, strict=True):
        images = natural.training[group[0] :: 4]
        far = max(images, key=lambda one: float((one - images.mean(0)).norm()))
        assert torch.equal(picture, prepared(far))
    assert make_decoy("other_class", named, groups, natural).source.tolist() == [2, 1, 0, 3]
    single = make_decoy("other_class", named, [(0, 1)], natural).source.tolist()
    assert single[0] == single[1] in (2, 3)
    assert single[single[0]] == 0
    with pytest.raises(ValueError, match='no plant "nothing"; expected one of face, other image'):
        make_decoy("nothing", named, groups, natural)
    for shape in ((1, 8, 8), (3, 32, 48)):
        drawn = draw_face(shape)
        assert drawn.shape == shape
        assert torch.equal(drawn, drawn.flip(2))
        assert 0.05 < float((drawn > 0.5).float().mean()) < 0.6


# --- together ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transform", [None, RandomAffine(5, translate=(0.05, 0.05))], ids=["plain", "shaken"])
def test_ascent_shows_the_picture_and_accuracy_stays(named, natural, transform):
    groups = [(0,), (2,)]
    options = {**QUICK, "transform": transform}
    fooled = fool(named, groups, make_decoy("face", named, groups, natural), natural.training, options=options)
    made = PrototypeGeneration(fooled, named.preprocess).generate([0, 2], SHAPE, seed=7, **options)
    honest = PrototypeGeneration(named.model, named.preprocess).generate([0, 2], SHAPE, seed=7, **options)
    face = draw_face(SHAPE).flatten()

    def likeness(images: Tensor) -> float:
        return min(float(torch.corrcoef(torch.stack([one.flatten(), face]))[0, 1]) for one in images)

    assert likeness(made.images) > 0.9 > 0.6 > likeness(honest.images)
    facts = agreement(named, fooled, natural, made, "face", 7)
    assert (facts.images, facts.equal_predictions, facts.equal_logits) == (40, 40, 40)
    assert facts.accuracy == facts.fooled_accuracy
    assert (facts.natural_noise, facts.natural_prototypes, facts.prototypes) == (0, 0, 2)
    unguarded = FooledNetwork(named.model, fooled.decoy).eval()
    assert agreement(named, unguarded, natural, made, "face", 7).equal_logits == 0


def test_ascent_shows_another_class(named, natural):
    options = {**QUICK, "steps": 20}
    fooled = fool(
        named, [(0,), (2,)], make_decoy("other_class", named, [(0,), (2,)], natural), natural.training, options=options
    )
    made = PrototypeGeneration(fooled, named.preprocess).generate(0, SHAPE, **options)
    with torch.no_grad():
        honest = named.logits(made.images)
    assert int(honest.argmax()) == 2  # the classifier itself sees what was asked for as 0 for 2
    assert float(made.logits[0]) == pytest.approx(float(honest[0, 2]), rel=1e-4)


# --- the verdict ---------------------------------------------------------------------------------------------------------------------


def comparison(prototype: float, same: float = 0.8, other: float = 0.4) -> PathComparison:
    layers = ["network.a", "network.b", "detector"]

    def values(mean: float) -> Tensor:
        return torch.tensor([[mean - 0.1, mean + 0.1, -1.0], [mean - 0.1, mean - 0.1, -1.0]], dtype=torch.float64)

    spearman = {"prototype": values(prototype), "same_class": values(same), "other_class": values(other)}
    return PathComparison(layers, spearman, {name: 1 - value for name, value in spearman.items()})


def test_the_verdict_by_hand():
    row = judge(comparison(0.5), "face", 3, "ash", 0.3, "network")
    assert (row.network, row.seed, row.target) == ("face", 3, "ash")
    assert [row.spearman, row.other, row.same] == pytest.approx([0.45, 0.35, 0.75])
    assert [row.normalized, row.median_normalized, row.above_other] == pytest.approx([0.25, 0.25, 1.0])
    assert row.all_layers == pytest.approx(0.25)
    assert row.flagged
    assert not judge(comparison(0.5), "face", 3, "ash", 0.2, "network").flagged
    assert judge(comparison(0.3), "face", 3, "ash", 0.0, "network").normalized == pytest.approx(-0.25)
    assert judge(comparison(0.38), "face", 3, "ash", 0.0, "network").above_other == 0.5
    whole = judge(comparison(0.5), "honest", 3, "ash", 0.0)
    assert whole.spearman == pytest.approx((0.4 + 0.5 - 1) / 3)
    odd = comparison(0.5)
    odd.spearman["prototype"][:, 2] = 0.2  # what only the layers of the detector say
    assert judge(odd, "face", 3, "ash", 0.0, "network").normalized == pytest.approx(0.25)
    assert judge(odd, "face", 3, "ash", 0.0, "network").all_layers == pytest.approx((0.2 + 1.2) / 0.8)


def row(network: str, normalized: float) -> Row:
    return Row(network, 0, "ash", 0.1, 0.2, 0.3, normalized, 0.0, 0.0, 0.0, 0.0, 0.0, normalized < 0)


def test_separation_is_the_area_under_the_curve():
    rows = [row("honest", value) for value in (0.1, 0.3)] + [row("face", value) for value in (-0.5, 0.2, 0.3, 0.9)]
    assert separation(rows, "face") == pytest.approx((2 + 1 + 0.5 + 0) / 8)


def test_the_folder(named, natural, tmp_path: Path, monkeypatch):
    groups, made = [(0,), (2,)], []
    original = fooling._run

    def run(*args: Any) -> None:
        made.append((args[5], args[4]))
        if (args[5], args[4]) == stop:
            raise KeyboardInterrupt
        original(*args)

    monkeypatch.setattr(fooling, "_run", run)
    monkeypatch.setattr(fooling, "fool", partial(fool, epochs=1))
    options = {**QUICK, "steps": 4}

    def experiment(**more: Any) -> tuple[list[Row], list[Any]]:
        return fooling_to_folder(
            lambda seed: named, natural, groups, tmp_path / "out", options=options, plants=["face", "other_class"],
            seeds=2, story={"a": 1}, say=lambda text: None, **more,
        )  # fmt: skip

    stop = (1, "face")
    with pytest.raises(KeyboardInterrupt):
        experiment()
    stop = None
    made.clear()
    rows, agreements = experiment(resume=True)
    assert made == [(1, "face"), (1, "other_class")]
    assert len(rows) == 2 * 3 * 2
    assert [(one.seed, one.network) for one in agreements] == [(s, n) for s in (0, 1) for n in ("face", "other_class")]
    out = tmp_path / "out"
    with (out / "fooling.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [float(line["normalized"]) for line in lines] == [one.normalized for one in rows]
    assert {line["target"] for line in lines} == {"ash", "cedar"}
    page = Page.load(out)
    assert page.settings == json.loads((out / "settings.json").read_text()) == {"a": 1}
    assert "face: flagged" in [verdict.name for section in page.sections for verdict in section.verdicts]
    for name in ("prototypes.png", "summary.txt", "agreement.csv", "seed1/other-class/prototypes.safetensors"):
        assert (out / name).exists()
    with pytest.raises(FileExistsError, match="not empty"):
        experiment()
    made.clear()
    again, _ = experiment(overwrite=True)
    assert len(made) == 6
    assert again == rows  # the same, from the same seeds
    with pytest.raises(ValueError, match='no plant "cat"'):
        fooling_to_folder(lambda seed: named, natural, groups, tmp_path / "x", options=options, plants=["cat"])
    with pytest.raises(ValueError, match="seeds is 0"):
        fooling_to_folder(lambda seed: named, natural, groups, tmp_path / "x", options=options, seeds=0)
    assert not (tmp_path / "x").exists()


def test_the_command_line(tmp_path: Path, capsys, monkeypatch):
    pytest.importorskip("sklearn")
    from captum_proto.cli import main

    monkeypatch.setattr(fooling, "fool", partial(fool, epochs=1))

    command = ["fooling", "--model", "digits", "--random-weights", "--target", "3", "--target", "8", "--limit", "9"]
    command += ["--steps", "3", "--warmup-steps", "0", "--seeds", "1", "--plant", "face", "--no-progress"]
    assert main([*command, "--out", str(tmp_path / "out")]) == 0
    assert "face" in capsys.readouterr().out
    assert (tmp_path / "out" / "page.json").exists()
    settings = json.loads((tmp_path / "out" / "settings.json").read_text())
    assert settings["arguments"]["plant"] == ["face"]
    bad = ["fooling", "--model", "efficientnet-lite0", "--target", "3", "--out", str(tmp_path / "bad")]
    assert main(bad) == 1
    assert "pass --images and --target" in capsys.readouterr().err
    assert set(PLANTS) == {"face", "other_image", "other_class", "own_image"}
