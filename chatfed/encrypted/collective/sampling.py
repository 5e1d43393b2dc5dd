"""Numbers out of SHAKE-256: uniform residues, ternary secrets, errors, masks. Knows no cipher.

A seed is 32 bytes of a cryptographic generator, or a public digest; a label tells apart what is drawn from one seed.
Every number is drawn by the same operations whatever it is; only the rejection of candidates takes other time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from .ring import PRIMES, Residues

COINS = 21  # of either sign in an error: a centred binomial of 42 coins has deviation sqrt(10.5) = 3.24
LIMB_BITS = 30


def stream(seed: bytes, label: str, size: int) -> bytes:
    """`size` bytes of the stream that a seed has under a label."""
    return hashlib.shake_256(seed + len(label).to_bytes(2, "little") + label.encode()).digest(size)


def uniform(seed: bytes, label: str, count: int, degree: int) -> Residues:
    """Uniform residues uint64[count, degree] modulo the first `count` primes, without bias."""
    drawn = [_kept(partial(_below, PRIMES[k]), seed, f"{label}/{k}", 4, degree) for k in range(count)]
    return np.stack(drawn).astype(np.uint64)


def ternary(seed: bytes, label: str, degree: int) -> NDArray[np.int64]:
    """Uniform numbers of -1, 0, 1, int64[degree]."""
    return _kept(_thirds, seed, label, 1, degree).astype(np.int64) - 1


def errors(seed: bytes, label: str, degree: int) -> NDArray[np.int64]:
    """Centred binomial numbers, int64[degree]: deviation 3.24, magnitude COINS at the most."""
    words = np.frombuffer(stream(seed, label, 8 * degree), "<u8")
    ones = np.uint64((1 << COINS) - 1)
    up, down = np.bitwise_count(words & ones), np.bitwise_count(words >> np.uint64(COINS) & ones)
    found: NDArray[np.int64] = up.astype(np.int64) - down.astype(np.int64)
    return found


def limbs(seed: bytes, label: str, count: int, degree: int) -> NDArray[np.uint64]:
    """Uniform integers of `count` limbs of 30 bits, uint64[count, degree], the lowest limb first."""
    words = np.frombuffer(stream(seed, label, 4 * count * degree), "<u4").reshape(count, degree)
    return words.astype(np.uint64) & np.uint64((1 << LIMB_BITS) - 1)


def within(seed: bytes, label: str, bits: int, degree: int) -> NDArray[np.int64]:
    """Uniform integers from -2^bits up to 2^bits - 1, int64[degree]; bits <= 61."""
    words = np.frombuffer(stream(seed, label, 8 * degree), "<u8") & np.uint64((2 << bits) - 1)
    return words.astype(np.int64) - (1 << bits)


def _kept(
    keep: Callable[[bytes], NDArray[np.int64]], seed: bytes, label: str, width: int, count: int
) -> NDArray[np.int64]:
    """The first `count` numbers that `keep` takes; more are asked for in the improbable case that these do not do."""
    asked = width * (count + 64 + count // 64)
    while len(found := keep(stream(seed, label, asked))) < count:
        asked *= 2
    return found[:count]


def _below(prime: int, content: bytes) -> NDArray[np.int64]:
    words = np.frombuffer(content, "<u4") & np.uint32((1 << 31) - 1)
    return words[words < prime].astype(np.int64)


def _thirds(content: bytes) -> NDArray[np.int64]:
    drawn = np.frombuffer(content, np.uint8)
    return drawn[drawn < 255].astype(np.int64) % 3
