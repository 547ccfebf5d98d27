"""Pictures of four quadrants, each with a texture of its own, and a network of which each channel answers to one of the textures."""

from __future__ import annotations

import torch
from torch import Tensor, nn

#: Sides of a picture, and of the patches that a position of the network's map looks at.
QUADRANTS_SIDE, PATCH = 32, 4
#: The color of each texture, from the top left quadrant row by row.
_COLORS = ((1.0, 0.25, 0.25), (0.25, 1.0, 0.25), (0.25, 0.25, 1.0), (1.0, 1.0, 0.25))
#: How strongly the two channels of a texture answer to it.
_ANSWERS = (1.0, 0.5)


def _textures() -> Tensor:
    """(4, 3, 4, 4): patterns of -1 and 1, wide and narrow stripes, turned stripes and a checkerboard, each orthogonal to the others."""
    wide, narrow = torch.tensor([1.0, 1.0, -1.0, -1.0]), torch.tensor([1.0, -1.0, 1.0, -1.0])
    even = torch.ones(4)
    patterns = torch.stack(
        [torch.outer(even, wide), torch.outer(wide, even), torch.outer(narrow, narrow), torch.outer(even, narrow)]
    )
    return torch.tensor(_COLORS)[:, :, None, None] * patterns[:, None]


def quadrant_pictures(count: int = 1, seed: int = 0) -> tuple[Tensor, Tensor]:
    """
    Pictures of four quadrants with a texture each, of which the contrast differs from patch to patch.

    Args:
        count (int, optional): How many. In each the textures are in other quadrants, but the first's are in order. Default: 1
        seed (int, optional): Of contrasts and orders. Default: 0

    Returns:
        tuple[Tensor, Tensor]: (N, 3, 32, 32) in [0, 1], and (N, 8, 8) int64: the texture of each patch, 0 to 3.

    Examples::

        >>> pictures, textures = quadrant_pictures()
        >>> textures[0, ::4, ::4].tolist()
        [[0, 1], [2, 3]]
    """
    generator = torch.Generator().manual_seed(seed)
    across = QUADRANTS_SIDE // PATCH
    orders = [torch.arange(4)] + [torch.randperm(4, generator=generator) for _ in range(count - 1)]
    textures = torch.stack(orders[:count]).view(count, 2, 2)
    textures = textures.repeat_interleave(across // 2, 1).repeat_interleave(across // 2, 2)
    contrast = 0.5 + 0.5 * torch.rand(count, across, across, generator=generator)
    patches = 0.5 + 0.5 * contrast[..., None, None, None] * _textures()[textures]
    return patches.permute(0, 3, 1, 4, 2, 5).reshape(count, 3, QUADRANTS_SIDE, QUADRANTS_SIDE), textures


class QuadrantNetwork(nn.Module):
    r"""
    A network with two channels for each of the four textures of :func:`quadrant_pictures`, and nothing else.

    Its layer "features" looks at patches side by side, so that each of the 8 by 8 positions lies within a quadrant: channels 2k and 2k + 1
    answer to texture k, with its contrast and with half of it, and not at all to the others. The logits of its two classes are sums
    :math:`\frac{1}{P} \sum_{c, p} W_{tc} a_{cp}` over the map, without a bias: the attribution of every unit is known.

    Attributes:
        factors (Tensor): (4, 8): the channels of each texture, of length 1.

    Examples::

        >>> pictures, textures = quadrant_pictures()
        >>> network = QuadrantNetwork()
        >>> bool((network.features(pictures).argmax(1) == 2 * textures).all())
        True
    """

    image_shape = (3, QUADRANTS_SIDE, QUADRANTS_SIDE)

    def __init__(self) -> None:
        super().__init__()
        textures = _textures()
        filters = textures / (0.5 * textures.square().sum((1, 2, 3), keepdim=True))
        convolution = nn.Conv2d(3, 8, PATCH, stride=PATCH, bias=False)
        self.features = nn.Sequential(convolution, nn.ReLU())
        self.head = nn.Linear(8, 2, bias=False)
        self.factors: Tensor
        factors = torch.zeros(4, 8)
        for texture in range(4):
            factors[texture, 2 * texture : 2 * texture + 2] = torch.tensor(_ANSWERS)
        self.register_buffer("factors", nn.functional.normalize(factors))
        with torch.no_grad():
            convolution.weight.copy_(
                torch.cat([answer * filters for answer in _ANSWERS]).view(2, 4, 3, 4, 4).transpose(0, 1).flatten(0, 1)
            )
            self.head.weight.copy_(
                torch.tensor([[1.0, 0.5, -2.0, 0.0, 0.5, 1.0, 0.0, -0.5], [0.0, 1.0, 3.0, -1.0, 0.0, 0.5, -1.0, 2.0]])
            )
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(images).mean((2, 3)))
        return logits


__all__ = ["QuadrantNetwork", "quadrant_pictures"]
