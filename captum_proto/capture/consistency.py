"""
Whether a model treats each image by itself, and the same each time.

An image of little contrast is shown among copies of itself and among images of more, in batches of one shape, for which kernels round
alike. What differs is not rounding: either the model mixes the images of a batch, or, if copies shown again differ too, it is random.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from captum_proto._utils.checks import callers_level
from captum_proto._utils.generators import own_generators
from captum_proto._utils.memory import is_out_of_memory
from captum_proto._utils.model import Loan, borrowed, modules_of
from captum_proto._utils.pipeline import Pipeline
from captum_proto._utils.wrappers import named_modules
from captum_proto.capture.hooks import tensors_in
from captum_proto.capture.plan import Capture

#: How far apart values may be, relative to the largest: what kernels that add in no fixed order make of it.
_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}
_HALF_TOLERANCE = 2e-2
#: How many values of a layer are compared, evenly spread.
_VALUES = 4096

_RANDOM = "switch its randomness off in evaluation mode, as F.dropout does with training=self.training"
_MIXED = "give batches of one image (batch_size=1), or let the model treat each image by itself"


def warn_of_layers(plan: Capture, images: Tensor) -> None:
    """
    Warn if the layers of a plan mix the images of a batch, or are random: then scores are not of an image alone.

    Args:
        plan (Capture): The layers, and how to run the model.
        images (Tensor): (N, C, H, W), on the model's device. With one image, it can be seen only whether the model is random.

    Warns:
        UserWarning: Which layer is the first, what follows from it, and what to do.
    """

    def observe(batch: Tensor) -> dict[str, Tensor]:
        seen: dict[str, Tensor] = {}

        def keep(index: int, output: Tensor) -> None:
            values = output[0]
            seen[plan.names[index]] = values[:: max(1, len(values) // _VALUES)].clone()

        plan.stream(batch, keep)
        return seen

    contrast = images.flatten(1).std(1)  # images that come anyway: for others the model might take another path
    faint, strong = images[contrast.argmin()].unsqueeze(0), images[contrast.argmax()].unsqueeze(0)
    found = _inconsistency(Loan(plan.model), observe, faint, strong, min(2, len(images)))
    if found is None:
        return
    random, name = found
    output = next(output for output in plan.outputs if output.name == name)
    layer = f'layer "{name}" ({_described(plan.modules[output.layer])})'
    if random:
        message = f"what {layer} returns is random, so scores are not reproducible; {_RANDOM}."
    else:
        message = f"what {layer} returns mixes the images of a batch, so scores depend on which images come together; {_MIXED}."
    warnings.warn(message, stacklevel=callers_level())


def warn_of_outputs(pipeline: Pipeline, images: Tensor) -> None:
    """
    Warn if a model mixes the images of a batch, or is random: then prototypes do not depend on their seed and class alone.

    Args:
        pipeline (Pipeline): The model and its preprocessing.
        images (Tensor): A batch (N, C, H, W) as it will be, on the model's device: further arguments may be for so many.

    Warns:
        UserWarning: What follows from it, and what to do.
    """

    def observe(batch: Tensor) -> dict[str, Tensor]:
        with torch.no_grad(), borrowed(pipeline.forward_func):
            output = pipeline(batch)
        return {
            str(path): leaf[0]
            for path, leaf in tensors_in(output)
            if isinstance(leaf, Tensor) and leaf.is_floating_point() and leaf.dim() and len(leaf) == len(images)
        }

    found = _inconsistency(Loan(pipeline.forward_func), observe, images[:1] / 2, images[:1], len(images))
    if found is None:
        return
    random, _ = found
    if random:
        message = f"the model or its preprocessing is random, so equal seeds do not give equal prototypes; {_RANDOM}."
    else:
        names = [
            f' (layer "{name}", {_described(module)})'
            for owner in modules_of(pipeline.forward_func)
            for name, module in named_modules(owner)
            if _without_statistics(module)
        ]
        message = (
            f"the model or its preprocessing mixes the images of a batch{names[0] if names else ''}, so a prototype depends on those "
            f"that are made with it; {_MIXED}."
        )
    warnings.warn(message, stacklevel=callers_level())


def _inconsistency(
    loan: Loan, observe: Callable[[Tensor], Mapping[str, Tensor]], image: Tensor, other: Tensor, rows: int
) -> tuple[bool, str] | None:
    """
    The first value of an image that is random, or depends on the other images of its batch: whether it is random, and its name.

    ``observe`` gives what is to be seen of the first image of a batch. PyTorch's generators are left as they were.
    """
    among_copies = torch.cat([image] * rows)
    among_others = torch.cat([image, *[other] * (rows - 1)])
    try:
        with loan.turn(), own_generators(image.device):
            expected = observe(among_copies)
            name = _difference(expected, observe(among_others))
            if name is None:
                return None
            again = _difference(expected, observe(among_copies))
    except (RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            return None  # where so few images do not fit together there is none beside another
        raise
    return (False, name) if again is None else (True, again)


def _difference(expected: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> str | None:
    """The name of the first value that is not as expected up to rounding."""
    for name, wanted in expected.items():
        value = values.get(name)
        if value is None or value.shape != wanted.shape:
            continue  # nothing to compare
        finite = wanted.isfinite() & value.isfinite()
        apart = (value - wanted)[finite].abs()
        scale = wanted[finite].abs()
        if len(apart) and bool(apart.max() > _TOLERANCE.get(wanted.dtype, _HALF_TOLERANCE) * scale.max()):
            return name
    return None


def _without_statistics(module: nn.Module) -> bool:
    return isinstance(module, _BatchNorm) and module.running_mean is None


def _described(module: nn.Module) -> str:
    return f"a {type(module).__name__}" + (" without running statistics" if _without_statistics(module) else "")


__all__ = ["warn_of_layers", "warn_of_outputs"]
