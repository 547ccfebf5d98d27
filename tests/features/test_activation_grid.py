"""The activation grid: icons that make the layer answer as the image did, each as it would be alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from networks import seeded
from torch import nn

from captum_proto.features import ActivationGrid, ActivationGridResult


def small_cnn() -> nn.Module:
    return seeded(
        lambda: nn.Sequential(
            nn.Conv2d(3, 12, 5, stride=2), nn.ReLU(), nn.Conv2d(12, 16, 3, stride=2), nn.ReLU(), nn.Flatten()
        )
    ).eval()


def test_an_icon_makes_the_layer_answer_as_the_position_did() -> None:
    model, images = small_cnn(), torch.rand(1, 3, 19, 19)
    grid = ActivationGrid(model, "3").interpret(images, steps=100, lr=0.05, transform=None)
    vectors = model[:4](images)[0].detach()
    assert grid.icons.shape == (1, 3, 3, 3, 19, 19)
    torch.testing.assert_close(grid.magnitudes[0], vectors.norm(dim=0))
    answers = model[:4](grid.icons[0].flatten(0, 1))[:, :, 1, 1].detach()
    cosines = torch.cosine_similarity(answers, vectors.flatten(1).T).view(3, 3)
    torch.testing.assert_close(grid.cosines[0], cosines)
    assert float(cosines.min()) >= 0.8
    # Other positions' icons are not as near: each is of its own position.
    crossed = nn.functional.normalize(answers) @ nn.functional.normalize(vectors.flatten(1).T).T
    assert float((crossed.argmax(0) == torch.arange(9)).float().mean()) > 0.7


def test_of_a_linear_network_the_icon_is_the_optimum() -> None:
    model = seeded(lambda: nn.Sequential(nn.Conv2d(3, 6, 5, stride=2, bias=False), nn.Flatten())).double().eval()
    images = torch.rand(1, 3, 9, 9, dtype=torch.float64)
    grid = ActivationGrid(model, "0", power=0).interpret(
        images, steps=60, lr=0.1, transform=None, parametrization="pixels"
    )
    vectors = model[0](images)[0].detach().flatten(1).T
    # In the middle of the map a . v = sum w x over the patch, largest where x is 1 for w > 0 and else 0.
    weights = torch.einsum("pc,cabd->pabd", vectors, model[0].weight.detach())
    best = weights.clamp(min=0).flatten(1).sum(1)
    middle = model[0](grid.icons[0].flatten(0, 1).double())[:, :, 1, 1].detach()
    reached = (middle * vectors).sum(1)
    assert bool((reached >= 0.999 * best).all())
    assert bool((reached <= best + 1e-4).all())  # icons are kept in float32


def test_an_icon_is_what_it_is_alone() -> None:
    model, images = small_cnn().double(), torch.rand(2, 3, 15, 15, dtype=torch.float64)
    grid = ActivationGrid(model, "3")
    choices = {"picture_size": 15, "steps": 4}
    whole = grid.interpret(images, batch_size=5, **choices)
    for number in range(2):
        alone = grid.interpret(images[number], batch_size=1, **choices)
        torch.testing.assert_close(alone.icons[0], whole.icons[number], rtol=0, atol=1e-6)
    torch.testing.assert_close(grid.render(images, **choices), torch.stack([whole.picture(0), whole.picture(1)]))


def test_the_area_of_a_cell_goes_with_the_length_of_its_vector() -> None:
    icons = torch.zeros(1, 2, 2, 3, 20, 20)
    magnitudes = torch.tensor([[[4.0, 1.0], [0.0, 2.0]]])
    grid = ActivationGridResult(torch.zeros(1, 3, 8, 8), magnitudes, icons, torch.ones(1, 2, 2))
    dark = grid.picture() == 0
    areas = [int(cell.sum()) for row in dark[0].split(20, 0) for cell in row.split(20, 1)]
    assert areas == [400, 100, 0, 196]  # 20, 10, none, and 14.1 rounded to 14
    assert int((grid.picture(scaled=False)[0] == 0).sum()) == 1200
    with pytest.raises(ValueError, match="number is 1, but the grid is of 1 images"):
        grid.picture(1)


def test_a_position_that_is_zero_is_gray_and_the_others_are_drawn(tmp_path: Path) -> None:
    model = nn.Sequential(seeded(lambda: nn.Conv2d(3, 4, 3, stride=3, bias=False)), nn.ReLU()).eval()
    image = torch.zeros(3, 9, 9)
    image[:, :3] = torch.rand(3, 3, 9)
    grid = ActivationGrid(model, "1").interpret(image, steps=2)
    assert bool((grid.icons[0, 1:] == 0.5).all())
    assert bool(grid.cosines[0, 1:].isnan().all())
    assert bool((grid.icons[0, 0] != 0.5).any())
    assert not bool(grid.cosines[0, 0].isnan().any())
    grid.save(tmp_path / "grid.safetensors")
    loaded = ActivationGridResult.load(tmp_path / "grid.safetensors")
    for name, value in vars(grid).items():
        assert (
            loaded.settings == value
            if name == "settings"
            else torch.equal(getattr(loaded, name).nan_to_num(7), value.nan_to_num(7))
        )
    with pytest.raises(ValueError, match="returns zeros for these images"):
        ActivationGrid(model, "1").interpret(torch.zeros(3, 9, 9))


def test_bad_input_gets_a_sentence(make_cnn, untouched) -> None:
    model, images = make_cnn(), torch.rand(1, 3, 12, 12)
    with untouched(model):
        for call, words in [
            (lambda: ActivationGrid(model, "head").interpret(images), "no positions in rows and columns"),
            (lambda: ActivationGrid(model, "blok"), 'no layer "blok"'),
            (lambda: ActivationGrid(model, "block").interpret(images[:, :2]), "does not take images"),
            (lambda: ActivationGrid(model, "block").interpret(images, picture_size=0), "picture_size is 0"),
            (lambda: ActivationGrid(model, "block").interpret(images, batch_size=0), "batch_size is 0"),
            (lambda: ActivationGrid(model, "block").interpret(images.long()), "dtype torch.int64"),
        ]:
            with pytest.raises((ValueError, TypeError), match=words) as raised:
                call()
            assert type(raised.value).__module__ == "captum_proto._utils.errors"
