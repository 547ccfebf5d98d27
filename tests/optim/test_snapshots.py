"""An optimization that was killed goes on from its snapshot, and ends in the same images, bit for bit."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import killing
import pytest
import torch
from killing import Killed, killed_after, same
from networks import seeded
from safetensors import safe_open
from torch import Tensor, nn

from captum_proto import PRESETS, PrototypeGeneration
from captum_proto.optim import (
    AlphaImage,
    ChannelActivation,
    ClassLogit,
    Compose,
    CPPNImage,
    FFTImage,
    GaussianNoise,
    HighFrequency,
    InputOptimization,
    LaplacianImage,
    LatentImage,
    Loss,
    MACOImage,
    MaskedImage,
    Outputs,
    PhaseImage,
    PixelImage,
    ProbabilityVariance,
    RandomAffine,
    SharedImage,
    Snapshot,
    StackImage,
    feature_visualization_transform,
    forward,
    visualize,
)
from captum_proto.optim.network import arrange
from captum_proto.optim.result import OptimizationResult
from captum_proto.runs import snapshots

SIZE = 24
SHAPE = (3, SIZE, SIZE)


def network() -> nn.Sequential:
    """With batch normalization, which is folded: an arrangement that is found by the first step alone."""
    layers = seeded(
        lambda: nn.Sequential(
            nn.Conv2d(3, 6, 5),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.Conv2d(6, 8, 5, stride=2),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(32, 5),
        )
    )
    with torch.no_grad():
        layers[1].running_mean.copy_(torch.linspace(-0.2, 0.2, 6))
    return layers.eval()


def decoder() -> nn.Module:
    return seeded(lambda: nn.Sequential(nn.Linear(6, 3 * SIZE * SIZE), nn.Sigmoid(), nn.Unflatten(1, SHAPE))).eval()


check = functools.partial(killing.check, image_shape=SHAPE)
MASK = torch.zeros(SIZE, SIZE)
MASK[4:12, 2:9] = 1.0
PARAMETRIZATIONS: dict[str, Callable[[], Any]] = {
    "pixels": PixelImage,
    "fourier": FFTImage,
    "coarse to fine": lambda: FFTImage(coarse_to_fine=0.6),
    "half size": lambda: PhaseImage(coarse_to_fine=0.5, half_size=0.5),
    "phase": PhaseImage,
    "maco": lambda: MACOImage(torch.linspace(1, 2, SIZE * (SIZE // 2 + 1)).view(SIZE, -1).expand(3, -1, -1).clone()),
    "laplacian": LaplacianImage,
    "cppn": lambda: CPPNImage(hidden=6, layers=3),
    "stacked": lambda: StackImage([FFTImage(), PixelImage()]),
    "shared": lambda: SharedImage(FFTImage(), ["a", "a"], divisors=(4, 2)),
    "alpha": lambda: AlphaImage(FFTImage()),
    "masked": lambda: MaskedImage(FFTImage(), torch.full(SHAPE, 0.3), MASK),
    "latent": lambda: LatentImage(decoder(), code_shape=(6,)),
}


@pytest.mark.parametrize("name", PARAMETRIZATIONS)
def test_every_parametrization(name: str, tmp_path: Path) -> None:
    def make() -> InputOptimization:
        loss = ClassLogit([1, 3])
        return InputOptimization(
            network(), loss, steps=11, parametrization=PARAMETRIZATIONS[name](), transform=RandomAffine(20)
        )

    check(make, tmp_path / "snapshot", (5, 4))


@pytest.mark.parametrize(
    ("name", "transform"),
    [
        ("none", None),
        ("paper", PRESETS["paper"]["transform"]),
        ("feature visualization", feature_visualization_transform(SIZE)),
        ("maco", PRESETS["maco"]["transform"]),
        ("deep inversion", PRESETS["deep_inversion"]["transform"]),
        ("noise", Compose([RandomAffine(10, fill="reflect"), GaussianNoise(0.1)])),
        ("of the global generator", lambda images: images + 0.1 * torch.rand(images.shape)),
    ],
)
@pytest.mark.parametrize("optimizer", ["adam", "nadam"])
def test_every_transform_and_optimizer(name: str, transform: Any, optimizer: str, tmp_path: Path) -> None:
    def make() -> InputOptimization:
        loss = ClassLogit([1, 3]) + 0.1 * HighFrequency()
        choices = {"transform": transform, "optimizer": optimizer, "lr_schedule": "cosine"}
        return InputOptimization(network(), loss, steps=9, **choices)

    check(make, tmp_path / "snapshot", (4, 4), every=2, snapshot_steps=[0, 2, 7])


@pytest.mark.parametrize("kills", [(4,), (6,), (9, 2), (10,)])
@pytest.mark.parametrize("tolerance", [0.0, 1.03e-4])
def test_a_warm_up_that_ends_early_for_some(kills: tuple[int, ...], tolerance: float, tmp_path: Path) -> None:
    def make() -> InputOptimization:
        generation = {"warmup_steps": 8, "warmup_tolerance": tolerance, "steps": 6, "lr": 0.2}
        return InputOptimization(network(), ClassLogit([1, 3]), warmup=ProbabilityVariance(), **generation)

    check(make, tmp_path / "snapshot", kills, every=2)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_other_precisions(dtype: torch.dtype, tmp_path: Path) -> None:
    """The optimizers' own numbers are of a dtype of their own, which loading them as PyTorch does would change."""

    def make() -> InputOptimization:
        model = network().to(dtype) if dtype == torch.float64 else network()
        autocast = None if dtype == torch.float64 else dtype
        return InputOptimization(model, ClassLogit([1, 3]), steps=9, optimizer="nadam", autocast=autocast)

    check(make, tmp_path / "snapshot", (5,))


