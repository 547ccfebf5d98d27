"""Networks that fool feature visualization, and whether path similarity notices."""

from captum_proto.experiments.fooling.protocol import PLANTS, agreement, fool, fooling_to_folder, make_decoy
from captum_proto.experiments.fooling.results import Agreement, Row, judge, separation

__all__ = [
    "PLANTS",
    "Agreement",
    "Row",
    "agreement",
    "fool",
    "fooling_to_folder",
    "judge",
    "make_decoy",
    "separation",
]
