"""Network dissection: published integers, dense masks, planted units, chance, and a basis that is turned."""

from __future__ import annotations

import copy
import itertools
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from scipy.linalg import fractional_matrix_power
from scipy.stats import ortho_group
from torch import Tensor, nn

from captum_proto._utils.errors import InputError, StateError
from captum_proto.concept import (
    Concept,
    Dissection,
    ImageLevelConcepts,
    LayerDissection,
    NetworkDissection,
    dissection_curve,
)
from captum_proto.concept.dissection_passes import end_pass, thresholds_of
from captum_proto.concept.tally import Counts, LabelBatch, Tally, even_batches
from captum_proto.testing import PARTS, STRIPES, PlantedNetwork, ShapeDataset

SIZE = (48, 48)


def test_a_published_row() -> None:
    """Unit 1 of a ResNet-18 for Places365 as NetDissect-Lite reports it: "reception-s", from its integers."""
    layer = LayerDissection(
        "layer4",
        [Concept("reception-s", "scene")],
        ["scene"],
        torch.zeros(1, dtype=torch.float64),
        torch.tensor([[[122_332]]]),
        torch.tensor([[[836_817, 999_999]]]),
        torch.tensor([790_272]),
        10**9,
    )
    assert float(layer.iou[0, 0]) == pytest.approx(0.081296847, abs=1e-9)
    assert float(layer.ceiling[0, 0]) == pytest.approx(790_272 / 836_817)
    assert layer.label(0).iou == float(layer.iou[0, 0])
    assert layer.unique_detectors() == {"scene": 1, "all": 1}


class Small(nn.Module):
    """A convolution whose units fire at what they are."""

    def __init__(self, units: int = 6) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, units, 5, stride=4)
        self.relu = nn.ReLU()

    def forward(self, images: Tensor) -> Tensor:
        return self.relu(self.conv(images)).mean((2, 3))


def test_thresholds_alone_are_those_of_the_counts() -> None:
    dataset, model = ShapeDataset(23, size=48, seed=3), Small()
    dissector = NetworkDissection(model, ["conv", "relu"], 0.05, size=(12, 12), draws=0)
    found, counted = dissector.thresholds(dataset, SIZE, 7), dissector.interpret(dataset, SIZE, 7)
    assert list(found) == ["conv", "relu"]
    for name, levels in found.items():
        assert torch.equal(levels, counted[name].thresholds)
    images = torch.stack([dataset.image(index, SIZE) for index in range(23)])
    values = model.conv(images).detach().double().transpose(0, 1).flatten(1)
    np.testing.assert_allclose(found["conv"], np.quantile(values, 0.95, axis=1), rtol=1e-5)


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("denominator", ["category", "global"])
def test_counts_are_those_of_dense_masks(denominator: str, align_corners: bool) -> None:
    dataset, model = ShapeDataset(23, size=48, seed=3), Small()

    class Bare(ShapeDataset):
        """Every third image has no labels but its scene."""

        def labels(self, index: int):  # type: ignore[no-untyped-def]
            found = super().labels(index)
            return type(found)([], found.whole) if index % 3 == 0 else found

    dataset = Bare(23, size=48, seed=3)
    options = {
        "size": (30, 25),
        "quantile": 0.05,
        "draws": 0,
        "align_corners": align_corners,
        "denominator": denominator,
    }
    found = NetworkDissection(model, ["conv"], **options).interpret(dataset, SIZE, 7)["conv"]  # type: ignore[arg-type]
    with torch.no_grad():
        maps = model.conv(torch.stack([dataset.image(index, SIZE) for index in range(23)]))
    thresholds = maps.movedim(1, 0).flatten(1).double().quantile(0.95, dim=1)
    assert torch.equal(found.thresholds, thresholds)
    enlarged = nn.functional.interpolate(maps.double(), size=(30, 25), mode="bilinear", align_corners=align_corners)
    fires = (enlarged > thresholds.view(-1, 1, 1)).numpy()
    concepts = len(dataset.concepts)
    masks = np.zeros((23, concepts, 30, 25), dtype=bool)
    for index in range(23):
        labels = dataset.labels(index)
        for label in range(1, concepts + 1):
            masks[index, label - 1] = np.any([each == label for each in labels.resized((30, 25))], axis=0)
            masks[index, label - 1] |= label in labels.whole
    for k, concept in enumerate(dataset.concepts):
        of_category = [place for place, each in enumerate(dataset.concepts) if each.category == concept.category]
        counted = masks[:, of_category].any((1, 2, 3)) if denominator == "category" else np.ones(23, dtype=bool)
        for unit in range(6):
            together = (fires[:, unit] & masks[:, k]).sum()
            union = (fires[counted, unit] | masks[counted, k]).sum()
            assert found.together[0, unit, k] == together
            assert float(found.iou[unit, k]) == pytest.approx(together / union if union else 0)
    assert found.areas.tolist() == masks.sum((0, 2, 3)).tolist()
    assert found.pixels == 23 * 750


