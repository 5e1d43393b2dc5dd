"""Does noise do what was charged for it? Tests of residuals, of replayed neighbours and of samples. Knows no protocol.

A *residual* is a published sum less the inputs that the auditor put into it: what is left must be the noise, all of it
and nothing else. A *replay* runs twice under the same entropy on data that differ in one unit: what leaves may differ
by one clipped unit and in nothing that is not a number. Whoever calls brings the vectors; nothing is drawn here.

One decision for a whole list of tests: Bonferroni over its p-values at `FAMILY`, so that a sound mechanism is accused
once in a million lists. Tests that are exact have a p-value of 0 or 1 and count like the others.

What it cannot show. A fault smaller than its power: a deviation that is wrong by r is found at about sqrt(2 n) r
standard errors in n coordinates, noise cut at more than 4.5 deviations is not told from whole noise in a million. And
whether a generator is unpredictable: noise from a known seed has the right distribution.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft, special

from chatfed.audit.leakage import AuditError

FAMILY = 1e-6  # chance that a whole list of tests accuses a mechanism that is sound
BINS = 64  # of the test of shape, each as likely
STRETCH = 1024  # coordinates of which the deviation is also looked at by itself
FAR = 4.0  # deviations; one value in 15,787 lies beyond

Vector = NDArray[np.float64] | NDArray[np.int64] | NDArray[np.float32]


@dataclass(frozen=True)
class Test:
    """One thing that was looked at."""

    name: str
    p: float  # chance of what was seen, or of worse, if the mechanism is sound; exact tests: 0 or 1
    found: str = ""  # what was seen, where it is no number

    __test__ = False  # pytest: a class to be used, not collected


def exact(name: str, holds: bool, found: str = "") -> Test:
    """A test that chance has no part in."""
    return Test(name, 1.0 if holds else 0.0, "" if holds else found)


@dataclass(frozen=True)
class Decision:
    """What a list of tests comes to."""

    tests: int
    worst: Test
    p: float  # of the list: of the worst test, times their number
    faults: tuple[Test, ...]  # those whose own p, times their number, is below FAMILY

    @property
    def holds(self) -> bool:
        """Whether nothing was found."""
        return not self.faults


def decide(tests: Sequence[Test]) -> Decision:
    """The one decision of a list of tests (Bonferroni). Raises AuditError for an empty list, or a p that is no number.

    >>> decide([Test("a", 2e-6), Test("b", 0.5)]).holds, decide([Test("a", 2e-7), Test("b", 0.5)]).holds
    (True, False)
    """
    if not tests:
        raise AuditError("no test was made, so nothing is decided: give the audit something to look at")
    if broken := [each.name for each in tests if not 0.0 <= each.p <= 1.0]:
        raise AuditError(f"{broken[0]} gave no probability: look whether what was summed is finite")
    worst = min(tests, key=lambda each: each.p)
    faults = sorted((each for each in tests if each.p * len(tests) < FAMILY), key=lambda each: each.p)
    return Decision(len(tests), worst, min(1.0, worst.p * len(tests)), tuple(faults))


@dataclass(frozen=True)
class Residual:
    """What is left of one sum, and what it should be."""

    name: str
    values: Vector  # [d], ring steps
    std: float  # of the noise that was charged for, ring steps
    signal: Vector | None = None  # [d], what went in; None: nothing did
    whole: bool = True  # whole steps; not after a rotation
    within: str = ""  # name of the residual that this one's noise is also in: those two are not compared


def residual_tests(residuals: Sequence[Residual]) -> list[Test]:
    """Of each: deviation, mean, shape, tails, stretches, independence; of all: deviation; of pairs: independence.

    Sums of discrete Gaussians are taken for one discrete Gaussian, which from a std of 2.5 on they are to 1e-20
    (Kairouz, Liu and Steinke 2021, proposition 12).
    """
    scaled = [_finite(each) for each in residuals]
    tests = [test for each, x in zip(residuals, scaled, strict=True) for test in _alone(each, x)]
    apart = [x for each, x in zip(residuals, scaled, strict=True) if not each.within]
    squares, size = sum(float(x @ x) for x in apart), sum(x.size for x in apart)
    tests.append(Test("deviation, all together", two_sided_chi_square(squares, size)))
    spectra = [fft.rfft(x) for x in scaled]
    for (i, one), (j, other) in combinations(enumerate(residuals), 2):
        if one.values.size == other.values.size and one.name != other.within and other.name != one.within:
            p = _largest_correlation(spectra[i], spectra[j], one.values.size, own=False)
            tests.append(Test(f"independence of {one.name} and {other.name}", p))
    return tests


def _finite(residual: Residual) -> NDArray[np.float64]:
    scaled: NDArray[np.float64] = residual.values.astype(np.float64) / residual.std
    if scaled.ndim != 1 or not scaled.size or not np.isfinite(scaled).all():
        raise AuditError(f"{residual.name} is no vector of finite numbers: look at what was summed")
    return scaled


def _alone(residual: Residual, x: NDArray[np.float64]) -> list[Test]:
    """Tests of one residual; x: the same in deviations."""
    d, signal = x.size, residual.signal
    found = {
        "deviation": two_sided_chi_square(float(x @ x), d),
        "mean": two_sided_normal(float(x.sum()) / math.sqrt(d)),
        "shape": _shape(x, residual),
        "tails": _tails(x, residual),
        "stretches": _stretches(x),
        "independence across coordinates": _largest_correlation(fft.rfft(x), None, d, own=True),
    }
    if residual.whole:
        found["coordinates without noise"] = _zeros(residual)
    if signal is not None and (length := float(np.linalg.norm(signal))):
        found["input left over"] = two_sided_normal(float(x @ signal) / length)
    return [Test(f"{what}, {residual.name}", p) for what, p in found.items()]


def two_sided_normal(z: float) -> float:
    """Chance that a standard normal is so far from 0, on either side.

    >>> round(two_sided_normal(-1.959964), 6)
    0.05
    """
    return min(1.0, 2 * float(special.ndtr(-abs(z))))


def two_sided_chi_square(squares: float, degrees: int) -> float:
    """Chance that a sum of squares of so many standard normals is so far out, on its side, times two.

    >>> two_sided_chi_square(655_520 * 0.99**2, 655_520) < 1e-28  # a shortfall of 1 % is beyond eleven sigma
    True
    """
    return min(1.0, 2 * float(min(special.chdtr(degrees, squares), special.chdtrc(degrees, squares))))


def two_sided_binomial(count: int, trials: int, probability: float) -> float:
    """Chance that a binomial count is so far out, on its side, times two.

    >>> round(two_sided_binomial(60, 100, 0.5), 4)
    0.0569
    """
    low = special.bdtr(count, trials, probability)
    high = special.bdtrc(count - 1, trials, probability) if count else 1.0
    return min(1.0, 2 * float(min(low, high)))


def discrete_cdf(k: Vector, std: float, whole: bool = True) -> NDArray[np.float64]:
    """P[X <= k] of N_Z(0, std^2) for whole k; of N(0, std^2) where not whole. float64, same shape.

    A sum of a density at whole numbers is its integral from half a step below to half a step above, less the difference
    of its slopes there over 24 (Euler-Maclaurin, midpoint form): with x = (k + 1/2) / std it is
    Phi(x) + x phi(x) / (24 std^2). What is left out is of the order of std^-4: 1e-5 at a std of 2.5, 4e-8 at 10.

    >>> discrete_cdf(np.array([0, 3]), 3.0).round(6).tolist()
    [0.566487, 0.879419]
    """
    x = (k + 0.5 * whole) / std
    correction = x * np.exp(-x * x / 2) / (24 * std**2 * math.sqrt(2 * math.pi)) if whole else 0.0
    found: NDArray[np.float64] = special.ndtr(x) + correction
    return found


def _shape(x: NDArray[np.float64], residual: Residual) -> float:
    """Pearson's chi-square over bins that are equally likely, but for the lattice."""
    edges = special.ndtri(np.arange(1, BINS) / BINS) * residual.std
    if residual.whole:
        edges = np.unique(np.floor(edges))
    expected = np.diff(discrete_cdf(edges, residual.std, residual.whole), prepend=0.0, append=1.0) * x.size
    between = (edges + 0.5 * residual.whole) / residual.std
    counts = np.bincount(np.searchsorted(between, x), minlength=len(expected))
    return float(special.chdtrc(len(expected) - 1, float(((counts - expected) ** 2 / expected).sum())))


