"""An input of one's own is one short class: no other file knows of it."""

from __future__ import annotations

import copy
import itertools
import math

import pytest
import torch
from networks import seeded
from scipy.stats import spearmanr
from torch import Tensor, nn

from captum_proto import PathSimilarity, PrototypeGeneration
from captum_proto._utils.errors import InputError
from captum_proto.optim import InputOptimization, Loss, Parametrization


class CoarseAndDetail(Parametrization):
    """A low-resolution image that is enlarged, and faint detail upon it: two tensors."""

    def start(self, random, shape) -> dict[str, Tensor]:
        channels, *_ = shape
        coarse = random.uniform(channels * 16, *self.value_range).view(-1, channels, 4, 4)
        return {"coarse": coarse, "detail": random.uniform(math.prod(shape), -0.1, 0.1).view(-1, *shape)}

    def render(self, parameters) -> Tensor:
        coarse = nn.functional.interpolate(parameters["coarse"], self.shape[1:], mode="nearest")
        return (coarse + parameters["detail"]).clamp(*self.value_range)

    def project(self, parameters) -> None:
        parameters["coarse"].clamp_(*self.value_range)
        parameters["detail"].clamp_(-0.1, 0.1)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_every_tensor_of_it_is_optimized_and_projected(make_cnn, dtype):
    options = {
        "steps": 25,
        "warmup_steps": 3,
        "warmup_tolerance": 1e-6,
        "high_frequency_weight": 0.0,
        "transform": None,
    }
    generation, own = PrototypeGeneration(make_cnn(dtype=dtype)), CoarseAndDetail()
    made = generation.generate([1, 2], (3, 16, 16), parametrization=own, value_range=(-1.0, 1.0), **options)
    assert bool((made.history["logit"][-1] > made.history["logit"][0]).all())
    assert made.settings["parametrization"] == {"name": "CoarseAndDetail"}
    assert -1 <= float(made.images.min()) < float(made.images.max()) <= 1
    blocks = (
        made.images.unfold(2, 4, 4).unfold(3, 4, 4).flatten(4)
    )  # what differs within an enlarged pixel is the detail
    spread = blocks.amax(-1) - blocks.amin(-1)
    assert 0.05 < float(spread.max()) <= 0.2 + 1e-6
    alone = generation.generate([2], (3, 16, 16), parametrization=own, value_range=(-1.0, 1.0), **options)
    torch.testing.assert_close(alone.images[0], made.images[1], rtol=0, atol=1e-9 if dtype == torch.float64 else 0.1)
    with pytest.raises(ValueError, match="CoarseAndDetail cannot start from given images"):
        generation.generate(1, start=made.images[:1] / 2 + 0.5, parametrization=own, **options)


def test_a_parameter_that_has_no_say_stays_where_it_was():
    class Spare(CoarseAndDetail):
        def render(self, parameters) -> Tensor:
            return nn.functional.interpolate(parameters["coarse"], self.shape[1:], mode="nearest")

    class Brightness(Loss):
        def __call__(self, outputs, images: Tensor) -> Tensor:
            return -outputs.output.mean(1)

    result = InputOptimization(nn.Flatten(), Brightness(), parametrization=Spare(), steps=40).optimize(
        (1, 8, 8), count=2
    )
    assert torch.equal(result.images, torch.ones(2, 1, 8, 8))


class Switches(Parametrization):
    """Rows of five switches, each between off and on until it is chosen: no images."""

    of_images, input_shape, draws = False, (5,), True
    jitter = 0.0

    def drawn(self, random):
        made = copy.copy(self)
        made.jitter = 0.0 if random is None else random.uniform(5, -0.01, 0.01)
        return made

    def check(self, inputs, value_range, name) -> Tensor:
        if inputs.shape[1:] != (5,):
            raise InputError(f"{name} has shape {tuple(inputs.shape)}; expected (N, 5).")
        return inputs

    def start(self, random, shape) -> dict[str, Tensor]:
        return {"switches": random.uniform(5)}

    def render(self, parameters) -> Tensor:
        switches = parameters["switches"]
        return switches + torch.as_tensor(self.jitter).to(switches)

    def project(self, parameters) -> None:
        parameters["switches"].clamp_(0, 1)

    def finish(self, parameters) -> None:
        parameters["switches"].round_()

    def parameters_of(self, images) -> dict[str, Tensor]:
        return {"switches": images}

    def __repr__(self) -> str:
        return "Switches()"


class TestInputsThatAreNoImages:
    @pytest.fixture
    def model(self):
        return seeded(lambda: nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Linear(16, 3)))

    def test_they_are_optimized_without_what_is_of_images_alone(self, model):
        made = PrototypeGeneration(model).generate([0, 1, 2], parametrization=Switches(), steps=30)
        assert set(made.images.unique().tolist()) <= {0.0, 1.0}
        assert made.settings["transform"] is None
        assert made.settings["high_frequency_weight"] == 0
        assert "high_frequency_loss" not in made.history
        every = torch.tensor(list(itertools.product([0.0, 1.0], repeat=5)))
        best = model(every).amax(0)
        assert (model(made.images).diagonal() >= best - 0.05).all()
        alone = PrototypeGeneration(model).generate([1], parametrization=Switches(), steps=30)
        assert torch.equal(alone.images[0], made.images[1])

    def test_given_ones_are_attributed_and_checked_by_their_parametrization(self, model):
        generation, rows = PrototypeGeneration(model), torch.rand(2, 5)
        assert generation.attribute(rows, 2, steps=3, parametrization=Switches()).shape == (2, 5)
        with pytest.raises(InputError, match=r"inputs has shape \(2, 4\); expected \(N, 5\)"):
            generation.attribute(rows[:, :4], 2, parametrization=Switches())
        with pytest.raises(InputError, match=r"image_shape is \(4,\), but Switches\(\) is of \(5,\); leave it out"):
            generation.generate(2, (4,), parametrization=Switches())
        with pytest.raises(InputError, match=r"high_frequency_weight is 3, but Switches\(\) is of no images"):
            generation.generate(2, parametrization=Switches(), high_frequency_weight=3.0)

    def test_their_paths_are_compared(self, model):
        rows = torch.rand(12, 5, generator=torch.Generator().manual_seed(0))
        found = PathSimilarity(model, value_range=None).compare(
            rows[:2], rows[2:7], rows[7:], controls=["gray", "noise", "mean_image"]
        )
        expected = spearmanr(model(rows[0]).detach(), model(rows[2:7]).mean(0).detach()).statistic
        assert float(found.spearman["prototype"][0, -1]) == pytest.approx(expected)
        assert found.layers == ["0", "1", "2"]
        with pytest.raises(InputError, match=r"inputs have shape \(5,\), and ascent is a control of images"):
            PathSimilarity(model, value_range=None).compare(rows[:2], rows[2:7], rows[7:], controls=["ascent"])
        with pytest.raises(InputError, match=r"expected \(N, C, H, W\)"):
            PathSimilarity(model).fit(rows)
        with pytest.raises(InputError, match="holds NaN or infinity in row 0"):
            PathSimilarity(model, value_range=None).fit(rows / 0 * 0)

    def test_a_model_that_mixes_rows_is_warned_of(self):
        mixing = nn.Sequential(nn.BatchNorm1d(5, track_running_stats=False), nn.Linear(5, 3))
        with pytest.warns(UserWarning, match="mixes the images of a batch"):
            PrototypeGeneration(mixing).generate([0, 1], parametrization=Switches(), steps=1)
