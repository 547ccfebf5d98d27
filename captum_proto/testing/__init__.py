"""Networks and data of known truth: labeled shapes, digits with a planted mark, textures in quadrants, a prior, and networks that fool."""

from captum_proto.testing.captioned_shapes import COLORS, SHAPES, CaptionedShapes, captioned_shapes
from captum_proto.testing.digits_vae import DigitsVAE, digits_vae
from captum_proto.testing.fooled import Detector, FooledNetwork, OtherClass, PlantedPicture, draw_face
from captum_proto.testing.fooling import PLANTS, fool, make_decoy, planted_pictures
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
from captum_proto.testing.planted_units import (
    STRIPES,
    ColorUnits,
    LogicUnits,
    PlantedNetwork,
    ShapeUnits,
    StripeUnits,
)
from captum_proto.testing.quadrants import QuadrantNetwork, quadrant_pictures
from captum_proto.testing.shapes import (
    COLOR_TERMS,
    PARTS,
    SCENES,
    TEXTURES,
    DrawnShape,
    ShapeDataset,
    ShapeScene,
    Spurious,
    shape_and_part,
)
from captum_proto.testing.slingshots import TUNED, fine_tune, slingshot
from captum_proto.testing.spurious_shapes import (
    ShapeClassifier,
    images_and_targets,
    spurious_shapes,
    train_shape_classifier,
)
from captum_proto.testing.two_tower import small_two_tower, train_two_tower, with_concept_units

__all__ = [
    "COLORS",
    "COLOR_TERMS",
    "CUE",
    "MARKS",
    "PARTS",
    "PLANTS",
    "SCENES",
    "SHAPES",
    "STRIPES",
    "TEXTURES",
    "TUNED",
    "CaptionedShapes",
    "ColorUnits",
    "Detector",
    "DigitsVAE",
    "DrawnShape",
    "FooledNetwork",
    "LogicUnits",
    "Mark",
    "OtherClass",
    "PlantedNetwork",
    "PlantedPicture",
    "QuadrantNetwork",
    "ShapeClassifier",
    "ShapeDataset",
    "ShapeScene",
    "ShapeUnits",
    "Spurious",
    "StripeUnits",
    "captioned_shapes",
    "colorfulness",
    "digits_vae",
    "draw_face",
    "fine_tune",
    "fool",
    "framed_digits",
    "images_and_targets",
    "make_decoy",
    "painted_over",
    "planted_classifier",
    "planted_pictures",
    "quadrant_pictures",
    "read_off",
    "shape_and_part",
    "slingshot",
    "small_classifier",
    "small_two_tower",
    "spurious_shapes",
    "train_classifier",
    "train_shape_classifier",
    "train_two_tower",
    "with_concept_units",
    "with_marks",
]
