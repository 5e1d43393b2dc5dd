"""How a run's updates become ring elements: ring, steps and noise of a cohort, from the settings.

The narrowest ring that holds sum and noise, unless the recipe names one. Knows no key and no message.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

from chatfed.privacy.discrete import MOST_STD
from chatfed.privacy.distributed import DistributedGaussian, sum_reach
from chatfed.privacy.factorization import Coefficients, toeplitz
from chatfed.privacy.guarantee import Noise, Unit
from chatfed.privacy.rounding import inflated_norm
from chatfed.secagg.encoding import OUTLIER_BITS, FixedPoint, choose_ring_bits
from chatfed.secagg.masking import RING_BITS
from chatfed.secagg.rotation import BLOCK, padded
from chatfed.types import ChatfedError

from .recipe import FederationSection, PrivacySection, SecAggSection
from .settings import RecipeError
from .survivors import colluders, threshold
from .upload import DialoguesUpload, PlainUpload, UpdateUpload, Upload

FINE = 20.0  # of an update's norm in steps over sqrt(d): rounding then makes it 0.2 % longer at the most
FINEST = 100.0  # of a dialogue's: cutting at a step then takes half a percent of a coordinate of usual size
LEAST_FINE = 5.0  # ten percent
COARSEST = 1.02  # how much longer rounding may make an update, or its noise would be wasted
COARSEST_AGAIN = 1.001  # where it is sent again, shorter, and rounded as coarsely
LEAST_STD = 2.5  # ring steps; from here on a sum of shares costs no more than a continuous Gaussian
FOR_NOISE = 0.25  # of the ring; the rest is for the updates themselves


@lru_cache(maxsize=16)
def coefficients(schedule: FederationSection) -> Coefficients:
    """What an update is multiplied with in the rounds in which it is sent; (1,) without bands."""
    return toeplitz(schedule.rates(), schedule.bands)


@dataclass(frozen=True)
class Codec:
    """What updates of any cohort are encoded with."""

    privacy: PrivacySection
    secagg: SecAggSection
    coefficients: Coefficients  # of an update, by the rounds since it began
    noise_multiplier: float  # the clients'; 0 without noise

    def upload(
        self, participants: int, dimension: int, seed: bytes = bytes(32), clip_norm: float = 0.0, lag: int = 0
    ) -> Upload:
        """The code of one cohort's updates.

        seed: public, of this round's rotation. clip_norm: of this round, 0 for the recipe's; the noise moves with it,
        so that it changes no claim. lag: rounds since the update began; sent again it is shorter, and costs less.
        Raises RecipeError where no ring holds them.
        """
        rotation = seed if self.secagg.rotation else None
        if self.privacy.noise is Noise.DISTRIBUTED:
            bits, scale, room, mechanism = _sized(self, participants, dimension)
            sizes = (clip_norm or self.privacy.longest_part, dimension, scale, bits, room, mechanism)
            if self.privacy.unit is Unit.EXAMPLE:
                return DialoguesUpload(*sizes, self.privacy.clip_norm)
            noisy = UpdateUpload(*sizes, self.privacy.clip_quantile > 0, rotation)
            return _sent_again(noisy, self.coefficients[lag]) if lag else noisy
        bits = _ring_bits(self, participants, dimension)
        code = FixedPoint(self.longest, dimension, participants, bits, rotation)
        return PlainUpload(code, noised=self.privacy.noise is Noise.LOCAL)

    @property
    def longest(self) -> float:
        """L2 norm to which an update without a share of noise is scaled down.

        Noise or not, a client's is `clip_norm`.
        """
        return self.privacy.clip_norm if self.privacy.unit is Unit.CLIENT else self.secagg.update_clip

    def refuse_hopeless(self, participants: int) -> None:
        """Raises RecipeError where no ring holds the noise for a model of any size: known before there is a model."""
        for power in reversed(range(32)):
            try:
                self.upload(participants, 1 << power)
                return
            except RecipeError as error:
                why = error
        raise RecipeError("whatever the model's size: " + why.template, **why.values)


def _sent_again(code: UpdateUpload, weight: float) -> UpdateUpload:
    least = 1 / code.scale  # a weight that is all but zero would be no norm to account for
    norm = inflated_norm(max(weight, least) * code.scale, 1.0, code.mechanism.dimension)
    return replace(code, weight=weight, mechanism=replace(code.mechanism, norm=norm))


def _ring_bits(codec: Codec, participants: int, dimension: int) -> int:
    """The recipe's ring width, or the narrowest whose rounding is lost in the noise that a client's update carries."""
    privacy, ring = codec.privacy, codec.secagg
    if ring.ring_bits:
        return ring.ring_bits
    per_coordinate = 0.0
    if privacy.noise is Noise.LOCAL:
        one_step = codec.noise_multiplier * privacy.clip_norm / privacy.expected_batch_size
        per_coordinate = privacy.learning_rate * one_step * math.sqrt(privacy.local_steps)
    return choose_ring_bits(codec.longest, dimension, participants, ring.rotation, per_coordinate)


class _TooLittleNoise(ChatfedError):
    """Shares that fall between the ring's steps."""


