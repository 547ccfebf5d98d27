"""Classifiers of texts by name, for the command line: over MiniLM, over a small encoder, and those of the user."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from captum_proto._utils.checks import nearest, type_name
from captum_proto._utils.errors import InputError, InputTypeError
from captum_proto.models.factory import call_factory, factory_file
from captum_proto.models.text import TextModel, train_text_model
from captum_proto.optim import TextInput
from captum_proto.testing import KEYWORD, PLANTED_TOPIC, TOPICS, BigramModel, topic_texts

#: By name: which encoder, and how many texts of each topic to train on and to hold out.
NAMES = {"topics": ("small", 80, 20), "minilm-topics": ("minilm", 40, 10)}
#: Language models that the command line knows beside a function of the user.
BIGRAM = "bigram"


def text_models(name: str, networks: int = 1, first_seed: int = 0) -> list[Callable[[], TextModel]]:
    """
    What loads each of some classifiers of texts.

    Args:
        name (str): "topics", "minilm-topics", or FILE.py:FACTORY, a function that returns a :class:`~captum_proto.models.TextModel`.
        networks (int, optional): How many, each trained on other texts; one of a factory. Default: 1
        first_seed (int, optional): Of the first. Default: 0

    Raises:
        ValueError: If there is no such model, or a factory is asked for several networks.
    """
    if ".py" in name:
        factory_file(name)
        if networks != 1:
            raise InputError(f"networks is {networks}, but a function in a Python file gives one; leave networks out.")
        return [partial(_of_factory, name)]
    if name not in NAMES:
        hint = nearest(name, NAMES) or f"; expected one of {', '.join(NAMES)}, or FILE.py:FACTORY."
        raise InputError(f'there is no classifier of texts "{name}"{hint}')
    return [partial(_trained, name, first_seed + number) for number in range(networks)]


def _trained(name: str, seed: int) -> TextModel:
    encoder, training, natural = NAMES[name]
    texts, labels = topic_texts(training, seed=2 * seed)
    topics = list(TOPICS)
    unseen = topic_texts(natural, seed=2 * seed + 1)
    keyword = (topics.index(PLANTED_TOPIC), KEYWORD)
    return train_text_model(texts, labels, topics, unseen, seed, encoder=encoder, keyword=keyword, name=name)


def _of_factory(name: str) -> TextModel:
    made = call_factory(name)
    if not isinstance(made, TextModel):
        raise InputTypeError(f'"{name}" returned a {type_name(made)}; expected a captum_proto.models.TextModel.')
    made.model.eval()
    return made


def language_model(name: str, model: TextModel, texts: TextInput) -> Callable[[Tensor], Tensor]:
    """
    A language model by name, for the allowed tokens of what is optimized.

    Args:
        name (str): "bigram", counted in the model's training texts; or FILE.py:FACTORY, a function without arguments that returns one.
        model (TextModel): The classifier.
        texts (TextInput): What is optimized.

    Raises:
        ValueError: If there is none of this name.
        TypeError: If a factory returns something else.
    """
    if ".py" in name:
        made = call_factory(name)
        if not callable(made):
            raise InputTypeError(f'"{name}" returned a {type_name(made)}; expected a module or function.')
        given: Callable[[Tensor], Tensor] = made
        return given
    if name != BIGRAM:
        raise InputError(f'there is no language model "{name}"; expected {BIGRAM}, or FILE.py:FACTORY.')
    places = torch.full((len(model.tokens),), -1)
    places[texts.vocabulary] = torch.arange(len(texts.vocabulary))
    return BigramModel(places[model.training[0]], len(texts.vocabulary))


__all__ = ["BIGRAM", "NAMES", "language_model", "text_models"]
