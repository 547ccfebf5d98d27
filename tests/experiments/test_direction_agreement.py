"""Planted networks: where units see one thing each the basis agrees more than random directions; where they are turned it does not."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from captum_proto import cli
from captum_proto._utils.errors import InputError
from captum_proto.data import TensorCollection
from captum_proto.experiments.direction_agreement import CompareDirections, DirectionSettings, frame_test, protocol
from captum_proto.experiments.direction_agreement.measure import BASIS, RANDOM, WHITENED, Numbered, halves, top_images
from captum_proto.experiments.direction_agreement.results import CLASS, EXPECTED, FLOOR, NEAREST, compare_kinds
from captum_proto.models import LayerActivations, NamedModel
from captum_proto.report.page import Page
from captum_proto.runs.tasks import carry_out
from captum_proto.stats.judgments import Order

CLASSES = 8


def planted_images(count: int = 240) -> TensorCollection:
    """Images of one class each, whose row is bright, and the others a little."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % CLASSES
    images = 0.1 * torch.rand(count, 1, CLASSES, 4, generator=generator)
    strength = 0.1 + 0.8 * torch.rand(count, generator=generator)
    images[torch.arange(count), 0, labels] += strength.view(-1, 1)
    return TensorCollection(images, labels)


def turned(matrix: Tensor) -> NamedModel:
    """A network whose layer "0" is a turn of its input's rows, which become channels."""
    layer = nn.Conv2d(1, CLASSES, (CLASSES, 1), bias=False)
    with torch.no_grad():
        layer.weight.copy_(matrix.view(CLASSES, 1, CLASSES, 1))
    model = nn.Sequential(layer, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(CLASSES, 3))
    return NamedModel("turned", model.eval(), None, (1, CLASSES, 4))


def judge() -> NamedModel:
    """Another network, whose features are the mean colors, turned otherwise."""
    with torch.random.fork_rng([]):
        torch.manual_seed(5)
        turn, _ = torch.linalg.qr(torch.randn(CLASSES, CLASSES))
        named = turned(turn)
        named.name = "judge"
    return named


def rotation(seed: int) -> Tensor:
    turn, _ = torch.linalg.qr(torch.randn(CLASSES, CLASSES, generator=torch.Generator().manual_seed(seed)))
    return turn


SETTINGS = DirectionSettings(count=8, k=5, pool="mean", frames=99)


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    folder = tmp_path_factory.mktemp("straight")
    comparison = CompareDirections(
        turned(torch.eye(CLASSES)), judge(), planted_images(), ["0"], SETTINGS, judge_layer="2"
    )
    return carry_out(comparison, folder), folder


def test_units_that_see_one_thing_agree_more_than_random_directions(straight):
    result, _ = straight
    basis = result.of("0", BASIS)
    assert basis.p_value == pytest.approx(0.02)  # the least that 99 frames allow
    assert basis.order is Order.ABOVE
    assert basis.difference.low > 0
    assert result.of("0", "NMF").order is Order.ABOVE
    assert result.controls[FLOOR].value < result.of("0", RANDOM).mean.value < basis.mean.value


def test_in_a_turned_network_the_basis_is_a_random_frame_and_another_kind_finds_the_units(tmp_path, monkeypatch):
    monkeypatch.setattr(protocol, "examples_figure", lambda _: None)  # figures take nearly all the time
    monkeypatch.setattr(protocol, "save_figure", lambda *_, **__: None)
    p_values = []
    for seed in (1, 2):
        comparison = CompareDirections(
            turned(rotation(seed)), judge(), planted_images(), ["0"], SETTINGS, judge_layer="2"
        )
        result = carry_out(comparison, tmp_path / str(seed))
        p_values.append(result.of("0", BASIS).p_value)
        assert result.of("0", "NMF").mean.value > result.of("0", BASIS).mean.value
    assert max(p_values) > 0.1
    assert min(p_values) > 0.02


def test_the_floor_is_the_closed_form_and_the_ceiling_above_all(straight):
    result, _ = straight
    floor, expected = result.controls[FLOOR], result.controls[EXPECTED]
    assert floor.low <= expected.value <= floor.high
    assert abs(expected.value) < 0.06  # features are taken less their mean
    assert result.controls[NEAREST].value > result.of("0", RANDOM).mean.value
    assert result.controls[CLASS].value == pytest.approx(result.of("0", BASIS).mean.value, abs=0.15)


def test_files_tell_the_same_as_the_result(straight):
    result, folder = straight
    content = json.loads((folder / "results.json").read_text())
    assert content["kinds"][0]["mean"]["value"] == result.kinds[0].mean.value
    assert (folder / "summary.txt").read_text().rstrip() == result.table()
    rows = (folder / "directions.csv").read_text().splitlines()
    assert len(rows) == 1 + 8 + 99 + 99 + 8 + 8
    page = Page.load(folder)
    assert "channels agree more than random directions do" in page.summary[1]
    assert {"agreement.png", "images_00.png"} <= {path for path in page.files() if (folder / path).is_file()}


