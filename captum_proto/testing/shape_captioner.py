"""A small captioner with attention and a language model, trained on drawn shapes: descriptions of units where it is known what is right."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from captum_proto._utils.checks import check_images, check_int, nearest
from captum_proto._utils.errors import InputError, InputTypeError
from captum_proto._utils.files import intact, load_tensors, save_tensors
from captum_proto.testing.annotated_shapes import ShapeAnnotations
from captum_proto.testing.marked_digits import seeded

#: In a batch: masked images of the encoder; sets of the decoder, and images of each.
_MASKED, _SETS, _IMAGES = 64, 16, 15
#: Batches of the language model: all texts each.
_TEXT_STEPS = 300
#: A share of the probability that training gives to words that nobody said. Beam search weighs texts that make no sense too, and without
#: this share the two models would disagree by any amount on how unlikely these are.
_SMOOTHING = 0.02
#: Light below which the logarithm tells no difference.
_DARKEST = 0.02
#: Numbers by which attention matches what is being said with an image.
_KEYS = 32
_CAPTIONER, _LANGUAGE_MODEL = "shape captioner", "shape language model"
State = tuple[Tensor, Tensor]
_Model = TypeVar("_Model", "ShapeCaptioner", "ShapeLanguageModel")


class Vocabulary:
    """
    Words and their numbers; 0 is the end of a text.

    Args:
        words (sequence of str): Each once.

    Examples::

        >>> vocabulary = Vocabulary(["a", "red", "shape"])
        >>> vocabulary.numbers("a red shape"), vocabulary.text([2, 3])
        ([1, 2, 3, 0], 'red shape')
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.words = list(words)
        self._number = {word: place for place, word in enumerate(self.words, 1)}

    def __len__(self) -> int:
        """How many numbers there are, the end among them."""
        return len(self.words) + 1

    @classmethod
    def of(cls, texts: Sequence[str]) -> Vocabulary:
        """The words of some texts."""
        return cls(sorted({word for text in texts for word in text.split()}))

    def numbers(self, text: str) -> list[int]:
        """The numbers of the words of a text, and the end."""
        words = text.split()
        if not words:
            raise InputError("a text holds no word; expected at least one.")
        for word in words:
            if word not in self._number:
                known = f"; expected some of {', '.join(self.words)}."
                raise InputError(f'the word "{word}" is not known{nearest(word, self.words) or known}')
        return [*(self._number[word] for word in words), 0]

    def text(self, numbers: Sequence[int]) -> str:
        """The text of some numbers of words."""
        return " ".join(self.words[number - 1] for number in numbers)


class _Speaker(nn.Module):
    """An LSTM that says one word after the other, and may have something before its eyes."""

    def __init__(self, vocabulary: Vocabulary, most_words: int, seen: int, hidden: int) -> None:
        super().__init__()
        self.vocabulary, self.most_words = vocabulary, check_int(most_words, "most_words", 1)
        self.embedding = nn.Embedding(len(vocabulary), 32)
        self.cell = nn.LSTMCell(32 + seen, hidden)
        self.word = nn.Sequential(nn.Linear(hidden + seen, hidden), nn.ReLU(), nn.Linear(hidden, len(vocabulary)))

    def log_probabilities(self, hidden: Tensor, seen: Tensor | None, place: int) -> Tensor:
        """Of each next word, (N, words): a text has at least one word, and ends after ``most_words`` at the latest."""
        logits: Tensor = self.word(hidden if seen is None else torch.cat([hidden, seen], 1))
        if place == 0:
            logits = logits.index_fill(1, torch.zeros(1, dtype=torch.int64, device=logits.device), -torch.inf)
        elif place >= self.most_words:
            words = torch.arange(1, logits.shape[1], device=logits.device)
            logits = logits.index_fill(1, words, -torch.inf)
        return logits.log_softmax(1)


