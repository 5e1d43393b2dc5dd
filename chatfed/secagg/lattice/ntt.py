"""Polynomials modulo X^2048 + 1 and a prime below 2^27, and their number-theoretic transform. Knows no cipher.

All in float64, which is what the machine multiplies and rounds fastest, and exact: every number that is computed is an
integer below 2^53. A residue is balanced, from -p/2 to p/2, so that a product of two is at most 2^52. The transform is
Bailey's (1990, "FFTs in external or hierarchical memory"): 2048 = 32 x 64, one matrix product for either factor and
one table of roots between them. The matrices are cut into two halves of 13 bits, so that a sum of 64 products with
residues stays below 2^46.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

Residues = NDArray[np.float64]
"""Integers, balanced modulo a prime unless said otherwise."""

DEGREE = 2048
ROWS, COLUMNS = 32, 64  # of a polynomial as a matrix: coefficient 64 i + j stands in row i, column j
PRIMES = (134_176_769, 134_111_233)  # the largest two below 2^27 that are 1 mod 4096: there X^2048 + 1 splits
LIMB = 2.0**13


def reduce(values: Residues, prime: int, scratch: Residues) -> None:
    """Balances integers below 2^53 modulo `prime`, in place; scratch: of the same shape.

    The rounded quotient may be one off where a remainder is within 1 of p/2: so a result is at most p/2 + 1, and below
    2^26.
    """
    np.multiply(values, 1.0 / prime, out=scratch)
    np.rint(scratch, out=scratch)
    np.multiply(scratch, prime, out=scratch)
    np.subtract(values, scratch, out=values)


class Transform:
    """The transform modulo one prime, of up to `most` polynomials at a time, with the room that it works in.

    Position 64 k + l of a transformed polynomial is its value at psi^(2 (k + 32 l) + 1), psi a 4096th root of one. What
    a call gives is good until the next.
    """

    def __init__(self, prime: int, most: int) -> None:
        self.prime, self._tables = prime, _tables(prime)
        self._high, self._low, self._scratch = (np.empty((most, ROWS, COLUMNS)) for _ in range(3))
        self._halves = np.empty((most, 2 * ROWS, COLUMNS))

    def reduce(self, values: Residues) -> None:
        """As the function, of float64[m, 2048]."""
        reduce(values, self.prime, self._scratch[: len(values)].reshape(values.shape))

    def forward(self, coefficients: Residues) -> Residues:
        """Values float64[m, 2048] of coefficients float64[m, 2048], both balanced."""
        tables = self._tables
        between = self._left(tables.left, coefficients.reshape(-1, ROWS, COLUMNS))
        values = self._right(tables.right, self._twisted(between, tables.twist)).reshape(-1, DEGREE)
        self.reduce(values)
        return values

    def inverse(self, values: Residues) -> Residues:
        """Coefficients float64[m, 2048], below 2^46 and not yet reduced, of balanced values."""
        tables = self._tables
        between = self._right(tables.right_back, values.reshape(-1, ROWS, COLUMNS))
        return self._left(tables.left_back, self._twisted(between, tables.twist_back)).reshape(-1, DEGREE)

    def _twisted(self, matrices: Residues, table: Residues) -> Residues:
        """Matrices times the table, balanced."""
        scratch = self._scratch[: len(matrices)]
        reduce(matrices, self.prime, scratch)
        np.multiply(matrices, table, out=matrices)
        reduce(matrices, self.prime, scratch)
        return matrices

    def _left(self, halves: Residues, matrices: Residues) -> Residues:
        """float64[m, 32, 64], not reduced: a matrix, whose halves are one above the other, times each of `matrices`."""
        both = np.matmul(halves, matrices, out=self._halves[: len(matrices)])
        return self._joined(both[:, :ROWS], both[:, ROWS:])

    def _right(self, halves: Residues, matrices: Residues) -> Residues:
        """float64[m, 32, 64], not reduced: each of `matrices` times one whose halves are halves[0] and halves[1]."""
        rows, count = matrices.reshape(-1, COLUMNS), len(matrices)
        for half, out in zip(halves, (self._high, self._low), strict=True):
            np.matmul(rows, half, out=out[:count].reshape(-1, COLUMNS))
        return self._joined(self._high[:count], self._low[:count])

    def _joined(self, high: Residues, low: Residues) -> Residues:
        reduce(high, self.prime, self._scratch[: len(high)])
        np.multiply(high, LIMB, out=high)
        np.add(high, low, out=high)
        return high


@dataclass(frozen=True)
class _Tables:
    left: Residues  # float64[64, 32], high half above low half
    twist: Residues  # float64[32, 64]
    right: Residues  # float64[2, 64, 64], high half and low half
    left_back: Residues
    twist_back: Residues
    right_back: Residues


@cache
def _tables(prime: int) -> _Tables:
    """With x[i, j] the coefficients and X[k, l] the values, the exponent of psi is (64 i + j) (2 (k + 32 l) + 1).

    It falls apart, modulo 4096, in 64 i (2 k + 1), which is summed over i, j (2 k + 1), and 64 j l, summed over j.
    """
    powers = _powers(prime)
    i, j = np.arange(ROWS), np.arange(COLUMNS)
    left = 64 * np.outer(2 * i + 1, i)  # [k, i]
    twist = np.outer(2 * i + 1, j)  # [k, j]
    right = 64 * np.outer(j, j)  # [j, l]
    shrunk = powers[-twist % len(powers)] * pow(DEGREE, -1, prime) % prime
    return _Tables(
        np.concatenate(_halves(powers[left % len(powers)], prime)),
        _balanced(powers[twist % len(powers)], prime),
        np.stack(_halves(powers[right % len(powers)], prime)),
        np.concatenate(_halves(powers[-left.T % len(powers)], prime)),
        _balanced(shrunk, prime),
        np.stack(_halves(powers[-right % len(powers)], prime)),
    )


def _powers(prime: int) -> NDArray[np.int64]:
    """All powers of psi, the least of the 4096th roots of one that have no smaller order."""
    order = 2 * DEGREE
    roots = (pow(g, (prime - 1) // order, prime) for g in range(2, 100))
    first = next(root for root in roots if pow(root, DEGREE, prime) == prime - 1)
    least = min(pow(first, odd, prime) for odd in range(1, order, 2))
    return np.array([pow(least, exponent, prime) for exponent in range(order)])


def _balanced(residues: NDArray[np.int64], prime: int) -> Residues:
    return np.where(residues > prime // 2, residues - prime, residues).astype(np.float64)


def _halves(residues: NDArray[np.int64], prime: int) -> tuple[Residues, Residues]:
    """High and low: LIMB high + low is the residue, and neither is above 2^13."""
    whole = _balanced(residues, prime)
    high = np.rint(whole / LIMB)
    return high, whole - LIMB * high
