"""Edits for the length of a block: what is ablated says nothing, what is projected out is gone, and the model comes back as it was."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from captum_proto._utils.errors import InputError
from captum_proto.edit import ablate_units, project_out


class Recording(nn.Module):
    """Keeps what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x)
        return x


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), Recording(), nn.Flatten(), nn.Linear(5 * 36, 4)).eval()


def test_ablated_units_say_nothing_in_every_pass() -> None:
    model, images = network(), torch.rand(2, 3, 8, 8)
    before = model(images)
    whole = model[2].seen.pop()
    with ablate_units(model, "1", [0, 3]):
        for _ in range(2):
            changed = model(images)
            seen = model[2].seen.pop()
            assert not seen[:, [0, 3]].any()
            assert torch.equal(seen[:, [1, 2, 4]], whole[:, [1, 2, 4]])
    assert not torch.equal(changed, before)
    assert torch.equal(model(images), before)
    assert not model[1]._forward_hooks


def test_they_may_say_something_else() -> None:
    model, images = network(), torch.rand(2, 3, 8, 8)
    with ablate_units(model, "1", 2, value=1.5):
        model(images)
    assert bool((model[2].seen.pop()[:, 2] == 1.5).all())
    with ablate_units(model, model[1], [4, 1], value=torch.tensor([7.0, 8.0])):
        model(images)
    seen = model[2].seen.pop()
    assert bool((seen[:, 4] == 7).all())
    assert bool((seen[:, 1] == 8).all())


def test_it_is_as_if_the_weights_after_them_were_zero() -> None:
    model, images = network(), torch.rand(2, 3, 8, 8)
    with ablate_units(model, "1", [1]):
        ablated = model(images)
    weights = model[4].weight.data.view(4, 5, 36)
    weights[:, 1] = 0
    torch.testing.assert_close(ablated, model(images))


def test_no_gradient_goes_through_ablated_units() -> None:
    model, images = network(), torch.rand(1, 3, 8, 8, requires_grad=True)
    with ablate_units(model, "1", range(5)):
        (gradient,) = torch.autograd.grad(model(images).sum(), images)
    assert not gradient.any()


def test_tokens_and_vectors_have_units_too() -> None:
    model = nn.Sequential(nn.Linear(6, 4))
    with ablate_units(model, "0", [3]):
        assert not model(torch.rand(2, 7, 6))[..., 3].any()
        assert not model(torch.rand(2, 6))[..., 3].any()
    with ablate_units(model, "0", [3], channel_axis=1):
        assert not model(torch.rand(2, 7, 6))[:, 3].any()


@pytest.mark.parametrize("count", [1, 2])
def test_what_is_projected_out_is_gone_and_nothing_else(count: int) -> None:
    model, images = network(), torch.rand(2, 3, 8, 8)
    model(images)
    whole = model[2].seen.pop()
    directions = torch.randn(count, 5)
    with project_out(model, "1", directions if count > 1 else directions[0]):
        model(images)
    left = model[2].seen.pop()
    along = torch.einsum("dc,nchw->ndhw", directions, left)
    torch.testing.assert_close(along, torch.zeros_like(along), atol=1e-5, rtol=0)
    _, _, basis = torch.linalg.svd(directions)
    others = basis[count:]
    torch.testing.assert_close(
        torch.einsum("dc,nchw->ndhw", others, left), torch.einsum("dc,nchw->ndhw", others, whole)
    )
    twice = torch.cat([directions, 2 * directions])
    with project_out(model, "1", twice):  # which span no more
        model(images)
    torch.testing.assert_close(model[2].seen.pop(), left, atol=1e-5, rtol=1e-4)


def test_the_model_comes_back_after_an_error() -> None:
    model, images = network(), torch.rand(2, 3, 8, 8)
    before = model(images)
    with pytest.raises(KeyboardInterrupt), ablate_units(model, "1", 0), project_out(model, "0", torch.ones(5)):
        raise KeyboardInterrupt
    assert torch.equal(model(images), before)
    assert not model[0]._forward_hooks


