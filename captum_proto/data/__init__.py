"""Natural images, by class: found on disk, matched with the model's classes, and read batch by batch."""

from captum_proto.data.collection import ImageBatch, ImageBatches, ImageCollection
from captum_proto.data.digits import DigitsImages, digits_images
from captum_proto.data.images import load_image

__all__ = ["DigitsImages", "ImageBatch", "ImageBatches", "ImageCollection", "digits_images", "load_image"]
