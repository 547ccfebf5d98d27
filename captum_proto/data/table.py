"""Tables: what their columns hold, and rows as the numbers that a network takes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from numbers import Real
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from captum_proto._utils.checks import check_inputs, nearest, type_name
from captum_proto._utils.errors import InputError, InputTypeError
from captum_proto.ops.double import double

#: What a missing value is called where a row is shown.
MISSING = "missing"
#: A value of a column: a number, a category, or None where it is missing.
Value: TypeAlias = float | int | str | None
#: How far an encoded value may be from where it belongs: a rounding of float32.
_SLACK = 1e-4


@dataclass(frozen=True)
class Continuous:
    """
    A column of numbers. A network sees them scaled, ``(value - center) / scale``, and where they may be missing a second number beside:
    1 where the value is missing, else 0.

    Args:
        name (str): Of the column.
        low (float): The least value that a row may have, in the column's own units.
        high (float): The greatest.
        center (float, optional): What becomes 0, such as the mean. Default: 0
        scale (float, optional): What becomes 1, such as the standard deviation; positive. Default: 1
        whole (bool, optional): Whether values are whole numbers. Default: False
        missing (float, optional): What stands for a missing value, as an imputer has it; None: no value is missing. Default: None

    Raises:
        ValueError: If there is no value between the bounds, or no whole one, or ``scale`` is not positive.

    Examples::

        >>> Continuous("age", 17, 90, center=38.6, scale=13.6, whole=True).width
        1
    """

    name: str
    low: float
    high: float
    center: float = 0.0
    scale: float = 1.0
    whole: bool = False
    missing: float | None = None

    def __post_init__(self) -> None:
        numbers = (self.low, self.high, self.center, self.scale, 0.0 if self.missing is None else self.missing)
        if not all(_is_number(number) and math.isfinite(number) for number in numbers):
            raise InputError(
                f'column "{self.name}" has {numbers} for bounds, center and scale; expected finite numbers.'
            )
        if self.low == self.high:
            raise InputError(
                f'column "{self.name}" has one value, {self.low:g}; leave it out, for it tells no class from another, or hold it '
                "with fixed."
            )
        if self.low > self.high:
            raise InputError(
                f'column "{self.name}" has bounds {self.low:g} and {self.high:g}; expected the least first.'
            )
        if not self.scale > 0:
            raise InputError(f'column "{self.name}" has scale {self.scale:g}; expected a positive number.')
        if self.whole and math.floor(self.high) < math.ceil(self.low):
            raise InputError(f'column "{self.name}" has no whole number between {self.low:g} and {self.high:g}.')

    @property
    def width(self) -> int:
        """How many numbers of an encoded row are its own."""
        return 1 if self.missing is None else 2

    @property
    def features(self) -> list[str]:
        """What these numbers are called."""
        return [self.name] if self.missing is None else [self.name, f"{self.name} is {MISSING}"]

    def scaled(self, value: float) -> float:
        """A value as the network sees it."""
        return (value - self.center) / self.scale

    def encoded(self, value: Any) -> list[float]:
        """A value as the numbers of an encoded row."""
        if _is_missing(value):
            if self.missing is None:
                raise InputError(f'column "{self.name}" has a missing value; say with missing=… what stands for one.')
            return [self.scaled(self.missing), 1.0]
        if not _is_number(value):
            raise InputTypeError(f'column "{self.name}" has {value!r}; expected a number.')
        number = float(value)
        if not self.low <= number <= self.high:
            raise InputError(f'column "{self.name}" has {number:g}; expected {self.low:g} to {self.high:g}.')
        return [self.scaled(number), *[0.0] * (self.width - 1)]

    def decoded(self, numbers: Sequence[float]) -> Value:
        """The value that the numbers of an encoded row stand for."""
        if len(numbers) == 2 and numbers[1] >= 0.5:
            return None
        value = min(max(numbers[0] * self.scale + self.center, self.low), self.high)
        return round(value) if self.whole else value


@dataclass(frozen=True)
class Categorical:
    """
    A column of categories. A network sees a number for each, 1 for the one that a row has and 0 for all others.

    Args:
        name (str): Of the column.
        categories (sequence of str): At least two.
        missing (bool, optional): Whether a value may be missing, which is then one more category, the last. Default: False

    Raises:
        ValueError: If there are fewer than two categories, or one of them twice.

    Examples::

        >>> Categorical("sex", ["female", "male"], missing=True).features
        ['sex = female', 'sex = male', 'sex is missing']
    """

    name: str
    categories: Sequence[str]
    missing: bool = False

    def __post_init__(self) -> None:
        given = [self.categories] if isinstance(self.categories, str) else list(self.categories)
        object.__setattr__(self, "categories", tuple(str(each) for each in given))
        if len(set(self.categories)) < len(self.categories):
            raise InputError(f'column "{self.name}" has a category twice; give each once.')
        if self.width < 2:
            only = f"one value, {self.categories[0]}" if self.categories else "no categories"
            raise InputError(
                f'column "{self.name}" has {only}; leave it out, for it tells no class from another, or give at least two.'
            )

    @property
    def width(self) -> int:
        """How many numbers of an encoded row are its own."""
        return len(self.categories) + self.missing

    @property
    def features(self) -> list[str]:
        """What these numbers are called."""
        return [f"{self.name} = {each}" for each in self.categories] + [f"{self.name} is {MISSING}"] * self.missing

    def encoded(self, value: Any) -> list[float]:
        """A value as the numbers of an encoded row."""
        if _is_missing(value):
            if not self.missing:
                raise InputError(f'column "{self.name}" has a missing value; say with missing=True that it may.')
            return [*[0.0] * len(self.categories), 1.0]
        if str(value) not in self.categories:
            hint = nearest(str(value), self.categories) or f"; expected one of {', '.join(self.categories[:8])}."
            raise InputError(f'column "{self.name}" has no category "{value}"{hint}')
        return [float(each == str(value)) for each in self.categories] + [0.0] * self.missing

    def decoded(self, numbers: Sequence[float]) -> Value:
        """The value that the numbers of an encoded row stand for: the category with the largest."""
        index = max(range(len(numbers)), key=lambda each: numbers[each])
        return self.categories[index] if index < len(self.categories) else None


Column: TypeAlias = Continuous | Categorical


class TableColumns(Sequence[Column]):
    """
    The columns of a table: rows as the numbers that a network takes, and back.

    Args:
        columns (sequence of Continuous or Categorical): In their order.

    Raises:
        TypeError: If one is something else.
        ValueError: If there are none, or two have the same name.

    Examples::

        >>> from captum_proto.data import Categorical, Continuous, TableColumns
        >>> columns = TableColumns([Continuous("age", 17, 90, center=40, scale=10), Categorical("sex", ["female", "male"])])
        >>> columns.encode([{"age": 50, "sex": "male"}])
        tensor([[1., 0., 1.]])
        >>> columns.decode(columns.encode([{"age": 50, "sex": "male"}]))
        [{'age': 50.0, 'sex': 'male'}]
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = tuple(columns)
        for column in self._columns:
            if not isinstance(column, (Continuous, Categorical)):
                raise InputTypeError(f"columns has a {type_name(column)}; expected Continuous or Categorical columns.")
        names = [column.name for column in self._columns]
        if not names:
            raise InputError("columns is empty; give at least one column.")
        for name in names:
            if names.count(name) > 1:
                raise InputError(f'two columns are called "{name}"; give each a name of its own.')
        self.names = names
        #: Of an encoded row, where the numbers of each column are.
        self.slices: dict[str, slice] = {}
        begin = 0
        for column in self._columns:
            self.slices[column.name] = slice(begin, begin + column.width)
            begin += column.width
        self.width = begin

    def __getitem__(self, index: Any) -> Any:
        return self._columns[index]

    def __len__(self) -> int:
        return len(self._columns)

    def __iter__(self) -> Iterator[Column]:
        return iter(self._columns)

    def __repr__(self) -> str:
        return f"TableColumns of {len(self)}: {', '.join(self.names)}"

    @property
    def features(self) -> list[str]:
        """What the numbers of an encoded row are called."""
        return [feature for column in self for feature in column.features]

    def column(self, name: str) -> Column:
        """
        A column by its name.

        Raises:
            ValueError: If there is none.
        """
        if name not in self.slices:
            hint = nearest(str(name), self.names) or f"; expected one of {', '.join(self.names)}."
            raise InputError(f'there is no column "{name}"{hint}')
        return self._columns[self.names.index(name)]

    def encode(self, rows: Any) -> Tensor:
        """
        Rows as the numbers that a network takes.

        Args:
            rows (sequence of mapping, or mapping of columns): A mapping from names to values for each row; or a mapping from names to
                columns of equal length, such as a data frame. None and NaN are missing values.

        Returns:
            Tensor: (N, F), float32.

        Raises:
            TypeError, ValueError: If a column is not there, or a value is not of its column.
        """
        if hasattr(rows, "keys"):
            for name in self.names:
                if name not in rows:
                    raise InputError(f'the table has no column "{name}"; it has {", ".join(map(str, rows.keys()))}.')
            rows = [
                dict(zip(self.names, values, strict=True))
                for values in zip(*(rows[n] for n in self.names), strict=True)
            ]
        encoded = []
        for number, row in enumerate(rows):
            if not isinstance(row, Mapping):
                raise InputTypeError(f"row {number} is a {type_name(row)}; expected a mapping from columns to values.")
            for name in self.names:
                if name not in row:
                    raise InputError(f'row {number} has no "{name}"; give None where a value is missing.')
            encoded.append([each for column in self for each in column.encoded(row[column.name])])
        if not encoded:
            raise InputError("there are no rows; give at least one.")
        return torch.tensor(encoded, dtype=torch.float32)

    def decode(self, encoded: Tensor) -> list[dict[str, Value]]:
        """
        The rows that numbers stand for.

        Args:
            encoded (Tensor): (N, F).

        Returns:
            list[dict]: Of each row its values by column; None where one is missing.
        """
        self._check_width(encoded, "rows")
        return [
            {column.name: column.decoded(row[self.slices[column.name]]) for column in self}
            for row in encoded.detach().cpu().double().tolist()
        ]

    def check(self, encoded: Any, name: str = "rows") -> Tensor:
        """
        Encoded rows that are as they should be: within bounds, and with weights of categories that are at least 0 and sum to 1.

        Raises:
            TypeError, ValueError: If they are not.
        """
        encoded = check_inputs(encoded, name)
        self._check_width(encoded, name)
        for column in self:
            values = double(encoded[:, self.slices[column.name]].detach())
            if isinstance(column, Continuous):
                own = values[:, 0] * column.scale + column.center
                slack = _SLACK * max(column.scale, column.high - column.low)
                bad = (own < column.low - slack) | (own > column.high + slack)
                if bool(bad.any()):
                    row = int(bad.nonzero()[0])
                    raise InputError(
                        f'row {row} of {name} has {float(own[row]):g} in column "{column.name}"; expected {column.low:g} to '
                        f"{column.high:g}: give rows as TableColumns.encode makes them."
                    )
                weights = values[:, 1:]
                wrong = ((weights < -_SLACK) | (weights > 1 + _SLACK)).any(1)
            else:
                wrong = (values < -_SLACK).any(1) | ((values.sum(1) - 1).abs() > 1e-3)
            if bool(wrong.any()):
                row = int(wrong.nonzero()[0])
                raise InputError(
                    f'row {row} of {name} has no weights of categories in column "{column.name}"; expected numbers between 0 and 1 '
                    "that sum to 1, as TableColumns.encode makes them."
                )
        return encoded

    def _check_width(self, encoded: Tensor, name: str) -> None:
        if encoded.dim() != 2 or encoded.shape[1] != self.width:
            raise InputError(
                f"{name} has shape {tuple(encoded.shape)}; expected (N, {self.width}), rows as TableColumns.encode makes them."
            )

    def settings(self) -> list[dict[str, Any]]:
        """The columns as JSON can hold them."""
        return [{"kind": type(column).__name__, **asdict(column)} for column in self]

    @classmethod
    def from_settings(cls, settings: Sequence[Mapping[str, Any]]) -> TableColumns:
        """
        What :meth:`settings` gave.

        Raises:
            ValueError: If it is something else.
        """
        kinds = {"Continuous": Continuous, "Categorical": Categorical}
        try:
            return cls([kinds[each["kind"]](**{k: v for k, v in each.items() if k != "kind"}) for each in settings])
        except (KeyError, TypeError) as error:
            raise InputError(f"these are no columns of a table ({error}); give what settings() returned.") from error

    @classmethod
    def infer(cls, table: Any) -> TableColumns:
        """
        The columns of a table as its values tell: numbers have the bounds, the mean and the standard deviation of what is there, and are
        whole where all of them are; anything else is a category. A value that is missing is imputed by the mean.

        Args:
            table (mapping of columns): Names to columns of equal length, such as a data frame.

        Raises:
            ValueError: If a column has a single value.

        Examples::

            >>> TableColumns.infer({"age": [20, 40, None], "sex": ["male", "female", "female"]})[0].missing
            30.0
        """
        if not hasattr(table, "keys"):
            raise InputTypeError(f"table is a {type_name(table)}; expected a mapping from names to columns.")
        return cls([_inferred(str(name), list(table[name])) for name in table])


def _inferred(name: str, values: list[Any]) -> Column:
    there = [value for value in values if not _is_missing(value)]
    lacks = len(there) < len(values)
    if not there:
        raise InputError(f'column "{name}" has no value; leave it out.')
    if all(_is_number(value) for value in there):
        numbers = np.array(there, dtype=np.float64)
        low, high = float(numbers.min()), float(numbers.max())
        whole = bool((numbers == np.round(numbers)).all())
        center, scale = float(numbers.mean()), float(numbers.std()) or 1.0
        return Continuous(name, low, high, center, scale, whole, center if lacks else None)
    return Categorical(name, sorted({str(value) for value in there}), lacks)


def _is_number(value: Any) -> bool:
    return isinstance(value, (Real, np.number)) and not isinstance(value, (bool, np.bool_))


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, (float, np.floating)) and math.isnan(value))


__all__ = ["MISSING", "Categorical", "Column", "Continuous", "TableColumns", "Value"]
