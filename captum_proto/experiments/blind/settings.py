"""What can be chosen when a form of a blind test is made."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from captum_proto._utils.checks import check_int
from captum_proto._utils.errors import InputError, InputTypeError

#: The sides that a picture may have on the form, in pixels.
_LEAST, _MOST = 16, 1024


@dataclass(frozen=True)
class BlindSettings:
    """
    How the form of a blind test shows pictures.

    Args:
        size (int): The side of every picture in pixels, 16 to 1024: all are cut square and made one size. Default: 224
        limit (int, optional): Pictures of each class and method, drawn at random. Default: None, all
        free_text (bool): Whether to offer no names: people write what they like, and there is no level of chance. Default: False
        question (str): That the form asks of each picture. Default: "What does this picture show?"
        seed (int): Of the order and of what is drawn. Default: 0

    Raises:
        InputError: If a field is out of its range.
    """

    size: int = 224
    limit: int | None = None
    free_text: bool = False
    question: str = field(default="What does this picture show?", metadata={"metavar": "TEXT"})
    seed: int = 0

    def __post_init__(self) -> None:
        check_int(self.size, "size", _LEAST)
        if self.size > _MOST:
            raise InputError(f"size is {self.size}; expected {_LEAST} to {_MOST} pixels.")
        if self.limit is not None:
            check_int(self.limit, "limit", 1)
        check_int(self.seed, "seed", 0)
        if not isinstance(self.question, str):
            raise InputTypeError(f"question is a {type(self.question).__name__}; expected a text.")
        if not self.question.strip():
            raise InputError('question is empty; expected a text such as "What does this picture show?".')

    def settings(self) -> dict[str, Any]:
        """The choices, as JSON can hold them."""
        return asdict(self)


__all__ = ["BlindSettings"]
