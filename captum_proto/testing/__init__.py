"""Networks and data of known truth: labeled shapes, marked digits, textures in quadrants, a game, a prior, and networks that fool."""

from captum_proto.testing.annotated_shapes import GENERIC, AnnotatedSets, ShapeAnnotations, coarse, phrase_of
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
from captum_proto.testing.planted_curves import ArcClassifier, CurveNetwork, drawn_arcs, train_arc_classifier
from captum_proto.testing.planted_table import INCOMES, RULE_COLUMNS, income_rule, planted_income
from captum_proto.testing.planted_units import (
    STRIPES,
    ColorUnits,
    LogicUnits,
    PlantedNetwork,
    ShapeUnits,
    StripeUnits,
)
from captum_proto.testing.planted_values import PlantedValues, planted_observations
from captum_proto.testing.quadrants import QuadrantNetwork, quadrant_pictures
from captum_proto.testing.shape_captioner import (
    ShapeCaptioner,
    ShapeLanguageModel,
    Vocabulary,
    beam_search,
    train_shape_captioner,
)
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
from captum_proto.testing.side_scroller import ScrollerAgent, SideScroller, scroller_agent
from captum_proto.testing.slingshots import TUNED, fine_tune, slingshot
from captum_proto.testing.spurious_shapes import (
    ShapeClassifier,
    images_and_targets,
    spurious_shapes,
    train_shape_classifier,
)
from captum_proto.testing.topics import KEYWORD, PLANTED_TOPIC, TOPICS, BigramModel, topic_texts
from captum_proto.testing.two_tower import small_two_tower, train_two_tower, with_concept_units

__all__ = [
    "COLORS",
    "COLOR_TERMS",
    "CUE",
    "GENERIC",
    "INCOMES",
    "KEYWORD",
    "MARKS",
    "PARTS",
    "PLANTED_TOPIC",
    "PLANTS",
    "RULE_COLUMNS",
    "SCENES",
    "SHAPES",
    "STRIPES",
    "TEXTURES",
    "TOPICS",
    "TUNED",
    "AnnotatedSets",
    "ArcClassifier",
    "BigramModel",
    "CaptionedShapes",
    "ColorUnits",
    "CurveNetwork",
    "Detector",
    "DigitsVAE",
    "DrawnShape",
    "FooledNetwork",
    "LogicUnits",
    "Mark",
    "OtherClass",
    "PlantedNetwork",
    "PlantedPicture",
    "PlantedValues",
    "QuadrantNetwork",
    "ScrollerAgent",
    "ShapeAnnotations",
    "ShapeCaptioner",
    "ShapeClassifier",
    "ShapeDataset",
    "ShapeLanguageModel",
    "ShapeScene",
    "ShapeUnits",
    "SideScroller",
    "Spurious",
    "StripeUnits",
    "Vocabulary",
    "beam_search",
    "captioned_shapes",
    "coarse",
    "colorfulness",
    "digits_vae",
    "draw_face",
    "drawn_arcs",
    "fine_tune",
    "fool",
    "framed_digits",
    "images_and_targets",
    "income_rule",
    "make_decoy",
    "painted_over",
    "phrase_of",
    "planted_classifier",
    "planted_income",
    "planted_observations",
    "planted_pictures",
    "quadrant_pictures",
    "read_off",
    "scroller_agent",
    "shape_and_part",
    "slingshot",
    "small_classifier",
    "small_two_tower",
    "spurious_shapes",
    "topic_texts",
    "train_arc_classifier",
    "train_classifier",
    "train_shape_captioner",
    "train_shape_classifier",
    "train_two_tower",
    "with_concept_units",
    "with_marks",
]
