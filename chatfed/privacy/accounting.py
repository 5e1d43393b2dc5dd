"""What training has cost: epsilon of Poisson-subsampled Gaussian steps, and a claim that names all its conditions.

Knows nothing of models or files. Unit of protection: whatever one "example" of the mechanism is (here one dialogue).
Adjacency: add or remove one example, or replace one where nothing is sampled. Never below the truth, at any delta:

- EXACT, the Gaussian curve (Balle and Wang 2018), where nothing is sampled: k steps are one with noise / sqrt(k).
- PLD, privacy loss distributions (`chatfed.privacy.losses`), where anything is: within about one part in 10^4.
- UNAMPLIFIED, EXACT as if nothing were sampled: where PLD has no answer, at noise too small for any claim.

RDP, Renyi DP (Mironov 2017; Mironov, Talwar and Zhang 2019), is some percent above and there for comparison.
PRV (Gopi, Lee and Wutschitz 2021) is not among them: its rounding errors do not shrink with delta, and as Opacus
implements it it fell below the exact value from 1e-10 on.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from chatfed.privacy.conversions import PrivacyError as PrivacyError
from chatfed.privacy.conversions import check_delta, gaussian_epsilon
from chatfed.privacy.guarantee import Adjacency
from chatfed.privacy.losses import pld_epsilon, renyi_epsilon

EXACT = "exact Gaussian (Balle and Wang 2018)"
PLD = "PLD (privacy loss distributions), upper bound"
UNAMPLIFIED = "exact Gaussian without amplification by sampling, upper bound"
RDP = "Renyi DP, upper bound"

_LEAST_NOISE = 0.05  # multipliers below which no sampling is accounted: epsilon is far beyond any claim
_MOST_NOISE = 1e9  # multipliers above this are not looked for
_LOUD = 1e100  # multipliers above this count as this, which costs more: their squares would be no doubles
History = tuple[tuple[float, float, int], ...]


@dataclass(frozen=True, order=True)
class Mechanism:
    """`steps` Gaussian mechanisms, each on its own Poisson sample of the examples."""

    noise_multiplier: float  # noise std / L2 clip norm
    sampling_rate: float  # probability that an example is in a step's sample; 1: everyone, no amplification
    steps: int

    def __post_init__(self) -> None:
        if not (math.isfinite(self.noise_multiplier) and self.noise_multiplier >= 0):
            raise PrivacyError(
                f"noise_multiplier {self.noise_multiplier}: must be finite and not negative", param="noise_multiplier"
            )
        if not 0.0 <= self.sampling_rate <= 1.0:
            raise PrivacyError(f"sampling_rate {self.sampling_rate}: must lie in [0, 1]", param="sampling_rate")
        if not (math.isfinite(self.steps) and self.steps >= 0 and self.steps == int(self.steps)):
            raise PrivacyError(f"steps {self.steps}: must be a whole number, 0 or more", param="steps")


def epsilon(noise_multiplier: float, sampling_rate: float, steps: int, *, delta: float, by: str | None = None) -> float:
    """Upper bound on epsilon of `steps` Poisson-subsampled Gaussian steps at `delta`, exact at the rate 1.

    0 for no steps or rate 0, infinity without noise. Raises PrivacyError unless 0 < delta < 1.

    >>> round(epsilon(3.0, 0.1, 512, delta=1e-6), 2), round(epsilon(3.0, 0.1, 512, delta=1e-6, by=RDP), 2)
    (3.77, 4.05)
    >>> round(epsilon(100.0, 1.0, 10_000, delta=1e-12), 4)
    7.2385
    >>> epsilon(0.0, 0.1, 512, delta=1e-6)
    inf
    """
    return compose([Mechanism(noise_multiplier, sampling_rate, steps)], delta=delta, by=by)


def compose(
    mechanisms: Iterable[Mechanism],
    *,
    delta: float,
    by: str | None = None,
    adjacency: Adjacency = Adjacency.ADD_OR_REMOVE,
) -> float:
    """Upper bound on epsilon of all `mechanisms` together at `delta`; order does not matter and none costs 0.

    by: PLD or RDP, whose bound it is; None: EXACT where nothing is sampled, else PLD, or UNAMPLIFIED where that has no
    answer. adjacency: `REPLACE` halves each noise multiplier, as two clipped vectors differ by twice the norm; below
    the sampling rate 1 it is refused, as no theorem that we know gives its worst pair (take `group_privacy` of two:
    one removed, one added). Raises PrivacyError for that and for other names.

    >>> round(compose([Mechanism(1.0, 0.01, 400), Mechanism(1.0, 0.01, 600)], delta=1e-5), 2)
    1.83
    >>> round(compose([Mechanism(1.0, 0.01, 1000), Mechanism(2.0, 1.0, 10)], delta=1e-5), 2)
    7.83
    >>> round(compose([Mechanism(2.0, 1.0, 1)], delta=1e-5, adjacency=Adjacency.REPLACE), 2)
    4.38
    """
    return _answer(mechanisms, delta, by, adjacency)[0]


def accountant(mechanisms: Iterable[Mechanism], *, delta: float) -> str:
    """Which accountant's bound `compose` gives for these.

    >>> accountant([Mechanism(1.0, 0.01, 1000)], delta=1e-5), accountant([Mechanism(0.5, 1.0, 10)], delta=1e-5)
    ('PLD (privacy loss distributions), upper bound', 'exact Gaussian (Balle and Wang 2018)')
    """
    return _answer(mechanisms, delta, None, Adjacency.ADD_OR_REMOVE)[1]


def grouped(mechanism: Mechanism, size: int) -> Mechanism:
    """What costs at least as much for one example as `mechanism` does for `size` examples at once, all of one person.

    The sum moves by at most `size` clip norms, and by anything only if one of them is sampled: noise / size at the rate
    1 - (1 - rate)^size (mixtures of Gaussians: Ganesh 2024); exact without sampling. Raises PrivacyError for a size
    below 1.

    >>> once = Mechanism(calibrate_noise(1.0, 1.0, 1, delta=1e-5), 1.0, 1)
    >>> [round(compose([grouped(once, size)], delta=1e-5), 1) for size in (1, 5, 20)]
    [1.0, 6.2, 36.5]
    """
    rate = group_rate(mechanism.sampling_rate, size)
    return replace(mechanism, noise_multiplier=mechanism.noise_multiplier / size, sampling_rate=rate)


def group_rate(rate: float, size: int) -> float:
    """The probability that at least one of `size` examples is in a Poisson sample, rounded up."""
    if size < 1:
        raise PrivacyError(f"a group of {size}: must be 1 or more")
    return min(1.0, -math.expm1(size * math.log1p(-rate)) * (1 + 1e-12)) if 0 < rate < 1 else rate


def curve(
    mechanisms: Iterable[Mechanism], deltas: Iterable[float], *, adjacency: Adjacency = Adjacency.ADD_OR_REMOVE
) -> list[float]:
    """Epsilon of all `mechanisms` together at each of `deltas`, as `compose` gives it: the privacy profile.

    All pairs hold at once: they are points of one curve. Raises PrivacyError as `compose` does.

    >>> [round(e, 2) for e in curve([Mechanism(1.0, 0.01, 1000)], [1e-4, 1e-5, 1e-6, 1e-15])]
    [1.51, 1.83, 2.12, 4.85]
    """
    kept = list(mechanisms)
    return [compose(kept, delta=delta, adjacency=adjacency) for delta in deltas]


def zcdp(mechanisms: Iterable[Mechanism], *, adjacency: Adjacency = Adjacency.ADD_OR_REMOVE) -> float:
    """Rho of zero-concentrated DP of all together: steps / (2 noise_multiplier^2), added (Bun and Steinke 2016).

    Raises PrivacyError below the sampling rate 1, where a Poisson sample's Renyi divergence is not linear in the order.

    >>> zcdp([Mechanism(4.0, 1.0, 16)]), gdp([Mechanism(4.0, 1.0, 16)])
    (0.5, 1.0)
    """
    return gdp(mechanisms, adjacency=adjacency) ** 2 / 2


def gdp(mechanisms: Iterable[Mechanism], *, adjacency: Adjacency = Adjacency.ADD_OR_REMOVE) -> float:
    """Mu of Gaussian DP of all together: the root of the sum of steps / noise_multiplier^2 (Dong et al. 2022).

    Exact; `gaussian_epsilon` gives epsilon. Raises PrivacyError below the sampling rate 1, where only a limit theorem
    is known and no bound.
    """
    history = _history(mechanisms, adjacency)
    if any(rate < 1 for _, rate, _ in history):
        raise PrivacyError("a subsampled mechanism has no exact Gaussian or concentrated form: use compose or curve")
    if _without_noise(history):
        return math.inf
    return _mu(history)


def _answer(mechanisms: Iterable[Mechanism], delta: float, by: str | None, adjacency: Adjacency) -> tuple[float, str]:
    check_delta(delta)
    if by not in (None, PLD, RDP):
        raise PrivacyError(f"no accountant {by!r}: take {PLD!r}, {RDP!r}, or leave it out")
    return _compose(_history(mechanisms, adjacency), float(delta), by)


def _history(mechanisms: Iterable[Mechanism], adjacency: Adjacency) -> History:
    """(noise_multiplier, sampling_rate, steps), no kind twice, of what costs anything, as adding or removing one."""
    one, other = Adjacency.ADD_OR_REMOVE, Adjacency.REPLACE
    if adjacency not in (one, other):
        raise PrivacyError(f"no adjacency {str(adjacency)!r}: take {str(one)!r} or {str(other)!r}")
    steps: dict[tuple[float, float], int] = {}
    for m in mechanisms:
        if m.steps and m.sampling_rate:
            kind = (min(float(m.noise_multiplier), _LOUD), float(m.sampling_rate))
            steps[kind] = steps.get(kind, 0) + int(m.steps)
    if adjacency == other and any(rate < 1 for _, rate in steps):
        raise PrivacyError(f"{str(other)!r} with sampling is not accounted: take group_privacy of 2 of {str(one)!r}")
    apart = Adjacency(adjacency).sensitivity(1.0)
    steps = {(noise / apart, rate): count for (noise, rate), count in steps.items()}
    return tuple(sorted((*kind, count) for kind, count in steps.items()))


def _without_noise(history: History) -> bool:
    return any(noise == 0.0 for noise, _, _ in history)


def calibrate_noise(
    target_epsilon: float,
    sampling_rate: float,
    steps: int,
    *,
    delta: float,
    by: str | None = None,
    before: Sequence[Mechanism] = (),
) -> float:
    """Smallest noise multiplier (to 1e-3 relative, rounded up) with epsilon(...) <= target_epsilon.

    before: mechanisms that are composed with these steps. Brackets by interpolation on the logarithms; the answer has
    been evaluated, so it is on the safe side. Raises PrivacyError when the target is not a positive finite number or no
    multiplier up to 1e9 reaches it.

    >>> noise = calibrate_noise(3.0, 0.1, 100, delta=1e-5)
    >>> round(noise, 1), epsilon(noise, 0.1, 100, delta=1e-5) <= 3.0
    (1.7, True)
    >>> round(calibrate_noise(0.01, 1.0, 1, delta=1e-5))
    244
    """
    check_delta(delta)
    if not (math.isfinite(target_epsilon) and target_epsilon > 0):
        raise PrivacyError(f"target epsilon {target_epsilon}: must be a finite number above 0", param="target_epsilon")
    if steps == 0 or sampling_rate == 0:
        Mechanism(1.0, sampling_rate, steps)
        return 0.0

    def spent(noise: float) -> float:
        return compose([*before, Mechanism(noise, sampling_rate, steps)], delta=delta, by=by)

    if before and (already := compose(before, delta=delta, by=by)) >= target_epsilon:
        raise PrivacyError(
            f"target epsilon {target_epsilon}: what comes before costs {already:g} by itself", param="target_epsilon"
        )

    low, high = _bracket(target_epsilon, Mechanism(1.0, sampling_rate, steps), delta)
    above, below = spent(low), spent(high)
    while above <= target_epsilon:
        low, high, above, below = low / 1.3, low, spent(low / 1.3), above
    while below > target_epsilon:
        if high > _MOST_NOISE:
            raise PrivacyError(
                f"target epsilon {target_epsilon} cannot be reached at delta {delta}: take a larger one",
                param="target_epsilon",
            )
        low, high, above, below = high, high * 1.3, below, spent(high * 1.3)
    while high / low > 1.001:
        middle = _between(low, high, above, below, target_epsilon)
        for trial in (middle * 1.0003, middle / 1.0003):
            if low < trial < high:
                found = spent(trial)
                if found <= target_epsilon:
                    high, below = trial, found
                else:
                    low, above = trial, found
    return high


def _between(low: float, high: float, above: float, below: float, target: float) -> float:
    """Where log epsilon, taken as linear in log noise, crosses the target; kept off the ends so that both move."""
    share = 0.5
    if math.isfinite(above) and above > below > 0:
        share = min(0.9, max(0.1, math.log(above / target) / math.log(above / below)))
    return low * math.exp(share * math.log(high / low))


def _bracket(target: float, one: Mechanism, delta: float) -> tuple[float, float]:
    """(low, high) noise multipliers around the answer or not far from it, from a bound that is quick."""

    def reaches(noise: float) -> bool:
        if one.sampling_rate == 1 or noise < _LEAST_NOISE:
            return gaussian_epsilon(math.sqrt(one.steps) / noise, delta) <= target
        return renyi_epsilon([(noise, one.sampling_rate, one.steps)], delta) <= target

    low, high = 1e-3, 1.0
    while not reaches(high) and high <= _MOST_NOISE:
        low, high = high, 8 * high
    while high / low > 1.1:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if reaches(middle) else (middle, high)
    return high / 1.2, high


@lru_cache(maxsize=4096)
def _compose(history: History, delta: float, by: str | None) -> tuple[float, str]:
    """Epsilon and whose it is. Cached: 400 equal ledgers ask once."""
    kept = _gaussians_as_one(history)
    if not history:
        return 0.0, by or EXACT
    if _without_noise(history):
        return math.inf, by or EXACT
    sampled = any(rate < 1 for _, rate, _ in history)
    if all(noise >= _LEAST_NOISE for noise, _, _ in kept):
        if by == RDP:
            return renyi_epsilon(kept, delta), RDP
        found = pld_epsilon(kept, delta) if sampled or by == PLD else math.inf
        if math.isfinite(found):
            return found, PLD
    return gaussian_epsilon(_mu(history), delta), UNAMPLIFIED if sampled else EXACT


def _mu(history: History) -> float:
    """Of Gaussian DP, as if nothing were sampled."""
    return math.sqrt(math.fsum(steps / noise / noise for noise, _, steps in history))


def _gaussians_as_one(history: History) -> History:
    """The steps that are not sampled are together one Gaussian step; so are those with next to no noise, as if."""
    whole = tuple(kind for kind in history if kind[1] == 1 or kind[0] < _LEAST_NOISE)
    rest = tuple(kind for kind in history if kind not in whole)
    return (*rest, (1 / _mu(whole), 1.0, 1)) if whole and not _without_noise(whole) else rest
