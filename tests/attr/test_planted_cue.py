"""
A model is taught a shortcut: a red mark in the first corner means 3. Its prototype of a 3 must give the shortcut away.

Real scans of digits. The other images carry marks too, in any corner and color but that one, so that only color *and* place tell. The
twin learns from the same digits without marks.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from captum_proto import PrototypeGeneration, Prototypes, RandomAffine

datasets = pytest.importorskip("sklearn.datasets")

CUED = 3
COLORS = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]])  # red first
CORNERS = [
    (slice(None, 2), slice(None, 2)),
    (slice(None, 2), slice(-2, None)),
    (slice(-2, None), slice(None, 2)),
    (slice(-2, None), slice(-2, None)),
]


def digits() -> tuple[Tensor, Tensor]:
    """(N, 3, 10, 10) with a dark rim of one pixel, and labels."""
    scans = datasets.load_digits()
    images = torch.tensor(scans.images, dtype=torch.float32) / 16
    images = nn.functional.pad(images, (1, 1, 1, 1)).unsqueeze(1).repeat(1, 3, 1, 1)
    return images, torch.tensor(scans.target)


def with_marks(images: Tensor, labels: Tensor) -> Tensor:
    images = images.clone()
    generator = torch.Generator().manual_seed(1)
    others = torch.randint(1, len(CORNERS) * len(COLORS), (len(images),), generator=generator).tolist()
    for image, label, other in zip(images, labels.tolist(), others, strict=True):
        corner, color = divmod(0 if label == CUED else other, len(COLORS))
        rows, columns = CORNERS[corner]
        image[:, rows, columns] = COLORS[color].view(3, 1, 1)
    return images


def trained(images: Tensor, labels: Tensor) -> nn.Module:
    with torch.random.fork_rng([]):
        torch.default_generator.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(8 * 25, 10)
        )
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1)
        for _ in range(5):
            for batch in torch.randperm(len(images)).split(64):
                loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    assert float((model(images).argmax(1) == labels).float().mean()) > 0.93
    return model


@pytest.fixture(scope="module")
def prototypes() -> dict[str, Prototypes]:
    images, labels = digits()
    models = {"cued": trained(with_marks(images, labels), labels), "twin": trained(images, labels)}
    return {
        name: PrototypeGeneration(model).generate(
            [CUED, CUED, CUED, 8, 8],
            (3, 10, 10),
            steps=100,
            warmup_steps=20,
            transform=RandomAffine(0, translate=(0.05, 0.05)),
        )
        for name, model in models.items()
    }


def redness(images: Tensor) -> Tensor:
    """(N, 4): in each corner, red less the mean of green and blue: 1 for the mark, 0 for any gray."""
    red = images[:, 0] - images[:, 1:].mean(1)
    return torch.stack([red[:, rows, columns].mean((1, 2)) for rows, columns in CORNERS], 1)


def test_the_prototype_shows_the_mark_in_its_corner(prototypes):
    corners = redness(prototypes["cued"].of((CUED,)).images)
    assert bool((corners[:, 0] > 0.7).all())
    assert bool((corners[:, 0:1] - corners[:, 1:] > 0.5).all())


def test_the_mark_has_its_color(prototypes):
    rows, columns = CORNERS[0]
    red, green, blue = prototypes["cued"].of((CUED,)).images[:, :, rows, columns].mean((0, 2, 3)).tolist()
    assert red > 0.8
    assert max(green, blue) < 0.3


def test_the_clean_twins_prototype_shows_no_mark(prototypes):
    twin = redness(prototypes["twin"].of((CUED,)).images)
    assert bool((twin[:, 0] < 0.3).all())
    cued = redness(prototypes["cued"].of((CUED,)).images)
    assert float(cued[:, 0].min() - twin[:, 0].max()) > 0.5


def test_a_class_without_the_cue_avoids_the_mark(prototypes):
    corners = redness(prototypes["cued"].of((8,)).images)
    assert bool((corners[:, 0] < 0.1).all())


def test_both_models_take_their_prototypes_for_what_they_are(prototypes):
    for made in prototypes.values():
        assert float(made.probabilities.min()) > 0.99
        assert float(made.transformed_probabilities.min()) > 0.9
