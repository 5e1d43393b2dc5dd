"""Shares of a private vocabulary: numbers modulo 2^61 - 1, and what a party checks of a client's without reading them.

Shares are Shamir's (1979) of degree 1 among three parties, at the points 1, 2 and 3. Knows no socket and no agreement.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from chatfed.types import InvalidValue

Field = NDArray[np.uint64]  # each below MODULUS

BITS = 61
MODULUS = (1 << BITS) - 1  # a Mersenne prime: a product of two is reduced by shifts
PARTIES = 3
NUMBER_BYTES = 8
_SPARE = 16  # numbers drawn beside those needed: one of 2^61 is the modulus, and is left out
_P, _LOW31, _LOW30 = np.uint64(MODULUS), np.uint64((1 << 31) - 1), np.uint64((1 << 30) - 1)
_HALF = np.uint64(31)


def reduced(numbers: Field) -> Field:
    """uint64 of any size -> the same modulo 2^61 - 1."""
    folded = (numbers & _P) + (numbers >> np.uint64(BITS))
    return np.asarray(folded - _P * (folded >= _P), np.uint64)


def multiply(left: Field, right: Field) -> Field:
    """Products modulo 2^61 - 1, with broadcasting. All below the modulus; in halves of 31 bits nothing overflows."""
    left_high, left_low = left >> _HALF, left & _LOW31
    right_high, right_low = right >> _HALF, right & _LOW31
    middle = left_high * right_low + left_low * right_high  # below 2^62, times 2^31
    high = (left_high * right_high) << np.uint64(1)  # 2^62 is 2
    return reduced(high + (middle >> np.uint64(30)) + ((middle & _LOW30) << _HALF) + left_low * right_low)


def total(numbers: Field, axis: int = 0) -> Field:
    """Sums along an axis modulo 2^61 - 1, of fewer than 2^32 numbers each."""
    low = (numbers & _LOW31).sum(axis=axis, dtype=np.uint64)
    high = reduced((numbers >> _HALF).sum(axis=axis, dtype=np.uint64))
    return reduced(multiply(high, np.full_like(high, 1 << 31)) + reduced(low))


def uniform(seed: bytes, count: int) -> Field:
    """`count` uniform numbers that follow from a seed: SHAKE-256 (FIPS 202), by rejection -> uint64[count]."""
    stream = np.frombuffer(hashlib.shake_256(seed).digest(NUMBER_BYTES * (count + _SPARE)), "<u8") & _P
    kept = stream[stream < _P][:count]
    if len(kept) < count:  # never: probability below 2^-900
        raise ValueError("a seed gave too few numbers")
    return kept.astype(np.uint64)


def shares(secret: Field, slopes: Field) -> list[Field]:
    """What each of the three parties is given of a vector: secret + slope x, at x = 1, 2, 3.

    slopes: uint64[n], uniform and secret. One party's shares alone are uniform, whatever the vector.
    """
    given, at = [], secret
    for _ in range(PARTIES):
        at = reduced(at + slopes)
        given.append(at)
    return given


def recombined(points: Sequence[Field]) -> Field:
    """The value at 0 of the polynomial of degree 2 at most through three parties' numbers (Lagrange: 3, -3, 1)."""
    first, second, third = (np.asarray(each, dtype=np.uint64) for each in points)
    weighted = multiply(reduced(first + (_P - second)), np.full_like(first, 3))
    return reduced(weighted + third)


def challenge(seed: bytes, width: int) -> Field:
    """The public random numbers of a check: one for each entry, one for the bound, one for the degree."""
    return uniform(seed, 2 * width + 2)


def evidence(held: Field, party: int, most: int, drawn: Field) -> Field:
    """What one party adds to the check of each client's vector; the three, recombined, are 0 for an honest client.

    For client c with entries x_j, the value recombined is sum_j r_j x_j (x_j - 1) + s (sum_j x_j - most) + u w_c, where
    w_c = sum_j v_j (x_j(1) - 2 x_j(2) + x_j(3)) is 0 exactly where each entry's three shares lie on a line. r, v, s, u
    are drawn after the shares are fixed: another client gives 0 with probability 2 / (2^61 - 1) at most.

    held: uint64[clients, width], this party's shares; party: 0, 1 or 2. -> uint64[clients], of degree 2.
    """
    width = held.shape[1]
    if len(drawn) != 2 * width + 2:
        raise InvalidValue(f"The check needs {2 * width + 2} numbers, not {len(drawn)}.", param="drawn")
    of_bits, of_lines, of_bound, of_degree = drawn[:width], drawn[width : 2 * width], drawn[-2:-1], drawn[-1:]
    bits = total(multiply(multiply(held, reduced(held + np.uint64(MODULUS - 1))), of_bits), axis=1)
    bound = multiply(reduced(total(held, axis=1) + np.uint64(MODULUS - most)), of_bound)
    # Recombining weighs the parties by 3, -3 and 1; the second difference wants 1, -2 and 1.
    by = (pow(3, -1, MODULUS), 2 * pow(3, -1, MODULUS) % MODULUS, 1)[party]
    lines = multiply(total(multiply(held, of_lines), axis=1), multiply(of_degree, np.array([by], np.uint64)))
    return reduced(reduced(bits + bound) + lines)


def falling(first: int, count: int) -> list[int]:
    """Coefficients modulo 2^61 - 1, lowest first, of (x - first)(x - first - 1)..., `count` factors.

    >>> [each if each < 100 else each - MODULUS for each in falling(0, 3)]
    [0, 2, -3, 1]
    """
    found = [1]
    for root in range(first, first + count):
        shifted = [0, *found]
        found = [(up - root * same) % MODULUS for up, same in zip(shifted, [*found, 0], strict=True)]
    return found


def rule(least: int, clients: int) -> tuple[list[int], bool]:
    """(coefficients, sense): the polynomial that is 0 on some of the counts 0..clients, and which side that is.

    sense True: it is 0 where a count is `least` or more; False: where it is less. The side of fewer counts is taken.
    """
    if not 1 <= least <= clients:
        raise InvalidValue(f"A threshold of {least} among {clients} clients: give 1 to {clients}.", param="threshold")
    if least <= clients - least + 1:
        return falling(0, least), False
    return falling(least, clients - least + 1), True
