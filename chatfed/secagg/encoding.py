"""Real vectors to ring elements and back, with a checked range. Knows nothing of masks or participants' names.

A sum of `cohort` encoded vectors stays inside the ring by construction: each coordinate is at most the
(cohort)th part of it. A value that would need more is refused, never wrapped.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chatfed.secagg.masking import RingVector, ring_dtype
from chatfed.types import ChatfedError, FloatVector


class OutOfRange(ChatfedError):
    """A value that the ring cannot carry; the message names it and what to change."""


@dataclass(frozen=True)
class FixedPoint:
    """Fixed-point code for weighted sums of at most `cohort` vectors.

    value_range: largest |coordinate| of a vector. max_weight: largest weight (for counts: examples per client).
    Coordinates are signed, weight * value * scale; the weight itself travels, unsigned, as the last coordinate.
    """

    value_range: float  # in the unit of the vector
    max_weight: float
    cohort: int
    ring_bits: int = 32

    def __post_init__(self) -> None:
        ring_dtype(self.ring_bits)
        for name in ("value_range", "max_weight"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise OutOfRange(f"{name} is {getattr(self, name)}; it must be positive and finite")
        if not 1 <= self.cohort <= self._signed_limit:
            raise OutOfRange(
                f"a cohort of {self.cohort} leaves no level in a ring of {self.ring_bits} bits; "
                "take a wider ring or a smaller cohort"
            )

    @property
    def _signed_limit(self) -> int:
        return (1 << (self.ring_bits - 1)) - 1

    @property
    def limit(self) -> float:
        """Largest |coordinate| accepted: value_range, or its float32 rounding where that is larger."""
        return max(self.value_range, float(np.float32(self.value_range)))

    @property
    def scale(self) -> float:
        """Ring units per unit of weight * value."""
        return (self._signed_limit // self.cohort) / (self.limit * self.max_weight)

    @property
    def weight_scale(self) -> float:
        """Ring units per unit of weight; a whole number where the ring allows, so that counts stay exact."""
        scale = ((2**self.ring_bits - 1) // self.cohort) / self.max_weight
        return float(math.floor(scale)) if scale >= 1 else scale

    def encode(self, vector: FloatVector, weight: float) -> RingVector:
        """float32[d] and its weight -> uint[d+1], rounded to nearest.

        The vector is multiplied by the weight as rounded, so that rounding the weight does not bias the mean.
        Raises OutOfRange for |v| > value_range, a value that is not finite, or a weight outside (0, max_weight].
        """
        if vector.ndim != 1:
            raise OutOfRange(f"expected a vector, got an array of shape {vector.shape}")
        if vector.size and not (float(vector.max()) <= self.limit and float(vector.min()) >= -self.limit):
            raise OutOfRange(
                f"a coordinate is not a number within +-{self.value_range}; clip the vector or raise value_range"
            )
        units = self._weight_units(weight)
        scaled = np.multiply(vector, self.scale * min(units / self.weight_scale, self.max_weight), dtype=np.float64)
        np.rint(scaled, out=scaled)
        encoded = np.empty(vector.size + 1, dtype=ring_dtype(self.ring_bits))
        encoded[:-1] = scaled.astype(np.int32).view(np.uint32)  # two's complement; narrowed modulo 2^16 for 16 bits
        encoded[-1] = units
        return encoded

    def _weight_units(self, weight: float) -> int:
        if not 0 < weight <= self.max_weight:
            raise OutOfRange(f"weight {weight} is outside (0, {self.max_weight}]; raise max_weight")
        units = round(weight * self.weight_scale)
        if units > self.max_weight * self.weight_scale * (1 + 1e-12):
            units -= 1  # rounding up must not lift a weight above max_weight
        if units == 0:
            raise OutOfRange(f"weight {weight} is below the ring's resolution; take a wider ring")
        return units

    def decode(self, total: RingVector) -> tuple[FloatVector, float]:
        """Sum of encoded vectors uint[d+1] -> (weighted mean float32[d], total weight).

        Raises OutOfRange when the total cannot be a sum of 1..cohort encodings.
        """
        if total.dtype != ring_dtype(self.ring_bits):
            raise OutOfRange(f"the total is {total.dtype}, not integers of {self.ring_bits} bits")
        weight = int(total[-1]) / self.weight_scale
        if not 0 < weight <= self.cohort * self.max_weight * (1 + 1e-9):
            raise OutOfRange(f"a total weight of {weight} is not that of 1 to {self.cohort} vectors in this ring")
        signed: NDArray[np.signedinteger] = total[:-1].view(f"<i{self.ring_bits // 8}")
        mean = signed.astype(np.float64) / (self.scale * weight)
        return mean.astype(np.float32), weight
