"""Whether path similarity notices networks that fool feature visualization."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from captum_proto._utils.class_names import labels_of
from captum_proto._utils.errors import InputError
from captum_proto._utils.files import load_tensors, save_tensors
from captum_proto._utils.model import borrowed
from captum_proto._utils.pipeline import Pipeline
from captum_proto._utils.targets import Target
from captum_proto.attr import PAPER_TRANSFORM, PrototypeGeneration, Prototypes
from captum_proto.data.natural import NaturalSplit
from captum_proto.experiments.fooling.results import Agreement, Row, _page, _sheet, _tables, _write_csv, judge
from captum_proto.experiments.generate import write_prototypes
from captum_proto.metrics import PathComparison, PathSimilarity
from captum_proto.models import NamedModel
from captum_proto.optim import START, TRANSFORM, RandomStream, Transform, prototype_keys
from captum_proto.report.figures import save_figure
from captum_proto.runs.files import write_text
from captum_proto.runs.folder import open_folder
from captum_proto.testing.fooled import INNER, Detector, FooledNetwork, OtherClass, PlantedPicture, draw_face

#: What may be planted: a drawn face, a photograph of another class, one of the class itself, or the ascent of another class.
PLANTS = ("face", "other_image", "other_class", "own_image")
#: The detector sees ascents of other seeds than those it is tried on.
_TRAINING_SEED = 1_000_003


def make_decoy(
    plant: str, named: NamedModel, groups: Sequence[Target], natural: NaturalSplit, picture: Tensor | None = None
) -> PlantedPicture | OtherClass:
    """
    What an ascent is led to.

    Args:
        plant (str): Of :data:`PLANTS`.
        named (NamedModel): The classifier.
        groups (sequence of tuple[int, ...]): The targets.
        natural (NaturalSplit): Where planted photographs come from: the first training image of the next target, or of another class where
            there is one target; for "own_image" the one of the class whose pixels are furthest from the mean of the class.
        picture (Tensor, optional): (C, H, W) in [0, 1], instead of the drawn face. Default: None

    Returns:
        PlantedPicture or OtherClass: On the classifier's device.

    Raises:
        ValueError: If there is no such plant.
    """
    device = next(named.model.parameters()).device
    with torch.no_grad(), borrowed(named.model):
        classes = named.logits(torch.full((1, *named.image_shape), 0.5, device=device)).shape[1]
    if plant == "other_class":
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
    elif plant == "other_image":
        nexts = [groups[(position + 1) % len(groups)] for position in range(len(groups))]
        pictures = [
            natural.to_learn_from(after)[0][0] if len(groups) > 1 else natural.to_learn_from(group)[1][0]
            for group, after in zip(groups, nexts, strict=True)
        ]
    elif plant == "own_image":
        pictures = []
        for group in groups:
            images, _ = natural.to_learn_from(group)
            pictures.append(images[int((images - images.mean(0)).flatten(1).norm(dim=1).argmax())])
    else:
        raise InputError(f'there is no plant "{plant}"; expected one of {", ".join(PLANTS)}.')
    stacked = torch.stack(pictures).to(device)
    return PlantedPicture(stacked if named.preprocess is None else named.preprocess(stacked), groups, classes).to(
        device
    )


def fool(
    named: NamedModel,
    groups: Sequence[Target],
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
    gray = torch.linspace(0, 1, 9).view(-1, 1, 1, 1).expand(-1, *named.image_shape)
    seen = torch.cat([noise, 0.5 + 0.1 * (noise - 0.5), gray, *(image.cpu() for image in made.snapshots.values())])
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
    named: NamedModel, fooled: FooledNetwork, natural: NaturalSplit, prototypes: Prototypes, plant: str, seed: int
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


def fooling_to_folder(
    network_of: Callable[[int], NamedModel],
    natural: NaturalSplit,
    groups: Sequence[Target],
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
        natural (NaturalSplit): Natural images.
        groups (sequence of tuple[int, ...]): The targets.
        folder (Path): Where to write: prototypes and comparisons of every seed and network, ``fooling.csv``, ``agreement.csv``,
            ``prototypes.png``, ``summary.txt`` and the page.
        options (dict): Further arguments of :meth:`PrototypeGeneration.generate <captum_proto.PrototypeGeneration.generate>`, the same
            for honest and for fooled networks.
        plants (sequence of str, optional): Of :data:`PLANTS`. Default: all
        picture (Tensor, optional): (C, H, W) in [0, 1], planted instead of the drawn face. Default: None
        seeds (int, optional): How many seeds, from 0. Default: 5
        count (int, optional): Prototypes of each target and seed. Default: 1
        threshold (float, optional): Prototypes are flagged whose normalized Spearman correlation is below this: 0 for no more like the
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
            raise InputError(f'there is no plant "{plant}"; expected one of {", ".join(PLANTS)}.')
    if seeds < 1 or count < 1:
        raise InputError(f"seeds is {seeds} and count is {count}; expected at least 1 of each.")
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
            mean = sum(row.normalized for row in found_rows) / len(found_rows)
            flagged = sum(row.flagged for row in found_rows)
            say(f"seed {seed}, {name}: normalized Spearman {mean:.2f}, {flagged} of {len(found_rows)} flagged")
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
    natural: NaturalSplit,
    groups: Sequence[Target],
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
