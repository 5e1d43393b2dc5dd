"""A client's update as ring elements, and the sum of such as the clients' mean: what a recipe's noise makes of both.

With noise of the client's own, or none, updates travel in fixed point. With distributed noise each part that is
protected, the whole update or what one dialogue adds to it, is clipped, rotated and rounded to whole ring steps at a
certain norm, and their sum carries the client's share of discrete noise. Composes codes and noise; knows no key, no
message and no disk.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np

from chatfed.privacy.discrete import discrete_gaussian
from chatfed.privacy.distributed import DistributedGaussian, sum_reach
from chatfed.privacy.factorization import Coefficients, toeplitz
from chatfed.privacy.noise import poisson_sample
from chatfed.privacy.rounding import inflated_norm, round_within
from chatfed.secagg.encoding import OUTLIER_BITS, FixedPoint, choose_ring_bits
from chatfed.secagg.graph import most_corrupt
from chatfed.secagg.integers import SignedSum
from chatfed.secagg.masking import RING_BITS, RingVector
from chatfed.secagg.rotation import BLOCK, padded, rotate, rotate_back
from chatfed.types import ChatfedError, Entropy, FloatVector, IntVector

from .recipe import Recipe
from .settings import RecipeError

FINEST = 20.0  # of the update's norm in steps over sqrt(d): rounding then makes it 0.2 % longer at the most
COARSEST = 1.02  # how much longer rounding may make an update, or its noise would be wasted
COARSEST_AGAIN = 1.001  # where it is sent again, shorter, and rounded as coarsely
LEAST_STD = 2.5  # ring steps; from here on a sum of shares costs no more than a continuous Gaussian
BIT = 0.2  # weight of the bit beside an update of norm 1: it makes both together 0.5 % longer
_WITH_BIT = math.sqrt(1 + (BIT / 2) ** 2)
FOR_NOISE = 0.25  # of the ring; the rest is for the updates themselves


@dataclass(frozen=True, eq=False)
class Mean:
    """What a sum tells."""

    update: FloatVector = field(repr=False)  # float32[d]
    within: float | None = None  # noisy share of clients whose updates were within the clip norm


@dataclass(frozen=True)
class PlainUpload:
    """Fixed point. Every client weighs 1: one with more dialogues weighs more all the same, since its update is a sum
    over its dialogues divided by a public constant. So its count need not travel, in the ring or outside.
    """

    code: FixedPoint
    noised: bool = False  # by the client itself: then encoding never fails, which would tell of dialogues

    @property
    def coordinates(self) -> int:
        return self.code.coordinates

    @property
    def ring_bits(self) -> int:
        return self.code.ring_bits

    def encode(self, parts: Iterable[FloatVector], entropy: Entropy) -> RingVector:
        """One update float32[d] -> ring elements; a longer one is scaled down to the code's norm. One that is not
        finite is zeros where noise was in it, and OutOfRange where there was none: the run without noise has diverged.
        """
        (update,) = parts
        if self.noised and not np.isfinite(update).all():
            update = np.zeros_like(update)
        return self.code.encode(clipped(update, self.code.norm), 1.0, entropy)

    def decode(self, total: RingVector, survivors: int) -> Mean:
        """The ring sum of the survivors' uploads -> their mean float32[d]."""
        return Mean(self.code.decode(total, survivors)[0])


