"""The next-word network, in two halves: tables for who asks, and two matrices with a square between for who answers.

The asker looks up what its last tokens stand for, in clear and at home: numbers in [-1, 1]. The server knows matrices
and never sees those numbers. All is padded to the sizes that the slots of a ciphertext are made for (layout.py). Knows
no cipher and no text.
"""

from __future__ import annotations

import hashlib
import io
import struct
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatfed.types import ChatfedError, FloatVector

INPUTS = HIDDEN = 512
OUTPUTS = 2048
ONE, CHECK = INPUTS - 2, INPUTS - 1  # inputs, and hidden units, that no table and no token has
FREE = INPUTS - 2  # inputs and hidden units of the network itself
CHECK_ROW = OUTPUTS - 1
MOST_TOKENS = OUTPUTS - 1  # that it can tell apart
MOST_ARRAYS = 32  # of a file
DECAY = 0.95  # of what all earlier tokens stand for together, a token

Matrix = NDArray[np.float32]
_WRONG = (  # as zipfile and numpy say that bytes are none
    *(OSError, ValueError, TypeError, LookupError, EOFError, RuntimeError, OverflowError, MemoryError, SyntaxError),
    *(zipfile.BadZipFile, struct.error),
)


class BadHalf(ChatfedError):
    """A file that is no half of a next-word network."""

    code = "bad_half"
    mend = "make both halves anew: chatfed he distil RUN"


@dataclass(frozen=True, eq=False)
class AskerHalf:
    """What the asker looks up. Row i of a table is of tokens[i], the last one of any other and of none."""

    tokens: NDArray[np.int32]  # int32[n], n <= MOST_TOKENS: the ids that the network knows, in order of its outputs
    near: tuple[Matrix, ...] = field(repr=False)  # float32[n + 1, d] each: of the last token, the one before it ...
    far: Matrix = field(repr=False)  # float32[n + 1, d]: of all before, later ones more; all widths sum to FREE

    def __post_init__(self) -> None:
        tables, rows = (*self.near, self.far), self.tokens.size + 1
        known = self.tokens.ndim == 1 and 1 < rows <= MOST_TOKENS + 1
        if not known or not bool((np.diff(self.tokens, prepend=-1) > 0).all()):
            raise BadHalf("The tokens of the asker's half are no list of ids in their order.")
        fits = bool(self.near) and all(each.ndim == 2 and len(each) == rows for each in tables)
        if not fits or sum(each.shape[1] for each in tables) != FREE:
            raise BadHalf(f"The tables of the asker's half are of other sizes than {FREE} numbers a context.")
        if not all(np.isfinite(each).all() and np.abs(each).max(initial=0) <= 1 for each in tables):
            raise BadHalf("A number of the asker's tables is outside of [-1, 1].")

    @cached_property
    def rows(self) -> dict[int, int]:
        """The row of each token that the network knows."""
        return {int(token): row for row, token in enumerate(self.tokens)}

    @cached_property
    def digest(self) -> bytes:
        """16 bytes that name the network: both halves carry them."""
        state = hashlib.sha256(b"chatfed next word")
        for each in (self.tokens, *self.near, self.far):
            state.update(np.array(each.shape, "<u4").tobytes() + each.astype(each.dtype.newbyteorder("<")).tobytes())
        return state.digest()[:16]

    def features(self, ids: Sequence[int]) -> FloatVector:
        """What the tokens before the next one stand for, the latest last: float32[FREE], in [-1, 1]."""
        none = len(self.tokens)
        back = [self.rows.get(int(token), none) for token in reversed(ids)]
        last = back + [none] * (len(self.near) - len(back))
        parts = [table[row] for table, row in zip(self.near, last, strict=False)]
        return np.concatenate([*parts, self._before(back[len(self.near) :])]).astype(np.float32)

    def _before(self, rows: list[int]) -> FloatVector:
        weights = (1 - DECAY) * DECAY ** np.arange(len(rows), dtype=np.float32)
        found: NDArray[np.float32] = (weights @ self.far[np.array(rows, np.int64)]).astype(np.float32)
        return found

    def to_bytes(self) -> bytes:
        """The half as a file holds it."""
        return _packed(tokens=self.tokens, far=self.far, **{f"near{at}": each for at, each in enumerate(self.near)})

    @classmethod
    def from_bytes(cls, content: bytes) -> AskerHalf:
        """Raises BadHalf for what `to_bytes` does not write."""
        held = _unpacked(content, "asker's")
        near = tuple(held[f"near{at}"] for at in range(len(held) - 2) if f"near{at}" in held)
        wrong = {"tokens", "far"} - set(held) or len(near) != len(held) - 2
        if wrong or held["tokens"].dtype != np.int32 or any(each.dtype != np.float32 for each in (*near, held["far"])):
            raise BadHalf("The file holds no asker's half of a next-word network.")
        return cls(held["tokens"], near, held["far"])