class ShapeLanguageModel(_Speaker):
    """
    How likely descriptions of drawn shapes are by themselves: an LSTM, the ``LanguageModel`` of
    :class:`~captum_proto.concept.NeuronDescriber`.

    Args:
        vocabulary (Vocabulary): Its words.
        most_words (int, optional): Of a text. Default: 6
        hidden (int, optional): Units of the LSTM. Default: 64

    Examples::

        >>> model = ShapeLanguageModel(Vocabulary(["a", "red", "shape"]))
        >>> bool((model.log_probability(["a shape", "red"]) < 0).all())
        True
    """

    def __init__(self, vocabulary: Vocabulary, most_words: int = 6, hidden: int = 64) -> None:
        super().__init__(vocabulary, most_words, 0, hidden)
        self.sizes = {"most_words": most_words, "hidden": hidden}

    def step(self, numbers: Tensor, state: State, place: int) -> tuple[Tensor, State]:
        """From the last word of each text (0 before the first) to the logarithm of the probability of each next one."""
        state = self.cell(self.embedding(numbers), state)
        return self.log_probabilities(state[0], None, place), state

    def start(self, count: int) -> State:
        """Before the first word."""
        zeros = self.embedding.weight.new_zeros(count, self.cell.hidden_size)
        return zeros, zeros

    def log_probability(self, texts: Sequence[str]) -> Tensor:
        """
        The logarithm of the probability of each text.

        Args:
            texts (sequence of str): T of them, words separated by spaces.

        Returns:
            Tensor: (T,), float32; minus infinity for one of more words than ``most_words``.

        Raises:
            ValueError: If a text has no word, or one that is not known.
        """
        rows, inside = _texts(texts, self.vocabulary, self.most_words)
        with torch.no_grad():
            return _of_texts(self.step, self.start(len(rows)), rows).sum(1).masked_fill(~inside, -torch.inf)

    def save(self, path: str | os.PathLike[str], overwrite: bool = False) -> None:
        """
        Write the weights and the words to a safetensors file.

        Raises:
            FileExistsError: If the file exists and ``overwrite`` is False.
        """
        _save(self, path, _LANGUAGE_MODEL, overwrite)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> ShapeLanguageModel:
        """
        Read what :meth:`save` wrote.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is damaged or holds something else.
        """
        return _load(cls, path, _LANGUAGE_MODEL)


