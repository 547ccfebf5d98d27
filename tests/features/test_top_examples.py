"""Top examples, lowest ones and quantiles, against torch.topk and torch.quantile of all activations in memory."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from networks import seeded
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from captum_proto import capture
from captum_proto.data import ImageCollection, TensorCollection
from captum_proto.data.numbered import NumberedImages
from captum_proto.features import Examples, ExampleState, TopExamples

SHAPE = (3, 16, 16)
Q = (0.5, 0.99, 0.995)


class Exact(nn.Module):
    """A network whose arithmetic is exact, in whatever batches images come: weights and images are multiples of an eighth."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, stride=2), nn.Conv2d(8, 6, 3)
        self.head, self.norm = nn.Linear(6, 4), nn.Identity()
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_((8 * torch.randn(parameter.shape) / 4).round() / 8)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x))
        x = self.second(x)
        tokens = self.norm(x.flatten(2).mT)  # (N, 25, 6): units last
        return self.head(tokens.amax(1))


@pytest.fixture(scope="module")
def model() -> Exact:
    network: Exact = seeded(Exact)
    return network.eval()


@pytest.fixture(scope="module")
def images() -> Tensor:
    """Few different values, so that scores are equal; some images come twice."""
    several = (torch.rand(40, *SHAPE, generator=torch.Generator().manual_seed(0)) * 2).round() / 2
    several[30:35] = several[3:8]
    return several


