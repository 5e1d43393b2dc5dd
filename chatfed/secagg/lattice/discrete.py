"""Numbers out of key streams: uniform ones below a prime, and a discrete Gaussian. Knows no cipher.

Nobody's time tells a Gaussian: each number is compared with every entry of the table, whatever it is.
"""

from __future__ import annotations

import math
from decimal import Decimal, localcontext
from functools import cache

import numpy as np
from numpy.typing import NDArray

from chatfed.secagg import primitives
from chatfed.secagg.lattice.ntt import Residues

SIGMA = Decimal("6.4")  # standard deviation: 2 x 3.2 (docs/encrypted.md says why)
UNIFORM_BITS = 27  # both primes are just below 2^27, so that one candidate of 3,000 is thrown away
BLOCK = 1 << 15  # numbers, so that a block and its flags stay in the second-level cache


class Stream:
    """The key stream of a 32-byte key, piece by piece."""

    def __init__(self, key: bytes) -> None:
        self._next = primitives.key_stream(key)
        self._zeros, self._out = bytes(8 * BLOCK), bytearray(8 * BLOCK + 15)

    def take(self, size: int) -> memoryview:
        """The next `size` bytes, 8 BLOCK at most; good until the next call."""
        self._next(memoryview(self._zeros)[:size], self._out)
        return memoryview(self._out)[:size]


class Uniform:
    """Uniform residues modulo a prime, from a *public* key: the stream's u32s, 27 bits of each, those below the prime.

    What is kept is exactly uniform, and 2^26 is taken off it, so that it lies within +-2^26.
    """

    def __init__(self, key: bytes, prime: int) -> None:
        self._stream, self._prime = Stream(key), prime
        self._left = np.empty(0, np.uint32)

    def take(self, count: int) -> Residues:
        """The next `count` of them, float64[count]."""
        while self._left.size < count:
            words = np.frombuffer(self._stream.take(4 * BLOCK), "<u4") & np.uint32((1 << UNIFORM_BITS) - 1)
            self._left = np.concatenate([self._left, words[words < self._prime]])
        taken, self._left = self._left[:count], self._left[count:]
        return taken.astype(np.float64) - float(1 << UNIFORM_BITS - 1)


class Gaussian:
    """A discrete Gaussian of deviation SIGMA around 0, from a secret key: 8 bytes of its stream for each.

    Of a u64 the lowest bit is the sign, and the magnitude is how many of `thresholds()` are above the other 63. The
    distribution differs from the ideal one by less than 2^-56 (statistical distance).
    """

    def __init__(self, key: bytes) -> None:
        self._stream = Stream(key)
        self._below, self._magnitudes = np.empty(BLOCK, bool), np.empty(BLOCK, np.int8)

    def take(self, count: int) -> NDArray[np.int8]:
        """The next `count` of them; good until the next call. count: BLOCK at most."""
        words = np.frombuffer(self._stream.take(8 * count), "<u8")
        signs, uniform = (words & np.uint64(1)).astype(np.int8), (words >> np.uint64(1)).view(np.int64)
        below, magnitudes = self._below[:count], self._magnitudes[:count]
        magnitudes.fill(0)
        for threshold in thresholds():
            np.less(uniform, threshold, out=below)
            np.add(magnitudes, below.view(np.int8), out=magnitudes)
        np.negative(signs, out=signs)  # 0, or all ones: the magnitude in two's complement then
        np.subtract(magnitudes ^ signs, signs, out=magnitudes)
        return magnitudes


@cache
def thresholds() -> tuple[int, ...]:
    """Of k = 1, 2, ...: 2^63 times the probability that the magnitude is k or more, while there is any."""
    with localcontext() as precise:
        precise.prec = 60
        weights = [(-Decimal(k * k) / (2 * SIGMA * SIGMA)).exp() for k in range(200)]
        total = weights[0] + 2 * sum(weights[1:])
        tails = [2 * sum(weights[k:]) / total for k in range(1, 200)]
        whole = [int((tail * 2**63).to_integral_value()) for tail in tails]
    return tuple(each for each in whole if each)


MOST = 59
"""The largest magnitude that ever comes out: the length of the table (a test looks)."""


def likely(added: int) -> int:
    """Magnitude of a sum of so many, at the most, but for probability 2^-100: 12 deviations, or MOST each."""
    return _within(12, added)


def widest(added: int) -> int:
    """The same but for probability 2^-287: 20 deviations, or MOST each. What a modulus must have room for."""
    return _within(20, added)


def _within(deviations: int, added: int) -> int:
    """A sum exceeds k deviations with probability below 2 exp(-k^2 / 2): the distribution is subgaussian.

    Micciancio and Peikert 2012, lemma 2.8; of the table itself a test shows it (Chernoff's bound).
    """
    return min(math.ceil(deviations * float(SIGMA) * math.sqrt(added)), MOST * added)
