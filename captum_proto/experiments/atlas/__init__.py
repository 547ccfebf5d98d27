"""Activation atlases by command: of a layer, of two classes, and the patch that these suggest."""

from captum_proto.experiments.atlas.protocol import Atlas
from captum_proto.experiments.atlas.settings import AtlasSettings

__all__ = ["Atlas", "AtlasSettings"]
