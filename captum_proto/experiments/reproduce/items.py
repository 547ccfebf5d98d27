"""The paper's tables and figures, each read off the same comparisons."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy import stats
from torch import nn

from captum_proto._utils.checks import nearest
from captum_proto._utils.class_names import file_stem_of
from captum_proto._utils.errors import InputError
from captum_proto._utils.tables import number, percent
from captum_proto._utils.targets import Target
from captum_proto.attr import PRESETS, PrototypeGeneration, Prototypes
from captum_proto.data import ImageCollection
from captum_proto.experiments.compare_groups import compare_groups_to_folder
from captum_proto.experiments.generate import generate_to_folder
from captum_proto.experiments.reproduce import paper
from captum_proto.experiments.reproduce.stages import BASELINES, _natural, _Run
from captum_proto.experiments.sweep import Sweep, sweep_to_folder
from captum_proto.metrics import DATA_FREE, PathComparison, pairwise_similarity
from captum_proto.metrics.comparison import OTHER, SAME, condition_label, pooled
from captum_proto.optim import CONTROL, RandomStream, prototype_keys
from captum_proto.report.blocks import Picture, Verdict
from captum_proto.report.figures import picture_grid, points_figure
from captum_proto.report.views.group_comparison import groups_figure
from captum_proto.report.views.layer_curves import comparison_figure
from captum_proto.stats.intervals import interval, spread, spreads
from captum_proto.stats.moments import Moments

#: Everything there is to make again, in the order of the page.
ITEMS = ("fig1", "fig2", "table1", "fig4", "fig5", "fig8", "table4", "fig7", "fig9", "table2", "table3")
#: Resamples of the classes behind an interval.
_RESAMPLES = 2000


@dataclass
class Item:
    """
    What one table or figure came to.

    Attributes:
        name (str): Of :data:`ITEMS`.
        title (str): What it shows.
        verdicts (list[Verdict]): The paper's value beside ours.
        header (list[str]): Of its values.
        rows (list[list]): Every value.
        figure (Figure, optional): Of them.
        text (list[str]): What else is to be said.
        pictures (list[Picture]): Beside the figure.
    """

    name: str
    title: str
    verdicts: list[Verdict] = field(default_factory=list)
    header: list[str] = field(default_factory=list)
    rows: list[list[Any]] = field(default_factory=list)
    figure: Figure | None = None
    text: list[str] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)


class _Making:
    """The items of one run."""

    def __init__(
        self,
        run: _Run,
        seed: int,
        batch_size: int,
        image_batch: int,
        workers: int,
        resume: bool,
        show_progress: bool,
        groups: Mapping[str, Mapping[str, Path]],
    ) -> None:
        self.run, self.seed, self.batch_size, self.groups = run, seed, batch_size, groups
        self.image_batch, self.workers, self.resume, self.show_progress = image_batch, workers, resume, show_progress
        self._sweep: Any = None

    def item(self, name: str) -> Item | None:
        """One table or figure; None where it needs what was not given."""
        makers: dict[str, Callable[[], Item | None]] = {
            "fig1": self._fig1,
            "fig2": self._fig2,
            "table1": self._table1,
            "fig4": lambda: self._shares("fig4"),
            "fig5": lambda: self._shares("fig5"),
            "fig8": self._fig8,
            "table4": self._table4,
            "fig7": self._fig7,
            "fig9": self._fig9,
            "table2": lambda: self._groups("table2"),
            "table3": lambda: self._groups("table3"),
        }
        if not self.run.comparisons and name not in ("fig1", "fig9", "table2", "table3"):
            return None
        return makers[name]()

    def why_not(self, name: str) -> str:
        """Why :meth:`item` gave nothing."""
        if name in ("table2", "table3"):
            return f"not made, since it compares groups of images; pass --{name} NAME=DIR for each of its groups."
        return "not made, since it compares prototypes with natural images of their classes; pass --images DIR."

    def _fig1(self) -> Item:
        run = self.run
        pictures: dict[str, dict[str, torch.Tensor]] = {}
        rows: list[list[Any]] = []
        shape = run.named.image_shape
        for group, label in run.labels.items():
            place = run.place(group)
            made = {
                name: Prototypes.load(place / name / "prototypes.safetensors") for name in ("prototypes", *BASELINES)
            }
            pictures[label] = {
                "prototype" if name == "prototypes" else condition_label(name): one.images[0]
                for name, one in made.items()
            }
            pictures[label]["gray"] = torch.full(shape, 0.5)
            noise = RandomStream(prototype_keys([self.seed], [()]), CONTROL).uniform(math.prod(shape))
            pictures[label]["noise"] = noise.view(shape)  # that which is scored
            if run.stage.images is not None:
                pictures[label]["mean image"] = self._mean_image(group)
            for name, one in made.items():
                rows.append([label, name, float(one.probabilities[0]), float(one.transformed_probabilities[0])])
        item = Item("fig1", "prototypes beside what came before", figure=picture_grid(pictures))
        item.header, item.rows = ["class", "picture", "probability as it is", "expected under its transforms"], rows
        item.text = [
            "For each class: the prototype; feature visualization as Olah, Mordvintsev and Schubert make it (Distill 2017); gradient "
            "ascent on the logit alone; a gray square, noise, and the mean of the natural images."
        ]
        return item

    def _mean_image(self, group: Target) -> torch.Tensor:
        moments = Moments()
        same = _natural(self.run.stage, self.run.named, self.seed, self.image_batch, self.workers).of(group).same
        for batch in torch.split(same, 64) if isinstance(same, torch.Tensor) else same:
            moments.update(batch)
        return moments.compute().float()

    def _fig2(self) -> Item:
        comparisons = self.run.every()
        item = Item("fig2", "path similarity of all of these pictures")
        item.figure = comparison_figure(pooled(comparisons), measures=("spearman", "l1"))
        item.header, item.rows = _layer_rows(self.run)
        item.text = [_best_control(comparisons)]
        return item

    def _table1(self) -> Item:
        run, comparisons = self.run, self.run.every()
        item = Item("table1", "mean Spearman correlation")
        points: dict[str, list[float]] = {}
        for group in comparisons[0].conditions:
            each = [one.summary(group) for one in comparisons]
            values = [one.spearman for one in each]
            points[condition_label(group)] = values
            over_layers = float(np.nanmean([one.spearman_over_layers for one in each]))
            published = paper.VALUES.get(("table1", group, run.model))
            mean = float(np.nanmean(values))
            item.verdicts.append(
                Verdict(
                    f"mean Spearman, {condition_label(group)}",
                    f"{mean:.3f} ± {number(spread(values))} over {len(values)} classes, ± {over_layers:.3f} over layers"
                    + _interval_words(interval(values)),
                    published.text if published else "",
                    f"{mean - published.value:+.3f}" if published else "",
                )
            )
            item.rows += [[label, group, value] for label, value in zip(run.labels.values(), values, strict=True)]
        item.header = ["class", "condition", "mean Spearman over layers"]
        item.figure = points_figure(points, "mean Spearman over layers, a point for each class")
        item.text = [_best_control(comparisons)]
        return item

    def _shares(self, name: str) -> Item:
        """Figures 4 and 5: curves over layers, and in how many of them an assertion holds."""
        run, comparisons = self.run, self.run.every()
        spearman = name == "fig5"
        title = "Spearman correlation, layer by layer" if spearman else "L1 distance, layer by layer"
        item = Item(name, title)
        item.header, item.rows = _layer_rows(run)
        if spearman:
            readings: dict[str, Callable[[np.ndarray, str], float]] = {
                "layers with SS ≥ SS_I": lambda chosen, group: _share_of_means(comparisons, chosen, group, "spearman"),
                "layers with SS ≥ every I": lambda chosen, group: float(
                    np.mean([comparisons[i].summary(group).spearman_above_every for i in chosen])
                ),
            }
        else:
            readings = {"layers with D ≤ D_I": lambda chosen, group: _share_of_means(comparisons, chosen, group, "l1")}
        for reading, share in readings.items():
            everyone = np.arange(len(comparisons))
            ours = share(everyone, "prototype")
            published = paper.VALUES.get((name, reading, run.model))
            low, high = _over_classes(len(comparisons), lambda chosen, share=share: share(chosen, "prototype"))  # type: ignore[misc]
            span = f", 95 % over classes {percent(low)} to {percent(high)}" if not math.isnan(low) else ""
            item.verdicts.append(
                Verdict(
                    reading,
                    f"{percent(ours)} of {len(comparisons[0].layers)}{span}",
                    published.text if published else "",
                    f"{100 * (ours - published.value):+.1f} points" if published else "",
                )
            )
            for group in comparisons[0].conditions:
                if group not in ("prototype", SAME, OTHER):
                    item.verdicts.append(
                        Verdict(f"{reading}: {condition_label(group)}", percent(share(everyone, group)))
                    )
        item.figure = comparison_figure(pooled(comparisons), measures=("spearman" if spearman else "l1",))
        if not spearman:
            item.text = [
                "A gray square knows nothing of the class: where it passes as well, this criterion alone proves nothing."
            ]
        return item

    def _fig8(self) -> Item:
        comparisons = self.run.every()
        item = Item("fig8", "both measures, normalized between same and other classes")
        item.header, item.rows = _layer_rows(self.run)
        for name, curve, ends in (
            ("normalized Spearman", PathComparison.normalized_spearman, "1 same class, 0 other classes"),
            ("normalized L1", PathComparison.normalized_l1, "0 same class, 1 other classes"),
        ):
            values = [float(np.nanmedian(curve(one, "prototype").numpy())) for one in comparisons]
            item.verdicts.append(
                Verdict(
                    f"{name}, median over layers ({ends})",
                    f"{np.mean(values):.2f} ± {number(spread(values), 2)} over {len(values)} classes"
                    + _interval_words(interval(values), 2),
                )
            )
        item.figure = comparison_figure(pooled(comparisons), measures=("spearman-normalized", "l1-normalized"))
        return item

    def _swept(self) -> Any:
        """Table 4's sweep, made once."""
        if self._sweep is None:
            stage, named = self.run.stage, self.run.named
            sweep = Sweep(
                models=[stage.model],
                targets=[stage.protocol_target],
                seeds=stage.protocol_seeds,
                fixed={"preset": "paper", **_plain_options(stage.options)},
                grid=stage.protocols,
            )
            folder = self.run.folder / "table4" / "sweep"
            self._sweep = sweep_to_folder(
                sweep,
                folder,
                open_model=lambda name: named,
                natural=lambda named: _natural(stage, named, self.seed, self.image_batch, self.workers),
                comparison_options={
                    "leave_one_out": False,
                    "controls": ("gray", "noise", "mean_image"),
                    "seed": self.seed,
                },
                batch_size=self.batch_size,
                story={"command": "sweep", "model": stage.model},
                resume=folder.exists(),
                show_progress=self.show_progress,
                say=lambda text: None,
            )
        return self._sweep

    def _table4(self) -> Item:
        result = self._swept()
        ranks = result.ranking()
        item = Item("table4", f"{len(ranks)} affine protocols, ranked")
        best, second = ranks[0], ranks[min(1, len(ranks) - 1)]
        for name, value, measured in (
            (
                "best protocol",
                best.score,
                f"{best.score:.3f} ± {number(best.over_seeds)} over seeds ({best.combination.name})",
            ),
            ("first over second", best.score - second.score, f"{best.score - second.score:.3f}"),
        ):
            published = paper.VALUES.get(("table4", name, self.run.model))
            difference = f"{value - published.value:+.3f}" if published else ""
            item.verdicts.append(Verdict(name, measured, published.text if published else "", difference))
        item.text = [result.verdict()]
        item.header, item.rows = result.ranking_rows()
        names = [rank.combination.name for rank in ranks]
        item.figure = points_figure(
            {name: [cell.spearman for cell in rank.cells] for name, rank in list(zip(names, ranks, strict=True))[:10]},
            "mean Spearman over layers, a point for each seed; the first ten",
        )
        return item

    def _fig7(self) -> Item:
        result = self._swept()
        ranks = result.ranking()
        shown = ranks if len(ranks) <= 10 else [*ranks[:5], *ranks[-5:]]
        combinations = [combination.name for combination in result.sweep.combinations()]
        sheet: dict[str, dict[str, torch.Tensor]] = {}
        by_row = self._images_of_sweep()
        for rank in shown:
            index = combinations.index(rank.combination.name)
            sheet[rank.combination.name] = {
                f"seed {seed}": by_row[index, seed] for seed in self.run.stage.protocol_seeds[:5]
            }
        item = Item("fig7", "prototypes of the best and the worst affine protocols", figure=picture_grid(sheet))
        item.header = ["protocol", "seed", "Spearman", "probability as it is", "expected probability"]
        item.rows = [
            [rank.combination.name, cell.seed, cell.spearman, cell.probability, cell.transformed_probability]
            for rank in shown
            for cell in rank.cells
        ]
        return item

    def _images_of_sweep(self) -> dict[tuple[int, int], torch.Tensor]:
        """The prototypes of Table 4, by combination and seed, from the pictures it wrote."""
        result = self._swept()
        folder = self.run.folder / "table4" / "sweep" / "prototypes" / file_stem_of(self.run.model)
        images = [one for path in sorted(folder.glob("*.safetensors")) for one in Prototypes.load(path).images]
        rows = result.made[self.run.model]
        return {(row.combination, row.seed): image for row, image in zip(rows, images, strict=True)}

    def _fig9(self) -> Item:
        """Appendix C: prototypes of one class, pulled apart in pixels and in a layer's Gram matrices."""
        run, named = self.run, self.run.named
        group, label = next(iter(run.labels.items()))
        layer = middle_layer(named.model)
        generation = PrototypeGeneration(named.model, named.preprocess)
        item = Item("fig9", f"four prototypes of {label} that are to differ")
        item.header = ["diversity", "pixel difference", "pixel correlation", f"Gram cosine, {layer}", "logit"]
        sheet: dict[str, dict[str, torch.Tensor]] = {}
        for name, diversity in (("none", None), ("pixels", "pixels"), (f"Gram, {layer}", f"gram:{layer}")):
            place = run.folder / "fig9" / name.split(",")[0].lower()
            made = generate_to_folder(
                generation,
                [group] * 4,
                named.image_shape,
                place,
                options={**PRESETS["paper"], **run.stage.options, "diversity": diversity},
                seed=self.seed,
                batch_size=4,
                class_names=named.class_names,
                resume=place.exists(),
                show_progress=self.show_progress,
                page=False,
            )
            sheet[name] = {f"seed {seed}": image for seed, image in zip(made.seeds, made.images, strict=True)}
            measured = pairwise_similarity(made.images, named.model, [layer], preprocess=named.preprocess)
            pairs = torch.triu_indices(4, 4, 1)
            values = [measured.difference, measured.correlation, measured.gram[layer]]
            means = [float(one[pairs[0], pairs[1]].mean()) for one in values]
            item.rows.append([name, *means, float(made.logits.mean())])
            if diversity is not None:
                space, before, after = ("pixel difference", item.rows[0][1], means[0])
                if name != "pixels":
                    space, before, after = (f"Gram cosine in {layer}", item.rows[0][3], means[2])
                item.verdicts.append(Verdict(f"{space}, asked to differ in {name}", f"{before:.3f} → {after:.3f}"))
        item.figure = picture_grid(sheet)
        item.text = [
            "Means over the six pairs of four prototypes. Pixels may differ by noise and inverted colors alone; Gram matrices "
            "say which channels fire together."
        ]
        return item

    def _groups(self, name: str) -> Item | None:
        """Tables 2 and 3: accuracy and probabilities of groups of images of one class."""
        folders = self.groups.get(name) or {}
        if not folders:
            return None
        run, named = self.run, self.run.named
        gown, board = (paper.ACADEMIC_GOWN,), (paper.MORTARBOARD,)
        target, also = (gown, []) if name == "table2" else (board, [gown])
        comparison = compare_groups_to_folder(
            named,
            {group: ImageCollection.one_class(path) for group, path in folders.items()},
            target,
            run.folder / name / "groups",
            also=also,
            seed=self.seed,
            batch_size=self.image_batch,
            workers=self.workers,
            resume=(run.folder / name / "groups").exists(),
            show_progress=self.show_progress,
            say=lambda text: None,
        )
        item = Item(name, f"{comparison.target}, by group of images")
        item.header = ["subgroup", "images", "figure", "value", "low", "high"]
        for one in comparison.subgroups:
            figures = {"accuracy": one.accuracy, **{f"p({c})": value for c, value in one.probabilities.items()}}
            for figure, estimate in figures.items():
                published = paper.VALUES.get((name, f"{figure}, {one.subgroup}", run.model))
                item.rows.append([one.subgroup, one.images, figure, estimate.value, estimate.low, estimate.high])
                item.verdicts.append(
                    Verdict(
                        f"{figure}, {one.subgroup}",
                        f"{estimate.value:.3f}, 95 % interval {estimate.low:.3f} to {estimate.high:.3f}, {one.images} images",
                        published.text if published else "",
                        f"{estimate.value - published.value:+.3f}" if published else "",
                    )
                )
        for pair in comparison.pairs:
            item.verdicts.append(
                Verdict(f"{pair.first} against {pair.second}, Fisher's exact test", f"p = {pair.corrected_p_value:.3g}")
            )
        item.figure = groups_figure(comparison, item.title)
        item.text = [f"Everything is in {name}/groups, beginning with its page."]
        return item