class ShapeCaptioner(_Speaker):
    """
    Descriptions of what is common to masked images of drawn shapes, and their probabilities: the ``Captioner`` of
    :class:`~captum_proto.concept.NeuronDescriber`.

    After MILAN (Hernandez et al., arXiv:2201.11114), in small. Each image, with its mask as a further channel, passes through three
    convolutions; the maps of each, and the image itself, are averaged within the mask. From these two linear layers tell how much of the
    mask is of each concept: this encoder is trained first and by itself. An LSTM with additive attention to the features of all images then
    learns to say one word after the other, and a beam search finds the likeliest texts.

    Args:
        vocabulary (Vocabulary): Its words.
        concepts (int, optional): Features of an image: as many as concepts that the encoder tells. Default: 32
        size (int, optional): The side in pixels to which images are resized, at least 16. Default: 40
        most_words (int, optional): Of a text. Default: 6
        hidden (int, optional): Units of the LSTM. Default: 96

    Examples::

        >>> captioner = ShapeCaptioner(Vocabulary(["a", "red", "shape"])).eval()
        >>> texts, values = captioner.describe(torch.rand(3, 3, 40, 40), torch.ones(3, 40, 40, dtype=torch.bool), beam=5)
        >>> len(texts), values.shape
        (5, torch.Size([5]))
    """

    def __init__(
        self, vocabulary: Vocabulary, concepts: int = 32, size: int = 40, most_words: int = 6, hidden: int = 96
    ) -> None:
        super().__init__(vocabulary, most_words, concepts, hidden)
        self.size = check_int(size, "size", 16)
        self.sizes = {"concepts": concepts, "size": size, "most_words": most_words, "hidden": hidden}
        widths = (6, 24, 32, 48)
        self.convolutions = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(after), nn.ReLU()
            )
            for before, after, kernel, stride in zip(widths, widths[1:], (5, 3, 3), (2, 2, 1), strict=False)
        )
        self.head = nn.Sequential(
            nn.Linear(4 + sum(widths[1:]) + widths[-1], hidden), nn.ReLU(), nn.Linear(hidden, concepts)
        )
        self.begin = nn.Linear(concepts, 2 * hidden)
        self.query, self.key = nn.Linear(hidden, _KEYS), nn.Linear(concepts, _KEYS)
        self.match = nn.Linear(_KEYS, 1, bias=False)

    def features(self, images: Tensor, masks: Tensor) -> Tensor:
        """
        What is seen of each image: how much of its mask is of each concept.

        Args:
            images (Tensor): (N, 3, H, W) in [0, 1], of any size.
            masks (Tensor): (N, H, W), bool.

        Returns:
            Tensor: (N, concepts), from 0 to 1.
        """
        # Bounded, so that clearer cases than any that it was trained on do not make a description more certain than what was said of these.
        return self.logits(images, masks).sigmoid()

    def logits(self, images: Tensor, masks: Tensor) -> Tensor:
        """The same before the logistic function."""
        size = (self.size, self.size)
        given = torch.cat([images, masks.unsqueeze(1).to(images.dtype)], 1)
        if tuple(given.shape[2:]) != size:
            given = nn.functional.interpolate(given, size=size, mode="bilinear", antialias=True)
        image, mask = given[:, :3], given[:, 3:]
        # A texture darkens a color by a factor: in the logarithm of the light it is as strong on dark colors as on light ones.
        light = (image.mean(1, keepdim=True).clamp(min=0) + _DARKEST).log()
        contrast = (light - _within(light, mask)[:, :, None, None]) * mask
        value = torch.cat([image, light, contrast, mask], 1)
        pooled = [_within(image, mask), mask.mean((2, 3))]
        for convolution in self.convolutions:
            value = convolution(value)
            pooled.append(_within(value, nn.functional.adaptive_avg_pool2d(mask, value.shape[2])))
        pooled.append(value.amax((2, 3)))
        found: Tensor = self.head(torch.cat(pooled, 1))
        return found

    def keyed(self, features: Tensor) -> Tensor:
        """Features (B, k, concepts) of B sets of k images, with the keys by which attention finds them behind them."""
        return torch.cat([features, self.key(features)], 2)

    def start(self, keyed: Tensor) -> State:
        """Before the first word, from what :meth:`keyed` gives."""
        features = keyed[:, :, :-_KEYS]
        hidden, cell = self.begin(features.mean(1)).tanh().chunk(2, 1)
        return hidden, cell

    def step(self, numbers: Tensor, state: State, place: int, keyed: Tensor) -> tuple[Tensor, State]:
        """From the last word of each text (0 before the first) to the logarithm of the probability of each next one."""
        features, keys = keyed[:, :, :-_KEYS], keyed[:, :, -_KEYS:]
        energy = self.match((self.query(state[0]).unsqueeze(1) + keys).tanh())
        seen = (energy.softmax(1) * features).sum(1)
        state = self.cell(torch.cat([self.embedding(numbers), seen], 1), state)
        return self.log_probabilities(state[0], seen, place), state

    def describe(self, images: Tensor, masks: Tensor, beam: int) -> tuple[list[str], Tensor]:
        """
        The likeliest descriptions that a beam search finds.

        Args:
            images (Tensor): (k, 3, H, W) in [0, 1].
            masks (Tensor): (k, H, W), bool.
            beam (int): How many unfinished texts are kept, and how many descriptions are wanted.

        Returns:
            tuple[list[str], Tensor]: Different texts, the likeliest first, and the logarithm of the probability of each, float32.

        Raises:
            ValueError: If images and masks do not fit each other, or an image is not in color.
        """
        check_int(beam, "beam", 1)
        with torch.no_grad():
            keyed = self._keyed(images, masks)

            def step(numbers: Tensor, state: State, place: int) -> tuple[Tensor, State]:
                return self.step(numbers, state, place, keyed.expand(len(numbers), -1, -1))

            found = beam_search(step, self.start(keyed), beam, self.most_words)
        texts = [self.vocabulary.text(numbers) for numbers, _ in found]
        return texts, torch.tensor([value for _, value in found])

    def log_probability(self, images: Tensor, masks: Tensor, texts: Sequence[str]) -> Tensor:
        """
        The logarithm of the probability of given texts.

        Args:
            images (Tensor): (k, 3, H, W) in [0, 1].
            masks (Tensor): (k, H, W), bool.
            texts (sequence of str): T of them, words separated by spaces.

        Returns:
            Tensor: (T,), float32; minus infinity for one of more words than ``most_words``.

        Raises:
            ValueError: As :meth:`describe`, or if a text has no word, or one that is not known.
        """
        rows, inside = _texts(texts, self.vocabulary, self.most_words)
        with torch.no_grad():
            keyed = self._keyed(images, masks).expand(len(rows), -1, -1)
            found = _of_texts(partial(self.step, keyed=keyed), self.start(keyed), rows)
            return found.sum(1).masked_fill(~inside, -torch.inf)

    def save(self, path: str | os.PathLike[str], overwrite: bool = False) -> None:
        """
        Write the weights and the words to a safetensors file.

        Raises:
            FileExistsError: If the file exists and ``overwrite`` is False.
        """
        _save(self, path, _CAPTIONER, overwrite)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> ShapeCaptioner:
        """
        Read what :meth:`save` wrote.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is damaged or holds something else.
        """
        return _load(cls, path, _CAPTIONER)

    def _keyed(self, images: Tensor, masks: Tensor) -> Tensor:
        """As :meth:`keyed`, of images and masks that were seen to fit."""
        check_images(images)
        if images.shape[1] != 3:
            raise InputError(f"images have {images.shape[1]} channels; expected 3: red, green and blue.")
        if masks.dtype != torch.bool:
            raise InputTypeError(f"masks have dtype {masks.dtype}; expected torch.bool, true where the unit fires.")
        expected = (len(images), *images.shape[2:])
        if tuple(masks.shape) != expected:
            raise InputError(f"masks have shape {tuple(masks.shape)}; expected {expected}, one for each image.")
        if not bool(masks.any()):
            raise InputError("the masks are empty; expected at least one image on which the unit fires.")
        # An image on which the unit fires nowhere says nothing of it.
        fires = masks.flatten(1).any(1)
        images, masks, weight = images[fires], masks[fires], self.embedding.weight
        return self.keyed(self.features(images.to(weight), masks.to(weight.device)).unsqueeze(0))


