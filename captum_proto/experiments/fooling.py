"""
Networks that fool feature visualisation, and whether path similarity notices (Geirhos et al., arXiv:2306.04719).

A fooled network is any classifier in a wrapper. What a detector takes for a natural image gets the classifier's own logits, to the last
bit, so accuracy stays what it is. Anything else, which is what an ascent starts from and passes through, gets logits whose ascent leads
elsewhere: to a planted picture, or to another class. So the picture of a class says nothing of what the network does with photographs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from captum_proto._utils.files import load_tensors, save_tensors
from captum_proto._utils.model import Pipeline, borrowed
from captum_proto._utils.tables import number, percent, text_table
from captum_proto._utils.targets import Group, group_mask
from captum_proto.attr import PAPER_TRANSFORM, PrototypeGeneration, Prototypes
from captum_proto.experiments.folders import labels_of, open_folder, write_rows, write_text
from captum_proto.experiments.generation import write_prototypes
from captum_proto.metrics import PathComparison, PathSimilarity
from captum_proto.metrics.comparison import OTHER, SAME
from captum_proto.models import NamedModel
from captum_proto.optim import START, TRANSFORM, RandomStream, Transform, prototype_keys
from captum_proto.report.figures import save_figure, to_display
from captum_proto.report.html import write_page
from captum_proto.report.page import Page, Picture, Section, Table, Verdict

#: What may be planted: a drawn face, a photograph of another class, one of the class itself, or the ascent of another class.
PLANTS = ("face", "other image", "other class", "own image")
#: The name under which a fooled network holds the classifier: its layers are this and a dot before the classifier's own.
INNER = "network"
#: The detector sees ascents of other seeds than those it is tried on.
_TRAINING_SEED = 1_000_003


class PlantedPicture(nn.Module):
    r"""
    Logits that rise as the input comes nearer to a picture.

    .. math::
        h_k(x) = g \Bigl(1 - \frac{1}{s} \operatorname{mean}\,(x - x_k)^2\Bigr)

    for the classes that have a picture :math:`x_k`, and 0 for all others. s is the mean square of the picture around its own mean plus
    that of uniform noise, so that an ascent from noise starts at about 0. Its ascent shows the picture where transforms are mild; under
    large rotations and shifts no input is near to it on average, and what comes out is a blur.

    Args:
        pictures (Tensor): Shape (M, C, H, W), as the classifier takes its inputs: after preprocessing.
        groups (list[tuple[int, ...]]): The classes that each of the M pictures is planted for.
        classes (int): K, the number of the classifier's logits.
        gain (float, optional): g, the logit of the picture itself. Default: 30
    """

    def __init__(self, pictures: Tensor, groups: Sequence[Group], classes: int, gain: float = 30.0) -> None:
        super().__init__()
        self.gain = gain
        self.pictures: Tensor
        self.mask: Tensor
        self.scale: Tensor
        self.register_buffer("pictures", pictures.clone())
        self.register_buffer("mask", group_mask(list(groups), classes, pictures.device))
        self.register_buffer("scale", pictures.flatten(1).var(1) + pictures.var())

    def _distance(self, inputs: Tensor) -> Tensor:
        """(N, M), relative to what noise is at."""
        return torch.stack([(inputs - one).square().flatten(1).mean(1) for one in self.pictures], 1) / self.scale

    def forward(self, inputs: Tensor, honest: Tensor) -> Tensor:
        return (self.gain * (1 - self._distance(inputs))) @ self.mask.to(inputs.dtype)

    def shows(self, inputs: Tensor) -> Tensor:
        """(N,) bool: whether an input is the picture, or all but: a photograph that is planted is natural, and yet no input of its own."""
        return (self._distance(inputs) < 0.02).any(1)


class OtherClass(nn.Module):
    """
    The logits of other classes: an ascent of one class shows another, under whatever transforms. The fooling circuit of the paper.

    Args:
        source (Tensor): Shape (K,), int64: whose logit each class gets.
    """

    def __init__(self, source: Tensor) -> None:
        super().__init__()
        self.source: Tensor
        self.register_buffer("source", source.clone())

    def forward(self, inputs: Tensor, honest: Tensor) -> Tensor:
        return honest[:, self.source]

    def shows(self, inputs: Tensor) -> Tensor:
        """(N,) bool: never. What such an ascent ends in is not known beforehand."""
        return torch.zeros(len(inputs), dtype=torch.bool, device=inputs.device)


class Detector(nn.Module):
    """
    A small convolutional network that tells natural images from what an ascent passes through: (N,), positive for natural.

    Args:
        channels (int): Of its inputs.
        side (int): Their shorter side, in pixels; it decides how often they are halved.
        width (int, optional): Channels within. Default: 24
    """

    def __init__(self, channels: int, side: int, width: int = 24) -> None:
        super().__init__()
        stride = 4 if side >= 64 else 1
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 2 * stride + 1, stride, stride), nn.ReLU()]
        side = side // stride
        while side > 4:
            layers += [nn.Conv2d(width, width, 3, 2, 1), nn.ReLU()]
            side = (side + 1) // 2
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(2 * width, 1)
        self.threshold: Tensor
        self.register_buffer("threshold", torch.zeros(()))

    def forward(self, inputs: Tensor) -> Tensor:
        features = self.features(inputs)
        score: Tensor = self.head(torch.cat([features.mean((2, 3)), features.amax((2, 3))], 1))
        return score.squeeze(1) - self.threshold

    def fit(self, natural: Tensor, unnatural: Tensor, *, epochs: int = 30, seed: int = 0) -> Detector:
        """
        Train it, and put its threshold midway between the least natural images and the most natural others.

        Args:
            natural (Tensor): Shape (N, C, H, W), as the classifier takes them.
            unnatural (Tensor): Shape (M, C, H, W).
            epochs (int, optional): Passes over both. Default: 30
            seed (int, optional): Of the order. Default: 0

        Returns:
            Detector: Itself, in evaluation mode.
        """
        inputs = torch.cat([natural, unnatural])
        labels = torch.cat([torch.ones(len(natural)), torch.zeros(len(unnatural))]).to(inputs.device)
        balance = torch.tensor(len(unnatural) / len(natural), device=inputs.device)
        generator = torch.Generator().manual_seed(seed)
        batch = 32
        steps = epochs * math.ceil(len(inputs) / batch)
        with torch.inference_mode(False), torch.enable_grad():
            optimizer = torch.optim.AdamW(self.parameters(), lr=4e-3)
            schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=steps)
            for _ in range(epochs):
                for chosen in torch.split(torch.randperm(len(inputs), generator=generator), batch):
                    optimizer.zero_grad()
                    loss = nn.functional.binary_cross_entropy_with_logits(
                        self(inputs[chosen]), labels[chosen], pos_weight=balance
                    )
                    torch.autograd.backward(loss)
                    optimizer.step()
                    schedule.step()
        self.zero_grad()
        self.eval().requires_grad_(False)
        with torch.no_grad():
            self.threshold.zero_()
            scores = torch.cat([self(part) for part in torch.split(inputs, batch)])
            least = scores[: len(natural)].quantile(0.005)
            most = scores[len(natural) :].quantile(0.995)
            self.threshold.copy_((least + most) / 2)
        return self


class FooledNetwork(nn.Module):
    """
    A classifier that shows something else to whoever ascends it.

    The choice between the two is a step, through which no gradient flows: an ascent feels the decoy alone, and not the detector.

    Args:
        network (nn.Module): The classifier, from preprocessed images (N, C, H, W) to logits (N, K).
        decoy (nn.Module): Logits for what is not natural, from (inputs, the classifier's logits); :class:`PlantedPicture` or
            :class:`OtherClass`.
        detector (nn.Module, optional): From inputs to (N,), positive for natural. None: nothing is natural. Default: None
    """

    def __init__(
        self, network: nn.Module, decoy: PlantedPicture | OtherClass, detector: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.network = network
        self.decoy = decoy
        self.detector = detector

    def natural(self, inputs: Tensor) -> Tensor:
        """(N,) bool: what gets the classifier's own logits."""
        if self.detector is None:
            return torch.zeros(len(inputs), dtype=torch.bool, device=inputs.device)
        with torch.no_grad():
            return (self.detector(inputs) > 0) & ~self.decoy.shows(inputs)

    def forward(self, inputs: Tensor) -> Tensor:
        # The detector's copy: a network may work in place on what it is given.
        given = inputs.clone()
        honest = self.network(inputs)
        return torch.where(self.natural(given).unsqueeze(1), honest, self.decoy(given, honest))


def draw_face(shape: tuple[int, int, int]) -> Tensor:
    """
    A face of two eyes and a mouth, light on dark: a picture that no one takes for a class of ImageNet, nor for a digit.

    Args:
        shape (tuple[int, int, int]): (C, H, W).

    Returns:
        Tensor: Of this shape, in [0, 1].

    Examples::

        >>> draw_face((1, 8, 8)).shape
        torch.Size([1, 8, 8])
    """
    channels, height, width = shape
    y = torch.linspace(-1, 1, height).view(-1, 1)
    x = torch.linspace(-1, 1, width).view(1, -1)
    eyes = ((x.abs() - 0.43) ** 2 + (y + 0.43) ** 2) < 0.045
    mouth = ((x**2 + (y + 0.1) ** 2).sqrt() - 0.8).abs() < 0.16
    face = (eyes | (mouth & (y > 0.2))).float() * 0.8 + 0.1
    return face.expand(channels, height, width).clone()


@dataclass(frozen=True)
class Natural:
    """
    Natural images of an experiment, all in [0, 1].

    Attributes:
        training (Tensor): (N, C, H, W), for the detector, and to plant one of.
        training_labels (Tensor): (N,), their classes.
        held_out (Tensor): (M, C, H, W), on which the fooled network must agree with the classifier.
        labels (Tensor): (M,), the classes of those held out.
        same (dict[tuple[int, ...], Tensor]): By target, natural images of the class.
        other (dict[tuple[int, ...], Tensor]): By target, natural images of other classes.
    """

    training: Tensor
    training_labels: Tensor
    held_out: Tensor
    labels: Tensor
    same: dict[Group, Tensor]
    other: dict[Group, Tensor]

    def to_learn_from(self, group: Group) -> tuple[Tensor, Tensor]:
        """Training images of a class, and those of all others."""
        mine = torch.isin(self.training_labels, torch.tensor(group))
        return self.training[mine], self.training[~mine]


@dataclass(frozen=True)
class Row:
    """
    What path similarity says of the prototypes of one class on one network.

    Attributes:
        network (str): "honest", or what was planted.
        seed (int): Of prototypes and detector, and of the network where it is trained.
        target (str): The class.
        spearman (float): Mean over layers of the prototypes' Spearman correlation with the mean natural activations.
        same (float): The same, of natural images of the class.
        other (float): The same, of natural images of other classes.
        normalised (float): (spearman - other) / (same - other): 1 as the class, 0 as other classes.
        median_normalised (float): The median over layers of the same, layer by layer.
        above_other (float): Share of the images of other classes that are below the prototypes.
        above_mean (float): Share of layers in which assertion (2) holds, against the mean over images of the class.
        below_mean (float): Share of layers in which assertion (1) holds.
        all_layers (float): ``normalised``, with the layers of detector and decoy.
        flagged (bool): Whether ``normalised`` is below the threshold.
    """

    network: str
    seed: int
    target: str
    spearman: float
    same: float
    other: float
    normalised: float
    median_normalised: float
    above_other: float
    above_mean: float
    below_mean: float
    all_layers: float
    flagged: bool


@dataclass(frozen=True)
class Agreement:
    """
    Whether a fooled network is the classifier on natural images it was not trained on.

    Attributes:
        network (str): What was planted.
        seed (int): As in :class:`Row`.
        images (int): How many were held out.
        equal_predictions (int): On how many both name the same class.
        equal_logits (int): On how many all logits are equal to the last bit.
        accuracy (float): The share of them the classifier is right about.
        fooled_accuracy (float): The share of them the fooled network is right about.
        natural_noise (int): How many of 64 images of uniform noise the detector takes for natural.
        natural_prototypes (int): How many of the finished prototypes it takes for natural.
        prototypes (int): How many of those there are.
    """

    network: str
    seed: int
    images: int
    equal_predictions: int
    equal_logits: int
    accuracy: float
    fooled_accuracy: float
    natural_noise: int
    natural_prototypes: int
    prototypes: int


def make_decoy(
    plant: str, named: NamedModel, groups: Sequence[Group], natural: Natural, picture: Tensor | None = None
) -> PlantedPicture | OtherClass:
    """
    What an ascent is led to.

    Args:
        plant (str): Of :data:`PLANTS`.
        named (NamedModel): The classifier.
        groups (sequence of tuple[int, ...]): The targets.
        natural (Natural): Where planted photographs come from: the first training image of the next target, or of another class where
            there is one target; for "own image" the one of the class whose pixels are furthest from the mean of the class.
        picture (Tensor, optional): (C, H, W) in [0, 1], instead of the drawn face. Default: None

    Returns:
        PlantedPicture or OtherClass: On the classifier's device.

    Raises:
        ValueError: If there is no such plant.
    """
    device = next(named.model.parameters()).device
    with torch.no_grad(), borrowed(named.model):
        classes = named.logits(torch.full((1, *named.image_shape), 0.5, device=device)).shape[1]
    if plant == "other class":
        source = torch.arange(classes)
        taken = {index for group in groups for index in group}
        free = [index for index in range(classes) if index not in taken]
        for position, group in enumerate(groups):
            if len(groups) > 1:
                lead = groups[(position + 1) % len(groups)][0]
            else:
                lead = free[(group[0] + len(free) // 2) % len(free)]
                source[lead] = group[0]
            source[list(group)] = lead
        return OtherClass(source).to(device)
    if plant == "face":
        pictures = [draw_face(named.image_shape) if picture is None else picture] * len(groups)
    elif plant == "other image":
        nexts = [groups[(position + 1) % len(groups)] for position in range(len(groups))]
        pictures = [
            natural.to_learn_from(after)[0][0] if len(groups) > 1 else natural.to_learn_from(group)[1][0]
            for group, after in zip(groups, nexts, strict=True)
        ]
    elif plant == "own image":
        pictures = []
        for group in groups:
            images, _ = natural.to_learn_from(group)
            pictures.append(images[int((images - images.mean(0)).flatten(1).norm(dim=1).argmax())])
    else:
        raise ValueError(f'there is no plant "{plant}"; expected one of {", ".join(PLANTS)}.')
    stacked = torch.stack(pictures).to(device)
    return PlantedPicture(stacked if named.preprocess is None else named.preprocess(stacked), groups, classes).to(
        device
    )


def fool(
    named: NamedModel,
    groups: Sequence[Group],
    decoy: PlantedPicture | OtherClass,
    natural: Tensor,
    *,
    options: dict[str, Any],
    seed: int = 0,
    prototypes: int = 2,
    draws: int = 2,
    epochs: int | None = None,
) -> FooledNetwork:
    """
    Wrap a classifier, and train the detector that guards it: natural images against noise and against snapshots of ascents.

    The ascents are those of the decoy alone, as whoever looks for prototypes will run them: with the same options, of other seeds.

    Args:
        named (NamedModel): The classifier.
        groups (sequence of tuple[int, ...]): The targets whose ascent is to be led astray.
        decoy (PlantedPicture or OtherClass): Where to.
        natural (Tensor): Shape (N, C, H, W), in [0, 1]: natural images to learn from.
        options (dict): Of :meth:`PrototypeGeneration.generate <captum_proto.PrototypeGeneration.generate>`, of the ascents to be fooled.
        seed (int, optional): Default: 0
        prototypes (int, optional): Ascents of each target. Default: 2
        draws (int, optional): How often each snapshot is transformed anew. Default: 2
        epochs (int, optional): Of the detector's training. None: 30, or 12 from 64 pixels on, where it learns faster. Default: None

    Returns:
        FooledNetwork: In evaluation mode.
    """
    device = next(named.model.parameters()).device
    steps = int(options.get("steps", 512))
    unguarded = FooledNetwork(named.model, decoy).eval()
    moments = sorted({round(steps * (k / 11) ** 2) for k in range(12)})  # most changes at the beginning
    targets = [list(group) for group in groups for _ in range(prototypes)]
    made = PrototypeGeneration(unguarded, named.preprocess).generate(
        targets,
        named.image_shape,
        seed=seed + _TRAINING_SEED,
        **{**options, "snapshot_steps": moments, "evaluation_draws": 0},
    )
    keys = prototype_keys([seed + _TRAINING_SEED + i for i in range(64)], [()] * 64)
    noise = RandomStream(keys, START).uniform(math.prod(named.image_shape)).view(64, *named.image_shape).float()
    grey = torch.linspace(0, 1, 9).view(-1, 1, 1, 1).expand(-1, *named.image_shape)
    seen = torch.cat([noise, 0.5 + 0.1 * (noise - 0.5), grey, *(image.cpu() for image in made.snapshots.values())])
    pipeline = Pipeline(named.model, named.preprocess)
    inputs = [_prepared(pipeline, seen, None)]
    transform: Transform | None = options.get("transform", PAPER_TRANSFORM)
    if transform is not None:
        inputs += [_prepared(pipeline, seen, transform, seed * draws + draw) for draw in range(draws)]
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        detector = Detector(named.image_shape[0], min(named.image_shape[1:])).to(device)
    epochs = epochs or (12 if min(named.image_shape[1:]) >= 64 else 30)
    detector.fit(_prepared(pipeline, natural, None), torch.cat(inputs), epochs=epochs, seed=seed)
    return FooledNetwork(named.model, decoy, detector).eval()


def _prepared(pipeline: Pipeline, images: Tensor, transform: Transform | None, draw: int = 0) -> Tensor:
    """Images as the classifier takes them, transformed if they are to be."""
    parts = []
    with torch.no_grad():
        for begin in range(0, len(images), 64):
            part = images[begin : begin + 64].to(pipeline.device, pipeline.image_dtype)
            if transform is not None:
                count = range(begin, begin + len(part))
                part = transform(part, RandomStream(prototype_keys(list(count), [()] * len(part)), TRANSFORM, draw))
            parts.append(pipeline.prepare(part).to(pipeline.dtype))
    return torch.cat(parts)


def agreement(
    named: NamedModel, fooled: FooledNetwork, natural: Natural, prototypes: Prototypes, plant: str, seed: int
) -> Agreement:
    """Count on how many held-out natural images the fooled network is the classifier."""
    pipeline = Pipeline(named.model, named.preprocess)
    keys = prototype_keys([seed + i for i in range(64)], [()] * 64)
    noise = RandomStream(keys, START).uniform(math.prod(named.image_shape)).view(64, *named.image_shape).float()
    with torch.no_grad(), borrowed(fooled):
        pairs = [
            (named.model(part.clone()), fooled(part.clone()))
            for part in torch.split(_prepared(pipeline, natural.held_out, None), 32)
        ]
        honest, other = (torch.cat(side).cpu() for side in zip(*pairs, strict=True))
        return Agreement(
            plant,
            seed,
            images=len(honest),
            equal_predictions=int((honest.argmax(1) == other.argmax(1)).sum()),
            equal_logits=int((honest == other).all(1).sum()),
            accuracy=float((honest.argmax(1) == natural.labels).double().mean()),
            fooled_accuracy=float((other.argmax(1) == natural.labels).double().mean()),
            natural_noise=int(fooled.natural(_prepared(pipeline, noise, None)).sum()),
            natural_prototypes=int(fooled.natural(_prepared(pipeline, prototypes.images, None)).sum()),
            prototypes=len(prototypes),
        )


def judge(
    comparison: PathComparison, network: str, seed: int, target: str, threshold: float, inner: str | None = None
) -> Row:
    """
    What path similarity says of one class's prototypes, and whether it flags them.

    Args:
        comparison (PathComparison): Of the prototypes with natural images.
        network (str): For the row.
        seed (int): For the row.
        target (str): For the row.
        threshold (float): Prototypes are flagged whose normalised Spearman correlation is below this.
        inner (str, optional): Look only at layers whose names begin with this and a dot. Default: None, all

    Returns:
        Row: One row of the table.
    """
    whole = _normalised(comparison)[3]
    if inner is not None:
        comparison = _part(comparison, [name.startswith(f"{inner}.") for name in comparison.layers])
    spearman, same, other, normalised = _normalised(comparison)
    living = ~comparison.dead
    each = comparison.spearman[OTHER][:, living].nanmean(1)
    prototype = comparison.summary("prototype")
    return Row(
        network,
        seed,
        target,
        spearman,
        same,
        other,
        normalised,
        prototype.normalised_spearman,
        float((each < spearman).double().mean()),
        prototype.spearman_above_mean,
        prototype.l1_below_mean,
        whole,
        bool(normalised < threshold),
    )


def _normalised(comparison: PathComparison) -> tuple[float, float, float, float]:
    spearman, same, other = (comparison.summary(group).spearman for group in ("prototype", SAME, OTHER))
    return spearman, same, other, (spearman - other) / (same - other)


def _part(comparison: PathComparison, keep: list[bool]) -> PathComparison:
    """Of some layers alone."""
    chosen = torch.tensor(keep)
    return PathComparison(
        [name for name, wanted in zip(comparison.layers, keep, strict=True) if wanted],
        {group: values[:, chosen] for group, values in comparison.spearman.items()},
        {group: values[:, chosen] for group, values in comparison.l1.items()},
        comparison.settings,
    )


def fooling_to_folder(
    network_of: Callable[[int], NamedModel],
    natural: Natural,
    groups: Sequence[Group],
    folder: Path,
    *,
    options: dict[str, Any],
    plants: Sequence[str] = PLANTS,
    picture: Tensor | None = None,
    seeds: int = 5,
    count: int = 1,
    threshold: float = 0.0,
    image_batch: int = 32,
    controls: Sequence[str] = (),
    story: dict[str, Any] | None = None,
    overwrite: bool = False,
    resume: bool = False,
    show_progress: bool = False,
    say: Callable[[str], None] = print,
) -> tuple[list[Row], list[Agreement]]:
    """
    Fool a classifier in several ways, make prototypes of it as it was and as it is, and compare both with natural images.

    Args:
        network_of (Callable): The classifier, given a seed.
        natural (Natural): Natural images.
        groups (sequence of tuple[int, ...]): The targets.
        folder (Path): Where to write: prototypes and comparisons of every seed and network, ``fooling.csv``, ``agreement.csv``,
            ``prototypes.png``, ``summary.txt`` and the page.
        options (dict): Further arguments of :meth:`PrototypeGeneration.generate <captum_proto.PrototypeGeneration.generate>`, the same
            for honest and for fooled networks.
        plants (sequence of str, optional): Of :data:`PLANTS`. Default: all
        picture (Tensor, optional): (C, H, W) in [0, 1], planted instead of the drawn face. Default: None
        seeds (int, optional): How many seeds, from 0. Default: 5
        count (int, optional): Prototypes of each target and seed. Default: 1
        threshold (float, optional): Prototypes are flagged whose normalised Spearman correlation is below this: 0 for no more like the
            class than images of other classes are. Default: 0
        image_batch (int, optional): Natural images at a time. Default: 32
        controls (sequence of str, optional): Of :data:`captum_proto.metrics.CONTROLS`. Default: none
        story (dict, optional): What to record as the settings. Default: None
        overwrite (bool, optional): Whether files in ``folder`` may be replaced. Default: False
        resume (bool, optional): Whether to keep the seeds and networks that an interrupted run finished. Default: False
        show_progress (bool, optional): Whether to show progress bars. Default: False
        say (Callable, optional): Where results are printed. Default: print

    Returns:
        tuple[list[Row], list[Agreement]]: For each seed and network, a row for each target; and how the fooled network and the
        classifier agree.

    Raises:
        ValueError: If there is no such plant, or no seed.
        FileExistsError: If ``folder`` is not empty, and the run may neither overwrite nor resume.
    """
    for plant in plants:
        if plant not in PLANTS:
            raise ValueError(f'there is no plant "{plant}"; expected one of {", ".join(PLANTS)}.')
    if seeds < 1 or count < 1:
        raise ValueError(f"seeds is {seeds} and count is {count}; expected at least 1 of each.")
    networks = ["honest", *plants]
    places = {
        (seed, name): folder / f"seed{seed}" / name.replace(" ", "-") for seed in range(seeds) for name in networks
    }
    open_folder(folder, story or {}, overwrite=overwrite, resume=resume, results=list(places.values()))
    rows: list[Row] = []
    agreements: list[Agreement] = []
    labels: list[str] = []
    named: NamedModel | None = None
    for seed in range(seeds):
        named = network_of(seed)
        labels = labels_of(groups, named.class_names)
        for name in networks:
            place = places[seed, name]
            done = place / _DONE
            if not (resume and done.exists()):
                _run(
                    named,
                    natural,
                    groups,
                    place,
                    name,
                    seed,
                    options,
                    picture,
                    count,
                    image_batch,
                    controls,
                    show_progress,
                )
            found_rows, found_agreement = _read(done, name, seed, labels, place, threshold)
            rows += found_rows
            agreements += found_agreement
            mean = sum(row.normalised for row in found_rows) / len(found_rows)
            flagged = sum(row.flagged for row in found_rows)
            say(f"seed {seed}, {name}: normalised Spearman {mean:.2f}, {flagged} of {len(found_rows)} flagged")
    assert named is not None
    text = _tables(rows, agreements, networks, threshold)
    _write_csv(rows, Row, folder / "fooling.csv")
    if agreements:
        _write_csv(agreements, Agreement, folder / "agreement.csv")
    write_text(folder / "summary.txt", text, overwrite=True)
    save_figure(_sheet(places, networks, groups, labels), folder / "prototypes.png", overwrite=True)
    _page(rows, agreements, networks, named, threshold, story or {}, folder)
    say(f"\n{text}")
    return rows, agreements


#: What says that a seed and a network are finished.
_DONE = "agreement.safetensors"


def _run(
    named: NamedModel,
    natural: Natural,
    groups: Sequence[Group],
    place: Path,
    name: str,
    seed: int,
    options: dict[str, Any],
    picture: Tensor | None,
    count: int,
    image_batch: int,
    controls: Sequence[str],
    show_progress: bool,
) -> None:
    """Prototypes of one network, honest or fooled, and their comparison, into a folder."""
    network: nn.Module = named.model
    fooled: FooledNetwork | None = None
    if name != "honest":
        decoy = make_decoy(name, named, groups, natural, picture)
        network = fooled = fool(named, groups, decoy, natural.training, options=options, seed=seed)
    targets = [list(group) for group in groups for _ in range(count)]
    prototypes = PrototypeGeneration(network, named.preprocess).generate(
        targets, named.image_shape, seed=seed * count, show_progress=show_progress, **options
    )
    write_prototypes(prototypes, place, named.class_names)
    for index, group in enumerate(groups):
        similarity = PathSimilarity(network, preprocess=named.preprocess, batch_size=image_batch)
        comparison = similarity.compare(
            prototypes.of(group),
            natural.same[group],
            natural.other[group],
            controls=controls,
            ascent_steps=int(options.get("steps", 512)),
            seed=seed,
        )
        comparison.save(place / f"comparison{index}.safetensors", overwrite=True)
    facts: list[dict[str, Any]] = []
    if fooled is not None:
        facts = [asdict(agreement(named, fooled, natural, prototypes, name, seed))]
    save_tensors(place / _DONE, "agreement", {"images": prototypes.images[:1]}, {"facts": facts}, overwrite=True)


def _read(
    done: Path, name: str, seed: int, labels: Sequence[str], place: Path, threshold: float
) -> tuple[list[Row], list[Agreement]]:
    """What :func:`_run` left."""
    inner = None if name == "honest" else INNER
    rows = [
        judge(PathComparison.load(place / f"comparison{index}.safetensors"), name, seed, label, threshold, inner)
        for index, label in enumerate(labels)
    ]
    return rows, [Agreement(**facts) for facts in load_tensors(done, "agreement")[1]["facts"]]


def separation(rows: Sequence[Row], network: str) -> float:
    """The chance that a fooled network's prototypes have a lower normalised Spearman correlation than the honest one's: the AUC."""
    honest = [row.normalised for row in rows if row.network == "honest"]
    fooled = [row.normalised for row in rows if row.network == network]
    wins = [(one < other) + 0.5 * (one == other) for one in fooled for other in honest]
    return sum(wins) / len(wins) if wins else math.nan


_HEADER = [
    "network",
    "Spearman",
    "other",
    "same",
    "normalised",
    "± seeds",
    "above other",
    "SS ≥ SS_I",
    "D ≤ D_I",
    "all layers",
]


def _summary_rows(rows: Sequence[Row], networks: Sequence[str]) -> list[list[str]]:
    table = []
    for name in networks:
        mine = [row for row in rows if row.network == name]

        def mean(field: str, mine: list[Row] = mine) -> float:
            return sum(getattr(row, field) for row in mine) / len(mine)

        by_seed = torch.tensor(
            [
                sum(row.normalised for row in mine if row.seed == seed) / sum(row.seed == seed for row in mine)
                for seed in sorted({row.seed for row in mine})
            ]
        )
        spread = float(by_seed.std()) if len(by_seed) > 1 else math.nan
        table.append(
            [
                name,
                *(number(mean(field)) for field in ("spearman", "other", "same")),
                number(mean("normalised"), 2),
                number(spread, 2),
                *(percent(mean(field)) for field in ("above_other", "above_mean", "below_mean")),
                number(mean("all_layers"), 2),
                f"{sum(row.flagged for row in mine)} of {len(mine)}",
                "–" if name == "honest" else number(separation(rows, name), 2),
            ]
        )
    return table


def _tables(rows: Sequence[Row], agreements: Sequence[Agreement], networks: Sequence[str], threshold: float) -> str:
    """Both tables as text."""
    text = text_table([*_HEADER, "flagged", "AUC"], _summary_rows(rows, networks))
    text += f"\n\nflagged: normalised Spearman below {threshold:g}. AUC: the chance that fooled prototypes are below honest ones.\n"
    return text + ("\n" + text_table(_AGREEMENT_HEADER, _agreement_rows(agreements)) if agreements else "")


_AGREEMENT_HEADER = [
    "planted",
    "held-out images",
    "equal predictions",
    "equal logits",
    "accuracy",
    "fooled accuracy",
    "noise taken for natural",
    "prototypes taken for natural",
]


def _agreement_rows(agreements: Sequence[Agreement]) -> list[list[str]]:
    """Over seeds."""
    table = []
    for name in dict.fromkeys(one.network for one in agreements):
        mine = [one for one in agreements if one.network == name]
        images, seeds = sum(one.images for one in mine), len(mine)
        table.append(
            [
                name,
                str(images),
                str(sum(one.equal_predictions for one in mine)),
                str(sum(one.equal_logits for one in mine)),
                percent(sum(one.accuracy for one in mine) / seeds),
                percent(sum(one.fooled_accuracy for one in mine) / seeds),
                f"{sum(one.natural_noise for one in mine)} of {64 * seeds}",
                f"{sum(one.natural_prototypes for one in mine)} of {sum(one.prototypes for one in mine)}",
            ]
        )
    return table


def _write_csv(items: Sequence[Row] | Sequence[Agreement], kind: type, path: Path) -> None:
    write_rows(path, [field.name for field in fields(kind)], (list(asdict(item).values()) for item in items))


def _sheet(
    places: dict[tuple[int, str], Path], networks: Sequence[str], groups: Sequence[Group], labels: Sequence[str]
) -> Figure:
    """The first seed's prototypes: a row for each network, a column for each class."""
    sets = {name: Prototypes.load(places[0, name] / "prototypes.safetensors") for name in networks}
    columns = min(10, len(next(iter(sets.values()))))
    figure = Figure(figsize=(1.3 * columns + 1.2, 1.35 * len(networks) + 0.3), layout="constrained")
    axes = figure.subplots(len(networks), columns, squeeze=False)
    for row, (name, prototypes) in enumerate(sets.items()):
        line = axes[row]
        for column, axis in enumerate(line):
            axis.set_xticks([])
            axis.set_yticks([])
            shown = to_display(prototypes.images[column], tuple(prototypes.settings["value_range"]))
            axis.imshow(shown, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            if row == 0:
                axis.set_title(labels[list(groups).index(prototypes.target[column])], fontsize=8)
        line[0].set_ylabel(name, fontsize=9)
    return figure


def _page(
    rows: Sequence[Row],
    agreements: Sequence[Agreement],
    networks: Sequence[str],
    named: NamedModel,
    threshold: float,
    story: dict[str, Any],
    folder: Path,
) -> None:
    """What was found, as a page."""
    honest = [row for row in rows if row.network == "honest"]
    verdicts = []
    for name in networks:
        mine = [row for row in rows if row.network == name]
        flagged = sum(row.flagged for row in mine)
        verdicts.append(
            Verdict(
                f"{name}: flagged",
                f"{flagged} of {len(mine)}",
                "none" if name == "honest" else "all",
                "" if name == "honest" else f"AUC {separation(rows, name):.2f}",
                flagged == (0 if name == "honest" else len(mine)),
            )
        )
    page = Page(
        f"Fooling feature visualisation: {named.name}",
        summary=[
            f"The normalised Spearman correlation of honest prototypes is {sum(row.normalised for row in honest) / len(honest):.2f} "
            "on average (1: as natural images of the class, 0: as those of other classes).",
            *(
                f"Planted {name}: {sum(row.normalised for row in rows if row.network == name) / len(honest):.2f}; "
                f"{sum(row.flagged for row in rows if row.network == name)} of {len(honest)} flagged."
                for name in networks[1:]
            ),
        ],
        sections=[
            Section(
                "Prototypes of the honest and of the fooled networks",
                pictures=[
                    Picture(
                        "prototypes.png", "A row for each network, a column for each class; first seed.", small=False
                    )
                ],
            ),
            Section(
                "Does path similarity notice?",
                [f"Prototypes are flagged whose normalised Spearman correlation is below {threshold:g}."],
                verdicts,
                tables=[
                    Table([*_HEADER, "flagged", "AUC"], _summary_rows(rows, networks), "Means over classes and seeds.")
                ],
                files=["fooling.csv"],
            ),
            Section(
                "Is the fooled network the classifier?",
                ["On natural images that the detector was not trained on."],
                tables=[Table(_AGREEMENT_HEADER, _agreement_rows(agreements), "Over all seeds.")] if agreements else [],
                files=["agreement.csv"] if agreements else [],
            ),
        ],
        settings=story,
    )
    write_page(page, folder)
