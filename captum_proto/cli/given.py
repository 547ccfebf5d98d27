"""What a command was given, as far as it can be checked in no time: before a model is loaded, trained or fetched."""

from __future__ import annotations

import argparse
from pathlib import Path

from captum_proto._utils.checks import check_device
from captum_proto._utils.errors import InputError, MissingFileError
from captum_proto.attr import GenerationSettings
from captum_proto.cli.arguments import count_of, generation_arguments
from captum_proto.cli.processes import check_folder
from captum_proto.data.batches import check_batches
from captum_proto.data.natural import check_source
from captum_proto.metrics.controls import check_controls
from captum_proto.models.registry import check_model_name

#: Options that name a file to read, and what is in it.
_FILES = {
    "checkpoint": "weights",
    "other_checkpoint": "weights",
    "prototypes": "prototypes",
    "picture": "an image",
    "image": "an image",
    "frozen_at": "an image",
    "class_table": "the classes",
    "direction": "directions",
    "labels": "the class of each picture",
    "classes": "the names of classes",
    "synonyms": "spellings and what they stand for",
    "answers": "the answers of a person",
    "match": "what was measured on natural images",
    "spectrum": "a magnitude spectrum",
    "trojans": "triggers, targets and answers",
}
#: Options that are numbers of things, of which there must be one at least.
_COUNTS = (
    "limit",
    "others",
    "control_count",
    "num_classes",
    "networks",
    "epochs",
    "protocol_seeds",
    "attempts",
    "k",
    "tuning_steps",
    "n_steps",
    "nt_samples",
    "snapshot_every",
)


def check_given(args: argparse.Namespace) -> None:
    """
    See that what a command was given is there and in its range: the folder to write to, devices, files, folders and numbers.

    What it takes a model to see, such as whether it has a class, is seen when there is one, and before the folder is touched.

    Raises:
        CaptumProtoError: In one sentence what cannot be used.
    """
    given = {name: value for name, value in vars(args).items() if value is not None}
    check_folder(args)
    if "device" in given:
        check_device(given["device"])
    for name in _models(given):
        check_model_name(name)
    for name, what in _FILES.items():
        option = "--" + name.replace("_", "-")
        for path in _each(given.get(name, [])):
            if not path.is_file():
                found = f'"{path}" is a folder' if path.is_dir() else f'there is no file "{path}"'
                raise MissingFileError(f"{found}; give {option} a file that holds {what}.")
    for name in ("images", "natural_images"):
        if name in given:
            check_source(given[name])
    for name in _COUNTS:
        if isinstance(given.get(name), int) and given[name] < 1:
            raise InputError(f"{name} is {given[name]}; expected at least 1.")
    if "count" in given:
        count_of(args, 1)
    if "controls" in given:
        check_controls(given["controls"])
    check_batches(given.get("image_batch", 1), given.get("workers", 0))
    check_batches(given.get("batch_size", 1), 0)
    if "preset" in given:
        GenerationSettings(**generation_arguments(args))


def _models(given: dict[str, object]) -> list[str]:
    found: list[str] = []
    for name in ("model", "judge", "verifier", "other_model", "clean"):
        value = given.get(name, [])
        found += [value] if isinstance(value, str) else list(value)  # type: ignore[call-overload]  # a list of names
    return found


def _each(value: Path | list[Path]) -> list[Path]:
    return value if isinstance(value, list) else [value]
