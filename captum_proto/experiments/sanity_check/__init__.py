"""Sanity checks of Captum's attributions and of prototypes, side by side: the command ``sanity-check``."""

from captum_proto.experiments.sanity_check.methods import DEFAULT, METHODS
from captum_proto.experiments.sanity_check.protocol import SanityCheck, sanity_page

__all__ = ["DEFAULT", "METHODS", "SanityCheck", "sanity_page"]
