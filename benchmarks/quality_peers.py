"""
Pictures of classes by Lucent, for a comparison: ``captum-proto quality --pictures Lucent=DIR``.

Lucent 0.1.8 as its users call it: ``render_vis`` of the output unit of the class, its Fourier image and standard transforms, 512 steps; all
classes in one batch, whose images Lucent turns and shifts by the same draws. ``python benchmarks/quality_peers.py CLASSES DIR [--steps N]``
with a file of classes as captum-proto quality takes it. Needs the extra [bench], and Lucent; see lucent_units.py.
"""

from __future__ import annotations

import argparse
import copy
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from captum_proto.models import NamedModel, load_model
from captum_proto.report.figures import to_display


def by_lucent(named: NamedModel, classes: list[int], layer: str, steps: int) -> Tensor:
    """
    Lucent's pictures of some classes.

    Args:
        named (NamedModel): The model, whose preprocessing Lucent runs after its own transforms.
        classes (list[int]): One for each picture.
        layer (str): That returns the logits.
        steps (int): Of Lucent's Adam.
    """
    from lucent.optvis import objectives, param, render, transform

    torch.manual_seed(0)
    image: list[Any] = []

    def remembered() -> Any:
        parameters, made = param.image(named.image_shape[-1], batch=len(classes))
        image.append(made)
        return parameters, made

    objective = sum(objectives.channel(layer, index, batch=place) for place, index in enumerate(classes))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        render.render_vis(
            copy.deepcopy(named.model),  # in which it leaves its hooks
            objective,
            remembered,
            transforms=[*transform.standard_transforms, named.preprocess],
            thresholds=(steps,),
            preprocess=False,
            progress=False,
            show_image=False,
        )
    pictures: Tensor = image[0]().detach()
    return pictures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("classes", type=Path, help="file of classes by number, one in each line")
    parser.add_argument("folder", type=Path, help="for the pictures")
    parser.add_argument("--model", default="efficientnet-lite0")
    parser.add_argument("--layer", default="_fc", help="that returns the logits (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=512)
    args = parser.parse_args()
    lines = (line.partition("#")[0].strip() for line in args.classes.read_text(encoding="utf-8").splitlines())
    classes = [int(line) for line in lines if line]
    begin = time.perf_counter()
    pictures = by_lucent(load_model(args.model), classes, args.layer, args.steps)
    args.folder.mkdir(parents=True, exist_ok=True)
    for index, picture in zip(classes, pictures, strict=True):
        Image.fromarray(to_display(picture)).save(args.folder / f"{index:04d}.png")
    print(f"{len(classes)} pictures of {args.steps} steps in {time.perf_counter() - begin:.0f} s: {args.folder}")


if __name__ == "__main__":
    main()
