"""Real numbers in the slots of a polynomial, as in CKKS (Cheon et al. 2017): encoding, decoding, turning.

Slot j of a polynomial m is its value at the (5^j)-th power of a 2N-th root of one, over the scale. The map X -> X^5^r
turns slots by r. Knows no cipher.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

Slots = NDArray[np.float64]
"""float64[N / 2]"""


@cache
def _places(degree: int) -> NDArray[np.int64]:
    """Exponent of the root of each slot."""
    found = [1]
    for _ in range(degree // 2 - 1):
        found.append(found[-1] * 5 % (2 * degree))
    return np.array(found)


def encode(values: Slots, scale: float) -> NDArray[np.int64]:
    """Coefficients int64[N] of the polynomial with these slots, rounded. |values| scale must stay below 2^53."""
    degree = 2 * len(values)
    at, spread = _places(degree), np.zeros(2 * degree)
    spread[at] = spread[2 * degree - at] = values
    found = np.fft.fft(spread)[:degree].real * (scale / degree)
    return np.rint(found).astype(np.int64)


def decode(coefficients: NDArray[np.float64], scale: float) -> Slots:
    """The slots, of real numbers, of coefficients float64[N]."""
    degree = len(coefficients)
    found = np.fft.ifft(coefficients, 2 * degree)[_places(degree)].real
    return found * (2 * degree / scale)


def element(turn: int, degree: int) -> int:
    """G such that X -> X^g brings slot j + turn to slot j."""
    return pow(5, turn % (degree // 2), 2 * degree)