@dataclass(frozen=True)
class NoisyUpload:
    """Whole ring steps with a share of noise. The survivors' number is public, and so is not in the sum."""

    clip_norm: float  # L2, of a part: a client's whole update, or what one dialogue adds to it
    whole: bool  # the part is the whole update, and a coin of the client's decides whether it is in the sum
    dimension: int
    quantile: bool  # one more coordinate says whether the update was within the clip norm
    scale: float  # ring steps per unit of a vector of norm 1, what is sent
    ring_bits: int
    room: int  # ring steps on each side of zero for one client's parts together
    rotation: bytes | None
    mechanism: DistributedGaussian  # of one round
    weight: float = 1.0  # of an update that is sent again

    @property
    def coordinates(self) -> int:
        return self.mechanism.dimension

    def encode(self, parts: Iterable[FloatVector], entropy: Entropy) -> RingVector:
        """Any number of float32[d] -> ring elements of their sum, noise included.

        Each part is rounded by itself, so that it moves the sum by its own norm and no more. A coordinate whose sum
        passes the client's room is cut there, which brings two sums no further apart. Noise alone where the client's
        own coin says so, and nothing of a part that is not finite: who is told apart by failing is not protected, nor
        who is by taking less time, so that what is left out is rounded as well, and multiplied by 0.
        """
        steps = np.zeros(self.coordinates, np.int64)
        taken = not self.whole or len(poisson_sample(1, self.mechanism.sampling_rate, entropy)) > 0
        for part in parts:
            finite = bool(np.isfinite(part).all())
            steps += self._rounded(part if finite else np.zeros_like(part), entropy) * (taken and finite)
        np.clip(steps, -self.room, self.room, out=steps)
        steps += discrete_gaussian(self.mechanism.std).sample(steps.size, entropy)
        return SignedSum(steps.size, self.ring_bits).encode(steps)

    def _rounded(self, part: FloatVector, entropy: Entropy) -> IntVector:
        spread = self._unit(part) * np.float32(self.weight)
        if self.rotation is not None:
            spread = rotate(spread, self.rotation)
        return round_within(spread * np.float32(self.scale), self.mechanism.norm, entropy)

    def _unit(self, update: FloatVector) -> FloatVector:
        """The clipped update in clip norms, and the bit as +-BIT/2, together of norm 1 or less: float32[d (+ 1)]."""
        unit = clipped(update, self.clip_norm) / np.float32(self.clip_norm)
        if not self.quantile:
            return unit
        within = float(np.linalg.norm(update.astype(np.float64))) <= self.clip_norm
        return np.append(unit, np.float32(BIT / 2 if within else -BIT / 2)) / np.float32(_WITH_BIT)

    def decode(self, total: RingVector, survivors: int) -> Mean:
        """The ring sum of the survivors' uploads -> the mean of the updates that their coins took, noise in it."""
        steps = SignedSum(self.coordinates, self.ring_bits).decode(total)
        taken = survivors * (self.mechanism.sampling_rate if self.whole else 1)
        mean = (steps / (self.scale * taken)).astype(np.float32)
        size = self.dimension + self.quantile
        mean = mean[:size] if self.rotation is None else rotate_back(mean, self.rotation, size)
        if not self.quantile:
            return Mean(mean * np.float32(self.clip_norm))
        mean *= np.float32(_WITH_BIT)
        return Mean(mean[:-1] * np.float32(self.clip_norm), 0.5 + float(mean[-1]) / BIT)


Upload = PlainUpload | NoisyUpload


def upload(
    recipe: Recipe,
    participants: int,
    dimension: int,
    noise_multiplier: float,
    seed: bytes,
    clip_norm: float = 0.0,
    lag: int = 0,
) -> Upload:
    """What the recipe makes of a cohort's updates. seed: public, of this round's rotation. clip_norm: of this round,
    0 for the recipe's; the noise moves with it, so that it changes no claim. lag: rounds since the update began; sent
    again it is shorter, and costs less. Raises RecipeError.
    """
    rotation = seed if recipe.secagg.rotation else None
    if recipe.privacy.noise == "distributed":
        bits, scale, room, mechanism = _sized(recipe, participants, dimension, noise_multiplier)
        moving, whole = recipe.privacy.clip_quantile > 0, recipe.privacy.unit == "client"
        longest = clip_norm or recipe.privacy.longest_part
        code = NoisyUpload(longest, whole, dimension, moving, scale, bits, room, rotation, mechanism)
        return _sent_again(code, coefficients(recipe)[lag]) if lag else code
    bits = _ring_bits(recipe, participants, dimension, noise_multiplier)
    code = FixedPoint(_longest(recipe), dimension, participants, bits, rotation)
    return PlainUpload(code, noised=recipe.privacy.noise == "local")


def refuse_hopeless(recipe: Recipe, participants: int, noise_multiplier: float) -> None:
    """Raises RecipeError where no ring holds the noise for a model of any size: known before there is a model."""
    for power in reversed(range(32)):
        try:
            upload(recipe, participants, 1 << power, noise_multiplier, bytes(32))
            return
        except RecipeError as error:
            why = error
    raise RecipeError(f"whatever the model's size: {why}")


