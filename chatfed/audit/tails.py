"""Exact chances of right guesses under a claim, and how to turn them round: what chatfed.audit.bounds is made of.

Takes counts and numbers; knows no canary and no confidence but the error that it is given.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

_NORMAL = NormalDist()
_NODES = 64  # of Gauss and Legendre: the tail is exact to ten digits (tests compare with mpmath)
_BEYOND = 1e-17  # probability left out on either side of the integral
_EXACT = 1e-10  # of epsilon and mu
_ROOT_2 = math.sqrt(2)
_FAR = 40.0  # standard deviations beyond which a normal tail is below the least double


def one_run_p_value(m: int, guesses: int, correct: int, epsilon: float, delta: float) -> float:
    """Most that the chance of so many right guesses or more can be under (epsilon, delta)-DP; may exceed 1.

    With q = e^epsilon / (1 + e^epsilon) and B ~ Bin(guesses, q): P[B >= correct] + 2 m delta times the largest, over i
    from 1 to `correct`, of P[correct - i <= B < correct] / i (Steinke et al. 2023, theorem 5.2).

    >>> round(one_run_p_value(100, 100, 60, 0.0, 1e-4), 5)
    0.02957
    """
    rate = float(special.expit(epsilon))
    above = float(special.bdtrc(correct - 1, guesses, rate)) if correct else 1.0
    if delta == 0 or correct == 0:
        return above
    below = np.cumsum(binomial(np.arange(correct)[::-1], guesses, rate))  # P[correct - i <= B < correct], i = 1, 2, ...
    return above + 2 * m * delta * float((below / np.arange(1, correct + 1)).max())


def gaussian_tail(m: int, guesses: int, wrong: int, mu: float) -> float:
    """P[at most `wrong` of the guesses are wrong] for the best guesses over m independent Gaussian channels.

    A canary gives x ~ N(mu/2, 1) if in and N(-mu/2, 1) if out. The log-likelihood ratio is mu x: the guess is the sign
    of x, and the surest guesses have the largest |x|, whose law F(t) = Phi(t - mu/2) - Phi(-t - mu/2) is the same for
    both coins. The largest |x| without a guess is the (m - guesses)-th smallest of m: its F is W ~ Beta(m - guesses,
    guesses + 1). Given that it is t, guesses are independent, each wrong with chance Phi(-t - mu/2) / (1 - F(t)). So
    the tail is the expectation of that binomial's over W (Xiang et al. 2025), here an integral over t; with a guess for
    each canary t is 0. No other choice of guesses does better: given all x the coins are independent, and the surest
    guesses' number of right ones lies above any others' in distribution.

    >>> round(gaussian_tail(1000, 500, 103, 0.875604), 4)
    0.05
    """
    half, hidden = mu / 2, m - guesses
    if hidden == 0:
        return float(special.bdtr(wrong, guesses, special.ndtr(-half)))
    low, high = _range_of_the_last(m, guesses, half)
    at, weights = _legendre()
    t = low + (high - low) * at
    wrong_side = special.ndtr(-t - half)
    below, above = special.ndtr(t - half) - wrong_side, special.ndtr(half - t) + wrong_side  # F and 1 - F
    log_beta = (hidden - 1) * np.log(below) + guesses * np.log(above) - special.betaln(hidden, guesses + 1)
    slope = (np.exp(-((t - half) ** 2) / 2) + np.exp(-((t + half) ** 2) / 2)) / math.sqrt(2 * math.pi)
    density = np.exp(log_beta) * slope * weights * (high - low)
    return float(density @ special.bdtr(wrong, guesses, wrong_side / above))


def gaussian_epsilon(mu: float, delta: float) -> float:
    """Epsilon at `delta` of mu-Gaussian DP, rounded down: what is found may not be above the truth.

    delta = Phi(mu/2 - epsilon/mu) - e^epsilon Phi(-mu/2 - epsilon/mu) (Dong et al. 2022, corollary 2.13).

    >>> round(gaussian_epsilon(1.0, 1e-5), 3), round(gaussian_epsilon(1.666, 1e-5), 2)
    (4.377, 8.0)
    """

    def above(epsilon: float) -> float:  # log of that delta, over `delta`
        first, second = (float(special.log_ndtr(sign * mu / 2 - epsilon / mu)) for sign in (1, -1))
        rest = -math.expm1(min(0.0, epsilon + second - first))
        return first + math.log(rest) - math.log(delta) if rest > 0 else -math.inf

    if mu <= 0:
        return 0.0
    return last(lambda epsilon: above(epsilon) > 0)


def f_dp_rejects(m: int, guesses: int, correct: int, mu: float, error: float) -> bool:
    """Whether so many right guesses speak against mu-Gaussian DP: r, h and f^-1 as in Mahloujifar et al. 2024.

    r and h only grow: above the limit it is rejected, and where h stays it stays for good.
    """
    limit = guesses / m
    right_of, wrong_of = (error * each / m for each in (correct, guesses - correct))
    for i in range(correct - 1, -1, -1):
        after = math.erfc((mu - _NORMAL.inv_cdf(right_of)) / _ROOT_2) / 2  # f^-1(r) = Phi(Phi^-1(r) - mu)
        if after <= wrong_of:
            return False
        right_of += i / (guesses - i) * (after - wrong_of)
        wrong_of = after
        if right_of + wrong_of > limit:
            return True
    return False


def any_curve_tail(m: int, guesses: int, wrong: int, epsilon: float, delta: float) -> float:
    """P[at most `wrong` of the guesses are wrong] for the best guesses over m independent (epsilon, delta)-DP channels.

    Any such channel is one that tells the coin with probability delta and else answers at random, right with chance
    e^epsilon / (1 + e^epsilon), made worse (Kairouz et al. 2015): Bin(m, delta) guesses are sure and the others alike.

    >>> any_curve_tail(10, 10, 0, 0.0, 0.0) == 0.5**10, round(any_curve_tail(1, 1, 0, 0.0, 0.1), 2)
    (True, 0.55)
    """
    mean = m * delta
    known = np.arange(min(m, int(mean + _FAR * math.sqrt(mean) + _FAR)) + 1)  # canaries that are told
    unsure = np.maximum(guesses - known, 0)
    tails = np.where(unsure > wrong, special.bdtr(wrong, np.maximum(unsure, wrong), special.expit(-epsilon)), 1.0)
    rest = float(special.bdtrc(known[-1], m, delta)) if known[-1] < m else 0.0  # counts in full
    return float(binomial(known, m, delta) @ tails) + rest


def most(count: Any, of: int, error: float) -> NDArray[np.float64]:
    """Upper limit of a rate that gave `count` of `of`, below the rate with a chance of `error` (Clopper, Pearson 1934).

    >>> float(most(0, 10, 0.05).round(6)), float(most(10, 10, 0.05))
    (0.258866, 1.0)
    """
    limit: NDArray[np.float64] = special.betainccinv(np.add(count, 1.0), np.maximum(np.subtract(of, count), 1), error)
    return np.where(np.equal(count, of), 1.0, limit)


def binomial(counts: Any, of: int, rate: float) -> NDArray[np.float64]:
    """P[Bin(of, rate) = counts]."""
    logs = _log_choose(of)[counts] + special.xlogy(counts, rate) + special.xlog1py(of - counts, -rate)
    masses: NDArray[np.float64] = np.exp(logs)
    return masses


@lru_cache(maxsize=16)
def _log_choose(of: int) -> NDArray[np.float64]:
    """Logarithms of the binomial coefficients, float64[of + 1]."""
    logs: NDArray[np.float64] = special.gammaln(np.arange(of + 1) + 1.0)
    chosen: NDArray[np.float64] = logs[-1] - logs - logs[::-1]
    return chosen


@lru_cache(maxsize=1)
def _legendre() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Places and weights on [0, 1]."""
    at, weights = np.polynomial.legendre.leggauss(_NODES)
    return (at + 1) / 2, weights / 2


