"""A network's weights drawn anew, stage by stage, and given back to the last bit."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from captum_proto._utils.checks import as_int, check_int
from captum_proto._utils.errors import InputError
from captum_proto._utils.generators import own_generators
from captum_proto._utils.model import borrowed, device_of, named_modules
from captum_proto.capture import check_weights, forward_hooks, select_layers

#: How weights are drawn: by each module's own ``reset_parameters``, by a permutation of those that are there, or by a function of a module.
Init = str | Callable[[nn.Module], Any]
INITS = ("reset", "permute")
#: What is drawn at a stage: from the output on, from the input on, or one stage alone.
ORDERS = ("cascading", "independent", "bottom_up")


@dataclass(frozen=True)
class Stage:
    """
    Layers that are randomized together.

    Attributes:
        name (str): What the stage is called.
        modules (list[str]): The names of the modules, in the order in which they run.
    """

    name: str
    modules: list[str]


def find_stages(model: nn.Module, forward: Callable[[], Any], stages: int | Sequence[str] | None = None) -> list[Stage]:
    """
    The stages of a network, from its output to its input.

    Args:
        model (nn.Module): The network.
        forward (Callable): Runs it once, to see in which order the modules run.
        stages (int or sequence of str, optional): So many groups of modules that follow each other; or names and patterns of layers, each a
            stage with all that is in it. Default: None, each module that has parameters of its own

    Returns:
        list[Stage]: Modules that do not run are in none.

    Raises:
        ValueError: If there are no parameters, fewer modules than stages, or a layer that is not there or in two stages; or if
            a layer is quantized or of ``torch.jit``.
    """
    check_weights(model, "randomized")
    running = _in_running_order(model, forward)
    if not running:
        raise InputError("the model has no parameters that take part; there is nothing to randomize.")
    if stages is None:
        return [Stage(name, [name]) for name in reversed(running)]
    number = as_int(stages)
    if number is not None:
        check_int(number, "stages", 1, ", or names of layers")
        if number > len(running):
            raise InputError(
                f"stages is {number}, but the model has {len(running)} modules with parameters of their own."
            )
        parts = [[running[int(i)] for i in places] for places in np.array_split(np.arange(len(running)), number)]
        return [Stage(part[0] if len(part) == 1 else f"{part[-1]} … {part[0]}", part) for part in reversed(parts)]
    return _named_stages(model, running, [stages] if isinstance(stages, str) else list(stages))  # type: ignore[arg-type]


def _named_stages(model: nn.Module, running: Sequence[str], names: Sequence[str]) -> list[Stage]:
    found: list[Stage] = []
    taken: dict[str, str] = {}
    for name in names:
        layers = list(select_layers(model, name))
        inside = [each for each in running if any(each == layer or each.startswith(f"{layer}.") for layer in layers)]
        if not inside:
            raise InputError(f'"{name}" has no parameters that take part; name layers that have.')
        for each in inside:
            if each in taken:
                raise InputError(f'"{each}" is in the stages "{taken[each]}" and "{name}"; name each layer once.')
            taken[each] = name
        found.append(Stage(name, inside))
    return sorted(found, key=lambda stage: -max(map(running.index, stage.modules)))


def _in_running_order(model: nn.Module, forward: Callable[[], Any]) -> list[str]:
    """
    Modules that have parameters of their own, in the order in which they return for the first time.

    One whose parent uses its parameters without running it, as attentions do, has the place of the parent; of the root, none.
    """
    modules = dict(named_modules(model))
    returned: dict[int, int] = {}

    def note(module: nn.Module, *_: Any) -> None:
        returned.setdefault(id(module), len(returned))

    with torch.no_grad(), borrowed(model), forward_hooks((module, note) for module in modules.values()):
        forward()

    def place(name: str) -> int | None:
        while name and id(modules[name]) not in returned:
            name = name.rpartition(".")[0]
        return returned.get(id(modules[name])) if name else None

    own = [name for name, module in modules.items() if any(True for _ in module.parameters(recurse=False))]
    places = {name: len(returned) if not name else place(name) for name in own}  # the root returns last
    return sorted((name for name in own if places[name] is not None), key=lambda name: places[name] or 0)


class RandomWeights:
    """
    A model whose weights are copies that may be drawn anew: see :func:`spare_weights`.

    Args:
        model (nn.Module): With parameters that are copies.
        originals (list of tuples): Each parameter, and the values it had.
        init (str or Callable): How weights are drawn.
    """

    def __init__(self, model: nn.Module, originals: list[tuple[nn.Parameter, Tensor]], init: Init) -> None:
        self._modules = dict(named_modules(model))
        self._originals, self._init = originals, init
        self._device = device_of(model)

    def restore(self) -> None:
        """The values that the weights had."""
        with torch.no_grad():
            for parameter, values in self._originals:
                parameter.copy_(values)

    def drawn(self, stages: Sequence[Stage], order: str, seed: int) -> Iterator[Stage]:
        """
        Randomize stages one after the other.

        Args:
            stages (sequence of Stage): In the order in which they are randomized.
            order (str): Of :data:`ORDERS`. A stage draws the same weights in each.
            seed (int): Of the draw.

        Yields:
            Stage: When its weights are drawn.
        """
        self.restore()
        # A stage has the number that it has from the output on.
        places = range(len(stages))[::-1] if order == "bottom_up" else range(len(stages))
        for place, stage in zip(places, stages, strict=True):
            if order == "independent":
                self.restore()
            self.draw(stage, place, seed)
            yield stage

    def draw(self, stage: Stage, place: int, seed: int) -> None:
        """
        Draw the weights of a stage: the same for equal seeds, whatever was drawn before.

        Args:
            stage (Stage): Which layers.
            place (int): Which stage it is; two stages draw different numbers.
            seed (int): Of the draw.

        Raises:
            ValueError: If a module cannot be reset.
        """
        state = np.random.SeedSequence([seed, place]).generate_state(2)
        with own_generators(self._device), torch.no_grad():
            torch.manual_seed(int(state[0]) << 31 ^ int(state[1]))
            for name in stage.modules:
                self._draw(name, self._modules[name])

    def _draw(self, name: str, module: nn.Module) -> None:
        buffers = {key: None if value is None else value.clone() for key, value in module._buffers.items()}
        if callable(self._init):
            self._init(module)
        elif self._init == "permute":
            for parameter in module.parameters(recurse=False):
                order = torch.randperm(parameter.numel()).to(parameter.device)
                parameter.copy_(parameter.flatten()[order].view_as(parameter))
        else:
            _reset(name, module)
        for (
            key,
            value,
        ) in buffers.items():  # running statistics are not weights, though a reset of a normalization resets them too
            current = module._buffers[key]
            if value is not None and current is not None:
                current.copy_(value)


def _reset(name: str, module: nn.Module) -> None:
    advice = 'give init="permute", or a function that initializes a module'
    reset = getattr(module, "reset_parameters", getattr(module, "_reset_parameters", None))
    if reset is None:
        raise InputError(
            f'"{name or type(module).__name__}" has parameters of its own and no reset_parameters to draw them anew; {advice}.'
        )
    if parametrize.is_parametrized(module):
        raise InputError(
            f'"{name}" is parametrized, so that its reset_parameters does not reach its weights; {advice}.'
        )
    reset()


@contextlib.contextmanager
def spare_weights(model: nn.Module, init: Init) -> Iterator[RandomWeights]:
    """
    A model with copies of its weights for the length of a block: what is done to them is gone with it, after an error too.

    Args:
        model (nn.Module): The model. Where modules share a parameter, they go on to share it.
        init (str or Callable): "reset": by each module's own ``reset_parameters``, its buffers staying as they are. "permute": the values
            of each parameter in another order. Or a function that changes a module's own parameters in place.

    Raises:
        ValueError: If ``init`` is something else.
    """
    if not callable(init) and init not in INITS:
        raise InputError(f'init is {init!r}; expected "reset", "permute" or a function of a module.')
    originals = [(parameter, parameter.data) for parameter in model.parameters()]
    try:
        for parameter, values in originals:
            parameter.data = values.clone()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Initializing zero-element tensors")
            yield RandomWeights(model, originals, init)
    finally:
        for parameter, values in originals:
            parameter.data = values


__all__ = ["INITS", "ORDERS", "Init", "RandomWeights", "Stage", "find_stages", "spare_weights"]
