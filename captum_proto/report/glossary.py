"""What the words of a page mean, a line each: those that a page uses are explained on it, and lead there where they first appear."""

from __future__ import annotations

import re

from markupsafe import Markup, escape

#: By word, what it means, for who was told nothing. A word is found with its plural, whether it begins a sentence or not.
MEANINGS = {
    "prototype": "A picture that was computed step by step until the network takes it for a class: what it sees as most typical of it.",
    "transform": "A random small turn, shift or change of size, which a picture of the class should survive.",
    "p, transformed": "The mean of p, the probability of the class, over many random rotations, shifts and scalings of the picture.",
    "logit": "The network's output for a class before it is made a probability: the higher, the more of the class.",
    "seed": "The number that the random start of a picture was drawn with: another seed, another picture.",
    "path similarity": "How much a picture activates the network, layer by layer, as natural images of the class do.",
    "Spearman": "Correlation of ranks, layer by layer: 1 if a picture activates the units of a layer in the same order as natural images "
    "of the class do on average, 0 if the orders have nothing to do with each other.",
    "SS ≥ SS_I": "Layers whose Spearman correlation is at least that of the average natural image of the class.",
    "SS ≥ every I": "Layers whose Spearman correlation is at least that of every natural image of the class.",
    "D ≤ D_I": "Layers whose L1 distance is at most that of the average natural image of the class.",
    "L1": "The sum of the differences between a picture's activations and those of natural images of the class: 0 if they are equal.",
    "normalized": "Measured between two ends: natural images of the class and natural images of other classes.",
    "layer": "A step of the computation in the network, counted in the order in which the steps end.",
    "control": "A picture that is scored as prototypes are, though nobody would take it for the class: where it does as well, a score "
    "proves nothing.",
    "ascent": "A control: each step raises the class's logit, with nothing that keeps the picture natural.",
    "feature visualization": "A control: ascent that moves the picture a little in each step (Olah and others, 2017).",
    "mean image": "A control that knows the data: the mean of the natural images of the class, a blur.",
    "interval": "The range in which the true value lies with the given confidence, as far as these data tell; a wide one means few data.",
    "may be chance": "A difference that data as few as these often show where there is none.",
    "Fisher's exact test": "How likely a difference as large as this one, or larger, would be by chance alone: its p is small if chance is "
    "no good explanation.",
    "Holm's correction": "It raises the p of several tests made at once, of which one is soon significant by chance.",
    "subgroup": "Images of one class that have something further in common.",
    "flagged": "Found suspicious: the figure is below a threshold that was set before.",
    "AUC": "The chance that a fooled prototype scores lower than an honest one: 0.5 if the score tells nothing, 1 if it always tells.",
    "trojan": "What a network has secretly learned: to answer with one class, the target, wherever it sees a trigger.",
    "trigger": "What in an image sets off a trojan: a pasted patch, a style, or an object.",
    "cue": "The mark that was planted in images of one class.",
}
_PATTERNS = {word: re.compile(rf"(?<![\w-]){re.escape(word)}(?:s|es)?(?![\w-])", re.IGNORECASE) for word in MEANINGS}


class Explainer:
    """
    Links from where a word first appears to what it means.

    Attributes:
        words (list[str]): Those that were found, in the order in which they appear.

    Examples::

        >>> explained = Explainer()
        >>> print(explained("No control is above 0.5."))
        No <a class="word" href="#word-control" title="A picture that ...">control</a> is above 0.5.
        >>> print(explained("Three controls"))
        Three controls
    """

    def __init__(self) -> None:
        self.words: list[str] = []

    def __call__(self, text: str) -> Markup:
        """A text as HTML, with a link from each word that no text before had."""
        found: list[tuple[int, int, str]] = []
        for word in sorted(_PATTERNS, key=len, reverse=True):  # "path similarity" is not "path"
            for match in _PATTERNS[word].finditer(text):
                if not any(begin < match.end() and match.start() < end for begin, end, _ in found):
                    found.append((*match.span(), word))
                    break
        found = [link for link in sorted(found) if link[2] not in self.words]
        self.words += [word for *_, word in found]
        html, place = Markup(), 0
        for begin, end, word in found:
            link = Markup('<a class="word" href="#{}" title="{}">{}</a>')
            html += escape(text[place:begin]) + link.format(anchor(word), MEANINGS[word], text[begin:end])
            place = end
        return html + escape(text[place:])


def anchor(word: str) -> str:
    """Where a word is explained on the page."""
    return "word-" + re.sub(r"\W+", "-", word.lower())
