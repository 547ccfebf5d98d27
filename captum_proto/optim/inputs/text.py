"""Texts in embedding space: tokens by projection to the nearest, or drawn by Gumbel-softmax."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from captum_proto._utils.checks import check_inputs, check_int, nearest, type_name
from captum_proto._utils.constants import beside
from captum_proto._utils.errors import InputError, InputTypeError
from captum_proto._utils.files import image_digest
from captum_proto.ops.double import double
from captum_proto.optim.inputs.base import Parametrization
from captum_proto.optim.random import RandomStream

#: How tokens are chosen.
METHODS = ("nearest", "gumbel")
#: A logit of this height leaves nothing to the others.
_CERTAIN = 1e4
#: So many distances are held at a time.
_AT_A_TIME = 2**24


class TextInput(Parametrization):
    r"""
    Texts of so many tokens, as what goes into a model after its embedding: (N, L, D).

    A model that is to be asked takes embedded tokens in place of their numbers, as ``inputs_embeds`` of the transformers library does.
    What comes back are embeddings of tokens, no others: :meth:`decode` names them.

    With "nearest", embeddings are optimized, and the model is shown the nearest tokens' at every step, whose gradient moves the embeddings:
    Wen et al., "Hard Prompts Made Easy" (arXiv:2302.03668), algorithm 1. With "gumbel", the logits of every token at every position are
    optimized, and the model is shown mixtures of embeddings drawn by Gumbel-softmax, at a temperature that falls over the steps: Guo,
    Sablayrolles, Jégou and Kiela, "Gradient-based Adversarial Attacks against Text Transformers" (arXiv:2104.13733), equation 6; in the
    end the likeliest token stays. The first holds L·D numbers, the second as many as positions times tokens.

    Args:
        embedding (Tensor): Of each token of the vocabulary, (V, D).
        length (int): Tokens of a text, L.
        tokens (sequence of str, optional): What each token is called; needed where tokens are named. Default: None
        method (str, optional): "nearest" or "gumbel". Default: "nearest"
        allowed (iterable of int or str, optional): Tokens that may be chosen, by number or name. Default: None, all
        fixed (mapping, optional): Tokens that are held, by position: ``{0: "the"}``. Default: none
        temperature (tuple[float, float], optional): Of Gumbel-softmax, at the first step and at the last. Default: (1, 0.1)

    Raises:
        TypeError, ValueError: If an argument is out of its range, or the vocabulary has no such token.

    Examples::

        >>> embedding = torch.randn(5, 8)
        >>> texts = TextInput(embedding, length=3, tokens=["a", "cat", "dog", "ran", "sat"], fixed={0: "a"})
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(24, 2))
        >>> made = PrototypeGeneration(model).generate([0, 1], parametrization=texts, steps=8)
        >>> [text.split()[0] for text in texts.decode(made.images)]
        ['a', 'a']
    """

    of_images = False

    def __init__(
        self,
        embedding: Tensor,
        length: int,
        tokens: Sequence[str] | None = None,
        method: str = "nearest",
        allowed: Iterable[int | str] | None = None,
        fixed: Mapping[int, int | str] | None = None,
        temperature: tuple[float, float] = (1.0, 0.1),
    ) -> None:
        if not isinstance(embedding, Tensor):
            raise InputTypeError(
                f"embedding is a {type_name(embedding)}; expected a tensor (V, D), a row for each token."
            )
        if embedding.dim() != 2 or len(embedding) < 2:
            raise InputError(f"embedding has shape {tuple(embedding.shape)}; expected (V, D), at least two tokens.")
        if not isinstance(length, int) or length < 1:
            raise InputError(f"length is {length}; a text has at least one token.")
        if method not in METHODS:
            raise InputError(f'method is "{method}"; expected {" or ".join(METHODS)}.')
        if tokens is not None and len(tokens) != len(embedding):
            raise InputError(f"there are {len(tokens)} tokens for {len(embedding)} embeddings; give a name for each.")
        if len(temperature) != 2 or not all(0 < each < math.inf for each in temperature):
            raise InputError(
                f"temperature is {temperature}; expected two positive numbers, at the first step and at the last."
            )
        self.embedding = check_inputs(embedding, "embedding").detach()
        self.length, self.method, self.temperature = length, method, (float(temperature[0]), float(temperature[1]))
        self.tokens = None if tokens is None else list(tokens)
        self._numbers = {} if tokens is None else {token: i for i, token in reversed(list(enumerate(tokens)))}
        chosen = range(len(embedding)) if allowed is None else sorted({self.number(each) for each in allowed})
        if len(chosen) < 2:
            raise InputError(f"{len(chosen)} tokens are allowed; with fewer than two there is nothing to choose.")
        #: The numbers of the tokens that may be chosen, (A,).
        self.vocabulary = torch.tensor(list(chosen))
        self.fixed = {
            check_int(place, "a position of fixed", 0): self.number(each) for place, each in (fixed or {}).items()
        }
        if self.fixed and max(self.fixed) >= length:
            raise InputError(f"fixed has position {max(self.fixed)}; a text has positions 0 to {length - 1}.")
        self.input_shape = (length, embedding.shape[1])
        self.draws = method == "gumbel"
        self._heat = self.temperature[0]
        self._noise: Tensor | None = None

    def number(self, token: int | str) -> int:
        """
        The number of a token.

        Raises:
            ValueError: If the vocabulary has no such token.
        """
        if isinstance(token, str):
            if self.tokens is None:
                raise InputError(
                    f'"{token}" is named, but the tokens of the vocabulary are not; give tokens, or numbers.'
                )
            if token not in self._numbers:
                raise InputError(
                    f'the vocabulary has no token "{token}"{nearest(token, self.tokens) or "; give one of its tokens."}'
                )
            return self._numbers[token]
        found = check_int(token, "a token", 0)
        if found >= len(self.embedding):
            raise InputError(f"token {found} is not in the vocabulary, which has 0 to {len(self.embedding) - 1}.")
        return found

    def encode(self, texts: Sequence[str]) -> Tensor:
        """
        The embeddings of texts whose tokens stand between spaces: (N, L, D).

        Raises:
            ValueError: If a text is of another length, or has a token that is not in the vocabulary.
        """
        rows = []
        for text in texts:
            words = text.split()
            if len(words) != self.length:
                raise InputError(f'"{text}" has {len(words)} tokens; expected {self.length}.')
            rows.append([self.number(word) for word in words])
        if not rows:
            raise InputError("there are no texts; give at least one.")
        return self.embedding[torch.tensor(rows, device=self.embedding.device)]

    def numbers(self, embedded: Tensor) -> Tensor:
        """The numbers of the allowed or fixed tokens that are nearest to embeddings (N, L, D): (N, L)."""
        known, device = self._allowed(embedded), embedded.device
        half = known.square().sum(1) / 2
        flat = embedded.detach().reshape(-1, embedded.shape[-1])
        parts = [(half - part @ known.T).argmin(1) for part in torch.split(flat, max(1, _AT_A_TIME // len(known)))]
        found = self.vocabulary.to(device)[torch.cat(parts)].view(embedded.shape[:-1])
        for place, token in self.fixed.items():
            found[:, place] = token
        return found

    def words(self, embedded: Tensor) -> list[list[str]]:
        """The tokens nearest to embeddings (N, L, D), by name, or by number where they have none."""
        found = self.numbers(embedded).tolist()
        return [[str(each) if self.tokens is None else self.tokens[each] for each in row] for row in found]

    def decode(self, embedded: Tensor) -> list[str]:
        """The texts whose tokens are nearest to embeddings (N, L, D): tokens with spaces between."""
        return [" ".join(row) for row in self.words(embedded)]

    def distribution(self, embedded: Tensor, temperature: float = 1.0) -> Tensor:
        """
        How likely each allowed token is by its distance: (N, L, A), differentiable, the softmax of minus the squared distance.

        Args:
            embedded (Tensor): (N, L, D).
            temperature (float, optional): In units of the mean squared distance between neighboring tokens. Default: 1
        """
        known = self._allowed(embedded)
        squared = known.square().sum(1) - 2 * embedded @ known.T  # what all have in common says nothing
        return (-squared / (temperature * self._scale)).softmax(-1)

    @cached_property
    def _scale(self) -> float:
        """The mean squared distance of some tokens to their nearest."""
        known = double(self.embedding[self.vocabulary.to(self.embedding.device)])
        some = known[:: max(1, len(known) // 128)]
        apart = torch.cdist(some, known).square()
        return float(torch.where(apart > 1e-9, apart, math.inf).amin(1).mean())

    def settings(self) -> dict[str, Any]:
        return {
            "name": "TextInput",
            "embedding": image_digest(self.embedding),
            "length": self.length,
            "method": self.method,
            "allowed": len(self.vocabulary),
            "fixed": {str(place): token for place, token in self.fixed.items()},
            "temperature": list(self.temperature),
        }

    def __repr__(self) -> str:
        return f"TextInput of {self.length} tokens, {self.method}"

    def check(self, inputs: Tensor, value_range: tuple[float, float], name: str) -> Tensor:
        check_inputs(inputs, name)
        if tuple(inputs.shape[1:]) != self.input_shape:
            raise InputError(
                f"{name} has shape {tuple(inputs.shape)}; expected (N, {self.length}, {self.embedding.shape[1]}), as encode gives it."
            )
        return inputs

    @property
    def changes_until(self) -> float:
        return 0.0 if self.method == "nearest" or self.temperature[0] == self.temperature[1] else 1.0

    def at(self, progress: float) -> TextInput:
        if self.method == "nearest":
            return self
        made, (first, last) = copy.copy(self), self.temperature
        made._heat = first * (last / first) ** progress
        return made

    def drawn(self, random: RandomStream | None) -> TextInput:
        if self.method == "nearest" or random is None:
            return self
        made = copy.copy(self)
        uniform = random.uniform(self.length * len(self.vocabulary)).view(-1, self.length, len(self.vocabulary))
        made._noise = -(-(uniform + 2.0**-54).log()).log()
        return made

    def start(self, random: RandomStream, shape: tuple[int, ...]) -> dict[str, Tensor]:
        if self.method == "gumbel":
            count = len(self.vocabulary)
            return {"logits": 0.1 * random.normal(self.length * count).view(-1, self.length, count)}
        places = (random.uniform(self.length) * len(self.vocabulary)).long()
        numbers = self.vocabulary.to(places.device)[places]
        for place, token in self.fixed.items():
            numbers[:, place] = token
        return {"embeddings": self.embedding.to(numbers.device)[numbers]}

    def parameters_of(self, images: Tensor) -> dict[str, Tensor]:
        if self.method == "nearest":
            return {"embeddings": images.clone()}
        return {"logits": self.distribution(images).clamp(min=1e-4).log()}

    def render(self, parameters: dict[str, Tensor]) -> Tensor:
        if self.method == "nearest":
            embedded = parameters["embeddings"]
            return embedded + (self._of(self.numbers(embedded), embedded) - embedded).detach()
        logits = parameters["logits"]
        if self._noise is not None:
            logits = logits + beside(self._noise, logits)
        mixed = (logits / self._heat).softmax(-1) @ self._allowed(logits)
        if not self.fixed:
            return mixed
        held = torch.zeros(self.length, 1, dtype=torch.bool, device=mixed.device)
        tokens = torch.zeros_like(mixed)
        for place, token in self.fixed.items():
            held[place].fill_(True)  # not assigned: the host's value would be copied to the device
            tokens[:, place].copy_(beside(self.embedding, mixed)[token])
        return torch.where(held, tokens, mixed)

    def finish(self, parameters: dict[str, Tensor]) -> None:
        """Leave the token that is nearest, or likeliest, at each position."""
        if self.method == "nearest":
            embedded = parameters["embeddings"]
            embedded.copy_(self._of(self.numbers(embedded), embedded))
        else:
            logits = parameters["logits"]
            logits.copy_(_CERTAIN * torch.nn.functional.one_hot(logits.argmax(-1), logits.shape[-1]))

    def _of(self, numbers: Tensor, like: Tensor) -> Tensor:
        return beside(self.embedding, like)[numbers]

    def _allowed(self, like: Tensor) -> Tensor:
        """The embeddings of the allowed tokens, (A, D), of the device and dtype of another tensor."""
        return beside(self.embedding, like)[beside(self.vocabulary, like, keep_dtype=True)]


__all__ = ["METHODS", "TextInput"]
