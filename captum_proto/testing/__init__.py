"""Networks and data of known truth: digits with a planted mark, networks that fool feature visualization, and a prior of digits."""

from captum_proto.testing.digits_vae import DigitsVAE, digits_vae
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

__all__ = [
    "CUE",
    "MARKS",
    "PLANTS",
    "Detector",
    "DigitsVAE",
    "FooledNetwork",
    "Mark",
    "OtherClass",
    "PlantedPicture",
    "colorfulness",
    "digits_vae",
    "draw_face",
    "fool",
    "framed_digits",
    "make_decoy",
    "painted_over",
    "planted_classifier",
    "read_off",
    "small_classifier",
    "train_classifier",
    "with_marks",
]
