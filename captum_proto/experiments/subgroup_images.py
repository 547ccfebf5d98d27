"""The images of subgroups, and what a model returned for them."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from captum_proto._utils.class_names import label_of
from captum_proto._utils.files import alike, intact, load_tensors, save_tensors, tensor_bytes
from captum_proto._utils.targets import Target, class_probabilities, outcomes
from captum_proto.data import ImageCollection
from captum_proto.runs.files import write_rows

_KIND = "logits of a subgroup"


@dataclass(frozen=True)
class SubgroupLogits:
    """
    What the model returned for the images of one subgroup.

    Attributes:
        logits (Tensor): (N, K), on the CPU.
        files (list[str]): N paths, or "image 0", … of a tensor.
        digests (list[str]): N SHA-256 digests, of the files or of the tensors' values.
        skipped (list[tuple[str, str]]): Files that could not be read, each with the reason.
    """

    logits: Tensor
    files: list[str]
    digests: list[str]
    skipped: list[tuple[str, str]]

    def save(self, path: Path) -> None:
        """Write everything to one safetensors file, in place of one that is there."""
        described = {"files": self.files, "digests": self.digests, "skipped": self.skipped}
        save_tensors(path, _KIND, {"logits": self.logits}, described, overwrite=True)

    @classmethod
    def load(cls, path: Path) -> SubgroupLogits:
        """Read what :meth:`save` wrote."""
        tensors, described = load_tensors(path, _KIND)
        with intact(path, "file of logits"):
            skipped = [(file, reason) for file, reason in described["skipped"]]
            loaded = cls(tensors["logits"], list(described["files"]), list(described["digests"]), skipped)
            alike("images", len(loaded.logits), len(loaded.files), len(loaded.digests))
        return loaded


def afresh(images: ImageCollection | Tensor) -> ImageCollection | Tensor:
    """The same images, with nothing known yet of files that cannot be read: what is recorded does not depend on what was read before."""
    return copy.deepcopy(images) if isinstance(images, ImageCollection) else images


def source_of(images: ImageCollection | Tensor) -> str:
    """Where images are from, as settings record it."""
    return str(images.root) if isinstance(images, ImageCollection) else f"{len(images)} images in memory"


def list_images(images: ImageCollection | Tensor) -> list[tuple[str, str]]:
    """The name and the digest of each image."""
    if isinstance(images, Tensor):
        return [(f"image {i}", hashlib.sha256(tensor_bytes(image)).hexdigest()) for i, image in enumerate(images)]
    return images.listed()


def digest_of(listed: list[tuple[str, str]]) -> str:
    """One digest of all that :func:`list_images` gave."""
    return hashlib.sha256(repr(listed).encode()).hexdigest()


def duplicates(found: Mapping[str, SubgroupLogits]) -> list[str]:
    """A sentence for each pair of subgroups that share images, and for each subgroup that holds one twice."""
    sentences = []
    names = list(found)
    for i, name in enumerate(names):
        digests = found[name].digests
        twice = len(digests) - len(set(digests))
        if twice:
            sentences.append(
                f'{twice} of the {len(digests)} images of the group "{name}" are copies of others in it, which the intervals take for '
                "further images; remove them."
            )
        for other in names[i + 1 :]:
            shared = set(digests) & set(found[other].digests)
            if shared:
                first = next(file for file, digest in zip(found[name].files, digests, strict=True) if digest in shared)
                sentences.append(
                    f'the groups "{name}" and "{other}" share {len(shared)} image{"s" if len(shared) > 1 else ""} ({first}'
                    f"{', …' if len(shared) > 1 else ''}), and the tests take them for independent; leave each image in one group."
                )
    return sentences


def write_images(
    found: Mapping[str, SubgroupLogits], interest: Mapping[str, Target], class_names: Sequence[str] | None, path: Path
) -> None:
    """Every image: its subgroup, file and digest, what it is taken for, and the logit and probability of each class of interest."""
    header = ["subgroup", "file", "sha256", "prediction", "predicted_class"]
    for name in interest:
        header += [f"logit({name})", f"probability({name})"]
    rows = []
    for name, subgroup in found.items():
        logits = subgroup.logits.double()
        values = []
        for members in interest.values():
            inside = logits[:, list(members)]
            values.append(inside.logsumexp(1).tolist())
            values.append(class_probabilities(logits)[:, list(members)].sum(1).tolist())
        columns = zip(
            subgroup.files,
            subgroup.digests,
            outcomes(logits).argmax(1).tolist(),
            zip(*values, strict=True),
            strict=True,
        )
        for file, digest, index, row in columns:
            # Of a single logit there is a second outcome, in which the image is not taken for the class.
            taken_for = [index, label_of((index,), class_names)] if index < logits.shape[1] else ["", "none"]
            rows.append([name, file, digest, *taken_for, *map(repr, row)])
    write_rows(path, header, rows)
