"""The collective keys: every party's share of them, and what the shares make (Mouchet et al. 2021, section 4).

The secret key is the sum of the parties' and is nowhere. The public key takes one round, the evaluation key two. All
public polynomials follow from the training's context. From bytes of randomness to arrays; knows no message.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from . import sampling
from .ciphertext import PublicKey, signed
from .parameters import TOP
from .ring import PRIMES, SPECIAL, Residues, Ring, minus, plus, times

DIGITS = TOP


@dataclass(frozen=True, eq=False)
class Secret:
    """A party's share of the secret key, as values uint64[7, N]."""

    values: Residues = field(repr=False)

    @classmethod
    def drawn(cls, ring: Ring, seed: bytes, label: str = "secret") -> Secret:
        """Uniform ternary coefficients."""
        return cls(signed(sampling.ternary(seed, label, ring.degree), ring))


def public_polynomial(context: bytes, label: str, count: int, degree: int) -> Residues:
    """Uniform values uint64[count, N] that everybody works out. A label serves once."""
    return sampling.uniform(context, f"public/{label}", count, degree)


def _digit_polynomials(context: bytes, ring: Ring) -> Residues:
    """As values, uint64[6, 7, N]."""
    drawn = [public_polynomial(context, f"digit {j}", len(PRIMES), ring.degree) for j in range(DIGITS)]
    return np.stack(drawn)


def _noise(ring: Ring, seed: bytes, label: str) -> Residues:
    return signed(sampling.errors(seed, label, ring.degree), ring)


def first_share(ring: Ring, context: bytes, secret: Secret, seed: bytes) -> Residues:
    """uint64[13, 7, N]: of the public key (its last prime is not used), then of six digits' two polynomials each."""
    once, s = Secret.drawn(ring, seed, "ephemeral").values, secret.values
    a = public_polynomial(context, "key", len(PRIMES), ring.degree)
    share = [minus(_noise(ring, seed, "key"), times(a, s))]
    for j, polynomial in enumerate(_digit_polynomials(context, ring)):
        zero = minus(_noise(ring, seed, f"first {j}"), times(polynomial, once))
        zero[j] = plus(zero, _in_digit(s, j))[j]
        share += [zero, plus(times(polynomial, s), _noise(ring, seed, f"second {j}"))]
    return np.stack(share)


def _in_digit(values: Residues, j: int) -> Residues:
    """P times the values modulo prime j, and zero modulo the others."""
    found = np.zeros_like(values)
    found[j] = values[j] * np.uint64(PRIMES[SPECIAL] % PRIMES[j]) % np.uint64(PRIMES[j])
    return found


def second_share(ring: Ring, secret: Secret, seed: bytes, total: Residues) -> Residues:
    """uint64[6, 7, N] of the sum of all first shares. seed: that of the own first share."""
    once, s = Secret.drawn(ring, seed, "ephemeral").values, secret.values
    share = []
    for j in range(DIGITS):
        zero, one = total[1 + 2 * j], total[2 + 2 * j]
        both = plus(times(s, zero), times(minus(once, s), one))
        noise = plus(_noise(ring, seed, f"third {j}"), _noise(ring, seed, f"fourth {j}"))
        share.append(plus(both, noise))
    return np.stack(share)


def collective(ring: Ring, context: bytes, first: Residues, second: Residues) -> PublicKey:
    """The keys, of the sums of all first and of all second shares."""
    a = public_polynomial(context, "key", len(PRIMES), ring.degree)
    pair = np.stack([first[0, :TOP], a[:TOP]])
    return PublicKey(pair, np.stack([second, first[2::2]], axis=1))