def _tails(x: NDArray[np.float64], residual: Residual) -> float:
    """How many values lie beyond FAR deviations; cut noise has none there."""
    last = math.floor(FAR * residual.std) if residual.whole else FAR * residual.std
    inside = float(discrete_cdf(np.array([last]), residual.std, residual.whole)[0])
    beyond = int((np.abs(x) > (last + 0.5 * residual.whole) / residual.std).sum())
    return two_sided_binomial(beyond, x.size, 2 * (1 - inside))


def _stretches(x: NDArray[np.float64]) -> float:
    """The stretch of STRETCH coordinates whose deviation is furthest out, and what is left at the end."""
    ends = np.add.reduceat(x * x, np.arange(0, x.size, STRETCH))
    sizes = np.minimum(STRETCH, x.size - np.arange(0, x.size, STRETCH))
    worst = np.minimum(special.chdtr(sizes, ends), special.chdtrc(sizes, ends)).min()
    return min(1.0, 2 * len(ends) * float(worst))


def _zeros(residual: Residual) -> float:
    """How many coordinates have exactly no noise: here and there a few too many are too few for their deviation."""
    zeros = int((residual.values == 0).sum())
    return two_sided_binomial(zeros, residual.values.size, 1 / (residual.std * math.sqrt(2 * math.pi)))


