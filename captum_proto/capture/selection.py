"""Layers of a model by name, pattern or module."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from torch import nn

from captum_proto._utils.checks import nearest
from captum_proto._utils.errors import InputError, InputTypeError
from captum_proto._utils.model import modules_of, named_modules, plain_names, unwrapped
from captum_proto._utils.scripted import is_scripted, kind_of

#: None or "all", "leaf", a name, a pattern, a module, or several of these; or a mapping from names to modules.
LayerSelection = str | nn.Module | Sequence[str | nn.Module] | Mapping[str, nn.Module] | None

#: One output of a model: a module, or a dotted name, after it ``#k`` for call k and ``[key]`` for each step into a tuple or dict.
Layer = str | nn.Module

#: The layer's name is the shortest that leaves a call and keys alone: "#" and "[" may be in it.
_OUTPUT = re.compile(r"(?P<layer>.+?)(?:#(?P<call>\d+))?(?P<path>(?:\[[^\]]*\])*)", re.DOTALL)


def select_layers(model: nn.Module, layers: LayerSelection = None) -> dict[str, nn.Module]:
    r"""
    Modules of a model by dotted name.

    Names are those of the model as it is without ``torch.compile``, ``DataParallel`` and ``DistributedDataParallel``, around all or a
    part of it: ``layer1``, also where the wrapper calls it ``_orig_mod.layer1`` or ``module.layer1``.

    Args:
        model (nn.Module): Where the layers are.
        layers (str, nn.Module, sequence or mapping, optional): None or "all" for every entry of ``named_modules()`` but the root,
            containers included: the layers of the paper, 67 of torchvision's ``resnet18``. "leaf" for modules without children. Otherwise
            names, patterns such as ``"layer?.*"`` (as in :mod:`fnmatch`), modules, or a sequence of any of these. Default: None

    Returns:
        dict[str, nn.Module]: In the order of ``named_modules()`` for patterns, else in the order given.

    Raises:
        ValueError: If a name, pattern or module is not in the model.
        TypeError: If ``layers`` is of another type.

    Examples::

        >>> model = torchvision.models.resnet18()
        >>> len(select_layers(model)), len(select_layers(model, "leaf")), list(select_layers(model, "layer?"))
        (67, 52, ['layer1', 'layer2', 'layer3', 'layer4'])
    """
    selected: dict[str, nn.Module] = {}
    for _, modules in select_by_entry(model, layers):
        selected |= modules
    return selected


def select_by_entry(model: nn.Module, layers: LayerSelection = None) -> list[tuple[str, dict[str, nn.Module]]]:
    """
    As :func:`select_layers`, entry by entry: what was given, as a message can name it, and the layers that it stands for.

    A name or a module stands for one layer; a pattern, "leaf", "all" and None for several, of which some may never run.
    """
    named = {name: module for name, module in named_modules(model) if name}
    if layers is None or (isinstance(layers, str) and layers == "all"):
        return [("all", named)]
    if isinstance(layers, Mapping):
        return [(name, {name: unwrapped(module)}) for name, module in layers.items()]
    # A module that is registered twice is found by either name.
    aliases = {name: module for name, module in named_modules(model, remove_duplicate=False) if name}
    names = {id(module): name for name, module in reversed(list(aliases.items()))}
    plain = plain_names(model)
    if not isinstance(layers, (str, nn.Module, Iterable)):
        raise InputTypeError(
            f"layers is a {type(layers).__name__}; expected names, patterns or modules, a mapping of them, or None."
        )
    entries: list[tuple[str, dict[str, nn.Module]]] = []
    for layer in [layers] if isinstance(layers, (str, nn.Module)) else layers:
        if isinstance(layer, nn.Module):
            layer = unwrapped(layer)
            if id(layer) not in names:
                raise InputError(
                    f"the {type(layer).__name__} given as a layer is not part of the model; give one of its modules or names."
                )
            name = names[id(layer)]
            entries.append((name, {name: layer}))
        elif not isinstance(layer, str):
            raise InputTypeError(
                f"layer {layer!r} is a {type(layer).__name__}; expected a dotted name, a pattern or a module."
            )
        elif layer in aliases:
            entries.append((layer, {layer: aliases[layer]}))
        elif layer == "all":
            entries.append((layer, named))
        elif layer == "leaf":
            leaves = {name: module for name, module in named.items() if not list(module.children())}
            entries.append((layer, leaves))
        elif plain(layer) in aliases:
            entries.append((layer, {plain(layer): aliases[plain(layer)]}))
        elif matches := fnmatch.filter(named, layer) or fnmatch.filter(named, plain(layer)):
            entries.append((layer, {name: named[name] for name in matches}))
        elif is_scripted(unwrapped(model)):
            raise InputError(
                f'there is no layer "{layer}" in the {kind_of(unwrapped(model))}, which was made by torch.jit, where layers may have '
                "become one; give the model that it was made from."
            )
        else:
            raise InputError(
                f'there is no layer "{layer}" in {type(unwrapped(model)).__name__}'
                f"{nearest(layer, aliases) or '; choose one of model.named_modules().'}"
            )
    return entries


def find_layer(forward_func: Callable[..., Any], layer: str | nn.Module) -> tuple[str, nn.Module]:
    """
    One layer of a model.

    Args:
        forward_func (Callable): The model, or a function that refers to it.
        layer (str or nn.Module): A dotted name, or a module of the model; also the model itself.

    Returns:
        tuple[str, nn.Module]: Its name and the module.

    Raises:
        ValueError: If there is no such layer, or a pattern stands for several.

    Examples::

        >>> find_layer(torchvision.models.resnet18(), "layer3.1.conv2")[1].out_channels
        256
    """
    owners = modules_of(forward_func)
    if not owners:
        raise InputError(
            f"the model is a {type(forward_func).__name__} that refers to no module, so its layers cannot be watched; pass the module."
        )
    failure: ValueError | None = None
    for owner in owners:
        if unwrapped(layer) is unwrapped(owner):
            return "", unwrapped(owner)
        try:
            found = select_layers(owner, layer)
        except InputError as error:
            failure = failure or error
            continue
        if len(found) != 1:
            raise InputError(f'layer "{layer}" stands for {len(found)} layers; expected the name of one.')
        return next(iter(found.items()))
    raise failure  # type: ignore[misc]  # there is an owner, and it failed


def find_output(forward_func: Callable[..., Any], layer: Layer) -> tuple[str, nn.Module, int | None, tuple[str, ...]]:
    """
    What one output of a model is: the name by which :func:`capture` knows it, its module, which call of it, and the keys from there.

    Args:
        forward_func (Callable): The model, or a function that refers to it.
        layer (str or nn.Module): ``"relu"`` or a module for the last call of a layer in a pass, ``"relu#1"`` for its second,
            ``"lstm[0]"`` for the first tensor of a tuple.

    Returns:
        tuple[str, nn.Module, int or None, tuple[str, ...]]: With None for the last call.

    Raises:
        ValueError: If there is no such layer.

    Examples::

        >>> find_output(torch.nn.Sequential(torch.nn.LSTM(4, 3)), "0[1][0]")
        ('0[1][0]', LSTM(4, 3), None, ('1', '0'))
    """
    match = _OUTPUT.fullmatch(layer) if isinstance(layer, str) else None
    if match is None or match["layer"] == layer or _is_name(forward_func, match[0]):
        name, module = find_layer(forward_func, layer)
        return name, module, None, ()
    name, module = find_layer(forward_func, match["layer"])
    call = None if match["call"] is None else int(match["call"])
    suffix = layer[match.end("layer") :]  # type: ignore[index]  # it matched, so it is a string
    return name + suffix, module, call, tuple(re.findall(r"\[([^\]]*)\]", match["path"]))


def layer_of(name: str, call: int | None, path: tuple[str, ...]) -> str:
    """The layer's part of the name of an output, as :func:`find_output` gives it with its call and keys."""
    return name.removesuffix(("" if call is None else f"#{call}") + "".join(f"[{key}]" for key in path))


def _is_name(forward_func: Callable[..., Any], layer: str) -> bool:
    """Whether a module is called just so: "#" and "[" may be parts of a name."""
    return any(
        layer == name for owner in modules_of(forward_func) for name, _ in named_modules(owner, remove_duplicate=False)
    )


__all__ = ["Layer", "LayerSelection", "find_layer", "find_output", "select_layers"]