def dissected(dataset: ShapeDataset, layer: str, quantile: float, draws: int = 30) -> LayerDissection:
    network = PlantedNetwork(dataset.radius[0] * dataset.size)
    size = (dataset.size, dataset.size)
    return NetworkDissection(network, [layer], quantile=quantile, size=size, draws=draws).interpret(dataset, size, 50)[
        layer
    ]


@pytest.mark.parametrize(
    ("layer", "names", "drawn", "size", "radius"),
    [
        ("exact", None, {"texture": ["plain"], "shape": ["square"]}, 40, 0.2),
        ("shapes", list(PARTS), {"texture": ["plain"]}, 56, 0.2),
        ("striped", list(STRIPES), {"texture": list(STRIPES)}, 96, 0.3),
    ],
)
def test_planted_units_are_recovered(
    layer: str, names: list[str] | None, drawn: dict[str, list[str]], size: int, radius: float
) -> None:
    count = 100 if layer == "striped" else 150
    dataset = ShapeDataset(count, size=size, radius=(radius, radius), shapes=(1, 1), drawn=drawn, seed=1)
    names = [each.name for each in dataset.concepts if each.category == "color"] if names is None else names
    areas = sum(dataset.labels(index).counts(len(dataset.concepts), (size, size)) for index in range(count))
    often = max(areas[dataset.label(name) - 1] for name in names) / (count * size**2)
    found = dissected(dataset, layer, 1.05 * float(often), 10 if layer == "striped" else 60)
    for unit, name in enumerate(names):
        label = found.label(unit)
        assert label.concept.name == name
        assert label.iou >= 0.9 * label.ceiling
        assert label.chance < 0.1 < label.iou
        assert label.p_value == 1 / (1 + len(names) * found.draws)
        if layer != "striped":
            assert label.q_value < 0.05


def test_masks_of_other_images_are_no_better_than_chance() -> None:
    """The labels of an image are another's: p-values are as they have to be, and corrected ones find nothing."""

    class Shuffled(ShapeDataset):
        def labels(self, index: int):  # type: ignore[no-untyped-def]
            return super().labels((7 * index + 3) % len(self))

    dataset = Shuffled(150, size=40, radius=(0.2, 0.2), seed=2)
    found = dissected(dataset, "exact", 0.05, draws=40)  # type: ignore[arg-type]
    p_values = found.p_values[:, found.areas > 0]
    assert float((p_values <= 0.05).double().mean()) < 0.08
    assert float((p_values <= 0.5).double().mean()) == pytest.approx(0.5, abs=0.2)
    assert not bool((found.q_values < 0.05).any())
    true = dissected(ShapeDataset(150, size=40, radius=(0.2, 0.2), seed=2), "exact", 0.05, draws=40)
    assert bool((true.q_values < 0.05).any())


