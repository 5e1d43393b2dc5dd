"""Shamir secret sharing (1979) of 32-byte secrets over the field of p = 65521. Knows no participants' roles.

A secret is cut into 18 limbs of 15 bits, so that a limb is always below p and a share takes 16 bits a limb.
Sharing is linear: `add` and `scale` of shares at the same points are shares of the limbs' sums and multiples, which
`combine_limbs` reads modulo p. They are not reduced to 15 bits and not carried; the sum of two limbs may already pass
p = 65521 (up to 65534), so whoever needs the integer sum of many secrets must share smaller limbs.
Products are exact in float64: every partial sum is an integer below t * p^2 < 2^53 for t < 2^21.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from chatfed.secagg.primitives import draw, expand
from chatfed.types import Entropy, IntVector

FieldArray = NDArray[np.int64]  # elements of 0..p-1
Shares = NDArray[np.uint16]  # uint16[..., 18], elements of 0..p-1

PRIME = 65521
GENERATOR = 17  # its powers are all of 1..p-1
LIMB_BITS = 15
SECRET_BYTES = 32
LIMBS = 18  # ceil(256 / 15)
SHARE_BYTES = 2 * LIMBS


def to_limbs(secret: bytes) -> FieldArray:
    """bytes[32] -> int64[18], least significant first."""
    number = int.from_bytes(secret, "little")
    return np.array([(number >> (LIMB_BITS * i)) & 0x7FFF for i in range(LIMBS)], dtype=np.int64)


def from_limbs(limbs: FieldArray) -> list[bytes | None]:
    """int64[m, 18] -> bytes[32] of each; None where limbs are of no 32-byte secret."""
    bits = (limbs[:, :, None] >> np.arange(LIMB_BITS) & 1).astype(np.uint8).reshape(len(limbs), LIMBS * LIMB_BITS)
    fits = np.all(limbs < 1 << LIMB_BITS, axis=1) & ~np.any(bits[:, 8 * SECRET_BYTES :], axis=1)
    packed = np.packbits(bits[:, : 8 * SECRET_BYTES], axis=1, bitorder="little")
    return [row.tobytes() if sound else None for row, sound in zip(packed, fits, strict=True)]


def share(secrets: Sequence[bytes], points: Sequence[int], threshold: int, entropy: Entropy) -> Shares:
    """Shares uint16[len(points), len(secrets), 18] of 32-byte secrets; any `threshold` of them recover.

    One polynomial of degree threshold-1 per limb with uniform coefficients; the share at x is its value there.
    """
    limbs = np.concatenate([to_limbs(secret) for secret in secrets])
    return share_elements(limbs, points, threshold, entropy).reshape(len(points), len(secrets), LIMBS)


def share_elements(elements: IntVector, points: Sequence[int], threshold: int, entropy: Entropy) -> Shares:
    """Shares uint16[len(points), m] of m field elements; any `threshold` of them recover, and fewer tell nothing."""
    if not 1 <= threshold <= len(points) or len(set(points)) != len(points) or not all(0 < x < PRIME for x in points):
        raise ValueError(f"cannot share among {len(points)} points with threshold {threshold}")
    coefficients = np.empty((threshold, len(elements)))
    coefficients[0] = elements
    coefficients[1:] = _uniform(coefficients[1:].size, entropy).reshape(coefficients[1:].shape)
    return _product(_powers(tuple(points), threshold), coefficients).astype(np.uint16)


def combine(points: Sequence[int], shares: Shares) -> list[bytes | None]:
    """Secrets from uint16[t, m, 18], the shares of m secrets at the same t points; None where no secret fits."""
    return from_limbs(combine_limbs(points, shares))


def combine_each(points: Sequence[tuple[int, ...]], shares: Shares) -> list[bytes | None]:
    """`combine` of one secret after another, each with t points of its own: uint16[m, t, 18]."""
    weights = np.stack([lagrange_at_zero(each) for each in points])[:, None]
    return from_limbs(_product(weights, shares)[:, 0])


def combine_limbs(points: Sequence[int], shares: Shares) -> FieldArray:
    """Field elements int64[m, 18] from uint16[t, m, 18]: limbs of secrets, or of linear combinations of secrets."""
    return combine_elements(points, shares.reshape(len(points), -1)).reshape(-1, LIMBS)


def combine_elements(points: Sequence[int], shares: Shares) -> FieldArray:
    """Field elements int64[m] from uint16[t, m], their shares at t points."""
    elements: FieldArray = _product(lagrange_at_zero(tuple(points))[None], shares)[0]
    return elements


def on_one_polynomial(points: Sequence[int], shares: Shares, threshold: int) -> bool:
    """Whether each column of uint16[r, m] is one polynomial of degree below `threshold` at these points.

    It is where the sums over i of u_i x_i^k y_i are 0 for k = 0 .. r - threshold - 1, u_i the product over j != i of
    1 / (x_j - x_i): the checks of a Reed-Solomon code. Weights at zero are those u_i times the product of all points,
    over x_i.
    """
    xs = np.array(points, dtype=np.int64)
    checks = lagrange_at_zero(tuple(points)) * xs % PRIME * _powers(tuple(points), len(points)).T[: len(xs) - threshold]
    return not _product(checks % PRIME, shares).any()


def mixed(shares: Shares, seed: bytes, count: int) -> Shares:
    """`count` random combinations uint16[r, count] of the columns of uint16[r, m], by a 32-byte seed.

    A row that is wrong in any column stays right in all of them with probability 65521^-count.
    """
    width = shares.shape[1]
    factors = np.frombuffer(expand(seed, 8 * width * count), "<u8").reshape(width, count) % PRIME
    return _product(shares, factors).astype(np.uint16)


def add(left: Shares, right: Shares) -> Shares:
    """Shares of the limb-wise sum, mod p, of what two arrays of shares at the same points are shares of."""
    return (np.add(left, right, dtype=np.uint32) % PRIME).astype(np.uint16)


def scale(shares: Shares, factor: int) -> Shares:
    """Shares of `factor` times each limb, mod p."""
    return (np.multiply(shares, factor % PRIME, dtype=np.uint32) % PRIME).astype(np.uint16)


@lru_cache(maxsize=2048)  # on a circle each owner has holders of its own; where all answer, the same ones in each slot
def lagrange_at_zero(points: tuple[int, ...]) -> FieldArray:
    """Weights w with f(0) = sum w_i f(x_i) mod p for every polynomial f of degree < len(points). Read-only.

    w_i is the product over j != i of x_j / (x_j - x_i), taken as a sum of logarithms.
    """
    logarithms, powers = _tables()
    xs = np.array(points, dtype=np.int64)
    differences = (xs - xs[:, None]) % PRIME
    np.fill_diagonal(differences, 1)
    if not (differences.all() and np.all((xs > 0) & (xs < PRIME))):
        raise ValueError("points of shares must differ and lie in 1..p-1")
    above = logarithms[xs].sum() - logarithms[xs]
    weights: FieldArray = powers[(above - logarithms[differences].sum(axis=1)) % (PRIME - 1)]
    weights.flags.writeable = False
    return weights


def wrong_points(points: Sequence[int], shares: Shares, threshold: int) -> frozenset[int] | None:
    """Points whose shares uint16[r, m] lie off the polynomials that the others agree on.

    Berlekamp-Welch decoding column by column (limb by limb): finds up to (r - threshold) // 2 wrong points; None when
    there are more.
    """
    wrong: set[int] = set()
    for column in shares.T:
        found = _berlekamp_welch(points, column.astype(np.int64), threshold)
        if found is None:
            return None
        wrong |= found
    return frozenset(wrong) if 2 * len(wrong) <= len(points) - threshold else None


def _berlekamp_welch(points: Sequence[int], values: FieldArray, threshold: int) -> set[int] | None:
    """Solve Q(x) = y E(x) at all points, deg E <= e, deg Q < e + t; a wrong point is one where y is not Q/E.

    Welch & Berlekamp, US patent 4,633,470 (1986), in the homogeneous form: any non-zero solution has Q/E = f.
    """
    errors = (len(points) - threshold) // 2
    powers = _powers(tuple(points), errors + threshold)
    system = np.concatenate([powers, -values[:, None] * powers[:, : errors + 1] % PRIME], axis=1)
    solution = _null_vector(system)
    if solution is None:
        return None
    q, e = solution[: errors + threshold], solution[errors + threshold :]
    polynomial = _divide(q, e)
    if polynomial is None or np.any(polynomial[threshold:]):
        return None
    fitted = _product(_powers(tuple(points), polynomial.size), polynomial[:, None])[:, 0]
    wrong = {x for x, y, z in zip(points, values, fitted, strict=True) if y != z}
    return wrong if len(wrong) <= errors else None


def _null_vector(system: FieldArray) -> FieldArray | None:
    """A non-zero v with system @ v = 0 mod p, or None when zero is the only one."""
    matrix, pivots = system % PRIME, list[int]()
    for column in range(matrix.shape[1]):
        row = len(pivots)
        candidates = np.flatnonzero(matrix[row:, column]) if row < len(matrix) else np.empty(0, dtype=np.int64)
        if not candidates.size:
            break
        best = row + int(candidates[0])
        matrix[[row, best]] = matrix[[best, row]]
        matrix[row] = matrix[row] * pow(int(matrix[row, column]), -1, PRIME) % PRIME
        factors = matrix[:, column].copy()
        factors[row] = 0
        matrix = (matrix - factors[:, None] * matrix[row]) % PRIME
        pivots.append(column)
    else:
        return None
    vector = np.zeros(matrix.shape[1], dtype=np.int64)
    vector[column] = 1
    vector[pivots] = -matrix[: len(pivots), column] % PRIME
    return vector


def _divide(numerator: FieldArray, denominator: FieldArray) -> FieldArray | None:
    """Quotient of two polynomials (lowest coefficient first), or None when there is a remainder or no divisor."""
    nonzero = np.flatnonzero(denominator)
    if not nonzero.size:
        return None
    degree = int(nonzero[-1])
    rest, inverse = numerator.copy(), pow(int(denominator[degree]), -1, PRIME)
    quotient = np.zeros(max(1, numerator.size - degree), dtype=np.int64)
    for i in range(numerator.size - degree - 1, -1, -1):
        quotient[i] = rest[i + degree] * inverse % PRIME
        rest[i : i + degree + 1] = (rest[i : i + degree + 1] - quotient[i] * denominator[: degree + 1]) % PRIME
    return None if np.any(rest) else quotient


@lru_cache(maxsize=1)
def _tables() -> tuple[FieldArray, FieldArray]:
    """Logarithms to the base GENERATOR of 0..p-1 (0 has none), and its powers. For points, which are public."""
    powers = np.ones(PRIME - 1, dtype=np.int64)
    done = 1
    while done < powers.size:
        more = powers[done : 2 * done]
        more[:] = powers[: more.size] * pow(GENERATOR, done, PRIME) % PRIME
        done *= 2
    logarithms = np.zeros(PRIME, dtype=np.int64)
    logarithms[powers] = np.arange(powers.size)
    return logarithms, powers


@lru_cache(maxsize=64)
def _powers(points: tuple[int, ...], count: int) -> FieldArray:
    """int64[len(points), count]: x^0 .. x^(count-1) mod p, for x in 1..p-1. Cached: treat as read-only."""
    logarithms, powers = _tables()
    table = powers[np.outer(logarithms[list(points)], np.arange(count)) % (PRIME - 1)]
    table.flags.writeable = False
    return table


def _product(left: NDArray[np.generic], right: NDArray[np.generic]) -> FieldArray:
    """Matrix product mod p, through float64 because that is what the machine multiplies fastest."""
    exact = (left.astype(np.float64) @ right.astype(np.float64)).astype(np.int64)
    return exact - exact // PRIME * PRIME  # numpy divides by a constant in vectors, but takes remainders one by one


def _uniform(count: int, entropy: Entropy) -> NDArray[np.uint16]:
    """Uniform field elements: 16 random bits at a time, those not below p thrown away."""
    values = np.empty(0, dtype=np.uint16)
    while values.size < count:
        raw = np.frombuffer(draw(entropy, 2 * (count - values.size + 16)), dtype="<u2")
        values = np.concatenate([values, raw[raw < PRIME]])
    return values[:count]
