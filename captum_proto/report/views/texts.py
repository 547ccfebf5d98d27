"""Prototypes of texts: their tokens beside the head's top words, who else gives them their class, and controls."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from captum_proto._utils.tables import number, percent
from captum_proto.report.blocks import Block, Curves, Files, Paragraphs, Table
from captum_proto.report.page import Page, Section
from captum_proto.report.views.conditions import (
    PROTOTYPE,
    InputsResult,
    against,
    beside_natural,
    condition_table,
    verdict,
)
from captum_proto.stats.conditions import condition_estimate

TEXTS = "prototypes.csv"
#: What each measure is called, in the order of the table.
_MEASURES = {
    "judged": "naive Bayes gives the class",
    "top": "tokens among its top words",
    "keyword": "has the planted word",
    "p": "p of the network",
    "spearman": "path similarity",
    "nats": "surprise, nats a token",
}
_SHARES = ("judged", "top", "keyword")
_BOUNDED = (*_SHARES, "p")
#: So many top words are shown.
_TOP = 4


class TextResult(InputsResult):
    """Prototypes of texts, with a natural text and the top words of each network, and what was measured of them."""

    def rows(self) -> Iterator[list[Any]]:
        """Every prototype, as rows of a table: network, class, seed, p, text."""
        for place, network in enumerate(self.networks):
            for each in network["classes"]:
                for text, seed, p in zip(each["texts"], each["seeds"], each["p"], strict=True):
                    yield [place, each["name"], seed, repr(p), text]

    def conditions(self) -> Table:
        """The measures of each condition."""
        there = {
            name: shown
            for name, shown in _MEASURES.items()
            if any(not math.isnan(each.values.get(name, math.nan)) for each in self.measured)
        }
        over = "networks" if len(self.networks) > 1 else "classes"
        caption = (
            f"Means with 95 % intervals over {over}. Naive Bayes was trained on the texts of the network, and saw no prototype. Top words: "
            f"the words that alone have the highest probability of the class, of {self.networks[0]['vocabulary']} words in all. Path "
            "similarity: the mean Spearman correlation of the network's layers with those of natural texts of the class. Shuffled "
            "sentence: natural texts of the class, their words in random order."
        )
        return condition_table(self.measured, there, _SHARES, _BOUNDED, caption)


def text_page(result: TextResult, settings: Mapping[str, Any], warned: Sequence[str]) -> Page:
    """
    The page of a run.

    Args:
        result (TextResult): Of all networks.
        settings (mapping): Recorded with the run.
        warned (sequence of str): What was warned of.
    """
    first, name = result.networks[0], (settings.get("model") or {}).get("name", "texts")
    page = Page(f"Prototypes of texts: {name}", settings=dict(settings), failures=list(warned))
    page.lead = [texts_table(first)]
    count = sum(len(each["texts"]) for network in result.networks for each in network["classes"])
    several = f"{len(result.networks)} networks" if len(result.networks) > 1 else "one network"
    page.summary = [
        f"{count} prototypes of {len(first['classes'])} classes, of {several}: the tokens of each text were chosen, step by step, to raise "
        "the network's probability of the class named beside it: an attempt to show what it finds typical of that class."
    ]
    page.trust = _trust(result)
    page.sections = [
        Section("Who gives them their class", [result.conditions(), Paragraphs(_networks(result))]),
        Section("Path similarity", _curves(result)),
        Section("Files", [Files([TEXTS, "networks/00.safetensors", "settings.json"])]),
    ]
    return page


def texts_table(network: Mapping[str, Any]) -> Table:
    """The first prototype of each class, a natural text, and the head's top words."""
    rows = [
        [each["name"], each["texts"][0], ", ".join(each["top"][:_TOP]), each["natural"], number(each["p"][0], 2)]
        for each in network["classes"]
    ]
    keyword = network["keyword"]
    planted = f" The word “{keyword[1]}” was planted in the training texts of one class." if keyword else ""
    caption = (
        "The first prototype of each class, of the first network; p is the network's probability of the class. Top words have, each as a "
        f"text of its own, the highest probability of the class.{planted}"
    )
    return Table(["class", "prototype", "top words", "a natural text", "p"], rows, caption)


def _networks(result: TextResult) -> list[str]:
    accuracy = [network["settings"]["accuracy"] for network in result.networks]
    judges = [network["settings"]["judge_accuracy"] for network in result.networks]
    return [
        f"On {result.networks[0]['settings']['natural']} natural texts that neither was trained on, networks are right in "
        f"{percent(sum(accuracy) / len(accuracy))} and naive Bayes in {percent(sum(judges) / len(judges))} of cases, on average over "
        f"{len(accuracy)} {'network' if len(accuracy) == 1 else 'networks'}."
    ]


def _trust(result: TextResult) -> str:
    top, judged, path, keyword = (
        condition_estimate(result.measured, PROTOTYPE, name) for name in ("top", "judged", "spearman", "keyword")
    )
    if math.isnan(judged.value):
        return ""
    planted = (
        ""
        if math.isnan(keyword.value)
        else f" Of the class with a planted word, {percent(keyword.value)} of prototypes have it."
    )
    judges, words, paths = (
        against(result.measured, "random tokens", name, name != "spearman") for name in ("judged", "top", "spearman")
    )
    return (
        f"{verdict(result.measured)}: naive Bayes, which has nothing to do with the network, gives the class to "
        f"{percent(judged.value)} of the prototypes, {judges}, and {percent(top.value)} of their tokens are top words "
        f"of the class, {words}.{planted} Path similarity "
        f"{number(path.value)}: {paths}, and {against(result.measured, 'shuffled sentence', 'spearman', False)}. "
        f"{beside_natural(result.measured)}"
    )


def _curves(result: TextResult) -> list[Block]:
    if not result.comparisons:
        return []
    return [Curves(result.comparisons[0], "Of the first network, over all classes.", result.comparisons[1:])]


__all__ = ["TEXTS", "TextResult", "text_page", "texts_table"]
