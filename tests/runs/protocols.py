"""Every protocol at tiny settings, for tests that hold for all of them."""

from __future__ import annotations

import functools
import warnings
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from captum_proto.concept import ImageLevelConcepts
from captum_proto.data import ImageCollection
from captum_proto.data.natural import NaturalImages, NaturalSplit
from captum_proto.experiments.agent import AgentSetup, StudyAgent
from captum_proto.experiments.atlas import Atlas
from captum_proto.experiments.atlas.settings import AtlasSettings
from captum_proto.experiments.blind import KEY, BlindKey, BlindSettings, MakeForm, ScoreAnswers, find_sources
from captum_proto.experiments.circuit import TraceCircuit
from captum_proto.experiments.compare_groups import CompareGroups
from captum_proto.experiments.describe import Describe
from captum_proto.experiments.dictionary import Dictionary
from captum_proto.experiments.direction_agreement import CompareDirections, DirectionSettings
from captum_proto.experiments.dissect import Dissect
from captum_proto.experiments.evaluate import Evaluate
from captum_proto.experiments.examples import FindExamples
from captum_proto.experiments.explain import Explain
from captum_proto.experiments.fooling import Fooling
from captum_proto.experiments.generate import Generate
from captum_proto.experiments.planted_bias import PlantedBias
from captum_proto.experiments.quality import Quality, QualityPairs
from captum_proto.experiments.reproduce import Reproduce, ReproduceSettings, Stage
from captum_proto.experiments.sanity_check import SanityCheck
from captum_proto.experiments.sweep import RunSweep, Sweep
from captum_proto.experiments.tabular_prototypes import TabularPrototypes
from captum_proto.experiments.text_models import language_model
from captum_proto.experiments.text_prototypes import TextPrototypes
from captum_proto.experiments.trojans import PlantedTrojans, Trojan, Trojans
from captum_proto.experiments.visualize import LayerUnits, NaturalExamples, Visualize
from captum_proto.models import NamedModel, TabularModel, TextModel, train_tabular_model, train_text_model
from captum_proto.report.views.prototypes import PROTOTYPES
from captum_proto.runs.tasks import Protocol, carry_out
from captum_proto.testing import INCOMES, income_rule, planted_income, topic_texts

NAMES = ["ash", "birch", "cedar"]
#: Of the networks' layers, of a way of making pictures, and of a network.
LAYERS, METHOD, MODEL = ("0", "1", "2", "3"), "plain", "trees"
QUICK: dict[str, Any] = {"steps": 2, "warmup_steps": 1, "transform": None}


def trees(seed: int = 0) -> NamedModel:
    """A small network for images of 8 x 8 pixels, the same each time."""
    return _network(MODEL, seed)


def _network(name: str, seed: int) -> NamedModel:
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        layers = [nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)]
    network = nn.Sequential(OrderedDict(zip(LAYERS, layers, strict=True))).eval()
    return NamedModel(name, network, None, (3, 8, 8), NAMES, resize_ratio=1.0)


def photos(inputs: Path) -> Path:
    """A folder of pictures for each class, made once; one of them cannot be read."""
    folder = inputs / "photos"
    if not folder.exists():
        generator = np.random.default_rng(0)
        for name in NAMES:
            (folder / name).mkdir(parents=True)
            for i in range(4):
                pixels = generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / name / f"{i}.png")
        (folder / NAMES[1] / "broken.png").write_bytes(b"no picture")
    return folder


def prototypes_file(inputs: Path, seed: int = 0) -> Path:
    """Prototypes of two classes in a file, made once."""
    path = inputs / "made" / PROTOTYPES
    if not path.exists():
        carry_out(Generate(trees(), [(0,), (1,)], QUICK, seed=seed, page=False), path.parent)
    return path


def generate(inputs: Path) -> Generate:
    return Generate(trees(), [(0,), (1,), (0, 2)], QUICK, batch_size=1)


