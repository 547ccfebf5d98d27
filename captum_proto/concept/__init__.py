"""Concepts that people have labeled: data sets of them, and which units, by themselves or in formulas, agree with them."""

from captum_proto.concept.ade20k import ADE20K
from captum_proto.concept.audit import (
    AblationEffect,
    DescriptionCounts,
    ablation_effect,
    compare_descriptions,
    labels_as_descriptions,
    units_described,
)
from captum_proto.concept.broden import Broden
from captum_proto.concept.coco import CocoDataset
from captum_proto.concept.color_names import BASIC_COLORS, color_names, colored_images
from captum_proto.concept.compositional import CompositionalExplainer, Explanation
from captum_proto.concept.copy_paste import ConceptPastes, CopyPaste, CopyPasteResult, literals, paste
from captum_proto.concept.dataset import (
    CATEGORIES,
    Concept,
    ConceptDataset,
    ImageLevelConcepts,
    Labels,
    SegmentedImages,
    Selected,
)
from captum_proto.concept.description import Captioner, Description, LanguageModel, NeuronDescriber
from captum_proto.concept.dissection_result import Dissection, LayerDissection, UnitLabel, dissection_curve
from captum_proto.concept.exemplars import Exemplars, exemplars_of, firing_on
from captum_proto.concept.explained_layer import ExplainedLayer
from captum_proto.concept.folder import ConceptFolder, write_concept_folder
from captum_proto.concept.formula import Formula, parse_formula
from captum_proto.concept.network_dissection import NetworkDissection
from captum_proto.concept.packed import PackedMasks
from captum_proto.concept.unit_masks import pack_units
from captum_proto.concept.word_scores import rank_reorder, soft_wpmi, wpmi

__all__ = [
    "ADE20K",
    "BASIC_COLORS",
    "CATEGORIES",
    "AblationEffect",
    "Broden",
    "Captioner",
    "CocoDataset",
    "CompositionalExplainer",
    "Concept",
    "ConceptDataset",
    "ConceptFolder",
    "ConceptPastes",
    "CopyPaste",
    "CopyPasteResult",
    "Description",
    "DescriptionCounts",
    "Dissection",
    "Exemplars",
    "ExplainedLayer",
    "Explanation",
    "Formula",
    "ImageLevelConcepts",
    "Labels",
    "LanguageModel",
    "LayerDissection",
    "NetworkDissection",
    "NeuronDescriber",
    "PackedMasks",
    "SegmentedImages",
    "Selected",
    "UnitLabel",
    "ablation_effect",
    "color_names",
    "colored_images",
    "compare_descriptions",
    "dissection_curve",
    "exemplars_of",
    "firing_on",
    "labels_as_descriptions",
    "literals",
    "pack_units",
    "parse_formula",
    "paste",
    "rank_reorder",
    "soft_wpmi",
    "units_described",
    "wpmi",
    "write_concept_folder",
]
