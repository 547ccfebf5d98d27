"""Networks that fool feature visualization, and whether path similarity notices."""

from captum_proto.experiments.fooling.protocol import Fooling
from captum_proto.experiments.fooling.results import (
    Agreement,
    FoolingResult,
    Row,
    agreement,
    judge,
    mean_of,
    separation,
)

__all__ = [
    "Agreement",
    "Fooling",
    "FoolingResult",
    "Row",
    "agreement",
    "judge",
    "mean_of",
    "separation",
]
