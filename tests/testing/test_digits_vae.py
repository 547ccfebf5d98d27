"""A learned prior of digits: what it changes about prototypes, beside pixels and beside random codes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from captum_proto.data import digits_images
from captum_proto.models import NamedModel, load_model
from captum_proto.optim import ClassLogit, InputOptimization, LatentImage, Parametrization, PixelImage
from captum_proto.testing import DigitsVAE, digits_vae

linear_model = pytest.importorskip("sklearn.linear_model")

TARGETS = [digit for digit in range(10) for _ in range(3)]


@pytest.fixture(scope="module")
def vae() -> DigitsVAE:
    return digits_vae()


@pytest.fixture(scope="module")
def digits() -> NamedModel:
    return load_model("digits")


def prototypes(named: NamedModel, basis: Parametrization, steps: int) -> Tensor:
    optimization = InputOptimization(
        named.model, ClassLogit(TARGETS), named.preprocess, parametrization=basis, steps=steps, lr=0.1
    )
    return optimization.optimize((1, 8, 8)).images


def share_right(predicted: Tensor) -> float:
    return float((predicted == torch.tensor(TARGETS)).double().mean())


def distance(images: Tensor, others: Tensor) -> float:
    """The mean distance to the nearest of others."""
    return float(torch.cdist(images.flatten(1), others.flatten(1)).min(1).values.mean())


def test_prototypes_from_codes_are_digits_and_those_from_pixels_are_not(vae, digits):
    held_out, _ = digits_images("held_out")
    training, labels = digits_images("training")
    pictures = {
        "codes": prototypes(digits, LatentImage(vae.decoder, (8,)), 120),
        "pixels": prototypes(digits, PixelImage(), 120),
        "random codes": prototypes(digits, LatentImage(vae.decoder, (8,), sd=1.0), 0),
    }
    network = {name: share_right(digits.logits(images).argmax(1)) for name, images in pictures.items()}
    assert network["codes"] >= 0.9
    assert network["pixels"] >= 0.9  # the network is as sure of what is no digit
    assert network["random codes"] <= 0.35
    # Another classifier, of another kind: what is a digit to it too is one.
    judge = linear_model.LogisticRegression(max_iter=2000).fit(training.flatten(1).numpy(), labels.numpy())
    judged = {
        name: share_right(torch.from_numpy(judge.predict(images.flatten(1).numpy())))
        for name, images in pictures.items()
    }
    assert judged["codes"] >= 0.9
    assert judged["pixels"] <= 0.7
    # As near to scans that nobody has trained on as other scans are.
    near = {name: distance(images, held_out) for name, images in pictures.items()}
    among_scans = distance(training[:400], held_out)
    assert near["codes"] < 1.3 * among_scans
    assert near["pixels"] > 2 * among_scans


@torch.no_grad()
def test_codes_hold_scans_that_were_not_trained_on(vae):
    held_out, _ = digits_images("held_out")
    restored = vae(held_out)
    # Against the best that is known without a code: the mean scan.
    assert float((restored - held_out).square().mean()) < 0.5 * float((held_out - held_out.mean(0)).square().mean())
    basis = LatentImage(vae.decoder, (8,), encoder=vae.encode).for_images((1, 8, 8), (0.0, 1.0))
    within = vae.encode(held_out).abs().amax(1) < 3
    torch.testing.assert_close(basis.render(basis.parameters_of(held_out))[within], restored[within])
    codes = vae.encode(held_out)
    assert float(codes.mean(0).abs().max()) < 0.5
    assert float(codes.std()) == pytest.approx(0.9, abs=0.3)


def test_the_same_seed_gives_the_same_weights_and_nothing_is_drawn_from_the_caller():
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    first, second, other = digits_vae(epochs=1), digits_vae(epochs=1), digits_vae(seed=1, epochs=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))
    assert not first.training
