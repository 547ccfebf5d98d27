"""
Make the tables of the preset "matched": prototypes matched to half of the photographs of a superclass, judged by the other half.

``python docs/matched.py IMAGES``, a folder of photographs of ImageNet's classes. The mean image is that of the half that was matched, and
photographs are these too: all are compared with means over images that none of them is among. The second table says whose mean
activations each is nearest to, of the four and of two that nothing is made of; all six are means over equally many photographs, and none of
these was matched.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping

import torch
from torch import Tensor

from captum_proto import PRESETS, PathSimilarity, PrototypeGeneration
from captum_proto._utils.class_names import parse_classes
from captum_proto._utils.tables import number, text_table
from captum_proto.data import ImageCollection
from captum_proto.metrics import NearestClass
from captum_proto.models import load_model

SUPERCLASSES = {
    "bird": "7-24,80-100,127-146",
    "arthropod": "69-79,118-124,300-326",
    "food": "924-969",
    "mammal": "269-299,330-388",  # but dogs
}
#: Which only a picture can be nearest to.
OTHERS = {"dog": "151-268", "reptile": "25-68"}
#: The output of each block of EfficientNet-Lite.
BLOCKS = ["_blocks.?", "_blocks.??"]
COUNT = 2


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("images")
    made.add_argument("--model", default="efficientnet-lite0")
    args = made.parse_args()
    named = load_model(args.model)
    names = list(named.class_names or ())
    collection = ImageCollection.discover(args.images, names)
    generation = PrototypeGeneration(named.model, preprocess=named.preprocess)
    rows, unseen_of, shown = [], {}, {}
    for name, text in (SUPERCLASSES | OTHERS).items():
        target = [index for group in parse_classes([text], names) for index in group]
        there = collection.of([index for index in target if index in set(collection.classes)])
        images = torch.cat(list(there.batches_for(named.geometry)))
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
        seen, unseen = images[order[: len(images) // 2]], images[order[len(images) // 2 :]]
        unseen_of[name] = unseen
        if name in OTHERS:
            continue
        similarity = PathSimilarity(named.model, preprocess=named.preprocess)
        similarity.fit(unseen)

        def spearman(pictures: Tensor, similarity: PathSimilarity = similarity) -> list[str]:
            found = similarity.evaluate(pictures).spearman.double().nanmean(1)
            return [number(float(found.mean())), f"{float(found.min()):.3f}–{float(found.max()):.3f}"]

        options = {**PRESETS["matched"], "match": {tuple(target): seen}, "match_layers": BLOCKS, "evaluation_draws": 0}
        prototypes = generation.generate([target] * COUNT, named.image_shape, **options)
        mean = seen.mean(0, keepdim=True)
        shown[name] = {"matched": prototypes.images, "mean image": mean, "photographs": seen}
        rows.append(
            [name, str(len(seen)), str(len(unseen)), *spearman(prototypes.images), spearman(mean)[0], *spearman(seen)]
        )
        print(
            text_table(
                ["superclass", "matched to", "judged by", "Spearman", "range", "mean image", "photographs", "range"],
                rows,
            ),
            flush=True,
        )
    count = min(map(len, unseen_of.values()))
    fitted = {
        name: PathSimilarity(named.model, preprocess=named.preprocess).fit(images[:count])
        for name, images in unseen_of.items()
    }
    print(f"means over {count} photographs of each of {len(fitted)} superclasses")
    print(nearest_table(NearestClass(fitted), shown))


def nearest_table(nearest: NearestClass, shown: Mapping[str, Mapping[str, Tensor]]) -> str:
    """The rank of its own superclass for each prototype, for the mean image, and the share of photographs for which it is 1."""
    rows = []
    for name, pictures in shown.items():
        ranks = {what: nearest.evaluate(images, name).ranks() for what, images in pictures.items()}
        first = int((ranks["photographs"] == 1).sum())
        rows.append(
            [
                name,
                ", ".join(str(int(rank)) for rank in ranks["matched"]),
                str(int(ranks["mean image"][0])),
                f"{first} of {len(ranks['photographs'])}",
            ]
        )
    return text_table(["superclass", "rank of matched", "rank of the mean image", "photographs at rank 1"], rows)


if __name__ == "__main__":
    main()
