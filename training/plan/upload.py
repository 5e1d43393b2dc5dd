"""A client's update as ring elements, and the sum of such as the clients' mean.

With noise of the client's own, or none, updates travel in fixed point. With distributed noise each part that is
protected, the whole update or what one dialogue adds to it, is clipped and made whole ring steps at a certain norm, and
their sum carries the client's share of discrete noise. Composes codes and noise; knows no key, no
message and no disk.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from chatfed.privacy.discrete import discrete_gaussian
from chatfed.privacy.distributed import DistributedGaussian
from chatfed.privacy.noise import poisson_sample
from chatfed.privacy.rounding import Scattered, add_clipped, round_within
from chatfed.secagg.encoding import FixedPoint
from chatfed.secagg.integers import SignedSum
from chatfed.secagg.masking import RingVector
from chatfed.secagg.rotation import rotate, rotate_back
from chatfed.types import Entropy, FloatVector, IntVector, InvalidValue

BIT = 0.2  # weight of the bit beside an update of norm 1: it makes both together 0.5 % longer
_WITH_BIT = math.sqrt(1 + (BIT / 2) ** 2)

Part = FloatVector | Scattered
"""What is protected in an update: float32[d]."""


@dataclass(frozen=True, eq=False)
class Mean:
    """What a sum tells."""

    update: FloatVector = field(repr=False)  # float32[d]
    within: float | None = None  # noisy share of clients whose updates were within the clip norm


@dataclass(frozen=True)
class PlainUpload:
    """Fixed point.

    Every client weighs 1: one with more dialogues weighs more all the same, since its update is a sum over its
    dialogues divided by a public constant. So its count need not travel, in the ring or outside.
    """

    code: FixedPoint
    noised: bool  # by the client itself: then encoding never fails, which would tell of dialogues

    @property
    def coordinates(self) -> int:
        """Of what is summed."""
        return self.code.coordinates

    @property
    def ring_bits(self) -> int:
        """Width of the ring, bits."""
        return self.code.ring_bits

    def encode(self, parts: Iterable[Part], entropy: Entropy) -> RingVector:
        """One update float32[d] -> ring elements; a longer one is scaled down to the code's norm.

        One that is not finite is zeros where noise was in it, and OutOfRange where there was none: the run without
        noise has diverged.
        """
        (part,) = parts
        update = _dense(part, self.coordinates)
        if self.noised and not np.isfinite(update).all():
            update = np.zeros_like(update)
        return self.code.encode(clipped(update, self.code.norm), 1.0, entropy)

    def decode(self, total: RingVector, survivors: int) -> Mean:
        """The ring sum of the survivors' uploads -> their mean float32[d]."""
        return Mean(self.code.decode(total, survivors)[0])


@dataclass(frozen=True)
class NoisyUpload:
    """Whole ring steps with a share of noise. The survivors' number is public, and so is not in the sum."""

    clip_norm: float  # L2, of what is protected in an update: a client's whole one, or what one dialogue adds to it
    dimension: int
    scale: float  # ring steps per clip norm
    ring_bits: int
    room: int  # ring steps on each side of zero for one client's parts together
    mechanism: DistributedGaussian  # of one round

    @property
    def coordinates(self) -> int:
        """Of what is summed."""
        return self.mechanism.dimension

    def _released(self, steps: IntVector, entropy: Entropy) -> RingVector:
        """What leaves: int64[coordinates] with this client's share of noise, as ring elements.

        A coordinate that passes the client's room is cut there, which brings two sums no further apart.
        """
        np.clip(steps, -self.room, self.room, out=steps)
        steps += discrete_gaussian(self.mechanism.std).sample(steps.size, entropy)
        return SignedSum(steps.size, self.ring_bits).encode(steps)

    def _summed(self, total: RingVector) -> IntVector:
        return SignedSum(self.coordinates, self.ring_bits).decode(total)


