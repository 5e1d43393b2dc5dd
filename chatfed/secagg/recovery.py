"""Tables by which the masks of one that dropped out can be removed. Knows no messages.

Of each slot a participant draws a recovery key, which it shares among its neighbours as it does its self-mask seed.
Under that key it closes the secrets that it has with each neighbour, and gives them to the server: if it drops out, the
server recovers the key of that slot, opens the row of that slot, and nothing of any other. Beside each closed secret
stands a short check of it: both of a pair give one, and so the server finds a row that is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from chatfed.secagg import primitives
from chatfed.secagg.masking import name
from chatfed.secagg.messages import CHECK_BYTES, ROW_BYTES
from chatfed.secagg.primitives import KEY_BYTES, split

Bytes = NDArray[np.uint8]


def close_table(pairs: Bytes, keys: Sequence[bytes], view: bytes, owner: int) -> Bytes:
    """uint8[neighbours, slots, 32], a recovery key for each slot -> uint8[neighbours, slots, ROW_BYTES]."""
    count, slots, _ = pairs.shape
    table = np.empty((count, slots, ROW_BYTES), np.uint8)
    for slot, key in enumerate(keys):
        table[:, slot, :KEY_BYTES] = pairs[:, slot] ^ _stream(key, view, owner, count)
    checks = b"".join(map(check, split(pairs.tobytes(), KEY_BYTES)))
    table[:, :, KEY_BYTES:] = np.frombuffer(checks, np.uint8).reshape(count, slots, CHECK_BYTES)
    return table


def open_rows(rows: Sequence[bytes], key: bytes, view: bytes, owner: int) -> Sequence[bytes] | None:
    """The secrets that `owner` has with its neighbours, in their order, in one slot; None under another key.

    rows: bytes[ROW_BYTES] of each neighbour, in order of id.
    """
    table = np.frombuffer(b"".join(rows), np.uint8).reshape(-1, ROW_BYTES)
    opened = table[:, :KEY_BYTES] ^ _stream(key, view, owner, len(rows))
    pairs = split(opened.tobytes(), KEY_BYTES)
    sound = all(check(pair) == row[KEY_BYTES:] for pair, row in zip(pairs, rows, strict=True))
    return pairs if sound else None


def check(pair: bytes) -> bytes:
    """What both of a pair say of their secret, without telling it -> bytes[CHECK_BYTES]."""
    return primitives.digest(b"pair check", pair)[:CHECK_BYTES]


def _stream(key: bytes, view: bytes, owner: int, count: int) -> Bytes:
    stream = primitives.expand(primitives.derive(key, b"recovery", view, name(owner)), KEY_BYTES * count)
    return np.frombuffer(stream, np.uint8).reshape(count, KEY_BYTES)