def _largest_correlation(one: NDArray[Any], other: NDArray[Any] | None, size: int, *, own: bool) -> float:
    """Largest circular correlation at any shift, from spectra: noise that is used again, wherever that is.

    Each is a sum of `size` products of variance 1: nearly normal, and far enough into its tail (seven sigma) at the
    sizes of models.
    """
    if size < 2:
        return 1.0
    found = fft.irfft(one.conj() * (one if other is None else other), size) / math.sqrt(size)
    usable: NDArray[np.float64] = found[1 : size // 2 + 1] if own else found
    return min(1.0, 2 * usable.size * float(special.ndtr(-np.abs(usable).max())))


def replayed(name: str, difference: NDArray[np.int64], norm: float) -> Test:
    """Of two replays on neighbouring data: what leaves differs by at most `norm` ring steps in L2.

    >>> replayed("a dialogue more", np.array([3, -4]), 5.0).p, replayed("a dialogue more", np.array([3, -5]), 5.0).p
    (1.0, 0.0)
    """
    length = float(np.linalg.norm(difference.astype(np.float64)))
    return exact(name, length <= norm * (1 + 1e-12), f"moved what leaves by {length:g} steps, {norm:g} are charged for")


def uniformity(name: str, elements: NDArray[np.unsignedinteger[Any]]) -> list[Test]:
    """Masked ring elements look like nothing: their highest and lowest bytes are uniform (chi-square)."""
    raw = np.ascontiguousarray(elements).view(np.uint8).reshape(elements.size, -1)
    return [
        Test(f"{which} byte of {name}", _even(np.bincount(raw[:, column], minlength=256)))
        for which, column in (("lowest", 0), ("highest", -1))
    ]


def _even(counts: NDArray[np.int64]) -> float:
    expected = counts.sum() / counts.size
    return float(special.chdtrc(counts.size - 1, float(((counts - expected) ** 2).sum() / expected)))


def sampling_tests(name: str, drawn: NDArray[np.bool_], rate: float) -> list[Test]:
    """Of bool[draws, units], who was in which sample: a Poisson sample at `rate`, drawn anew each time.

    How many in all and how often a unit stays are binomial; the sizes of samples vary as binomials do, which those of
    a fixed size, or of sampling without replacement, do not.
    """
    draws, units = drawn.shape
    sizes = drawn.sum(axis=1)
    spread = float(((sizes - units * rate) ** 2).sum()) / (units * rate * (1 - rate)) if 0 < rate < 1 else draws
    pairs = drawn[: draws // 2 * 2].reshape(-1, 2, units)
    same, stays = int((pairs[:, 0] == pairs[:, 1]).sum()), rate**2 + (1 - rate) ** 2
    return [
        Test(f"rate of {name}", two_sided_binomial(int(sizes.sum()), draws * units, rate)),
        Test(f"sizes of {name}", two_sided_chi_square(spread, draws) if 0 < rate < 1 else 1.0),
        Test(f"fresh draws of {name}", two_sided_binomial(same, pairs.shape[0] * units, stays) if rate < 1 else 1.0),
    ]


Spent = tuple[float, float, int]
"""Noise multiplier, sampling rate and times of a Poisson-sampled Gaussian."""

_GRID = 1e-3  # of privacy losses, nats
_WIDEST = 60.0  # nats on each side


def least_delta(epsilon: float, spent: Sequence[Spent]) -> float:
    """A lower bound on delta at `epsilon` of sampled Gaussians one after another, when a unit is taken away.

    Whatever accountant claims less, claims too little. With P = (1 - q) N(0, s^2) + q N(1, s^2) against N(0, s^2), the
    loss log(1 - q + q exp((2 x - 1) / 2 s^2)) is put on a grid, rounded down, which loses at most _GRID a step, and
    what is beyond the grid is left out; sums of losses by Fourier transform (Koskela, Jälkö and Honkela 2020). Exact
    for one step: q times the Gaussian's delta at log((e^epsilon - 1 + q) / q) (Balle and Wang 2018, theorem 8).

    >>> round(least_delta(1.0, [(1.0, 1.0, 1)]), 3), round(least_delta(1.0, [(1.0, 0.5, 2)]), 3)
    (0.127, 0.072)
    """
    losses = np.arange(-_WIDEST, _WIDEST, _GRID)
    steps = sum(times for _, _, times in spent)
    if not steps:
        return 0.0
    spectrum = np.ones(losses.size + 1, np.complex128)
    for noise, rate, times in spent:
        mass = np.diff(_loss_cdf(np.append(losses, _WIDEST), noise, rate))
        spectrum *= fft.rfft(mass, 2 * losses.size) ** times
    # place i of the circle stands for steps * -_WIDEST + i * _GRID, modulo its length
    found = np.maximum(fft.irfft(spectrum, 2 * losses.size), 0.0)
    at = np.arange(2 * losses.size)
    shift = round(steps * _WIDEST / _GRID)
    values = ((at - shift + losses.size) % (2 * losses.size) - losses.size) * _GRID
    return float((found * -np.expm1(np.minimum(epsilon - values, 0.0))).sum())


def _loss_cdf(loss: NDArray[np.float64], noise: float, rate: float) -> NDArray[np.float64]:
    """P[loss of a sampled Gaussian <= loss] under P."""
    with np.errstate(divide="ignore", invalid="ignore"):
        inside = np.exp(loss) - (1 - rate)
        x = np.where(inside > 0, noise**2 * np.log(np.maximum(inside, 1e-300) / rate) + 0.5, -np.inf)
    found: NDArray[np.float64] = (1 - rate) * special.ndtr(x / noise) + rate * special.ndtr((x - 1) / noise)
    return found
