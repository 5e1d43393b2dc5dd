"""Real vectors to ring elements and back, with a checked range. Knows nothing of masks or participants' names.

A coordinate is stored as an unsigned number of steps above the lowest value, so that any sum of `cohort` encodings is
at most 2^ring_bits - 1 by construction: nothing wraps, no field of a packed element carries into the next. A vector
that is too long is refused; a rotated coordinate beyond the range, which an honest vector has with probability 2^-40,
is cut at it: whether a noised vector is encoded must not depend on what it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatfed.secagg import primitives
from chatfed.secagg.masking import FIELDS, RING_BITS, RingVector, ring_dtype, ring_length
from chatfed.secagg.rotation import BLOCK, padded, rotate, rotate_back
from chatfed.types import ChatfedError, Entropy, FloatVector

Fields = NDArray[np.unsignedinteger[Any]]  # one unsigned number a coordinate

OUTLIER_BITS = 40  # an honest rotated vector leaves the range with probability 2^-40
ROUNDING = 1e-5  # relative; what float32 may add to a norm or to a rotated coordinate
NOISE_STEP = 0.2  # steps of at most this many standard deviations of the noise
LEAST_LEVELS = 4096  # on each side of zero, where no noise hides the steps
_CHUNK = 1 << 16  # coordinates at a time: the scratch arrays stay in a second-level cache of 1 MB
_FIELD_MASK = np.uint64((1 << 21) - 1)


class OutOfRange(ChatfedError):
    """A value that the ring cannot carry; the message names it and what to change."""

    code = "out_of_range"
    mend = "clip the value, or take a wider ring, as the message says"


@dataclass(frozen=True)
class FixedPoint:
    """Fixed-point code for weighted sums of at most `cohort` vectors, with unbiased stochastic rounding.

    norm: largest L2 norm of a vector. rotation: public seed bytes[32] of a Hadamard rotation, or None.
    The weight itself travels, unsigned, as the last coordinate; max_weight: the largest (for counts: examples).
    """

    norm: float  # in the unit of the vector
    dimension: int  # of the vector
    cohort: int
    ring_bits: int = 32
    rotation: bytes | None = None
    max_weight: float = 1.0

    def __post_init__(self) -> None:
        ring_dtype(self.ring_bits)
        for name in ("norm", "max_weight"):
            if not 1e-12 <= getattr(self, name) <= 1e12:  # far from where float32 squares and scales end
                raise OutOfRange(f"{name} is {getattr(self, name)}; it must be from 1e-12 to 1e12")
        if self.dimension < 1:
            raise OutOfRange(f"dimension is {self.dimension}; a vector has at least one coordinate")
        if self.cohort < 1 or self.level < 2:
            raise OutOfRange(
                f"a cohort of {self.cohort} leaves no level in a ring of {self.ring_bits} bits; "
                "take a wider ring or a smaller cohort"
            )

    @property
    def coordinates(self) -> int:
        """Of an encoding: the vector's, filled up to whole blocks where it is rotated, and the weight."""
        return (padded(self.dimension) if self.rotation is not None else self.dimension) + 1

    @property
    def range(self) -> float:
        """Largest |coordinate|: a rotated one beyond it is sent as this.

        A rotated coordinate is sub-Gaussian with variance proxy norm^2 / BLOCK: it exceeds r with probability at most
        2 exp(-r^2 BLOCK / (2 norm^2)) (Hoeffding), summed over all coordinates 2^-OUTLIER_BITS at this range. That
        holds for a vector chosen without the seed. Ailon & Chazelle 2009; Suresh et al. 2017, section 3.
        """
        if self.rotation is None:
            return self.norm
        return self.norm * math.sqrt(2 * math.log(2 * padded(self.dimension) * 2.0**OUTLIER_BITS) / BLOCK)

    @property
    def level(self) -> int:
        """Steps on each side of zero. `cohort` sums of 2 * level fit the ring; the last step is kept for rounding."""
        return ((1 << self.ring_bits) - 1) // (2 * self.cohort)

    @property
    def scale(self) -> float:
        """Steps per unit of weight * value, a float32."""
        return float(np.float32((self.level - 1) * (1 - ROUNDING) / (self.range * self.max_weight)))

    @property
    def step(self) -> float:
        """One step of the ring, in the unit of the vector, at the largest weight."""
        return 1 / (self.scale * self.max_weight)

    @property
    def weight_scale(self) -> float:
        """Ring units per unit of weight; a whole number where the ring allows, so that counts stay exact."""
        scale = self._most_units / self.max_weight
        return float(math.floor(scale)) if scale >= 1 else scale

    @property
    def _most_units(self) -> int:
        return ((1 << self.ring_bits) - 1) // self.cohort

    def encode(self, vector: FloatVector, weight: float, entropy: Entropy) -> RingVector:
        """float32[dimension] and its weight -> ring elements [ring_length(coordinates, ring_bits)].

        The vector is multiplied by the weight as rounded, so that rounding the weight does not bias the mean.
        A rotated coordinate over the range is cut at it. Raises OutOfRange for a vector longer than `norm` or with a
        value that is not finite, or a weight outside (0, max_weight].
        """
        if vector.shape != (self.dimension,) or vector.dtype != np.float32:
            raise OutOfRange(f"expected float32[{self.dimension}], got {vector.dtype} of shape {vector.shape}")
        units = self._weight_units(weight)
        self._refuse_too_long(vector)
        values = vector if self.rotation is None else rotate(vector, self.rotation)
        fields = self._empty_fields()
        factor = self.scale * min(units / self.weight_scale, self.max_weight)
        self._round(values, np.float32(factor), primitives.draw(entropy, primitives.KEY_BYTES), fields)
        fields[values.size] = units
        return pack(fields) if self.ring_bits == 21 else fields

    def decode(self, total: RingVector, vectors: int) -> tuple[FloatVector, float]:
        """Sum of the encodings of `vectors` vectors -> (weighted mean float32[dimension], total weight).

        Raises OutOfRange when the total cannot be such a sum.
        """
        if total.dtype != ring_dtype(self.ring_bits) or total.shape != (ring_length(self.coordinates, self.ring_bits),):
            raise OutOfRange(f"a total of {total.dtype}{total.shape} is not of this code")
        if not 1 <= vectors <= self.cohort:
            raise OutOfRange(f"a total of {vectors} vectors is not of 1 to {self.cohort}")
        fields: Fields = unpack(total) if self.ring_bits == 21 else total
        values, units = fields[: self.coordinates - 1], int(fields[self.coordinates - 1])
        if not vectors <= units <= vectors * self._most_units:
            raise OutOfRange(f"a total weight of {units} units is not that of {vectors} vectors in this ring")
        if values.max() > 2 * self.level * vectors or fields[self.coordinates :].any():
            raise OutOfRange(f"a coordinate of the total is more than {vectors} vectors can give")
        weight = units / self.weight_scale
        mean = _centred(values, self.level * vectors, np.float32(1 / (self.scale * weight)))
        return (mean if self.rotation is None else rotate_back(mean, self.rotation, self.dimension)), weight

    def _weight_units(self, weight: float) -> int:
        if not 0 < weight <= self.max_weight:
            raise OutOfRange(f"weight {weight} is outside (0, {self.max_weight}]; raise max_weight")
        units = round(weight * self.weight_scale)
        if units > self.max_weight * self.weight_scale * (1 + 1e-12):
            units -= 1  # rounding up must not lift a weight above max_weight
        if units == 0:
            raise OutOfRange(f"weight {weight} is below the ring's resolution; take a wider ring")
        return units

    def _refuse_too_long(self, vector: FloatVector) -> None:
        squares = 0.0
        with np.errstate(over="ignore", invalid="ignore"):
            for start in range(0, vector.size, _CHUNK):  # in pieces, so that float32 loses nothing over many
                piece = vector[start : start + _CHUNK]
                squares += float(np.dot(piece, piece))
        if not math.isfinite(squares) and not np.isfinite(vector).all():
            raise OutOfRange("a vector holds numbers that are not finite; learn with a smaller learning rate")
        if not math.sqrt(squares) <= self.norm * (1 + ROUNDING):
            raise OutOfRange(f"a vector of norm {math.sqrt(squares)} is over {self.norm}; clip it or raise norm")

    def _empty_fields(self) -> Fields:
        if self.ring_bits == 21:
            return np.zeros(FIELDS * ring_length(self.coordinates, 21), dtype="<u4")
        return np.empty(self.coordinates, dtype=ring_dtype(self.ring_bits))

    def _round(self, values: FloatVector, factor: np.float32, key: bytes, fields: Fields) -> None:
        """fields[i] = level + floor(values[i] * factor + u), u uniform in (0, 1) from 16 bits of the key stream.

        The mean is values[i] * factor to 2^-17 of a step and float32's rounding of the product and of the sum.
        """
        stream, zeros, random = primitives.key_stream(key), memoryview(bytes(2 * _CHUNK)), bytearray(2 * _CHUNK + 15)
        steps, uniform = np.empty((2, _CHUNK), dtype=np.float32)
        most = np.float32(self.level - 1)
        if float(most) > self.level - 1:  # at 32 bits float32 has no such number
            most = np.nextafter(most, np.float32(0))
        for start in range(0, values.size, _CHUNK):
            count = min(_CHUNK, values.size - start)
            y, u = steps[:count], uniform[:count]
            np.multiply(values[start : start + count], factor, out=y)
            np.clip(y, -most, most, out=y)
            stream(zeros[: 2 * count], random)
            u[:] = np.frombuffer(random, dtype="<u2", count=count)
            u += np.float32(0.5)
            u *= np.float32(2**-16)
            y += u
            q = u.view(np.int32)  # the same memory again
            q[:] = np.floor(y, out=y)
            unsigned = q.view(np.uint32)
            unsigned += np.uint32(self.level)
            fields[start : start + count] = unsigned