def test_bad_input() -> None:
    model, images = network(), torch.rand(1, 3, 8, 8)
    for arguments, sentence in (
        (("9", [0]), 'there is no layer "9"'),
        (("1", []), r"units are \[\]; expected channels"),
        (("1", [1, 1]), r"units are \[1, 1\]"),
        (("1", [-1]), r"units are \[-1\]"),
        (("1", [0, 1], torch.zeros(3)), r"value has shape \(3,\) for 2 units"),
        (("1#0", [0]), '"1#0" is a single call of a layer'),
    ):
        with pytest.raises(InputError, match=sentence), ablate_units(model, *arguments):
            pass
    with pytest.raises(InputError, match="there is no unit 5: the layer has 5"), ablate_units(model, "1", 5):
        model(images)
    with (
        pytest.raises(InputError, match="directions have 4 entries, but the layer has 5 channels"),
        project_out(model, "1", torch.ones(4)),
    ):
        model(images)
    with pytest.raises(InputError, match="hold a zero vector"), project_out(model, "1", torch.zeros(5)):
        pass
    with pytest.raises(TypeError, match="directions is a list"), project_out(model, "1", [1.0] * 5):  # type: ignore[arg-type]
        pass


def test_a_kernel_is_multiplied_by_what_is_left_of_a_direction() -> None:
    model, direction = network(), torch.tensor([1.0, -2.0, 0.0, 0.5, 0.0])
    model[4] = nn.Conv2d(5, 4, 3)
    images, weight = torch.rand(2, 3, 8, 8), model[4].weight
    layers = nn.Sequential(*model[:3], model[4]).eval()
    before, held = layers(images), weight.detach().clone()
    matrix = torch.eye(5) - torch.outer(direction, direction) / direction.square().sum()
    with project_out(layers, None, direction, kernel="3"):
        expected = torch.einsum("ocyx,cd->odyx", held, matrix)
        assert torch.allclose(layers[3].weight, expected, atol=1e-6)
        assert torch.allclose(layers.state_dict()["3.weight"], expected, atol=1e-6)
        changed = layers(images)
    with project_out(layers, "1", direction):
        assert torch.allclose(layers(images), changed, atol=1e-5)
    assert layers[3].weight is weight
    assert torch.equal(weight, held)
    assert torch.equal(layers(images), before)


@pytest.mark.parametrize("kernel", [nn.ConvTranspose2d(5, 4, 3), nn.Linear(5, 4), nn.Conv1d(5, 4, 1)])
def test_kernels_of_any_kind_read_nothing_of_it(kernel: nn.Module) -> None:
    direction = torch.tensor([0.0, 1.0, 1.0, 0.0, 0.0])
    shape = {nn.ConvTranspose2d: (1, 5, 4, 4), nn.Linear: (1, 5), nn.Conv1d: (1, 5, 4)}[type(kernel)]
    model, x = nn.Sequential(kernel), torch.rand(shape)
    along = direction.view(1, 5, *[1] * (len(shape) - 2)).expand(shape)
    with project_out(model, None, direction, kernel="0"):
        assert torch.allclose(model(x + 3 * along), model(x), atol=1e-5)


def test_a_kernel_comes_back_after_an_error() -> None:
    model = nn.Sequential(nn.Linear(3, 2))
    before = model[0].weight.detach().clone()

    def fails() -> None:
        with project_out(model, None, torch.ones(3), kernel="0"):
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fails()
    assert torch.equal(model[0].weight, before)


@pytest.mark.parametrize(
    ("layer", "kernel", "size", "message"),
    [
        ("0", "2", 4, "either layer or kernel"),
        (None, None, 4, "either layer or kernel"),
        (None, "1", 4, "has a kernel"),
        (None, "2", 4, "2 groups"),
        (None, "3", 4, "made from others"),
        (None, "0", 4, "give the one that reads them"),
    ],
)
def test_kernels_that_cannot_be_edited(layer: str | None, kernel: str | None, size: int, message: str) -> None:
    normed = nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 4, 1))
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1, groups=2), normed)
    with (
        pytest.raises(InputError, match=message),
        project_out(model, layer, torch.ones(size), kernel=kernel),
    ):
        pass
