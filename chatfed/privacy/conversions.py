"""From one form of differential privacy to another: zCDP, Gaussian DP, groups. Knows no mechanism and no accountant.

Pure formulas, each an upper bound or exact. rho: zero-concentrated DP (Bun and Steinke 2016): Renyi divergence of order
alpha at most rho * alpha. mu: Gaussian DP (Dong, Roth and Su 2022): as hard to tell apart as N(0, 1) and N(mu, 1).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chatfed.types import ChatfedError

_ROUNDING = 1e-10  # relative, of the exact delta: the arithmetic is better
_ABOVE = 1e-9  # relative: what is added to the epsilon that was found
_ROOT_2, _HALF_PI = math.sqrt(2.0), math.sqrt(math.pi / 2)
_AT, _WEIGHT = np.polynomial.legendre.leggauss(20)


class PrivacyError(ChatfedError, ValueError):
    """A number that no privacy accounting can take, or a claim that lacks one of its conditions."""

    code = "invalid_privacy"
    mend = "give a number in the range that the message names"


def check_delta(delta: float) -> None:
    """Raises PrivacyError unless 0 < delta < 1."""
    if not 0.0 < delta < 1.0:
        raise PrivacyError(f"delta {delta}: must lie strictly between 0 and 1", param="delta")


def zcdp_epsilon(rho: float, delta: float) -> float:
    """Epsilon at `delta` of anything that is rho-zCDP (Canonne, Kamath and Steinke 2020, proposition 12).

    The least over alpha > 1 of alpha rho + (log(1 / delta) + alpha log(1 - 1 / alpha) - log(alpha - 1)) / (alpha - 1);
    every alpha gives a bound, so a search that stops early is only loose. Below rho + 2 sqrt(rho log(1 / delta)) of Bun
    and Steinke 2016. Rounds add their rho. Raises PrivacyError for a negative rho or a delta outside (0, 1).

    >>> round(zcdp_epsilon(0.5, 1e-6), 2), round(0.5 + 2 * math.sqrt(0.5 * math.log(1e6)), 2)
    (5.22, 5.76)
    """
    check_delta(delta)
    if not rho >= 0:
        raise PrivacyError(f"rho {rho}: must be a number, 0 or more", param="rho")
    if rho == 0 or math.isinf(rho):
        return rho

    def bound(log_less_one: float) -> float:  # of log(alpha - 1)
        less_one = math.exp(log_less_one)
        alpha = 1 + less_one
        rest = -math.log(delta) + alpha * (log_less_one - math.log(alpha)) - log_less_one
        return alpha * rho + rest / less_one

    best = 0.5 * math.log(-math.log(delta) / rho)  # alpha - 1 of Bun and Steinke's bound, the logarithm
    for width in (4.0, 0.4, 0.04, 0.004):
        best = min((best + width * step / 10 for step in range(-10, 11)), key=bound)
    return max(0.0, bound(best))


def gaussian_epsilon(mu: float, delta: float) -> float:
    """Epsilon at `delta` of mu-Gaussian DP: exact, rounded up by about one part in 10^9, down to the least double.

    Balle and Wang 2018, theorem 8. T steps of the Gaussian mechanism without sampling are mu = sqrt(T) /
    noise_multiplier (Dong et al. 2022, corollary 3.3). Raises PrivacyError for a negative mu or a delta outside (0, 1).

    >>> round(gaussian_epsilon(1.0, 1e-5), 2), round(gaussian_epsilon(1.0, 1e-300), 2)
    (4.38, 37.45)
    """
    check_delta(delta)
    if not mu >= 0:
        raise PrivacyError(f"mu {mu}: must be a number, 0 or more", param="mu")
    if mu == 0 or math.isinf(mu):
        return mu
    aim = math.log(delta) - _ROUNDING
    low, high = -mu / 2, 40.0  # of epsilon / mu - mu / 2; at 40 any delta is below the least double
    if gaussian_log_delta(low, mu) <= aim:
        return 0.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (low, middle) if gaussian_log_delta(middle, mu) <= aim else (middle, high)
    return mu * (high + mu / 2) * (1 + _ABOVE)


def gaussian_log_delta(at: float, mu: float) -> float:
    """Log of the exact delta of mu-Gaussian DP at epsilon = mu (at + mu / 2), at >= -mu / 2.

    delta = Phi(-at) - e^epsilon Phi(-at - mu) = phi(at) (R(at) - R(at + mu)), R = (1 - Phi) / phi being Mills' ratio.
    For a small mu that difference is the integral of -R'(t) = 1 - t R(t), by Gauss and Legendre, so no digit is lost.
    """
    from scipy.special import erfcx, ndtr

    def mills(t: Any) -> Any:
        return _HALF_PI * erfcx(t / _ROOT_2)

    log_density = -at * at / 2 - math.log(2 * _HALF_PI)
    if mu <= 1:
        t = at + mu / 2 * (1 + _AT)
        return log_density + math.log(mu / 2 * float(_WEIGHT @ (1 - t * mills(t))))
    if at >= 0:
        return log_density + math.log(float(mills(at) - mills(at + mu)))
    return math.log(float(ndtr(-at)) - math.exp(log_density) * float(mills(at + mu)))


def group_privacy(epsilon: float, delta: float, size: int) -> tuple[float, float]:
    """What (epsilon, delta) for one means for `size` at once: (size * epsilon, delta * sum of e^(j epsilon), j < size).

    Vadhan 2017, lemma 2.2; the sum is at most size * e^((size - 1) epsilon). For rho-zCDP a group of k has rho k^2 (Bun
    and Steinke 2016, proposition 27), for mu-Gaussian DP it has k mu (Dong et al. 2022, theorem 2.14), and both say
    more where they are known. A delta of 1 or more says nothing. Raises PrivacyError for a size below 1.

    >>> group_privacy(1.0, 1e-6, 1)
    (1.0, 1e-06)
    >>> group_privacy(0.5, 1e-6, 3)[0], f"{group_privacy(0.5, 1e-6, 3)[1]:.2e}"
    (1.5, '5.37e-06')
    """
    if size < 1 or epsilon < 0 or delta < 0:
        raise PrivacyError(f"a group of {size} at epsilon {epsilon} and delta {delta}: none may be negative, size 0")
    try:
        return size * epsilon, delta * sum(math.exp(j * epsilon) for j in range(size))
    except OverflowError:
        return size * epsilon, math.inf
