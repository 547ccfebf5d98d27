"""Prototypes of rows of a table, judged by another family of models, beside controls: a task for each network, and a page."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from captum_proto._utils.errors import InputError, MissingPackageError
from captum_proto.attr import Prototypes
from captum_proto.data.table import MISSING
from captum_proto.experiments.input_prototypes import COMPARISON, NETWORKS, InputPrototypes
from captum_proto.experiments.tasks_page import tasks_page
from captum_proto.metrics import PathComparison, PathSimilarity
from captum_proto.metrics.comparison import OTHER, SAME
from captum_proto.models.tabular import TabularModel
from captum_proto.optim import CONTROL, Loss, RandomStream, RowDistance, TabularInput, prototype_keys
from captum_proto.report.figures import save_figure
from captum_proto.report.html import write_page
from captum_proto.report.page import Page
from captum_proto.report.views.tabular import ROWS, TabularResult, columns_figure, tabular_page
from captum_proto.runs.files import write_json, write_rows
from captum_proto.runs.folder import is_finished, read_settings
from captum_proto.runs.tasks import Run, Task, warnings_of
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


@dataclass(frozen=True)
class TabularPrototypes(InputPrototypes[TabularResult]):
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

    defaults = MappingProxyType(DEFAULTS)
    kind = "tabular"

    def __post_init__(self) -> None:
        self.check()
        if not 0 <= self.row_distance < math.inf:
            raise InputError(f"row_distance is {self.row_distance}; expected a weight of at least 0.")

    def parametrization(self, model: TabularModel) -> TabularInput:
        return TabularInput(model.columns, fixed=self.fixed)

    def penalty(self, model: TabularModel) -> Loss | None:
        return self.row_distance * RowDistance(model.training[0]) if self.row_distance else None

    def provenance(self) -> dict[str, Any]:
        return {**self.recorded(["row_distance"]), "fixed": {name: str(value) for name, value in self.fixed.items()}}

    def make(self, task: Task, run: Run) -> None:
        place = task.name.rpartition("/")[2]
        model = self.models[int(place)]
        made = self.generate(model, self.classes, show_progress=run.show_progress)
        folder = run.folder / NETWORKS
        made.save(folder / f"{place}.safetensors", overwrite=True)
        judge = gradient_boosting(model)
        measured = measure(model, judge, made, self.seed, lambda target: self.unit_of(place, target), folder / place)
        shown = shown_rows(model, made)
        content = {"measured": [each.to_json() for each in measured], **shown, "settings": plain_settings(model, judge)}
        write_json(folder / f"{place}.json", content, overwrite=True)
        save_figure(columns_figure(shown), folder / f"{place}.png", overwrite=True)

    def summarize(self, run: Run) -> TabularResult:
        result = TabularResult.load(run.folder / NETWORKS)
        write_csv(result, run.folder / ROWS)
        write_page(tabular_page(result, read_settings(run.folder), run.warnings()), run.folder)
        return result


def measure(
    model: TabularModel, judge: Any, made: Prototypes, seed: int, unit_of: Callable[[int], str], stem: Path
) -> list[Measured]:
    """
    What is measured of prototypes, of natural rows and of controls: how likely the class is to the network and to the judge, path
    similarity, and, where they are known, whether the rule or the pipeline gives the class.

    Args:
        model (TabularModel): Whose prototypes they are.
        judge (any): Of another family, with scikit-learn's ``predict_proba`` of encoded rows.
        made (Prototypes): All of them.
        seed (int): Of the controls.
        unit_of (Callable): What intervals are over, from the class.
        stem (Path): How the names of the files of comparisons begin.
    """
    (training, training_targets), (natural, natural_targets) = model.training, model.natural
    found: list[Measured] = []
    for target in dict.fromkeys(target for (target,) in made.target):
        rows, same = made.of(target).images, natural[natural_targets == target]
        mean = training[training_targets == target].mean(0, keepdim=True)
        keys = prototype_keys([seed + i for i in range(len(rows))], [(target,)] * len(rows))
        stream, others = RandomStream(keys, CONTROL), natural[natural_targets != target]
        controls = {
            "class mean": model.columns.encode(model.columns.decode(mean)),
            "random row": natural[(stream.uniform(1)[:, 0] * len(natural)).long()],
            "random start": _starts(model, stream),
        }
        compared = PathSimilarity(model.model, value_range=None).compare(
            rows, same, others, controls=[], further=controls
        )
        compared.save(stem.with_name(f"{stem.name}_{COMPARISON}_{target}.safetensors"), overwrite=True)
        for condition, encoded in {"prototype": rows, SAME: same, OTHER: others, **controls}.items():
            found += _of_condition(model, judge, compared, condition, encoded, target, unit_of(target))
    return found


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


def _starts(model: TabularModel, stream: RandomStream) -> Tensor:
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


def plain_settings(model: TabularModel, judge: Any) -> dict[str, Any]:
    """What is known of a network, with the accuracy of its judge on the same unseen rows."""
    rows, targets = model.natural
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
    return tabular_page(TabularResult.load(folder / NETWORKS), read_settings(folder), warnings_of(folder))


__all__ = ["DEFAULTS", "ROW_DISTANCE", "TabularPrototypes", "gradient_boosting", "tabular_prototypes_page"]