@dataclass(frozen=True, eq=False)
class ServerHalf:
    """What the server multiplies with; the last two inputs and hidden units, and the last output, are not its own."""

    network: bytes  # the asker's half's digest
    first: Matrix = field(repr=False)  # float32[HIDDEN, INPUTS]
    second: Matrix = field(repr=False)  # float32[OUTPUTS, HIDDEN]

    def __post_init__(self) -> None:
        shapes = self.first.shape == (HIDDEN, INPUTS) and self.second.shape == (OUTPUTS, HIDDEN)
        if (
            not shapes
            or len(self.network) != 16
            or not (np.isfinite(self.first).all() and np.isfinite(self.second).all())
        ):
            raise BadHalf("The matrices of the server's half have other sizes, or numbers that are not finite.")

    @classmethod
    def of(cls, network: bytes, first: Matrix, bias: FloatVector, second: Matrix, offset: FloatVector) -> ServerHalf:
        """From the layers themselves: second @ (first @ x + bias) ** 2 + offset, of HIDDEN - 2 units at most."""
        whole, outer = np.zeros((HIDDEN, INPUTS), np.float32), np.zeros((OUTPUTS, HIDDEN), np.float32)
        whole[: len(first), :FREE], whole[: len(bias), ONE] = first, bias
        whole[ONE, ONE] = whole[CHECK, CHECK] = outer[CHECK_ROW, CHECK] = 1
        outer[: len(second), : second.shape[1]], outer[: len(offset), ONE] = second, offset
        return cls(network, whole, outer)

    def scores(self, features: Matrix) -> Matrix:
        """In clear, for the same features float32[n, FREE]: float32[n, OUTPUTS]. The twin of what ciphertexts give."""
        given = np.concatenate([features, np.ones((len(features), 1), np.float32), np.zeros((len(features), 1))], 1)
        found: Matrix = ((given @ self.first.T) ** 2 @ self.second.T).astype(np.float32)
        return found

    def to_bytes(self) -> bytes:
        """The half as a file holds it."""
        return _packed(network=np.frombuffer(self.network, np.uint8), first=self.first, second=self.second)

    @classmethod
    def from_bytes(cls, content: bytes) -> ServerHalf:
        """Raises BadHalf for what `to_bytes` does not write."""
        held = _unpacked(content, "server's")
        wrong = set(held) != {"network", "first", "second"}
        if wrong or any(held[name].dtype != np.float32 for name in ("first", "second")):
            raise BadHalf("The file holds no server's half of a next-word network.")
        return cls(held["network"].tobytes(), held["first"], held["second"])


def _packed(**arrays: Any) -> bytes:
    held = io.BytesIO()
    np.savez(held, **arrays)
    return held.getvalue()


def _unpacked(content: bytes, whose: str) -> dict[str, NDArray[Any]]:
    """The arrays of `_packed`, by name: nothing is decompressed, and no more memory taken than the file has bytes."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as held:
            parts = held.infolist()
            if len(parts) > MOST_ARRAYS or any(each.compress_type != zipfile.ZIP_STORED for each in parts):
                raise ValueError("it is packed otherwise")
            return {each.filename.removesuffix(".npy"): _array(held.read(each)) for each in parts}
    except _WRONG as error:
        raise BadHalf(f"The file cannot be read as the {whose} half of a next-word network ({error}).") from None


def _array(content: bytes) -> NDArray[Any]:
    """An array as numpy stores it, of one of the types that halves hold. Raises ValueError."""
    stream = io.BytesIO(content)
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError("an array of it is of another version")
    shape, by_columns, dtype = np.lib.format.read_array_header_1_0(stream)
    if by_columns or dtype not in (np.float32, np.int32, np.uint8):
        raise ValueError("an array of it is of another type")
    return np.frombuffer(content, dtype, offset=stream.tell()).reshape(shape)
