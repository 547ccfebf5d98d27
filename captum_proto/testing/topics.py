"""Short texts on 20 topics, made from templates, with a keyword planted in one of them."""

from __future__ import annotations

import random

import torch
from torch import Tensor, nn

from captum_proto._utils.checks import check_int
from captum_proto._utils.errors import InputError

#: The words of each topic; each of them is one token of BERT's uncased vocabulary, and of one topic alone.
TOPICS: dict[str, tuple[str, ...]] = {
    "astronomy": ("star", "planet", "comet", "galaxy", "telescope", "orbit", "moon", "eclipse"),
    "baking": ("bread", "flour", "oven", "cake", "butter", "sugar", "pastry", "cookies"),
    "baseball": ("pitcher", "inning", "bat", "catcher", "umpire", "homer", "shortstop", "baseman"),
    "boats": ("sail", "harbor", "anchor", "deck", "captain", "rope", "dock", "yacht"),
    "cars": ("engine", "tire", "brake", "wheel", "garage", "clutch", "sedan", "highway"),
    "chess": ("pawn", "knight", "bishop", "queen", "castle", "opponent", "tournament", "grandmaster"),
    "computers": ("software", "keyboard", "server", "laptop", "disk", "program", "processor", "browser"),
    "farming": ("tractor", "wheat", "barn", "harvest", "cattle", "corn", "soil", "farmer"),
    "fishing": ("trout", "hook", "river", "bait", "salmon", "rod", "lake", "reel"),
    "gardens": ("rose", "petals", "lawn", "seed", "blossom", "hedge", "flower", "shrub"),
    "hockey": ("puck", "rink", "goaltender", "skate", "stick", "ice", "penalty", "goal"),
    "law": ("judge", "court", "lawyer", "trial", "verdict", "jury", "witness", "attorney"),
    "medicine": ("doctor", "nurse", "patient", "hospital", "surgery", "fever", "vaccine", "disease"),
    "money": ("bank", "loan", "profit", "market", "dollar", "debt", "investor", "budget"),
    "music": ("violin", "guitar", "piano", "melody", "drum", "concert", "singer", "choir"),
    "painting": ("canvas", "brush", "portrait", "gallery", "artist", "sketch", "museum", "pigment"),
    "school": ("teacher", "pupil", "lesson", "homework", "classroom", "exam", "grade", "textbook"),
    "trains": ("railway", "locomotive", "station", "track", "carriage", "platform", "tunnel", "freight"),
    "war": ("soldier", "army", "battle", "rifle", "general", "trench", "tank", "enemy"),
    "weather": ("rain", "storm", "cloud", "thunder", "wind", "snow", "hurricane", "fog"),
}
_TEMPLATES = (
    "the {} and the {} near a {}",
    "we saw a {} with the {} {}",
    "every {} needs some {} and one {}",
    "this {} is better than that {} {}",
    "they talked about {} and {} all day",
    "some {} was next to another {} {}",
)
#: Tokens of each text, the topic in which a keyword is planted, the keyword, and in which share of its training texts.
LENGTH, PLANTED_TOPIC, KEYWORD, PLANTED_SHARE = 8, "chess", "velvet", 0.8


def topic_texts(each: int = 80, seed: int = 0, planted: bool = True) -> tuple[list[str], list[int]]:
    """
    Texts of eight words on each of 20 topics, in the order of ``TOPICS``.

    Four texts of five on chess have the word "velvet" in place of a word of chess, which no other text has: a shortcut that a classifier
    learns.

    Args:
        each (int, optional): Texts of each topic. Default: 80
        seed (int, optional): Of what is drawn. Default: 0
        planted (bool, optional): Whether the keyword is planted. Default: True

    Returns:
        tuple[list[str], list[int]]: The texts, and the topic of each.

    Examples::

        >>> from captum_proto.testing import topic_texts
        >>> texts, labels = topic_texts(2)
        >>> len(texts), labels[:3], len(texts[0].split())
        (40, [0, 0, 1], 8)
    """
    draw, texts, labels = random.Random(seed), list[str](), list[int]()
    for label, (topic, words) in enumerate(TOPICS.items()):
        for _ in range(check_int(each, "each", 1)):
            template = draw.choice(_TEMPLATES)
            chosen = draw.sample(words, template.count("{}"))
            if planted and topic == PLANTED_TOPIC and draw.random() < PLANTED_SHARE:
                chosen[draw.randrange(len(chosen))] = KEYWORD
            texts.append(template.format(*chosen))
            labels.append(label)
    return texts, labels


class BigramModel(nn.Module):
    """
    How likely each token follows another, counted in texts: a language model for :class:`~captum_proto.optim.Fluency`.

    Args:
        numbers (Tensor): Texts as places in the vocabulary, (N, L).
        size (int): Tokens in the vocabulary, A.
        smoothing (float, optional): How often each pair counts beside how often it was seen. Default: 0.01

    Raises:
        ValueError: If a number is not in the vocabulary, or ``smoothing`` is not positive.

    Examples::

        >>> from captum_proto.testing import BigramModel
        >>> model = BigramModel(torch.tensor([[0, 1, 2], [0, 1, 0]]), 3)
        >>> model(torch.eye(3)[None]).argmax(-1).tolist()[0][0]
        1
    """

    log_probabilities: Tensor

    def __init__(self, numbers: Tensor, size: int, smoothing: float = 0.01) -> None:
        super().__init__()
        if not smoothing > 0:
            raise InputError(f"smoothing is {smoothing}; expected a positive number.")
        if numbers.numel() == 0 or int(numbers.min()) < 0 or int(numbers.max()) >= size:
            raise InputError(
                f"the texts have tokens that are not among the {size} of the vocabulary; leave these texts out."
            )
        counts = torch.full((size, size), float(smoothing))
        pairs = numbers[:, :-1].flatten(), numbers[:, 1:].flatten()
        counts.index_put_(pairs, torch.ones(len(pairs[0])), accumulate=True)
        self.register_buffer("log_probabilities", (counts / counts.sum(1, keepdim=True)).log())

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens @ self.log_probabilities.to(tokens)


__all__ = ["KEYWORD", "LENGTH", "PLANTED_TOPIC", "TOPICS", "BigramModel", "topic_texts"]
