"""Value types that rooms share. Knows no room, no model and no file format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NewType

import numpy as np
from numpy.typing import NDArray

ClientId = NewType("ClientId", str)

FloatVector = NDArray[np.float32]  # float32[d]
IntVector = NDArray[np.int64]  # int64[n]

Entropy = Callable[[int], bytes]
"""`entropy(n)` returns n fresh bytes from a cryptographic generator; `os.urandom` is one."""


class ChatfedError(Exception):
    """An error a person can mend: one line that names the thing and the mend.

    Programs print it without a traceback and leave with a code other than 0.
    """


@dataclass(frozen=True)
class Turn:
    """One message of a dialogue. `role` is "system", "user" or "assistant"; without `learn` it is context only."""

    role: str
    content: str
    learn: bool = True


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