def visualize(inputs: Path) -> Visualize:
    layers = [LayerUnits(LAYERS[0], (1, 3, 2), width=4), LayerUnits(LAYERS[1], (1,), width=4, neuron=True)]
    natural = NaturalExamples(ImageCollection.one_class(photos(inputs)), k=3, judge=trees(), workers=0)
    return Visualize(trees(), layers, {"steps": 2, "transform": None, "attempts": 2}, batch_size=2, natural=natural)


def evaluate(inputs: Path, targets: Sequence[tuple[int, ...]] = ((0,), (1,)), **options: Any) -> Evaluate:
    named = trees()
    values = {
        "count": 2,
        "batch_size": 1,
        "similarity": {"layers": [LAYERS[0], LAYERS[3]]},
        "comparison": {"controls": ["gray"]},
        "further": {METHOD: {**QUICK, "steps": 1}},
        **options,
    }
    return Evaluate(
        named,
        targets,
        NaturalImages(str(photos(inputs)), named.geometry, NAMES, others=8, workers=0),
        QUICK,
        **values,
    )


def evaluate_given(inputs: Path) -> Evaluate:
    return evaluate(inputs, prototypes=prototypes_file(inputs), further={})


def evaluate_chunks(inputs: Path) -> Evaluate:
    """Of a class whose images are shared out, and of which one cannot be read."""
    return evaluate(inputs, [(1,)], chunk=3)


def compare_groups(inputs: Path, prototypes: Path | Generate | None = None) -> CompareGroups:
    named = trees()
    subgroups = {name: ImageCollection.one_class(photos(inputs) / name) for name in NAMES[:2]}
    made = Generate(named, [(0,), (1,)], QUICK, batch_size=1) if prototypes is None else prototypes
    return CompareGroups(named, subgroups, (0,), [(1,)], resamples=50, prototypes=made)


def compare_groups_given(inputs: Path) -> CompareGroups:
    return compare_groups(inputs, prototypes_file(inputs))


def sweep(inputs: Path) -> RunSweep:
    grid = Sweep([MODEL], NAMES[:2], [0], fixed={**QUICK, "transform": "none"}, grid={"lr": [0.05, 0.1]})
    return RunSweep(
        grid,
        lambda name: trees(),
        lambda named: NaturalImages(str(photos(inputs)), named.geometry, NAMES, others=8, workers=0),
        similarity={"layers": [LAYERS[0], LAYERS[3]]},
        comparison={"controls": ["gray"]},
        batch_size=1,
    )


def reproduce(inputs: Path) -> Reproduce:
    stage = Stage(
        MODEL,
        NAMES[:1],
        str(photos(inputs)),
        limit=3,
        options=QUICK,
        steps=1,
        protocol_target=NAMES[0],
        protocols={"degrees": ["none", 30]},
        protocol_seeds=[0],
    )
    return Reproduce([stage], lambda name: trees(), ["fig1", "table4"], ReproduceSettings(workers=0))


def fooling(inputs: Path) -> Fooling:
    random = torch.Generator().manual_seed(0)
    training, held_out = torch.rand(30, 3, 8, 8, generator=random), torch.rand(24, 3, 8, 8, generator=random)
    same = {(index,): held_out[index::3] for index in range(3)}
    other = {(index,): held_out[(index + 1) % 3 :: 3] for index in range(3)}
    natural = NaturalSplit(training, torch.arange(30) % 3, held_out, torch.arange(24) % 3, same, other)
    return Fooling([trees()] * 2, natural, [(0,), (2,)], QUICK, plants=["face"], detector_epochs=1)


def planted_bias(inputs: Path) -> PlantedBias:
    return PlantedBias(rates=(0.5, 1.0), networks=1, epochs=1, steps=2)


def dictionary(inputs: Path) -> Dictionary:
    folder = photos(inputs)
    return Dictionary(
        trees(),
        folder / NAMES[0] / "0.png",
        LAYERS[1],
        top=2,
        groups=2,
        images=folder / NAMES[1],
        steps=1,
        picture_size=8,
        batch_size=18,
    )


