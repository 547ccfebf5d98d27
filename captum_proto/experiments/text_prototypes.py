"""Prototypes of texts, beside the head's own top words and controls: a task for each network, and a page."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from captum_proto._utils.checks import check_int
from captum_proto._utils.errors import InputError, MissingPackageError
from captum_proto.attr import Prototypes
from captum_proto.experiments.input_prototypes import COMPARISON, NETWORKS, InputPrototypes
from captum_proto.experiments.tasks_page import tasks_page
from captum_proto.metrics import PathSimilarity
from captum_proto.metrics.comparison import OTHER, SAME
from captum_proto.models.text import TextModel
from captum_proto.optim import CONTROL, Fluency, Loss, RandomStream, TextInput, prototype_keys
from captum_proto.report.html import write_page
from captum_proto.report.page import Page
from captum_proto.report.views.texts import TEXTS, TextResult, text_page
from captum_proto.runs.files import write_json, write_rows
from captum_proto.runs.folder import is_finished, read_settings
from captum_proto.runs.tasks import Run, Task, warnings_of
from captum_proto.stats.conditions import Measured

#: By method, what an ascent does that is not asked for otherwise.
DEFAULTS: dict[str, dict[str, Any]] = {
    "gumbel": {"steps": 100, "lr": 0.3, "warmup_steps": 0, "class_loss": "cross_entropy"},
    "nearest": {"steps": 100, "lr": 0.05, "warmup_steps": 0, "class_loss": "cross_entropy"},
}
#: Which tokens may be chosen: those that training texts have, or all whole words of the vocabulary.
VOCABULARIES = ("used", "words")
#: So many of the words with the highest logits of a class count as its top words.
TOP_WORDS = 20
#: From a model and what is optimized to what gives tokens as weights the logits of those that follow.
LanguageModelOf = Callable[[TextModel, TextInput], Callable[[Tensor], Tensor]]


@dataclass(frozen=True)
class TextPrototypes(InputPrototypes[TextResult]):
    """
    Prototypes of the classes of networks that take short texts.

    Of each network: several ascents for each prototype, of which the one stays whose class is likeliest; how many of its tokens are among
    the words that alone have the highest logits of the class; whether it has the planted word, where there is one; naive Bayes, trained on
    the same texts, as a judge of another family; path similarity with texts that the network has not seen; and the same of controls: random
    tokens, and natural texts of the class with their tokens shuffled.

    Args:
        load (sequence of Callable): Each gives a :class:`~captum_proto.models.TextModel`, of the same classes.
        targets (sequence of int, optional): Classes. Default: None, all
        options (mapping): Arguments of :meth:`~captum_proto.PrototypeGeneration.generate` beside the class and the input. Default: none
        method (str): See :class:`~captum_proto.optim.TextInput`. Default: "gumbel"
        vocabulary (str): "used", the tokens of training texts, or "words", all whole words that the network knows. Default: "used"
        fluency (float): Weight of :class:`~captum_proto.optim.Fluency`; 0 for none. Default: 0
        language_model (Callable, optional): Gives, from a model and its TextInput, the language model. Needed for fluency. Default: None
        count (int): Prototypes of each class. Default: 2
        attempts (int): Ascents for each of them. Default: 2
        seed (int): The first seed of each class. Default: 0

    Raises:
        InputError: If an argument is out of its range.
    """

    load: Sequence[Callable[[], TextModel]]
    targets: Sequence[int] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    method: str = "gumbel"
    vocabulary: str = "used"
    fluency: float = 0.0
    language_model: LanguageModelOf | None = None
    count: int = 2
    attempts: int = 2
    seed: int = 0

    kind = "text"

    @property
    def defaults(self) -> Mapping[str, Any]:  # type: ignore[override]  # they differ by method
        return MappingProxyType(DEFAULTS[self.method])

    def __post_init__(self) -> None:
        self.check()
        for name, known in (("method", DEFAULTS), ("vocabulary", VOCABULARIES)):
            if getattr(self, name) not in known:
                raise InputError(f'{name} is "{getattr(self, name)}"; expected {" or ".join(known)}.')
        if not 0 <= self.fluency < math.inf:
            raise InputError(f"fluency is {self.fluency}; expected a weight of at least 0.")
        if self.fluency and self.language_model is None:
            raise InputError(f"fluency is {self.fluency}, but language_model is None; give one, or leave fluency out.")

    def parametrization(self, model: TextModel) -> TextInput:
        allowed = model.used if self.vocabulary == "used" else model.whole_words
        return TextInput(model.embedding, model.length, model.tokens, self.method, allowed=allowed)

    def penalty(self, model: TextModel) -> Loss | None:
        if not self.fluency or self.language_model is None:
            return None
        texts = self.parametrization(model)
        return self.fluency * Fluency(texts, self.language_model(model, texts))

    def provenance(self) -> dict[str, Any]:
        return self.recorded(["method", "vocabulary", "fluency"])

    def make(self, task: Task, run: Run) -> None:
        place = task.name.rpartition("/")[2]
        model, folder = self.models[int(place)], run.folder / NETWORKS
        texts = self.parametrization(model)
        made = self.generate(model, self.classes, show_progress=run.show_progress)
        made.save(folder / f"{place}.safetensors", overwrite=True)
        judge, top = naive_bayes(model), top_words(model, texts)
        spoken = None if self.language_model is None else Fluency(texts, self.language_model(model, texts))
        measured = measure(
            model,
            texts,
            made,
            judge,
            top,
            spoken,
            self.seed,
            lambda target: self.unit_of(place, target),
            folder / place,
        )
        content = {
            "measured": [each.to_json() for each in measured],
            "classes": shown_texts(model, texts, made, top),
            "keyword": model.keyword,
            "vocabulary": len(texts.vocabulary),
            "settings": {
                **model.settings,
                "accuracy": model.accuracy(),
                "judge_accuracy": float(judge.score(_counts(model, model.natural[0]), model.natural[1].numpy())),
                "natural": len(model.natural[0]),
            },
        }
        write_json(folder / f"{place}.json", content, overwrite=True)

    def summarize(self, run: Run) -> TextResult:
        result = TextResult.load(run.folder / NETWORKS)
        write_rows(run.folder / TEXTS, ["network", "class", "seed", "p", "text"], result.rows(), overwrite=True)
        write_page(text_page(result, read_settings(run.folder), run.warnings()), run.folder)
        return result


def top_words(model: TextModel, texts: TextInput, count: int = TOP_WORDS) -> Tensor:
    """
    Of each class, the allowed tokens that as texts of their own have the highest logits, the highest first: (K, count) numbers.

    Args:
        model (TextModel): The classifier.
        texts (TextInput): Whose allowed tokens.
        count (int, optional): How many. Default: 20
    """
    logits = model.logits(texts.vocabulary[:, None])
    best = logits.log_softmax(1).topk(min(check_int(count, "count", 1), len(logits)), dim=0).indices.T
    return texts.vocabulary[best]


def naive_bayes(model: TextModel) -> Any:
    """
    scikit-learn's multinomial naive Bayes over counts of tokens, trained on a model's training texts: a judge of another family.

    Raises:
        ImportError: If scikit-learn is not installed.
    """
    try:
        from sklearn.naive_bayes import MultinomialNB
    except ImportError as error:
        raise MissingPackageError(
            "the judge of texts is scikit-learn's naive Bayes, which is not installed; run: pip install scikit-learn"
        ) from error
    return MultinomialNB().fit(_counts(model, model.training[0]), model.training[1].numpy())


def _counts(model: TextModel, numbers: Tensor) -> Any:
    """How often each token that training texts have is in texts (N, L); others tell naive Bayes nothing."""
    used = torch.tensor(model.used)
    return (numbers[:, :, None] == used).sum(1).numpy()


def measure(
    model: TextModel,
    texts: TextInput,
    made: Prototypes,
    judge: Any,
    top: Tensor,
    spoken: Fluency | None,
    seed: int,
    unit_of: Callable[[int], str],
    stem: Path,
) -> list[Measured]:
    """
    What is measured of prototypes, of natural texts and of controls.

    Args:
        model (TextModel): Whose prototypes they are.
        texts (TextInput): What was optimized.
        made (Prototypes): All of them.
        judge (any): Of another family, with scikit-learn's ``predict_proba`` of counts of tokens.
        top (Tensor): Of each class its top words.
        spoken (Fluency, optional): With the language model; None: fluency is not measured.
        seed (int): Of the controls.
        unit_of (Callable): What intervals are over, from the class.
        stem (Path): How the names of the files of comparisons begin.
    """
    (natural, natural_targets), found = model.natural, list[Measured]()
    for target in dict.fromkeys(target for (target,) in made.target):
        own = natural[natural_targets == target]
        keys = prototype_keys([seed + i for i in range(len(own))], [(target,)] * len(own))
        stream = RandomStream(keys, CONTROL)
        shuffled = own.gather(1, stream.uniform(model.length).argsort(1))
        chosen = texts.vocabulary[(stream.uniform(model.length) * len(texts.vocabulary)).long()]
        controls = {"random tokens": chosen, "shuffled sentence": shuffled}
        shown = {
            "prototype": texts.numbers(made.of(target).images),
            SAME: own,
            OTHER: natural[natural_targets != target],
            **controls,
        }
        embedded = {condition: model.embedding[numbers] for condition, numbers in shown.items()}
        compared = PathSimilarity(model.model, value_range=None).compare(
            *(embedded[condition] for condition in ("prototype", SAME, OTHER)),
            controls=[],
            further={condition: embedded[condition] for condition in controls},
        )
        compared.save(stem.with_name(f"{stem.name}_{COMPARISON}_{target}.safetensors"), overwrite=True)
        for condition, numbers in shown.items():
            p, judged = (
                model.logits(numbers).softmax(1)[:, target],
                torch.from_numpy(judge.predict_proba(_counts(model, numbers))),
            )
            among = (numbers[..., None] == top[target]).any(-1).double().mean(1)
            spearman = compared.spearman[condition][:, ~compared.dead].nanmean(1)
            nats = torch.full((len(numbers),), math.nan) if spoken is None else spoken.of_texts(embedded[condition])
            planted = [model.tokens.index(model.keyword[1])] if model.keyword and model.keyword[0] == target else []
            for i in range(len(numbers)):
                values = {
                    "judged": float(judged[i].argmax() == target),
                    "top": float(among[i]),
                    "p": float(p[i]),
                    "spearman": float(spearman[i]),
                    "nats": float(nats[i]),
                    "keyword": float(planted[0] in numbers[i].tolist()) if planted else math.nan,
                }
                found.append(Measured(unit_of(target), condition, model.class_names[target], values))
    return found


def shown_texts(model: TextModel, texts: TextInput, made: Prototypes, top: Tensor) -> list[dict[str, Any]]:
    """The prototypes of each class, beside a natural text and its top words, as JSON can hold them."""
    shown = []
    for target in dict.fromkeys(target for (target,) in made.target):
        prototypes, own = made.of(target), model.natural[0][model.natural[1] == target]
        shown.append(
            {
                "name": model.class_names[target],
                "texts": texts.decode(prototypes.images),
                "seeds": prototypes.seeds,
                "p": prototypes.probabilities.tolist(),
                "natural": " ".join(model.tokens[each] for each in own[0].tolist()),
                "top": [model.tokens[each] for each in top[target].tolist()],
            }
        )
    return shown


def text_prototypes_page(folder: Path) -> Page:
    """
    What a folder of prototypes of texts has to show, from the files in it; of an interrupted run, what its finished tasks wrote.

    Args:
        folder (Path): That :class:`TextPrototypes` wrote to.
    """
    if not is_finished(folder) or not (folder / TEXTS).is_file():
        return tasks_page(folder)
    return text_page(TextResult.load(folder / NETWORKS), read_settings(folder), warnings_of(folder))


__all__ = [
    "DEFAULTS",
    "TOP_WORDS",
    "VOCABULARIES",
    "TextPrototypes",
    "naive_bayes",
    "text_prototypes_page",
    "top_words",
]
