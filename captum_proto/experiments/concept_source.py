"""Images with labels of concepts, told by what a folder holds: those of commands that ask what units are for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from captum_proto._utils.class_names import parse_classes
from captum_proto._utils.errors import InputError, MissingFileError
from captum_proto.concept import ADE20K, Broden, ConceptDataset, ConceptFolder, ImageLevelConcepts, colored_images
from captum_proto.concept.folder import LISTED
from captum_proto.data import ImageCollection, ImageGeometry
from captum_proto.data.photographs import photographs
from captum_proto.testing import ShapeDataset

SHAPES, PHOTOGRAPHS = "shapes", "photographs"
#: At which photographs are read, and then resized to what the model takes.
_SIDE = 320


def open_concepts(
    source: str,
    class_names: Sequence[str] | None = None,
    groups: Mapping[str, str] | None = None,
    split: str | None = None,
    count: int = 2000,
    colors: bool = False,
) -> ConceptDataset:
    """
    Images with labels, told by what a folder holds.

    Args:
        source (str): "shapes" for drawn ones; "photographs" for those that scikit-image brings, with ``colors``; a folder with
            ``concepts.json``, Broden, or ADE20K; or images of known classes, as :meth:`captum_proto.data.ImageCollection.discover` reads
            them, which then are concepts of whole images.
        class_names (sequence of str, optional): The model's, by which images of classes are labeled. Default: None
        groups (mapping[str, str], optional): By the name of a concept, the classes that are of it, such as ``{"dog": "151-268"}``; of
            images of classes alone. Default: None, each class is a concept
        split (str, optional): Of Broden, ADE20K or an ImageNet-style tree. Default: None, as these prefer
        count (int, optional): Of drawn images. Default: 2000
        colors (bool, optional): Whether the folder holds images of any kind, whose pixels are labeled by the names of their colors.
            Default: False

    Raises:
        InputError: If there is no such folder, or nothing in it that is known.
    """
    if source == SHAPES:
        if colors:
            raise InputError("the drawn shapes have labels of their own, colors among them; leave out --colors.")
        return ShapeDataset(count)
    if source == PHOTOGRAPHS:
        if not colors:
            raise InputError("photographs have no labels; add --colors, by whose names their pixels then are labeled.")
        return colored_images(list(photographs(ImageGeometry((3, _SIDE, _SIDE))).labeled.images))
    folder = Path(source)
    if not folder.is_dir():
        raise MissingFileError(f'there is no folder "{source}"; give a folder of images with labels, or "{SHAPES}".')
    if colors:
        if groups:
            raise InputError("colors are concepts by themselves; leave out --group or --colors.")
        return colored_images(ImageCollection.one_class(folder).paths)
    known: ConceptDataset | None = None
    if (folder / LISTED).is_file():
        known = ConceptFolder(folder)
    elif (folder / "index.csv").is_file() and (folder / "label.csv").is_file():
        known = Broden(folder, split=split)
    elif (folder / "objectInfo150.txt").is_file() or (folder / "index_ade20k.mat").is_file():
        known = ADE20K(folder, split or "validation")
    if known is not None:
        if groups:
            raise InputError(f'"{source}" has labels of its own; leave out --group, which is for images of classes.')
        return known
    names = list(class_names) if class_names is not None else None
    collection = ImageCollection.discover(folder, names, split=split)
    if names is None:
        raise InputError("the model has no class names, by which images of classes could be labeled.")
    members = {
        name: {index for target in parse_classes([text], names) for index in target}
        for name, text in (groups or {}).items()
    }
    labels = [
        [name for name, of in members.items() if label in of] if members else [names[label]]
        for label in collection.labels
    ]
    return ImageLevelConcepts(collection.paths, labels, where=f'"{source}"')


__all__ = ["PHOTOGRAPHS", "SHAPES", "open_concepts"]
