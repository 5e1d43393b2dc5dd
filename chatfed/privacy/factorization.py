"""DP-FTRL in sums: noise that later rounds take back, by banded Toeplitz matrices. Knows no rings, models or budgets.

Rounds t = 0..T-1, X_t the sum of what clients begin in round t. A client uploads c_j times its vector in the j-th round
after its own, j < bands (its *echoes*), and every round's secure sum has fresh noise: the server sees S = C X + Z, C
lower triangular with c_j on its j-th subdiagonal, and takes X + C^-1 Z from it, which is post-processing. The model
after round t is row t of A (X + C^-1 Z), A[t, s] = rates[s] for s <= t; of the noise that round s put into it, later
rounds take much back (the matrix mechanism for prefix sums: Denisov, McMahan, Rush, Smith and Thakurta 2022).

Cost. A client's vector is in `bands` sums, with sensitivities c_0, c_1, ...: Gaussian mechanisms, composed adaptively,
so one of sensitivity ||c||, whatever the server sends in between. k contributions cost sqrt(k) ||c|| where no two are
in one sum, that is with at least `bands` rounds from one beginning to the next (Choquette-Choo, Ganesh, McKenna,
McMahan, Rush, Thakurta and Xu 2023, "(Amplified) banded matrix factorization"). Fewer uploads cost less.

What it cannot do: errors(c, rates) >= errors((1,), rates) / sqrt(bands), whatever c. The right side is what a client
gets who trains anew for each of as many uploads. Echoes save training, not uploads.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from chatfed.privacy.conversions import PrivacyError
from chatfed.types import FloatVector

Coefficients = tuple[float, ...]
"""c_0, ..., c_(bands - 1): c_0 positive, none negative, none larger than the one before."""

Vector = NDArray[np.float64]
_DIGITS = 4  # of a coefficient: the error is flat at its least, and what machines' arithmetic differs by is cut off


def toeplitz(rates: Sequence[float], bands: int) -> Coefficients:
    """The coefficients, c_0 = 1, of least mean squared noise in the models after each round, at equal privacy.

    rates: the server's learning rate in each round, positive, any unit. Minimises ||c||^2 ||A C^-1||_F^2 (Denisov et
    al. 2022) over banded Toeplitz matrices (McKenna 2024, "Scaling up the banded matrix factorization mechanism"), from
    the square root of A (Kalinin and Lampert 2024) on. The last model alone would be a bad aim: with falling rates all
    c_j = 1 are best for it, and the models before it several times noisier. Raises PrivacyError for bands that are not
    1 to len(rates), or rates that are not positive.

    >>> toeplitz([1.0] * 10, bands=4)
    (1.0, 0.5108, 0.361, 0.27)
    """
    eta = _checked_rates(rates)
    if not 1 <= bands <= eta.size:
        raise PrivacyError(f"{bands} bands for {eta.size} rounds: take from 1 to the number of rounds")
    found = np.ones(1)
    if bands > 1:
        from scipy.optimize import minimize

        def aim(tail: Vector) -> tuple[float, Vector]:
            value, slope = _objective(np.append(1.0, tail), eta)
            return value, slope[1:]

        start = np.array(square_root(bands)[1:])
        found = np.append(1.0, minimize(aim, start, jac=True, method="BFGS", options={"gtol": 1e-8}).x)
    falling = np.minimum.accumulate(np.maximum(found, 0.0))  # changes nothing at equal or falling rates
    return tuple(round(float(each), _DIGITS) for each in falling)


def square_root(bands: int) -> Coefficients:
    """The first coefficients of (1 - x)^(-1/2): c_j = c_(j-1) (1 - 1 / 2j), so that C C = A where no band is cut off.

    Of all Toeplitz matrices without a band the least noise in the last model at equal rates (Fichtenberger, Henzinger
    and Upadhyay 2023; optimal by Dvijotham, McMahan, Pillutla, Steinke and Thakurta 2024). Raises PrivacyError for
    less than one.

    >>> square_root(4)
    (1.0, 0.5, 0.375, 0.3125)
    """
    if bands < 1:
        raise PrivacyError(f"{bands} bands: take 1, which is independent noise, or more")
    return tuple(math.prod((1 - 0.5 / k for k in range(1, j + 1)), start=1.0) for j in range(bands))


def errors(c: Coefficients, rates: Sequence[float]) -> Vector:
    """Standard deviation of the noise in the model after each round: float64[rounds].

    Its unit is that of the noise of one sum which would give a single upload the privacy that ||c|| needs. c = (1,):
    independent noise. That is ||c|| ||row_t(A C^-1)||; the last is what the released model has. Raises PrivacyError for
    coefficients or rates that toeplitz could not have returned or taken.

    >>> rates = [1.0] * 10
    >>> [round(float(errors(c, rates)[-1]), 2) for c in ((1.0,), toeplitz(rates, 4), square_root(10))]
    [3.16, 2.06, 1.79]
    """
    eta = _checked_rates(rates)
    check_coefficients(c)
    factors: Vector = math.hypot(*c) * np.linalg.norm(_noise(np.array(c), eta), axis=1)
    return factors


def estimate(noisy_sum: FloatVector, earlier: Sequence[FloatVector], c: Coefficients) -> FloatVector:
    """What clients began in this round, with noise: (S_t - sum_j c_j earlier[j - 1]) / c_0, float32[d].

    earlier: the estimates of the rounds before, the latest first; those beyond len(c) - 1 are not looked at, those
    before round 0 are left out. It is row t of C^-1 S, whatever noise and dropouts are in S. With coefficients that do
    not grow no error does, since no zero of their polynomial lies inside the unit circle (Enestrom and Kakeya). Raises
    PrivacyError for such as grow, or vectors of different sizes.

    >>> first = estimate(np.float32([4.0]), [], (1.0, 0.5))
    >>> float(estimate(np.float32([5.0]), [first], (1.0, 0.5))[0])  # 3 and half of 4
    3.0
    """
    check_coefficients(c)
    result = noisy_sum.astype(np.float32)
    for weight, past in zip(c[1:], earlier, strict=False):
        if past.shape != result.shape:
            raise PrivacyError(f"a sum of shape {result.shape} after an estimate of {past.shape}: not one run's")
        result -= np.float32(weight) * past
    result /= np.float32(c[0])
    return result


def check_coefficients(c: Coefficients) -> None:
    """Raises PrivacyError unless c_0 > 0 and no coefficient is negative, not finite, or larger than the one before."""
    if not c or not 0 < c[0] < math.inf or c[-1] < 0 or not all(a >= b for a, b in itertools.pairwise(c)):
        raise PrivacyError(f"coefficients {c}: the first must be positive, none negative or larger than the one before")


def _checked_rates(rates: Sequence[float]) -> Vector:
    eta = np.array(rates, dtype=np.float64)
    if eta.ndim != 1 or not eta.size or not (np.isfinite(eta) & (eta > 0)).all():
        raise PrivacyError("rates: give one positive number for each round")
    return eta


def _inverse(c: Vector, rounds: int) -> Vector:
    """C^-1, float64[rounds, rounds]: Toeplitz too."""
    column = np.zeros(rounds)
    for t in range(rounds):
        before = column[max(0, t - c.size + 1) : t][::-1]
        column[t] = ((t == 0) - c[1 : before.size + 1] @ before) / c[0]
    lag = np.subtract.outer(np.arange(rounds), np.arange(rounds))
    return np.where(lag >= 0, column[lag], 0.0)


def _noise(c: Vector, eta: Vector) -> Vector:
    """A C^-1: the weight of each round's noise in each model."""
    noise: Vector = np.cumsum(eta[:, None] * _inverse(c, eta.size), axis=0)
    return noise


def _objective(c: Vector, eta: Vector) -> tuple[float, Vector]:
    """Log of ||c||^2 ||B||_F^2, B = A C^-1, and its gradient: d ||B||_F^2 = -2 trace(B^T B dC C^-1)."""
    noise = _noise(c, eta)
    moved = noise @ _inverse(c, eta.size).T
    total, norm = float((noise**2).sum()), float(c @ c)
    along = [float((moved[:, : eta.size - j] * noise[:, j:]).sum()) for j in range(c.size)]
    return math.log(total * norm), 2 * c / norm - 2 * np.array(along) / total
