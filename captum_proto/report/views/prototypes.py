"""Prototypes as files and on a page: a picture of each, a sheet of all, their logits and probabilities."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from PIL import Image

from captum_proto._utils.class_names import file_stem, label_of
from captum_proto._utils.files import whole_file
from captum_proto._utils.tables import between, number, percent
from captum_proto._utils.targets import Target
from captum_proto.attr.prototypes import Prototypes
from captum_proto.report.blocks import Block, Paragraphs, Picture, Table
from captum_proto.report.figures import picture_sheet, save_figure, to_display
from captum_proto.stats.intervals import proportion

#: All of them, in the folder that holds their pictures.
PROTOTYPES = "prototypes.safetensors"


def prototype_sheet(
    prototypes: Prototypes, labels: Sequence[str], value_range: tuple[float, float] = (0.0, 1.0)
) -> Figure:
    """
    All prototypes on one sheet, each with its label and its class probability as it is and under the transforms.

    Args:
        prototypes (Prototypes): At least one.
        labels (sequence of str): One for each.
        value_range (tuple[float, float], optional): The range of a pixel. Default: (0, 1)

    Returns:
        Figure: To be saved with :func:`~captum_proto.report.figures.save_figure`.
    """
    cells = []
    for i, label in enumerate(labels):
        plain, transformed = float(prototypes.probabilities[i]), float(prototypes.transformed_probabilities[i])
        both = f", transformed {transformed:.3f}" if prototypes.settings.get("transform") is not None else ""
        cells.append((f"{label}\np = {plain:.3f}{both}", to_display(prototypes.images[i], value_range)))
    return picture_sheet([cells[begin : begin + 5] for begin in range(0, len(cells), 5)], 300)


def write_prototypes(prototypes: Prototypes, folder: Path, class_names: Sequence[str] | None) -> None:
    """A PNG of each prototype at its own size, a sheet of all, and the safetensors file."""
    write_pictures(prototypes, folder, class_names)
    write_sheet(prototypes, folder, class_names)


def write_pictures(prototypes: Prototypes, folder: Path, class_names: Sequence[str] | None) -> None:
    """A PNG of each prototype at its own size."""
    for index, target in enumerate(prototypes.target):
        path = folder / _picture_name(file_stem(target, class_names), prototypes.seeds[index])
        _write_picture(prototypes, index, path)


def write_sheet(prototypes: Prototypes, folder: Path, class_names: Sequence[str] | None) -> None:
    """A sheet of all prototypes, and the safetensors file."""
    value_range = tuple(prototypes.settings.get("value_range", (0.0, 1.0)))
    prototypes.save(folder / PROTOTYPES, overwrite=True)
    labels = [label_of(target, class_names) for target in prototypes.target]
    save_figure(prototype_sheet(prototypes, labels, value_range), folder / "prototypes.png", overwrite=True)


def prototype_pictures(
    prototypes: Prototypes, folder: Path, labels: Sequence[str], stems: Sequence[str] | None = None
) -> list[Picture]:
    """
    The pictures of prototypes in a folder, with captions; one that is not there yet is written.

    Args:
        prototypes (Prototypes): The prototypes.
        folder (Path): Where :func:`write_prototypes` wrote them.
        labels (sequence of str): What the class of each is called.
        stems (sequence of str, optional): How each file's name begins. Default: what is there, else the class's index

    Returns:
        list[Picture]: One for each prototype, with a path relative to ``folder``.
    """
    pictures = []
    names = _of_each(stems, prototypes, lambda target: _stem_there(folder, target))
    for index, (label, stem) in enumerate(zip(labels, names, strict=False)):
        path = _picture_name(stem, prototypes.seeds[index])
        if not (folder / path).exists():
            _write_picture(prototypes, index, folder / path)
        pictures.append(Picture(path, f"{label}, seed {prototypes.seeds[index]}: {_probabilities(prototypes, index)}"))
    return pictures


def labels_of_pictures(prototypes: Prototypes, folder: Path, recorded: Sequence[str] | None) -> list[str]:
    """What the class of each prototype is called: as it was recorded, or as the names of its pictures tell."""
    return _of_each(recorded, prototypes, lambda target: _label_there(folder, target))


def _of_each(recorded: Sequence[str] | None, prototypes: Prototypes, otherwise: Callable[[Target], str]) -> list[str]:
    """What was recorded for each prototype, or a word made from its classes where an older run recorded nothing."""
    if recorded is not None and len(recorded) >= len(prototypes):
        return list(recorded)[: len(prototypes)]  # batches finish in order
    return [otherwise(target) for target in prototypes.target]


def _stem_there(folder: Path, target: Target) -> str:
    """How the names of a class's pictures begin, as far as its index tells."""
    stem = file_stem(target, None)
    there = sorted(path.name for path in folder.glob(f"{stem}*_seed*.png") if path.name[len(stem)] == "_")
    return there[0].rpartition("_seed")[0] if there and len(target) == 1 else stem


def _label_there(folder: Path, target: Target) -> str:
    """What the class is called, as far as the names of its pictures tell."""
    word = _stem_there(folder, target).partition("_")[2] if len(target) == 1 else ""
    return word.replace("-", " ") or label_of(target, None)


def _picture_name(stem: str, seed: int) -> str:
    return f"{stem}_seed{seed}.png"


def _write_picture(prototypes: Prototypes, index: int, path: Path) -> None:
    value_range = tuple(prototypes.settings.get("value_range", (0.0, 1.0)))
    with whole_file(path, overwrite=True) as temporary:
        Image.fromarray(to_display(prototypes.images[index], value_range)).save(temporary, format="png")


