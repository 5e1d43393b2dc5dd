"""Sums of signed whole numbers in the ring, as they are: nothing is scaled, rounded or weighed. Knows no noise.

For vectors that carry discrete noise, whose sum is what counts: single coordinates may be anything, also beyond the
ring's half, since only the sum is read. A sum beyond it comes back wrapped, or at 21 bits also spoils a neighbour: how
far sums reach is for the caller to have bounded.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chatfed.secagg.encoding import OutOfRange, pack, unpack
from chatfed.secagg.masking import FIELDS, RingVector, ring_dtype, ring_length
from chatfed.types import IntVector


@dataclass(frozen=True)
class SignedSum:
    """Code for sums of int64[dimension] vectors; exact while every coordinate of the sum is in [-half, half)."""

    dimension: int
    ring_bits: int

    @property
    def half(self) -> int:
        """Half the ring: numbers from here on stand for negative ones."""
        return 1 << (self.ring_bits - 1)

    def encode(self, values: IntVector) -> RingVector:
        """int64[dimension] -> ring elements. Raises OutOfRange for another shape or type."""
        if values.shape != (self.dimension,) or values.dtype != np.int64:
            raise OutOfRange(f"expected int64[{self.dimension}], got {values.dtype} of shape {values.shape}")
        if self.ring_bits != 21:
            return values.astype(ring_dtype(self.ring_bits))  # type: ignore[return-value]  # modulo the ring
        return pack(np.concatenate([values, np.zeros(self._filled - self.dimension, np.int64)]).view(np.uint64))

    def decode(self, total: RingVector) -> IntVector:
        """The sum of encodings -> int64[dimension]. Raises OutOfRange where it shows that the sum left the ring."""
        if total.dtype != ring_dtype(self.ring_bits) or total.shape != (ring_length(self.dimension, self.ring_bits),):
            raise OutOfRange(f"a total of {total.dtype}{total.shape} is not of this code")
        if self.ring_bits != 21:
            return total.view(f"<i{total.itemsize}").astype(np.int64)
        lifted = total + pack(np.full(self._filled, self.half, np.uint64))  # every field above zero: none borrows
        values = unpack(lifted).astype(np.int64) - self.half
        if values[self.dimension :].any():
            raise OutOfRange("the total spills into coordinates that no vector of this code has")
        return values[: self.dimension]

    @property
    def _filled(self) -> int:
        return FIELDS * ring_length(self.dimension, 21)
