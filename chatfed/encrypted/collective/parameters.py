"""What all parties agree on before they begin: who they are, the network's sizes, and the cipher's. Knows no secret.

A slot is (feature, example, hidden unit), the last fastest: features x examples x hidden = N / 2. The first layer's
weights are repeated for each example; the second's stand where the features' first places are, one for each class.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from functools import cached_property

from .errors import BadParameters, TooFewParties
from .ring import MOST_DEGREE, PRIMES, SPECIAL

TOP = SPECIAL  # primes of a ciphertext that was just refreshed
WEIGHTS = TOP - 1  # of the encrypted weights
LOWEST = 4  # of a ciphertext that can be refreshed: masks of MASK_BITS need their product
MASK_BITS = 119  # a mask is uniform from -2^119 on; eight of them stay below the product's half
FEWEST, MOST_PARTIES = 3, 8

FIRST_SCALE, SECOND_SCALE = 2.0**44, 2.0**40  # of the two layers' weights
FEATURE_SCALE = 2.0**33
MASK_SCALE = 2.0**31  # of zeros and ones that keep slots
OPEN_BITS, FLOOD_BITS = 70, 65  # of the last opening: what is shown stands above, what hides the errors below
SMUDGE_BITS = 22  # the noise on each opened weight: each party's is uniform within the scale over 2^22, per coefficient

STANDARD_BITS = {1024: 27, 2048: 54, 4096: 109, 8192: 218}
"""Largest log2 of all primes together at 128 bits (classical), ternary secrets: HE standard 2018, table 1."""


@dataclass(frozen=True)
class Parameters:
    """Raises TooFewParties, BadParameters.

    Only degree 8192 gives 128 bits of security; others are for tests, and have `secure` False.
    """

    parties: tuple[str, ...]
    features: int  # of which the last is 1, for biases of hidden units
    hidden: int
    classes: int
    rate: float  # of learning
    session: bytes  # 32, never used before: public polynomials follow from it
    degree: int = MOST_DEGREE

    def __post_init__(self) -> None:
        many = len(self.parties)
        if many < FEWEST:
            raise TooFewParties(f"{many} parties are too few: a training takes {FEWEST} at least.", param="parties")
        if many > MOST_PARTIES or len(set(self.parties)) != many or not all(self.parties):
            raise BadParameters(f"At most {MOST_PARTIES} parties, each with a name of its own.", param="parties")
        for name in ("features", "hidden", "degree"):
            if not _power_of_two(getattr(self, name)):
                raise BadParameters(f"{name} is {getattr(self, name)}; it must be a power of two.", param=name)
        if self.degree > MOST_DEGREE or self.features * self.hidden > self.degree // 2:
            raise BadParameters(
                f"{self.features} features x {self.hidden} hidden units do not fit into {self.degree // 2} slots.",
                param="hidden",
            )
        if not 2 <= self.classes <= self.features:
            raise BadParameters(f"classes is {self.classes}; from 2 to the number of features.", param="classes")
        if not (math.isfinite(self.rate) and 2.0**-6 <= self.rate <= 4):
            raise BadParameters(f"rate is {self.rate}; from 1/64 to 4.", param="rate")
        if len(self.session) != 32:
            raise BadParameters("A session is 32 bytes.", param="session")

    @property
    def examples(self) -> int:
        """Of one party in one step."""
        return self.degree // 2 // (self.features * self.hidden)

    @property
    def secure(self) -> bool:
        """Whether the standard's table gives 128 bits for degree and primes."""
        return sum(map(math.log2, PRIMES)) <= STANDARD_BITS.get(self.degree, 0)

    @property
    def step_size(self) -> float:
        """What the sum of all gradients of a step is multiplied with."""
        return self.rate / (len(self.parties) * self.examples)

    @cached_property
    def context(self) -> bytes:
        """32 bytes that name all this; every message carries half of them."""
        said = json.dumps(
            [1, self.parties, self.features, self.hidden, self.classes, self.rate, self.degree, PRIMES],
            allow_nan=False,
        )
        return hashlib.sha256(b"chatfed training under encryption" + self.session + said.encode()).digest()


def _power_of_two(number: int) -> bool:
    return number > 0 and number & (number - 1) == 0
