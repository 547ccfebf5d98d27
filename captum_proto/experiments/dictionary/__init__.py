"""What a layer sees in one image: semantic dictionary, neuron groups, attribution and activation grid, each beside its control."""

from captum_proto.experiments.dictionary.page import dictionary_page
from captum_proto.experiments.dictionary.run import Dictionary

__all__ = ["Dictionary", "dictionary_page"]
