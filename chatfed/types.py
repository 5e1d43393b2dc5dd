"""Value types that rooms share. Knows no room, no model and no file format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NewType, TypeVar

import numpy as np
from numpy.typing import NDArray

ClientId = NewType("ClientId", str)

FloatVector = NDArray[np.float32]  # float32[d]
IntVector = NDArray[np.int64]  # int64[n]

Entropy = Callable[[int], bytes]
"""`entropy(n)` returns n fresh bytes from a cryptographic generator; `os.urandom` is one."""


E = TypeVar("E", bound="ChatfedError")


class ChatfedError(Exception):
    """What no class of its own is about: a person can mend it, and the message says how.

    The message is one line that names the thing and the mend; programs print it without a traceback and leave with a
    code other than 0. What a program goes by are `code`, one a class and the same in every version, and `param`.

    param: what was given wrong, as the program knows it: a recipe's key, an argument, a field of a message, a file.
    """

    code: ClassVar[str] = "error"
    mend: ClassVar[str] = "as the message says"
    """What to do where the message is not at hand: docs/errors.md is made of codes, first lines and these."""

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param

    def to_json(self) -> dict[str, str | None]:
        """Code, message and param, as an answer over HTTP carries them.

        >>> ChatfedError("k is 0; give 1 or more.", param="k").to_json()
        {'code': 'error', 'message': 'k is 0; give 1 or more.', 'param': 'k'}
        """
        return {"code": self.code, "message": str(self), "param": self.param}

    def __reduce__(self) -> tuple[Any, ...]:
        """Between processes an error keeps all its fields, though a subclass is made of other things than its line."""
        return _as_it_was, (type(self), self.args), self.__dict__


class InvalidValue(ChatfedError):
    """Something given to a function is not what it takes."""

    code = "invalid_value"
    mend = "give what the message says for `param`"


def _as_it_was(kind: type[E], args: tuple[object, ...]) -> E:
    return kind.__new__(kind, *args)


@dataclass(frozen=True)
class Turn:
    """One message of a dialogue."""

    role: str  # "system", "user" or "assistant"
    content: str
    learn: bool = True  # False: context only, no target of training and not measured


@dataclass(frozen=True)
class Span:
    """Half-open range of character offsets in a text: `text[start:end]`."""

    start: int
    end: int


@dataclass(frozen=True)
class WordScore:
    """How a model predicts one word of a text from all that stands before it."""

    word: str
    span: Span
    log_prob: float  # bits (base 2), summed over the word's tokens; <= 0
    rank: int  # place of the word's first token among all tokens, 1 = most likely
    tokens: int  # how many tokens the word takes
