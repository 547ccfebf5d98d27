"""Models whose parameters hold no values, and models on several devices."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode

from captum_proto import PathSimilarity, PrototypeGeneration
from captum_proto._utils.errors import InputError
from captum_proto.optim.loss.objective import Outputs, Rows

SHAPE = (3, 8, 8)


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)
    )


def on_meta() -> nn.Module:
    with torch.device("meta"):
        return network()


def partly_on_meta() -> nn.Module:
    model = network()
    model[5] = nn.Linear(4, 5, device="meta")
    return model


def a_buffer_on_meta() -> nn.Module:
    model = network()
    model[1].running_var = torch.empty(4, device="meta")
    return model


def fake() -> nn.Module:
    with FakeTensorMode():
        return network()


def lazy() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(5))


def generate(model: nn.Module, folder: Path) -> None:
    PrototypeGeneration(model).generate(0, SHAPE, steps=1)


def generate_with_a_function(model: nn.Module, folder: Path) -> None:
    PrototypeGeneration(lambda images: model(images)).generate(0, SHAPE, steps=1)


def fit(model: nn.Module, folder: Path) -> None:
    PathSimilarity(model).fit(torch.rand(2, *SHAPE))


def load(model: nn.Module, folder: Path) -> None:
    PathSimilarity(network()).fit(torch.rand(2, *SHAPE)).save(folder / "reference.safetensors")
    PathSimilarity(model).load(folder / "reference.safetensors")


@pytest.mark.parametrize("use", [generate, generate_with_a_function, fit, load])
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (on_meta, r'^"0\.weight" of the model has no values, for it is on the meta device; .*load the weights'),
        (partly_on_meta, r'^"5\.weight" of the model .*meta device'),
        (a_buffer_on_meta, r'^"1\.running_var" of the model .*meta device'),
        (fake, r'^"0\.weight" of the model .*FakeTensorMode'),
        (lazy, r'^"1\.weight" of the model .*run the model on a batch'),
    ],
)
def test_a_model_without_values_is_told(
    make: Callable[[], nn.Module], words: str, use: Callable[[nn.Module, Path], None], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=words):
        use(make(), tmp_path)


def test_losses_see_outputs_of_other_devices_on_that_of_the_images() -> None:
    with FakeTensorMode():  # which has as many devices as one likes
        rows = Rows(range(2), [(0,), (1,)], torch.empty(2, device="cuda:0"))

        def elsewhere(*shape: int) -> Tensor:
            return torch.empty(shape, device="cuda:1", requires_grad=True)

        outputs = Outputs(elsewhere(2, 5), {"layer": elsewhere(2, 7)}, rows, closely=False)
        assert outputs.logits.device == outputs["layer"].device == torch.device("cuda:0")
        assert outputs.logits.requires_grad
        assert outputs["layer"].requires_grad