def atlas(inputs: Path) -> Atlas:
    settings = AtlasSettings(
        positions="all", method="pca", min_density=1, labels=1, examples=1, steps=1, pair_grid=2, pair_min_density=1
    )
    return Atlas(trees(), LAYERS[1], photos(inputs), [2], settings, (0,), (1,), batch_size=4, image_batch=4, chunk=8)


def directions(inputs: Path) -> CompareDirections:
    settings = DirectionSettings(count=2, k=2, frames=3, positions=4, whitened=False)
    images = ImageCollection.discover(photos(inputs), NAMES)
    return CompareDirections(trees(), trees(seed=1), images, LAYERS[:2], settings, batch_size=5)


def quality(inputs: Path) -> Quality:
    named, folder = trees(), photos(inputs)
    natural = NaturalImages(str(folder), named.geometry, NAMES, others=4, workers=0)
    given = inputs / "elsewhere"
    if not given.exists():
        given.mkdir()
        for name in NAMES[:2]:
            (given / f"{name}.png").write_bytes((folder / name / "0.png").read_bytes())
    return Quality(
        named,
        [(0,), (1,), (2,)],
        natural,
        {METHOD: {"preset": "ascent", "steps": 2}},
        [_network("others", 1)],
        {"elsewhere": given},
        seeds=(0, 1),
        controls=("gray", "ascent", "mean_image"),
        control_steps=1,
        similarity={"layers": [LAYERS[0], LAYERS[3]]},
        min_images=3,
        batch_size=2,
    )


def quality_pairs(inputs: Path) -> QualityPairs:
    """Of two networks that looked at each other's pictures; their runs are made once."""
    networks, folders = [trees(), _network("others", 1)], [inputs / "quality-of-trees", inputs / "quality-of-others"]
    for folder, (named, other) in zip(folders, (networks, networks[::-1]), strict=True):
        if not folder.exists():
            natural = NaturalImages(str(photos(inputs)), named.geometry, NAMES, others=4, workers=0)
            methods = {METHOD: {"preset": "ascent", "steps": 1}}
            protocol = Quality(named, [(0,), (1,)], natural, methods, [other], controls=("gray",), min_images=9)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of the file that cannot be read
                carry_out(protocol, folder)
    return QualityPairs(folders)


def _labeled() -> ImageLevelConcepts:
    labels = [[NAMES[index % 3]] for index in range(9)]
    images = [torch.from_numpy(np.random.default_rng(index).random((3, 8, 8), dtype=np.float32)) for index in range(9)]
    return ImageLevelConcepts(images, labels, where="random images")


def dissect(inputs: Path) -> Dissect:
    return Dissect(trees(), _labeled(), LAYERS[:2], 0.2, size=6, draws=3, shown=2, examples=2, batch_size=3, chunk=5)


def explain(inputs: Path) -> Explain:
    return Explain(
        trees(), _labeled(), LAYERS[:2], length=2, draws=3, quantile=0.2, size=6, shown=2, examples=2, batch_size=5
    )


def circuit(inputs: Path) -> TraceCircuit:
    return TraceCircuit(
        trees(),
        LAYERS[1],
        [1],
        LAYERS[0],
        LAYERS[3],
        str(photos(inputs)),
        _network("others", 1),
        LAYERS[1],
        connections=2,
        factors=1,
        icons=True,
        k=4,
        shown=2,
        draws=5,
        steps=2,
        batch_size=64,
        workers=0,
    )


class Brightness:
    """A captioner and language model: how light what excites a unit is, and that it is an image."""

    texts = ("an image", "light", "dark")

    def describe(self, images: torch.Tensor, masks: torch.Tensor, beam: int) -> tuple[list[str], torch.Tensor]:
        light = float(images.mean(1)[masks].mean().clamp(0.1, 0.9))
        return list(self.texts[:beam]), torch.tensor([0.6, 0.4 * light, 0.4 * (1 - light)]).log()[:beam]

    def log_probability(self, texts: Sequence[str]) -> torch.Tensor:
        return torch.tensor([0.6 if text == "an image" else 0.2 for text in texts]).log()


