"""State dicts from files: read, renamed, checked and loaded."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from captum_proto._utils.checks import nearest
from captum_proto._utils.errors import InputError, MissingFileError
from captum_proto._utils.files import read_safetensors
from captum_proto._utils.model import unwrapped
from captum_proto._utils.reading import check_archive

#: How deep in a file a state dict may lie. A file may also hold itself.
_DEPTH = 8


def read_state(path: Path) -> dict[str, Any]:
    """The state dict in a file, wherever in it the state dict is."""
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "is not there"
        raise MissingFileError(f'the checkpoint "{path}" {what}; give a .pt, .pth or .safetensors file.')
    content: Any
    if path.suffix.lower() == ".safetensors":
        try:
            content = _read_safetensors(path)
        except (SafetensorError, OSError) as error:
            raise InputError(
                f'"{path}" is damaged or not a safetensors file ({error}); fetch or save it again.'
            ) from error
    else:
        try:
            check_archive(path)
            content = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # on damaged bytes the unpickler raises KeyError, IndexError, UnicodeDecodeError ...
            refused = re.search(r"GLOBAL ([\w.]+)", str(error))
            if refused:
                raise InputError(
                    f'"{path}" holds Python objects ({refused[1]}), which are not loaded because they could run code; save the state dict '
                    "alone: torch.save(model.state_dict(), FILE)."
                ) from error
            reason = str(error) if type(error) is ValueError else f"{type(error).__name__} while reading"
            raise InputError(
                f'"{path}" is damaged or not a PyTorch checkpoint ({reason}); fetch or save it again.'
            ) from error
    for _ in range(_DEPTH):
        if not isinstance(content, Mapping) or any(isinstance(value, Tensor) for value in content.values()):
            break
        inner = next((key for key in ("state_dict", "model", "model_state_dict", "net") if key in content), None)
        if inner is None:
            break
        content = content[inner]
    named = isinstance(content, Mapping) and all(isinstance(key, str) for key in content)
    if not named or not any(isinstance(value, Tensor) for value in content.values()):
        held = f"the keys {few(content)}" if isinstance(content, Mapping) else f"a {type(content).__name__}"
        raise InputError(
            f'"{path}" holds {held} and no state dict; expected tensors by name, alone or under "state_dict" or "model".'
        )
    metadata = getattr(content, "_metadata", None)
    return with_metadata(content, _versions(metadata)) if isinstance(metadata, Mapping) else dict(content)


def _versions(metadata: Mapping[Any, Any]) -> dict[str, dict[str, Any]]:
    """Of what a file says of its modules, what modules can read: the version of each, as a number."""
    return {
        name: dict(each)
        for name, each in metadata.items()
        if isinstance(name, str) and isinstance(each, Mapping) and isinstance(each.get("version"), (int, type(None)))
    }


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors in a file, and those that ``safetensors.torch.save_model`` left out of it because they are others again."""
    state, same = read_safetensors(
        path
    )  # in the metadata that function notes, by the name it left out, the name it kept
    return state | {name: state[kept] for name, kept in same.items() if name not in state and kept in state}


def with_metadata(state: Mapping[str, Any], metadata: Any) -> dict[str, Any]:
    """A copy with the versions that modules read when they load old weights."""
    copied: Any = OrderedDict(state)
    copied._metadata = metadata
    return copied


def renamed(state: dict[str, Any], rename: Callable[[str], str]) -> dict[str, Any]:
    """The same tensors under other names, with the versions of their modules."""
    metadata = getattr(state, "_metadata", None)
    result = {rename(key): value for key, value in state.items()}
    return result if metadata is None else with_metadata(result, {rename(k): v for k, v in metadata.items()})


def few(items: Iterable[Any], limit: int = 3) -> str:
    """The first items, for a message, and how many more there are."""
    shown = [str(item) for item in items]
    return ", ".join(shown[:limit]) + (f" and {len(shown) - limit} more" if len(shown) > limit else "")


def _unwrapped(state: dict[str, Any], expected: Iterable[str]) -> dict[str, Any]:
    """The same weights without the prefixes that DataParallel, torch.compile and training frameworks put before every name."""
    expected = list(expected)
    state.pop("n_averaged", None)  # the counter of torch's AveragedModel
    while True:
        for prefix in ("module.", "_orig_mod.", "model."):
            if all(key.startswith(prefix) for key in state) and not any(key.startswith(prefix) for key in expected):
                # The metadata's key of the wrapped model is the prefix without its dot, and becomes the root's.
                state = renamed(state, partial(_without, len(prefix)))
                break
        else:
            return state


def _without(count: int, key: str) -> str:
    return key[count:]


def _tied(model: nn.Module, state: Mapping[str, Any]) -> set[str]:
    """The names under which the model holds a weight once more that the state has by another of its names."""
    tensors = model.state_dict(keep_vars=True)
    given = {id(tensor) for name, tensor in tensors.items() if name in state}
    return {name for name, tensor in tensors.items() if name not in state and id(tensor) in given}


def load_state(model: nn.Module, state: dict[str, Any], source: str, name: str, can_resize: bool) -> None:
    """
    Put weights from ``source`` into the model.

    Raises:
        ValueError: If they are not this model's, saying which are missing, unexpected or of another shape.
    """
    model = unwrapped(model)
    expected: dict[str, Any] = model.state_dict()
    state = _unwrapped(state, expected)
    failure: RuntimeError | None = None
    try:
        result = model.load_state_dict(state, strict=False)
        missing, unexpected = list(result.missing_keys), list(result.unexpected_keys)
    except RuntimeError as error:
        failure = error
        missing, unexpected = [key for key in expected if key not in state], [k for k in state if k not in expected]
    tied = _tied(model, state)
    missing = [
        key for key in missing if key not in tied and not key.endswith("num_batches_tracked")
    ]  # absent before PyTorch 0.4.1
    if missing or unexpected:
        said = []
        if missing:
            near = nearest(missing[0], unexpected).removesuffix("?").replace("; did you mean", "; the file has")
            said.append(f"{len(missing)} of {len(expected)} weights are missing ({few(missing)}{near})")
        if unexpected:
            said.append(f"{len(unexpected)} are unexpected ({few(unexpected)})")
        raise InputError(
            f'"{source}" does not fit "{name}": {" and ".join(said)}; give a checkpoint of the same architecture.'
        )
    if failure is None:
        return
    shapes = {
        key: (tuple(state[key].shape), tuple(expected[key].shape))
        for key in expected
        if isinstance(state.get(key), Tensor) and state[key].shape != expected[key].shape
    }
    if not shapes:
        raise InputError(f'"{source}" does not fit "{name}": {failure}.') from failure
    first = {(found[:1], wanted[:1]) for found, wanted in shapes.values() if found[1:] == wanted[1:]}
    if len(first) == 1 and all(found[1:] == wanted[1:] for found, wanted in shapes.values()):
        ((found, wanted),) = first
        remedy = f"pass num_classes={found[0]}" if can_resize else "give a checkpoint with as many classes"
        raise InputError(
            f'"{source}" has {found[0]} classes ({few(shapes)}) where "{name}" has {wanted[0]}; {remedy}.'
        ) from failure
    key, (found, wanted) = next(iter(shapes.items()))
    others = f", and {len(shapes) - 1} more differ" if len(shapes) > 1 else ""
    raise InputError(
        f'"{source}" does not fit "{name}": {key} has shape {found} there and {wanted} in the model{others}; give a checkpoint of the '
        "same architecture."
    ) from failure
