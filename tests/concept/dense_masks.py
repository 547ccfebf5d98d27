"""Packed masks made from dense ones, for tests that compare the two."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from captum_proto.concept import Concept, PackedMasks
from captum_proto.concept.packed import packed


def pack(masks: np.ndarray, folder: Path, kind: str = "thing") -> PackedMasks:
    """Masks (images, concepts, h, w)."""
    each = []
    for of_image in masks:
        there = np.flatnonzero(of_image.any((1, 2)))
        each.append(((there + 1).astype(np.int16), packed(of_image[there])))
    names = [Concept(f"{kind} {place}", "object") for place in range(masks.shape[1])]
    return PackedMasks.write(each, len(masks), names, "test", folder, masks.shape[2:])