def describe(inputs: Path) -> Describe:
    return Describe(
        trees(),
        str(photos(inputs)),
        LAYERS[:2],
        captioner=Brightness(),
        language_model=Brightness(),
        k=3,
        quantile=0.9,
        shown=2,
        chunk=3,
        draws=4,
        batch_size=5,
        workers=0,
    )


def sanity_check(inputs: Path) -> SanityCheck:
    named = trees()
    images = NaturalImages(str(photos(inputs)), named.geometry, NAMES, others=4, workers=0)
    return SanityCheck(
        named,
        images,
        [(0,)],
        methods=["saliency", "grad_cam"],
        inputs=3,
        stages=2,
        seeds=[0, 1],
        similarity=["spearman"],
        options=QUICK,
        path_layers=[LAYERS[0], LAYERS[3]],
    )


class Corridor:
    """Levels of eight steps to the right, with a hole to jump over; that of a level's number."""

    name = "corridor"
    actions = ("walk", "jump")
    causes = ("end", "hole", "time")
    objects = ("floor", "walker", "hole")
    deadly = ("hole",)

    def __init__(self, num_envs: int) -> None:
        self.num_envs = num_envs

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.holes = np.asarray(options["levels"]) % 4 + 2
        self.places, self.ends = np.zeros(self.num_envs, int), np.array([""] * self.num_envs, dtype="<U4")
        return self.seen()[0], {"cause": self.ends.copy(), "labels": self.seen()[1]}

    def step(self, actions: Any) -> Any:
        lasts = self.ends == ""
        self.places = np.where(lasts, self.places + 1 + np.asarray(actions), self.places)
        self.ends[lasts & (self.places >= 7)] = "end"
        self.ends[lasts & (self.places == self.holes)] = "hole"
        frames, labels = self.seen()
        ended = self.ends != ""
        info = {"cause": self.ends.copy(), "labels": labels}
        return frames, (self.ends == "end") * 1.0, ended, np.zeros_like(ended), info

    def seen(self) -> tuple[Any, Any]:
        labels = np.zeros((self.num_envs, 8, 8), np.uint8)
        rows = np.arange(self.num_envs)
        labels[rows, 5, self.holes], labels[rows, 4, self.places.clip(0, 7)] = 2, 1
        return np.array([[90, 90, 90], [250, 0, 0], [0, 0, 250]], np.uint8)[labels], labels