def threshold(recipe: Recipe, participants: int) -> int:
    """Survivors without whom nothing is unmasked: the recipe's share of the cohort, and over half of it."""
    return max(int(np.ceil(recipe.secagg.threshold * participants - 1e-9)), participants // 2 + 1)


def colluders(recipe: Recipe, participants: int) -> int:
    """Of the cohort, the most whose noise the server, or a curious client, may know: its own at the least."""
    return most_corrupt(participants, recipe.secagg.corrupt)


def clipped(update: FloatVector, norm: float) -> FloatVector:
    """The update scaled down to L2 norm `norm`, also one so long that float32 could not hold the factor."""
    exact = update.astype(np.float64)
    length = float(np.linalg.norm(exact))
    limit = norm * (1 - 1e-6)  # float32 rounding must not carry it over
    with np.errstate(invalid="ignore"):  # infinity times 0: for the code to refuse
        return (exact * (limit / max(length, limit))).astype(np.float32)  # a short one takes as long


def _sent_again(code: NoisyUpload, weight: float) -> NoisyUpload:
    least = 1 / code.scale  # a weight that is all but zero would be no norm to account for
    norm = inflated_norm(max(weight, least) * code.scale, 1.0, code.mechanism.dimension)
    return replace(code, weight=weight, mechanism=replace(code.mechanism, norm=norm))


@lru_cache(maxsize=16)
def coefficients(recipe: Recipe) -> Coefficients:
    """What an update is multiplied with in the rounds in which it is sent; (1,) without bands."""
    return toeplitz(recipe.federation.rates(), recipe.federation.bands)


def _longest(recipe: Recipe) -> float:
    """L2 norm to which an update without a share of noise is scaled down. Noise or not, a client's is `clip_norm`."""
    return recipe.privacy.clip_norm if recipe.privacy.unit == "client" else recipe.secagg.update_clip


def _ring_bits(recipe: Recipe, participants: int, dimension: int, noise_multiplier: float) -> int:
    """The recipe's ring width, or the narrowest whose rounding is lost in the noise that a client's update carries."""
    privacy, ring = recipe.privacy, recipe.secagg
    if ring.ring_bits:
        return ring.ring_bits
    per_coordinate = 0.0
    if privacy.noise == "local":
        one_step = noise_multiplier * privacy.clip_norm / privacy.expected_batch_size
        per_coordinate = privacy.learning_rate * one_step * math.sqrt(privacy.local_steps)
    return choose_ring_bits(_longest(recipe), dimension, participants, ring.rotation, per_coordinate)


class _TooLittleNoise(ChatfedError):
    """Shares that fall between the ring's steps."""


@lru_cache(maxsize=64)
def _sized(
    recipe: Recipe, participants: int, dimension: int, noise_multiplier: float
) -> tuple[int, float, int, DistributedGaussian]:
    """(ring bits, steps per clip norm, a client's room, one round's mechanism) in the narrowest ring that holds sum
    and noise.
    """
    for bits in (recipe.secagg.ring_bits,) if recipe.secagg.ring_bits else RING_BITS:
        try:
            return bits, *_sized_for(bits, recipe, participants, dimension, noise_multiplier)
        except ChatfedError as error:
            reason, more = str(error), isinstance(error, _TooLittleNoise)
    widest = recipe.secagg.ring_bits in (0, max(RING_BITS))
    raise RecipeError(
        f"no ring of {recipe.secagg.ring_bits or max(RING_BITS)} bits carries distributed noise for federation.cohort "
        f"= {participants} and {dimension:,} coordinates ({reason}): {'' if widest else 'set secagg.ring_bits to 0, '}"
        f"take a smaller cohort, fewer parameters in model.trainable, or {'more' if more else 'less'} "
        "noise (privacy.target_epsilon)"
    )


def _sized_for(
    bits: int, recipe: Recipe, participants: int, dimension: int, noise_multiplier: float
) -> tuple[float, int, DistributedGaussian]:
    size, parts = dimension + (recipe.privacy.clip_quantile > 0), 1.0
    if recipe.privacy.unit == "example":
        parts = max(1.0, recipe.privacy.expected_batch_size)  # as if all pointed the same way
    reach = 1.0  # largest coordinate of a vector of norm 1, but for probability 2^-OUTLIER_BITS
    if recipe.secagg.rotation:
        size = padded(size)
        reach = math.sqrt(2 * math.log(2 * size * 2.0**OUTLIER_BITS) / BLOCK)
    half = 1 << (bits - 1)
    honest = threshold(recipe, participants) - colluders(recipe, participants)  # over half, less under half: 1 or more
    share = noise_multiplier / math.sqrt(honest)  # std of a share over the norm
    if not share:
        raise _TooLittleNoise("a share of noise would be too small")
    room = math.floor((1 - FOR_NOISE) * half / participants)
    coarsest = COARSEST if recipe.federation.bands == 1 else COARSEST_AGAIN
    norm = min(
        (room / parts - 1) / reach,
        FOR_NOISE * half / (coarsest * sum_reach(share, participants, size)),
        FINEST * math.sqrt(max(size, 4)),
    )
    if norm <= 1 or inflated_norm(norm, 1.0, size) > coarsest * norm:
        raise ChatfedError("a step would be too coarse")
    longest = inflated_norm(norm, 1.0, size)
    std = share * longest
    if std < LEAST_STD:
        raise _TooLittleNoise("a share of noise would be too small")
    mechanism = DistributedGaussian(std, honest, longest, size, 1, recipe.privacy.sampling_rate)
    return norm, room, mechanism
