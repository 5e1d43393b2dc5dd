"""Repeatable entropy for tests."""

from __future__ import annotations

import hashlib

from chatfed.types import Entropy


def replay(seed: bytes) -> Entropy:
    """A stream that depends on the seed and on the sizes asked for so far."""
    count = 0

    def draw(size: int) -> bytes:
        nonlocal count
        count += 1
        return hashlib.shake_128(seed + count.to_bytes(8, "big")).digest(size)

    return draw