@lru_cache(maxsize=64)
def _sized(codec: Codec, participants: int, dimension: int) -> tuple[int, float, int, DistributedGaussian]:
    """The narrowest ring that holds sum and noise; of dialogues the widest, since theirs are cut to steps.

    (ring bits, steps per clip norm, a client's room, one round's mechanism). Raises RecipeError.
    """
    rings = RING_BITS if codec.privacy.unit is Unit.CLIENT else RING_BITS[-1:]
    for bits in (codec.secagg.ring_bits,) if codec.secagg.ring_bits else rings:
        try:
            return bits, *_sized_for(bits, codec, participants, dimension)
        except ChatfedError as error:
            reason, more = str(error), isinstance(error, _TooLittleNoise)
    widest = codec.secagg.ring_bits in (0, max(RING_BITS))
    raise RecipeError(
        "no ring of {bits} bits carries distributed noise for {federation.cohort} = {participants} and {dimension:,} "
        "coordinates ({reason}): "
        + ("" if widest else "set {secagg.ring_bits} to 0, ")
        + "take a smaller cohort, fewer parameters in {model.trainable}, or {amount} noise ({privacy.target_epsilon})",
        bits=codec.secagg.ring_bits or max(RING_BITS),
        participants=participants,
        dimension=dimension,
        reason=reason,
        amount="more" if more else "less",
    )


def _sized_for(bits: int, codec: Codec, participants: int, dimension: int) -> tuple[float, int, DistributedGaussian]:
    """Steps per clip norm, a client's room and one round's mechanism in a ring of so many bits. Raises ChatfedError."""
    known = colluders(codec.secagg, participants)
    honest = threshold(codec.secagg, participants) - known  # over half, less under half: 1 or more
    share = codec.noise_multiplier / math.sqrt(honest)  # std of a share over the norm
    if not share:
        raise _TooLittleNoise("a share of noise would be too small")
    room = math.floor((1 - FOR_NOISE) * (1 << bits - 1) / participants)
    sized = _of_dialogues if codec.privacy.unit is Unit.EXAMPLE else _of_updates
    scale, longest, size = sized(codec, FOR_NOISE * (1 << bits - 1), participants, dimension, share, room)
    std = share * longest
    if std < LEAST_STD:
        raise _TooLittleNoise("a share of noise would be too small")
    return scale, room, DistributedGaussian(std, honest, longest, size, 1, codec.privacy.sampling_rate)


def _of_dialogues(
    codec: Codec, for_noise: float, participants: int, dimension: int, share: float, room: int
) -> tuple[float, float, int]:
    """(steps per clip norm, longest vector in steps, coordinates): cut towards zero, so that nothing is longer."""
    together = max(1.0, codec.privacy.expected_batch_size)  # as if all pointed the same way
    root = math.sqrt(max(dimension, 4))
    scale = min(
        room / together,
        for_noise / sum_reach(share, participants, dimension),
        MOST_STD * (1 - 1e-9) / share,
        FINEST * root,
    )
    if scale < LEAST_FINE * root:
        raise ChatfedError("a step would be too coarse")
    return scale, scale, dimension


def _of_updates(
    codec: Codec, for_noise: float, participants: int, dimension: int, share: float, room: int
) -> tuple[float, float, int]:
    """The same of whole updates, rounded at random, which makes them a little longer."""
    size = dimension + (codec.privacy.clip_quantile > 0)
    reach = 1.0  # largest coordinate of a vector of norm 1, but for probability 2^-OUTLIER_BITS
    if codec.secagg.rotation:
        size = padded(size)
        reach = math.sqrt(2 * math.log(2 * size * 2.0**OUTLIER_BITS) / BLOCK)
    coarsest = COARSEST if len(codec.coefficients) == 1 else COARSEST_AGAIN
    scale = min(
        (room - 1) / reach,
        for_noise / (coarsest * sum_reach(share, participants, size)),
        FINE * math.sqrt(max(size, 4)),
    )
    if scale <= 1 or inflated_norm(scale, 1.0, size) > coarsest * scale:
        raise ChatfedError("a step would be too coarse")
    return scale, inflated_norm(scale, 1.0, size), size
