"""What a sum of clients' discrete Gaussian shares protects: the accounting of noise that no one adds alone.

Knows nothing of rings, masks or models. Every client of a round rounds its clipped vector to whole ring steps (norm at
most `norm`), adds a share N_Z(0, std^2) to every coordinate, and only the sum is seen. Unit: one client. Adjacency:
ZERO_OUT, the client's vector or zeros in its place; *that* it takes part is public, and its share is there either way.

Conditions. At least `shares` honest clients' noise, the protected client's own counted, is in every sum that is seen,
and independent of all else: fewest survivors minus colluders. More shares are post-processing, and so is a sum that
wraps in its ring. Each share is drawn by `discrete_gaussian(std)`. Two bounds, of which the least is given:

1. *Concentrated* (Kairouz, Liu and Steinke 2021, proposition 14; std >= 1/2, no sampling): `concentrated`.
2. *Gaussian*. Let Y be the true vector plus continuous N(0, s^2 - t^2) noise, and round each coordinate y to z with a
   probability proportional to exp(-(z - y)^2 / 2 t^2). That is post-processing, and for a vector of whole numbers its
   outcome is within `closeness(t^2)` of the vector plus N_Z(0, s^2), in max-divergence a coordinate: integrated over y
   it is exp(-(z - x)^2 / 2 s^2) but for the ripple of the normalising sum (as in Peikert 2010, theorem 3.1). The sum of
   n shares is within sum_(k<n) closeness(std^2 k / (k + 1)) of N_Z(0, n std^2) (Kairouz et al., proposition 12,
   one share after another, here with the series itself). Such ratios hold for mixtures, so for samples too, and
   multiply over coordinates and rounds, adaptive ones included: with a for all of them together, (epsilon, delta) of
   the continuous Gaussian becomes (epsilon + 2 a, e^a delta). a is negligible from a std of 2.5 on.

In both, tables are not ideal: with V the sum of all variations, delta grows by (1 + e^epsilon) V.

Sampling (`sampling_rate` < 1, second bound only) is Poisson, and nobody who sees sums may know who was sampled. The
number of shares tells: it must not depend on the sample. So clients of the cohort that are not sampled send zeros and
their share all the same. Each may toss the coin itself, which asks for no trusted sampler; where a server samples, the
claim holds only where the sampler is trusted, and it must say so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from chatfed.privacy.accounting import Mechanism, compose, gdp, group_rate
from chatfed.privacy.conversions import PrivacyError, check_delta, gaussian_epsilon, zcdp_epsilon
from chatfed.privacy.discrete import MOST_STD, closeness, discrete_gaussian
from chatfed.privacy.guarantee import Adjacency

SUMS = "Gaussian and zCDP bounds for sums of discrete Gaussians, the lesser"
SAMPLED_SUMS = "Poisson-sampled Gaussian bound for sums of discrete Gaussians, by PLD"
LEAST_SHARE = 0.5  # std; below, the theorems say nothing
_FOR_TABLES = 1e-4  # share of delta kept for the tables' variation; they take far less
_SLACK = 1e-5  # what the rounding of the continuous Gaussian may add to epsilon
_MOST_SLACK = 1.0  # a beyond which the second bound is not asked


@dataclass(frozen=True)
class DistributedGaussian:
    """`rounds` sums of whole-number vectors, every one with at least `shares` honest shares of N_Z(0, std^2) in it."""

    std: float  # of one share, ring steps: the parameter of discrete_gaussian
    shares: int  # certain in each sum: fewest survivors - colluders
    norm: float  # largest L2 norm of one client's vector of whole numbers, ring steps
    dimension: int  # coordinates of the vector, filled up ones included
    rounds: int = 1
    sampling_rate: float = 1.0  # see the module's last lines

    def __post_init__(self) -> None:
        if not LEAST_SHARE <= self.std <= MOST_STD:
            raise PrivacyError(f"a share's std of {self.std} ring steps: take from {LEAST_SHARE} to {MOST_STD:g}")
        if self.shares < 1:
            raise PrivacyError(f"{self.shares} honest shares: raise the fewest survivors or allow fewer colluders")
        if not (0 < self.norm < math.inf and self.dimension >= 1):
            raise PrivacyError(f"norm {self.norm} and dimension {self.dimension}: both must be positive and finite")
        Mechanism(1.0, self.sampling_rate, self.rounds)

    @property
    def total_std(self) -> float:
        """Of the noise that is certain in a sum, ring steps."""
        return self.std * math.sqrt(self.shares)

    @property
    def noise_multiplier(self) -> float:
        """total_std / norm, as for a continuous Gaussian."""
        return self.total_std / self.norm


def distributed_epsilon(
    mechanisms: Sequence[DistributedGaussian],
    *,
    delta: float,
    by: str | None = None,
    adjacency: Adjacency = Adjacency.ZERO_OUT,
) -> float:
    """Upper bound on epsilon of all `mechanisms` together at `delta`; the module's first lines have the proof.

    by: the accountant of the sampled ones, as in `compose`; without sampling the formula is exact. adjacency: `REPLACE`
    doubles the norm. Raises PrivacyError where no bound holds: `REPLACE` with sampling, sampling with shares so small
    that their sum is no Gaussian, or tables that are too coarse for the dimension.

    >>> noise = DistributedGaussian(std=20.0, shares=80, norm=150.0, dimension=1_000_000, rounds=10)
    >>> round(distributed_epsilon([noise], delta=1e-5), 2), round(noise.noise_multiplier, 2)
    (14.23, 1.19)
    """
    check_delta(delta)
    used = [m for m in mechanisms if m.rounds and m.sampling_rate]
    sampled = any(m.sampling_rate < 1 for m in used)
    replaces = adjacency == Adjacency.REPLACE
    if not (replaces or adjacency == Adjacency.ZERO_OUT) or (replaces and sampled):
        given = f"{str(adjacency)!r}{' with sampling' * sampled}"
        raise PrivacyError(f"adjacency {given} is not accounted: take {str(Adjacency.ZERO_OUT)!r}")
    if not used:
        return 0.0
    factor = Adjacency(adjacency).sensitivity(1.0)
    bounds = [_gaussian(used, delta * (1 - _FOR_TABLES), by, factor)]
    if not sampled:
        rho = sum(m.rounds * concentrated(m, factor) for m in used)
        bounds.append(zcdp_epsilon(rho, delta * (1 - _FOR_TABLES)))
    epsilon = min(bounds)
    if math.isinf(epsilon):
        raise PrivacyError("sampled sums of so small shares have no bound: take a smaller ring step, so a larger std")
    variation = sum(m.rounds * m.dimension * m.shares * discrete_gaussian(m.std).variation for m in used)
    if variation and math.log(variation) + epsilon + math.log1p(math.exp(-epsilon)) > math.log(_FOR_TABLES * delta):
        raise PrivacyError(f"epsilon {epsilon:g} at delta {delta:g} is beyond what the noise tables can show")
    return epsilon


def grouped_sum(mechanism: DistributedGaussian, size: int) -> DistributedGaussian:
    """What costs at least as much for one unit as `mechanism` does for `size` units of one person: `grouped` for sums.

    They move a sum by at most `size` norms, and by anything only if one of them is sampled. Raises PrivacyError for a
    size below 1.

    >>> once = DistributedGaussian(std=20.0, shares=80, norm=150.0, dimension=1000)
    >>> grouped_sum(once, 3).noise_multiplier == once.noise_multiplier / 3
    True
    """
    return replace(mechanism, norm=mechanism.norm * size, sampling_rate=group_rate(mechanism.sampling_rate, size))


def concentrated(mechanism: DistributedGaussian, factor: float = 1.0) -> float:
    """Rho of zero-concentrated DP of one round, ideal shares, no sampling (Kairouz et al. 2021, proposition 14).

    With D the norm (times `factor`), s the total std, D1 = min(sqrt(d) D, D^2), not below the L1 norm, and
    tau = 10 sum_(k<n) exp(-2 pi^2 std^2 k / (k + 1)), the least of D^2 / 2 s^2 + tau d, of D^2 / 2 s^2 + D1 tau / s +
    tau^2 d / 2, and of (D / s + tau sqrt(d))^2 / 2. tau is twice a max-divergence: what parts of a share add is added.

    >>> concentrated(DistributedGaussian(std=10.0, shares=100, norm=50.0, dimension=1_000_000))
    0.125
    """
    d, norm = mechanism.dimension, factor * mechanism.norm
    tau = _tau(mechanism.std, mechanism.shares) + 2 * mechanism.shares * discrete_gaussian(mechanism.std).divergence
    signal, longest = norm / mechanism.total_std, min(math.sqrt(d) * norm, norm**2)
    return min(
        signal**2 / 2 + tau * d,
        signal**2 / 2 + longest * tau / mechanism.total_std + tau**2 * d / 2,
        (signal + tau * math.sqrt(d)) ** 2 / 2,
    )


def calibrate_share(
    target_epsilon: float,
    *,
    delta: float,
    norm: float,
    dimension: int,
    shares: int,
    rounds: int,
    sampling_rate: float = 1.0,
) -> DistributedGaussian:
    """The least std of a share (to 1e-3, rounded up) whose cost over all rounds is at most `target_epsilon`.

    The answer has been evaluated. norm, dimension, shares: as in DistributedGaussian. Raises PrivacyError when no std
    up to 1e6 ring steps is enough, for instance because the step is too fine.

    >>> noise = calibrate_share(8.0, delta=1e-5, norm=150.0, dimension=1_000_000, shares=80, rounds=10)
    >>> round(noise.std, 1), distributed_epsilon([noise], delta=1e-5) <= 8.0
    (31.8, True)
    """

    def reaches(std: float) -> bool:
        trial = DistributedGaussian(std, shares, norm, dimension, rounds, sampling_rate)
        try:
            return distributed_epsilon([trial], delta=delta) <= target_epsilon
        except PrivacyError:  # shares too small for any bound
            return False

    check_delta(delta)
    if not (math.isfinite(target_epsilon) and target_epsilon > 0):
        raise PrivacyError(f"target epsilon {target_epsilon}: must be a finite number above 0")
    low, high = LEAST_SHARE, max(2 * LEAST_SHARE, norm / math.sqrt(shares))
    while not reaches(high):
        if high >= MOST_STD:
            raise PrivacyError(
                f"target epsilon {target_epsilon} needs shares above {MOST_STD:g} steps: coarsen the step"
            )
        low, high = high, min(2 * high, MOST_STD)
    while high / low > 1.001:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if reaches(middle) else (middle, high)
    return DistributedGaussian(high, shares, norm, dimension, rounds, sampling_rate)


def sum_reach(std: float, cohort: int, dimension: int, failure: float = 2.0**-40) -> float:
    """Ring steps that the noise of `cohort` shares stays within, on all coordinates, but with probability `failure`.

    std sqrt(2 cohort log(2 dimension / failure)): a discrete Gaussian is sub-Gaussian as the continuous one is, since
    its sum is largest unshifted (`closeness`). For the ring's width only: a sum that wraps is as private, and wrong.

    >>> round(sum_reach(20.0, 100, 1_000_000))
    1838
    """
    return std * math.sqrt(2 * cohort * math.log(2 * dimension / failure))


def _gaussian(used: Sequence[DistributedGaussian], delta: float, by: str | None, factor: float) -> float:
    """The second bound for ideal shares; infinite where it says nothing."""
    blurred = math.log(8 * sum(m.rounds * m.dimension for m in used) / _SLACK) / (2 * math.pi**2)  # t^2
    apart = sum(m.rounds * m.dimension * (_ratio(m.std, m.shares) + closeness(blurred)) for m in used)
    if apart > _MOST_SLACK or any(m.total_std**2 <= blurred for m in used):
        return math.inf
    steps = [
        Mechanism(math.sqrt(m.total_std**2 - blurred) / (factor * m.norm), m.sampling_rate, m.rounds) for m in used
    ]
    delta *= math.exp(-apart)
    if any(m.sampling_rate < 1 for m in used):
        return compose(steps, delta=delta, by=by) + 2 * apart
    return gaussian_epsilon(gdp(steps), delta) + 2 * apart


@lru_cache(maxsize=256)
def _ratio(std: float, shares: int) -> float:
    """Max-divergence of a coordinate's sum of shares from N_Z(0, shares * std^2); one share joins at a time."""
    joined = sum(closeness(std**2 * k / (k + 1)) for k in range(1, shares))
    return joined + shares * discrete_gaussian(std).divergence


@lru_cache(maxsize=256)
def _tau(std: float, shares: int) -> float:
    return 10 * sum(math.exp(-2 * math.pi**2 * std**2 * k / (k + 1)) for k in range(1, shares))
