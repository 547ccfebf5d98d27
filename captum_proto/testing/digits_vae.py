"""A small variational autoencoder of digits: a learned prior that is trained on the spot."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from captum_proto._utils.checks import check_int
from captum_proto.data import digits_images
from captum_proto.testing.marked_digits import seeded

#: Passes over the 1352 scans, and scans in a batch.
EPOCHS, BATCH = 30, 64


class DigitsVAE(nn.Module):
    """
    An encoder and a decoder of scans of digits, by layers that know of no convolutions.

    Args:
        codes (int, optional): Entries of a code. Default: 8
        hidden (int, optional): Units of a hidden layer. Default: 128

    Attributes:
        encoder (nn.Module): From images (N, 1, 8, 8) to mean and log variance of a code, (N, 2 * codes).
        decoder (nn.Module): From codes (N, codes) to images (N, 1, 8, 8) in [0, 1].

    Examples::

        >>> DigitsVAE().decoder(torch.zeros(2, 8)).shape
        torch.Size([2, 1, 8, 8])
    """

    def __init__(self, codes: int = 8, hidden: int = 128) -> None:
        super().__init__()
        self.codes = check_int(codes, "codes", 1)
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, hidden), nn.SiLU(), nn.Linear(hidden, 2 * codes))
        self.decoder = nn.Sequential(
            nn.Linear(codes, hidden),
            nn.SiLU(),
            nn.Linear(hidden, hidden),
            nn.SiLU(),
            nn.Linear(hidden, 64),
            nn.Sigmoid(),
            nn.Unflatten(1, (1, 8, 8)),
        )

    def encode(self, images: Tensor) -> Tensor:
        """The mean of the code of each image, (N, codes)."""
        mean: Tensor = self.encoder(images).chunk(2, 1)[0]
        return mean

    def forward(self, images: Tensor) -> Tensor:
        """Images as they come back from their codes."""
        restored: Tensor = self.decoder(self.encode(images))
        return restored

    def loss(self, images: Tensor, noise: Tensor) -> Tensor:
        """The negative evidence lower bound of each image, (N,), with Bernoulli pixels, at codes that ``noise`` (N, codes) chooses."""
        mean, log_variance = self.encoder(images).chunk(2, 1)
        restored = self.decoder(mean + noise * (0.5 * log_variance).exp())
        unlike = nn.functional.binary_cross_entropy(restored, images, reduction="none").flatten(1).sum(1)
        return unlike + 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)


def digits_vae(seed: int = 0, codes: int = 8, epochs: int = EPOCHS) -> DigitsVAE:
    """
    A :class:`DigitsVAE`, trained on the scans that the model "digits" is trained on: in seconds, to the same weights from the same seed.

    Args:
        seed (int, optional): Of the first weights, the order of the scans and the codes that are drawn. Default: 0
        codes (int, optional): Entries of a code. Default: 8
        epochs (int, optional): Passes over the scans. Default: 30

    Returns:
        DigitsVAE: In evaluation mode.

    Raises:
        ImportError: If scikit-learn is not installed.

    Examples::

        >>> vae = digits_vae(epochs=1)
        >>> prior = LatentImage(vae.decoder, (8,), encoder=vae.encode)
    """
    images, _ = digits_images("training")
    with seeded(seed), torch.enable_grad():
        vae = DigitsVAE(codes)
        optimizer = torch.optim.Adam(vae.parameters(), lr=3e-3)
        steps = epochs * -(-len(images) // BATCH)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(steps, 1))
        for _ in range(epochs):
            for chosen in torch.split(torch.randperm(len(images)), BATCH):
                optimizer.zero_grad()
                loss = vae.loss(images[chosen], torch.randn(len(chosen), codes)).mean()
                torch.autograd.backward(loss)
                optimizer.step()
                schedule.step()
    return vae.eval()


__all__ = ["DigitsVAE", "digits_vae"]
