"""Differentiable surrogates of classifiers that give no gradient, with how far they agree with what they stand for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from captum_proto._utils.checks import check_int, type_name
from captum_proto._utils.errors import InputError, InputTypeError, MissingPackageError
from captum_proto.data.table import TableColumns, Value
from captum_proto.models.tabular import TabularModel, fit, network_of, seeded

#: From rows of a table to class probabilities (N, K).
Predict = Callable[[Sequence[Mapping[str, Value]]], Any]
#: Pipelines of scikit-learn that the command line knows.
PIPELINES = ("svm", "forest")
_HIDDEN, _EPOCHS, _HELD_OUT = 64, 400, 0.25


def surrogate_of(
    predict: Predict, natural: TabularModel, *, rows: int = 4000, seed: int = 0, name: str = "a pipeline"
) -> TabularModel:
    """
    A network that imitates a classifier of rows which gives no gradient, such as a scikit-learn pipeline, so that prototypes can be made.

    It learns the class probabilities that the classifier gives to rows of three kinds: the training rows, rows whose columns are each from
    one of two training rows, and rows near those. What an ascent finds is typical to the surrogate; it is said as such, and the classifier
    itself is shown every prototype, since only so it is known whether the two agree there.

    Args:
        predict (Callable): From rows, mappings from columns to values, to class probabilities (N, K): ``lambda rows:
            pipeline.predict_proba(pandas.DataFrame(rows))``.
        natural (TabularModel): Whose table and rows are taken; its own network is not.
        rows (int, optional): How many rows the classifier is asked about. Default: 4000
        seed (int, optional): Of these rows, and of the network. Default: 0
        name (str, optional): What the classifier is called. Default: "a pipeline"

    Returns:
        TabularModel: The surrogate, with ``pipeline`` and, in its ``settings``, "surrogate_of"; "agreement", the share of rows held out
        from its training on which both give the same class; and "agreement_natural", the same of natural rows.

    Raises:
        TypeError, ValueError: If ``predict`` cannot be called, or does not return probabilities of each class.

    Examples::

        >>> from captum_proto.models import surrogate_of, train_tabular_model
        >>> natural = train_tabular_model("sizes", {"size": [*range(40)], "weight": [3, 1] * 20}, [0] * 20 + [1] * 20, ["small", "large"])
        >>> step = lambda rows: [[row["size"] < 20, row["size"] >= 20] for row in rows]
        >>> surrogate_of(step, natural, rows=400, name="a step").settings["agreement"] > 0.9
        True
    """
    if not callable(predict):
        raise InputTypeError(
            f"predict is a {type_name(predict)}; expected a function from rows to class probabilities."
        )
    count, classes = check_int(rows, "rows", 8), len(natural.class_names)
    columns = natural.columns

    def asked(encoded: Tensor) -> Tensor:
        found = np.asarray(predict(columns.decode(encoded)), dtype=np.float32)
        if found.shape != (len(encoded), classes) or not np.allclose(found.sum(1), 1, atol=1e-3) or found.min() < 0:
            raise InputError(
                f"predict returned shape {found.shape} for {len(encoded)} rows; expected class probabilities ({len(encoded)}, {classes}) "
                "that sum to 1."
            )
        return torch.from_numpy(found)

    with seeded(seed):
        queries = columns.encode(columns.decode(_queries(natural.training[0], columns, count)))
        answers = asked(queries)
        unseen = torch.rand(len(queries)) < _HELD_OUT
        network = network_of(columns.width, classes, _HIDDEN)
        fit(network, queries[~unseen], answers[~unseen], _EPOCHS)
    with torch.no_grad():
        agree = network(queries[unseen]).argmax(1) == answers[unseen].argmax(1)
        agree_natural = network(natural.natural[0]).argmax(1) == asked(natural.natural[0]).argmax(1)
    settings = {
        "surrogate_of": name,
        "weights": f"trained on what {name} gives {int((~unseen).sum())} rows (seed {seed})",
        "agreement": float(agree.double().mean()),
        "agreement_natural": float(agree_natural.double().mean()),
    }
    return replace(natural, name=f"surrogate of {name}", model=network, pipeline=predict, settings=settings)


def sklearn_pipeline(kind: str, natural: TabularModel, seed: int = 0) -> Predict:
    """
    A scikit-learn pipeline trained on a model's training rows, as a function from rows to class probabilities.

    Args:
        kind (str): "svm", numbers scaled and a support-vector machine with radial basis functions, calibrated; or "forest", 300 trees.
        natural (TabularModel): Whose training rows.
        seed (int, optional): Of the pipeline. Default: 0

    Raises:
        ImportError: If scikit-learn is not installed.
        ValueError: If there is no such pipeline.
    """
    if kind not in PIPELINES:
        raise InputError(f'there is no pipeline "{kind}"; expected {" or ".join(PIPELINES)}.')
    try:
        from sklearn.calibration import CalibratedClassifierCV
        from sklearn.ensemble import RandomForestClassifier
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
        from sklearn.svm import SVC
    except ImportError as error:
        raise MissingPackageError(
            "a pipeline needs scikit-learn, which is not installed; run: pip install scikit-learn"
        ) from error
    svm = make_pipeline(StandardScaler(), CalibratedClassifierCV(SVC(random_state=seed), ensemble=False))
    pipeline = svm if kind == "svm" else RandomForestClassifier(300, random_state=seed)
    pipeline.fit(natural.training[0].numpy(), natural.training[1].numpy())
    columns = natural.columns
    return lambda rows: pipeline.predict_proba(columns.encode(rows).numpy())


def _queries(rows: Tensor, columns: TableColumns, count: int) -> Tensor:
    """Rows to ask a classifier about: natural ones, ones with the columns of two, and ones whose numbers are a little off."""
    chosen = rows[torch.randint(len(rows), (2, count))]
    from_second = torch.zeros(count, columns.width, dtype=torch.bool)
    for place in columns.slices.values():
        from_second[:, place] = torch.rand(count, 1) < 0.5
    crossed = torch.where(from_second, chosen[1], chosen[0])
    near = chosen[0] + 0.5 * torch.randn(count, columns.width)
    third = count // 3
    natural = rows[torch.randperm(len(rows))[:third]]  # each once, so that of a small table there are fewer
    made = torch.cat([natural, near[:third], crossed[third + len(natural) :]])
    return made[torch.randperm(len(made))]


__all__ = ["PIPELINES", "Predict", "sklearn_pipeline", "surrogate_of"]