def _probabilities(prototypes: Prototypes, index: int) -> str:
    text = f"p = {float(prototypes.probabilities[index]):.3f}"
    if prototypes.settings.get("transform") is not None:
        text += f", {float(prototypes.transformed_probabilities[index]):.3f} expected under the transforms"
    return text


def logit_table(prototypes: Prototypes, labels: Sequence[str]) -> Table:
    """The logit and the probability of each prototype, as it is and under the transforms."""
    transformed = prototypes.settings.get("transform") is not None
    header = ["class", "seed", "logit", "p"] + (["logit, transformed", "p, transformed"] if transformed else [])
    names = ["logits", "probabilities"] + (["transformed_logits", "transformed_probabilities"] if transformed else [])
    rows = [
        [
            label,
            str(seed),
            *(f"{float(getattr(prototypes, name)[i]):.{2 if 'logits' in name else 4}f}" for name in names),
        ]
        for i, (label, seed) in enumerate(zip(labels, prototypes.seeds, strict=True))
    ]
    way = "; transformed: the mean under fresh draws of the transforms" if transformed else ""
    return Table(
        header,
        rows,
        f"The class's logit and probability p for the picture as it is{way}.",
        brief=[0, 1, 3, 5] if transformed else [],
    )


def saved_blocks(
    saved: Mapping[str, Sequence[Any]] | None, verified: Mapping[str, Mapping[str, Any]] | None = None
) -> list[Block]:
    """
    What networks make of prototypes as they were saved: the one they were made with, and others.

    Args:
        saved (mapping, optional): Of each prototype "top1" and "top5", whether the network has its class first or among its first five, and
            "p", its probability. None: it was not measured
        verified (mapping, optional): By the name of another network the same, and under "chance" what is to be had by chance. Default: None
    """
    blocks: list[Block] = [Paragraphs(saved_words(saved, bool(verified)))]
    if verified:
        rows = [
            [name, *_shares(found), f"{percent(found['chance']['top1'])}, {percent(found['chance']['top5'])}"]
            for name, found in verified.items()
        ]
        blocks.append(
            Table(
                ["shown to", "top-1", "top-5", "mean p", "by chance"],
                rows,
                "What other networks make of the pictures as they were saved, resized to their own size: the share of pictures whose class "
                "comes first, and among the first five, with Wilson's 95 % interval over pictures. Networks of one family, or trained on "
                "the same images, may be wrong together.",
            )
        )
    return blocks


def _shares(found: Mapping[str, Sequence[Any]]) -> list[str]:
    count = len(found["top1"])
    shares = [proportion(sum(map(bool, found[name])), count) for name in ("top1", "top5")]
    shown = [f"{percent(share.value)} ({between((share.low, share.high), percent)})" for share in shares]
    return [*shown, number(sum(found["p"]) / count)]


def saved_words(saved: Mapping[str, Sequence[Any]] | None, others_asked: bool = False) -> list[str]:
    """
    Whether the network recognizes its prototypes as they were saved, in a sentence.

    Args:
        saved (mapping, optional): Of each prototype "top1" and "top5", whether the network has its class first or among its first five, and
            "p", its probability. None: it was not measured
        others_asked (bool, optional): Whether other networks were shown them. Default: False

    Returns:
        list[str]: A sentence, or none.
    """
    if not saved or not saved["top1"]:
        return []
    count = len(saved["top1"])
    first, five = (proportion(sum(map(bool, saved[name])), count) for name in ("top1", "top5"))
    return [
        f"As saved, 8 bits a channel and no transform, the network gives the class of {sum(map(bool, saved['top1']))} of {count} first "
        f"({percent(first.value)}, interval {between((first.low, first.high), percent)}) and has that of {percent(five.value)} among its "
        f"first five; mean p {number(sum(saved['p']) / count)}. It is the network that they were made with"
        + ("." if others_asked else ": no other was asked (--verifier asks one).")
    ]


def what_prototypes_are(count: int, classes: int) -> str:
    """What the pictures are, for who was told nothing."""
    each = "the picture" if count == 1 else "each picture"
    return (
        f"{count} {'prototype' if count == 1 else 'prototypes'} of {classes} {'class' if classes == 1 else 'classes'}: {each} was "
        "computed, step by step, to raise the network's output for the class named beneath it: an attempt to show what it finds typical "
        "of that class."
    )


def images_matched(prototypes: Prototypes) -> list[str]:
    """That prototypes have seen natural images, if they have: what they show is then of these images as well."""
    count = len(prototypes.seen_images)
    if not count:
        return []
    return [
        f"Unlike prototypes from the network alone, they were made to match what the network makes of {count} natural "
        f"{'image' if count == 1 else 'images'}, and can be judged only by others."
    ]


def unmeasured_trust(prototypes: Prototypes) -> str:
    """Whether prototypes can be trusted that were compared with nothing."""
    count = len(prototypes)
    unsure, sure = int((prototypes.probabilities < 0.5).sum()), int((prototypes.probabilities >= 0.5).sum())
    text = [
        "Not known, since whether the network processes these as it processes natural images is not measured here (captum-proto evaluate "
        "does that, alongside controls)"
    ]
    if unsure:
        text.append(f"{unsure} of {count} {'has' if unsure == 1 else 'have'} a class probability below one half")
    if missing := count - sure - unsure:
        text.append(f"{missing} of {count} {'has' if missing == 1 else 'have'} no class probability")
    if sure:
        text.append("a high probability alone is reached by noise as well")
    return "; ".join(text) + "."