def _centred(values: Fields, zero: int, factor: np.float32) -> FloatVector:
    """(values - zero) * factor, the difference taken as a signed number -> float32[d]."""
    result = np.empty(values.size, dtype=np.float32)
    for start in range(0, values.size, _CHUNK):
        piece = result[start : start + _CHUNK]
        unsigned = values[start : start + _CHUNK] - values.dtype.type(zero)
        piece[:] = unsigned.view(f"<i{values.itemsize}")
        piece *= factor
    return result


def pack(fields: Fields) -> NDArray[np.uint64]:
    """uint[3 n] -> uint64[n]: coordinates i, n + i and 2 n + i in the lowest, middle and highest 21-bit field.

    Added with wrap-around, so that uint64 fields may also be negative numbers modulo 2^64: sums of them come out right
    where the sum of each field is not negative.
    """
    low, middle, high = fields.reshape(FIELDS, -1)
    packed = high.astype("<u8")
    for plane in (middle, low):
        packed <<= np.uint64(21)
        packed += plane
    return packed


def unpack(packed: RingVector) -> Fields:
    """The inverse; bit 63, which no packed element has, is refused."""
    if packed.size and int(packed.max()) >> 63:
        raise OutOfRange("an element of the total has bit 63, which no sum of this code has")
    planes = np.empty((FIELDS, packed.size), dtype="<u4")
    for k, plane in enumerate(planes):
        plane[:] = packed >> np.uint64(21 * k) & _FIELD_MASK
    return planes.reshape(-1)


def choose_ring_bits(norm: float, dimension: int, cohort: int, rotation: bool, noise_std: float) -> int:
    """The narrowest ring whose rounding is lost in the noise of standard deviation `noise_std` on every coordinate.

    Stochastic rounding adds variance f (1 - f) step^2 <= step^2 / 4 for a fraction f. Steps of NOISE_STEP = 0.2
    standard deviations therefore add at most 1 % to the variance of the noise that each vector carries. Without
    noise, LEAST_LEVELS within the range on each side are asked for. 32 as the last resort. norm: with the noise.

    >>> [choose_ring_bits(1.0, 1_000_000, 100, rotation, noise_std=0.005) for rotation in (True, False)]
    [16, 21]
    >>> [choose_ring_bits(1.0, 1_000_000, cohort, True, noise_std=0.0) for cohort in (5, 100, 1000)]
    [16, 21, 32]
    """
    for bits in RING_BITS[:-1]:
        try:
            code = FixedPoint(norm, dimension, cohort, bits, bytes(32) if rotation else None)
        except OutOfRange:
            continue
        if code.step <= NOISE_STEP * noise_std or (not noise_std and code.level >= LEAST_LEVELS):
            return bits
    return RING_BITS[-1]
