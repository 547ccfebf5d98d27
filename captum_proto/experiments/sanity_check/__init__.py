"""Sanity checks of Captum's attributions and of prototypes, side by side: the command ``sanity-check``."""

from captum_proto.experiments.sanity_check.methods import METHODS
from captum_proto.experiments.sanity_check.protocol import SanityCheck, sanity_page
from captum_proto.experiments.sanity_check.results import SanityResults

__all__ = ["METHODS", "SanityCheck", "SanityResults", "sanity_page"]