@dataclass(frozen=True)
class DialoguesUpload(NoisyUpload):
    """The sum of clipped gradients of single dialogues, each of them protected.

    Each is cut to whole steps towards zero, which makes none longer: it moves the sum by `scale` steps at the most, in
    whole numbers, whatever the others are. So nothing of the rounding is left to account for, and nothing is drawn at
    random but the noise.
    """

    gradient_norm: float = 1.0  # L2 bound of one dialogue's gradient, the clip norm of DP-SGD

    def encode(self, parts: Iterable[Part], entropy: Entropy) -> RingVector:
        """Any number of parts float32[d], each gone when the next is asked for -> ring elements, noise included."""
        steps = np.zeros(self.coordinates, np.int64)
        for part in parts:
            add_clipped(steps, part, self.gradient_norm, self.scale)
        return self._released(steps, entropy)

    def decode(self, total: RingVector, survivors: int) -> Mean:
        """The ring sum of the survivors' uploads -> the mean of their steps down the gradient, noise in it."""
        down = -self.clip_norm / (self.scale * survivors)
        return Mean((self._summed(total) * down).astype(np.float32))


@dataclass(frozen=True)
class UpdateUpload(NoisyUpload):
    """A client's whole update, which is protected; a coin of the client's decides whether it is in the sum."""

    quantile: bool = False  # one more coordinate says whether the update was within the clip norm
    rotation: bytes | None = None
    weight: float = 1.0  # of an update that is sent again

    def encode(self, parts: Iterable[Part], entropy: Entropy) -> RingVector:
        """One update float32[d], or nothing of one that began without this client -> ring elements, noise included.

        Noise alone where the client's own coin says so, and where the update is not finite: who is told apart by
        failing is not protected, nor who is by taking less time, so that what is left out is rounded as well, and
        multiplied by 0.
        """
        taken = len(poisson_sample(1, self.mechanism.sampling_rate, entropy)) > 0
        found = list(parts)
        if not found:
            return self._released(np.zeros(self.coordinates, np.int64), entropy)
        (part,) = found
        update = _dense(part, self.dimension)
        if update.shape != (self.dimension,):
            raise InvalidValue(f"an update of {len(update)} numbers for a sum of {self.dimension}", param="update")
        finite = bool(np.isfinite(update).all())
        steps = self._rounded(update if finite else np.zeros_like(update), entropy)
        steps *= taken and finite
        return self._released(steps, entropy)

    def _rounded(self, update: FloatVector, entropy: Entropy) -> IntVector:
        spread = self._unit(update)
        spread *= np.float32(self.weight)
        if self.rotation is not None:
            spread = rotate(spread, self.rotation)
        spread *= np.float32(self.scale)
        return round_within(spread, self.mechanism.norm, entropy)

    def _unit(self, update: FloatVector) -> FloatVector:
        """The clipped update in clip norms, and the bit as +-BIT/2, together of norm 1 or less: float32[d (+ 1)]."""
        unit = clipped(update, self.clip_norm)
        unit /= np.float32(self.clip_norm)
        if not self.quantile:
            return unit
        within = float(np.linalg.norm(update.astype(np.float64))) <= self.clip_norm
        bit = np.float32(BIT / 2 if within else -BIT / 2)
        longer: FloatVector = np.append(unit, bit).astype(np.float32) / np.float32(_WITH_BIT)
        return longer

    def decode(self, total: RingVector, survivors: int) -> Mean:
        """The ring sum of the survivors' uploads -> the mean of the updates that their coins took, noise in it."""
        taken = survivors * self.mechanism.sampling_rate
        mean = (self._summed(total) / (self.scale * taken)).astype(np.float32)
        size = self.dimension + self.quantile
        mean = mean[:size] if self.rotation is None else rotate_back(mean, self.rotation, size)
        if not self.quantile:
            return Mean(mean * np.float32(self.clip_norm))
        mean *= np.float32(_WITH_BIT)
        return Mean(mean[:-1] * np.float32(self.clip_norm), 0.5 + float(mean[-1]) / BIT)


Upload = PlainUpload | DialoguesUpload | UpdateUpload


def _dense(part: Part, dimension: int) -> FloatVector:
    return part.dense(dimension) if isinstance(part, Scattered) else part


def clipped(update: FloatVector, norm: float) -> FloatVector:
    """The update scaled down to L2 norm `norm`, also one so long that float32 could not hold the factor."""
    exact = update.astype(np.float64)
    length = float(np.linalg.norm(exact))
    limit = norm * (1 - 1e-6)  # float32 rounding must not carry it over
    with np.errstate(invalid="ignore"):  # infinity times 0: for the code to refuse
        exact *= limit / max(length, limit)  # a short one takes as long
        return exact.astype(np.float32)