def test_the_halves_do_not_overlap_and_hold_every_image():
    fitting, scoring = halves(101, 3)
    assert sorted([*fitting.tolist(), *scoring.tolist()]) == list(range(101))
    assert abs(len(fitting) - len(scoring)) == 1


@pytest.mark.parametrize("pool", ["max", "mean"])
def test_top_images_are_topk_of_all_scores_and_ties_go_to_the_first(pool):
    generator = torch.Generator().manual_seed(0)
    images = (4 * torch.rand(30, 1, CLASSES, 4, generator=generator)).round() / 4
    directions = torch.cat([torch.eye(CLASSES), torch.randn(5, CLASSES, generator=generator), torch.zeros(1, CLASSES)])
    activations = LayerActivations(turned(torch.eye(CLASSES)), "0")
    order = torch.randperm(30, generator=generator)
    batches = [Numbered(part, images[part]) for part in torch.split(order, 7)]
    found = top_images(activations, batches, directions, 6, pool)
    values = torch.einsum("ncp,uc->unp", images[order, 0], directions)
    scores = values.amax(2) if pool == "max" else values.mean(2)
    expected = order[scores.double().round(decimals=5).sort(dim=1, descending=True, stable=True).indices[:, :6]]
    if pool == "max":  # of rounded images many are equal
        assert torch.equal(found.numbers[:CLASSES], expected[:CLASSES])
    got = torch.stack(
        [scores[u, [order.tolist().index(n) for n in row]] for u, row in enumerate(found.numbers.tolist())]
    )
    assert torch.allclose(got, scores.topk(6, dim=1).values, atol=1e-5)
    assert found.alive.tolist() == [True] * 13 + [False]


def test_the_frame_test_is_uniform_where_the_basis_is_a_frame():
    random = np.random.default_rng(0)
    p_values = [frame_test(random.normal(), random.normal(size=99)) for _ in range(2000)]
    assert np.mean(np.array(p_values) <= 0.05) == pytest.approx(0.05, abs=0.015)
    assert min(p_values) == pytest.approx(0.02)
    assert math.isnan(frame_test(math.nan, [1.0]))


def test_differences_are_welchs_and_dead_directions_are_counted():
    generator = torch.Generator().manual_seed(0)
    basis, random = torch.randn(10, generator=generator).double() + 1, torch.randn(40, generator=generator).double()
    basis[3] = math.nan
    rows, values = compare_kinds("layer", {BASIS: basis, RANDOM: random, WHITENED: random + 0.5}, frames=4)
    row = rows[0]
    alive = basis[basis.isfinite()].numpy()
    test = stats.ttest_ind(alive, random.numpy(), equal_var=False).confidence_interval()
    assert (row.difference.low, row.difference.high) == pytest.approx((test.low, test.high))
    assert (row.directions, row.dead) == (9, 1)
    assert values[RANDOM] == pytest.approx(random.view(4, 10).mean(1).tolist())
    assert rows[2].difference.value == pytest.approx(0.5)


def test_bad_input_gets_a_sentence():
    images, model = planted_images(24), turned(torch.eye(CLASSES))
    for change, message in (
        ({"layers": []}, "no layer was given"),
        ({"layers": ["00"]}, 'there is no layer "00"'),
        ({"judge_layer": "9"}, 'there is no layer "9"'),
        ({"settings": DirectionSettings(k=13)}, "k is 13, but half of the 24 images are 12"),
    ):
        with pytest.raises(InputError, match=message):
            CompareDirections(**{"named": model, "judge": judge(), "images": images, "layers": ["0"], **change})
    with pytest.raises(InputError, match="the judge is the model itself"):
        CompareDirections(model, model, images, ["0"]).provenance()
    with pytest.raises(InputError, match="k is 1; expected at least 2"):
        DirectionSettings(k=1)
    with pytest.raises(InputError, match='pool is "sum"'):
        DirectionSettings(pool="sum")


def test_the_command_says_what_it_found(tmp_path, capsys):
    out = tmp_path / "out"
    digits = ["--model", "digits", "--random-weights", "--judge", "digits", "--images", "digits", "--layer", "relu1"]
    small = ["--count", "4", "--k", "3", "--frames", "9", "--positions", "2", "--no-progress"]
    code = cli.main(["directions", *digits, *small, "--out", str(out)])
    printed = capsys.readouterr()
    assert code == 0, printed.err
    assert "nearest images (ceiling)" in printed.out
    assert (out / "report.html").is_file()
