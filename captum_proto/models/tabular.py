"""Classifiers of rows of a table, with all that is needed to show them rows and to judge what they find typical."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from captum_proto._utils.checks import check_int, nearest
from captum_proto._utils.errors import InputError, MissingPackageError
from captum_proto._utils.files import image_digest
from captum_proto._utils.model import fingerprint
from captum_proto.data.table import TableColumns, Value

#: Real tables that come with scikit-learn, by name: the function of ``sklearn.datasets`` that gives each.
TABLES = {"wine": "load_wine", "breast-cancer": "load_breast_cancer"}
_EPOCHS, _HIDDEN = 200, 32


@dataclass
class TabularModel:
    """
    A classifier of rows of a table.

    Attributes:
        name (str): What it is called.
        model (nn.Module): In evaluation mode; from encoded rows (N, F) to logits (N, K).
        columns (TableColumns): Of the table.
        class_names (list[str]): K names.
        training (tuple[Tensor, Tensor]): Encoded rows (N, F) and their classes (N,), by which others that judge are trained.
        natural (tuple[Tensor, Tensor]): Rows that the model was not trained on, and their classes.
        rule (Callable, optional): Of a table of known truth, the class that its rule gives a row. Default: None
        pipeline (Callable, optional): What the model is a surrogate of, from rows to class probabilities (N, K); None: it is the model
            itself that is asked about. Default: None
        settings (dict): How it was made, as JSON can hold it.
    """

    name: str
    model: nn.Module
    columns: TableColumns
    class_names: list[str]
    training: tuple[Tensor, Tensor]
    natural: tuple[Tensor, Tensor]
    rule: Callable[[Mapping[str, Value]], int] | None = None
    pipeline: Callable[[Sequence[Mapping[str, Value]]], Any] | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("training", "natural"):
            rows, targets = getattr(self, name)
            rows = self.columns.check(rows, f"the {name} rows of {self.name}")
            if targets.shape != (len(rows),) or targets.is_floating_point():
                raise InputError(
                    f"the {name} rows of {self.name} have classes of shape {tuple(targets.shape)}; expected ({len(rows)},) integers."
                )
            if len(self.class_names) < 2 or int(targets.min()) < 0 or int(targets.max()) >= len(self.class_names):
                raise InputError(f"the {name} rows of {self.name} have a class that class_names does not name.")
        counts = self.natural[1].bincount(minlength=len(self.class_names))
        if int(counts.min()) < 2:
            few = self.class_names[int(counts.argmin())]
            raise InputError(f'there are {int(counts.min())} natural rows of "{few}"; give at least 2 of each class.')

    def accuracy(self) -> float:
        """On the natural rows, in [0, 1]."""
        rows, targets = self.natural
        with torch.no_grad():
            return float((self.model(rows).argmax(1) == targets).double().mean())

    def provenance(self) -> dict[str, Any]:
        """What to record of it with a result."""
        return {
            "name": self.name,
            **{name: str(value) for name, value in self.settings.items()},
            "columns": self.columns.settings(),
            "class_names": self.class_names,
            "fingerprint": fingerprint(self.model),
            "rows": [image_digest(self.training[0]), image_digest(self.natural[0])],
        }


def train_tabular_model(
    name: str,
    table: Any,
    labels: Sequence[int],
    class_names: Sequence[str],
    seed: int = 0,
    *,
    held_out: float = 0.3,
    rule: Callable[[Mapping[str, Value]], int] | None = None,
) -> TabularModel:
    """
    Train a small network, two hidden layers of 32 units, on a part of a table.

    Args:
        name (str): What it is to be called.
        table (mapping of columns): Names to columns of equal length.
        labels (sequence of int): The class of each row, from 0.
        class_names (sequence of str): Of each class.
        seed (int, optional): Of the split, and of the network. Default: 0
        held_out (float, optional): The share of each class that it does not see. Default: 0.3
        rule (Callable, optional): See :class:`TabularModel`. Default: None

    Returns:
        TabularModel: With its accuracy on rows it has not seen in ``settings``.

    Raises:
        ValueError: If a column has one value, or a class too few rows.

    Examples::

        >>> from captum_proto.models import train_tabular_model
        >>> table = {"size": [*range(20)], "color": ["red", "blue"] * 10}
        >>> train_tabular_model("sizes", table, [0] * 10 + [1] * 10, ["small", "large"]).accuracy()
        1.0
    """
    columns = TableColumns.infer(table)
    rows, targets = columns.encode(table), torch.as_tensor(labels, dtype=torch.int64)
    if len(targets) != len(rows):
        raise InputError(f"there are {len(targets)} labels for {len(rows)} rows; give one for each.")
    unseen = _held_out(targets, held_out, check_int(seed, "seed", 0))
    training, natural = (rows[~unseen], targets[~unseen]), (rows[unseen], targets[unseen])
    with seeded(seed):
        network = network_of(columns.width, len(class_names))
        fit(network, training[0], torch.nn.functional.one_hot(training[1], len(class_names)).float())
    made = TabularModel(name, network, columns, list(class_names), training, natural, rule)
    made.settings = {
        "weights": f"trained on {len(training[0])} rows (seed {seed})",
        "held_out_accuracy": made.accuracy(),
    }
    return made


def load_table(name: str) -> tuple[dict[str, list[Any]], list[int], list[str]]:
    """
    A table that comes with scikit-learn.

    Args:
        name (str): "wine" (178 wines, 13 columns, 3 cultivars) or "breast-cancer" (569 tumors, 30 columns, malignant or benign).

    Returns:
        tuple: Its columns by name, the class of each row, and the names of the classes.

    Raises:
        ImportError: If scikit-learn is not installed.
        ValueError: If there is no such table.

    Examples::

        >>> from captum_proto.models.tabular import load_table
        >>> table, labels, names = load_table("wine")
        >>> len(table), len(labels), names
        (13, 178, ['class_0', 'class_1', 'class_2'])
    """
    if name not in TABLES:
        raise InputError(
            f'there is no table "{name}"{nearest(name, TABLES) or "; expected " + " or ".join(TABLES) + "."}'
        )
    try:
        from sklearn import datasets
    except ImportError as error:
        raise MissingPackageError(
            f'"{name}" comes with scikit-learn, which is not installed; run: pip install scikit-learn'
        ) from error
    found = getattr(datasets, TABLES[name])()
    columns = {str(column): found.data[:, i].tolist() for i, column in enumerate(found.feature_names)}
    return columns, found.target.tolist(), [str(each) for each in found.target_names]


def network_of(features: int, classes: int, hidden: int = _HIDDEN) -> nn.Sequential:
    """A network with two hidden layers, of random weights."""
    layers = [nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, classes)]
    return nn.Sequential(*layers)


def fit(network: nn.Module, rows: Tensor, probabilities: Tensor, epochs: int = _EPOCHS) -> None:
    """Train a network to give rows (N, F) these class probabilities (N, K), all rows at each step; it ends in evaluation mode."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01, weight_decay=0.01)
    network.train()
    for _ in range(epochs):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(network(rows), probabilities, label_smoothing=0.05)
        torch.autograd.backward(loss)
        optimizer.step()
    network.zero_grad()
    network.eval()


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """PyTorch's random numbers from a seed, in a single thread; the caller's stay as they are."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng([]), torch.inference_mode(False), torch.enable_grad():
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)


def _held_out(targets: Tensor, share: float, seed: int) -> Tensor:
    """Which rows are held out: the same share of each class, two at least."""
    if not 0 < share < 1:
        raise InputError(f"held_out is {share}; expected a share between 0 and 1.")
    chosen = torch.zeros(len(targets), dtype=torch.bool)
    generator = torch.Generator().manual_seed(seed)
    for target in sorted(set(targets.tolist())):
        own = (targets == target).nonzero().flatten()
        count = max(2, round(share * len(own)))
        chosen[own[torch.randperm(len(own), generator=generator)[:count]]] = True
    return chosen


__all__ = ["TABLES", "TabularModel", "fit", "load_table", "network_of", "seeded", "train_tabular_model"]