def _range_of_the_last(m: int, guesses: int, half: float) -> tuple[float, float]:
    """Between which t the largest |x| without a guess lies, but for a probability of _BEYOND on either side."""
    hidden, far = m - guesses, half + _FAR
    least = float(special.betaincinv(hidden, guesses + 1, _BEYOND))  # of F
    rest = float(special.betaincinv(guesses + 1, hidden, _BEYOND))  # of 1 - F
    low = optimize.brentq(lambda t: special.ndtr(t - half) - special.ndtr(-t - half) - least, 0, far)
    high = optimize.brentq(lambda t: special.ndtr(half - t) + special.ndtr(-t - half) - rest, 0, far)
    return float(low), float(high)


def root(rising: Callable[[float], float]) -> float:
    """Where a function that rises from 0 on turns positive; 0 if it is positive there."""
    if rising(0.0) > 0:
        return 0.0
    high = 1.0
    while rising(high) <= 0:
        high *= 2
    return float(optimize.brentq(rising, 0.0, high, xtol=_EXACT))


def last(holds: Callable[[float], bool]) -> float:
    """The largest number up to which something holds; 0 if it does not hold there."""
    if not holds(0.0):
        return 0.0
    low, high = 0.0, 1.0
    while holds(high):
        low, high = high, 2 * high
    while high - low > _EXACT:
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
