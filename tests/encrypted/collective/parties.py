"""Three parties' keys in a small ring, and decryption as nobody in the protocol can do it: with all their shares."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, reduce

import numpy as np

from chatfed.encrypted.collective import ciphertext, keys, slots
from chatfed.encrypted.collective.ciphertext import Ciphertext, PublicKey
from chatfed.encrypted.collective.parameters import Parameters
from chatfed.encrypted.collective.ring import PRIMES, Residues, Ring, plus, ring, times
from chatfed.encrypted.collective.slots import Slots

NAMES = ("ada", "bob", "cy")
CONTEXT = b"c" * 32


def entropy_from(label: str) -> Callable[[int], bytes]:
    """The same bytes in every run of a test."""
    drawn = 0

    def entropy(size: int) -> bytes:
        nonlocal drawn
        drawn += 1
        return hashlib.shake_256(f"{label}/{drawn}".encode()).digest(size)

    return entropy


def parameters(hidden: int = 2, degree: int = 64, session: bytes = b"s" * 32) -> Parameters:
    return Parameters(NAMES, 4, hidden, 3, 0.5, session, degree)


@dataclass(frozen=True)
class Keys:
    ring: Ring
    secrets: list[keys.Secret]
    public: PublicKey

    def encrypted(self, values: Slots, scale: float = 2.0**40, levels: int = 6, label: str = "e") -> Ciphertext:
        pair = ciphertext.encrypted(self.ring, self.public, values, scale, levels, label.encode().ljust(32))
        return Ciphertext(pair, scale, "ada")

    def residues(self, one: Ciphertext, secrets: list[keys.Secret] | None = None) -> Residues:
        """c0 + c1 times the sum of secrets (all of them), as coefficients."""
        total = reduce(plus, [each.values for each in secrets or self.secrets])[: one.levels]
        return self.ring.inverse(plus(one.pair[0], times(one.pair[1], total)))

    def decrypted(self, one: Ciphertext) -> Slots:
        numbers = integers(self.residues(one))
        return slots.decode(np.array(numbers, float), one.scale)


def integers(residues: Residues) -> list[int]:
    """The numbers nearest to zero with these residues, by the Chinese remainder theorem and Python's integers."""
    primes = PRIMES[: len(residues)]
    product = math.prod(primes)
    parts = [product // p * pow(product // p, -1, p) for p in primes]
    whole = [sum(int(r) * part for r, part in zip(each, parts, strict=True)) % product for each in residues.T]
    return [number - product if 2 * number > product else number for number in whole]


@cache
def made(degree: int = 64, label: str = "k") -> Keys:
    on = ring(degree)
    seeds = [f"{label}{k}".encode().ljust(32) for k in range(len(NAMES))]
    secrets = [keys.Secret.drawn(on, seed) for seed in seeds]
    first = reduce(plus, [keys.first_share(on, CONTEXT, s, seed) for s, seed in zip(secrets, seeds, strict=True)])
    second = reduce(plus, [keys.second_share(on, s, seed, first) for s, seed in zip(secrets, seeds, strict=True)])
    return Keys(on, secrets, keys.collective(on, CONTEXT, first, second))