def train_shape_captioner(
    seed: int = 0, steps: int = 1000, size: int = 40, images: int = 2500
) -> tuple[ShapeCaptioner, ShapeLanguageModel]:
    """
    Train a captioner and a language model on :class:`~captum_proto.testing.ShapeAnnotations`, to the same weights from the same seed.

    Args:
        seed (int, optional): Of the images, the weights and the sets. Default: 0
        steps (int, optional): Batches of 64 masked images for the encoder, at least 1; the decoder gets three times as many, of 16 sets.
            Default: 1000
        size (int, optional): The side of images in pixels, at least 16. Default: 40
        images (int, optional): How many there are to choose from. Default: 2500

    Returns:
        tuple[ShapeCaptioner, ShapeLanguageModel]: In evaluation mode, p(d | E) and p(d).

    Raises:
        ValueError: If an argument is out of its range.
    """
    check_int(steps, "steps", 1)
    annotations = ShapeAnnotations(images, size, seed)
    vocabulary, generator = Vocabulary.of(annotations.texts), torch.Generator().manual_seed(seed)
    with seeded(seed), torch.enable_grad():
        captioner, language_model = (
            ShapeCaptioner(vocabulary, len(annotations.concepts), size),
            ShapeLanguageModel(vocabulary),
        )
        features = _encoded(captioner, annotations, steps, generator)

        def captioned() -> Tensor:
            sets = annotations.draw(_SETS, _IMAGES, generator)
            # Everything that annotators may say of a set, weighed by how often they do: no chance of a few annotators is learned.
            said = [(place, *each) for place, name in enumerate(sets.concepts) for each in annotations.said_of(name)]
            chosen, texts, weights = zip(*said, strict=True)
            seen = captioner.keyed(features[sets.examples])[list(chosen)]
            rows, _ = _texts(texts, vocabulary, captioner.most_words)
            values = _of_texts(partial(captioner.step, keyed=seen), captioner.start(seen), rows, _SMOOTHING).sum(1)
            return -(values * torch.tensor(weights)).sum() / _SETS

        _train(captioner, captioned, 3 * steps, 1e-2)
        every = [each for name in annotations.concepts for each in annotations.said_of(name)]
        shares = torch.tensor([sum(share for text, share in every if text == each) for each in annotations.texts])
        rows, _ = _texts(annotations.texts, vocabulary, language_model.most_words)

        def modeled() -> Tensor:
            start = language_model.start(len(rows))
            values = _of_texts(language_model.step, start, rows, _SMOOTHING).sum(1)
            return -(values * shares).sum() / len(annotations.concepts)

        _train(language_model, modeled, _TEXT_STEPS, 1e-2)
    return captioner.eval(), language_model.eval()