class Walker(nn.Module):
    """An agent of random weights for corridors."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.seen, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3)
        self.head = nn.Linear(144, 3)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        found = self.head(self.second(self.seen(self.first(images))).relu().flatten(1))
        return found[:, :2], found[:, 2]


def walker(seed: int) -> Walker:
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return Walker().eval()


def agent(inputs: Path) -> StudyAgent:
    setup = AgentSetup("corridor", walker(0), Corridor, "seen", "second", walker(1))
    return StudyAgent(setup, levels=5, observed_levels=4, observations=2, n_features=2, episodes=1, at_once=3, chunk=3)


def examples(inputs: Path) -> FindExamples:
    photos(inputs)
    return FindExamples(
        trees(),
        str(inputs / "photos"),
        [LAYERS[0], LAYERS[3]],
        ["2"],
        k=3,
        shown=2,
        batch_size=2,
        chunk=5,
        workers=0,
        seed=1,
    )


def blind(inputs: Path) -> MakeForm:
    sources = find_sources(photos(inputs))
    return MakeForm(sources, included={"again": inputs / "photos"}, settings=BlindSettings(size=16))


def blind_scores(inputs: Path) -> ScoreAnswers:
    folder, paths = inputs / "form", [inputs / "ann.csv", inputs / "bob.csv"]
    if not folder.exists():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the picture that cannot be read
            carry_out(blind(inputs), folder)
        key = BlindKey.load(folder / KEY)
        for place, path in enumerate(paths):
            said = ["ash", "birk", "?", ""][place:]
            rows = [f"{key.form},{one.number},{said[one.number % len(said)]}" for one in key.pictures]
            path.write_text("\n".join(["form,number,answer", *rows]))
    return ScoreAnswers(folder, paths)


class Guesser:
    """A two-tower model of two colors."""

    def image(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean((2, 3))

    def text(self, texts: Sequence[str]) -> torch.Tensor:
        return torch.tensor([[float(len(text) % 3 == place) for place in range(3)] for text in texts])


def trojans(inputs: Path) -> Trojans:
    answers = ("star", "heart", "moon", "arrow", "key", "bell", "leaf", "anchor")
    table = [Trojan("star", "patch", 0, answers), Trojan("moon", "style", 2, answers)]
    return Trojans(
        trees(), table, {METHOD: QUICK}, count=2, clean=_network("others", 1), two_tower=Guesser(), batch_size=3
    )


def planted_trojans(inputs: Path) -> PlantedTrojans:
    methods = {METHOD: {**QUICK, "steps": 1, "evaluation_draws": 0}}
    return PlantedTrojans(["shapes"], 1, methods, count=1, images=64, epochs=1, unseen=50)


@functools.lru_cache
def income(seed: int) -> TabularModel:
    """A network of a small table of known truth, trained once."""
    table, labels = planted_income(150, seed)
    return train_tabular_model("income", table, labels, INCOMES, seed, rule=income_rule)


def generate_tabular(inputs: Path) -> TabularPrototypes:
    load = [functools.partial(income, seed) for seed in (0, 1)]
    return TabularPrototypes(load, options={"steps": 3}, count=2, attempts=2)


@functools.lru_cache
def topics(seed: int) -> TextModel:
    """A classifier of texts on three topics, trained once."""
    few = [topic_texts(each, seed + each) for each in (6, 3)]
    (texts, labels), unseen = ([pair[: 3 * each] for pair in made] for made, each in zip(few, (6, 3), strict=True))
    return train_text_model(texts, labels, NAMES, (unseen[0], unseen[1]), seed, keyword=(1, "bread"))


def generate_text(inputs: Path) -> TextPrototypes:
    spoken = functools.partial(language_model, "bigram")
    return TextPrototypes(
        [functools.partial(topics, seed) for seed in (0, 1)],
        options={"steps": 3},
        count=1,
        attempts=2,
        fluency=0.1,
        language_model=spoken,
    )


#: By command: a protocol made anew, as another process makes it, from inputs in a folder.
PROTOCOLS: dict[str, Callable[[Path], Protocol[Any]]] = {
    "generate": generate,
    "generate-tabular": generate_tabular,
    "generate-text": generate_text,
    "visualize": visualize,
    "evaluate": evaluate,
    "evaluate-chunks": evaluate_chunks,
    "compare-groups": compare_groups,
    "sweep": sweep,
    "fooling": fooling,
    "reproduce": reproduce,
    "planted-bias": planted_bias,
    "dictionary": dictionary,
    "atlas": atlas,
    "directions": directions,
    "dissect": dissect,
    "explain": explain,
    "describe": describe,
    "sanity-check": sanity_check,
    "circuit": circuit,
    "agent": agent,
    "quality": quality,
    "quality-pairs": quality_pairs,
    "examples": examples,
    "blind": blind,
    "blind-scores": blind_scores,
    "trojans": trojans,
    "planted-trojans": planted_trojans,
}
#: Those with a prototypes file that was given.
WITH_PROTOTYPES: dict[str, Callable[[Path], Protocol[Any]]] = {
    "evaluate": evaluate_given,
    "compare-groups": compare_groups_given,
}
