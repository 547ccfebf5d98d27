"""What units and layers respond to: top examples, activation grid, semantic dictionary, neuron groups, activation atlas."""

from captum_proto.features.multimodal import (
    EmbeddingSimilarity,
    MultimodalUnit,
    TextExamples,
    image_directions,
    multimodal_units,
    text_examples,
    visualize_texts,
)

__all__ = [
    "EmbeddingSimilarity",
    "MultimodalUnit",
    "TextExamples",
    "image_directions",
    "multimodal_units",
    "text_examples",
    "visualize_texts",
]