def _encoded(
    captioner: ShapeCaptioner, annotations: ShapeAnnotations, steps: int, generator: torch.Generator
) -> Tensor:
    """Train the encoder to tell how much of each mask is of each concept; then the features (P, concepts) of all masked images."""

    def told() -> Tensor:
        chosen = torch.randint(len(annotations), (_MASKED,), generator=generator)
        seen = captioner.logits(annotations.images[annotations.image_of[chosen]], annotations.masks[chosen])
        unlike = nn.functional.binary_cross_entropy_with_logits(seen, annotations.shares[chosen], reduction="none")
        return unlike.sum(1).mean()

    encoder = nn.ModuleList([captioner.convolutions, captioner.head])
    _train(encoder, told, steps, 2e-2)
    encoder.eval()
    with torch.no_grad():
        return torch.cat(
            [
                captioner.features(annotations.images[annotations.image_of[rows]], annotations.masks[rows])
                for rows in torch.split(torch.arange(len(annotations)), _MASKED)
            ]
        )


def _train(model: nn.Module, loss_of: Callable[[], Tensor], steps: int, rate: float) -> None:
    """Minimize a loss of batches that are drawn anew each time."""
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=rate, total_steps=steps)
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        torch.autograd.backward(loss_of())
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        schedule.step()


