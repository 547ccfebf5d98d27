"""Natural images without those that were seen before: what something was made from it cannot be judged by."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import torch
from torch import Tensor

from captum_proto._utils.batches import Images, image_batches
from captum_proto._utils.files import image_digest


class Unseen:
    """
    Batches of natural images without those of some digests; can be read as often as the images can.

    Args:
        images (Tensor or iterable): (N, C, H, W), or batches of them.
        digests (collection of str): Of the images to leave out, as ``image_digest`` gives them.
        batch_size (int, optional): Images at a time, of a tensor. Default: 32

    Attributes:
        left_out (int): How many images were left out, the last time that they were read to the end.
        count (int): How many there were in all.

    Examples::

        >>> from captum_proto._utils.files import image_digest
        >>> images = torch.rand(3, 1, 8, 8)
        >>> unseen = Unseen(images, [image_digest(images[1])])
        >>> sum(len(batch) for batch in unseen), unseen.left_out
        (2, 1)
    """

    def __init__(self, images: Images, digests: Collection[str], batch_size: int = 32) -> None:
        self.images, self.digests, self.batch_size = images, frozenset(digests), batch_size
        self.left_out = self.count = 0

    def __iter__(self) -> Iterator[Tensor]:
        left_out = count = 0
        for batch in image_batches(self.images, self.batch_size, None, "images"):
            new = torch.tensor([image_digest(image) not in self.digests for image in batch], device=batch.device)
            left_out, count = left_out + int((~new).sum()), count + len(batch)
            if bool(new.any()):
                yield batch[new]
        self.left_out, self.count = left_out, count


__all__ = ["Unseen"]
