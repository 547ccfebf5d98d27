"""
Pictures of classes by other programs, for a comparison: ``captum-proto quality --pictures Lucent=DIR --pictures MACO=DIR``.

Lucent 0.1.8 as its users call it: ``render_vis`` of the output unit of the class, its Fourier image and standard transforms, 512 steps; all
classes in one batch, whose images Lucent turns and shifts by the same draws. Needs the extra [bench], and Lucent; see lucent_units.py.

MACO by dreamlens 0.1.1, which follows its authors' library Xplique step by step and brings their spectrum of ImageNet: 256 steps of 32
crops of a picture of 512 pixels, whose side falls from a half to a twentieth of it, NAdam at 1. ``pip install --no-deps dreamlens==0.1.1``

``python benchmarks/quality_peers.py lucent|maco CLASSES DIR`` with a file of classes as captum-proto quality takes it.
"""

from __future__ import annotations

import argparse
import copy
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from captum_proto._utils.pipeline import Pipeline
from captum_proto.models import NamedModel, load_model
from captum_proto.optim.network import arrange
from captum_proto.report.figures import to_display


def by_lucent(named: NamedModel, classes: list[int], layer: str, steps: int) -> Iterator[Tensor]:
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
    yield from image[0]().detach()


def by_maco(named: NamedModel, classes: list[int], layer: str, steps: int) -> Iterator[Tensor]:
    """
    Pictures of some classes by MACO, one after the other.

    Args:
        named (NamedModel): The model. Values between 0 and 1 are what its preprocessing expects.
        classes (list[int]): One for each picture.
        layer (str): That returns the logits.
        steps (int): Of NAdam, each of 32 crops.
    """
    from dreamlens import Objective, maco

    torch.manual_seed(0)
    # The network as this library runs it, the same function, for a third of the time.
    pipeline = Pipeline(named.model.eval(), named.preprocess)
    prepared = pipeline.prepare(torch.rand(1, *named.image_shape))
    model = arrange(pipeline, prepared).forward_func

    def preprocess(images: Tensor) -> Tensor:
        return named.preprocess(images).to(memory_format=torch.channels_last)

    for index in classes:
        objective = Objective.neuron(model, layer, index, input_shape=(1, *named.image_shape))
        yield maco(
            objective,
            nb_steps=steps,
            values_range=(0, 1),
            input_shape=(1, *named.image_shape),
            preprocess=preprocess,
        )[0]


PROGRAMS = {"lucent": (by_lucent, 512), "maco": (by_maco, 256)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", choices=PROGRAMS)
    parser.add_argument("classes", type=Path, help="file of classes by number, one in each line")
    parser.add_argument("folder", type=Path, help="for the pictures; those that are there are kept")
    parser.add_argument("--model", default="efficientnet-lite0")
    parser.add_argument("--layer", default="_fc", help="that returns the logits (default: %(default)s)")
    parser.add_argument("--steps", type=int, help="default: 512 of lucent, 256 of maco")
    args = parser.parse_args()
    lines = (line.partition("#")[0].strip() for line in args.classes.read_text(encoding="utf-8").splitlines())
    files = {int(line): args.folder / f"{int(line):04d}.png" for line in lines if line}
    missing = [index for index, file in files.items() if not file.exists()]
    args.folder.mkdir(parents=True, exist_ok=True)
    make, steps = PROGRAMS[args.program]
    steps = args.steps or steps
    begin = time.perf_counter()
    for index, picture in zip(missing, make(load_model(args.model), missing, args.layer, steps), strict=True):
        Image.fromarray(to_display(picture)).save(files[index])
    print(f"{len(missing)} pictures of {steps} steps in {time.perf_counter() - begin:.0f} s: {args.folder}")


if __name__ == "__main__":
    main()
