"""A blind test: a form on which people name what pictures show, and what their answers come to."""

from captum_proto.experiments.blind.answers import Answers, read_answers
from captum_proto.experiments.blind.classes import ClassList
from captum_proto.experiments.blind.form import MakeForm
from captum_proto.experiments.blind.key import KEY, BlindKey, KeyPicture
from captum_proto.experiments.blind.page import FORM, blind_page
from captum_proto.experiments.blind.scores import ScoreAnswers
from captum_proto.experiments.blind.settings import BlindSettings
from captum_proto.experiments.blind.sources import Source, find_sources

__all__ = [
    "FORM",
    "KEY",
    "Answers",
    "BlindKey",
    "BlindSettings",
    "ClassList",
    "KeyPicture",
    "MakeForm",
    "ScoreAnswers",
    "Source",
    "blind_page",
    "find_sources",
    "read_answers",
]
