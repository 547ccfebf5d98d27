"""Arguments of commands that compare where units fire with labels of concepts."""

from __future__ import annotations

import argparse

from captum_proto._utils.errors import InputError
from captum_proto.concept import ConceptDataset
from captum_proto.experiments.concept_source import PHOTOGRAPHS, SHAPES, open_concepts
from captum_proto.models import NamedModel


def add_concepts(group: argparse._ArgumentGroup) -> None:
    """Which images, and which labels."""
    group.add_argument(
        "--concepts",
        required=True,
        metavar="DIR",
        help="a folder with concepts.json, Broden, ADE20K, or images of classes, which are concepts of whole images; or "
        f'"{SHAPES}", drawn ones; or "{PHOTOGRAPHS}", which scikit-image brings, with --colors',
    )
    group.add_argument(
        "--group",
        action="append",
        default=[],
        metavar="NAME=CLASSES",
        help="of images of classes: a concept and the classes that are of it, such as dog=151-268; repeat for several (default: each "
        "class is a concept)",
    )
    group.add_argument(
        "--colors",
        action="store_true",
        help="of images of any kind: label each pixel by the nearest of eleven basic colors, by name",
    )
    group.add_argument("--split", help="of Broden, ADE20K or an ImageNet-style tree")
    group.add_argument("--count", type=int, default=2000, help=f'images of "{SHAPES}" (default: %(default)s)')


def add_firing(group: argparse._ArgumentGroup) -> None:
    """Where a unit fires, and at which size that is compared."""
    group.add_argument(
        "--quantile",
        type=float,
        default=0.005,
        help="share of its activations at which a unit fires (default: %(default)s)",
    )
    group.add_argument(
        "--size", type=int, default=112, help="rows and columns at which masks are compared (default: %(default)s)"
    )
    group.add_argument(
        "--align-corners", action="store_true", help="enlarge maps from corner to corner (default: by half pixels)"
    )


def concepts_of(args: argparse.Namespace, named: NamedModel) -> ConceptDataset:
    """The images and labels that were asked for."""
    groups = {}
    for text in args.group:
        name, equals, classes = text.partition("=")
        if not (equals and name.strip() and classes.strip()):
            raise InputError(f'--group is "{text}"; expected a name and classes, such as dog=151-268.')
        groups[name.strip()] = classes
    return open_concepts(args.concepts, named.class_names, groups, args.split, args.count, args.colors)


__all__ = ["add_concepts", "add_firing", "concepts_of"]