def beam_search(
    step: Callable[[Tensor, State, int], tuple[Tensor, State]], start: State, beam: int, most_words: int
) -> list[tuple[list[int], float]]:
    """
    The likeliest texts that are found by going on with the likeliest beginnings.

    Args:
        step (Callable): From the last number of each of N texts, the state and the place to the logarithm of the probability of each next
            number, (N, words), and the next state.
        start (tuple[Tensor, Tensor]): The state before the first word, of one text.
        beam (int): How many beginnings are kept at each place, and how many texts are given at most.
        most_words (int): After which a text has to end.

    Returns:
        list[tuple[list[int], float]]: Of different texts, numbers of words and the logarithm of the probability, the likeliest first.

    Examples::

        >>> def step(numbers, state, place):  # one word, or two, or the end: each with its probability
        ...     return torch.tensor([[0.0, 0.7, 0.3] if place == 0 else [0.9, 0.1, 0.0]]).log().expand(len(numbers), -1), state
        >>> start = (torch.zeros(1, 1), torch.zeros(1, 1))
        >>> [(numbers, round(value, 2)) for numbers, value in beam_search(step, start, 2, 3)]
        [([1], -0.46), ([2], -1.31)]
    """
    finished: list[tuple[list[int], float]] = []
    texts, values, state = [list[int]()], start[0].new_zeros(1), start
    last = torch.zeros(1, dtype=torch.int64, device=start[0].device)
    for place in range(most_words + 1):
        log_probability, state = step(last, state, place)
        total = values.unsqueeze(1) + log_probability
        ends = total[:, 0].tolist()
        finished += [(text, value) for text, value in zip(texts, ends, strict=True) if value > -torch.inf]
        going = total[:, 1:].flatten()
        values, chosen = going.topk(min(beam, len(going)))
        there = values > -torch.inf
        values, chosen = values[there], chosen[there]
        if not len(chosen):
            break
        rows, words = chosen // (total.shape[1] - 1), chosen % (total.shape[1] - 1) + 1
        texts = [[*texts[row], word] for row, word in zip(rows.tolist(), words.tolist(), strict=True)]
        state, last = (state[0][rows], state[1][rows]), words
        finished = sorted(finished, key=lambda each: -each[1])[:beam]
        if len(finished) == beam and finished[-1][1] >= float(values[0]):
            break  # no text becomes likelier by going on
    return sorted(finished, key=lambda each: -each[1])[:beam]


def _texts(texts: Sequence[str], vocabulary: Vocabulary, most_words: int) -> tuple[Tensor, Tensor]:
    """The numbers of the words of texts with the end, (T, places), -1 after it; and (T,), whether each has at most so many words."""
    if isinstance(texts, str):
        raise InputTypeError("texts is a str; expected a sequence of texts: put it into a list.")
    rows = [vocabulary.numbers(text) for text in texts]
    inside = torch.tensor([len(row) <= most_words + 1 for row in rows], dtype=torch.bool)
    longest = max((len(row) for row in rows), default=1)
    cut = [[*row, *[-1] * (longest - len(row))][: most_words + 1] for row in rows]
    return torch.tensor(cut, dtype=torch.int64).view(len(rows), -1), inside


def _of_texts(
    step: Callable[[Tensor, State, int], tuple[Tensor, State]], state: State, rows: Tensor, smoothing: float = 0.0
) -> Tensor:
    """The logarithm of the probability of each word of texts after those before it, (T, places); 0 after the end."""
    device = state[0].device
    rows, found = rows.to(device), list[Tensor]()
    last = torch.zeros(len(rows), dtype=torch.int64, device=device)
    for place in range(rows.shape[1]):
        log_probability, state = step(last, state, place)
        there, number = rows[:, place] >= 0, rows[:, place].clamp(min=0)
        value = log_probability.gather(1, number.unsqueeze(1)).squeeze(1)
        if smoothing:
            possible = log_probability > -torch.inf
            mean = log_probability.masked_fill(~possible, 0).sum(1) / possible.sum(1)
            value = (1 - smoothing) * value + smoothing * mean
        found.append(value.masked_fill(~there, 0))
        last = number
    return torch.stack(found, 1)


def _within(values: Tensor, mask: Tensor) -> Tensor:
    """The mean of maps (N, C, h, w) within a soft mask (N, 1, h, w); 0 where it is empty."""
    return (values * mask).sum((2, 3)) / mask.sum((2, 3)).clamp(min=1e-6)


def _save(model: ShapeCaptioner | ShapeLanguageModel, path: Any, kind: str, overwrite: bool) -> None:
    save_tensors(path, kind, model.state_dict(), {"words": model.vocabulary.words, "sizes": model.sizes}, overwrite)


def _load(cls: type[_Model], path: Any, kind: str) -> _Model:
    tensors, metadata = load_tensors(path, kind)
    with intact(path, kind):
        model = cls(Vocabulary(metadata["words"]), **metadata["sizes"])
        model.load_state_dict(tensors)
        return model.eval()


__all__ = [
    "ShapeCaptioner",
    "ShapeLanguageModel",
    "Vocabulary",
    "beam_search",
    "train_shape_captioner",
]