def middle_layer(model: nn.Module) -> str:
    """The convolution in the middle of a network, or else its middle layer: where there are objects' parts, for Gram matrices."""
    convolutions = [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d)]
    names = convolutions or [name for name, module in model.named_modules() if name and not list(module.children())]
    if not names:
        raise InputError(
            f"the model is a single {type(model).__name__} without layers; leave fig9 out of the items, it needs a layer."
        )
    return names[len(names) // 2]


def _plain_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Those arguments of generate that do not depend on the protocol."""
    return {name: value for name, value in options.items() if name != "transform"}


def _layer_rows(run: _Run) -> tuple[list[str], list[list[Any]]]:
    """Every value behind the curves: class, group, layer, mean over images and spread."""
    header = ["class", "condition", "index", "layer", "images", "spearman", "spearman_sd", "l1", "l1_sd"]
    rows: list[list[Any]] = []
    for (_, label), comparison in zip(run.labels.items(), run.every(), strict=True):
        for group in comparison.conditions:
            spearman, l1 = comparison.spearman[group], comparison.l1[group]
            mean, spread = comparison.mean_spearman(group).tolist(), spreads(spearman).tolist()
            distance, distance_spread = comparison.mean_l1(group).tolist(), spreads(l1).tolist()
            for index, layer in enumerate(comparison.layers):
                values = (mean[index], spread[index], distance[index], distance_spread[index])
                rows.append([label, group, index, layer, len(spearman), *map(repr, values)])
    return header, rows


def _share_of_means(comparisons: Sequence[PathComparison], chosen: np.ndarray, group: str, measure: str) -> float:
    """The share of layers in which the mean over classes fulfills the assertion, as the paper counts them."""
    some = [comparisons[i] for i in chosen]
    if measure == "l1":
        ours = torch.stack([one.mean_l1(group) for one in some]).mean(0)
        natural = torch.stack([one.mean_l1(SAME) for one in some]).mean(0)
        return float((ours <= natural).double().mean())
    ours = torch.stack([one.mean_spearman(group) for one in some]).nanmean(0)
    natural = torch.stack([one.mean_spearman(SAME) for one in some]).nanmean(0)
    living = ~natural.isnan()
    return float((ours >= natural)[living].double().mean()) if bool(living.any()) else math.nan


def _over_classes(classes: int, value: Callable[[np.ndarray], float]) -> tuple[float, float]:
    """The bootstrap interval of a figure over classes, 95 %; NaN for a single class."""
    if classes < 2:
        return math.nan, math.nan
    found = stats.bootstrap(
        (np.arange(classes),),
        value,
        vectorized=False,
        n_resamples=_RESAMPLES if classes > 3 else 200,
        method="percentile",
        rng=np.random.default_rng(0),
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def _interval_words(ends: tuple[float, float] | None, digits: int = 3) -> str:
    return "" if ends is None else f", 95 % interval {ends[0]:.{digits}f} to {ends[1]:.{digits}f}"


def _best_control(comparisons: Sequence[PathComparison]) -> str:
    """Whether prototypes are above what knows no data."""
    means = {
        group: float(np.mean([one.summary(group).spearman for one in comparisons]))
        for group in comparisons[0].conditions
    }
    free = {group: value for group, value in means.items() if group in DATA_FREE}
    best = max(free, key=lambda group: free[group])
    ahead = means["prototype"] - free[best]
    words = "above" if ahead > 0 else "not above"
    return (
        f"Prototypes are {words} every picture that knows no data: the best of those is {condition_label(best)}, with a mean Spearman of "
        f"{free[best]:.3f} against {means['prototype']:.3f}. The mean image, which knows the data, has "
        f"{means.get('mean_image', math.nan):.3f}."
    )


def check_items(items: Iterable[str]) -> list[str]:
    """
    Names of items.

    Raises:
        ValueError: If one is unknown, saying which is near.
    """
    names = list(items)
    for name in names:
        if name not in ITEMS:
            raise InputError(
                f'there is no item "{name}"{nearest(name, ITEMS) or "; expected some of " + ", ".join(ITEMS) + "."}'
            )
    return names