class Turned(nn.Module):
    """The eleven colors, in directions that are a share of the way from the units to random ones."""

    def __init__(self, turn: np.ndarray, share: float) -> None:
        super().__init__()
        self.network, self.turned = PlantedNetwork(8), nn.Conv2d(11, 11, 1, bias=False)
        weights = np.real(fractional_matrix_power(turn, share))
        self.turned.weight.data = torch.from_numpy(weights).float().view(11, 11, 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        near = self.network.colors(images)
        return self.turned((near - (1 - 1e-5)).clamp(min=0)).sum((2, 3))


def test_a_turned_basis_loses_its_detectors() -> None:
    """The farther directions are from units, the fewer different concepts are detected: over five random rotations."""
    dataset = ShapeDataset(120, size=40, radius=(0.2, 0.2), shapes=(1, 1), drawn={"texture": ["plain"]}, seed=4)
    shares, counts = (0.0, 0.25, 0.5, 0.75, 1.0), np.zeros(5, dtype=int)
    for seed in range(5):
        turn = ortho_group.rvs(11, random_state=seed)
        turn[0] *= np.linalg.det(turn)  # a rotation, no reflection
        found = {}
        for share in shares:
            dissection = NetworkDissection(
                Turned(turn, share), ["turned"], quantile=0.03, iou_threshold=0.3, size=(40, 40), draws=0
            )
            found[share] = dissection.interpret(dataset, (40, 40), 60)
        header, rows = dissection_curve(found, "turned")
        assert header == ["checkpoint", *dataset.categories, "all"]
        counts += [int(row[header.index("color")]) for row in rows]
    assert counts.tolist() == sorted(counts, reverse=True)
    assert counts[0] == 5 * 11
    assert counts[-1] < counts[0] / 2


def test_parts_add_up_to_the_whole() -> None:
    dataset, maps = ShapeDataset(10, size=40), torch.rand(10, 3, 5, 5)
    thresholds = torch.full((3,), 0.7, dtype=torch.float64)
    whole, parts = (Tally.empty(3, len(dataset.concepts), 5, 0) for _ in range(2))
    whole.update(maps, thresholds, LabelBatch.read(dataset, range(10), SIZE))
    for part in (range(4), range(4, 10)):
        other = Tally.empty(3, len(dataset.concepts), 5, 0)
        other.update(maps[part.start : part.stop], thresholds, LabelBatch.read(dataset, part, SIZE))
        parts.merge(other)
    assert torch.equal(whole.together, parts.together)
    assert torch.equal(whole.fired, parts.fired)
    assert (whole.pixels, whole.images) == (parts.pixels, parts.images)
    with pytest.raises(InputError, match="cannot take one of"):
        whole.merge(Tally.empty(4, len(dataset.concepts), 5, 0))


@pytest.mark.parametrize("edges", [(0, 1, 4), (0, 2, 3, 4), (0, 1, 2, 3, 4)])
@pytest.mark.parametrize("memory", [1, 2**20])
def test_chunks_of_batches_add_up_to_one_pass(edges: tuple[int, ...], memory: int, tmp_path: Path) -> None:
    """Thresholds in each of their passes, and counts with their draws of chance; each state as it is read from a file."""
    dataset, model = ShapeDataset(30, size=48), Small()
    # With little memory the values of a pass are not kept but counted.
    options = {"size": (24, 24), "draws": 3, "quantile": 0.1, "seed": 2, "memory": memory}
    expected = NetworkDissection(model, ["conv", "relu"], **options).interpret(dataset, SIZE, 8)
    passes = NetworkDissection(model, ["conv", "relu"], **options).passes(dataset, SIZE, 8)
    assert [len(batch) for batch in passes.batches] == [8, 8, 7, 7]
    chunks = [passes.batches[first:last] for first, last in itertools.pairwise(edges)]
    states, rounds = passes.start(), 0
    while not all(state.finished for state in states.values()):
        rounds += 1
        parts = []
        for chunk in chunks:
            parts.append(copy.deepcopy(states))
            passes.look(parts[-1], chunk)
        for part in reversed(parts):
            for name, state in states.items():
                state.merge(part[name])
        end_pass(states)
    assert rounds > 1
    counts = Counts.empty({"conv": 6, "relu": 6}, len(dataset.concepts), len(dataset.categories), 3)
    first = 0
    for chunk in chunks:
        part = passes.count(thresholds_of(states), chunk, first)
        counts.merge(Counts.restored(safetensors.torch.load(safetensors.torch.save(part.state_dict()))))
        first += sum(map(len, chunk))
    found = passes.result(thresholds_of(states), counts)
    expected.save(tmp_path / "expected.safetensors")
    found.save(tmp_path / "found.safetensors")
    assert (tmp_path / "found.safetensors").read_bytes() == (tmp_path / "expected.safetensors").read_bytes()
    with pytest.raises(StateError, match=r"8 images are counted, and .* has 30; count each of them once"):
        passes.result(thresholds_of(states), passes.count(thresholds_of(states), passes.batches[:1]))
    with pytest.raises(InputError, match="counts of conv, relu cannot take those of conv; give the same layers"):
        counts.merge(Counts({"conv": counts.tallies["conv"]}, counts.areas))


def test_a_state_of_counts_is_small_and_whole() -> None:
    tally = Tally.empty(2, 1000, 1, 3)
    tally.together[:, :, 7], tally.fired[0, 0, 0] = 2**31 - 1, 2**40
    state = tally.state_dict()
    assert (state["together"].shape, state["together"].dtype) == ((4, 2, 1), torch.int32)
    assert state["fired"].dtype == torch.int64
    again = Tally.empty(0, 0, 0, 0)
    again.load_state_dict(state)
    assert torch.equal(again.together, tally.together)
    assert torch.equal(again.fired, tally.fired)
    again.merge(tally)
    assert int(again.together.max()) == 2**32 - 2
    assert again.state_dict()["together"].dtype == torch.int64


def test_draws_never_pair_an_image_with_its_own_labels() -> None:
    labels = LabelBatch.read(ShapeDataset(7, size=40), range(7), SIZE)
    marked = LabelBatch(torch.arange(7, dtype=torch.int16).view(7, 1, 1, 1), labels.whole, labels.carried, labels.areas)
    orders = set()
    for draw in range(20):
        order = marked.shuffled(np.random.default_rng(draw)).maps.flatten().tolist()
        assert sorted(order) == list(range(7))
        assert all(place != other for place, other in enumerate(order))
        orders.add(tuple(order))
    assert len(orders) > 15


def test_batches_are_even_and_in_an_order_of_their_own() -> None:
    for count, size in ((10, 3), (33, 32), (5, 8), (64, 32)):
        batches = even_batches(count, size)
        assert sorted(index for batch in batches for index in batch) == list(range(count))
        lengths = {len(batch) for batch in batches}
        assert max(lengths) <= size
        assert max(lengths) - min(lengths) <= 1
    assert even_batches(50, 10) == even_batches(50, 10) != even_batches(50, 10, seed=1)


def test_image_level_labels_are_masks_of_whole_images() -> None:
    """A unit that fires on the images of a class alone has an intersection over union with it of its ceiling."""
    images = [torch.full((3, 8, 8), 0.9 if index % 4 == 0 else 0.1) for index in range(40)]
    dataset = ImageLevelConcepts(images, [["bright"] if index % 4 == 0 else ["dark"] for index in range(40)])
    model = nn.Sequential(nn.Conv2d(3, 1, 1, bias=False))
    model[0].weight.data.fill_(1.0)
    found = NetworkDissection(model, ["0"], quantile=0.3, size=(8, 8), draws=20).interpret(dataset, (8, 8), 40)["0"]
    label = found.label(0)
    assert (label.concept.name, label.iou) == ("bright", 1.0)
    assert label.chance == pytest.approx(0.25 / 1.75, abs=0.1)


def test_everything_comes_back_from_a_file(tmp_path: Path) -> None:
    model, dataset = Small(), ShapeDataset(20, size=48)
    made = NetworkDissection(model, ["conv", "relu"], size=(24, 24), draws=4).interpret(dataset, SIZE, 10)
    made.save(tmp_path / "dissection.safetensors")
    again = Dissection.load(tmp_path / "dissection.safetensors")
    assert (again.images, again.settings) == (20, made.settings)
    for name in ("conv", "relu"):
        assert again[name].table() == made[name].table()
        assert torch.equal(again[name].q_values, made[name].q_values)
    assert again.table() == made.table()
    assert "conv" in made.table()
    with pytest.raises(InputError, match='"conf" was not dissected; did you mean "conv"'):
        made["conf"]
    repeated = NetworkDissection(model, ["conv"], size=(24, 24), draws=4).interpret(dataset, SIZE, 10)
    assert torch.equal(repeated["conv"].together, made["conv"].together)


def test_without_draws_there_is_no_p_value() -> None:
    found = NetworkDissection(Small(), ["conv"], size=(24, 24), draws=0).interpret(ShapeDataset(6, size=48), SIZE, 1)[
        "conv"
    ]
    label = found.label(0)
    assert all(np.isnan(value) for value in (label.chance, label.p_value, label.q_value))
    assert "–" in found.table()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"quantile": 1.0}, "quantile is 1.0; expected a share"),
        ({"iou_threshold": -0.1}, "iou_threshold is -0.1"),
        ({"denominator": "categories"}, 'denominator is "categories"; did you mean "category"'),
        ({"draws": -1}, "draws is -1"),
        ({"size": (0, 3)}, "size is 0"),
    ],
)
def test_bad_arguments(arguments: dict, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        NetworkDissection(Small(), ["conv"], **arguments)


def test_bad_input() -> None:
    shapes = ShapeDataset(6, size=48)
    flat = nn.Sequential(nn.Flatten(), nn.Linear(3 * 48 * 48, 4))
    with pytest.raises(InputError, match=r'layer "1" returns shape \(N, 4\), which is no map with rows and columns'):
        NetworkDissection(flat, ["1"]).interpret(shapes, SIZE)
    with pytest.raises(InputError, match="a batch of one has no labels of others"):
        NetworkDissection(Small(), ["conv"]).interpret(shapes, SIZE, 1)
    broken = Small()
    broken.conv.weight.data[2] = torch.nan
    with pytest.raises(InputError, match=r'layer "conv": .*NaN'):
        NetworkDissection(broken, ["conv"]).interpret(shapes, SIZE)
    with pytest.raises(TypeError, match="forward_func is a function"):
        NetworkDissection(lambda x: x, ["conv"])  # type: ignore[arg-type]

    class Wrong(ShapeDataset):
        def labels(self, index: int):  # type: ignore[no-untyped-def]
            found = super().labels(index)
            found.maps[0][0, 0] = 99
            return found

    with pytest.raises(InputError, match="has the label 99; there are 32 concepts"):
        NetworkDissection(Small(), ["conv"]).interpret(Wrong(6, size=48), SIZE)
    found = NetworkDissection(Small(), ["conv"], draws=0).interpret(shapes, SIZE)["conv"]
    with pytest.raises(InputError, match='layer "conv" has 6 units, numbered from 0; there is no unit 6'):
        found.label(6)
    with pytest.raises(InputError, match='there is no category "colour"; did you mean "color"'):
        found.label(0, "colour")
