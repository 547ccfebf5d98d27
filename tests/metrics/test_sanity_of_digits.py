"""Sanity checks on networks that have learned digits: what is published of the methods, labels that were permuted, prototypes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from captum.attr import GuidedBackprop, GuidedGradCam, InputXGradient, Saliency
from networks import seeded
from torch import Tensor, nn

from captum_proto import PrototypeGeneration
from captum_proto.attr import GradCam
from captum_proto.data import digits_images
from captum_proto.metrics import (
    EdgeDetector,
    data_randomization,
    linear_control,
    parameter_randomization,
    prototype_randomization,
)
from captum_proto.metrics.randomization import PrototypeRandomization, RandomizationResult, SanityTable, verdicts

pytest.importorskip("sklearn")


def _trained(labels: Tensor, epochs: int, seed: int = 0) -> nn.Sequential:
    """A small network that has learned these labels of the first training scans."""

    def train() -> nn.Sequential:
        images = digits_images("training").images[: len(labels)]
        network = nn.Sequential(
            *(nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 24, 3), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(216, 64), nn.ReLU(), nn.Linear(64, 10)),
        )
        optimizer = torch.optim.Adam(network.parameters(), 0.01)
        for _ in range(epochs):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(images), labels).backward()
            optimizer.step()
        return network.eval()

    return seeded(train, seed)


def _accuracy(network: nn.Module, labels: Tensor) -> float:
    with torch.no_grad():
        return float((network(digits_images("training").images[: len(labels)]).argmax(1) == labels).float().mean())


@pytest.fixture(scope="module")
def labels() -> Tensor:
    return digits_images("training").labels[:300]


@pytest.fixture(scope="module")
def network(labels: Tensor) -> nn.Sequential:
    found = _trained(labels, 40)
    assert _accuracy(found, labels) > 0.95
    return found


@pytest.fixture(scope="module")
def held_out() -> tuple[Tensor, list[int]]:
    images, labels = digits_images("held_out", limit=12)
    return images, labels.tolist()


def test_verdicts_are_those_of_the_paper(network: nn.Sequential, held_out: tuple[Tensor, list[int]]) -> None:
    """Adebayo et al.: the gradient and Grad-CAM pass, guided backpropagation and guided Grad-CAM fail."""
    images, target = held_out
    methods: dict[str, tuple[Any, dict[str, Any]]] = {
        "Saliency": (Saliency(network), {"abs": False}),
        "InputXGradient": (InputXGradient(network), {}),
        "GuidedBackprop": (GuidedBackprop(network), {}),
        "LayerGradCam": (GradCam(network, "3"), {}),
        "GuidedGradCam": (GuidedGradCam(network, network[3]), {}),
    }
    options: dict[str, Any] = {"similarity": ("spearman", "spearman_abs"), "seeds": 6}
    results = {
        name: parameter_randomization(attribution, network, images, target, **options, **further)
        for name, (attribution, further) in methods.items()
    }
    words = {verdict.method: verdict.word for verdict in verdicts(results, "spearman")}
    assert words["Saliency"] == words["InputXGradient"] == "passes"
    assert words["GuidedBackprop"] == "fails"
    assert words["GuidedGradCam"] != "passes"
    assert words["LayerGradCam"] != "fails"
    # Without their signs, maps that are multiplied by the image keep the image.
    shares = {name: result.retained("spearman_abs", None).share.value for name, result in results.items()}
    assert shares["InputXGradient"] > shares["Saliency"] + 0.1
    edges = parameter_randomization(EdgeDetector(network), network, images, target, **options)
    table = SanityTable(results, {"Saliency": "passes"}, edges, linear_control(images, target, seeds=6))
    assert [row[-1] for row in table.control_rows()] == ["yes"] * 13
    assert "edge detector" in table.table()


def test_maps_of_a_network_that_learned_permuted_labels_are_others(
    network: nn.Sequential, labels: Tensor, held_out: tuple[Tensor, list[int]]
) -> None:
    random = torch.Generator().manual_seed(0)
    others = []
    for seed in range(2):
        permuted = labels[:100][torch.randperm(100, generator=random)]
        others.append(_trained(permuted, 60, seed + 1))
        assert _accuracy(others[-1], permuted) >= 0.95  # learned by heart
    images, target = held_out
    gradient = data_randomization(Saliency(network), [*map(Saliency, others)], images, target, "spearman_abs")
    edges = data_randomization(EdgeDetector(network), [*map(EdgeDetector, others)], images, target, "spearman_abs")
    assert gradient.stages == ["none", "permuted labels"]
    assert bool((gradient.similarity["spearman_abs"][:, 0] == 1).all())
    assert bool((edges.similarity["spearman_abs"] == 1).all())
    assert gradient.mean("spearman_abs").estimate().value < 0.5
    with pytest.raises(ValueError, match="randomized is empty"):
        data_randomization(Saliency(network), [], images, target)


@pytest.fixture(scope="module")
def natural() -> list[Tensor]:
    return [digits_images("held_out", digit, 12).images for digit in (0, 3, 7)]


def test_prototypes_lose_their_class_and_path_similarity(
    network: nn.Sequential, natural: list[Tensor], tmp_path: Path
) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    options: dict[str, Any] = {"steps": 48, "warmup_steps": 0, "transform": None, "high_frequency_weight": 0.1}
    generation = PrototypeGeneration(network)
    found = prototype_randomization(generation, network, natural, [0, 3, 7], (1, 8, 8), seeds=4, **options)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    expected = generation.generate([0, 3, 7], (1, 8, 8), **options)
    assert torch.equal(found.pictures[0, 0], expected.images)
    assert torch.allclose(found.result.whole["class"].float(), expected.probabilities, atol=1e-5)
    assert float(found.result.whole["class"].min()) > 0.9
    own = found.result.similarity
    assert bool((own["class"][:, 1].mean(0) < 0.6).all())
    assert bool((own["path"][:, 1].mean(0) < own["path"][0, 0]).all())
    (verdict,) = verdicts({"prototypes": found.result}, "class")
    assert verdict.last.share.value < 0.3
    assert verdict.word != "fails"
    found.save(tmp_path / "prototypes.safetensors")
    again = PrototypeRandomization.load(tmp_path / "prototypes.safetensors")
    assert torch.equal(again.pictures, found.pictures)
    assert again.result.retained("path") == found.result.retained("path")


class _Means:
    """Makes "prototypes" that are the mean image of a class, whatever the network."""

    def __init__(self, network: nn.Module, natural: list[Tensor]) -> None:
        self.network, self.means = network, torch.stack([images.mean(0) for images in natural])

    def generate(self, target: Any, image_shape: Any, **options: Any) -> Any:
        class Made:
            images = self.means

        return Made()


def test_prototypes_that_do_not_look_at_the_network_fail(network: nn.Sequential, natural: list[Tensor]) -> None:
    made = _Means(network, natural)
    found = prototype_randomization(made, network, natural, [0, 3, 7], (1, 8, 8), seeds=2)
    for measure in ("class", "path"):
        (verdict,) = verdicts({"means": found.result}, measure)
        assert verdict.last.share.value == 1
        assert verdict.word == "fails"


def test_bad_input_of_prototypes_is_a_sentence(network: nn.Sequential, natural: list[Tensor]) -> None:
    made = _Means(network, natural)
    with pytest.raises(ValueError, match="natural holds 3 entries for 2 targets"):
        prototype_randomization(made, network, natural, [0, 3], (1, 8, 8))
    with pytest.raises(TypeError, match="generation is a int"):
        prototype_randomization(3, network, natural, [0, 3, 7], (1, 8, 8))
    with pytest.raises(ValueError, match='no order "down"'):
        prototype_randomization(made, network, natural, [0, 3, 7], (1, 8, 8), order="down")
    with pytest.raises(ValueError, match="does not refer to the model"):
        prototype_randomization(made, nn.Linear(2, 2), natural, [0, 3, 7], (1, 8, 8))


def test_what_is_left_is_tested_against_the_margin() -> None:
    random = torch.Generator().manual_seed(0)

    def result(own: float) -> RandomizationResult:
        values = own + 0.05 * torch.randn(6, 2, 8, generator=random)
        values[:, 0] = 1
        return RandomizationResult(["none", "all"], {"spearman": values}, {"spearman": torch.full((6, 2, 8), 0.2)})

    results = {"gone": result(0.2), "left": result(0.8), "between": result(0.2 + 0.3 * 0.8)}
    found = {verdict.method: verdict for verdict in verdicts(results, "spearman")}
    assert {name: verdict.word for name, verdict in found.items()} == {
        "gone": "passes",
        "left": "fails",
        "between": "undecided",
    }
    assert found["left"].last.share.value == pytest.approx(0.75, abs=0.02)
    assert found["gone"].p_value == pytest.approx(min(1.0, 2 * results["gone"].retained("spearman").p_value), rel=1)
    with pytest.raises(ValueError, match="margin is 1"):
        verdicts(results, "spearman", margin=1.0)
    with pytest.raises(ValueError, match="level is 0"):
        verdicts(results, "spearman", level=0.0)
    with pytest.raises(ValueError, match='no similarity "ssim" here'):
        verdicts(results, "ssim")
    with pytest.raises(ValueError, match='there is no stage "fc"'):
        results["gone"].mean("spearman", "fc")
    with pytest.raises(ValueError, match="stage is 5; there are 2"):
        results["gone"].mean("spearman", 5)
