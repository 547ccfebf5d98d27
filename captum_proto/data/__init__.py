"""Natural images, by class: found on disk or in memory, matched with the model's classes, and read batch by batch; columns of tables."""

from captum_proto.data.batches import ImageBatch, ImageBatches
from captum_proto.data.collection import Batches, Collection, LabeledImages, TensorCollection
from captum_proto.data.digits import digits_collection, digits_images
from captum_proto.data.image_collection import ImageCollection
from captum_proto.data.images import ImageGeometry, load_image
from captum_proto.data.photographs import photographs
from captum_proto.data.table import Categorical, Continuous, TableColumns
from captum_proto.data.unseen import Unseen

__all__ = [
    "Batches",
    "Categorical",
    "Collection",
    "Continuous",
    "ImageBatch",
    "ImageBatches",
    "ImageCollection",
    "ImageGeometry",
    "LabeledImages",
    "TableColumns",
    "TensorCollection",
    "Unseen",
    "digits_collection",
    "digits_images",
    "load_image",
    "photographs",
]
