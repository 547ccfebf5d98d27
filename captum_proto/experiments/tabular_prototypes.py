"""Prototypes of rows of a table, judged by another family of models, beside controls: a task for each network, and a page."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from captum_proto._utils.checks import check_int
from captum_proto._utils.errors import InputError, MissingPackageError
from captum_proto.attr import PrototypeGeneration, Prototypes
from captum_proto.data.table import MISSING
from captum_proto.experiments.tasks_page import tasks_page
from captum_proto.metrics import PathComparison, PathSimilarity
from captum_proto.models.tabular import TabularModel
from captum_proto.optim import CONTROL, RandomStream, RowDistance, TabularInput, prototype_keys
from captum_proto.report.figures import save_figure
from captum_proto.report.html import write_page
from captum_proto.report.page import Page
from captum_proto.report.views.tabular import ROWS, TabularResult, columns_figure, tabular_page
from captum_proto.runs.files import write_json, write_rows
from captum_proto.runs.folder import is_finished, read_settings
from captum_proto.runs.provenance import provenance
from captum_proto.runs.tasks import Protocol, Run, Task, warnings_of
from captum_proto.stats.conditions import Measured

#: What an ascent does that is not asked for otherwise: found on other seeds of the networks than those that are reported.
DEFAULTS: dict[str, Any] = {
    "steps": 256,
    "lr": 0.05,
    "warmup_steps": 0,
    "class_loss": "cross_entropy",
    "noise": 0.6,
}
ROW_DISTANCE = 0.3
_NETWORKS, _COMPARISON = "networks", "comparison"


@dataclass(frozen=True)
class TabularPrototypes(Protocol[TabularResult]):
    """
    Prototypes of the classes of networks that take rows of a table.

    Of each network: several ascents for each prototype, of which the one stays whose class is likeliest under noise; gradient boosting,
    trained on the same rows, as a judge of another family; path similarity with rows that the network has not seen; and the same of
    controls: the mean row of the class, random rows of the table, and random starts.

    Args:
        load (sequence of Callable): Each gives a :class:`~captum_proto.models.TabularModel`, of the same table and classes.
        targets (sequence of int, optional): Classes. Default: None, all
        options (mapping): Arguments of :meth:`~captum_proto.PrototypeGeneration.generate` beside the class and the input. Default: none
        fixed (mapping): Columns that are held: see :class:`~captum_proto.optim.TabularInput`. Default: none
        row_distance (float): Weight of :class:`~captum_proto.optim.RowDistance` from the training rows; 0 for none. Default: 0.3
        count (int): Prototypes of each class. Default: 4
        attempts (int): Ascents for each of them. Default: 4
        seed (int): The first seed of each class. Default: 0

    Raises:
        InputError: If an argument is out of its range.
    """

    load: Sequence[Callable[[], TabularModel]]
    targets: Sequence[int] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    row_distance: float = ROW_DISTANCE
    count: int = 4
    attempts: int = 4
    seed: int = 0

    unit = "network"

    def __post_init__(self) -> None:
        for name in ("count", "attempts"):
            check_int(getattr(self, name), name, 1)
        if not self.load:
            raise InputError("there is no network; give at least one.")
        if not 0 <= self.row_distance < math.inf:
            raise InputError(f"row_distance is {self.row_distance}; expected a weight of at least 0.")

    @cached_property
    def models(self) -> list[TabularModel]:
        made = [load() for load in self.load]
        for model in made[1:]:
            if model.columns.names != made[0].columns.names or model.class_names != made[0].class_names:
                raise InputError("the networks are of different tables; give networks of one table and its classes.")
        return made

    @property
    def classes(self) -> list[int]:
        known = len(self.models[0].class_names)
        chosen = list(range(known)) if self.targets is None else list(self.targets)
        for target in chosen:
            if not 0 <= target < known:
                raise InputError(f"target is {target}, but {self.models[0].name} has classes 0 to {known - 1}.")
        return chosen

    def provenance(self) -> dict[str, Any]:
        return provenance(
            "generate",
            {
                "input": "tabular",
                "model": self.models[0].provenance(),
                "networks": [model.provenance()["fingerprint"] for model in self.models],
                "target": self.classes,
                "options": {**DEFAULTS, **self.options},
                "fixed": {name: str(value) for name, value in self.fixed.items()},
                "row_distance": self.row_distance,
                "count": self.count,
                "attempts": self.attempts,
                "seed": self.seed,
            },
        )

    def tasks(self) -> list[Task]:
        self._generate(
            self.models[0], [self.classes[0]], steps=1, attempts=1
        )  # what is wrong with the options is found here
        return [Task(f"{_NETWORKS}/{number:02d}") for number in range(len(self.models))]

    def make(self, task: Task, run: Run) -> None:
        place = task.name.rpartition("/")[2]
        model = self.models[int(place)]
        made = self._generate(model, self.classes, show_progress=run.show_progress)
        folder = run.folder / _NETWORKS
        made.save(folder / f"{place}.safetensors", overwrite=True)
        measured = measure(model, made, self.seed, place, len(self.models) > 1, folder)
        shown = shown_rows(model, made)
        content = {"measured": [each.to_json() for each in measured], **shown, "settings": plain_settings(model)}
        write_json(folder / f"{place}.json", content, overwrite=True)
        save_figure(columns_figure(shown), folder / f"{place}.png", overwrite=True)

    def summarize(self, run: Run) -> TabularResult:
        result = TabularResult.load(run.folder / _NETWORKS)
        write_csv(result, run.folder / ROWS)
        write_page(tabular_page(result, read_settings(run.folder), run.warnings()), run.folder)
        return result

    def _generate(
        self,
        model: TabularModel,
        classes: Sequence[int],
        show_progress: bool = False,
        attempts: int | None = None,
        **options: Any,
    ) -> Prototypes:
        """The best of several ascents for each prototype, by the expected probability of its class."""
        tries = self.attempts if attempts is None else attempts
        penalty = {"regularizer": self.row_distance * RowDistance(model.training[0])} if self.row_distance else {}
        made = PrototypeGeneration(model.model).generate(
            [target for target in classes for _ in range(self.count * tries)],
            parametrization=TabularInput(model.columns, fixed=self.fixed),
            seed=self.seed,
            show_progress=show_progress,
            **{**DEFAULTS, **penalty, **self.options, **options},
        )
        expected = made.transformed_probabilities.view(len(classes), self.count, tries)
        best = (
            expected.argmax(2)
            + tries * torch.arange(self.count)
            + self.count * tries * torch.arange(len(classes))[:, None]
        )
        return made.select(best.flatten().tolist())


def measure(
    model: TabularModel, made: Prototypes, seed: int, place: str, several: bool, folder: Path
) -> list[Measured]:
    """
    What is measured of prototypes, of natural rows and of controls: how likely the class is to the network and to gradient boosting, path
    similarity, and, where they are known, whether the rule or the pipeline gives the class.

    Args:
        model (TabularModel): Whose prototypes they are.
        made (Prototypes): All of them.
        seed (int): Of the controls.
        place (str): What the network is called.
        several (bool): Whether there are several networks, over which intervals then are; else they are over classes.
        folder (Path): Where comparisons are written.
    """
    judge = gradient_boosting(model)
    (training, training_targets), (natural, natural_targets) = model.training, model.natural
    similarity = PathSimilarity(model.model, value_range=None)
    found: list[Measured] = []
    for target in dict.fromkeys(target for (target,) in made.target):
        rows = made.of(target).images
        own = training[training_targets == target]
        mean = model.columns.encode(model.columns.decode(own.mean(0, keepdim=True)))
        keys = prototype_keys([seed + i for i in range(len(rows))], [(target,)] * len(rows))
        stream = RandomStream(keys, CONTROL)
        chosen = (stream.uniform(1)[:, 0] * len(natural)).long()
        start = _random_rows(model, stream)
        others = natural[natural_targets != target]
        conditions = {"class mean": mean, "random row": natural[chosen], "random start": start}
        compared = PathSimilarity.compare(
            _fresh(similarity), rows, natural[natural_targets == target], others, controls=[], further=conditions
        )
        compared.save(folder / f"{place}_{_COMPARISON}_{target}.safetensors", overwrite=True)
        shown = {
            "prototype": rows,
            "same_class": natural[natural_targets == target],
            "other_class": others,
            **conditions,
        }
        for condition, encoded in shown.items():
            found += _of_condition(
                model, judge, compared, condition, encoded, target, place if several else model.class_names[target]
            )
    return found


def _fresh(similarity: PathSimilarity) -> PathSimilarity:
    return PathSimilarity(similarity.forward_func, value_range=None)


def _of_condition(
    model: TabularModel, judge: Any, compared: PathComparison, condition: str, rows: Tensor, target: int, unit: str
) -> list[Measured]:
    with torch.no_grad():
        own = model.model(rows).softmax(1)[:, target]
    judged = torch.from_numpy(judge.predict_proba(rows.numpy()))
    spearman = compared.spearman[condition][:, ~compared.dead].nanmean(1)
    decoded = model.columns.decode(rows)
    piped = None if model.pipeline is None else torch.as_tensor(model.pipeline(decoded)).argmax(1)
    measured = []
    for i, row in enumerate(decoded):
        values = {
            "judged": float(judged[i].argmax() == target),
            "judge_p": float(judged[i, target]),
            "p": float(own[i]),
            "spearman": float(spearman[i]),
        }
        if model.rule is not None:
            values["rule"] = float(model.rule(row) == target)
        if piped is not None:
            values["pipeline"] = float(piped[i] == target)
        measured.append(Measured(unit, condition, model.class_names[target], values))
    return measured


def _random_rows(model: TabularModel, stream: RandomStream) -> Tensor:
    """Where ascents start, as finished rows: what the judges make of no optimization at all."""
    inputs = TabularInput(model.columns)
    parameters = {name: value.float() for name, value in inputs.start(stream, (model.columns.width,)).items()}
    inputs.finish(parameters)
    return inputs.render(parameters)


def gradient_boosting(model: TabularModel) -> Any:
    """
    scikit-learn's gradient boosting, trained on a model's training rows: a judge of another family.

    Raises:
        ImportError: If scikit-learn is not installed.
    """
    try:
        from sklearn.ensemble import GradientBoostingClassifier
    except ImportError as error:
        raise MissingPackageError(
            "the judge of rows is scikit-learn's gradient boosting, which is not installed; run: pip install scikit-learn"
        ) from error
    return GradientBoostingClassifier(random_state=0).fit(model.training[0].numpy(), model.training[1].numpy())


def plain_settings(model: TabularModel) -> dict[str, Any]:
    """What is known of a network, with the accuracy of its judge on the same unseen rows."""
    judge, (rows, targets) = gradient_boosting(model), model.natural
    return {
        **model.settings,
        "accuracy": model.accuracy(),
        "judge_accuracy": float(judge.score(rows.numpy(), targets.numpy())),
        "natural": len(rows),
    }


def shown_rows(model: TabularModel, made: Prototypes) -> dict[str, Any]:
    """The prototypes of each class beside its mean row and where most of its rows are, as JSON can hold them."""
    columns, (training, targets) = model.columns, model.training
    classes = []
    for target in dict.fromkeys(target for (target,) in made.target):
        own, prototypes = training[targets == target], made.of(target)
        spread = torch.quantile(own, torch.tensor([0.05, 0.95]), dim=0)
        classes.append(
            {
                "name": model.class_names[target],
                "rows": [_texts(row) for row in columns.decode(prototypes.images)],
                "mean_row": _texts(columns.decode(own.mean(0, keepdim=True))[0]),
                "seeds": prototypes.seeds,
                "p": prototypes.probabilities.tolist(),
                "encoded": prototypes.images.tolist(),
                "mean": own.mean(0).tolist(),
                "low": spread[0].tolist(),
                "high": spread[1].tolist(),
            }
        )
    return {"classes": classes, "columns": columns.settings(), "features": columns.features}


def _texts(row: Mapping[str, Any]) -> dict[str, str]:
    return {name: _text(value) for name, value in row.items()}


def _text(value: Any) -> str:
    return MISSING if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def write_csv(result: TabularResult, path: Path) -> None:
    """Every prototype, in the table's own units."""
    names = [column["name"] for column in result.networks[0]["columns"]]
    rows = (
        [number, each["name"], seed, repr(p), *(row[name] for name in names)]
        for number, network in enumerate(result.networks)
        for each in network["classes"]
        for row, seed, p in zip(each["rows"], each["seeds"], each["p"], strict=True)
    )
    write_rows(path, ["network", "class", "seed", "p", *names], rows, overwrite=True)


def tabular_prototypes_page(folder: Path) -> Page:
    """
    What a folder of prototypes of rows has to show, from the files in it; of an interrupted run, what its finished tasks wrote.

    Args:
        folder (Path): That :class:`TabularPrototypes` wrote to.
    """
    if not is_finished(folder) or not (folder / ROWS).is_file():
        return tasks_page(folder)
    return tabular_page(TabularResult.load(folder / _NETWORKS), read_settings(folder), warnings_of(folder))


__all__ = ["DEFAULTS", "ROW_DISTANCE", "TabularPrototypes", "gradient_boosting", "tabular_prototypes_page"]