def test_how_the_network_is_run_is_found_on_the_first_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether a folded network gives the same output is a matter of the images at hand: a resumed run has to fold what the first did."""
    seen: list[Tensor] = []

    def watched(pipeline: Any, prepared: Tensor, *choices: Any) -> Any:
        seen.append(prepared.clone())
        return arrange(pipeline, prepared, *choices)

    monkeypatch.setattr(forward, "arrange", watched)
    begun(tmp_path / "s", transform=RandomAffine(20))()
    assert len(seen) == 2
    assert torch.equal(*seen)


def test_units_without_a_gradient_at_first(tmp_path: Path) -> None:
    def make() -> InputOptimization:
        model = network()
        with torch.no_grad():
            model[0].bias -= 3  # off until it is turned on
        return InputOptimization(model, ChannelActivation("2", [1, 3]), steps=12, redirect_relu_steps=6)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = make().optimize(SHAPE, seed=3)
        with pytest.raises(Killed):
            make().optimize(SHAPE, seed=3, callback=killed_after(8), snapshot=Snapshot(tmp_path / "s", 2))
        same(expected, make().optimize(SHAPE, seed=3, snapshot=Snapshot(tmp_path / "s", 2)))


class Restless(Loss):
    """A loss that remembers: the class, and less of what the images were on average; and that draws from the global generator."""

    def __init__(self) -> None:
        self.mean: Tensor | None = None

    def __call__(self, outputs: Outputs, images: Tensor) -> Tensor:
        mean = images.detach().mean((1, 2, 3))
        self.mean = mean if self.mean is None else 0.9 * self.mean + 0.1 * mean
        return (images.mean((1, 2, 3)) * self.mean + 0.01 * torch.rand(len(images))) * outputs.logits.std(1)

    def state_dict(self) -> dict[str, Tensor]:
        return {} if self.mean is None else {"mean": self.mean}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.mean = state.get("mean")


def test_a_loss_with_a_state_of_its_own_and_the_global_generator(tmp_path: Path) -> None:
    def make() -> InputOptimization:
        torch.manual_seed(5)
        return InputOptimization(network(), ClassLogit([1, 3]) + 2 * Restless(), steps=10)

    check(make, tmp_path / "snapshot", (5, 4), every=2)


def test_a_generator_from_which_nothing_draws_is_left_alone(tmp_path: Path) -> None:
    def make() -> InputOptimization:
        return InputOptimization(network(), ClassLogit([1, 3]), steps=10)

    with pytest.raises(Killed):
        make().optimize(SHAPE, callback=killed_after(7), snapshot=Snapshot(tmp_path / "s", 2))
    torch.manual_seed(11)
    expected = torch.get_rng_state()
    make().optimize(SHAPE, snapshot=Snapshot(tmp_path / "s", 2))
    assert torch.equal(torch.get_rng_state(), expected)


def test_prototypes_of_several_batches(tmp_path: Path) -> None:
    """A batch that is done when a later one is killed is not made again."""
    folder, options = tmp_path / "snapshot", {"steps": 8, "warmup_steps": 4, "batch_size": 2, "image_shape": SHAPE}
    generation = PrototypeGeneration(network())
    expected = generation.generate([0, 1, 2, 3], **options)
    with pytest.raises(Killed):
        generation.generate([0, 1, 2, 3], **options, callback=killed_after(12 + 7), snapshot=Snapshot(folder, 3))
    assert sorted(path.name for path in folder.iterdir()) == ["00000.safetensors", "00001.safetensors"]
    seen: list[range] = []
    found = generation.generate(
        [0, 1, 2, 3], **options, callback=lambda step: seen.append(step.prototypes), snapshot=Snapshot(folder, 3)
    )
    assert set(seen) == {range(2, 4)}
    assert torch.equal(expected.images, found.images)
    assert torch.equal(expected.transformed_logits, found.transformed_logits)
    assert expected.settings == found.settings
    assert not folder.exists()


def test_given_images_in_captums_signature(tmp_path: Path) -> None:
    start, generation = torch.rand(2, *SHAPE), PrototypeGeneration(network())
    expected = generation.attribute(start, target=[1, 2], steps=7)
    with pytest.raises(Killed):
        generation.attribute(start, [1, 2], steps=7, callback=killed_after(5), snapshot=Snapshot(tmp_path / "s", 2))
    assert torch.equal(expected, generation.attribute(start, [1, 2], steps=7, snapshot=Snapshot(tmp_path / "s", 2)))


def test_pictures_of_units_with_attempts(tmp_path: Path) -> None:
    def make(**options: Any) -> Any:
        return visualize(
            network(), ChannelActivation("3", range(3)), SHAPE, steps=6, attempts=2, batch_size=2, **options
        )

    expected, seen = make(), []
    with pytest.raises(Killed):
        make(callback=killed_after(16), snapshot=Snapshot(tmp_path / "s", 2))
    found = make(snapshot=Snapshot(tmp_path / "s", 2), callback=lambda step: seen.append(step))
    assert torch.equal(expected.images, found.images)
    assert torch.equal(expected.attempts, found.attempts)
    assert len(seen) == 24 - 14  # the last of them was kept after two of four, and two of the fourth


def begun(folder: Path, **choices: Any) -> Callable[[], OptimizationResult]:
    """An optimization that was killed, and the same again."""

    def make(callback: Any = None) -> OptimizationResult:
        optimization = InputOptimization(network(), ClassLogit([1, 3]), steps=8, **choices)
        return optimization.optimize(SHAPE, callback=callback, snapshot=Snapshot(folder, 2))

    with pytest.raises(Killed):
        make(killed_after(5))
    return make


@pytest.mark.parametrize(
    "change", ["lr", "steps", "model", "seed", "loss", "versions", "start", "snapshot_steps", "warmup"]
)
def test_a_snapshot_of_something_else_is_left_aside(
    change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun(tmp_path / "s")
    model = network()
    if change == "model":
        with torch.no_grad():
            model[7].bias[0] += 1e-3
    if change == "versions":
        monkeypatch.setattr("captum_proto.optim.resumption.versions", lambda: {"captum_proto": "another"})
    choices = {"lr": 0.06 if change == "lr" else 0.05, "steps": 9 if change == "steps" else 8}
    if change == "warmup":
        choices["transform"] = RandomAffine(5)
    loss = ClassLogit([1, 2] if change == "loss" else [1, 3])
    how: dict[str, Any] = {"seed": 1 if change == "seed" else 0}
    how |= {"start": torch.rand(2, *SHAPE)} if change == "start" else {"image_shape": SHAPE}
    if change == "snapshot_steps":
        how["snapshot_steps"] = [4]
    expected = InputOptimization(model, loss, **choices).optimize(**how)
    with pytest.warns(
        snapshots.SnapshotWarning, match=r"s.00000\.safetensors\" is of something else \(.*differ"
    ) as told:
        found = InputOptimization(model, loss, **choices).optimize(**how, snapshot=Snapshot(tmp_path / "s", 2))
    assert str(told[0].message).endswith("; the optimization begins anew.")
    same(expected, found)


def test_a_damaged_snapshot_is_told_of_and_the_optimization_begins_anew(tmp_path: Path) -> None:
    expected = InputOptimization(network(), ClassLogit([1, 3]), steps=8).optimize(SHAPE)
    begun(tmp_path / "s")
    path = tmp_path / "s" / "00000.safetensors"
    content = path.read_bytes()
    random = torch.Generator().manual_seed(0)
    places = torch.randint(len(content), (40,), generator=random).tolist()
    damaged = [content[: len(content) // 2], b"", b"not a snapshot"]
    damaged += [content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :] for place in [9, 200, *places]]
    for data in damaged:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        with pytest.warns(snapshots.SnapshotWarning, match=r"(damaged \(|of something else)"):
            found = InputOptimization(network(), ClassLogit([1, 3]), steps=8).optimize(
                SHAPE, snapshot=Snapshot(tmp_path / "s", 0)
            )
        same(expected, found)


def test_it_is_safetensors_and_json(tmp_path: Path) -> None:
    begun(tmp_path / "s")
    with safe_open(tmp_path / "s" / "00000.safetensors", framework="pt") as file:
        names = set(file.keys())
        assert file.metadata().keys() == {"captum_proto"}
    assert {"parameters/pixels", "optimizer0/exp_avg", "optimizer0/exp_avg_sq", "optimizer0/step", "now/loss"} <= names


def test_what_cannot_be_used_leaves_none(tmp_path: Path) -> None:
    """A network that returns NaN would do so again."""

    class Broken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.passes = network(), 0

        def forward(self, images: Tensor) -> Tensor:
            self.passes += 1
            return self.inner(images) * (float("nan") if self.passes > 12 else 1.0)

    optimization = InputOptimization(Broken(), ClassLogit([1]), steps=20)
    with pytest.raises(ValueError, match="returned NaN"):
        optimization.optimize(SHAPE, snapshot=Snapshot(tmp_path / "s", 2))
    assert not (tmp_path / "s").exists()


def test_nothing_of_others_goes_with_it(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    InputOptimization(network(), ClassLogit([1, 3]), steps=8).optimize(SHAPE, snapshot=Snapshot(tmp_path, 2))
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
