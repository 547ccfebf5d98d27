"""Networks and data of known truth: digits with a planted mark, textures in quadrants, and networks that fool feature visualization."""

from captum_proto.testing.fooled import Detector, FooledNetwork, OtherClass, PlantedPicture, draw_face
from captum_proto.testing.fooling import PLANTS, fool, make_decoy
from captum_proto.testing.marked_digits import (
    CUE,
    MARKS,
    Mark,
    colorfulness,
    framed_digits,
    painted_over,
    planted_classifier,
    read_off,
    small_classifier,
    train_classifier,
    with_marks,
)
from captum_proto.testing.quadrants import QuadrantNetwork, quadrant_pictures

__all__ = [
    "CUE",
    "MARKS",
    "PLANTS",
    "Detector",
    "FooledNetwork",
    "Mark",
    "OtherClass",
    "PlantedPicture",
    "QuadrantNetwork",
    "colorfulness",
    "draw_face",
    "fool",
    "framed_digits",
    "make_decoy",
    "painted_over",
    "planted_classifier",
    "quadrant_pictures",
    "read_off",
    "small_classifier",
    "train_classifier",
    "with_marks",
]
