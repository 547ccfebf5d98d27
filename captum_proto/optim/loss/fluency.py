"""How well tokens follow each other, by a language model that the user gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from captum_proto._utils.borrowing import borrowed
from captum_proto._utils.checks import type_name
from captum_proto._utils.errors import InputError, InputTypeError
from captum_proto._utils.model import fingerprint
from captum_proto.optim.inputs.text import TextInput
from captum_proto.optim.loss.objective import Loss, Outputs


class Fluency(Loss):
    r"""
    The cross entropy of each token given those before it, by a language model: what keeps a text from being a list of words.

    .. math::
        L_i = -\frac{1}{L-1} \sum_{t=1}^{L-1} \sum_v \pi_{i,t+1}(v) \log p(v \mid \pi_{i,1}, \ldots, \pi_{i,t})

    The fluency constraint of "Gradient-based Adversarial Attacks against Text Transformers" (arXiv:2104.13733), section 3.2, where
    :math:`\pi` is how likely each token is at a position; here, by the distance of its embedding. It records "fluency_loss", in nats a
    token.

    Args:
        texts (TextInput): What is optimized; its vocabulary is that of the allowed tokens.
        language_model (Callable): From tokens as weights of the allowed tokens (N, L, A), one-hot or between, to logits (N, L, A) of the
            token that follows each. Of a causal model of the transformers library with the same tokens: ``lambda tokens:
            model(inputs_embeds=tokens @ model.get_input_embeddings().weight[texts.vocabulary]).logits[..., texts.vocabulary]``. A module
            is frozen, and in evaluation mode, while it is used.
        temperature (float, optional): Of the distance, see :meth:`TextInput.distribution`. Default: 0.2

    Raises:
        TypeError, ValueError: If the language model cannot be called, or gives another shape.

    Examples::

        >>> texts = TextInput(torch.randn(5, 8), length=3)
        >>> follow = torch.randn(5, 5)
        >>> loss = ClassLogit([0, 1]) + 0.5 * Fluency(texts, lambda tokens: tokens @ follow)
    """

    terms = ("fluency_loss",)

    def __init__(self, texts: TextInput, language_model: Callable[[Tensor], Tensor], temperature: float = 0.2) -> None:
        if not isinstance(texts, TextInput):
            raise InputTypeError(f"texts is a {type_name(texts)}; expected the TextInput that is optimized.")
        if not callable(language_model) or isinstance(language_model, type):
            raise InputTypeError(f"language_model is a {type_name(language_model)}; expected a module or function.")
        if texts.length < 2:
            raise InputError(f"texts have {texts.length} token, which follows none; give a length of at least 2.")
        if not temperature > 0:
            raise InputError(f"temperature is {temperature}; expected a positive number.")
        self.texts, self.language_model, self.temperature = texts, language_model, float(temperature)

    def __call__(self, outputs: Outputs, images: Tensor) -> Tensor:
        return outputs.record("fluency_loss", self.surprise(self.texts.distribution(images, self.temperature)))

    def surprise(self, tokens: Tensor) -> Tensor:
        """Nats a token of texts as weights of the allowed tokens (N, L, A): (N,)."""
        with borrowed(self.language_model):
            logits = self.language_model(tokens)
        if not isinstance(logits, Tensor) or logits.shape != tokens.shape:
            got = f"shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else f"a {type_name(logits)}"
            raise InputError(
                f"language_model returned {got} for tokens of shape {tuple(tokens.shape)}; expected the same shape."
            )
        return -(tokens[:, 1:] * logits[:, :-1].to(tokens).log_softmax(-1)).sum(-1).mean(1)

    @torch.no_grad()
    def of_texts(self, embedded: Tensor) -> Tensor:
        """Nats a token of texts of allowed tokens, as embeddings (N, L, D): (N,)."""
        places = torch.full((len(self.texts.embedding),), -1)
        places[self.texts.vocabulary] = torch.arange(len(self.texts.vocabulary))
        found = places[self.texts.numbers(embedded).cpu()]
        return self.surprise(torch.nn.functional.one_hot(found, len(self.texts.vocabulary)).to(embedded))

    def settings(self) -> dict[str, Any]:
        model = self.language_model
        name = fingerprint(model) if isinstance(model, nn.Module) else type_name(model)
        return {"name": "Fluency", "language_model": name, "temperature": self.temperature}

    def __repr__(self) -> str:
        return f"Fluency({type_name(self.language_model)})"


__all__ = ["Fluency"]