def by_hand(model: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """All activations, (N, U, positions)."""
    found = {}
    for name, values in capture(model, images).items():
        values = values.mT if name == "norm" else values
        found[name] = values.flatten(2) if values.dim() > 2 else values.unsqueeze(2)
    return found


def ordered(scores: Tensor, k: int, largest: bool) -> tuple[Tensor, Tensor]:
    """torch.sort of (N, U), with ties by number: (U, k)."""
    values, numbers = scores.T.sort(descending=largest, stable=True)
    return values[:, :k], numbers[:, :k]


@pytest.mark.parametrize("batch_size", [1, 7, 40])
@pytest.mark.parametrize("pool", ["max", "mean"])
def test_everything_is_as_if_all_activations_were_in_memory(
    model: Exact, images: Tensor, pool: str, batch_size: int
) -> None:
    examples = TopExamples(model, "all", k=6, pool=pool, quantiles=Q).fit(images, batch_size)
    everything = by_hand(model, images)
    assert list(examples) == list(everything) == ["first", "second", "norm", "head"]
    for name, values in everything.items():
        found = examples[name]
        scores = values.amax(2) if pool == "max" else values.double().mean(2).float()
        for before, largest in (("", True), ("lowest_", False)):
            expected, numbers = ordered(scores, 6, largest)
            assert torch.equal(getattr(found, f"{before}scores"), expected), name
            assert torch.equal(getattr(found, f"{before}indices"), numbers), name
            assert torch.equal(expected, scores.topk(6, 0, largest).values.T)
        flat = values.movedim(1, 0).flatten(1)
        assert torch.equal(found.quantiles, flat.double().quantile(torch.tensor(Q, dtype=torch.float64), 1).T)
        assert torch.equal(found.highest_value, flat.amax(1))
        assert torch.equal(found.lowest_value, flat.amin(1))
        fires = (values > 0).sum(2)
        assert torch.equal(found.firing_positions, fires.sum(0))
        assert torch.equal(found.firing_images, (fires > 0).sum(0))
        assert torch.equal(found.random_scores, scores[found.random_indices].T)
        assert found.count == 40
    assert pool == "mean" or len(examples["first"].scores[0].unique()) < 6, "there are no ties to decide"


def test_the_position_of_a_maximum_is_kept_and_is_the_first_of_several(model: Exact, images: Tensor) -> None:
    examples = TopExamples(model, ["second", "norm", "head"], k=6).fit(images)
    everything = by_hand(model, images)
    for name in ("second", "norm"):
        found, values = examples[name], everything[name]
        assert found.positions is not None
        assert found.positions.shape == (6, 6, 2 if name == "second" else 1)
        shape = found.shape
        for unit in range(6):
            for rank in range(6):
                number = int(found.indices[unit, rank])
                first = (values[number, unit] == found.scores[unit, rank]).nonzero()[0]
                assert found.positions[unit, rank].tolist() == [
                    int(each) for each in np.unravel_index(int(first), shape)
                ]
    assert examples["head"].positions is None


def test_crops_are_what_the_position_saw(model: Exact, images: Tensor) -> None:
    examples = TopExamples(model, ["second", "head"], k=4).fit(images)
    found = examples["second"]
    for which in ("top", "lowest", "random"):
        scores, numbers, _ = found.chosen(2, which)
        for score, number, crop in zip(scores, numbers, found.crops(images, 2, which), strict=True):
            assert crop.shape == (3, 7, 7)
            # The crop alone gives the same activation, at the only position it has.
            seen = model.second(torch.relu(model.first(crop.unsqueeze(0))))[0, 2, 0, 0]
            assert float(seen.detach()) == score, (which, number)
    assert [crop.shape for crop in examples["head"].crops(images, 0, count=2)] == [torch.Size(SHAPE)] * 2


def test_one_position_and_each_position(model: Exact, images: Tensor) -> None:
    values = capture(model, images, "second")["second"]
    fixed = TopExamples(model, "second", k=5, pool="position", position=(1, 3)).fit(images)["second"]
    assert torch.equal(fixed.scores, ordered(values[:, :, 1, 3], 5, True)[0])
    assert torch.equal(fixed.lowest_indices, ordered(values[:, :, 1, 3], 5, False)[1])
    each = TopExamples(model, "second", k=5, pool="position").fit(images, 9)["second"]
    scores, numbers = ordered(values.flatten(1), 5, True)
    assert torch.equal(each.scores, scores.view(6, 5, 5, 5))
    assert torch.equal(each.indices, numbers.view(6, 5, 5, 5))
    chosen = each.mosaic(2)
    assert chosen.shape == (5, 5)
    assert chosen.flatten().bincount().max() <= 7  # 25 positions, a tenth of 40 images
    free = each.mosaic(2, reuse=100)
    assert torch.equal(free, each.indices[2, ..., 0])
    once = each.mosaic(2, reuse=1)
    assert once.flatten().bincount().max() < free.flatten().bincount().max()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_models_of_other_precision(model: Exact, images: Tensor, dtype: torch.dtype) -> None:
    other = seeded(Exact).to(dtype).eval()
    examples = TopExamples(other, ["second", "norm"], k=6, quantiles=Q).fit(images, 8)
    values = torch.cat([capture(other, part.to(dtype), "second")["second"] for part in images.split(8)]).flatten(2)
    found = examples["second"]
    assert found.scores.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    scores, numbers = ordered(values.amax(2).to(found.scores.dtype), 6, True)
    assert torch.equal(found.scores, scores)
    assert torch.equal(found.indices, numbers)
    flat = values.movedim(1, 0).flatten(1).double()
    assert torch.equal(found.quantiles, flat.quantile(torch.tensor(Q, dtype=torch.float64), 1).T)


def test_a_planted_image_comes_first() -> None:
    """A unit that answers to a cross of a certain size, hidden in noise in two images of many."""
    cross = torch.zeros(5, 5)
    cross[2, :] = cross[:, 2] = 1
    network = nn.Sequential(nn.Conv2d(1, 2, 5, bias=False), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(2, 3, 3))
    with torch.no_grad():
        network[0].weight[1, 0] = cross - cross.mean()
    images = 0.3 * torch.rand(200, 1, 24, 24, generator=torch.Generator().manual_seed(0))
    images[17, 0, 12:17, 3:8] = cross
    images[131, 0, 2:7, 14:19] = 0.9 * cross
    found = TopExamples(network, "1", k=3).fit(images, 16)["1"]
    assert found.indices[1, :2].tolist() == [17, 131]
    assert found.positions is not None
    assert found.positions[1, :2].tolist() == [[12, 3], [2, 14]]
    assert torch.equal(found.crops(images, 1)[0][0], cross)


class Folder:
    """Batches anew each time, as a user's own class may give them."""

    def __init__(self, images: Tensor) -> None:
        self.parts = images.split(11)

    def __iter__(self) -> Iterator[tuple[Tensor, str]]:
        return ((part, "a label") for part in self.parts)


SOURCES: dict[str, Callable[[Tensor], Any]] = {
    "tensor": lambda images: images,
    "list of batches": lambda images: list(images.split(9)),
    "list of images": lambda images: list(images),
    "data set": lambda images: TensorDataset(images, torch.arange(len(images))),
    "DataLoader": lambda images: DataLoader(TensorDataset(images), batch_size=7),
    "iterable": Folder,
    "collection": lambda images: TensorCollection(images, torch.zeros(len(images), dtype=torch.int64)),
}


@pytest.mark.parametrize("source", SOURCES)
def test_images_come_in_many_ways_and_are_found_again(model: Exact, images: Tensor, source: str) -> None:
    expected = TopExamples(model, "second", k=4).fit(images)["second"]
    given = SOURCES[source](images)
    found = TopExamples(model, "second", k=4).fit(given)["second"]
    assert torch.equal(found.scores, expected.scores)
    assert torch.equal(found.indices, expected.indices)
    for crop, wanted in zip(found.crops(given, 1), expected.crops(images, 1), strict=True):
        assert torch.equal(crop, wanted)
    with pytest.raises(ValueError, match="there is no image 40 among"):
        NumberedImages(given).at([3, 40])


def test_files_keep_their_numbers_where_one_cannot_be_read(model: Exact, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for number in range(9):
        Image.fromarray(generator.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(tmp_path / f"{number}.png")
    (tmp_path / "4.png").write_bytes(b"no picture")
    batches = ImageCollection.one_class(tmp_path).batches(SHAPE, 4, resize_ratio=1.0)
    with pytest.warns(UserWarning, match="1 of 9 images cannot be read"):
        found = TopExamples(model, "second", k=8).fit(batches)["second"]
    assert found.count == 8
    assert found.indices[0].sort().values.tolist() == [0, 1, 2, 3, 5, 6, 7, 8]
    whole = NumberedImages(batches).at([5])[0]
    pixels = torch.from_numpy(np.array(Image.open(tmp_path / "5.png"))).permute(2, 0, 1)
    assert torch.equal((255 * whole).round().byte(), pixels)
    with pytest.raises(TypeError, match=r"give images\.batches\(image_shape\)"):
        TopExamples(model, "second").fit(ImageCollection.one_class(tmp_path))


def alike(first: Examples, second: Examples) -> None:
    assert list(first) == list(second)
    assert (first.count, first.settings) == (second.count, second.settings)
    for name in first:
        for key, value in vars(first[name]).items():
            other = getattr(second[name], key)
            assert torch.equal(value, other) if isinstance(value, Tensor) else value == other, (name, key)


@pytest.mark.parametrize("pool", ["max", "position"])
def test_parts_add_up_whatever_their_order(model: Exact, images: Tensor, pool: str) -> None:
    finder = TopExamples(model, ["second", "norm", "head"], k=5, pool=pool, quantiles=())
    whole = finder.fit(images)
    first, second, third = (finder.fit(images[begin:end], first=begin) for begin, end in ((0, 8), (8, 30), (30, 40)))
    alike(third.merge(first).merge(second), whole)
    alike(second.merge(third.merge(first)), whole)
    with pytest.raises(ValueError, match=r"image .* is in both; fit the parts with first="):
        first.merge(finder.fit(images[:8]))


def test_states_add_up_pass_by_pass_and_are_put_down_in_between(model: Exact, images: Tensor, tmp_path: Path) -> None:
    finder = TopExamples(model, ["second", "head"], k=5, memory=1)
    parts = {begin: images[begin:end] for begin, end in ((0, 8), (8, 30), (30, 40))}
    state = finder.start()
    for order in itertools.permutations(parts):
        for begin in order:
            part = state.part()
            finder.update(part, parts[begin], 4, first=begin)
            part.save(tmp_path / "part.safetensors", overwrite=True)
            state.merge(ExampleState.load(tmp_path / "part.safetensors"))
        state.end_pass()
        state.save(tmp_path / "all.safetensors", overwrite=True)
        state = ExampleState.load(tmp_path / "all.safetensors")
        if state.finished:
            break
    assert state.passes > 2, "memory is so small that two passes are not enough"
    alike(finder.result(state), finder.fit(images))


def _one_process(rank: int, count: int, folder: str) -> None:
    """What each of several processes does: its part of the images, and the examples of all."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=count)
    model = seeded(Exact).eval()
    images = torch.load(f"{folder}/images.pt", weights_only=True)
    mine = images.tensor_split(count)[rank]
    first = sum(len(part) for part in images.tensor_split(count)[:rank])
    examples = TopExamples(model, "all", k=6, quantiles=Q).fit(mine, 4, first=first, distributed=True)
    examples.save(f"{folder}/{rank}.safetensors")
    torch.distributed.destroy_process_group()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked here")
def test_three_processes_find_what_one_finds(model: Exact, images: Tensor, tmp_path: Path) -> None:
    torch.save(images, tmp_path / "images.pt")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a forked process has no threads but its own
    try:
        torch.multiprocessing.start_processes(_one_process, (3, str(tmp_path)), nprocs=3, start_method="fork")
    finally:
        torch.set_num_threads(threads)
    alone = TopExamples(model, "all", k=6, quantiles=Q).fit(images)
    for rank in range(3):
        alike(Examples.load(tmp_path / f"{rank}.safetensors"), alone)


def test_the_sample_is_random_of_even_chance_and_the_same_for_all_layers(model: Exact, images: Tensor) -> None:
    examples = TopExamples(model, ["first", "head"], k=6, quantiles=(), receptive_fields=False).fit(images)
    assert torch.equal(examples["first"].random_indices, examples["head"].random_indices)
    other = TopExamples(model, "head", k=6, quantiles=(), seed=1, receptive_fields=False).fit(images)
    assert not torch.equal(examples["head"].random_indices, other["head"].random_indices)


def test_examples_are_saved_and_damage_is_named(model: Exact, images: Tensor, tmp_path: Path) -> None:
    examples = TopExamples(model, ["second", "head"], k=5).fit(images)
    examples.save(tmp_path / "examples.safetensors")
    alike(Examples.load(tmp_path / "examples.safetensors"), examples)
    with pytest.raises(FileExistsError, match="exists and would be overwritten"):
        examples.save(tmp_path / "examples.safetensors")
    with pytest.raises(ValueError, match="holds top examples; expected a state of top examples"):
        ExampleState.load(tmp_path / "examples.safetensors")
    with pytest.raises(ValueError, match='no examples of layer "secnd"; did you mean "second"'):
        examples["secnd"]


def test_units_that_say_nothing_are_named(images: Tensor) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    with torch.no_grad():
        network[0].bias[1] = -1e6
        network[0].weight[2] = 0
        network[0].bias[2] = 3
    found = TopExamples(network, "1", k=2).fit(images)["1"]
    assert found.silent == [1, 2]
    assert found.silence(1) == 'Unit 1 of layer "1" never fires on these 40 images: its activation is between 0 and 0.'
    assert found.silence(2).startswith('Unit 2 of layer "1" is everywhere the same on these 40 images')
    assert found.silence(0) == ""
    assert (found.firing(1).value, found.firing(2).value) == (0.0, 1.0)


def test_the_share_of_positions_that_fire_has_the_interval_of_students_t(model: Exact, images: Tensor) -> None:
    from scipy import stats

    found = TopExamples(model, "first", k=2).fit(images)["first"]
    shares = (by_hand(model, images)["first"] > 0).double().mean(2)
    for unit in range(8):
        share = found.firing(unit)
        if float(shares[:, unit].std()) == 0:
            continue
        expected = stats.t.interval(0.95, 39, shares[:, unit].mean().item(), stats.sem(shares[:, unit].numpy()))
        assert (share.low, share.high) == pytest.approx(expected, rel=1e-12)
        assert share.value == pytest.approx(float(shares[:, unit].mean()), rel=1e-12)


def test_the_model_is_left_as_it_was(make_cnn, make_images, lived_in, untouched) -> None:
    model = lived_in(make_cnn())
    with untouched(model):
        TopExamples(model, "all", k=3).fit(make_images(7), 3)
    with untouched(model), pytest.raises(RuntimeError, match="size"):
        TopExamples(model, "head", k=3).fit(torch.zeros(4, 5, 12, 12))


class Half(nn.Module):
    """Gives NaN where an image is black."""

    def forward(self, x: Tensor) -> Tensor:
        return x / x.amax((1, 2, 3), keepdim=True)


BAD: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"layers": "secnd"}, {}, 'there is no layer "secnd" in Exact; did you mean "second"?'),
    ({"k": 41}, {}, "k is 41, but there are 40 images; give k at most 40, or more images."),
    ({"k": 0}, {}, "k is 0; expected at least 1."),
    ({"pool": "maxx"}, {}, 'pool is "maxx"; did you mean "max"?'),
    ({"position": (1, 1)}, {}, 'position is (1, 1), but pool is "max"; give pool="position" with it.'),
    (
        {"pool": "position", "position": (5, 0)},
        {},
        'position is (5, 0), but layer "second" has 5 x 5 positions, counted',
    ),
    ({"pool": "position", "position": 3}, {}, 'position is (3,), but layer "second" has 5 x 5 positions'),
    ({"quantiles": (99,)}, {}, "quantiles holds 99; a quantile is between 0 and 1, such as 0.99."),
    ({}, {"batch_size": 0}, "batch_size is 0; expected at least 1."),
    ({}, {"distributed": True}, "no group of processes is set up; call torch.distributed.init_process_group first"),
]


@pytest.mark.parametrize(("made", "fitted", "message"), BAD)
def test_bad_input_gets_a_sentence(
    model: Exact, images: Tensor, made: dict[str, Any], fitted: dict[str, Any], message: str
) -> None:
    with pytest.raises((ValueError, RuntimeError), match=re.escape(message)):
        TopExamples(model, **{"layers": "second", **made}).fit(images, **fitted)


def test_images_that_cannot_be_gone_through(model: Exact, images: Tensor) -> None:
    with pytest.raises(
        ValueError, match="images is a generator, which lasts for one pass, and quantiles need a second"
    ):
        TopExamples(model, "second").fit(part for part in images.split(8))
    once = TopExamples(model, "second", k=3, quantiles=()).fit(part for part in images.split(8))
    assert torch.equal(once["second"].indices, TopExamples(model, "second", k=3).fit(images)["second"].indices)
    with pytest.raises(ValueError, match="k is 15, but there are 8 images"):
        TopExamples(model, "second", quantiles=()).fit(part for part in images[:8].split(3))
    with pytest.raises(ValueError, match="images is a DataLoader that shuffles"):
        TopExamples(model, "second").fit(DataLoader(TensorDataset(images), shuffle=True))
    with pytest.raises(TypeError, match=r"forward_func is a function; expected a torch\.nn\.Module"):
        TopExamples(lambda x: model(x), "second")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="images is a int"):
        TopExamples(model, "second").fit(3)


def test_a_nan_is_said_to_be_one(images: Tensor) -> None:
    images = images.clone()
    images[23] = 0
    network = nn.Sequential(Half(), nn.Conv2d(3, 4, 3))
    for pool in ("max", "mean", "position"):
        with pytest.raises(ValueError, match='layer "1" gives NaN in unit 0 for image 23; check the weights'):
            TopExamples(network, "1", pool=pool, position=(0, 0) if pool == "position" else None).fit(images, 10)


def test_units_are_asked_for_within_their_range(model: Exact, images: Tensor) -> None:
    found = TopExamples(model, "second", k=3).fit(images)["second"]
    for ask in (lambda: found.crops(images, 6), lambda: found.silence(-1), lambda: found.firing(6)):
        with pytest.raises(ValueError, match=r"unit is (6|-1); layer \"second\" has units 0 to 5"):
            ask()
    with pytest.raises(ValueError, match='which is "tops"; did you mean "top"'):
        found.chosen(0, "tops")
    with pytest.raises(ValueError, match="no examples for each position"):
        found.mosaic(0)
